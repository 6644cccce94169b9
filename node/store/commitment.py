"""One commit of final blocks, written into one transaction: blocks, entries, receipts, index rows, tree hashes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import lmdb
import numpy as np

from consensus.events import Commit
from consensus.types import Block, VoteKind
from ledger.apply import Applied, Entry, Outcome, Reason, Receipt
from ledger.catalogue import CatalogueHeader, parse_manifest
from ledger.merkle import Frontier
from ledger.payload import HEADER_BYTES, SIGNATURE_BYTES, STATEMENT_OVERHEAD_BYTES
from node.store import rights, schema
from node.store.environment import Database
from node.store.errors import StoreMisused
from node.store.index import IndexState
from node.store.records import KeyKind, RowBatch, Rows
from node.store.schema import Counters, EntryRecord, Tables, key
from node.store.view import View, catalogue_key, client_ref_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What the writer keeps in memory of a commit."""

    counters: Counters
    index: IndexState
    run: Rows
    """Rows of the run that was written."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a statement lies."""

    payload: int
    """Payload number."""
    offset: int
    raw: bytes


class Commitment:
    """Writes within one transaction; made anew for each attempt."""

    def __init__(self, txn: lmdb.Transaction, tables: Tables, path: Path, origin: str) -> None:
        self._txn = txn
        self._tables = tables
        self._path = path
        self._view = View(txn, tables, path, origin)
        self._counters = self._view.counters()
        self._rows = RowBatch()

    def write(self, commit: Commit, applied: Sequence[Applied], frontier: Frontier) -> Committed:
        """Raises: StoreMisused where commit, applied and frontier do not continue what is stored."""
        self._check_continues(commit, applied)
        grown = self._view.frontier()
        hashes: list[tuple[bytes, bytes]] = []
        for block, one in zip(commit.blocks, applied, strict=True):
            self._write_entries(block, one)
            rights.write(self._txn, self._tables, one)
            grown, full = grown.extend(leaf.digest for leaf in one.leaves())
            hashes += [(key(schema.hash_position(node.level, node.index)), node.hash) for node in full]
            if one.leaf_count:
                boundary = schema.BOUNDARY.pack(block.height, grown.root())
                self._txn.put(key(grown.size), boundary, append=True, db=self._tables.boundaries)
            self._counters = replace(self._counters, height=block.height)
            head = schema.BLOCK_HEAD.pack(self._counters.size, self._counters.claims)
            self._txn.put(key(block.height), head + block.encode(), append=True, db=self._tables.blocks)
        if grown != frontier:
            raise StoreMisused(self._path, f"a commit whose frontier is not that of its {grown.size} leaves")
        self._append(self._tables.hashes, hashes)
        if not commit.proof:  # a boundary that is final by a descendant has none of its own
            self._txn.put(
                key(self._counters.height), commit.finalization.encode(), append=True, db=self._tables.finalizations
            )  # fmt: skip
        state, run = self._write_index()
        self._txn.put(schema.META_COUNTERS, self._counters.encode(), db=self._tables.meta)
        self._txn.put(schema.META_FRONTIER, frontier.encode(), db=self._tables.meta)
        return Committed(counters=self._counters, index=state, run=run)

    def _check_continues(self, commit: Commit, applied: Sequence[Applied]) -> None:
        if not commit.blocks or len(commit.blocks) != len(applied):
            raise StoreMisused(self._path, f"a commit of {len(commit.blocks)} blocks with {len(applied)} results")
        parent = self._view.block(self._counters.height)
        for block in commit.blocks:
            if (block.height, block.parent) != (parent.height + 1, parent.digest):
                raise StoreMisused(self._path, f"block {block.height}, which does not follow block {parent.height}")
            parent = block
        if commit.proof and not commit.ends_epoch:
            raise StoreMisused(self._path, f"headers that prove block {parent.height}, which ends no epoch")
        vote, last = commit.finalization.vote, (commit.proof or commit.blocks)[-1]
        if (vote.kind, vote.block) != (VoteKind.FINALIZE, last.digest):
            raise StoreMisused(self._path, f"a certificate that does not finalize block {parent.height}")

    def _write_entries(self, block: Block, applied: Applied) -> None:
        self._check_leaves(applied)
        entries = iter(applied.entries)
        places = self._places(block)
        records: list[tuple[bytes, bytes]] = []
        claims = self._counters.claims
        for receipt, place in zip_longest(applied.receipts, places):
            if place is None or receipt is None:
                raise StoreMisused(self._path, f"block {block.height} with other than one receipt for each statement")
            if receipt.outcome is not Outcome.RECORDED:
                self._write_receipt(receipt)
                continue
            entry = next(entries, None)
            if entry is None:
                raise StoreMisused(self._path, f"block {block.height} with fewer entries than recorded statements")
            if place.raw != entry.statement.raw:
                raise StoreMisused(self._path, f"leaf {entry.index}, whose statement is not where its receipt says")
            records.append((key(entry.index), self._write_entry(entry, place, claims)))
            claims += len(entry.claims)
        if next(entries, None) is not None:
            raise StoreMisused(self._path, f"block {block.height} with more entries than recorded statements")
        self._append(self._tables.entries, records)
        self._counters = replace(self._counters, size=self._counters.size + applied.leaf_count, claims=claims)

    def _check_leaves(self, applied: Applied) -> None:
        for expected, leaf in enumerate(applied.leaves(), self._counters.size):
            if leaf.index != expected:
                raise StoreMisused(self._path, f"leaves that do not continue the log at leaf {self._counters.size}")

    def _places(self, block: Block) -> Iterator[_Place]:
        """Every statement of the block's payloads, in order; the payloads are no longer pending."""
        for digest in block.payloads:
            number = self._view.payload_number(digest)
            if number is None:
                raise StoreMisused(self._path, f"block {block.height} before its payload {digest.hex()} was stored")
            self._txn.delete(key(number), db=self._tables.pending)
            data = bytes(self._view.payload(number))  # a copy: views into a write transaction die with the next write
            at = HEADER_BYTES + SIGNATURE_BYTES
            while at < len(data):
                start = at + STATEMENT_OVERHEAD_BYTES
                at = start + int.from_bytes(data[at:start], "big")
                yield _Place(number, start, data[start:at])

    def _write_entry(self, entry: Entry, place: _Place, claims_before: int) -> bytes:
        """Writes what belongs to an entry; returns its record."""
        entry_rows(self._rows, entry)
        if isinstance(entry.statement.content, CatalogueHeader):
            self._write_catalogue(entry, entry.statement.content)
        return entry_record(entry, claims_before, place.payload, place.offset).encode()

    def _write_catalogue(self, entry: Entry, header: CatalogueHeader) -> None:
        """Marks to find its claims by; its blobs are no longer mere uploads."""
        manifest = self._view.blob(header.manifest)
        if manifest is None:
            raise StoreMisused(self._path, f"leaf {entry.index} before its manifest was stored")
        for digest in (header.manifest, *parse_manifest(header, manifest)):
            if self._txn.get(digest, db=self._tables.blobs) is None:
                raise StoreMisused(self._path, f"leaf {entry.index} before its chunk {digest.hex()} was stored")
            self._txn.delete(digest, db=self._tables.uploads)
        marks = claim_marks(entry.claims)
        self._txn.put(key(entry.index), marks, append=True, db=self._tables.marks)

    def _write_receipt(self, receipt: Receipt) -> None:
        if receipt.reason is Reason.STATEMENT:
            return  # the very statement is on record: its entry says all there is to say
        number = self._counters.receipts
        self._txn.put(key(number), receipt.encode(), append=True, db=self._tables.receipts)
        self._rows.add(KeyKind.RECEIPT, receipt.statement, number)
        self._counters = replace(self._counters, receipts=number + 1)

    def _write_index(self) -> tuple[IndexState, Rows]:
        state, run = self._tables.index.add(self._txn, self._view.index_state(), self._rows.rows())
        state = self._tables.index.fold(self._txn, state)
        self._txn.put(schema.META_INDEX, state.encode(), db=self._tables.meta)
        return state, run

    def _append(self, database: Database, items: list[tuple[bytes, bytes]]) -> None:
        with self._txn.cursor(db=database) as cursor:
            cursor.putmulti(items, append=True)


