"""Times from the door to final: only what became final counts, in the bucket its time belongs to."""

from __future__ import annotations

import pytest

from consensus.types import Digest
from node.latency import BOUNDS_MS, Stillness, Stopwatch
from node.rpc.types import Refusal, SubmissionResult, SubmissionState

DIGEST = Digest(bytes(32))


class Watch:
    """A stopwatch on a clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.stopwatch = Stopwatch(lambda: self.now_s)
        self.told: list[SubmissionResult] = []

    def take(self, milliseconds: float, result: SubmissionResult) -> None:
        on_result = self.stopwatch.timed(self.told.append)
        self.now_s += milliseconds / 1000
        on_result(result)

    def counts(self) -> dict[int | None, int]:
        """Upper bound -> how many, where there are any."""
        bounds = (*BOUNDS_MS, None)
        return {b: n for b, n in zip(bounds, self.stopwatch.latencies().counts, strict=True) if n}


def result(state: SubmissionState) -> SubmissionResult:
    refusal = Refusal(code="X", field="", value="", expected="") if state is SubmissionState.REFUSED else None
    return SubmissionResult(digest=DIGEST, state=state, refusal=refusal)


@pytest.mark.parametrize(
    ("took_ms", "bucket"), [(0, 10), (9.9, 10), (35, 40), (149, 150), (59_000, 60_000), (1e6, None)]
)
def test_final_statement_counts_in_its_bucket(took_ms: float, bucket: int | None) -> None:
    watch = Watch()
    watch.take(took_ms, result(SubmissionState.FINAL))
    assert watch.counts() == {bucket: 1}
    assert watch.stopwatch.latencies().sum_ms == pytest.approx(took_ms, abs=1)


@pytest.mark.parametrize("state", [s for s in SubmissionState if s is not SubmissionState.FINAL])
def test_whatever_else_became_of_it_is_told_and_not_counted(state: SubmissionState) -> None:
    watch = Watch()
    watch.take(20, result(state))
    assert watch.counts() == {}
    assert [each.state for each in watch.told] == [state]


def test_longest_standstill_of_the_last_ten_seconds_is_told_and_then_forgotten() -> None:
    stillness = Stillness()
    now_s = 50.0
    for pause_s in (0.2, 0.2, 1.7, 0.2, 0.4):
        stillness.look(now_s)
        now_s += pause_s
    stillness.look(now_s)
    assert stillness.longest_ms() == 1500, "of 1.7 s, 0.2 s were meant"
    for _ in range(60):
        now_s += 0.2
        stillness.look(now_s)
    assert stillness.longest_ms() == 0
