"""One epoch as this node runs it: its engine or follower, its roster, and with what this node signs in it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Protocol, assert_never

from consensus.events import EngineStatus, Event, Output, Restored
from consensus.types import Epoch, ValidatorIndex, View
from ledger.roster import Roster
from node.signer import Signer

log = logging.getLogger(__name__)


class Part(Enum):
    """What this node is in an epoch; the values are those of NodeStatusResponse.part."""

    VALIDATOR = "validator"
    """It has a seat and its keys, and votes."""
    OBSERVER = "observer"
    """A member's node that follows without a seat."""
    KEYLESS = "keyless"
    """Its member has a seat, but another key than those here: it follows, and whoever has the key votes."""
    OUTSIDE = "outside"
    """Its member is not in the roster: removed, or not yet admitted as far as this node knows."""


class Core(Protocol):
    """What the loop needs of an engine or a follower: one deterministic step for the events that are there."""

    deadline_ms: int | None

    @property
    def ended(self) -> bool: ...
    @property
    def clears_doubt(self) -> bool: ...
    @property
    def recovering(self) -> bool: ...
    @property
    def finalized_view(self) -> View: ...
    def step(self, *events: Event) -> tuple[Output, ...]: ...
    def status(self) -> EngineStatus: ...


MakeCore = Callable[[Roster, Signer | None, Restored], Core]
"""(roster, signer or None, where the epoch stands) -> its engine, or a follower where there is no signer."""


class EpochRun:
    """The core of one epoch, with its committee's members in the order of their index."""

    def __init__(
        self, roster: Roster, member: str, core: Core, signer: Signer | None, *, is_over: bool = False
    ) -> None:
        """member: whose node this is. signer: None where the core follows without voting.

        is_over: the epoch is known to have ended, and with it the membership, though its last blocks lack here.
        """
        self._own = member
        self.roster = roster
        self.core = core
        self.signer = signer
        self.members = tuple(each.id for each in roster.validator_members())
        if signer is not None:
            self.part = Part.VALIDATOR
        elif is_over:
            self.part = Part.OUTSIDE
        elif member in self.members:
            self.part = Part.KEYLESS
        else:
            self.part = Part.OUTSIDE if roster.member(member) is None else Part.OBSERVER
        self.observers = frozenset(each.id for each in roster.members if not each.validator)

    @property
    def epoch(self) -> Epoch:
        return self.roster.epoch

    def why_it_follows(self) -> str:
        """For the status, in words; empty for a node that votes."""
        match self.part:
            case Part.VALIDATOR:
                return ""
            case Part.OBSERVER:
                return f"{self._own} has no seat in epoch {self.epoch}: this node follows"
            case Part.KEYLESS:
                return f"the keys of the seat of {self._own} are not here: this node follows"
            case Part.OUTSIDE:
                return f"{self._own} is no member of the newest epoch known here: this node has stopped voting"
            case _:
                assert_never(self.part)

    def log_part(self, missing: Sequence[str]) -> None:
        """Tells the operator what this node is. missing: purposes of whose keys the roster's are not here."""
        match self.part:
            case Part.VALIDATOR:
                log.info("epoch %d: this node votes", self.epoch)
            case Part.OBSERVER:
                log.info("epoch %d: this node follows, %s has no seat", self.epoch, self._own)
            case Part.KEYLESS:
                keys = ", ".join(missing)
                log.error(
                    "epoch %d: this node follows without voting: the %s key that the roster names for %s is not in its "
                    "keys folder; it goes to keys/NAME.pem, or keys/NAME.next.pem", self.epoch, keys, self._own
                )  # fmt: skip
            case Part.OUTSIDE:
                log.warning("epoch %d: %s is no member: this node follows what it can reach", self.epoch, self._own)
            case _:
                assert_never(self.part)

    def member(self, index: ValidatorIndex) -> str:
        """Member id of a validator."""
        return self.members[index]

    def index(self, member: str) -> ValidatorIndex | None:
        """A validator's number; None for who has no seat in this epoch."""
        index = self.roster.validator_index(member)
        return None if index is None else ValidatorIndex(index)

    def names(self, indices: Iterable[ValidatorIndex]) -> list[str]:
        return [self.members[i] for i in indices]
