"""Two hundred seeded consortia in trouble, and the proof that broken engines do not pass."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.mutants import MUTANTS, seeds_to_catch
from tests.simulation.scenario import run_scenario

SEEDS_PER_TEST = 10


@pytest.mark.parametrize("first", range(0, 200, SEEDS_PER_TEST))
def test_agreement_validity_and_progress_hold_by_seed(first: int) -> None:
    for seed in range(first, first + SEEDS_PER_TEST):
        run_scenario(seed)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_engine_is_caught(mutant: str) -> None:
    assert seeds_to_catch(mutant) is not None, f"{mutant} survived: the simulation no longer tests that rule"


def test_a_run_does_not_depend_on_the_order_of_hashes() -> None:
    """Pitfall 16: the same events give the same outputs in every process."""
    runs = set()
    for hash_seed in ("0", "1", "77"):
        command = [sys.executable, "-m", "tests.simulation.run", "--seeds", "4", "--first", "20", "--verbose"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        runs.add("\n".join(line for line in done.stdout.splitlines() if line.startswith("seed")))
    assert len(runs) == 1
    assert len(runs.pop().splitlines()) == 4