def entry_rows(batch: RowBatch, entry: Entry) -> None:
    """Adds all by which an entry and its claims are found."""
    statement, index = entry.statement, entry.index
    batch.add(KeyKind.STATEMENT, statement.digest, index)
    batch.add(KeyKind.SIGNED, statement.signed_digest, index)
    batch.add(KeyKind.CLIENT_REF, client_ref_key(statement.issuer, statement.client_ref), index)
    if isinstance(statement.content, CatalogueHeader):
        batch.add(KeyKind.CATALOGUE, catalogue_key(statement.issuer, statement.content.root), index)
    keys = entry.keys
    for kind, column in (
        (KeyKind.BLAKE3, keys.blake3), (KeyKind.SHA256, keys.sha256), (KeyKind.ISRC, keys.isrc),
        (KeyKind.ISWC, keys.iswc),
    ):  # fmt: skip
        if column.keys:
            batch.add_claims(kind, column, index)


def entry_record(entry: Entry, claims_before: int, payload: int, offset: int) -> EntryRecord:
    """The record of an entry whose statement lies at `offset` of a payload."""
    statement = entry.statement
    own = statement.own_claim_bytes
    return EntryRecord(
        digest=statement.digest, height=entry.height, block_time_ms=entry.block_time_ms, claims_before=claims_before,
        payload=payload, offset=offset, length=len(statement.raw), claims=len(entry.claims),
        claim_offset=0 if own is None else statement.raw.index(own), claim_length=0 if own is None else len(own),
        issuer=statement.issuer,
    )  # fmt: skip


def claim_marks(claims: Sequence[bytes]) -> bytes:
    """Offsets in the body (claim after claim, each after its u16 length) of every MARK_CLAIMS-th claim, u32 each."""
    ends = np.cumsum(np.fromiter(map(len, claims), dtype=np.int64, count=len(claims)) + 2)
    starts = np.concatenate([[0], ends[:-1]])
    return starts[:: schema.MARK_CLAIMS].astype(">u4").tobytes()
