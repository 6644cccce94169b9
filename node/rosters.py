"""Who belongs to the consortium, epoch by epoch: the one place from which the node takes the current committee."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from consensus.types import Digest, Epoch, Height
from ledger.genesis import Genesis
from ledger.payload import Payload
from ledger.roster import Roster


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochStart:
    """roster: of the epoch. height: of the block it starts from; its own blocks are above. size: leaves up to there."""

    roster: Roster
    height: Height
    size: int


class Rosters:
    """All rosters so far. The loop adds; whoever asks, on any thread, sees them before or after.

    Invariants: (1) epochs are consecutive from 0; (2) heights and sizes ascend.
    """

    def __init__(self, genesis: Genesis, later: Sequence[EpochStart] = ()) -> None:
        """later: epochs 1 and up, as the store has them."""
        self.genesis = genesis
        self._starts: tuple[EpochStart, ...] = (EpochStart(roster=genesis.roster, height=Height(0), size=0),)
        for start in later:
            self.add(start)

    @property
    def current(self) -> Roster:
        """Of the newest epoch this node has reached."""
        return self._starts[-1].roster

    @property
    def epoch(self) -> Epoch:
        return self.current.epoch

    @property
    def digest(self) -> Digest:
        """The consortium's identity, the same in every epoch."""
        return self.genesis.digest

    @property
    def origin(self) -> str:
        """The log's name, the same in every epoch."""
        return self.genesis.origin

    @property
    def starts(self) -> tuple[EpochStart, ...]:
        """Ascending from epoch 0."""
        return self._starts

    def add(self, start: EpochStart) -> None:
        """The next epoch has begun."""
        assert start.roster.epoch == self.epoch + 1, "an epoch follows the one before"
        last = self._starts[-1]
        assert start.height > last.height, "an epoch has blocks"
        assert start.size > last.size, "an epoch ends by votes, which are leaves"
        self._starts = (*self._starts, start)

    def of_epoch(self, epoch: int) -> Roster | None:
        """None for an epoch this node has not reached."""
        return self._starts[epoch].roster if 0 <= epoch < len(self._starts) else None

    def end_of(self, epoch: int) -> int | None:
        """Leaves where an epoch ended; None where it has not."""
        return self._starts[epoch + 1].size if 0 <= epoch < len(self._starts) - 1 else None

    def of_payload(self, payload: Payload) -> Roster:
        """Under which a payload is valid or not: that of its own epoch, or the current one where there is none yet."""
        return self.of_epoch(payload.header.epoch) or self.current

    def of_height(self, height: int) -> Roster:
        """The roster under which the block at `height` was made final; a boundary block is the old epoch's."""
        return self._before(bisect_left(self._starts, height, key=lambda start: start.height))

    def of_size(self, size: int) -> Roster:
        """The roster of the epoch whose block made the log `size` leaves long: its validators cosign that."""
        return self._before(bisect_left(self._starts, size, key=lambda start: start.size))

    def _before(self, position: int) -> Roster:
        return self._starts[max(position, 1) - 1].roster
