"""Every decoder under a short, repeatable fuzz, and whatever once broke one. `make fuzz SECONDS=N` goes on longer."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.mutate import mutated
from tests.fuzz.plain import fuzz
from tests.fuzz.target import Broken, Target, canonical, stable
from tests.fuzz.targets import TARGETS, kept

EXECUTIONS = 1_500
SLOW = {"bridge-config": 300, "contract-call": 300,
        "evidence-bundle": 40, "evidence-part": 120, "evidence-archive": 200, "engine": 60, "yamux": 250,
        "metadata-excel": 300, "metadata-excel-part": 300, "anchored-evidence": 100, "chain-block": 300}  # fmt: skip
"""Targets whose one input takes long, and how many are tried of them."""

every_target = pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)


@every_target
def test_honest_inputs_are_accepted(target: Target) -> None:
    seeds = target.seeds()
    assert seeds
    for seed in seeds:
        assert target.accepts(seed)


@every_target
def test_only_documented_errors_and_no_second_meaning(target: Target) -> None:
    outcome = fuzz(target, seed=1, executions_max=SLOW.get(target.name, EXECUTIONS))
    if outcome.finding is not None:
        raise AssertionError(f"{target.name}: {outcome.finding.data.hex()}") from outcome.finding.error


@pytest.mark.parametrize(
    ("target", "data"),
    [
        pytest.param(target, path.read_bytes(), id=f"{target.name}-{path.name}")
        for target in TARGETS.values()
        for path in kept(target)
    ],
)
def test_what_once_broke_a_decoder_does_so_no_more(target: Target, data: bytes) -> None:
    target.accepts(data)


# ---- the fuzzer itself -----------------------------------------------------------------------------------------------


def test_undocumented_error_and_broken_round_trip_are_found() -> None:
    def fragile(data: bytes) -> object:
        return {b"honest": 1}[data]

    by_error = Target(name="fragile", run=fragile, seeds=lambda: [b"honest"], errors=(ValueError,))
    lax = canonical(lambda data: data.strip(), lambda value: value if isinstance(value, bytes) else b"")
    by_meaning = Target(name="lax", run=lax, seeds=lambda: [b"honest\n"])
    unstable = Target(name="unstable", run=stable(len, lambda n: bytes(2 * n)), seeds=lambda: [b"x"])  # type: ignore[arg-type]
    for target, error in ((by_error, KeyError), (by_meaning, Broken), (unstable, Broken)):
        finding = fuzz(target, seed=1, executions_max=1000).finding
        assert finding is not None
        assert isinstance(finding.error, error)


def test_same_seed_tries_the_same() -> None:
    def some() -> list[bytes]:
        chance = random.Random("seed")
        return [mutated(b"an honest input", [b"another"], chance) for _ in range(200)]

    assert some() == some()
    assert len(set(some())) > 150
