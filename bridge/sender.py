"""One account's transactions on one chain: journalled, then broadcast; followed until final, taken up after a crash.

Only the lowest nonce that is not mined is ever worked on, and all attempts of one nonce exclude each other. So a crash,
a reorganisation or a lying endpoint can delay a transaction, but cannot make this account pay twice for one.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from bridge.config import ChainConfig
from bridge.contract import Receipt, receipt_of
from bridge.endpoints import Endpoints, Head, head_of, number
from bridge.errors import BalanceTooLow, EndpointsDisagree, FeeOverCap, NoEndpoint, RpcError
from bridge.journal import Attempt, Journal, State
from bridge.signer import Signer, sign_transaction
from bridge.transaction import Fees, Transaction
from ledger.keccak import keccak256

FOLLOWED_MAX: Final = 32
"""Open attempts looked after in one round; a relayer has one or two."""
KNOWN: Final = ("already known", "already imported", "known transaction", "already exists", "alreadyexists")
"""What nodes say of a transaction that they have: it was sent."""
STALE: Final = ("nonce too low", "nonce has already been used", "old nonce", "invalid nonce", "oldnonce")
"""What they say where another of its nonce was mined: the state tells which."""

log = logging.getLogger(__name__)


class Sender:
    """Not shared between threads. Raises what `Endpoints` and `Journal` raise, and the errors named below."""

    def __init__(
        self,
        config: ChainConfig,
        endpoints: Endpoints,
        signer: Signer,
        journal: Journal,
        *,
        to: bytes | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """to: the contract that is called; None for deploying one."""
        self.config, self.endpoints, self.signer, self.journal, self.to = config, endpoints, signer, journal, to
        self.account = signer.address
        self.balance: int | None = None
        self.counts: Counter[str] = Counter()
        """broadcast, rebroadcast, replaced, reorganised: since the start."""
        self._clock = clock
        self._told: dict[bytes, float] = {}
        self._hex = "0x" + self.account.hex()

    # ---- before sending ----

    def nonce(self, block: int) -> int:
        """Transactions of this account that are mined, by a quorum."""
        return int(self.endpoints.agree("eth_getTransactionCount", self._hex, hex(block), form=number))

    def open_at(self, nonce: int) -> list[Attempt]:
        """Attempts that may still be mined with this nonce, oldest first."""
        return [each for each in self.journal.open(self.config.id, self.account) if each.nonce == nonce]

    def market(self, head: Head) -> Fees:
        """What a transaction should offer now. Raises: FeeOverCap."""
        policy = self.config.fees
        if policy.legacy or head.base_fee is None:
            price = 0 if policy.tip is not None else self.endpoints.ask("eth_gasPrice", form=number)
            return policy.first(0, price)
        suggested = 0
        if policy.tip is None:
            try:
                suggested = self.endpoints.ask("eth_maxPriorityFeePerGas", form=number)
            except NoEndpoint:
                suggested = policy.tip_cap  # none of them has the method
        return policy.first(head.base_fee, suggested)

    def attempt(
        self, *, kind: str, epoch: int, size: int, root: bytes, call: bytes, gas: int, nonce: int, market: Fees
    ) -> Attempt:
        """Signs and journals; not sent yet. Offers more than what it replaces. Raises: FeeOverCap, BalanceTooLow."""
        replaced = self.open_at(nonce)
        fees = market
        if replaced:
            others = any(each.call != call for each in replaced)
            fees = self.config.fees.replacement(market, [each.fees for each in replaced], at_most=others)
        self.balance = self.endpoints.ask("eth_getBalance", self._hex, "latest", form=number)
        if self.balance < gas * fees.max_fee:
            raise BalanceTooLow(self.config.name, self._hex, self.balance, gas * fees.max_fee)
        transaction = Transaction(
            chain_id=self.config.id,
            nonce=nonce,
            to=self.to,
            call=call,
            gas=gas,
            fees=fees,
            legacy=self.config.fees.legacy,
        )
        raw = sign_transaction(self.signer, transaction)
        made = self.journal.intend(
            chain=self.config.id, account=self.account, nonce=nonce, kind=kind, epoch=epoch, size=size, root=root,
            call=call, hash_=keccak256(raw), raw=raw, fees=fees, gas=gas,
        )  # fmt: skip
        self.counts["replaced"] += bool(replaced)
        return made

    def replacement(self, attempt: Attempt, market: Fees) -> Attempt | None:
        """The same call for more; None where the cap is reached."""
        try:
            return self.attempt(
                kind=attempt.kind, epoch=attempt.epoch, size=attempt.size, root=attempt.root, call=attempt.call,
                gas=attempt.gas, nonce=attempt.nonce, market=market,
            )  # fmt: skip
        except FeeOverCap as error:
            log.warning("%s; %s stays as it is", error, _name(attempt))
            return None

    # ---- sending ----

    def broadcast(self, attempt: Attempt) -> bool:
        """Offers the journalled bytes to all endpoints. Whether one of them has it now."""
        again = attempt.hash in self._told or attempt.sent_s is not None
        told = self.endpoints.broadcast(attempt.raw)
        taken = [label for label, error in told if error is None or _says(error, KNOWN)]
        for label, error in told:
            if error is not None and not _says(error, KNOWN + STALE):
                log.warning("chain %s: %s refuses %s: %s", self.config.name, label, _name(attempt), error.message)
        self._told[attempt.hash] = self._clock()
        if taken:
            self.journal.sent(attempt)
            self.counts["rebroadcast" if again else "broadcast"] += 1
            log.info(
                "chain %s: %s %s, taken by %d of %d", self.config.name, "again" if again else "sent", _name(attempt),
                len(taken), len(told),
            )  # fmt: skip
        return bool(taken)

    def told_s(self, attempt: Attempt) -> float:
        """Seconds since this process last broadcast it; infinite if it has not."""
        at = self._told.get(attempt.hash)
        return float("inf") if at is None else self._clock() - at

    # ---- after sending ----

    def follow(self) -> None:
        """Notes which open attempts are mined, and which are no more."""
        for attempt in self.journal.open(self.config.id, self.account)[:FOLLOWED_MAX]:
            receipt = self.receipt(attempt)
            if receipt is None:
                if attempt.state is State.MINED:
                    log.warning("chain %s: %s is in no block any more", self.config.name, _name(attempt))
                    self._taken_back(attempt)
            elif attempt.block_hash != receipt.block_hash:
                self.journal.mined(attempt, receipt.block, receipt.block_hash)

    def settle(self, final: Head, changed: Callable[[Attempt, Receipt, Head], bool]) -> list[Attempt]:
        """Closes what is final. changed: whether the transaction did something that the contract has at `final`.

        Returns: those closed as useful or duplicate.
        """
        closed: list[Attempt] = []
        attempts = self.journal.open(self.config.id, self.account)[:FOLLOWED_MAX]
        for attempt in attempts:
            if attempt.state is not State.MINED or attempt.block is None or attempt.block > final.number:
                continue
            block: Head = self.endpoints.agree("eth_getBlockByNumber", hex(attempt.block), False, form=head_of)
            receipt = self.receipt(attempt, agreed=True)
            if receipt is None or block.hash != attempt.block_hash or receipt.block_hash != block.hash:
                self._taken_back(attempt)
                continue
            useful = changed(attempt, receipt, final)
            state = State.USEFUL if useful else State.DUPLICATE
            self.journal.close_nonce(attempt, state, gas_used=receipt.gas_used, gas_price=receipt.gas_price)
            log.info("chain %s: %s is final: %s", self.config.name, _name(attempt), state)
            closed.append(attempt)
        self._find_lost(final)
        waiting = {each.hash for each in self.journal.open(self.config.id, self.account)}
        self._told = {hash_: at for hash_, at in self._told.items() if hash_ in waiting}
        return closed

    def _taken_back(self, attempt: Attempt) -> None:
        """Its block is not canonical any more: pools may have dropped it, so it may be offered again at once."""
        self.counts["reorganised"] += 1
        self._told.pop(attempt.hash, None)
        self.journal.unmined(attempt)

    def _find_lost(self, final: Head) -> None:
        """Nonces that are used, finally, by something that is not in the journal."""
        waiting = [each for each in self.journal.open(self.config.id, self.account) if each.state is not State.MINED]
        if not waiting:
            return
        used = self.nonce(final.number)
        for attempt in waiting[:FOLLOWED_MAX]:
            if attempt.nonce < used and self._is_absent(attempt):
                log.error(
                    "chain %s: nonce %d was used by a transaction that is not in the journal: does another process use"
                    " this key?", self.config.name, attempt.nonce,
                )  # fmt: skip
                self.journal.lost(attempt)

    def _is_absent(self, attempt: Attempt) -> bool:
        try:
            return self.receipt(attempt, agreed=True) is None
        except EndpointsDisagree:
            return False

    def receipt(self, attempt: Attempt, *, agreed: bool = False) -> Receipt | None:
        ask = self.endpoints.agree if agreed else self.endpoints.ask
        found: Receipt | None = ask(
            "eth_getTransactionReceipt", "0x" + attempt.hash.hex(), form=lambda value: receipt_of(value, self.to)
        )
        return found


def _says(error: RpcError, words: tuple[str, ...]) -> bool:
    text = error.message.lower()
    return any(word in text for word in words)


def _name(attempt: Attempt) -> str:
    what = f"{attempt.kind} of {attempt.size} leaves" if attempt.size else attempt.kind
    return f"{what} (nonce {attempt.nonce}, 0x{attempt.hash.hex()[:16]}…)"
