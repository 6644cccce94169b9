"""Broken nodes, one rule each left out, that the simulation must catch: this grades the simulation.

python -m tests.simulation.mutants [name ...]: how many seeds each mutant took, as a table.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from tests.simulation import mutants_chains, mutants_ledger, mutants_voting
from tests.simulation.byzantine import Appetite
from tests.simulation.mutation import Mutant
from tests.simulation.run import fingerprint, spare_collector
from tests.simulation.scenario import SimulationFailure, focused, run_scenario

SEEDS_MAX = 200
APPETITES = {
    "replay": Appetite(replay=0.5),
    "boundary": Appetite(boundary=0.7, is_plausible=True),
    "clocks": Appetite(backdate=0.7),
    "spam": Appetite(far_views=0.3, flood=0.3),
    "flood": Appetite(flood=0.6),
    "stonewalling": Appetite(stonewall=1.0),
    "split": Appetite(split=1.0, is_plausible=True),
    "payloads": Appetite(bad_payload=0.5, bad_statement=0.5, hidden_body=0.5, false_body=0.5),
}
"""Of the Byzantine validators in runs of a focus; by default what the seed gives them."""
TWO_PROCESSES = "two processes"
"""Focus of a mutant that shows only where two processes are compared."""

MUTANTS: dict[str, Mutant] = {
    mutant.name: mutant for mutant in (*mutants_voting.MUTANTS, *mutants_ledger.MUTANTS, *mutants_chains.MUTANTS)
}


@dataclass(frozen=True)
class Verdict:
    """seed: the first that notices, None if none does. runs: how many it took. reason: what it says.

    false: seeds before it that fail for the unbroken node too, so that they prove nothing but a fault of its own.
    """

    name: str
    seed: int | None
    runs: int
    reason: str
    false: tuple[int, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether it came as it must: caught, unless nothing can come of the mutant."""
        return not self.false and (self.seed is None) == bool(MUTANTS[self.name].equivalent)

    def __str__(self) -> str:
        mutant = MUTANTS[self.name]
        seed = f"{self.seed} (run {self.runs})" if self.seed is not None else f"none of {self.runs}"
        said = self.reason or (f"equivalent: {mutant.equivalent}" if mutant.equivalent else "SURVIVED")
        if self.false:
            said = f"UNBROKEN NODES FAIL TOO at {', '.join(map(str, self.false))}; {said}"
        elif mutant.equivalent and self.seed is not None:
            said = f"NOT EQUIVALENT: {said}"
        return f"{self.name:<34} {mutant.pitfall:<9} {mutant.focus:<16} {seed:<14} {said:.110}"


def failure_of(seed: int, focus: str, breaks: AbstractContextManager[object]) -> str | None:
    """What a run of this focus says of a node that is broken in this way; None where nothing is wrong with it."""
    with breaks:
        try:
            run_scenario(seed, scenario=focused(seed, focus), appetite=APPETITES.get(focus))
        except SimulationFailure as failure:
            return failure.reason.split(" [Scenario")[0]
    return None


def grade(name: str, seeds_max: int = SEEDS_MAX) -> Verdict:
    """Seeds are tried until one catches the mutant: the same run with an unbroken node must then pass."""
    spare_collector()
    mutant = MUTANTS[name]
    if mutant.focus == TWO_PROCESSES:
        return _compare_processes(name, seeds_max)
    false: list[int] = []
    for seed in range(seeds_max):
        reason = failure_of(seed, mutant.focus, mutant.breaks())
        if reason is None:
            continue
        if failure_of(seed, mutant.focus, nullcontext()) is None:
            return Verdict(name, seed, seed + 1, reason, tuple(false))
        false.append(seed)
    return Verdict(name, None, seeds_max, "", tuple(false))


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
    verdicts: list[Verdict] = []
    sys.stdout.write(f"{'mutant':<34} {'pitfall':<9} {'tried on':<16} {'first seed':<14} what the simulation said\n")
    with ProcessPoolExecutor(os.cpu_count() or 1) as pool:
        for verdict in pool.map(grade, names):
            verdicts.append(verdict)
            sys.stdout.write(f"{verdict}\n")
            sys.stdout.flush()
    bad = [verdict.name for verdict in verdicts if not verdict.is_good]
    caught = sum(verdict.seed is not None for verdict in verdicts)
    equivalent = sum(bool(MUTANTS[verdict.name].equivalent) for verdict in verdicts)
    sys.stdout.write(
        f"{len(names)} mutants: {caught} caught, {equivalent} equivalent, {len(bad)} not as they must be\n"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
