"""Joules that a stretch of work took, as far as this machine counts them, for the report of a run.

What is reported is the whole machine's while the work ran, others' work included: no counter knows processes. A counter
that wraps is read often enough to see each turn; where that cannot be certain, the answer is "not measured".
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from catalog.energy_counters import Counter, NotMeasured, Nvml, Rapl, Source

SAMPLE_S: Final = 10.0
"""Between two readings. The smallest counters in use turn at 65 kJ: at WATTS_MAX after 43 s."""
WATTS_MAX: Final = 1500.0
"""More than any single package or memory domain draws; what a counter says beyond this is a reset, not energy."""
_SLACK_S: Final = 1.0
"""Counters are renewed every millisecond to tenth of a second: two readings close together may differ by more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What one source counted. Invariant: `reason` is None exactly where there are joules."""

    source: str
    joules: float | None
    parts: tuple[tuple[str, float], ...] = ()
    """(part of the machine, joules)."""
    reason: str | None = None
    """Why it was not measured."""

    def to_json(self) -> dict[str, Any]:
        """joules is null where nothing was measured; `reason` says why."""
        if self.joules is None:
            return {"source": self.source, "joules": None, "reason": f"not measured: {self.reason}"}
        parts = {name: round(joules, 6) for name, joules in self.parts}
        return {"source": self.source, "joules": round(self.joules, 6), "parts": parts}


class Tally:
    """One source's counters added up over readings. Once something is missed, it stays "not measured"."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._last: dict[str, Counter] = {}
        self._last_s: float | None = None
        self._joules: dict[str, float] = {}
        self._reason: str | None = None

    def sample(self, now_s: float) -> None:
        """Takes a reading. now_s: of a clock that also runs while the machine sleeps."""
        if self._reason is not None:
            return
        try:
            self._add(self._source.read(), now_s)
        except NotMeasured as error:
            self._reason = error.reason

    def _add(self, counters: tuple[Counter, ...], now_s: float) -> None:
        found = {counter.name: counter for counter in counters}
        if self._last_s is None:
            self._joules = dict.fromkeys(found, 0.0)
        elif found.keys() != self._last.keys():
            changed = ", ".join(sorted(found.keys() ^ self._last.keys()))
            raise NotMeasured(f"counters came or went while it was measured ({changed})")
        else:
            gap_s = max(now_s - self._last_s, 0.0)
            for name, counter in found.items():
                self._joules[name] += _joules(self._last[name], counter, gap_s)
        self._last, self._last_s = found, now_s

    def result(self) -> Energy:
        """So far."""
        if self._reason is not None or self._last_s is None:
            return Energy(source=self._source.name, joules=None, reason=self._reason or "nothing was read")
        parts = tuple(self._joules.items())
        return Energy(source=self._source.name, joules=sum(joules for _, joules in parts), parts=parts)


def _joules(before: Counter, after: Counter, gap_s: float) -> float:
    """Raises: NotMeasured where the counter may have turned twice, or was reset."""
    range_uj = after.wraps_at_uj
    if range_uj is not None and gap_s * WATTS_MAX * 1e6 > range_uj:
        raise NotMeasured(f"{after.name} was not read for {gap_s:.0f} s: its counter may have turned more than once")
    moved_uj = after.microjoules - before.microjoules
    if moved_uj < 0 and range_uj is not None:
        moved_uj += range_uj
    # A GPU's counter, and a whole board of them, may well be over WATTS_MAX one day; but it never turns.
    limit_uj = None if range_uj is None else (gap_s + _SLACK_S) * WATTS_MAX * 1e6
    if moved_uj < 0 or (limit_uj is not None and moved_uj > limit_uj):
        raise NotMeasured(f"{after.name} went from {before.microjoules} to {after.microjoules} uJ: it was reset")
    return moved_uj / 1e6


def clock_s() -> float:
    """Seconds that pass while the machine sleeps too, where there is such a clock."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(boot) if boot is not None else time.monotonic()


class EnergyMeter:
    """Measures from `start` to `stop`, reading the counters in a thread of its own every `sample_s`."""

    def __init__(
        self, sources: Iterable[Source], *, sample_s: float = SAMPLE_S, clock: Callable[[], float] = clock_s
    ) -> None:
        self._tallies = [Tally(source) for source in sources]
        self._sample_s = sample_s
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="energy", daemon=True)

    def start(self) -> None:
        """Takes the first reading."""
        self._sample()
        self._thread.start()

    def stop(self) -> tuple[Energy, ...]:
        """Takes the last reading, once. Returns what each source counted, in the order given."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            self._sample()
        return tuple(tally.result() for tally in self._tallies)

    def _run(self) -> None:
        while not self._stop.wait(self._sample_s):
            self._sample()

    def _sample(self) -> None:
        now_s = self._clock()
        for tally in self._tallies:
            tally.sample(now_s)


def machine_sources(*, gpu: bool) -> tuple[Source, ...]:
    """The counters of this machine. gpu: whether GPUs take part in the work; an idle one is not charged to it."""
    return (Rapl(), Nvml()) if gpu else (Rapl(),)


def energy_report(energies: Iterable[Energy], tracks: int) -> dict[str, Any]:
    """The part `energy` of a run report. tracks: examined in the time measured.

    `joules_per_track` is null unless everything that took part was measured: a part would pass for the whole.
    """
    counted = list(energies)
    joules = [one.joules for one in counted if one.joules is not None]
    complete = bool(counted) and len(joules) == len(counted) and tracks > 0
    return {
        "of": "the whole machine while the scan ran",
        "sources": [one.to_json() for one in counted],
        "joules_per_track": round(sum(joules) / tracks, 6) if complete else None,
    }


class MachineMeter:
    """Energy of this machine, for the report of a run: a `catalog.run_report.EnergyMeter`."""

    def __init__(
        self, sources: Iterable[Source] | None = None, *, gpu_took_part: Callable[[], bool] | None = None
    ) -> None:
        """sources: the processors of this machine, unless told otherwise. gpu_took_part: asked at the end, where one
        may: what an idle one drew is not charged to the work."""
        self._gpu_took_part = gpu_took_part
        self._meter = EnergyMeter(machine_sources(gpu=gpu_took_part is not None) if sources is None else sources)

    def start(self) -> None:
        """From here on."""
        self._meter.start()

    def stop(self, tracks: int) -> dict[str, Any]:
        """What run.json says under "energy"."""
        energies = self._meter.stop()
        if self._gpu_took_part is not None and not self._gpu_took_part():
            energies = tuple(energy for energy in energies if energy.source != Nvml.name)
        return energy_report(energies, tracks)
