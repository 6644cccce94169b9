"""Fees: enough for the next blocks, more for a replacement, never over the cap."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import FeeOverCap
from bridge.fees import GWEI, FeePolicy
from bridge.transaction import Fees

POLICY = FeePolicy(chain="polygon", cap=100 * GWEI, tip_cap=5 * GWEI)


def test_offer_is_twice_the_base_fee_and_the_tip() -> None:
    assert POLICY.first(20 * GWEI, 2 * GWEI) == Fees(42 * GWEI, 2 * GWEI)


def test_endpoint_cannot_lie_the_tip_above_its_cap() -> None:
    assert POLICY.first(20 * GWEI, 10**20).tip == 5 * GWEI


def test_cap_cuts_the_reserve_but_not_what_the_next_block_needs() -> None:
    assert POLICY.first(60 * GWEI, GWEI).max_fee == 100 * GWEI
    with pytest.raises(FeeOverCap) as said:
        POLICY.first(100 * GWEI, GWEI)
    assert (said.value.needed, said.value.cap) == (101 * GWEI, 100 * GWEI)


def test_legacy_has_one_price() -> None:
    legacy = dataclasses.replace(POLICY, legacy=True)
    assert legacy.first(0, 7 * GWEI) == Fees(7 * GWEI, 7 * GWEI)
    with pytest.raises(FeeOverCap):
        legacy.first(0, 101 * GWEI)


def test_fixed_tip_is_used_as_it_is() -> None:
    assert dataclasses.replace(POLICY, tip=GWEI).first(GWEI, 4 * GWEI) == Fees(3 * GWEI, GWEI)


def test_other_work_is_offered_at_the_cap_where_an_eighth_more_is_over_it() -> None:
    stuck = Fees(95 * GWEI, 2 * GWEI)
    with pytest.raises(FeeOverCap):
        POLICY.replacement(Fees(GWEI, GWEI), [stuck])
    assert POLICY.replacement(Fees(GWEI, GWEI), [stuck], at_most=True) == Fees(100 * GWEI, round(2.25 * GWEI))


@given(
    market=st.tuples(st.integers(0, 10**11), st.integers(0, 10**10)),
    replaced=st.lists(st.tuples(st.integers(1, 10**11), st.integers(1, 10**10)), min_size=1, max_size=5),
)
def test_replacement_offers_an_eighth_more_of_both_or_is_over_the_cap(
    market: tuple[int, int], replaced: list[tuple[int, int]]
) -> None:
    fees = [Fees(max(a, b), b) for a, b in replaced]
    offered = Fees(max(market), market[1])
    try:
        found = POLICY.replacement(offered, fees)
    except FeeOverCap:
        assert max(offered.max_fee, *(each.max_fee * 9 / 8 for each in fees)) > POLICY.cap - 1
        return
    assert found.max_fee <= POLICY.cap
    assert found.tip <= found.max_fee
    assert all(found.max_fee * 8 >= each.max_fee * 9 and found.tip * 8 >= each.tip * 9 for each in fees)
    assert found.max_fee >= offered.max_fee
