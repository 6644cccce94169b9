"""submitted.jsonl: what became of each statement of a catalogue, a line each, on disk before the next is sent."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Final

from catalog.json_fields import load, read_digest, read_object, read_text, read_whole
from consensus.errors import LocalError

JOURNAL_NAME: Final = "submitted.jsonl"
JOURNAL_BYTES_MAX: Final = 64 << 20


class Fate(StrEnum):
    """What became of a statement that was sent."""

    ACCEPTED = "accepted"
    """A node has it; whether it is on record is not known yet."""
    FINAL = "final"
    """On record at `index`."""
    OTHER = "other"
    """Another statement is on record under its reference, at `index`."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One line of the journal."""

    statement: str
    """SHA-256, hexadecimal."""
    file: str
    fate: Fate
    index: int | None = None
    height: int | None = None
    block_time_ms: int | None = None
    reason: str | None = None


class JournalCorrupt(LocalError):
    """A journal that is not one."""

    def __init__(self, path: Path, line: int) -> None:
        super().__init__(
            f"{path}, line {line}: no line of this journal; remove the file: nodes recognise what is on record"
        )


def parse_sent(line: bytes) -> Sent:
    """One line of the journal. Raises: ValueError."""
    row = read_object(load(line))
    if unknown := row.keys() - {field.name for field in fields(Sent)}:
        raise ValueError(f"fields of this journal, got {sorted(unknown)[0]!r}")
    try:
        return Sent(
            statement=read_digest(row["statement"]).hex(),
            file=read_text(row["file"]),
            fate=Fate(read_text(row["fate"])),
            reason=read_text(row["reason"]) if "reason" in row else None,
            **{name: read_whole(row[name]) for name in ("index", "height", "block_time_ms") if name in row},
        )
    except KeyError as error:
        raise ValueError(f"a line with {error.args[0]!r}") from error


def read_journal(folder: Path) -> dict[str, Sent]:
    """The last word on each statement, by its digest; a line that was cut off in the middle was never finished.

    Raises: JournalCorrupt, OSError.
    """
    path = folder / JOURNAL_NAME
    found: dict[str, Sent] = {}
    try:
        with path.open("rb") as file:
            data = file.read(JOURNAL_BYTES_MAX)
    except FileNotFoundError:
        return found
    *lines, _cut_off = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            sent = parse_sent(line)
        except ValueError as error:
            raise JournalCorrupt(path, number) from error
        found[sent.statement] = sent
    return found


class Journal:
    """Appends to the journal. What `write` returned from survives a crash and a power loss."""

    def __init__(self, folder: Path) -> None:
        """Raises: OSError."""
        path = folder / JOURNAL_NAME
        self._file = path.open("ab")
        # A line cut off by a crash is ended, so that the next is a line of its own; and what is half is no JSON.
        if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            _drop_last_line(path)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, sent: Sent) -> None:
        row = {name: value for name, value in asdict(sent).items() if value is not None}
        self._file.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "replace"))
        self._file.flush()
        os.fsync(self._file.fileno())


def _drop_last_line(path: Path) -> None:
    data = path.read_bytes()
    os.truncate(path, data.rfind(b"\n") + 1)
