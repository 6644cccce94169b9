"""Who was a member and is none any more, by its name in the network, and what proves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ledger.roster import Roster
from node.network.farewell import FRAMES_MAX
from node.network.peer_id import peer_id_of
from node.rosters import Rosters
from node.store.chain import ChainStore


class FormerMembers:
    """(peer id) -> encoded proofs of the epochs up to the first in which that node's member has no such key."""

    def __init__(self, store: ChainStore) -> None:
        self._store = store
        self._roster: Roster | None = None
        self._left: Mapping[str, int] = {}
        """Peer id -> epoch that began without it."""

    def __call__(self, peer_id: str) -> Sequence[bytes]:
        rosters = self._store.rosters
        if rosters.current is not self._roster:
            self._left = left_in(rosters)
            self._roster = rosters.current
        epoch = self._left.get(peer_id)
        if epoch is None:
            return ()
        first = max(1, epoch - FRAMES_MAX + 1)
        return [proof.encode() for proof in self._store.epoch_proofs(first, epoch - first + 1)]


def left_in(rosters: Rosters) -> dict[str, int]:
    """Peer id of every node that is no member's now -> first epoch after the last in which it was."""
    last: dict[str, int] = {}
    for start in rosters.starts:
        last |= {peer_id_of(member.keys.peer): start.roster.epoch + 1 for member in start.roster.members}
    now = {peer_id_of(member.keys.peer) for member in rosters.current.members}
    return {peer_id: epoch for peer_id, epoch in last.items() if peer_id not in now}
