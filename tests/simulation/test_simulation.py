"""Some hundred seeded consortia in trouble, runs that once failed, and the proof that broken nodes do not pass."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.simulation import mutants
from tests.simulation.mutants import MUTANTS, Verdict, failure_of, grade
from tests.simulation.recorder import Recorder
from tests.simulation.run import run_seeds
from tests.simulation.scenario import SimulationFailure, run_scenario

SEEDS_PER_TEST = 10
SEEDS = 300
QUICK = (
    "no_nullification_check", "no_parent_check", "finalize_after_nullify", "sign_before_persist", "amnesia",
    "few_signers_suffice", "repeated_signers", "kind_not_signed", "no_evidence", "chains_before_the_watermark",
    "chain_ends_signed_twice",
)  # fmt: skip
"""Mutants tried with every change, caught by their first seeds; `make mutants` tries all."""


def remembered() -> list[tuple[str, int, str]]:
    """(focus, seed, why) of every line."""
    lines = (Path(__file__).parent / "seeds.txt").read_text().splitlines()
    found = [re.fullmatch(r"(?:([a-z]+) )?(\d+) (.+)", line) for line in lines if not line.startswith("#")]
    return [(match[1] or "", int(match[2]), match[3]) for match in found if match is not None]


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_agreement_validity_and_progress_hold_by_seed(first: int) -> None:
    tally = run_seeds(range(first, first + SEEDS_PER_TEST))
    assert not tally.failures, tally.failures[0][1]


@pytest.mark.parametrize(("focus", "seed", "why"), remembered(), ids=lambda value: str(value)[:40])
def test_what_once_failed_does_not(focus: str, seed: int, why: str) -> None:
    assert failure_of(seed, focus, nullcontext()) is None, why


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_a_broken_node_is_caught(name: str) -> None:
    assert grade(name).seed is not None, f"{name} survived: the simulation no longer tests that rule"


def test_a_run_that_fails_for_unbroken_nodes_catches_no_mutant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a fault of the simulation, or of the nodes, would pass for a rule that is tested."""
    good = grade("finalize_after_nullify", seeds_max=1)
    assert (good.seed, good.false, good.is_good) == (0, (), True)

    def fails(*_: object, **__: object) -> None:
        raise SimulationFailure(0, "whatever the nodes do", [])

    monkeypatch.setattr(mutants, "run_scenario", fails)
    bad = grade("finalize_after_nullify", seeds_max=2)
    assert (bad.seed, bad.false, bad.is_good) == (None, (0, 1), False)
    assert "UNBROKEN NODES FAIL TOO at 0, 1" in str(bad)


def test_a_mutant_that_survives_or_is_caught_against_its_argument_is_not_good() -> None:
    assert not Verdict("finalize_after_nullify", None, 200, "").is_good
    assert Verdict("nullify_after_finalize", None, 200, "").is_good
    assert not Verdict("nullify_after_finalize", 3, 4, "a fork").is_good


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
