"""Reads a node's chain store from another process: a fresh snapshot for every call, never in the writer's way."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lmdb

from consensus.errors import RequestError
from consensus.types import Block, Certificate, Digest
from ledger.apply import CountedVote
from ledger.catalogue import Catalogue
from ledger.chain_checkpoint import ChainCheckpoint
from ledger.checkpoint import Checkpoint, checkpoint_note
from ledger.claim import read_claim_keys
from ledger.derived import DerivedKind, derived_entry, derived_kind
from ledger.epochs import EpochProof
from ledger.genesis import Genesis
from ledger.governance import Change
from ledger.merkle import Frontier
from ledger.rights import ClaimId, ClaimRights, initial
from ledger.roster import Roster
from node.rosters import Rosters
from node.store import chain_signatures, epochs, misbehaviour, rights, schema
from node.store.environment import LIB_VERSION, MAP_BYTES_MAX, READERS_MAX, raise_translated
from node.store.errors import StoreCorrupt, StoreNotReady
from node.store.records import KeyKind
from node.store.schema import EntryRecord, Tables
from node.store.view import Head, View, check_meta

CLAIM_KINDS: Final = {
    "blake3": KeyKind.BLAKE3,
    "sha256": KeyKind.SHA256,
    "isrc": KeyKind.ISRC,
    "iswc": KeyKind.ISWC,
    "statement": KeyKind.STATEMENT,
}
"""By what claims are asked for. Keys: 32-byte digests; ISRC and ISWC as canonical ASCII."""
SCAN_MAX: Final = 4_096
"""Claims looked at for one page: who declares false digests may make keys collide, not readers wait."""
_PAGE: Final = struct.Struct(">QI")


class InvalidPage(RequestError):
    """A page token this store did not make. value: it, in hex."""

    code = "INVALID_PAGE"
    field = "page"
    expected = "`next_page` of an earlier answer to the same question, or nothing"

    def __init__(self, value: bytes) -> None:
        super().__init__(f"page: {value.hex()}: expected {self.expected}")
        self.value = value.hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredStatement:
    """A statement of the log; `raw` is verbatim what was submitted."""

    raw: bytes
    digest: Digest
    index: int
    height: int
    block_time_ms: int
    issuer: str
    catalogue: bool
    claims: int
    """How many it makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredClaim:
    """A claim of the log. position: 0-based in its catalogue; 0 where it stands alone."""

    claim: bytes
    statement_digest: Digest
    index: int
    position: int
    catalogue: bool
    issuer: str
    height: int
    block_time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockProof:
    """That a leaf's payload was ordered: the block, and the chain of headers to the first that has a finalization."""

    block: Block
    payload: bytes
    """The payload that holds the leaf's statement, verbatim."""
    headers: tuple[Block, ...]
    """The blocks after `block` up to the one that `finalization` names; empty where that is `block` itself."""
    finalization: Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDerived:
    """A leaf that follows from a statement: `entry` is the SHA-256 of `preimage`."""

    index: int
    kind: DerivedKind
    preimage: bytes
    entry: Digest
    cause: Digest
    height: int
    block_time_ms: int


