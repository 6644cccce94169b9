"""Epochs in the store: the rosters and what proves them, the change that is under way, and votes on the next one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import lmdb

from consensus.errors import LocalError, MalformedMessage
from consensus.events import Commit
from consensus.messages import Chain
from consensus.types import ZERO_DIGEST, Block, Certificate, Digest, Epoch, Height
from ledger.apply import Applied, CountedVote
from ledger.epochs import EpochProof
from ledger.errors import MalformedRoster
from ledger.genesis import Genesis
from ledger.roster import Roster, parse_roster
from node.rosters import EpochStart, Rosters
from node.store import schema
from node.store.errors import StoreCorrupt, StoreMisused
from node.store.schema import Tables, key, number
from node.store.view import View


class BoundaryDiffers(LocalError):
    """A final block names another roster than this node's execution gave: its state, or its program, is another's."""

    def __init__(self, height: int, named: bytes, own: bytes | None) -> None:
        made = "no change has passed here" if own is None else f"execution here gave {own.hex()}"
        super().__init__(
            f"block {height} is final and names the roster {named.hex()}, but {made}: this node has stopped; "
            "run `stretto store check` on its data folder and compare program and log with the others"
        )
        self.height = height


def check_boundary(commit: Commit, applied: Iterable[Applied], pending: Roster | None) -> Roster | None:
    """The roster that a commit's last block puts into force; None where its epoch goes on.

    pending: what execution gave before this commit. Raises: BoundaryDiffers.
    """
    following = next((each.next_roster for each in applied if each.next_roster is not None), pending)
    if not commit.ends_epoch:
        return None
    last = commit.blocks[-1]
    if following is None or following.digest != last.next_committee:
        raise BoundaryDiffers(last.height, last.next_committee, None if following is None else following.digest)
    return following


# ---- reading ---------------------------------------------------------------------------------------------------------


def read_rosters(view: View, path: Path, genesis: Genesis) -> Rosters:
    """All epochs that have begun. Raises: StoreCorrupt."""
    rosters = Rosters(genesis)
    while (start := read_start(view, path, rosters.epoch + 1)) is not None:
        rosters.add(start)
    return rosters


def read_start(view: View, path: Path, epoch: int) -> EpochStart | None:
    """Where an epoch above 0 began; None where it has not. Raises: StoreCorrupt."""
    proof = read_proof(view, path, epoch)
    if proof is None:
        return None
    height = proof.boundary.height
    return EpochStart(roster=proof.roster, height=height, size=view.size_after(height)[0])


def read_proof(view: View, path: Path, epoch: int) -> EpochProof | None:
    """What proves that epoch's roster under the one before. Raises: StoreCorrupt."""
    data = None if view.tables.rosters is None else view.get(view.tables.rosters, key(epoch))
    if data is None:
        return None
    try:
        return EpochProof.decode(data)
    except MalformedMessage as error:
        raise StoreCorrupt(path, f"roster of epoch {epoch}", str(error)) from error


def read_next(view: View, path: Path) -> Roster | None:
    """The roster that a passed change made, while no block has put it into force yet. Raises: StoreCorrupt."""
    data = view.txn.get(schema.META_NEXT_ROSTER, db=view.tables.meta)
    if data is None:
        return None
    try:
        return parse_roster(bytes(data))
    except MalformedRoster as error:
        raise StoreCorrupt(path, "the roster of the next epoch", str(error)) from error


def voters_for(view: View, proposal: Digest) -> frozenset[str]:
    """Members whose votes for a proposal of the current epoch are on record."""
    if view.tables.votes is None:
        return frozenset()
    with view.txn.cursor(db=view.tables.votes) as cursor:
        voters = set()
        found = cursor.set_range(proposal)
        while found and bytes(cursor.key()[:32]) == proposal:
            voters.add(bytes(cursor.key()[32:]).decode())
            found = cursor.next()
    return frozenset(voters)


def votes_by(view: View, voter: str) -> int:
    """How many votes of a member are on record in the current epoch. Bounded as `ledger.governance` bounds them."""
    return sum(vote.voter == voter for vote in votes(view))


