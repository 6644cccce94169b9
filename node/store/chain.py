"""The chain store: blocks, payloads, the log, its indexes and checkpoints in one environment, with one writer.

What a method wrote is on disk (fsync) when it returns, all of it or nothing. Statements, payloads and catalogue chunks
are kept as the bytes that arrived; entries only say where those are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Self, TypeVar

import lmdb

from consensus.events import Commit
from consensus.messages import Chain
from consensus.types import Certificate, Digest, Epoch, Height, genesis_block
from ledger.apply import Applied, Receipt
from ledger.chain_checkpoint import ChainCheckpoint
from ledger.checkpoint import Checkpoint
from ledger.epochs import EpochProof
from ledger.genesis import Genesis
from ledger.merkle import Frontier, root_at
from ledger.misbehaviour import Evidence
from ledger.note import NoteSignature
from ledger.payload import HEADER_BYTES, Payload, parse_payload_header
from ledger.roster import Roster
from node.store import chain_signatures, epochs, misbehaviour, rights, schema
from node.store.chain_signatures import ChainSignatures, ChainSigned
from node.store.commitment import Commitment, Committed
from node.store.environment import MAP_BYTES_MAX, WriterEnvironment
from node.store.errors import CheckpointDiffers, CosignRefused, StoreMisused
from node.store.index import IndexState, RecentKeys
from node.store.recorded import Recorded
from node.store.records import ONCE_KINDS_MAX
from node.store.schema import Counters, Tables, key, number
from node.store.view import Head, View, check_meta

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosigned:
    """A validator's two signatures over a checkpoint."""

    checkpoint: Checkpoint
    member: str
    """Member id."""
    log: NoteSignature
    cosignature: NoteSignature


