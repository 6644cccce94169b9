"""How long to wait on a machine that others use too: deadlines that grow with its load. No measurement is scaled."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
FACTOR_MAX = 10.0
JUDGED_LOAD_PER_CORE = 5.0
"""Above this load average a core, a gap without a final statement says more of the machine than of the nodes: it is
reported, and no aim is held against it. The campaign by itself makes up to four."""


class Expectation(Exception):
    """Something that must hold does not. The sentence says what was seen."""


def load_per_core() -> float:
    """The last minute's load average, of one core."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def factor() -> float:
    """How many times as long everything may take now."""
    return min(FACTOR_MAX, max(1.0, load_per_core()))


class Deadline:
    """So many seconds of a quiet machine, from now on."""

    def __init__(self, within_s: float) -> None:
        self.within_s = within_s
        self._begun = time.monotonic()
        self._factor = factor()

    def allowed_s(self) -> float:
        """At the highest load seen: a burst that has just ended may have cost its time all the same."""
        self._factor = max(self._factor, factor())
        return self.within_s * self._factor

    def is_over(self) -> bool:
        return time.monotonic() - self._begun > self.allowed_s()


def until(condition: Callable[[], T], what: str, within_s: float) -> T:
    """What `condition` gives once that is true. Raises: Expectation."""
    deadline = Deadline(within_s)
    while not (found := condition()):
        if deadline.is_over():
            raise Expectation(f"not within {deadline.allowed_s():.0f} s: {what}")
        time.sleep(0.02)
    return found
