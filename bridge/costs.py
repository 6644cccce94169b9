"""What relaying and minting cost on each chain: gas as measured, prices as given, what was paid as journalled.

Nothing here is guessed: where no price is given, the amount is None.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

from bridge.config import ChainConfig
from bridge.journal import State, Total

SET_SIZES: Final = (4, 7, 16, 50)
"""Validators for which submissions and rotations were measured."""
OPERATIONS: Final = (
    "submit", "submit again", "rotate", "deploy CheckpointBridge", "deploy MusicNFT", "mint 2^20", "mint 2^30", "buy",
    "pay cold", "pay warm", "withdraw", "show status",
)  # fmt: skip
_BY_SET: Final = frozenset({"submit", "submit again", "rotate", "deploy CheckpointBridge"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What the user says of a chain. gwei: for a unit of gas. coin: of one coin, in the user's money."""

    gwei: float | None = None
    coin: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One operation on one chain, or all of a kind that were paid. None: not known without a price."""

    chain: str
    operation: str
    count: int
    gas: int
    coins: float | None
    money: float | None

    def as_json(self) -> dict[str, Any]:
        return {
            "chain": self.chain, "operation": self.operation, "count": self.count, "gas": self.gas,
            "coins": self.coins, "money": self.money,
        }  # fmt: skip


def measured_gas() -> dict[str, int]:
    """contracts/gas.json: whole transactions, by operation."""
    return dict(json.loads((files("contracts") / "gas.json").read_text()))


def gas_of(operation: str, validators: int, measured: Mapping[str, int]) -> int:
    """For a set of so many; between measured sizes on the straight line between them, which is how signatures cost.

    Raises: ValueError outside of what was measured.
    """
    if operation not in _BY_SET:
        return measured[operation]
    points = [(size, measured[f"{operation} n={size}"]) for size in SET_SIZES]
    for (low, low_gas), (high, high_gas) in itertools.pairwise(points):
        if low <= validators <= high:
            return round(low_gas + (high_gas - low_gas) * (validators - low) / (high - low))
    raise ValueError(f"{validators} validators: measured are {SET_SIZES[0]} to {SET_SIZES[-1]}")


def estimate(chains: Sequence[ChainConfig], validators: int, prices: Mapping[str, Price]) -> list[Cost]:
    """Each operation on each chain, once, and a day of checkpoints as often as the configuration lets them come."""
    measured = measured_gas()
    found = []
    for chain in chains:
        price = prices.get(chain.name, Price())
        found += [
            _cost(chain.name, operation, 1, gas_of(operation, validators, measured), price) for operation in OPERATIONS
        ]
        if chain.seconds_min > 0:
            count = int(86_400 // chain.seconds_min)
            gas = gas_of("submit", validators, measured) * count
            found.append(_cost(chain.name, "a day of checkpoints, at most", count, gas, price))
    return found


def paid(chains: Sequence[ChainConfig], totals: Sequence[Total], prices: Mapping[str, Price]) -> list[Cost]:
    """What the journal says was paid: gas price and all are the chain's own."""
    names = {chain.id: chain.name for chain in chains}
    found = []
    for total in totals:
        if total.chain not in names or total.state not in (State.USEFUL, State.DUPLICATE):
            continue
        coins = total.gwei * 1e-9
        coin = prices.get(names[total.chain], Price()).coin
        found.append(
            Cost(
                chain=names[total.chain],
                operation=f"{total.kind} ({total.state})",
                count=total.count,
                gas=total.gas,
                coins=coins,
                money=None if coin is None else coins * coin,
            )
        )
    return found


def _cost(chain: str, operation: str, count: int, gas: int, price: Price) -> Cost:
    coins = None if price.gwei is None else gas * price.gwei * 1e-9
    money = None if coins is None or price.coin is None else coins * price.coin
    return Cost(chain=chain, operation=operation, count=count, gas=gas, coins=coins, money=money)
