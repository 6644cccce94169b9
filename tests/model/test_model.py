"""The rules hold in the model with two views, and every mutant of them falls, with a trace."""

from __future__ import annotations

import pytest

from tests.model.run import LEMMAS, MUTANTS, RULES, Check, describe, missing_tools, search, tell

needs_spin = pytest.mark.skipif(bool(missing_tools()), reason=f"not installed: {' '.join(missing_tools())}")


@needs_spin
@pytest.mark.parametrize("check", RULES, ids=lambda check: check.name)
def test_rules_hold_in_every_state(check: Check) -> None:
    result = search(check)
    assert result.exhaustive
    assert not result.found, describe(result)


@needs_spin
@pytest.mark.parametrize("check", MUTANTS, ids=lambda check: check.name)
def test_mutant_is_refuted_with_a_trace(check: Check) -> None:
    result = search(check)
    assert result.broken == check.lemma, describe(result)
    assert describe(result)[-1].endswith(LEMMAS[check.lemma or 0])
    assert result.trace


def test_trace_names_votes_and_the_certificates_they_complete() -> None:
    steps = [("notarize", [2, 1, 0]), ("notarize", [0, 1, 0]), ("notarize", [1, 1, 0]), ("nullify", [2, 2])]
    assert tell(steps, byzantine=1, quorum=3) == [
        "validator 2 votes to notarize block A1, whose parent is genesis",
        "validator 0 votes to notarize block A1, whose parent is genesis",
        "    block A1 is notarized, by 0 and 2 and the Byzantine",
        "validator 1 votes to notarize block A1, whose parent is genesis",
        "validator 2 votes to nullify view 2",
    ]
