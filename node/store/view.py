"""Reading the chain store within one transaction: the same for the writer and for readers in other processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lmdb

from consensus.types import Block, Certificate, Digest
from ledger.apply import Outcome, Receipt
from ledger.catalogue import CHUNK_BYTES, CatalogueHeader, parse_manifest
from ledger.checkpoint import Checkpoint
from ledger.genesis import Genesis
from ledger.merkle import Frontier, parse_frontier
from ledger.note import NoteSignature, parse_signature_line
from ledger.statement import Statement, parse_statement
from node.store import schema
from node.store.environment import Database
from node.store.errors import OtherConsortium, SchemaTooNew, StoreCorrupt, StoreNotReady
from node.store.index import IndexState
from node.store.records import KeyKind, row_key
from node.store.schema import Counters, EntryRecord, Tables, key, number


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last block that was committed. finalization: its own; None for the genesis block."""

    block: Block
    finalization: Certificate | None
    size: int
    """Leaves of the log."""
    claims: int


def client_ref_key(issuer: str, client_ref: str) -> bytes:
    return issuer.encode() + b"\0" + client_ref.encode()


def catalogue_key(issuer: str, root: bytes) -> bytes:
    return issuer.encode() + b"\0" + root


def check_meta(txn: lmdb.Transaction, tables: Tables, path: Path, genesis: Genesis) -> None:
    """Whether this program may use the store. Raises: StoreNotReady, SchemaTooNew, OtherConsortium."""
    found = txn.get(schema.META_SCHEMA, db=tables.meta)
    if found is None:
        raise StoreNotReady(path)
    if number(found) > schema.SCHEMA:
        raise SchemaTooNew(path, number(found), schema.SCHEMA)
    digest = bytes(txn.get(schema.META_GENESIS, db=tables.meta) or b"")
    if digest != genesis.digest:
        raise OtherConsortium(path, digest, genesis.digest)


