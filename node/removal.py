"""What others tell this node of epochs that it cannot reach any more, because its member was removed."""

from __future__ import annotations

from ledger.epochs import EpochProof, check_epoch
from ledger.roster import Roster
from node.rosters import Rosters


class Removal:
    """Walks from this node's own epoch on, over what is proven and over nothing else."""

    def __init__(self, rosters: Rosters, member: str) -> None:
        self._rosters = rosters
        self._member = member
        self._newest: Roster | None = None
        """The newest that was proven beyond this node's own epoch."""

    def told(self, frame: bytes) -> EpochProof | None:
        """A proof of the epoch after the newest one known; None for any other. Raises: PeerError for one of nothing."""
        known = self._known()
        proof = EpochProof.decode(frame)
        if proof.roster.epoch != known.epoch + 1:
            return None
        self._newest = check_epoch(known, proof)
        return proof

    @property
    def removed_in(self) -> int | None:
        """Epoch beyond this node's own in which its member, or its key in the network, is proven to be gone."""
        own, known = self._rosters.current.member(self._member), self._known()
        now = known.member(self._member)
        gone = own is not None and (now is None or now.keys.peer != own.keys.peer)
        return known.epoch if gone else None

    @property
    def validators(self) -> tuple[str, ...]:
        """Of the newest epoch known."""
        return tuple(member.id for member in self._known().validator_members())

    def _known(self) -> Roster:
        current = self._rosters.current
        return current if self._newest is None or self._newest.epoch < current.epoch else self._newest
