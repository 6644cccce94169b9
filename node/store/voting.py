"""What this validator has voted, on disk before any vote leaves (design D4: persist before send).

An environment of its own, so that a vote never waits behind a commit of the chain. Created once, by `stretto init`: a
missing one means that votes were lost, and a node that forgot its votes must not vote.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final, Self

import lmdb

from consensus.errors import MalformedMessage
from consensus.events import Persist, Restored
from consensus.types import ZERO_DIGEST, Block, Certificate, Digest, Epoch, Height, View, Vote, VoteKind
from node.store.environment import Database, WriterEnvironment
from node.store.errors import Equivocation, SchemaTooNew, StoreCorrupt, StoreMisused, VotingStateMissing

SCHEMA: Final = 1
PRUNE_VIEWS_MIN: Final = 32

_META, _VOTES, _BLOCKS, _CERTIFICATES = b"meta", b"votes", b"blocks", b"certificates"
_SCHEMA_KEY, _GENERATION_KEY, _FLOOR_KEY, _TRUSTED_KEY = b"schema", b"generation", b"floor", b"trusted"
_EPOCH_KEY = b"epoch"
"""Absent in epoch 0."""
_U64 = struct.Struct(">Q")
_VOTE_KEY = struct.Struct(">QB")
"""view, kind: at most one vote each in an epoch, and no vote of an epoch stays when the next one begins."""
_VOTE_VALUE = struct.Struct(">QQ32s")
"""epoch, height, block."""


class VotingStore:
    """Invariants: (1) what `persist` returned from is on disk; (2) no two votes on disk contradict each other; (3) all
    on disk is of one epoch, and nothing of an earlier one is ever written again."""

    def __init__(self, environment: WriterEnvironment) -> None:
        self._env = environment
        self._meta = environment.databases[_META]
        self._votes = environment.databases[_VOTES]
        self._blocks = environment.databases[_BLOCKS]
        self._certificates = environment.databases[_CERTIFICATES]
        with environment.read() as txn:
            self._floor = self._number(txn, _FLOOR_KEY)
            """Last view that was pruned."""
            epoch = txn.get(_EPOCH_KEY, db=self._meta)
            self._epoch = Epoch(0 if epoch is None else int.from_bytes(epoch, "big"))

    @classmethod
    def create(cls, path: Path, *, trusted: bool = True) -> None:
        """Makes an empty voting state. Raises: StoreMisused where there is one: it must never be replaced.

        trusted: False where this node may have voted before and its votes were lost; so it stays until `set_trusted`.
        """
        with _environment(path) as environment:
            meta = environment.databases[_META]

            def work(txn: lmdb.Transaction) -> None:
                if txn.get(_SCHEMA_KEY, db=meta) is not None:
                    raise StoreMisused(path, "creating a voting state over an existing one")
                txn.put(_TRUSTED_KEY, _U64.pack(trusted), db=meta)
                txn.put(_GENERATION_KEY, _U64.pack(0), db=meta)
                txn.put(_FLOOR_KEY, _U64.pack(0), db=meta)
                txn.put(_SCHEMA_KEY, _U64.pack(SCHEMA), db=meta)

            environment.write(work)

    @classmethod
    def open(cls, path: Path) -> VotingStore:
        """Raises: VotingStateMissing, SchemaTooNew, StoreLocked."""
        if not (path / "data.mdb").exists():
            raise VotingStateMissing(path)
        environment = _environment(path)
        try:
            _check_schema(environment)
        except BaseException:
            environment.close()
            raise
        return cls(environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._env.close()

    def next_boot_generation(self) -> int:
        """One more than ever before in this store, on disk before it is returned; the first is 1."""

        def work(txn: lmdb.Transaction) -> int:
            generation = self._number(txn, _GENERATION_KEY) + 1
            txn.put(_GENERATION_KEY, _U64.pack(generation), db=self._meta)
            return generation

        return self._env.write(work)

    def set_trusted(self, trusted: bool) -> None:
        """Whether the votes kept here are all that this validator cast (design D4). False outlives a restart."""
        self._env.write(lambda txn: txn.put(_TRUSTED_KEY, _U64.pack(trusted), db=self._meta))

    def doubt(self, generation: int) -> None:
        """Not to be trusted any more, and the next start is numbered above `generation`: both on disk at once."""

        def work(txn: lmdb.Transaction) -> None:
            txn.put(_TRUSTED_KEY, _U64.pack(False), db=self._meta)
            txn.put(_GENERATION_KEY, _U64.pack(max(generation, self._number(txn, _GENERATION_KEY))), db=self._meta)

        self._env.write(work)

    @property
    def epoch(self) -> Epoch:
        """Of the votes that may be kept here."""
        return self._epoch

    def begin_epoch(self, epoch: Epoch) -> None:
        """Forgets the epochs before `epoch`, whose last block is final, and refuses votes of theirs from now on.

        Views go on counting from that block's, so that a vote above it in the old epoch may have the view of one in
        the new epoch; they say nothing about each other. Never goes back: an earlier epoch is ignored.
        """
        if epoch <= self._epoch:
            return

        def work(txn: lmdb.Transaction) -> None:
            txn.put(_EPOCH_KEY, _U64.pack(epoch), db=self._meta)
            for database in (self._votes, self._blocks, self._certificates):
                txn.drop(database, delete=False)

        self._env.write(work)
        self._epoch = epoch

    def persist(self, state: Persist) -> None:
        """Writes votes, blocks and certificates durably; what is there already is left as it is.

        Raises: Equivocation, with nothing written, where a vote contradicts one on disk or in `state`, is of another
        epoch, or stands in a view that was pruned, where nobody can tell any more.
        """

        def work(txn: lmdb.Transaction) -> None:
            for vote in state.votes:
                self._put_vote(txn, vote)
            for block in state.blocks:
                txn.put(_U64.pack(block.view) + block.digest, block.encode(), db=self._blocks)
            for certificate in state.certificates:
                vote = certificate.vote
                txn.put(_VOTE_KEY.pack(vote.view, vote.kind) + vote.block, certificate.encode(), db=self._certificates)

        self._env.write(work)

    def prune(self, view: View) -> None:
        """Forgets what stands at or below `view`, the last finalized view: the chain store answers for it.

        Only once there is enough to forget: until then it is kept, which costs less than one more fsync per block.
        Never goes back: a smaller view than before is ignored.
        """
        if view < self._floor + PRUNE_VIEWS_MIN:
            return

        def work(txn: lmdb.Transaction) -> None:
            txn.put(_FLOOR_KEY, _U64.pack(view), db=self._meta)
            for database in (self._votes, self._blocks, self._certificates):
                with txn.cursor(db=database) as cursor:
                    while cursor.first() and _U64.unpack_from(cursor.key())[0] <= view:
                        cursor.delete()

        self._env.write(work)
        self._floor = view

    def load(
        self, head: Block, finalization: Certificate | None, *, epoch: Epoch | None = None,
        next_committee: Digest = ZERO_DIGEST,
    ) -> Restored:  # fmt: skip
        """What is kept above `head`'s view, ascending by view. Raises: StoreCorrupt.

        epoch: to go on in; `head`'s, unless that is the last block of the one before. next_committee: see `Restored`.
        """
        epoch = head.epoch if epoch is None else epoch
        above = _U64.pack(head.view + 1)
        with self._env.read() as txn:
            try:
                votes = [_decode_vote(key, value) for key, value in _from(txn, self._votes, above)]
                blocks = [Block.decode(value) for _, value in _from(txn, self._blocks, above)]
                certificates = [Certificate.decode(value) for _, value in _from(txn, self._certificates, above)]
                return Restored(
                    head=head,
                    finalization=finalization,
                    # A chain older than what this node pruned was restored: it has voted above that head before.
                    trusted=self._number(txn, _TRUSTED_KEY) == 1 and self._floor <= head.view and self._epoch <= epoch,
                    votes=tuple(vote for vote in votes if vote.epoch == epoch),
                    blocks=tuple(block for block in blocks if block.epoch == epoch),
                    certificates=tuple(one for one in certificates if one.vote.epoch == epoch),
                    next_committee=next_committee,
                )
            except (MalformedMessage, struct.error, ValueError) as error:
                raise StoreCorrupt(self._env.path, "voting state", str(error)) from error

    def _number(self, txn: lmdb.Transaction, key: bytes) -> int:
        value = txn.get(key, db=self._meta)
        if value is None:
            raise StoreCorrupt(self._env.path, "voting state", f"no {key.decode()}")
        return int.from_bytes(value, "big")

    def _put_vote(self, txn: lmdb.Transaction, vote: Vote) -> None:
        key, value = _VOTE_KEY.pack(vote.view, vote.kind), _VOTE_VALUE.pack(vote.epoch, vote.height, vote.block)
        stored = txn.get(key, db=self._votes)
        if stored == value:
            return
        if stored is not None:
            raise Equivocation(self._env.path, _words(_decode_vote(key, bytes(stored))), _words(vote))
        if vote.epoch != self._epoch:
            raise Equivocation(self._env.path, f"the beginning of epoch {self._epoch}", _words(vote))
        if self._floor >= vote.view:
            raise Equivocation(self._env.path, f"finalized view {self._floor}", _words(vote))
        other = {VoteKind.NULLIFY: VoteKind.FINALIZE, VoteKind.FINALIZE: VoteKind.NULLIFY}.get(vote.kind)
        if other is not None:  # notarize then nullify is legal (design D4)
            other_key = _VOTE_KEY.pack(vote.view, other)
            opposite = txn.get(other_key, db=self._votes)
            if opposite is not None:
                raise Equivocation(self._env.path, _words(_decode_vote(other_key, bytes(opposite))), _words(vote))
        txn.put(key, value, db=self._votes)


def _environment(path: Path) -> WriterEnvironment:
    return WriterEnvironment(path, (_META, _VOTES, _BLOCKS, _CERTIFICATES))


def _check_schema(environment: WriterEnvironment) -> None:
    with environment.read() as txn:
        schema = txn.get(_SCHEMA_KEY, db=environment.databases[_META])
        found = None if schema is None else int.from_bytes(schema, "big")
    if found is None:
        raise VotingStateMissing(environment.path)
    if found > SCHEMA:
        raise SchemaTooNew(environment.path, found, SCHEMA)


def _from(txn: lmdb.Transaction, database: Database, start: bytes) -> list[tuple[bytes, bytes]]:
    with txn.cursor(db=database) as cursor:
        if not cursor.set_range(start):
            return []
        return [(bytes(key), bytes(value)) for key, value in cursor.iternext(keys=True, values=True)]


def _decode_vote(key: bytes, value: bytes) -> Vote:
    view, kind = _VOTE_KEY.unpack(key)
    epoch, height, block = _VOTE_VALUE.unpack(value)
    return Vote(kind=VoteKind(kind), epoch=Epoch(epoch), view=View(view), height=Height(height), block=Digest(block))


def _words(vote: Vote) -> str:
    block = "" if vote.kind is VoteKind.NULLIFY else f" for block {vote.block.hex()[:16]} at height {vote.height}"
    return f"{vote.kind.name.lower()} in epoch {vote.epoch} view {vote.view}{block}"
