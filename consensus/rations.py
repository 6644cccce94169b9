"""How much each peer may make this validator send: a budget per delta, and one unasked help per delta."""

from __future__ import annotations

from consensus.types import ValidatorIndex

REPLIES_PER_WINDOW_MAX = 64


class Rations:
    """Bounded by the committee: a few integers per validator."""

    def __init__(self, window_ms: int) -> None:
        self._window_ms = window_ms
        self._spent: dict[ValidatorIndex, tuple[int, int]] = {}
        self._helped_ms: dict[ValidatorIndex, int] = {}

    def spend(self, peer: ValidatorIndex, cost: int, now_ms: int) -> bool:
        """Whether `peer` may have an answer of this cost now; who asks too much is not answered, and asks again."""
        window = now_ms // self._window_ms
        since, spent = self._spent.get(peer, (window, 0))
        if since != window:
            spent = 0
        if spent + cost > REPLIES_PER_WINDOW_MAX:
            return False
        self._spent[peer] = (window, spent + cost)
        return True

    def may_help(self, peer: ValidatorIndex, now_ms: int) -> bool:
        last = self._helped_ms.get(peer)
        if last is not None and now_ms - last < self._window_ms:
            return False
        self._helped_ms[peer] = now_ms
        return True
