"""Who brings a checkpoint, and when: turns that all relayers compute alike from the contract alone."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from bridge.checkpoints import BridgeState
from bridge.policy import Turn, is_due, rank
from tests.bridge.world import chain_config

STATE = BridgeState(size=10, root=b"\x01" * 32, epoch=1, validator_set=b"\x02" * 32, frozen=False, block=5)
LATER = dataclasses.replace(STATE, size=11)
CONFIG = dataclasses.replace(chain_config("polygon", 137), leaves_min=10, seconds_min=60, seconds_max=3600)


@given(size=st.integers(1, 2**40), epoch=st.integers(0, 100), relayers=st.integers(1, 64))
def test_exactly_one_relayer_has_each_rank(size: int, epoch: int, relayers: int) -> None:
    state = dataclasses.replace(STATE, size=size, epoch=epoch)
    assert sorted(rank(137, state, each, relayers) for each in range(relayers)) == list(range(relayers))


def test_turns_are_spread_over_relayers() -> None:
    first = [next(i for i in range(4) if rank(1, dataclasses.replace(STATE, size=s), i, 4) == 0) for s in range(400)]
    assert all(60 < first.count(each) < 140 for each in range(4))


def test_due_by_leaves_after_the_least_time_and_by_one_leaf_after_the_longest() -> None:
    assert is_due(CONFIG, 10, 60)
    assert not is_due(CONFIG, 10, 59)
    assert not is_due(CONFIG, 9, 3599)
    assert is_due(CONFIG, 1, 3600)
    assert not is_due(CONFIG, 0, 10**9)


def _turn(index: int) -> Turn:
    made = Turn(index, 4, 10.0)
    made.nothing_due()
    return made


def test_each_leaves_a_turn_to_everybody_before_it() -> None:
    waits = [_turn(each).wait_s(137, STATE, 0.0) for each in range(4)]
    assert sorted(waits) == [0, 10, 20, 30]


def test_wait_goes_on_while_nothing_changes_and_begins_anew_when_the_contract_does() -> None:
    turn = next(each for each in map(_turn, range(4)) if each.wait_s(137, STATE, 0.0) == 20)
    assert turn.wait_s(137, STATE, 15.0) == 5
    turn.wait_s(137, LATER, 16.0)
    assert turn.wait_s(137, STATE, 17.0) == 20, "a reorganisation: whoever was first is first again"


def test_relayer_that_has_just_started_queues_behind_all_others() -> None:
    waits = [Turn(each, 4, 10.0).wait_s(137, STATE, 0.0) for each in range(4)]
    assert sorted(waits) == [40, 50, 60, 70]


def test_relayer_alone_never_waits() -> None:
    assert Turn(0, 1, 10.0).wait_s(137, STATE, 0.0) == 0