def votes(view: View) -> tuple[CountedVote, ...]:
    """All votes of the current epoch, by proposal and voter."""
    if view.tables.votes is None:
        return ()
    return tuple(
        CountedVote(proposal=Digest(stored[:32]), voter=stored[32:].decode(), index=number(index))
        for stored, index in view.items(view.tables.votes)
    )


def finality(view: View, path: Path, height: int) -> tuple[tuple[Block, ...], Certificate] | None:
    """What proves the block at `height` final: the blocks after it up to the one that is finalized, and that
    finalization. None above the last that has one.

    A boundary block may be final only by descendants, which are in no epoch's ledger but in its proof.
    """
    last = view.finalized_at_or_after(height)
    epoch = view.block(height).epoch
    if last is not None and view.block(last).epoch == epoch:
        certificate = view.finalization(last)
        assert certificate is not None, "it was found a moment ago in the same snapshot"
        return tuple(view.block(at) for at in range(height + 1, last + 1)), certificate
    proof = read_proof(view, path, epoch + 1)
    if proof is None:
        return None
    between = tuple(view.block(at) for at in range(height + 1, proof.boundary.height + 1))
    return (*between, *proof.headers), proof.finalization


def chain_from(view: View, path: Path, height: int, limit: int) -> Chain | None:
    """Final blocks from `height` up, at most `limit` beside those that only prove, all of one epoch."""
    head = view.counters().height
    if not 1 <= height <= head:
        return None
    epoch = view.block(height).epoch
    following = read_proof(view, path, epoch + 1)
    top = min(height + limit - 1, head if following is None else following.boundary.height)
    if following is not None and top == following.boundary.height and view.finalization(top) is None:
        blocks = tuple(view.block(at) for at in range(height, top + 1))
        return Chain(blocks=(*blocks, *following.headers), finalization=following.finalization)
    last = view.finalized_at_or_before(top)
    if last is None or last < height:
        return None
    finalization = view.finalization(last)
    assert finalization is not None, "it was found a moment ago in the same snapshot"
    return Chain(blocks=tuple(view.block(at) for at in range(height, last + 1)), finalization=finalization)


# ---- writing ---------------------------------------------------------------------------------------------------------


class Handover:
    """What a commit changes of all this, within its transaction."""

    def __init__(self, txn: lmdb.Transaction, tables: Tables, path: Path) -> None:
        assert tables.rosters is not None, "the writer made every table when it opened the store"
        assert tables.votes is not None, "the writer made every table when it opened the store"
        self._txn = txn
        self._rosters = tables.rosters
        self._votes = tables.votes
        self._meta = tables.meta
        self._path = path

    def write(self, commit: Commit, applied: Iterable[Applied], pending: Roster | None) -> None:
        """pending: as for `check_boundary`. Raises: StoreMisused; BoundaryDiffers."""
        applied = tuple(applied)
        following = check_boundary(commit, applied, pending)
        for each in applied:
            for vote in each.votes:
                self._txn.put(vote.proposal + vote.voter.encode(), key(vote.index), db=self._votes)
            if each.next_roster is not None:
                self._txn.put(schema.META_NEXT_ROSTER, each.next_roster.encode(), db=self._meta)
        if any(block.next_committee != ZERO_DIGEST for block in commit.blocks[:-1]):
            raise StoreMisused(self._path, "a commit that goes on after the last block of an epoch")
        if following is None:
            return
        proof = EpochProof(
            boundary=commit.blocks[-1], headers=commit.proof, finalization=commit.finalization, roster=following
        )
        self._txn.put(key(following.epoch), proof.encode(), append=True, db=self._rosters)
        self._txn.delete(schema.META_NEXT_ROSTER, db=self._meta)
        self._txn.drop(self._votes, delete=False)


def started(commit: Commit, roster: Roster, size: int) -> EpochStart:
    """The epoch that begins with a commit's last block."""
    return EpochStart(roster=roster, height=Height(commit.blocks[-1].height), size=size)


def epoch_after(head: Block) -> Epoch:
    """The epoch that goes on above `head`."""
    return Epoch(head.epoch + (head.next_committee != ZERO_DIGEST))
