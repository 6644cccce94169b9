"""The network's names for the consortium's members, as of the current epoch."""

from __future__ import annotations

from collections.abc import Mapping

from ledger.roster import Roster
from node.network.peer_id import peer_id_of
from node.rosters import Rosters


class PeerIds:
    """() -> peer id -> member id, live, of all other members, with a seat or without."""

    def __init__(self, rosters: Rosters, member: str) -> None:
        """member: this node's own, which nobody else may use."""
        self._rosters = rosters
        self._member = member
        self._roster: Roster | None = None
        self._ids: Mapping[str, str] = {}

    def __call__(self) -> Mapping[str, str]:
        roster = self._rosters.current
        if roster is not self._roster:
            self._ids = {peer_id_of(each.keys.peer): each.id for each in roster.members if each.id != self._member}
            self._roster = roster
        return self._ids
