"""What a transaction offers for its gas, first and when it must replace one that is not mined. Pure.

Sources: EIP-1559; go-ethereum's transaction pool wants 10 % more for a replacement, others 12.5 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bridge.errors import FeeOverCap
from bridge.transaction import Fees

REPLACEMENT = (9, 8)
"""A replacement offers at least 9/8 of what it replaces, of both numbers."""
GWEI: Final = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class FeePolicy:
    """wei per gas. Invariant: 0 < tip_cap <= cap."""

    chain: str
    cap: int
    """Nothing above is offered, whatever the chain asks."""
    tip_cap: int
    """Of what is paid besides the base fee: the only part that an endpoint could lie up."""
    tip: int | None = None
    """Fixed; else the endpoint's suggestion, up to tip_cap."""
    legacy: bool = False
    """Transactions with one gas price, from before EIP-1559."""

    def first(self, base_fee: int, suggested: int) -> Fees:
        """base_fee: of the newest block (0 for legacy). suggested: the endpoint's tip, or gas price for legacy.

        Twice the base fee: it rises by at most 1/8 a block, so such an offer is good for five full blocks.
        Raises: FeeOverCap where the cap is below what the next block needs.
        """
        if self.legacy:
            price = suggested if self.tip is None else self.tip
            if price > self.cap:
                raise FeeOverCap(self.chain, price, self.cap)
            return Fees(price, price)
        tip = min(self.tip_cap, suggested) if self.tip is None else self.tip
        if base_fee + tip > self.cap:
            raise FeeOverCap(self.chain, base_fee + tip, self.cap)
        return Fees(min(self.cap, 2 * base_fee + tip), tip)

    def replacement(self, market: Fees, replaced: Sequence[Fees], *, at_most: bool = False) -> Fees:
        """What is mined instead of all of `replaced`, which have the same nonce. Raises: FeeOverCap.

        at_most: offers the cap where an eighth more is over it. Pools that still have the other refuse that; where all
        have dropped it, the nonce would otherwise be stuck for as long as the cap stands.
        """
        over, under = REPLACEMENT
        max_fee = max([market.max_fee, *(-(-each.max_fee * over // under) for each in replaced)])
        tip = max([market.tip, *(-(-each.tip * over // under) for each in replaced)])
        if max_fee > self.cap:
            if not at_most:
                raise FeeOverCap(self.chain, max_fee, self.cap)
            max_fee = self.cap
        return Fees(max_fee, max_fee if self.legacy else min(tip, max_fee))
