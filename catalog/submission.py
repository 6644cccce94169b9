"""The `.stretto` file: one signed statement and, of a catalogue, its body: all that `stretto submit` sends.

A ZIP archive (APPNOTE 6.3.9) with every entry stored, at the same date, in this order:

    statement.cose      the COSE_Sign1 bytes, verbatim
    manifest            of a catalogue: the SHA-256 digests of the chunks, one after the other
    chunks/00000 …      of a catalogue: its body, cut as `ledger.catalogue` says

Nothing in it is secret, and nothing about it is signed but the statement, which binds the rest by hash. It is written
one way only, so that the same statement is the same file.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Final

from consensus.errors import RequestError
from ledger.catalogue import CHUNK_BYTES, CHUNKS_MAX, MANIFEST_BYTES_MAX
from ledger.statement import STATEMENT_BYTES_MAX

SUFFIX: Final = ".stretto"
SUBMISSION_BYTES_MAX: Final = STATEMENT_BYTES_MAX + MANIFEST_BYTES_MAX + CHUNKS_MAX * (CHUNK_BYTES + 512) + 4096
_STATEMENT, _MANIFEST = "statement.cose", "manifest"
_DATE: Final = (1980, 1, 1, 0, 0, 0)
"""ZIP's own beginning of time: when the file was made is nobody's business."""


class MalformedSubmission(RequestError):
    """Not a `.stretto` file. field: where in it. expected: what a good one holds there."""

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"not a {SUFFIX} file as `stretto claim` makes them: {field}: expected {expected}")
        self.field = field
        self.expected = expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a node needs to record one statement."""

    statement: bytes
    manifest: bytes = b""
    """Empty for a single claim."""
    chunks: tuple[bytes, ...] = ()

    @property
    def blobs(self) -> tuple[bytes, ...]:
        """What travels beside the statement: the manifest first."""
        return (self.manifest, *self.chunks) if self.manifest else ()

    def encode(self) -> bytes:
        """The `.stretto` file."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name, content in self._entries():
                entry = zipfile.ZipInfo(name, _DATE)
                entry.create_system = 3  # Unix everywhere: zipfile would write the platform's own
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, content)
        return buffer.getvalue()

    def _entries(self) -> list[tuple[str, bytes]]:
        entries = [(_STATEMENT, self.statement)]
        if self.manifest:
            entries.append((_MANIFEST, self.manifest))
            entries += [(_chunk_name(i), chunk) for i, chunk in enumerate(self.chunks)]
        return entries


def _chunk_name(index: int) -> str:
    return f"chunks/{index:05}"


def parse_submission(data: bytes) -> Submission:
    """Inverse of `Submission.encode`: `parse_submission(data).encode() == data`, or it raises.

    Whether the statement inside is any good is not asked here. Raises: MalformedSubmission.
    """
    if len(data) > SUBMISSION_BYTES_MAX:
        raise MalformedSubmission("file", f"at most {SUBMISSION_BYTES_MAX} bytes, got {len(data)}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            contents = {entry.filename: _read(archive, entry) for entry in archive.infolist()}
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, OSError) as error:
        raise MalformedSubmission("file", f"a ZIP archive ({error})") from error
    if _STATEMENT not in contents:
        raise MalformedSubmission(_STATEMENT, "this entry")
    chunks: list[bytes] = []
    while (chunk := contents.get(_chunk_name(len(chunks)))) is not None:
        chunks.append(chunk)
    submission = Submission(statement=contents[_STATEMENT], manifest=contents.get(_MANIFEST, b""), chunks=tuple(chunks))
    if submission.encode() != data:
        raise MalformedSubmission("file", "exactly the bytes `stretto claim` wrote: it was packed or changed since")
    return submission


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    # Stored and bounded before it is read: an archive cannot unpack into more than it is.
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > STATEMENT_BYTES_MAX:
        raise MalformedSubmission(entry.filename, f"an uncompressed entry of at most {STATEMENT_BYTES_MAX} bytes")
    return archive.read(entry)
