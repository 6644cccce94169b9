"""Fuzzing without coverage: mutations of honest inputs, the same for the same seed. Works wherever Python does."""

from __future__ import annotations

import random
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from tests.fuzz.mutate import mutated
from tests.fuzz.target import Broken, Target

INPUT_S_MAX = 5
"""No decoder may take so long over 64 KiB."""
MEMORY_BYTES_MAX = 512 * 2**20
"""By so much one target may make the process grow, over all its inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """data: what broke it. error: what it raised."""

    data: bytes
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """executions, accepted: inputs tried, and those of them that were decoded. finding: the first, which ends it."""

    executions: int
    accepted: int
    finding: Finding | None


@contextmanager
def _in_time() -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Broken(f"it took over {INPUT_S_MAX} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, INPUT_S_MAX)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz(target: Target, *, seed: int, executions_max: int, seconds_max: float = float("inf")) -> Outcome:
    """Tries mutations until a bound or a finding. What was accepted is mutated again."""
    chance = random.Random(f"{target.name} {seed}")
    pool = target.seeds()
    until = time.monotonic() + seconds_max
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    executions = accepted = 0
    while executions < executions_max and (executions % 64 or time.monotonic() < until):
        executions += 1
        data = mutated(chance.choice(pool), pool, chance)
        try:
            with _in_time():
                was_accepted = target.accepts(data)
        except Exception as error:  # noqa: BLE001  whatever is not documented is a finding
            return Outcome(executions=executions, accepted=accepted, finding=Finding(data=data, error=error))
        if was_accepted:
            accepted += 1
            if len(pool) < 512:
                pool.append(data)
    if (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown) * 1024 > MEMORY_BYTES_MAX:
        error = Broken(f"the process grew by over {MEMORY_BYTES_MAX // 2**20} MiB")
        return Outcome(executions=executions, accepted=accepted, finding=Finding(data=b"", error=error))
    return Outcome(executions=executions, accepted=accepted, finding=None)
