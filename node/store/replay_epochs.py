"""The epochs of a replayed chain: votes counted again, rosters made again, every handover proven again."""

from __future__ import annotations

from collections.abc import Mapping

from consensus.errors import PeerError
from consensus.types import ZERO_DIGEST, Block, Digest, Height
from ledger.apply import Applied
from ledger.epochs import EpochProof, check_epoch
from ledger.genesis import Genesis
from ledger.roster import Roster
from node.rosters import EpochStart, Rosters
from node.store import schema
from node.store.schema import key
from node.store.view import View


class Contradiction(Exception):
    """Something stored is not what it should be. what: the record. reason: one clause."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what} {reason}")
        self.what = what
        self.reason = reason


class ReplayedEpochs:
    """What follows from the log about epochs, compared with what the store says."""

    def __init__(self, view: View, genesis: Genesis) -> None:
        self._view = view
        self.rosters = Rosters(genesis)
        self._votes: dict[bytes, int] = {}
        """Of the current epoch: proposal and voter -> leaf index, as stored."""
        self._next: Roster | None = None

    @property
    def roster(self) -> Roster:
        return self.rosters.current

    @property
    def is_ending(self) -> bool:
        """Whether a change has passed and no block has put it into force yet."""
        return self._next is not None

    def voters_for(self, proposal: Digest) -> frozenset[str]:
        return frozenset(stored[32:].decode() for stored in self._votes if stored[:32] == proposal)

    def votes_by(self, voter: str) -> int:
        return sum(stored[32:].decode() == voter for stored in self._votes)

    def applied(self, block: Block, applied: Applied, size: int) -> None:
        """A block was replayed: counts its votes, and begins the next epoch where it ends this one.

        size: leaves after it. Raises: Contradiction.
        """
        if self._next is not None and (applied.receipts or applied.derived):
            raise Contradiction(f"block {block.height}", "adds to the log after a change had passed")
        for vote in applied.votes:
            self._votes[vote.proposal + vote.voter.encode()] = vote.index
        if applied.next_roster is not None:
            self._next = applied.next_roster
        if block.next_committee == ZERO_DIGEST:
            return
        if self._next is None or block.next_committee != self._next.digest or block.payloads:
            raise Contradiction(f"block {block.height}", "ends the epoch with another roster than was voted for")
        self._check_proof(block, self._next)
        self.rosters.add(EpochStart(roster=self._next, height=Height(block.height), size=size))
        self._next = None
        self._votes.clear()

    def _check_proof(self, block: Block, following: Roster) -> None:
        what = f"roster of epoch {following.epoch}"
        table = self._view.tables.rosters
        stored = None if table is None else self._view.get(table, key(following.epoch))
        if stored is None:
            raise Contradiction(what, "is missing")
        proof = EpochProof.decode(stored)
        if proof.boundary != block or proof.roster.encode() != following.encode():
            raise Contradiction(what, "is not what follows from the log")
        try:
            check_epoch(self.rosters.current, proof)
        except PeerError as error:
            raise Contradiction(what, str(error)) from error

    def check_end(self) -> None:
        """Raises: Contradiction where the store knows of other epochs, votes or changes than follow from the log."""
        tables, view = self._view.tables, self._view
        begun = 0 if tables.rosters is None else view.entries_in(tables.rosters)
        if begun != self.rosters.epoch:
            raise Contradiction("rosters", f"{begun} are there, {self.rosters.epoch} follow from the log")
        stored: Mapping[bytes, bytes] = {} if tables.votes is None else dict(view.items(tables.votes))
        if stored != {name: key(index) for name, index in self._votes.items()}:
            raise Contradiction("votes on changes", "are not those that follow from the log")
        pending = view.get(tables.meta, schema.META_NEXT_ROSTER)
        if pending != (None if self._next is None else self._next.encode()):
            raise Contradiction("roster of the next epoch", "is not what follows from the log")
