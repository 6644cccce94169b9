"""Costs: measured gas at given prices, and never a guess."""

from __future__ import annotations

import dataclasses

import pytest

from bridge.costs import OPERATIONS, Price, estimate, gas_of, measured_gas, paid
from bridge.journal import State, Total
from tests.bridge.world import chain_config

CHAINS = [
    dataclasses.replace(chain_config("polygon", 137), seconds_min=600, seconds_max=86_400),
    chain_config("ethereum", 1),
]
TOTAL = Total(chain=137, kind="submit", state=State.USEFUL, count=2, gas=200, gwei=5e9, seconds=1)


def test_gas_is_what_was_measured() -> None:
    measured = measured_gas()
    assert gas_of("submit", 7, measured) == measured["submit n=7"]
    assert measured["submit n=7"] < gas_of("submit", 10, measured) < measured["submit n=16"]
    assert gas_of("withdraw", 10, measured) == measured["withdraw"]
    for wrong in (3, 51):
        with pytest.raises(ValueError, match="measured are 4 to 50"):
            gas_of("rotate", wrong, measured)


def test_price_makes_coins_and_a_coins_price_makes_money() -> None:
    rows = {(each.chain, each.operation): each for each in estimate(CHAINS, 4, {"polygon": Price(gwei=30, coin=0.25)})}
    assert len(rows) == 2 * len(OPERATIONS) + 1
    submit = rows["polygon", "submit"]
    assert submit.coins == pytest.approx(submit.gas * 30e-9)
    assert submit.money == pytest.approx(submit.gas * 30e-9 * 0.25)
    day = rows["polygon", "a day of checkpoints, at most"]
    assert (day.count, day.gas) == (144, 144 * submit.gas)
    assert rows["ethereum", "submit"].coins is None


def test_coins_without_a_price_of_the_coin_are_not_money() -> None:
    (row, *_) = estimate(CHAINS[:1], 4, {"polygon": Price(gwei=1)})
    assert row.coins is not None
    assert row.money is None


def test_what_was_paid_comes_from_the_journal() -> None:
    totals = [TOTAL, dataclasses.replace(TOTAL, state=State.REPLACED), dataclasses.replace(TOTAL, chain=5)]
    (row,) = paid(CHAINS, totals, {"polygon": Price(coin=2)})
    assert (row.chain, row.operation, row.count, row.coins, row.money) == ("polygon", "submit (useful)", 2, 5.0, 10.0)
    assert paid(CHAINS, totals, {})[0].money is None
