"""Timers of a view: when to give up on its leader, when to repeat oneself, and whom not to wait for at all.

Pure arithmetic on the monotonic clock of `Tick`; nothing here touches safety (research/consensus.md section 3).
"""

from __future__ import annotations

from consensus.types import Committee, ValidatorIndex, View, VoteKind

LEADER_DELTAS = 3
"""Leader timer: entry skew and the proposal's way take 2 delta from the first entrant's clock, and one is slack."""
VIEW_DELTAS = 5
"""View timer: notarization takes 3 delta from the first entrant's clock (research/consensus.md section 3, note [E])."""
RESEND_DELTAS = 2
"""First repetition of own votes comes before the leader timer, so that a lost finalize costs no view."""
BACKOFF_VIEWS = 3
"""Delta doubles for every so many views without a finalization."""
STALL_DIVISOR = 3
"""A Tick later than delta / STALL_DIVISOR after its deadline means that our own process stalled."""


class Pacemaker:
    """Timer state of the current view, and what was heard from whom.

    started_ms: since when the view's timers run; None while nothing is at stake and the chain may be quiet.
    """

    def __init__(self, committee: Committee, since: int = 0) -> None:
        """since: the last view before the first that can be watched."""
        self._since = since
        self._committee = committee
        self._parameters = committee.parameters
        self._longest_ms = self._parameters.delta_ms * max(1, self._parameters.delta_factor_max)
        self.entered_ms = 0
        self.started_ms: int | None = None
        self._forgiven = False
        self._resends = 0
        self._resent_ms = 0
        self.final_ms = 0
        """When the last finalization came, or the engine started: the heartbeat counts from here."""
        self.heard: list[View] = [View(0)] * committee.size
        self.last_votes: list[VoteKind | None] = [None] * committee.size
        """Kind of each validator's latest vote in the highest view it was heard in."""
        self.timeouts = [0] * committee.size
        """Views nullified, by who led them."""
        self.timeouts_in_row = 0
        self._heard_top = View(0)
        self._left_ms: dict[View, int] = {}

    # ---- delta -------------------------------------------------------------------------------------------------------

    def delta_ms(self, view: View, finalized_view: View) -> int:
        """Delta for `view`: doubled for every BACKOFF_VIEWS views without a finalization, capped.

        A function of (view - last finalized view) alone, so all validators agree (research section 2, rule 11); the cap
        keeps an outage from growing timers for hours (section 8).
        """
        doublings = (view - finalized_view - 1) // BACKOFF_VIEWS
        if doublings <= 0:
            return self._parameters.delta_ms
        factor = min(self._parameters.delta_factor_max, 1 << min(doublings, 62))
        return self._parameters.delta_ms * max(1, factor)

    # ---- the view ----------------------------------------------------------------------------------------------------

    def start(self, now_ms: int) -> None:
        """First Tick: whatever was entered before it was entered now."""
        self.entered_ms = self.final_ms = self._resent_ms = now_ms
        if self.started_ms is not None:
            self.started_ms = now_ms

    def enter(self, left: View, now_ms: int) -> None:
        self._left_ms[left] = now_ms
        if len(self._left_ms) > 4 * self._committee.size:
            del self._left_ms[min(self._left_ms)]
        self.entered_ms = now_ms
        self.started_ms = None
        self._forgiven = False
        self._resends = 0

    def set_active(self, active: bool, now_ms: int) -> None:
        """Timers run only while something is at stake; they start when it first is."""
        if not active:
            self.started_ms = None
        elif self.started_ms is None:
            self.started_ms = now_ms
            self._resent_ms = now_ms

    def forgive_stall(self, lateness_ms: int, now_ms: int) -> None:
        """Our process slept past its deadline: what others sent lies unread, so time is given back to read it.

        Once a view, so that a machine that is always late gives up on its leaders nevertheless (pitfall 13).
        """
        grace_ms = self._parameters.delta_ms // STALL_DIVISOR
        if self.started_ms is not None and lateness_ms > grace_ms and not self._forgiven:
            self._forgiven = True
            self.started_ms = min(now_ms, self.started_ms + lateness_ms + grace_ms)

    def give_up_ms(self, delta_ms: int, *, proposed: bool, silent: bool) -> int | None:
        """When to nullify the view. proposed: a valid proposal is here. silent: nothing of its leader lately."""
        if self.started_ms is None:
            return None
        if proposed:
            return self.started_ms + VIEW_DELTAS * delta_ms
        return self.started_ms + (0 if silent else LEADER_DELTAS * delta_ms)

    # ---- repetition --------------------------------------------------------------------------------------------------

    def resend_ms(self, delta_ms: int) -> int | None:
        if self.started_ms is None:
            return None
        return self._resent_ms + RESEND_DELTAS * min(self._longest_ms, delta_ms << min(self._resends, 62))

    def resent(self, now_ms: int) -> None:
        self._resends += 1
        self._resent_ms = now_ms

    # ---- who is there ------------------------------------------------------------------------------------------------

    def close(self, view: View, kind: VoteKind) -> None:
        """A certificate of this kind ended `view`: for the operator, who is to see who costs time."""
        if kind is VoteKind.NULLIFY:
            self.timeouts[self._committee.leader(view)] += 1
            self.timeouts_in_row += 1
        else:
            self.timeouts_in_row = 0

    def hear(self, voter: ValidatorIndex, view: View, kind: VoteKind | None = None) -> bool:
        """Whether it was not known to have come so far."""
        if kind is not None and view >= self.heard[voter]:
            self.last_votes[voter] = kind
        if view <= self.heard[voter]:
            return False
        self.heard[voter] = view
        self._heard_top = max(self._heard_top, view)
        return True

    def is_silent(self, leader: ValidatorIndex, view: View) -> bool:
        """Whether `leader` showed nothing for n views while a quorum did: waiting for it would only cost time.

        Not in the first n views this validator sees: nobody has had the time to show anything.
        """
        horizon = view - self._committee.size
        lately = sum(heard >= horizon for heard in self.heard)
        return horizon > self._since and self.heard[leader] < horizon and lately >= self._committee.quorum

    def ahead(self, view: View) -> tuple[ValidatorIndex, ...]:
        """Validators heard from in views above `view`."""
        if self._heard_top <= view:
            return ()
        return tuple(ValidatorIndex(i) for i, heard in enumerate(self.heard) if heard > view)

    def left_long_ago(self, view: View, now_ms: int) -> bool:
        """Whether `view` ended here more than delta ago: a vote for it that comes now comes from somebody behind."""
        left = self._left_ms.get(view)
        return left is None or now_ms - left > self._parameters.delta_ms

    # ---- heartbeat ---------------------------------------------------------------------------------------------------

    @property
    def heartbeat_ms(self) -> int:
        return self.final_ms + self._parameters.heartbeat_ms
