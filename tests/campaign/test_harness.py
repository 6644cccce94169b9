"""What the campaign itself promises: patience by load, failures that are shown and end with 1, no scene forgotten."""

from __future__ import annotations

import io
import os
from typing import Any

import pytest
from rich.console import Console

from tests.campaign import patience
from tests.campaign.audit import Check
from tests.campaign.patience import FACTOR_MAX, Deadline, Expectation, factor, until
from tests.campaign.run import Result, document, exit_code, table_of
from tests.campaign.scenes import SCENE_S_MAX_OF, SCENES


def loaded(monkeypatch: pytest.MonkeyPatch, load: float) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load * (os.cpu_count() or 1), 0.0, 0.0))


@pytest.mark.parametrize(("load", "expected"), [(0.1, 1.0), (1.0, 1.0), (4.5, 4.5), (1000.0, FACTOR_MAX)])
def test_patience_grows_with_the_load_of_a_core_up_to_a_bound(
    monkeypatch: pytest.MonkeyPatch, load: float, expected: float
) -> None:
    loaded(monkeypatch, load)
    assert factor() == expected
    assert Deadline(3.0).allowed_s() == pytest.approx(3.0 * expected)


def test_deadline_counts_the_highest_load_it_has_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(patience.time, "monotonic", lambda: now[0])
    loaded(monkeypatch, 1.0)
    deadline = Deadline(10.0)
    now[0] += 10.5
    loaded(monkeypatch, 3.0)
    assert not deadline.is_over()
    loaded(monkeypatch, 1.0)
    now[0] += 19.0
    assert not deadline.is_over(), "the burst has ended, what it cost has not"
    now[0] += 1.0
    assert deadline.is_over()


def test_what_never_comes_is_said_with_the_time_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded(monkeypatch, 2.0)
    monkeypatch.setattr(patience.time, "sleep", lambda _s: None)
    with pytest.raises(Expectation, match="not within 0 s: the moon"):
        until(lambda: False, "the moon", 0.0)
    assert until(lambda: "there", "it", 0.0) == "there"


def row(**changes: Any) -> Result:
    return Result(**{"name": "4-leader-killed", "audited": True, "acknowledged": 40, "leaves": 40} | changes)


BAD = [
    {"failed": {Check.STORES: ("court: roots: wrong",)}},
    {"trouble": ("Expectation: not within 30 s",)},
    {"audited": False},
]


@pytest.mark.parametrize("changes", BAD, ids=["audit", "scene", "not audited"])
def test_whatever_does_not_hold_ends_with_1_and_is_shown(changes: dict[str, Any]) -> None:
    assert exit_code([row(), row(**changes)]) == 1
    assert document(row(**changes))["passed"] is False


def test_where_everything_holds_it_ends_with_0() -> None:
    assert exit_code([row(), row(name="4-all-killed")]) == 0


def test_table_says_of_each_check_how_it_went() -> None:
    told = io.StringIO()
    Console(file=told, width=200).print(table_of([row(), row(name="4-data-lost", failed={Check.STORES: ("a", "b")})]))
    lines = told.getvalue().splitlines()
    (good,) = [line for line in lines if "4-leader-killed" in line]
    (bad,) = [line for line in lines if "4-data-lost" in line]
    assert "passed" in good
    assert "2 FAIL" in bad
    assert "passed" not in bad
    assert any("exit code 1" in line for line in lines)


def test_scenes_of_one_kind_stand_together_and_their_limits_name_scenes() -> None:
    kinds = [SCENES[name][:2] for name in SCENES if name != "4-members-changed"]
    assert kinds == sorted(kinds, key=kinds.index), "else each is played on nodes of its own"
    assert set(SCENE_S_MAX_OF) <= set(SCENES)
