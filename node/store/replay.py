"""Replays a stored chain from genesis and compares every record on the way: the heart of `stretto store check`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from consensus.certificates import check_certificate
from consensus.types import Block, Digest, VoteKind, genesis_block
from ledger.apply import Applied, Entry, Outcome, Reason, Receipt, apply_block
from ledger.catalogue import CatalogueHeader, check_catalogue
from ledger.ed25519 import verify_strict
from ledger.genesis import Genesis
from ledger.merkle import Frontier
from ledger.payload import (
    HEADER_BYTES,
    SIGNATURE_BYTES,
    STATEMENT_OVERHEAD_BYTES,
    Payload,
    check_payload,
    parse_payload,
)
from ledger.rights import ClaimId
from ledger.statement import Statement, check_statement, parse_statement
from node.rosters import Rosters
from node.store import rights, schema
from node.store.commitment import claim_marks, entry_record, entry_rows
from node.store.index import RecentKeys
from node.store.records import ONCE_KINDS_MAX, KeyKind, RowBatch, distinct, row_key, sort_rows
from node.store.replay_epochs import Contradiction, ReplayedEpochs
from node.store.replay_rights import ReplayedRights
from node.store.schema import Counters, key
from node.store.tally import RowKeys, RowTally
from node.store.view import View, catalogue_key, client_ref_key


class Replay:
    """Replays block after block; after one that raised it is of no more use."""

    def __init__(self, view: View, genesis: Genesis) -> None:
        self._view = view
        self._epochs = ReplayedEpochs(view, genesis)
        self._rights = ReplayedRights(view)
        self._parent = genesis_block(genesis.committee())
        self._ordered = bytearray(view.counters().payloads)
        self.height = 0
        self.size = 0
        self.claims = 0
        self.receipts = 0
        self.payloads = 0
        self.finalizations = 0
        self.boundaries = 0
        self.catalogues = 0
        self.frontier = Frontier()
        self.rows = RowTally(RowKeys())
        """Index rows that follow from the log."""
        self.blobs: set[bytes] = set()
        """Blobs that recorded catalogues need."""
        self._recent = RecentKeys()

    def start(self) -> None:
        """The genesis block. Raises: Contradiction."""
        view = self._view
        self._same(
            "block 0", view.get(view.tables.blocks, key(0)), schema.BLOCK_HEAD.pack(0, 0) + self._parent.encode()
        )
        state = view.index_state()
        self._recent.add(state.sweep, list(view.tables.index.unfolded(view.txn, state)), ONCE_KINDS_MAX)

    @property
    def rosters(self) -> Rosters:
        """As far as the replay has come."""
        return self._epochs.rosters

    @property
    def statements(self) -> int:
        """Leaves that are statements; the others follow from them."""
        return self.size - self._rights.derived

    def close(self) -> None:
        """Nothing can be replayed any more."""
        self._rights.close()

    def was_ordered(self, payload: int) -> bool:
        return bool(self._ordered[payload])

    def block(self, height: int) -> None:
        """Raises: Contradiction, and what reading spoilt bytes raises."""
        block = self._view.block(height)
        self._check_header(block, height)
        self._check_finalization(block)
        payloads = [self._payload(block, digest) for digest in block.payloads]
        applied = apply_block(
            _Earlier(self._view, self.size, self._recent, self._epochs, self._rights),
            height,
            block.timestamp_ms,
            [(payload.digest, statements) for _, payload, statements in payloads],
            _Bodies(self._view, self.blobs, [s for _, _, statements in payloads for s in statements]),
        )
        self._compare(block, applied, list(_places(payloads)))
        self._rights.applied(applied)
        self._epochs.applied(block, applied, self.size)
        self._parent = block
        self.height = height

    def check_end(self) -> None:
        """Counters, frontier and the number of records of every kind. Raises: Contradiction."""
        view, tables = self._view, self._view.tables
        counters = view.counters()
        expected = Counters(
            height=self.height, size=self.size, claims=self.claims, receipts=self.receipts,
            payloads=counters.payloads, uploads=counters.uploads,
        )  # fmt: skip
        self._same("counters", counters.encode(), expected.encode())
        self._same("frontier", view.meta(schema.META_FRONTIER), self.frontier.encode())
        if view.finalization(self.height) is None and self.height > self._epochs.rosters.starts[-1].height:
            raise Contradiction(f"block {self.height}", "is the last and has no finalization of its own")
        self._epochs.check_end()
        self._rights.check_end()
        for name, database, count in (
            ("blocks", tables.blocks, self.height + 1),
            ("finalizations", tables.finalizations, self.finalizations),
            ("boundaries", tables.boundaries, self.boundaries),
            ("entries", tables.entries, self.statements),
            ("tree hashes", tables.hashes, 2 * self.size - self.size.bit_count()),
            ("marks", tables.marks, self.catalogues),
            ("receipts", tables.receipts, self.receipts),
        ):
            if (there := view.entries_in(database)) != count:
                raise Contradiction(name, f"{there} are there, {count} follow from the log")

    # ---- one block ---------------------------------------------------------------------------------------------------

    def _check_header(self, block: Block, height: int) -> None:
        parent = self._parent
        committee = self._epochs.rosters.current.committee()
        if (block.consortium, block.epoch) != (committee.consortium, committee.epoch):
            raise Contradiction(f"block {height}", "is of another consortium or epoch")
        if (block.height, block.parent, block.parent_view) != (height, parent.digest, parent.view):
            raise Contradiction(f"block {height}", f"does not follow block {height - 1}")
        if block.timestamp_ms <= parent.timestamp_ms or block.view <= parent.view:
            raise Contradiction(f"block {height}", "is not later than its parent")
        if block.proposer != committee.leader(block.view):
            raise Contradiction(f"block {height}", f"was not proposed by the leader of view {block.view}")

    def _check_finalization(self, block: Block) -> None:
        certificate = self._view.finalization(block.height)
        if certificate is None:
            return
        vote = certificate.vote
        named = (vote.kind, vote.view, vote.height, vote.block)
        if named != (VoteKind.FINALIZE, block.view, block.height, block.digest):
            raise Contradiction(f"finalization of block {block.height}", "names something else")
        check_certificate(certificate, self._epochs.rosters.current.committee(), verify_strict)
        self.finalizations += 1

    def _payload(self, block: Block, digest: Digest) -> tuple[int, Payload, tuple[Statement, ...]]:
        number = self._view.payload_number(digest)
        if number is None or number >= len(self._ordered):
            raise Contradiction(f"block {block.height}", f"orders the payload {digest.hex()}, which is not there")
        payload = parse_payload(bytes(self._view.payload(number)))
        if payload.digest != digest:
            raise Contradiction(f"payload {number}", f"is {payload.digest.hex()}, not {digest.hex()}")
        check_payload(payload, self._epochs.rosters.current.committee(), verify_strict)
        statements = tuple(parse_statement(raw) for raw in payload.statements)
        for statement in statements:
            check_statement(statement, self._epochs.rosters.current)
        self.payloads += not self._ordered[number]
        self._ordered[number] = 1
        return number, payload, statements

    def _compare(self, block: Block, applied: Applied, places: list[tuple[int, int]]) -> None:
        view, tables = self._view, self._view.tables
        entries = iter(applied.entries)
        batch = RowBatch()
        for receipt, (payload, offset) in zip(applied.receipts, places, strict=True):
            if receipt.outcome is Outcome.RECORDED:
                entry = next(entries)
                expected = entry_record(entry, self.claims, payload, offset).encode()
                self._same(f"entry {entry.index}", view.get(tables.entries, key(entry.index)), expected)
                entry_rows(batch, entry)
                self._check_marks(entry)
                self.claims += len(entry.claims)
            elif receipt.reason is not Reason.STATEMENT:
                self._check_receipt(receipt, batch)
        self.rows.add(distinct(sort_rows(batch.rows())))
        self.frontier, full = self.frontier.extend(leaf.digest for leaf in applied.leaves())
        for node in full:
            what = f"tree hash at level {node.level} index {node.index}"
            self._same(what, view.tree_hash(node.level, node.index), node.hash)
        self.size = self.frontier.size
        if applied.leaf_count:
            boundary = schema.BOUNDARY.pack(block.height, self.frontier.root())
            self._same(f"checkpoint of size {self.size}", view.get(tables.boundaries, key(self.size)), boundary)
            self.boundaries += 1
        head = schema.BLOCK_HEAD.pack(self.size, self.claims) + block.encode()
        self._same(f"block {block.height}", view.get(tables.blocks, key(block.height)), head)

    def _check_marks(self, entry: Entry) -> None:
        if isinstance(entry.statement.content, CatalogueHeader):
            self.catalogues += 1
            marks = claim_marks(entry.claims)
            stored = self._view.get(self._view.tables.marks, key(entry.index))
            self._same(f"marks of entry {entry.index}", stored, marks)

    def _check_receipt(self, receipt: Receipt, batch: RowBatch) -> None:
        stored = self._view.get(self._view.tables.receipts, key(self.receipts))
        self._same(f"receipt {self.receipts}", stored, receipt.encode())
        batch.add(KeyKind.RECEIPT, receipt.statement, self.receipts)
        self.receipts += 1

    def _same(self, what: str, stored: bytes | None, expected: bytes) -> None:
        if stored is None:
            raise Contradiction(what, "is missing")
        if stored != expected:
            raise Contradiction(what, "has other bytes than follow from the log")


class _Earlier:
    """The ledger before a block: the store's own index, without what came later.

    A row too many cannot mislead, since the whole statement is compared; a row too few makes a duplicate look new, and
    then the entries differ from those stored.
    """

    def __init__(
        self, view: View, size: int, recent: RecentKeys, epochs: ReplayedEpochs, replayed: ReplayedRights
    ) -> None:
        self._view = view
        self._recent = recent
        self._epochs = epochs
        self.size = size
        self.roster = epochs.roster
        self.is_ending = epochs.is_ending
        self.rights_of = replayed.rights_of
        self.stays_due = replayed.stays_due

    def voters_for(self, proposal: Digest) -> frozenset[str]:
        return self._epochs.voters_for(proposal)

    def votes_by(self, voter: str) -> int:
        return self._epochs.votes_by(voter)

    def index_of_statement(self, digest: Digest) -> int | None:
        runs = self._recent.may_hold(row_key(KeyKind.STATEMENT, digest))
        return self._earlier(self._view.index_of_statement(digest, runs=runs))

    def index_of_signed(self, signed_digest: Digest) -> int | None:
        runs = self._recent.may_hold(row_key(KeyKind.SIGNED, signed_digest))
        return self._earlier(self._view.index_of_signed(signed_digest, runs=runs))

    def index_of_client_ref(self, issuer: str, client_ref: str) -> int | None:
        runs = self._recent.may_hold(row_key(KeyKind.CLIENT_REF, client_ref_key(issuer, client_ref)))
        return self._earlier(self._view.index_of_client_ref(issuer, client_ref, runs=runs))

    def index_of_catalogue(self, issuer: str, root: Digest) -> int | None:
        runs = self._recent.may_hold(row_key(KeyKind.CATALOGUE, catalogue_key(issuer, root)))
        return self._earlier(self._view.index_of_catalogue(issuer, root, runs=runs))

    def issuer_of(self, claim: ClaimId) -> str | None:
        return rights.issuer_of(self._view, claim, self.index_of_statement(claim.statement))

    def _earlier(self, index: int | None) -> int | None:
        return index if index is not None and index < self.size else None


class _Bodies(Mapping[Digest, tuple[bytes, ...]]):
    """Bodies of a block's catalogues, read and checked when execution asks."""

    def __init__(self, view: View, needed: set[bytes], statements: list[Statement]) -> None:
        self._view = view
        self._needed = needed
        self._headers = {s.digest: s.content for s in statements if isinstance(s.content, CatalogueHeader)}

    def __getitem__(self, digest: Digest) -> tuple[bytes, ...]:
        header = self._headers[digest]
        manifest = self._view.blob(header.manifest)
        if manifest is None:
            raise Contradiction(f"manifest {header.manifest.hex()}", "is missing")
        digests = [manifest[at : at + 32] for at in range(0, len(manifest), 32)]
        chunks = [self._view.blob(chunk) or b"" for chunk in digests]
        claims = check_catalogue(header, manifest, chunks)
        self._needed.update((header.manifest, *digests))
        return claims

    def __iter__(self) -> Iterator[Digest]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)


def _places(payloads: list[tuple[int, Payload, tuple[Statement, ...]]]) -> Iterator[tuple[int, int]]:
    """(payload number, offset) of every statement."""
    for number, payload, _ in payloads:
        at = HEADER_BYTES + SIGNATURE_BYTES
        for raw in payload.statements:
            yield number, at + STATEMENT_OVERHEAD_BYTES
            at += STATEMENT_OVERHEAD_BYTES + len(raw)