class ChainStore:
    """The one writer of a node's chain and ledger."""

    def __init__(self, environment: WriterEnvironment, genesis: Genesis) -> None:
        self._env = environment
        self._genesis = genesis
        self._tables = Tables(environment.databases)
        self._recent = RecentKeys()
        with self._env.read() as txn:
            view = self._view(txn)
            self.rosters = epochs.read_rosters(view, environment.path, genesis)
            """All epochs that have begun; `commit` adds to them."""
            self._next_roster = epochs.read_next(view, environment.path)
            self._size = view.counters().size
            state = view.index_state()
            self._recent.add(state.sweep, list(self._tables.index.unfolded(txn, state)), ONCE_KINDS_MAX)

    @classmethod
    def open(cls, path: Path, genesis: Genesis, *, map_bytes: int = MAP_BYTES_MAX) -> ChainStore:
        """Opens the store, or makes it with the genesis block in it.

        map_bytes: what the store may grow to. Raises: StoreLocked, OtherConsortium, SchemaTooNew, StoreFull,
        StoreCorrupt.
        """
        environment = WriterEnvironment(path, schema.DATABASES + schema.LATER_DATABASES, map_bytes_max=map_bytes)
        try:
            environment.write(lambda txn: _create(txn, Tables(environment.databases), genesis))
            with environment.read() as txn:
                check_meta(txn, Tables(environment.databases), path, genesis)
            return cls(environment, genesis)
        except BaseException:
            environment.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._env.close()

    # ---- where things stand ------------------------------------------------------------------------------------------

    def head(self) -> Head:
        return self._read(View.head)

    def frontier(self) -> Frontier:
        return self._read(View.frontier)

    def used_bytes(self) -> int:
        """Size of the file on disk."""
        return self._env.used_bytes()

    # ---- blobs and payloads ------------------------------------------------------------------------------------------

    def put_blobs(self, blobs: Iterable[bytes]) -> tuple[Digest, ...]:
        """Stores manifests and chunks under their SHA-256. Raises: StoreFull."""
        hashed = [(Digest(hashlib.sha256(blob).digest()), blob) for blob in blobs]

        def work(txn: lmdb.Transaction) -> None:
            counters = self._view(txn).counters()
            uploads = counters.uploads
            for digest, blob in hashed:
                if txn.put(digest, blob, overwrite=False, db=self._tables.blobs):
                    txn.put(digest, key(uploads), db=self._tables.uploads)
                    uploads += 1
            self._put_counters(txn, counters, uploads=uploads)

        self._env.write(work)
        return tuple(digest for digest, _ in hashed)

    def has_blobs(self, digests: Sequence[bytes]) -> tuple[bool, ...]:
        with self._env.read() as txn:
            return tuple(txn.get(digest, db=self._tables.blobs) is not None for digest in digests)

    def blob(self, digest: bytes) -> bytes | None:
        return self._read(lambda view: view.blob(digest))

    def uploads(self) -> tuple[Digest, ...]:
        """Blobs that no recorded statement needs, in order of arrival."""
        with self._env.read() as txn, txn.cursor(db=self._tables.uploads) as cursor:
            found = sorted((number(value), bytes(digest)) for digest, value in cursor)
        return tuple(Digest(digest) for _, digest in found)

    def drop_blobs(self, digests: Iterable[bytes]) -> None:
        """Forgets uploads; a blob that a recorded statement needs stays."""
        wanted = list(digests)

        def work(txn: lmdb.Transaction) -> None:
            for digest in wanted:
                if txn.delete(digest, db=self._tables.uploads):
                    txn.delete(digest, db=self._tables.blobs)

        self._env.write(work)

    def put_payloads(self, payloads: Iterable[Payload]) -> None:
        """Stores payloads verbatim; those stored before are left as they are. Raises: StoreFull."""
        encoded = [(payload.digest, payload.encode()) for payload in payloads]
        self._env.write(lambda txn: self._write_payloads(txn, encoded))

    def has_payload(self, digest: bytes) -> bool:
        return self._read(lambda view: view.payload_number(digest)) is not None

    def payload(self, digest: bytes) -> bytes | None:
        """The payload's bytes, as `Payload.encode` made them."""
        with self._env.read() as txn:
            view = self._view(txn)
            at = view.payload_number(digest)
            return None if at is None else bytes(view.payload(at))

    def payload_epoch(self, digest: bytes) -> Epoch | None:
        """Epoch of a stored payload; None where it is not here."""
        with self._env.read() as txn:
            view = self._view(txn)
            at = view.payload_number(digest)
            return None if at is None else parse_payload_header(bytes(view.payload(at)[:HEADER_BYTES])).epoch

    def replace_payloads(self, *, drop: Iterable[Digest], put: Iterable[Payload] = ()) -> None:
        """Forgets payloads whose epoch ended before a block ordered them, and stores others, in one transaction.

        What was ordered, or is not here, is left as it is. Raises: StoreFull.
        """
        dropped, encoded = list(drop), [(payload.digest, payload.encode()) for payload in put]
        if not dropped and not encoded:
            return

        def work(txn: lmdb.Transaction) -> None:
            for digest in dropped:
                self._drop_payload(txn, digest)
            self._write_payloads(txn, encoded)

        self._env.write(work)

    def _drop_payload(self, txn: lmdb.Transaction, digest: Digest) -> None:
        assert self._tables.dropped is not None, "the writer made every table when it opened the store"
        view = self._view(txn)
        at = view.payload_number(digest)
        if at is None or not txn.delete(key(at), db=self._tables.pending):
            return
        epoch = parse_payload_header(bytes(view.payload(at)[:HEADER_BYTES])).epoch
        txn.delete(key(at), db=self._tables.payloads)
        txn.delete(digest, db=self._tables.payload_numbers)
        txn.put(key(at), key(epoch), db=self._tables.dropped)

    def _write_payloads(self, txn: lmdb.Transaction, encoded: Sequence[tuple[Digest, bytes]]) -> None:
        counters = self._view(txn).counters()
        at = counters.payloads
        for digest, data in encoded:
            if txn.put(digest, key(at), overwrite=False, db=self._tables.payload_numbers):
                txn.put(key(at), data, append=True, db=self._tables.payloads)
                txn.put(key(at), digest, append=True, db=self._tables.pending)
                at += 1
        self._put_counters(txn, counters, payloads=at)

    def pending_payloads(self) -> tuple[Digest, ...]:
        """Digests of payloads that are in no committed block, in order of arrival."""
        with self._env.read() as txn, txn.cursor(db=self._tables.pending) as cursor:
            return tuple(Digest(bytes(value)) for value in cursor.iternext(keys=False, values=True))

    # ---- chain -------------------------------------------------------------------------------------------------------

    def commit(
        self,
        commit: Commit,
        applied: Sequence[Applied],
        frontier: Frontier,
        *,
        cosign: bool = False,
        cosignatures: Sequence[Cosigned] = (),
        chain_signatures: Sequence[ChainSigned] = (),
        finalizations: Sequence[Certificate] = (),
    ) -> None:
        """Writes final blocks and all that follows from them, in one transaction.

        applied: one for each block, executed on this store. frontier: after all of them. cosign: moves the watermark
        to them, as `record_cosigned` does. cosignatures, chain_signatures: of earlier checkpoints, as for
        `put_cosignatures` and `put_chain_signatures`. All ride along because each transaction of its own is another
        wait for the disk. finalizations: of earlier blocks of the commit, ascending and verified: a node that syncs
        writes many commits as one, and serves each as it got it.
        Raises: StoreFull; StoreMisused where this does not continue what is stored; BoundaryDiffers, with nothing
        written, where the last block names another roster than execution gave; as those two methods.
        """

        def work(txn: lmdb.Transaction) -> Committed:
            self._write_cosignatures(txn, cosignatures)
            self._chain_signatures(txn).put(chain_signatures)
            self._write_finalizations(txn, commit, finalizations)
            made = Commitment(txn, self._tables, self._env.path, self._genesis.origin).write(commit, applied, frontier)
            epochs.Handover(txn, self._tables, self._env.path).write(commit, applied, self._next_roster)
            if cosign and any(one.leaf_count for one in applied):
                self._move_watermark(txn, frontier.size, frontier.root())
            return made

        before = self._read(View.index_state)
        committed = self._env.write(work)
        # The fold, which may move the sweep on, comes after the run was written: the run belongs to the sweep before.
        self._recent.add(before.sweep, [committed.run], ONCE_KINDS_MAX)
        self._recent.advance(committed.index.sweep)
        self._size = committed.counters.size
        following = epochs.check_boundary(commit, applied, self._next_roster)
        if following is not None:
            self._next_roster = None
            self.rosters.add(epochs.started(commit, following, self._size))
        else:
            made = [each.next_roster for each in applied if each.next_roster is not None]
            self._next_roster = made[-1] if made else self._next_roster

    def blocks_from(self, height: int, limit: int) -> Chain | None:
        """Final blocks from `height` up, at most `limit`, ending at one that has its own finalization; of one epoch."""
        return self._read(lambda view: epochs.chain_from(view, self._env.path, height, limit))

    def totals_after(self, height: int) -> tuple[int, int]:
        """Leaves and claims up to the block at `height`. Raises: StoreCorrupt where there is none."""
        return self._read(lambda view: view.size_after(height))

    @property
    def next_roster(self) -> Roster | None:
        """Of the next epoch, while a change has passed and no block has put it into force yet."""
        return self._next_roster

    def epoch_proofs(self, first: int, limit: int) -> tuple[EpochProof, ...]:
        """What proves the rosters of epochs from `first` (1 or more) up, at most `limit` of them."""

        def read(view: View) -> tuple[EpochProof, ...]:
            proofs = (epochs.read_proof(view, self._env.path, epoch) for epoch in range(first, first + limit))
            return tuple(takewhile(lambda proof: proof is not None, proofs))  # type: ignore[arg-type]

        return self._read(read)

    # ---- what is on record ---------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Leaves."""
        return self._size

    @contextmanager
    def recorded(self) -> Iterator[Recorded]:
        """What is on record, as of one snapshot: keep it short, and write nothing meanwhile."""
        with self._env.read() as txn:
            yield Recorded(
                self._view(txn), self._recent, self._size, self.rosters.current, is_ending=self._next_roster is not None
            )

    def index_of_statement(self, digest: Digest) -> int | None:
        with self.recorded() as recorded:
            return recorded.index_of_statement(digest)

    def receipt(self, statement: Digest) -> Receipt | None:
        """What became of a statement: recorded where it is in the log, else its latest refusal."""
        return self._read(lambda view: view.receipt(statement))

    def open_stays(self) -> int:
        """How many stays have a time at which they will lapse."""
        return self._read(rights.open_stays)

    def entry_position(self, index: int) -> tuple[int, int]:
        """(height, block time in milliseconds) of a leaf. Raises: StoreCorrupt where there is none."""
        entry = self._read(lambda view: view.recorded(index))
        return entry.height, entry.block_time_ms

    # ---- checkpoints -------------------------------------------------------------------------------------------------

    def checkpoint_at(self, size: int) -> Checkpoint | None:
        """The checkpoint of a block that ended at `size` leaves; None where no block did."""
        return self._read(lambda view: view.checkpoint_at(size))

    def cosigned_watermark(self) -> tuple[int, bytes] | None:
        """(size, root) this node cosigned last."""
        return self._read(View.watermark)

    def record_cosigned(self, size: int, root: bytes) -> None:
        """Moves the watermark; a cosignature leaves only after this returned.

        Raises: CosignRefused for a size below the watermark, or a tree that does not extend it; CheckpointDiffers for
        one that is not this store's.
        """

        self._env.write(lambda txn: self._move_watermark(txn, size, root))

    def put_cosignatures(self, cosignatures: Sequence[Cosigned]) -> None:
        """Keeps validators' signatures, which the caller has verified; a checkpoint with a quorum's is complete.

        Raises: CheckpointDiffers where one is not of this store's checkpoints; StoreMisused for no validator.
        """
        self._env.write(lambda txn: self._write_cosignatures(txn, cosignatures))

    def cosignatures(self, size: int) -> tuple[tuple[NoteSignature, NoteSignature], ...]:
        """(log signature, cosignature) of every validator whose are held, ascending by member id."""
        return tuple((log, cosignature) for _, log, cosignature in self._read(lambda view: view.cosignatures(size)))

    def latest_complete(self) -> int | None:
        """Size of the newest checkpoint with a quorum of cosignatures."""
        return self._read(View.latest_complete)

    # ---- checkpoints for public chains -------------------------------------------------------------------------------

    def chain_checkpoint_at(self, size: int) -> ChainCheckpoint | None:
        """See `chain_signatures.checkpoint_of`."""
        return self._read(lambda view: chain_signatures.checkpoint_of(view, self._env.path, self.rosters, size))

    def checkpoint_time_ms(self, size: int) -> int | None:
        """Block time of the checkpoint of that size; None where no block ended there."""
        return self._read(lambda view: view.boundary_time_ms(size))

    def cover_cosigned(self, size: int, root: bytes) -> None:
        """Makes sure, durably, that the watermark reaches `size` and that this log is the one that was cosigned.

        Raises: as `record_cosigned`.
        """

        def is_covered(view: View) -> bool:
            signed = view.watermark()
            held = view.counters().size
            return (
                signed is not None
                and size <= signed[0] <= held
                and root_at(signed[0], view.tree_hash) == signed[1]
                and root_at(size, view.tree_hash) == root
            )

        if not self._read(is_covered):
            self.record_cosigned(size, root)

    def record_chain_end(self, checkpoint: ChainCheckpoint) -> None:
        """As what this node signs the end of an epoch; a signature leaves only after this returned.

        Raises: ChainEndRefused where it recorded another.
        """
        self._env.write(lambda txn: self._chain_signatures(txn).record_end(checkpoint))

    def put_chain_signatures(self, signed: Sequence[ChainSigned]) -> None:
        """Keeps signatures that the caller has verified. Raises: as `ChainSignatures.put`."""
        self._env.write(lambda txn: self._chain_signatures(txn).put(signed))

    def chain_signatures(self, size: int) -> tuple[tuple[str, bytes], ...]:
        """(member id, signature), ascending by member id."""
        return self._read(lambda view: chain_signatures.signatures(view, size))

    def is_chain_complete(self, size: int) -> bool:
        return self._read(lambda view: chain_signatures.is_complete(view, size))

    def open_chain_ends(self, limit: int) -> tuple[int, ...]:
        """See `chain_signatures.open_ends`."""
        return self._read(lambda view: chain_signatures.open_ends(view, self._env.path, self.rosters, limit))

    def _chain_signatures(self, txn: lmdb.Transaction) -> ChainSignatures:
        return ChainSignatures(self._view(txn), self._env.path, self.rosters)

    # ---- misbehaviour ------------------------------------------------------------------------------------------------

    def put_misbehaviour(self, evidence: Evidence) -> bool:
        """Keeps evidence whose signatures the caller has verified; False, with nothing written, where it adds nothing.

        That is: its validator's misbehaviour in that view is on record, or its share of the table is full.
        Raises: StoreFull; StoreMisused where it is of another consortium.
        """
        if evidence.consortium != self._genesis.digest:
            raise StoreMisused(self._env.path, f"evidence of consortium {evidence.consortium.hex()}")
        database = self._tables.misbehaviour
        assert database is not None, "the writer made every table when it opened the store"
        with self._env.read() as txn:  # a vote that is repeated must not cost an fsync
            if not misbehaviour.may_keep(txn, database, evidence, len(self.rosters.current.validator_members())):
                return False
        self._env.write(lambda txn: misbehaviour.keep(txn, database, evidence))
        return True

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _move_watermark(self, txn: lmdb.Transaction, size: int, root: bytes) -> None:
        view = self._view(txn)
        held = view.counters().size
        own = bytes(root_at(size, view.tree_hash)) if size <= held else None
        if own != root:
            raise CheckpointDiffers(self._env.path, size, root, own)
        signed = view.watermark()
        if signed is not None:
            extends = signed[0] <= size and root_at(signed[0], view.tree_hash) == signed[1]
            if not extends:
                raise CosignRefused(self._env.path, size, root, *signed)
        txn.put(schema.META_COSIGNED, schema.COSIGNED.pack(size, root), db=self._tables.meta)

    def _write_finalizations(self, txn: lmdb.Transaction, commit: Commit, finalizations: Sequence[Certificate]) -> None:
        digests = {block.height: block.digest for block in commit.blocks[:-1]}
        for each in finalizations:
            if digests.get(each.vote.height) != each.vote.block:
                raise StoreMisused(self._env.path, f"a finalization of height {each.vote.height} beside its commit")
            txn.put(key(each.vote.height), each.encode(), append=True, db=self._tables.finalizations)

    def _write_cosignatures(self, txn: lmdb.Transaction, cosignatures: Sequence[Cosigned]) -> None:
        view = self._view(txn)
        for one in cosignatures:
            checkpoint = one.checkpoint
            roster = self.rosters.of_size(checkpoint.size)
            if roster.validator_index(one.member) is None:
                raise StoreMisused(self._env.path, f"a cosignature of {one.member}, who is no validator")
            own = view.checkpoint_at(checkpoint.size)
            if own != checkpoint:
                raise CheckpointDiffers(
                    self._env.path, checkpoint.size, checkpoint.root, None if own is None else own.root
                )
            line = one.log.encode()
            value = len(line).to_bytes(2, "big") + line + one.cosignature.encode()
            txn.put(key(checkpoint.size) + one.member.encode(), value, overwrite=False, db=self._tables.cosignatures)
            if len(view.lines(checkpoint.size)) >= roster.quorum:
                txn.put(key(checkpoint.size), b"", overwrite=False, db=self._tables.complete)

    def _view(self, txn: lmdb.Transaction) -> View:
        return View(txn, self._tables, self._env.path, self._genesis.origin)

    def _read(self, read: Callable[[View], T]) -> T:
        with self._env.read() as txn:
            return read(self._view(txn))

    def _put_counters(self, txn: lmdb.Transaction, counters: Counters, **changed: int) -> None:
        txn.put(schema.META_COUNTERS, replace(counters, **changed).encode(), db=self._tables.meta)


def _create(txn: lmdb.Transaction, tables: Tables, genesis: Genesis) -> None:
    if txn.get(schema.META_SCHEMA, db=tables.meta) is not None:
        return
    block = genesis_block(genesis.committee())
    txn.put(key(Height(0)), schema.BLOCK_HEAD.pack(0, 0) + block.encode(), db=tables.blocks)
    for name, value in (
        (schema.META_SCHEMA, key(schema.SCHEMA)),
        (schema.META_GENESIS, genesis.digest),
        (schema.META_COUNTERS, Counters().encode()),
        (schema.META_FRONTIER, Frontier().encode()),
        (schema.META_INDEX, IndexState().encode()),
    ):
        txn.put(name, value, db=tables.meta)
