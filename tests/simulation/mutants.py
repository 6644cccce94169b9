"""Broken nodes, one rule each left out, that the simulation must catch: this grades the simulation.

python -m tests.simulation.mutants [name ...]: how many seeds each mutant took, as a table.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from tests.simulation import mutants_ledger, mutants_voting
from tests.simulation.byzantine import Appetite
from tests.simulation.mutation import Mutant
from tests.simulation.run import fingerprint
from tests.simulation.scenario import SimulationFailure, focused, run_scenario

SEEDS_MAX = 200
APPETITES = {
    "replay": Appetite(replay=0.5),
    "boundary": Appetite(boundary=0.7),
    "clocks": Appetite(backdate=0.7),
    "spam": Appetite(far_views=0.3, flood=0.3),
    "payloads": Appetite(bad_payload=0.5, bad_statement=0.5, hidden_body=0.5, false_body=0.5),
}
"""Of the Byzantine validators in runs of a focus; by default what the seed gives them."""
TWO_PROCESSES = "two processes"
"""Focus of a mutant that shows only where two processes are compared."""

MUTANTS: dict[str, Mutant] = {mutant.name: mutant for mutant in (*mutants_voting.MUTANTS, *mutants_ledger.MUTANTS)}


@dataclass(frozen=True)
class Verdict:
    """seed: the first that notices, None if none does. runs: how many it took. reason: what it says."""

    name: str
    seed: int | None
    runs: int
    reason: str


def grade(name: str, seeds_max: int = SEEDS_MAX) -> Verdict:
    mutant = MUTANTS[name]
    if mutant.focus == TWO_PROCESSES:
        return _compare_processes(name, seeds_max)
    for seed in range(seeds_max):
        with mutant.breaks():
            try:
                run_scenario(seed, scenario=focused(seed, mutant.focus), appetite=APPETITES.get(mutant.focus))
            except SimulationFailure as failure:
                return Verdict(name, seed, seed + 1, failure.reason.split(" [Scenario")[0])
    return Verdict(name, None, seeds_max, "")


def _compare_processes(name: str, seeds_max: int) -> Verdict:
    """Whether two processes, whose hashes of bytes differ, run the mutant apart."""
    for seed in range(min(seeds_max, 10)):
        traces = set()
        for hash_seed in ("1", "2"):
            command = [sys.executable, "-m", "tests.simulation.mutants", "--trace", name, str(seed)]
            environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
            traces.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
        if len(traces) > 1:
            return Verdict(name, seed, seed + 1, "two processes make different runs of one seed")
    return Verdict(name, None, seeds_max, "")


def _print_trace(name: str, seed: int) -> None:
    with MUTANTS[name].breaks():
        sys.stdout.write(fingerprint(run_scenario(seed)))


def main() -> int:
    if sys.argv[1:2] == ["--trace"]:
        _print_trace(sys.argv[2], int(sys.argv[3]))
        return 0
    names = sys.argv[1:] or list(MUTANTS)
    survivors = 0
    sys.stdout.write(f"{'mutant':<34} {'pitfall':<9} {'tried on':<16} {'first seed':<11} what the simulation said\n")
    with ProcessPoolExecutor(os.cpu_count() or 1) as pool:
        for verdict in pool.map(grade, names):
            mutant = MUTANTS[verdict.name]
            if verdict.seed is None and not mutant.equivalent:
                survivors += 1
            seed = f"{verdict.seed} (run {verdict.runs})" if verdict.seed is not None else f"none of {verdict.runs}"
            said = verdict.reason or (f"equivalent: {mutant.equivalent}" if mutant.equivalent else "SURVIVED")
            sys.stdout.write(f"{verdict.name:<34} {mutant.pitfall:<9} {mutant.focus:<16} {seed:<11} {said:.110}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(names)} mutants, {survivors} survived\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
