"""Signatures for public chains in the chain store: by size and member, which sizes have a quorum, and what this node
signed as an epoch's end.

The tables came after schema 1 and change nothing in it: a store without them holds no such signatures.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import lmdb

from consensus.types import Digest, Epoch
from ledger.chain_checkpoint import NO_SUCCESSOR, ChainCheckpoint, SetNotBridgeable, bridge_set, successor_of
from ledger.secp256k1 import SIGNATURE_BYTES
from node.rosters import Rosters
from node.store import epochs
from node.store.environment import Database
from node.store.errors import ChainEndRefused, CheckpointDiffers, StoreMisused
from node.store.schema import Tables, key, number
from node.store.view import View

_END: Final = struct.Struct(">Q32s32s")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainSigned:
    """A validator's signature over a checkpoint for public chains, verified by whoever made this."""

    checkpoint: ChainCheckpoint
    member: str
    """Member id."""
    signature: bytes


# ---- reading ---------------------------------------------------------------------------------------------------------


def checkpoint_of(view: View, path: Path, rosters: Rosters, size: int) -> ChainCheckpoint | None:
    """This log's checkpoint for public chains of that size.

    None where no block ended there; where it is not known yet whether its epoch ends there; and where contracts would
    not take the set that signs it, or the one that follows.
    """
    own = view.checkpoint_at(size)
    if own is None:
        return None
    is_open = size == view.counters().size and epochs.read_next(view, path) is not None
    return derive(rosters, size, own.root, is_open=is_open)


def derive(rosters: Rosters, size: int, root: bytes, *, is_open: bool) -> ChainCheckpoint | None:
    """As `checkpoint_of`, of a log with that root. is_open: whether a change has passed and no boundary come yet."""
    if is_open or size == 0:
        return None
    roster = rosters.of_size(size)
    following = rosters.of_epoch(roster.epoch + 1)
    try:
        bridge_set(roster)
        ends = following is not None and rosters.end_of(roster.epoch) == size
        successor = successor_of(following) if ends and following is not None else NO_SUCCESSOR
    except SetNotBridgeable:
        return None
    return ChainCheckpoint(epoch=roster.epoch, size=size, root=root, successor=successor)


def signatures(view: View, size: int) -> tuple[tuple[str, bytes], ...]:
    """(member id, signature), ascending by member id."""
    if view.tables.chain_signatures is None:
        return ()
    prefix, found = key(size), []
    with view.txn.cursor(db=view.tables.chain_signatures) as cursor:
        more = cursor.set_range(prefix)
        while more and bytes(cursor.key()[:8]) == prefix:
            found.append((bytes(cursor.key()[8:]).decode(), bytes(cursor.value())))
            more = cursor.next()
    return tuple(found)


def is_complete(view: View, size: int) -> bool:
    database = view.tables.chain_complete
    return database is not None and view.get(database, key(size)) is not None


def complete_from(view: View, size: int) -> int | None:
    """The first complete one of at least `size` leaves."""
    if view.tables.chain_complete is None:
        return None
    with view.txn.cursor(db=view.tables.chain_complete) as cursor:
        return number(cursor.key()) if cursor.set_range(key(size)) else None


def complete_count(view: View) -> int:
    return 0 if view.tables.chain_complete is None else view.entries_in(view.tables.chain_complete)


def latest_complete(view: View) -> int | None:
    return _last(view, view.tables.chain_complete)


def latest_signed(view: View) -> int | None:
    """The largest size of which any signature is held."""
    return _last(view, view.tables.chain_signatures)


def open_ends(view: View, path: Path, rosters: Rosters, limit: int) -> tuple[int, ...]:
    """Sizes at which epochs ended, of sets that contracts take, whose signatures are no quorum yet: the first ones."""
    ends = (start.size for start in rosters.starts[1:])
    lacking = (size for size in ends if not is_complete(view, size))
    return tuple(islice((size for size in lacking if checkpoint_of(view, path, rosters, size) is not None), limit))


def _last(view: View, database: Database | None) -> int | None:
    if database is None:
        return None
    with view.txn.cursor(db=database) as cursor:
        return number(cursor.key()) if cursor.last() else None


# ---- writing ---------------------------------------------------------------------------------------------------------


