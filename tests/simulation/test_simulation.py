"""Some hundred seeded consortia in trouble, runs that once failed, and the proof that broken nodes do not pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.mutants import MUTANTS, grade
from tests.simulation.recorder import Recorder
from tests.simulation.run import run_seeds
from tests.simulation.scenario import run_scenario

SEEDS_PER_TEST = 10
SEEDS = 120
QUICK = (
    "no_nullification_check", "no_parent_check", "finalize_after_nullify", "sign_before_persist", "amnesia",
    "few_signers_suffice", "repeated_signers", "kind_not_signed", "no_evidence",
)  # fmt: skip
"""Mutants tried with every change, caught by their first seeds; `make mutants` tries all."""


def remembered() -> list[tuple[int, str]]:
    lines = (Path(__file__).parent / "seeds.txt").read_text().splitlines()
    pairs = [line.split(" ", 1) for line in lines if line and not line.startswith("#")]
    return [(int(seed), why) for seed, why in pairs]


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_agreement_validity_and_progress_hold_by_seed(first: int) -> None:
    tally = run_seeds(range(first, first + SEEDS_PER_TEST))
    assert not tally.failures, tally.failures[0][1]


@pytest.mark.parametrize(("seed", "why"), remembered(), ids=lambda value: str(value)[:40])
def test_what_once_failed_does_not(seed: int, why: str) -> None:
    run_scenario(seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_a_broken_node_is_caught(name: str) -> None:
    assert grade(name).seed is not None, f"{name} survived: the simulation no longer tests that rule"


def test_every_mutant_says_which_rule_it_breaks() -> None:
    """Those pitfalls of research/consensus.md, section 5, that are code here; docs/consensus.md has the table."""
    named = {mutant.pitfall.split(" ")[0] for mutant in MUTANTS.values()}
    assert {str(number) for number in (1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 16)} <= named


def test_a_run_does_not_depend_on_the_order_of_hashes() -> None:
    """Pitfall 16: the same events give the same outputs in every process."""
    runs = set()
    for hash_seed in ("0", "1", "77"):
        command = [sys.executable, "-m", "tests.simulation.run", "--seeds", "6", "--first", "20", "--verbose"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run([*command, "--jobs", "1"], env=environment, capture_output=True, text=True, check=True)
        runs.add("\n".join(line for line in done.stdout.splitlines() if line.startswith("seed")))
    assert len(runs) == 1
    assert len(runs.pop().splitlines()) == 6


@pytest.mark.parametrize("seed", [3, 7, 33])
def test_an_engine_given_its_events_again_says_the_same_again(seed: int) -> None:
    """Through crashes and changes of the committee: every life of every node, engine or follower."""
    recorder = Recorder(keeps=True)
    run_scenario(seed, recorder=recorder)
    assert len(recorder.recordings) > 4
    for recording in recorder.recordings:
        assert recording.replay() == recording.outputs.hexdigest()