class ReadSnapshot:
    """The store at one moment."""

    def __init__(self, view: View, path: Path, rosters: Callable[[View], Rosters]) -> None:
        """rosters: gives those of all epochs that have begun in `view`."""
        self._view = view
        self._path = path
        self._rosters = rosters
        self._counters = view.counters()

    @property
    def size(self) -> int:
        """Leaves."""
        return self._counters.size

    @property
    def claims(self) -> int:
        return self._counters.claims

    def head(self) -> Head:
        return self._view.head()

    def frontier(self) -> Frontier:
        """Of the log at `size`; its root is the log's."""
        return self._view.frontier()

    # ---- statements and claims ---------------------------------------------------------------------------------------

    def entry(self, index: int) -> StoredStatement | None:
        record = self._view.entry(index)
        return None if record is None else self._stored(index, record)

    def derived(self, index: int) -> StoredDerived | None:
        """The derived leaf at an index; None where a statement is there, or nothing. Raises: StoreCorrupt."""
        record = rights.derived_at(self._view, index)
        if record is None:
            return None
        kind = derived_kind(record.preimage)
        if kind is None:
            raise StoreCorrupt(self._path, f"derived leaf {index}", "is of no known kind")
        return StoredDerived(
            index=index, kind=kind, preimage=record.preimage, entry=derived_entry(record.preimage), cause=record.cause,
            height=record.height, block_time_ms=record.block_time_ms,
        )  # fmt: skip

    def statement_from(self, index: int) -> int:
        """Index of the first leaf from `index` on that is a statement; `size` where there is none."""
        found = self._view.statement_from(index)
        return self.size if found is None else found

    def index_of_derived(self, entry: bytes) -> int | None:
        return rights.index_of_derived(self._view, entry)

    def leaf_entry(self, index: int) -> Digest:
        """What the leaf at an index below `size` is the hash of. Raises: StoreCorrupt."""
        derived = self.derived(index)
        return self._view.recorded(index).digest if derived is None else derived.entry

    @property
    def statements(self) -> int:
        """Leaves that are statements."""
        return self.size - rights.derived_count(self._view)

    def rights(self, claim: ClaimId) -> ClaimRights | None:
        """Where the rights of a claim stand; None where there is no such claim. Raises: StoreCorrupt."""
        found = rights.rights_of(self._view, claim)
        if found is not None:
            return found
        index = self._view.index_of_statement(claim.statement)
        issuer = rights.issuer_of(self._view, claim, index)
        return None if issuer is None else initial(claim, issuer)

    def statement(self, digest: bytes) -> StoredStatement | None:
        index = self._view.index_of_statement(digest)
        return None if index is None else self._stored(index, self._view.recorded(index))

    def claims_by(
        self, key_kind: str, key: bytes, limit: int, page: bytes = b""
    ) -> tuple[tuple[StoredClaim, ...], bytes]:
        """Claims with a key, ascending by (index, position), at most `limit`; and the next page's token, or nothing.

        key_kind: one of CLAIM_KINDS. A page may hold less than `limit` and still have a next one.
        Raises: InvalidPage.
        """
        kind = CLAIM_KINDS[key_kind]
        start = _parse_page(page)
        places = (
            self._places_of_statement(key, start)
            if kind is KeyKind.STATEMENT
            else self._view.find(kind, key, start=start)
        )
        found: list[StoredClaim] = []
        for looked, (index, position) in enumerate(places):
            if len(found) == limit or looked == SCAN_MAX:
                return tuple(found), _PAGE.pack(index, position)
            claim = self._claim(index, position)
            if kind is KeyKind.STATEMENT or key in getattr(read_claim_keys(claim.claim), key_kind):
                found.append(claim)
        return tuple(found), b""

    def claim(self, index: int, position: int) -> StoredClaim | None:
        """The claim at a position of a leaf."""
        record = self._view.entry(index)
        return self._claim(index, position) if record is not None and 0 <= position < record.claims else None

    def catalogue(self, statement_digest: bytes) -> Catalogue | None:
        """Header, manifest and body chunks; None where no catalogue has that digest. Up to 32 MiB."""
        index = self._view.index_of_statement(statement_digest)
        if index is None or not self._view.recorded(index).catalogue:
            return None
        header, manifest, chunks = self._view.catalogue(index)
        return Catalogue(
            header=header, manifest=manifest, chunks=tuple(bytes(self._view.chunk(digest)) for digest in chunks)
        )  # fmt: skip

    # ---- log and checkpoints -----------------------------------------------------------------------------------------

    def tree_hash(self, level: int, index: int) -> bytes:
        """Hash of a perfect subtree: what ledger.merkle makes proofs from. Raises: StoreCorrupt where there is none."""
        return self._view.tree_hash(level, index)

    def checkpoint_covering(self, index: int) -> int | None:
        """Size of the first complete checkpoint that covers a leaf."""
        return self._view.complete_above(index)

    def latest_checkpoint(self) -> int | None:
        """Size of the newest complete checkpoint."""
        return self._view.latest_complete()

    def checkpoint(self, size: int) -> Checkpoint | None:
        """The checkpoint of a block boundary, complete or not."""
        return self._view.checkpoint_at(size)

    def signers(self, size: int) -> tuple[str, ...]:
        """Member ids of the validators whose cosignatures are held for that size."""
        return tuple(member for member, _, _ in self._view.lines(size))

    def note(self, size: int) -> bytes | None:
        """The signed note of a checkpoint, with the signatures held (`ledger.checkpoint.checkpoint_note`)."""
        checkpoint, signed = self._view.checkpoint_at(size), self._view.cosignatures(size)
        if checkpoint is None or not signed:
            return None
        return checkpoint_note(checkpoint, [log for _, log, _ in signed], [line for _, _, line in signed]).encode()

    # ---- checkpoints for public chains -------------------------------------------------------------------------------

    def chain_checkpoint(self, size: int) -> ChainCheckpoint | None:
        """See `chain_signatures.checkpoint_of`."""
        return chain_signatures.checkpoint_of(self._view, self._path, self.rosters(), size)

    def chain_signatures(self, size: int) -> tuple[tuple[str, bytes], ...]:
        """(member id, signature), ascending by member id."""
        return chain_signatures.signatures(self._view, size)

    def chain_complete_from(self, size: int) -> int | None:
        """The first of at least `size` leaves with a quorum."""
        return chain_signatures.complete_from(self._view, size)

    def latest_chain_checkpoint(self) -> int | None:
        """Size of the newest with a quorum."""
        return chain_signatures.latest_complete(self._view)

    def chain_checkpoint_count(self) -> int:
        """How many have a quorum."""
        return chain_signatures.complete_count(self._view)

    def chain_signatures_missing(self) -> int:
        """Signatures that the newest one lacks of its quorum."""
        size = chain_signatures.latest_signed(self._view)
        if size is None or chain_signatures.is_complete(self._view, size):
            return 0
        return self.rosters().of_size(size).quorum - len(self.chain_signatures(size))

    def open_chain_ends(self) -> int:
        """Epochs whose end has no quorum yet, so that no bridge gets past them."""
        return len(chain_signatures.open_ends(self._view, self._path, self.rosters(), len(self.rosters().starts)))

    # ---- misbehaviour ------------------------------------------------------------------------------------------------

    def misbehaviour_count(self) -> int:
        return misbehaviour.count(self._view.txn, self._view.tables.misbehaviour)

    def misbehaviours(self, limit: int, page: bytes = b"") -> tuple[tuple[bytes, ...], bytes]:
        """Encoded evidence by validator and view, at most `limit`; and the next page's token, or nothing.

        Raises: InvalidPage.
        """
        if page and len(page) != misbehaviour.KEY_BYTES:
            raise InvalidPage(page)
        return misbehaviour.page(self._view.txn, self._view.tables.misbehaviour, limit, page)

    # ---- epochs ------------------------------------------------------------------------------------------------------

    def rosters(self) -> Rosters:
        """All epochs that have begun. Raises: StoreCorrupt."""
        return self._rosters(self._view)

    def epoch_proof(self, epoch: int) -> EpochProof | None:
        """What proves that epoch's roster; None for epoch 0, which the genesis proves, and for one not begun here."""
        return epochs.read_proof(self._view, self._path, epoch)

    def epoch_proofs(self) -> tuple[EpochProof, ...]:
        """Of all epochs from 1 to the current one. Raises: StoreCorrupt."""
        found = (self.epoch_proof(start.roster.epoch) for start in self.rosters().starts)
        return tuple(proof for proof in found if proof is not None)

    def change(self, index: int) -> Change | None:
        """What the statement at a leaf votes for; None where it is no vote."""
        content = self._view.statement(index).content
        return content if isinstance(content, Change) else None

    def next_roster(self) -> Roster | None:
        """Of the next epoch, while a change has passed and no block has put it into force yet."""
        return epochs.read_next(self._view, self._path)

    def votes(self) -> tuple[CountedVote, ...]:
        """On changes of the current epoch, by proposal and voter."""
        return epochs.votes(self._view)

    # ---- chain -------------------------------------------------------------------------------------------------------

    def block_of(self, index: int) -> BlockProof | None:
        record = self._view.entry(index)
        if record is None:
            return None
        found = epochs.finality(self._view, self._path, record.height)
        assert found is not None, "every commit ends with a block that is proven final"
        return BlockProof(
            block=self._view.block(record.height),
            payload=bytes(self._view.payload(record.payload)),
            headers=found[0],
            finalization=found[1],
        )

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _stored(self, index: int, record: EntryRecord) -> StoredStatement:
        return StoredStatement(
            raw=self._view.raw(record), digest=record.digest, index=index, height=record.height,
            block_time_ms=record.block_time_ms, issuer=record.issuer, catalogue=record.catalogue, claims=record.claims,
        )  # fmt: skip

    def _claim(self, index: int, position: int) -> StoredClaim:
        record = self._view.recorded(index)
        return StoredClaim(
            claim=self._view.claim(index, record, position), statement_digest=record.digest, index=index,
            position=position, catalogue=record.catalogue, issuer=record.issuer, height=record.height,
            block_time_ms=record.block_time_ms,
        )  # fmt: skip

    def _places_of_statement(self, digest: bytes, start: tuple[int, int]) -> Iterator[tuple[int, int]]:
        index = self._view.index_of_statement(digest)
        if index is not None:
            yield from ((index, position) for position in range(start[1], self._view.recorded(index).claims))