class ChainSignatures:
    """Writes within one transaction."""

    def __init__(self, view: View, path: Path, rosters: Rosters) -> None:
        tables: Tables = view.tables
        assert tables.chain_signatures is not None, "the writer made every table when it opened the store"
        assert tables.chain_complete is not None, "the writer made every table when it opened the store"
        assert tables.chain_ends is not None, "the writer made every table when it opened the store"
        self._signatures, self._complete, self._ends = tables.chain_signatures, tables.chain_complete, tables.chain_ends
        self._view = view
        self._txn: lmdb.Transaction = view.txn
        self._path = path
        self._rosters = rosters

    def put(self, signed: Iterable[ChainSigned]) -> None:
        """Raises: CheckpointDiffers where one is not of this store's checkpoints; StoreMisused for no validator."""
        for one in signed:
            checkpoint = one.checkpoint
            own = checkpoint_of(self._view, self._path, self._rosters, checkpoint.size)
            if own != checkpoint:
                raise CheckpointDiffers(self._path, checkpoint.size, checkpoint.root, own.root if own else None)
            roster = self._rosters.of_size(checkpoint.size)
            if roster.validator_index(one.member) is None or len(one.signature) != SIGNATURE_BYTES:
                raise StoreMisused(self._path, f"a signature for public chains of {one.member}, who is no validator")
            at = key(checkpoint.size)
            self._txn.put(at + one.member.encode(), one.signature, overwrite=False, db=self._signatures)
            if len(signatures(self._view, checkpoint.size)) >= roster.quorum:
                self._txn.put(at, b"", overwrite=False, db=self._complete)

    def record_end(self, checkpoint: ChainCheckpoint) -> None:
        """What this node is about to sign as the end of its epoch, for good. Raises: ChainEndRefused for another."""
        end = _END.pack(checkpoint.size, checkpoint.root, checkpoint.successor)
        if not self._txn.put(key(checkpoint.epoch), end, overwrite=False, db=self._ends):
            signed = end_signed(self._view, checkpoint.epoch)
            if signed != checkpoint:
                assert signed is not None, "it was there a moment ago in the same transaction"
                raise ChainEndRefused(self._path, checkpoint.epoch, checkpoint.sentence(), signed.sentence())


def end_signed(view: View, epoch: int) -> ChainCheckpoint | None:
    """What this node signed as the end of an epoch."""
    found = None if view.tables.chain_ends is None else view.get(view.tables.chain_ends, key(epoch))
    if found is None:
        return None
    size, root, successor = _END.unpack(found)
    return ChainCheckpoint(epoch=Epoch(epoch), size=size, root=root, successor=Digest(successor))


# ---- checking --------------------------------------------------------------------------------------------------------


def check(view: View, path: Path, rosters: Rosters) -> tuple[str, str | None]:
    """What there is, in words; and what is wrong with the first that is not as it should be, or None."""
    tables = view.tables
    if tables.chain_signatures is None or tables.chain_complete is None or tables.chain_ends is None:
        return "none", None
    held: dict[int, int] = {}
    for stored_key, signature in view.items(tables.chain_signatures):
        size, member_id = number(stored_key), stored_key[8:].decode()
        checkpoint = checkpoint_of(view, path, rosters, size)
        member = rosters.of_size(size).member(member_id)
        if checkpoint is None or member is None or not member.validator:
            return "", f"the signature of {member_id} at size {size} is of no checkpoint, or of no validator"
        if not checkpoint.is_signed_by(member.keys.chain, rosters.digest, signature):
            return "", f"the signature of {member_id} at size {size} does not verify"
        held[size] = held.get(size, 0) + 1
    complete = [number(stored_key) for stored_key, _ in view.items(tables.chain_complete)]
    quorate = sorted(size for size, count in held.items() if count >= rosters.of_size(size).quorum)
    if complete != quorate:
        odd = sorted(set(complete) ^ set(quorate))[0]
        return "", f"size {odd} is marked complete without a quorum, or has one unmarked"
    ends = 0
    for stored_key, _ in view.items(tables.chain_ends):
        signed = end_signed(view, number(stored_key))
        if signed is None or checkpoint_of(view, path, rosters, signed.size) != signed:
            return "", f"this node signed another end of epoch {number(stored_key)}: do not let it sign"
        ends += 1
    return f"{sum(held.values())} over {len(held)} sizes, {len(complete)} complete, {ends} ends of epochs signed", None
