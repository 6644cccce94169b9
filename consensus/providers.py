"""Whom a follower asks: all validators in turn, nobody too often, and nobody again who sent what does not verify."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from consensus.types import ValidatorIndex

ASKS_PER_DELTA_MAX = 6
"""Chains asked of one validator within delta: it answers eight, and stays silent beyond (`consensus.rations`)."""
SILENCES_MAX = 5
"""Unanswered requests remembered of a validator; one answer makes them good."""


class Providers:
    """seed: so that not all followers ask the same validator first. me: not to be asked, where this node is one."""

    def __init__(self, size: int, me: ValidatorIndex | None, seed: bytes, delta_ms: int) -> None:
        start = int.from_bytes(hashlib.sha256(b"stretto/follower/v1" + seed).digest()[:8], "big") % size
        ring = [ValidatorIndex((start + i) % size) for i in range(size)]
        self._ring = [validator for validator in ring if validator != me]
        self._delta_ms = delta_ms
        self._asked: dict[ValidatorIndex, tuple[int, int]] = {}
        self._silences: dict[ValidatorIndex, int] = {}
        self.dropped: set[ValidatorIndex] = set()

    @property
    def present(self) -> tuple[ValidatorIndex, ...]:
        """Those who may be asked, who was asked least lately first."""
        return tuple(validator for validator in self._ring if validator not in self.dropped)

    def choose(self, busy: Iterable[ValidatorIndex], now_ms: int) -> ValidatorIndex | None:
        """Whom to ask now, None if nobody may be: the least busy first, who was silent last. busy: one per request."""
        counts = list(busy)
        free = [v for v in self.present if self._spent(v, now_ms) < ASKS_PER_DELTA_MAX]
        if not free:
            return None
        chosen = min(free, key=lambda v: counts.count(v) + self.silences(v))
        self._asked[chosen] = (now_ms // self._delta_ms, self._spent(chosen, now_ms) + 1)
        self._ring.remove(chosen)
        self._ring.append(chosen)
        return chosen

    def _spent(self, validator: ValidatorIndex, now_ms: int) -> int:
        window, count = self._asked.get(validator, (0, 0))
        return count if window == now_ms // self._delta_ms else 0

    def silences(self, validator: ValidatorIndex) -> int:
        return self._silences.get(validator, 0)

    def answered(self, validator: ValidatorIndex) -> None:
        self._silences.pop(validator, None)

    def stayed_silent(self, validator: ValidatorIndex) -> None:
        self._silences[validator] = min(SILENCES_MAX, self.silences(validator) + 1)

    def drop(self, validator: ValidatorIndex) -> None:
        """It sent what no honest validator sends."""
        self.dropped.add(validator)

    def order(self, turn: int) -> tuple[ValidatorIndex, ...]:
        """All that may be asked for payloads, another one first at each turn, those that were silent last."""
        present = sorted(self.present)
        at = turn % len(present) if present else 0
        return tuple(sorted(present[at:] + present[:at], key=lambda v: self.silences(v) >= SILENCES_MAX))
