"""python -m tests.simulation.run --seeds 1000: seeded runs of a simulated consortium, to the first failure."""

from __future__ import annotations

import argparse
import hashlib
import sys
import time

from tests.simulation.scenario import Outcome, SimulationFailure, run_scenario, scenario_of
from tests.simulation.trace import LINES_MAX


def _summary(seed: int, outcome: Outcome) -> str:
    scenario = scenario_of(seed)
    fingerprint = hashlib.sha256("\n".join(outcome.trace.lines(LINES_MAX)).encode()).hexdigest()[:16]
    return (
        f"{scenario.kind}, {scenario.size} validators, height {outcome.height}, view {outcome.view}, "
        f"{outcome.messages} messages, {outcome.crashes} crashes, trace {fingerprint}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--verbose", action="store_true", help="a line for every run")
    options = parser.parse_args()
    seeds = [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    started = time.process_time()
    heights = 0
    for seed in seeds:
        try:
            outcome = run_scenario(seed)
        except SimulationFailure as failure:
            sys.stdout.write(f"{failure}\n")
            return 1
        heights += outcome.height
        if options.verbose:
            sys.stdout.write(f"seed {seed}: {_summary(seed, outcome)}\n")
    seconds = time.process_time() - started
    sys.stdout.write(f"{len(seeds)} seeds, {heights} blocks committed, no property broken, {seconds:.1f} s of CPU\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