_LATER: Final = {
    "misbehaviour": schema.MISBEHAVIOUR,
    "rosters": schema.ROSTERS,
    "votes": schema.VOTES,
    "dropped": schema.DROPPED,
    "chain_signatures": schema.CHAIN_SIGNATURES,
    "chain_complete": schema.CHAIN_COMPLETE,
    "chain_ends": schema.CHAIN_ENDS,
    "derived": schema.DERIVED,
    "derived_index": schema.DERIVED_INDEX,
    "rights": schema.RIGHTS,
    "stays": schema.STAYS,
}
"""Fields of Tables, and the databases that a store may lack until its writer is started again."""
assert set(_LATER.values()) == set(schema.LATER_DATABASES)


class StoreReader:
    """Opens the store when it is first asked, so that it may be made before the writer made the store."""

    def __init__(self, path: Path, genesis: Genesis, *, map_bytes: int = MAP_BYTES_MAX) -> None:
        """map_bytes: address space to reserve, so that the file may grow without remapping; grows where needed."""
        self._path = path
        self._genesis = genesis
        self._rosters = Rosters(genesis)
        self._map_bytes = map_bytes
        self._turn = threading.Condition()
        self._active = 0
        self._opened: tuple[lmdb.Environment, Tables] | None = None

    def close(self) -> None:
        with self._turn:
            if self._opened is not None:
                self._opened[0].close()
                self._opened = None

    @contextmanager
    def snapshot(self) -> Iterator[ReadSnapshot]:
        """The store as it is now; keep it short. Values that leave it are copies.

        Raises: StoreNotReady, SchemaTooNew, OtherConsortium, StoreCorrupt.
        """
        with self.view() as view:
            yield ReadSnapshot(view, self._path, self._rosters_in)

    def _rosters_in(self, view: View) -> Rosters:
        """Epochs only ever follow: those read before are not read again."""
        with self._turn:
            while (start := epochs.read_start(view, self._path, self._rosters.epoch + 1)) is not None:
                self._rosters.add(start)
            return self._rosters

    @contextmanager
    def view(self) -> Iterator[View]:
        """As `snapshot`, with everything in reach: for `stretto store check`."""
        txn, tables = self._begin()
        try:
            yield View(txn, tables, self._path, self._genesis.origin)
        except lmdb.Error as error:
            raise_translated(self._path, error)
            raise
        finally:
            txn.abort()
            with self._turn:
                self._active -= 1
                self._turn.notify_all()

    def _begin(self) -> tuple[lmdb.Transaction, Tables]:
        with self._turn:
            env, tables = self._opened or self._open()
            if self._active == 0:
                _open_later(env, tables)
            while True:
                try:
                    txn = env.begin(buffers=True)
                except lmdb.MapResizedError:
                    # The writer outgrew our map. Remapping needs a moment without snapshots in this process.
                    self._turn.wait_for(lambda: self._active == 0)
                    env.set_mapsize(0)
                except (lmdb.Error, OSError) as error:
                    raise_translated(self._path, error)
                    raise
                else:
                    self._active += 1
                    return txn, tables

    def _open(self) -> tuple[lmdb.Environment, Tables]:
        env = None
        try:
            env = lmdb.open(
                str(self._path), readonly=True, create=False, map_size=self._map_bytes, max_readers=READERS_MAX,
                max_dbs=len(schema.DATABASES + schema.LATER_DATABASES), max_spare_txns=4, lib_version=LIB_VERSION,
            )  # fmt: skip
            tables = Tables({name: env.open_db(name, create=False) for name in schema.DATABASES})
            with env.begin(buffers=True) as txn:
                check_meta(txn, tables, self._path, self._genesis)
        except BaseException as error:
            if env is not None:
                env.close()
            if isinstance(error, lmdb.NotFoundError):  # the writer is about to make its databases
                raise StoreNotReady(self._path) from error
            raise_translated(self._path, error)
            raise
        self._opened = (env, tables)
        return self._opened


def _open_later(env: lmdb.Environment, tables: Tables) -> None:
    """Tables that older writers do not make, once they are there. No transaction may be open in this process."""
    for field, name in _LATER.items():
        if getattr(tables, field) is None:
            with suppress(lmdb.NotFoundError, lmdb.MapResizedError):
                setattr(tables, field, env.open_db(name, create=False))


def _parse_page(page: bytes) -> tuple[int, int]:
    if not page:
        return 0, 0
    if len(page) != _PAGE.size:
        raise InvalidPage(page)
    index, position = _PAGE.unpack(page)
    if index >= 2**48 or position >= 2**16:
        raise InvalidPage(page)
    return index, position
