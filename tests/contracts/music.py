"""A token and those who live by it: creators, curator, platform, and the calls that tests of income share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.contracts.chain import CHAIN_ID, Contract, Receipt
from tests.contracts.deployed import GENESIS, Deployed
from tests.contracts.leaves import NOBODY, MintTerms, Status
from tests.contracts.log import numbered


@dataclass
class Music:
    """Accounts 1 to 7 of the chain have parts in it. Account 0 is a stranger who brings and pays things."""

    world: Deployed

    def __post_init__(self) -> None:
        accounts = self.world.chain.accounts
        self.stranger, self.minter, self.creator, self.other, self.curator, self.platform, self.collector = accounts[:7]
        self.terms = MintTerms(
            chain_id=CHAIN_ID, nft=self.nft.address, minter=self.minter, payees=((self.creator, 10_000),),
            curator=self.curator, platform=self.platform, royalty_to=self.creator,
        )  # fmt: skip
        self._seq = 0

    @property
    def nft(self) -> Contract:
        return self.world.nft

    @property
    def id(self) -> int:
        return self.terms.token_id(GENESIS)

    def record(self, *entries: bytes) -> int:
        """Index of the first, once the log with them and some more is recorded."""
        index = self.world.log.extend([*entries, *numbered(5, f"after {self.world.log.size}")])
        self.world.submit()
        return index

    def mint(self, terms: MintTerms | None = None, *, sender: str | None = None) -> Receipt:
        terms = terms or self.terms
        index = self.record(terms.entry(GENESIS))
        return self.nft.do("mint", terms.abi, self.world.place(index), sender=sender or terms.minter)

    def show(self, state: int, *, seq: int | None = None) -> Receipt:
        """Brings a status by a leaf that the bridge knows."""
        self._seq = self._seq + 1 if seq is None else seq
        status = Status(mint=self.terms.entry(GENESIS), seq=self._seq, state=state)
        index = self.record(status.entry(GENESIS))
        return self.nft.do("showStatus", status.abi, self.world.place(index))

    def pay(self, amount: int, *, sender: str | None = None) -> Receipt:
        return self.nft.do("pay", self.terms.abi, sender=sender, value=amount)

    def pay_token(self, token: Contract, amount: int, *, sender: str | None = None) -> Receipt:
        payer = sender or self.stranger
        token.do("make", payer, amount)
        token.do("approve", self.nft.address, amount, sender=payer)
        return self.nft.do("payToken", self.terms.abi, token.address, amount, sender=payer)

    def owed(self, account: str, asset: str = NOBODY) -> int:
        return int(self.nft.ask("owed", asset, account))

    def all_owed(self, asset: str = NOBODY) -> dict[str, int]:
        """What each of the accounts is owed, as far as it is anything, by its role."""
        roles = ("stranger", "minter", "creator", "other", "curator", "platform", "collector")
        found = {role: self.owed(getattr(self, role), asset) for role in roles}
        return {role: amount for role, amount in found.items() if amount}

    def escrowed(self, asset: str = NOBODY) -> int:
        return int(self.nft.ask("escrows", self.id, asset)[0])

    def sell(self, price: int = 1_000) -> None:
        """To the collector, for the chain's own coin."""
        self.nft.do("offer", self.terms.abi, price, sender=self.minter)
        self.nft.do("buy", self.terms.abi, price, sender=self.collector, value=price)

    def events(self, receipt: Receipt, name: str) -> list[Any]:
        return self.nft.events(receipt, name)
