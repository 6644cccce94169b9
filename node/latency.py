"""How long things take here: statements, from the door to final on disk, and the loop, where it stands still."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable

from node.rpc.types import Latencies, OnResult, SubmissionResult, SubmissionState

BOUNDS_MS = (10, 20, 30, 40, 50, 75, 100, 150, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000)
"""Upper bounds of the buckets, inclusive; one more bucket has none. Fine where the promises are (40 and 150 ms)."""


class Stopwatch:
    """Times each statement that enters here. One thread, the loop's, owns it."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        """now_s: a monotonic clock, seconds."""
        self._now_s = now_s
        self._counts = [0] * (len(BOUNDS_MS) + 1)
        self._sum_ms = 0.0

    def timed(self, on_result: OnResult) -> OnResult:
        """`on_result`, and the time from now to FINAL counted. To be called, as the result, on the loop's thread."""
        begun_s = self._now_s()

        def told(result: SubmissionResult) -> None:
            if result.state is SubmissionState.FINAL:
                self.add((self._now_s() - begun_s) * 1000)
            on_result(result)

        return told

    def add(self, milliseconds: float) -> None:
        self._counts[bisect_left(BOUNDS_MS, milliseconds)] += 1
        self._sum_ms += milliseconds

    def latencies(self) -> Latencies:
        """What was counted since this node's start."""
        return Latencies(counts=tuple(self._counts), sum_ms=round(self._sum_ms))


STILLNESS_WINDOW_S = 10.0


class Stillness:
    """How long the loop's thread did nothing at all: a task that ought to run every `LOOK_S` says when it did."""

    LOOK_S = 0.2

    def __init__(self) -> None:
        self._last_s: float | None = None
        self._late: deque[tuple[float, float]] = deque()
        """(when, by how much) of the window; at most one a look."""

    def look(self, now_s: float) -> None:
        if self._last_s is not None:
            self._late.append((now_s, max(0.0, now_s - self._last_s - self.LOOK_S)))
        self._last_s = now_s
        while self._late and self._late[0][0] <= now_s - STILLNESS_WINDOW_S:
            self._late.popleft()

    def longest_ms(self) -> int:
        """In the last STILLNESS_WINDOW_S, as of the last look."""
        return round(1000 * max((late for _, late in self._late), default=0.0))
