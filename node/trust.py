"""Whether this node may rely on its voting state: kept on disk, so that a restart does not forget doubts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from consensus.events import Restored
from consensus.types import View
from node.store.voting import VotingStore

log = logging.getLogger(__name__)


class Voter(Protocol):
    """What an engine or follower says of its votes, asked after every step."""

    @property
    def recovering(self) -> bool: ...
    @property
    def finalized_view(self) -> View: ...


class Trust:
    """Follows what the engine of a node with a seat says of its votes."""

    def __init__(self, voting: VotingStore, core: Voter, restored: Restored) -> None:
        self._voting = voting
        self.recovering = core.recovering
        """Whether this node follows without voting until it knows that to be safe."""
        self._doubted = not restored.trusted
        """Whether the voting state is marked as not to be trusted, on disk."""

    def begin(self, core: Voter) -> None:
        """The next epoch has begun: what was doubted on disk is doubted still."""
        self.recovering = core.recovering

    def note(self, core: Voter, committed_view: Callable[[], View]) -> bool:
        """Takes over what the engine says now. Gives whether it has just begun to vote again."""
        again = False
        if core.recovering != self.recovering:
            self.recovering = core.recovering
            log.warning("this node %s", "follows without voting" if core.recovering else "votes again")
            if core.recovering:
                self._voting.set_trusted(False)
                self._doubted = True
            else:
                again = True
        # The view that ends the doubt is final, but its block may lack yet: a restart would begin below it again.
        if self._doubted and not core.recovering and committed_view() >= core.finalized_view:
            self._voting.set_trusted(True)
            self._doubted = False
        return again