class View:
    """The store as of one transaction; dies with it."""

    def __init__(self, txn: lmdb.Transaction, tables: Tables, path: Path, origin: str) -> None:
        self.txn = txn
        self.tables = tables
        self.path = path
        self._origin = origin
        self._open_catalogue: tuple[int, tuple[Digest, ...]] | None = None
        """Leaf index and chunk digests of the catalogue read last: pages mostly stay within one."""

    # ---- where things stand ------------------------------------------------------------------------------------------

    def counters(self) -> Counters:
        return Counters.decode(self.meta(schema.META_COUNTERS))

    def frontier(self) -> Frontier:
        return parse_frontier(self.meta(schema.META_FRONTIER))

    def index_state(self) -> IndexState:
        return IndexState.decode(self.meta(schema.META_INDEX))

    def head(self) -> Head:
        counters = self.counters()
        return Head(
            block=self.block(counters.height),
            finalization=self.finalization(counters.height),
            size=counters.size,
            claims=counters.claims,
        )

    def meta(self, name: bytes) -> bytes:
        return bytes(self._present(self.txn.get(name, db=self.tables.meta), f"meta {name.decode()}"))

    # ---- chain -------------------------------------------------------------------------------------------------------

    def block(self, height: int) -> Block:
        return Block.decode(self.block_bytes(height))

    def block_bytes(self, height: int) -> bytes:
        return bytes(self._present(self._get(self.tables.blocks, height), f"block {height}")[schema.BLOCK_HEAD.size :])

    def size_after(self, height: int) -> tuple[int, int]:
        """Leaves and claims after the block at `height`."""
        leaves, claims = schema.BLOCK_HEAD.unpack_from(
            self._present(self._get(self.tables.blocks, height), f"block {height}")
        )
        return leaves, claims

    def finalization(self, height: int) -> Certificate | None:
        found = self._get(self.tables.finalizations, height)
        return None if found is None else Certificate.decode(bytes(found))

    def finalized_at_or_after(self, height: int) -> int | None:
        """Height of the first block from `height` on that has its own finalization."""
        return self._first(self.tables.finalizations, height)

    def finalized_at_or_before(self, height: int) -> int | None:
        with self.txn.cursor(db=self.tables.finalizations) as cursor:
            if cursor.set_range(key(height)) and number(cursor.key()) == height:
                return height
            return number(cursor.key()) if (cursor.prev() if cursor.key() else cursor.last()) else None

    # ---- contents ----------------------------------------------------------------------------------------------------

    def blob(self, digest: bytes) -> bytes | None:
        found = self.txn.get(digest, db=self.tables.blobs)
        return None if found is None else bytes(found)

    def payload_number(self, digest: bytes) -> int | None:
        found = self.txn.get(digest, db=self.tables.payload_numbers)
        return None if found is None else number(found)

    def payload(self, at: int) -> memoryview:
        return self._present(self._get(self.tables.payloads, at), f"payload {at}")

    # ---- entries -----------------------------------------------------------------------------------------------------

    def entry(self, index: int) -> EntryRecord | None:
        found = self._get(self.tables.entries, index)
        return None if found is None else EntryRecord.decode(found)

    def statement_from(self, index: int) -> int | None:
        """Index of the first entry from `index` on: leaves between entries are derived ones."""
        return self._first(self.tables.entries, index)

    def recorded(self, index: int) -> EntryRecord:
        """As `entry`, of an index that must exist. Raises: StoreCorrupt."""
        found = self.entry(index)
        if found is None:
            raise StoreCorrupt(self.path, f"entry {index}", "missing")
        return found

    def raw(self, record: EntryRecord) -> bytes:
        """The statement's bytes, verbatim."""
        return bytes(self.payload(record.payload)[record.offset : record.offset + record.length])

    def statement(self, index: int) -> Statement:
        return parse_statement(self.raw(self.recorded(index)))

    def find(
        self, kind: KeyKind, full_key: bytes, *, start: tuple[int, int] = (0, 0), runs: bool = True
    ) -> Iterator[tuple[int, int]]:
        """(leaf index, position) that the index has for a key; candidates until the whole key is compared."""
        return self.tables.index.find(self.txn, row_key(kind, full_key), start=start, runs=runs)

    def index_of_statement(self, digest: bytes, *, runs: bool = True) -> int | None:
        for index, _ in self.find(KeyKind.STATEMENT, digest, runs=runs):
            if self.recorded(index).digest == digest:
                return index
        return None

    def index_of_signed(self, signed_digest: bytes, *, runs: bool = True) -> int | None:
        for index, _ in self.find(KeyKind.SIGNED, signed_digest, runs=runs):
            if self.statement(index).signed_digest == signed_digest:
                return index
        return None

    def index_of_client_ref(self, issuer: str, client_ref: str, *, runs: bool = True) -> int | None:
        for index, _ in self.find(KeyKind.CLIENT_REF, client_ref_key(issuer, client_ref), runs=runs):
            statement = self.statement(index)
            if (statement.issuer, statement.client_ref) == (issuer, client_ref):
                return index
        return None

    def index_of_catalogue(self, issuer: str, root: bytes, *, runs: bool = True) -> int | None:
        for index, _ in self.find(KeyKind.CATALOGUE, catalogue_key(issuer, root), runs=runs):
            statement = self.statement(index)
            header = statement.content
            if statement.issuer == issuer and isinstance(header, CatalogueHeader) and header.root == root:
                return index
        return None

    def receipt(self, digest: bytes, *, runs: bool = True) -> Receipt | None:
        """What became of a statement: recorded where it is in the log, else its latest refusal."""
        index = self.index_of_statement(digest, runs=runs)
        if index is not None:
            entry = self.recorded(index)
            return Receipt(
                statement=entry.digest, outcome=Outcome.RECORDED, index=index, height=entry.height,
                block_time_ms=entry.block_time_ms,
            )  # fmt: skip
        latest = None
        for at, _ in self.find(KeyKind.RECEIPT, digest, runs=runs):
            receipt = Receipt.decode(bytes(self._present(self._get(self.tables.receipts, at), f"receipt {at}")))
            latest = receipt if receipt.statement == digest else latest
        return latest

    # ---- claims ------------------------------------------------------------------------------------------------------

    def catalogue(self, index: int) -> tuple[CatalogueHeader, bytes, tuple[Digest, ...]]:
        """Header, manifest and the chunks' digests of the catalogue at a leaf. Raises: StoreCorrupt."""
        header = self.statement(index).content
        if not isinstance(header, CatalogueHeader):
            raise StoreCorrupt(self.path, f"entry {index}", "not a catalogue, though its record says so")
        manifest = self.blob(header.manifest)
        if manifest is None:
            raise StoreCorrupt(self.path, f"manifest of entry {index}", "missing")
        return header, manifest, parse_manifest(header, manifest)

    def claim(self, index: int, record: EntryRecord, position: int) -> bytes:
        """The bytes of a claim. position: below `record.claims`."""
        if not record.catalogue:
            raw = self.payload(record.payload)
            start = record.offset + record.claim_offset
            return bytes(raw[start : start + record.claim_length])
        if self._open_catalogue is None or self._open_catalogue[0] != index:
            self._open_catalogue = (index, self.catalogue(index)[2])
        return self.claim_in(index, self._open_catalogue[1], position)

    def claim_in(self, index: int, chunks: tuple[Digest, ...], position: int) -> bytes:
        """Claim at a position of a catalogue: from the nearest mark, over the claims before it."""
        marks = self._present(self._get(self.tables.marks, index), f"marks of entry {index}")
        at = int.from_bytes(marks[position // schema.MARK_CLAIMS * 4 :][:4], "big")
        body = _Body(self, chunks)
        for _ in range(position % schema.MARK_CLAIMS):
            at += 2 + int.from_bytes(body.read(at, 2), "big")
        return body.read(at + 2, int.from_bytes(body.read(at, 2), "big"))

    def chunk(self, digest: Digest) -> memoryview:
        return self._present(self.txn.get(digest, db=self.tables.blobs), f"chunk {digest.hex()}")

    # ---- log ---------------------------------------------------------------------------------------------------------

    def tree_hash(self, level: int, index: int) -> bytes:
        found = self._get(self.tables.hashes, schema.hash_position(level, index))
        return bytes(self._present(found, f"tree hash at level {level} index {index}"))

    def checkpoint_at(self, size: int) -> Checkpoint | None:
        found = self._get(self.tables.boundaries, size)
        if found is None:
            return None
        _, root = schema.BOUNDARY.unpack(found)
        return Checkpoint(origin=self._origin, size=size, root=root)

    def boundary_time_ms(self, size: int) -> int | None:
        """Block time of the block that made the log `size` leaves long; None where none did."""
        found = self._get(self.tables.boundaries, size)
        return None if found is None else self.block(schema.BOUNDARY.unpack(found)[0]).timestamp_ms

    def complete_above(self, size: int) -> int | None:
        """The first complete checkpoint of more than `size` leaves."""
        return self._first(self.tables.complete, size + 1)

    def latest_complete(self) -> int | None:
        with self.txn.cursor(db=self.tables.complete) as cursor:
            return number(cursor.key()) if cursor.last() else None

    def cosignatures(self, size: int) -> tuple[tuple[str, NoteSignature, NoteSignature], ...]:
        """(member id, log signature, cosignature), ascending by member id."""
        return tuple((member, parse_signature_line(a), parse_signature_line(b)) for member, a, b in self.lines(size))

    def lines(self, size: int) -> list[tuple[str, bytes, bytes]]:
        prefix = key(size)
        lines = []
        with self.txn.cursor(db=self.tables.cosignatures) as cursor:
            found = cursor.set_range(prefix)
            while found and bytes(cursor.key()[:8]) == prefix:
                value = bytes(cursor.value())
                cut = 2 + int.from_bytes(value[:2], "big")
                lines.append((bytes(cursor.key()[8:]).decode(), value[2:cut], value[cut:]))
                found = cursor.next()
        return lines

    def watermark(self) -> tuple[int, bytes] | None:
        """(size, root) this node cosigned last."""
        found = self.txn.get(schema.META_COSIGNED, db=self.tables.meta)
        if found is None:
            return None
        size, root = schema.COSIGNED.unpack(found)
        return size, root

    # ---- whole databases, for `stretto store check` ------------------------------------------------------------------

    def items(self, database: Database) -> Iterator[tuple[bytes, bytes]]:
        with self.txn.cursor(db=database) as cursor:
            for stored_key, value in cursor:
                yield bytes(stored_key), bytes(value)

    def get(self, database: Database, stored_key: bytes) -> bytes | None:
        found = self.txn.get(stored_key, db=database)
        return None if found is None else bytes(found)

    def entries_in(self, database: Database) -> int:
        return self.txn.stat(db=database)["entries"]

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _get(self, database: Database, at: int) -> memoryview | None:
        return self.txn.get(key(at), db=database)  # type: ignore[return-value]  # buffers=True in every transaction

    def _first(self, database: Database, at: int) -> int | None:
        with self.txn.cursor(db=database) as cursor:
            return number(cursor.key()) if cursor.set_range(key(at)) else None

    def _present(self, value: memoryview | bytes | None, what: str) -> memoryview:
        if value is None:
            raise StoreCorrupt(self.path, what, "missing")
        return value  # type: ignore[return-value]


class _Body:
    """A catalogue's body as if it were in one piece."""

    def __init__(self, view: View, chunks: tuple[Digest, ...]) -> None:
        self._view = view
        self._chunks = chunks

    def read(self, at: int, length: int) -> bytes:
        number_, offset = divmod(at, CHUNK_BYTES)
        piece = bytes(self._view.chunk(self._chunks[number_])[offset : offset + length])
        if len(piece) < length:  # it goes on in the next chunk
            piece += bytes(self._view.chunk(self._chunks[number_ + 1])[: length - len(piece)])
        return piece
