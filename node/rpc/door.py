"""The door: what is checked of a statement before the loop sees it (design D3: parsed strictly, then valid inside).

Form, signature, consortium, member and role; a catalogue's manifest and chunks by their hashes. What depends on the log
(was it recorded before?) and the claims inside a catalogue are the loop's to check.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from consensus.errors import RequestError
from consensus.types import Digest
from ledger.catalogue import CHUNK_BYTES, CatalogueHeader, parse_manifest
from ledger.roster import Roster
from ledger.statement import Statement, check_statement, parse_statement
from node.mempool import Overloaded
from node.rpc.errors import MissingChunks, TooLarge, code_of, fields_of
from node.rpc.types import Refusal, SubmittedStatement

STREAM_CHUNK_BYTES_MAX: Final = 40 * 2**20
"""Chunks one caller may have waiting for their statement: a whole catalogue (32 MiB) and the start of the next."""
ALL_CHUNK_BYTES_MAX: Final = 256 * 2**20
"""The same for all callers together."""


class ChunkBudget:
    """Memory for chunks that wait for their statement, shared by all callers of a server."""

    def __init__(self, bytes_max: int = ALL_CHUNK_BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self.used = 0


class Chunks:
    """Manifests and chunks that one caller has sent and no statement has taken yet."""

    def __init__(self, budget: ChunkBudget) -> None:
        self._budget = budget
        self._blobs: dict[Digest, bytes] = {}
        self._used = 0

    def add(self, blobs: Iterable[bytes]) -> None:
        """Raises: TooLarge, with nothing of the offending chunk or of those after it kept."""
        for position, blob in enumerate(blobs):
            if len(blob) > CHUNK_BYTES:
                raise TooLarge(f"chunks[{position}]", f"{len(blob)} bytes", f"at most {CHUNK_BYTES} bytes")
            digest = Digest(hashlib.sha256(blob).digest())
            if digest in self._blobs:
                continue
            if self._used + len(blob) > STREAM_CHUNK_BYTES_MAX:
                expected = f"at most {STREAM_CHUNK_BYTES_MAX} bytes of chunks before the statement that names them"
                raise TooLarge("chunks", f"{self._used + len(blob)} bytes waiting", expected)
            if self._budget.used + len(blob) > self._budget.bytes_max:
                raise Overloaded(
                    "chunks", f"{self._budget.used} bytes of all callers", f"at most {self._budget.bytes_max} bytes"
                )
            self._blobs[digest] = blob
            self._count(len(blob))

    def take(self, header: CatalogueHeader) -> tuple[bytes, tuple[bytes, ...]]:
        """(manifest, chunks in order) of a catalogue; they wait no longer.

        Raises: MissingChunks, CatalogueBodyMismatch, with nothing taken.
        """
        manifest = self._blobs.get(header.manifest)
        if manifest is None:
            raise MissingChunks("chunks", f"no chunk with SHA-256 {header.manifest.hex()}", "the catalogue's manifest")
        digests = parse_manifest(header, manifest)
        missing = [d for d in digests if d not in self._blobs]
        if missing:
            value = f"{len(missing)} of {len(digests)} missing, first {missing[0].hex()}"
            raise MissingChunks("chunks", value, "every chunk the manifest lists")
        chunks = tuple(self._blobs[d] for d in digests)
        for digest in (header.manifest, *dict.fromkeys(digests)):
            self._count(-len(self._blobs.pop(digest)))
        return manifest, chunks

    def clear(self) -> int:
        """Forgets all; gives how many there were."""
        count = len(self._blobs)
        self._count(-self._used)
        self._blobs.clear()
        return count

    def _count(self, size: int) -> None:
        self._used += size
        self._budget.used += size


def admit(raw: bytes, chunks: Chunks, roster: Roster) -> SubmittedStatement:
    """Checks one statement as far as that needs no state. About 0.1 ms, mostly its signature.

    Raises: the errors of parse_statement and check_statement; MissingChunks.
    """
    statement = parse_statement(raw)
    check_statement(statement, roster)
    return with_body(statement, chunks)


def with_body(statement: Statement, chunks: Chunks) -> SubmittedStatement:
    """A checked statement and, for a catalogue, its body. Raises: MissingChunks."""
    if not isinstance(statement.content, CatalogueHeader):
        return SubmittedStatement(statement=statement)
    manifest, body = chunks.take(statement.content)
    return SubmittedStatement(statement=statement, manifest=manifest, chunks=body)


def refusal_of(error: RequestError) -> Refusal:
    """The same error as a result of a stream, where one bad statement must not end the others' call."""
    field, value, expected = fields_of(error)
    retry_after_ms = getattr(error, "retry_after_ms", None)
    return Refusal(code=code_of(error)[1], field=field, value=value, expected=expected, retry_after_ms=retry_after_ms)
