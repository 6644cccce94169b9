"""Messages that no correct peer sends: counted for each peer, and logged within bounds."""

from __future__ import annotations

import logging
from collections import Counter

from consensus.errors import ConflictingCertificates, ForeignOwnVote, PeerError

log = logging.getLogger(__name__)

REJECTIONS_LOGGED_PER_PEER = 20
"""Rejected messages logged per peer and start; the rest is only counted, so that a peer cannot fill the disk."""


class Rejections:
    """Said of this node itself it is for its operator: somebody else holds its key, or agreement is lost."""

    def __init__(self, own: str) -> None:
        """own: member id of this node."""
        self._own = own
        self.rejected: Counter[str] = Counter()
        """By member."""
        self.alarms: Counter[type[PeerError]] = Counter()
        """What an operator must look into at once: agreement is lost, or somebody else votes with this node's key."""

    def reject(self, sender: str, error: PeerError) -> None:
        self.rejected[sender] += 1
        if isinstance(error, ConflictingCertificates | ForeignOwnVote):
            self.alarms[type(error)] += 1
        if self.rejected[sender] <= REJECTIONS_LOGGED_PER_PEER:
            level = logging.ERROR if sender == self._own else logging.WARNING
            log.log(level, "rejected from %s: %s", sender, error)
