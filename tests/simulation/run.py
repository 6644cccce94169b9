"""python -m tests.simulation.run --seeds 1000: seeded runs of a simulated consortium, to the first failure."""

from __future__ import annotations

import argparse
import gc
import hashlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice

from tests.simulation.scenario import Outcome, SimulationFailure, run_scenario, scenario_of
from tests.simulation.trace import LINES_MAX

CHUNK_SEEDS = 10
"""Seeds one process takes at a time."""


GARBAGE_OBJECTS = 100_000
"""How many new objects there may be before the collector looks at them."""


@dataclass(frozen=True)
class Tally:
    """What a few seeds came to. failures: what broke, in words, by seed."""

    seeds: int
    blocks: int
    epochs: int
    leaves: int
    heal_views_max: int
    mints: int
    transitions: int
    lapses: int
    cpu_s: float
    failures: tuple[tuple[int, str], ...] = ()
    lines: tuple[str, ...] = ()

    def plus(self, other: Tally) -> Tally:
        return Tally(
            seeds=self.seeds + other.seeds,
            blocks=self.blocks + other.blocks,
            epochs=self.epochs + other.epochs,
            leaves=self.leaves + other.leaves,
            heal_views_max=max(self.heal_views_max, other.heal_views_max),
            mints=self.mints + other.mints,
            transitions=self.transitions + other.transitions,
            lapses=self.lapses + other.lapses,
            cpu_s=self.cpu_s + other.cpu_s,
            failures=(*self.failures, *other.failures),
        )


NOTHING = Tally(seeds=0, blocks=0, epochs=0, leaves=0, heal_views_max=0, mints=0, transitions=0, lapses=0, cpu_s=0.0)


def fingerprint(outcome: Outcome) -> str:
    """Of everything that happened, in order."""
    return hashlib.sha256("\n".join(outcome.trace.lines(LINES_MAX)).encode()).hexdigest()[:16]


def _summary(seed: int, outcome: Outcome) -> str:
    scenario = scenario_of(seed)
    return (
        f"seed {seed}: {scenario.kind}, {scenario.size} validators, height {outcome.height}, view {outcome.view}, "
        f"epoch {outcome.epoch}, {outcome.leaves} leaves, {outcome.messages} messages, {outcome.crashes} crashes, "
        f"trace {fingerprint(outcome)}"
    )


def spare_collector() -> None:
    """A run leaves cycles behind, and little else: to look for them less often saves a tenth of the time."""
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)


def run_seeds(seeds: Sequence[int], *, verbose: bool = False) -> Tally:
    """All of them, whatever becomes of each."""
    started = time.process_time()
    spare_collector()
    outcomes: list[Outcome] = []
    failures: list[tuple[int, str]] = []
    lines: list[str] = []
    for seed in seeds:
        try:
            outcomes.append(run_scenario(seed))
        except SimulationFailure as failure:
            failures.append((seed, str(failure)))
        else:
            if verbose:
                lines.append(_summary(seed, outcomes[-1]))
    return Tally(
        seeds=len(seeds),
        blocks=sum(outcome.height for outcome in outcomes),
        epochs=sum(outcome.epoch for outcome in outcomes),
        leaves=sum(outcome.leaves for outcome in outcomes),
        heal_views_max=max((outcome.heal_views for outcome in outcomes), default=0),
        mints=sum(outcome.mints for outcome in outcomes),
        transitions=sum(outcome.transitions for outcome in outcomes),
        lapses=sum(outcome.lapses for outcome in outcomes),
        cpu_s=time.process_time() - started,
        failures=tuple(failures),
        lines=tuple(lines),
    )


def run_parallel(seeds: Iterable[int], jobs: int, *, verbose: bool = False) -> Iterator[Tally]:
    """The same on several processes; tallies come as they are done, a few chunks ahead and no more."""
    source = iter(seeds)
    chunks = iter(lambda: tuple(islice(source, CHUNK_SEEDS)), ())
    if jobs == 1:
        for chunk in chunks:
            yield run_seeds(chunk, verbose=verbose)
        return
    with ProcessPoolExecutor(jobs) as pool:
        running: set[Future[Tally]] = set()
        for chunk in chunks:
            running.add(pool.submit(run_seeds, chunk, verbose=verbose))
            if len(running) >= 2 * jobs:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        for future in running:
            yield future.result()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes; by default one for each core")
    parser.add_argument("--verbose", action="store_true", help="a line for every run")
    options = parser.parse_args()
    seeds = [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    started = time.monotonic()
    total = NOTHING
    for tally in run_parallel(seeds, 1 if options.seed is not None else options.jobs, verbose=options.verbose):
        for line in tally.lines:
            sys.stdout.write(f"{line}\n")
        for _, text in tally.failures[:1]:
            sys.stdout.write(f"{text}\n")
        total = total.plus(tally)
        if total.failures:
            return 1
    seconds = time.monotonic() - started
    sys.stdout.write(
        f"{total.seeds} seeds, {total.blocks} blocks, {total.leaves} leaves, {total.epochs} changes of the committee, "
        f"{total.mints} mints, {total.transitions} changes of rights, {total.lapses} lapses: "
        f"no property broken; at most {total.heal_views_max} views to progress after healing; "
        f"{total.cpu_s:.1f} s of CPU, {total.seeds * 60 / max(seconds, 0.001):.0f} seeds a minute\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
