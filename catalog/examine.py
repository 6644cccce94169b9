"""One audio file, looked at from every side at one moment: digests, soundness, tags."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from catalog.audio import inspect_audio
from catalog.crew import processors
from catalog.digests import FileDigests, hash_file
from catalog.fingerprint import Fingerprint, fingerprint
from catalog.formats.facts import AudioFacts
from catalog.ordered import ordered_map
from catalog.scan import LeftOut
from catalog.tags import Tags, read_tags
from catalog.tools import NO_TOOLS, Tools, ToolStuck


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """A whole, sound audio file and everything a claim on it is built from."""

    digests: FileDigests
    facts: AudioFacts
    tags: Tags
    chromaprint: Fingerprint | None = None
    """None where it was not asked for, or not computed."""

    @property
    def path(self) -> Path:
        return self.digests.path


def examine(
    path: Path,
    *,
    tools: Tools = NO_TOOLS,
    blake3: bytes | None = None,
    advance: Callable[[int], None] | None = None,
    cancel: Event | None = None,
) -> Track:
    """What the file at `path` is.

    tools: programs that may be asked besides; a fingerprint is made where they have fpcalc. advance: told the number of
    bytes after each read of the hashing. Raises: LeftOut where the file is not whole, sound, readable audio, or changed
    in the meantime; Cancelled. blake3: as `hash_file`.
    """
    facts_first = _identity(path)
    facts = inspect_audio(path, tools, cancel)
    digests = hash_file(path, blake3=blake3, advance=advance, cancel=cancel)
    tags = read_tags(path)
    chromaprint = _listen(path, tools, cancel)
    # Several readers opened the file: what they saw must have been the same file.
    if _identity(path) != facts_first:
        raise LeftOut(path, "changed while it was being read: try again when it is finished")
    return Track(digests=digests, facts=facts, tags=tags, chromaprint=chromaprint)


def _listen(path: Path, tools: Tools, cancel: Event | None) -> Fingerprint | None:
    if tools.fpcalc is None:
        return None
    try:
        return fingerprint(path, tools.fpcalc, cancel)
    except ToolStuck as error:
        # Not "no fingerprint": the same files would then give another manifest on a busy day.
        raise LeftOut(path, f"{error}: run the same command again") from error
    except OSError as error:
        raise LeftOut.of(path, error) from error


def _identity(path: Path) -> tuple[int, int, int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116  a path of undecodable bytes is as good as any
    except OSError as error:
        raise LeftOut.of(path, error) from error
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for whoever writes to it
        raise LeftOut(path, "neither a file nor a folder")
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def examine_all(
    found: Iterable[Path | LeftOut], *, threads: int | None = None, advance: Callable[[int], None] | None = None
) -> Iterator[Track | LeftOut]:
    """`examine` over what `scan` found, in its order; what cannot be used comes out as LeftOut in its place."""
    cancel = Event()

    def work(item: Path | LeftOut) -> Track | LeftOut:
        if isinstance(item, LeftOut):
            return item
        try:
            return examine(item, advance=advance, cancel=cancel)
        except LeftOut as left_out:
            return left_out

    try:
        yield from ordered_map(work, found, threads=threads or processors())
    finally:
        cancel.set()
