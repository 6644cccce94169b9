"""The `.stretto` file: one signed statement and, of a catalogue, its body: all that `stretto submit` sends.

A ZIP archive in the one canonical form of `ledger.evidence_archive` (stored entries, constant dates), in this order:

    statement.cose      the COSE_Sign1 bytes, verbatim
    manifest            of a catalogue: the SHA-256 digests of the chunks, one after the other
    chunk-00000 …       of a catalogue: its body, cut as `ledger.catalogue` says

Nothing in it is secret, and nothing in it is signed but the statement, which binds the rest by hash. It is written one
way only, so that the same statement is the same file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consensus.errors import MalformedMessage, RequestError
from ledger.evidence_archive import ARCHIVE_BYTES_MAX, encode_archive, parse_archive

SUFFIX: Final = ".stretto"
SUBMISSION_BYTES_MAX: Final = ARCHIVE_BYTES_MAX
_STATEMENT, _MANIFEST = "statement.cose", "manifest"


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
        files = {_STATEMENT: self.statement}
        if self.manifest:
            files[_MANIFEST] = self.manifest
            files |= {_chunk_name(i): chunk for i, chunk in enumerate(self.chunks)}
        return encode_archive(files)


def _chunk_name(index: int) -> str:
    return f"chunk-{index:05}"


def parse_submission(data: bytes) -> Submission:
    """Inverse of `Submission.encode`: `parse_submission(data).encode() == data`, or it raises.

    Whether the statement inside is any good is not asked here. Raises: MalformedSubmission.
    """
    try:
        files = parse_archive(data)
    except MalformedMessage as error:
        raise MalformedSubmission(error.field, error.expected) from error
    chunks = [content for name, content in files.items() if name not in (_STATEMENT, _MANIFEST)]
    known = [_STATEMENT, *([_MANIFEST] if _MANIFEST in files else []), *map(_chunk_name, range(len(chunks)))]
    if list(files) != known or (chunks and _MANIFEST not in files) or files.get(_MANIFEST) == b"":
        raise MalformedSubmission("entries", f"{_STATEMENT}, then of a catalogue {_MANIFEST} and its chunks")
    return Submission(statement=files[_STATEMENT], manifest=files.get(_MANIFEST, b""), chunks=tuple(chunks))
