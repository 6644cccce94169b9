"""The CheckpointBridge of one chain, read through its endpoints: the truth that relayers act on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bridge.artifacts import calldata, code_differs, decoded, decoded_call, named_error, topic
from bridge.checkpoints import NO_ROOT, BridgeState, SignedCheckpoint
from bridge.endpoints import Endpoints, data, number
from bridge.errors import ContractRefuses, MalformedAnswer, RpcError, WrongContract
from consensus.errors import MalformedMessage
from consensus.types import Digest, Epoch
from ledger.chain_checkpoint import ChainCheckpoint

NAME: Final = "CheckpointBridge"
LOG_BLOCKS: Final = 1000
"""Blocks in one question for events: what public endpoints commonly allow."""
LOG_QUESTIONS_MAX: Final = 500
SIGNATURES_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A mined transaction. block_hash names the block: a number alone does not survive a reorganisation."""

    block: int
    block_hash: bytes
    gas_used: int
    gas_price: int
    """wei per gas, paid."""
    succeeded: bool
    topics: frozenset[bytes]
    """First topics of the bridge's events in it."""
    contract: bytes | None
    """What it deployed."""


class BridgeContract:
    """Raises in every method what `Endpoints` raises, and MalformedAnswer."""

    def __init__(self, endpoints: Endpoints, address: bytes) -> None:
        self.endpoints = endpoints
        self.address = address
        self._to = "0x" + address.hex()

    # ---- state ----

    def state(self, block: int, known: BridgeState | None = None) -> BridgeState:
        """At a block, by a quorum. known: an earlier one, whose root and set are taken over where epoch and size are
        the same: good enough to see whether something lacks, not to send by."""
        size, epoch, frozen = (self._read(name, block, agreed=True) for name in ("size", "epoch", "frozen"))
        if known is not None and (known.size, known.epoch) == (size, epoch):
            return replace(known, frozen=frozen, block=block)
        root = self._read("rootAt", block, size, agreed=True)
        if root == NO_ROOT:
            # Every size that a bridge calls its own has a root: the endpoint is between two blocks, or lies.
            raise MalformedAnswer(self.endpoints.chain, f"no root at the bridge's own size {size}")
        return BridgeState(
            size=size,
            root=root,
            epoch=epoch,
            validator_set=self._read("validatorSet", block, agreed=True),
            frozen=frozen,
            block=block,
        )

    def pending(self) -> tuple[int, int]:
        """Highest epoch and size with what waits in the endpoints' pools already applied, as far as they can tell."""
        return self._pending("epoch"), self._pending("size")

    def _pending(self, method: str) -> int:
        call = {"to": self._to, "data": "0x" + calldata(NAME, method).hex()}
        said = self.endpoints.ask_each(
            "eth_call", call, "pending", form=lambda value: int(decoded(NAME, method, data(value)))
        )
        return max(said, default=0)

    def root_at(self, size: int, block: int) -> bytes:
        """By a quorum. Zero: none of that size."""
        return bytes(self._read("rootAt", block, size, agreed=True))

    def epoch_at(self, block: int) -> int:
        """By a quorum."""
        return int(self._read("epoch", block, agreed=True))

    def genesis(self, block: int) -> bytes:
        return bytes(self._read("genesis", block, agreed=True))

    def check_code(self, block: int) -> None:
        """Raises: WrongContract unless the code there is the artifact's."""
        code = self.endpoints.agree("eth_getCode", self._to, hex(block), form=data)
        if found := code_differs(NAME, code):
            raise WrongContract(self.endpoints.chain, self._to, "code", f"that of contracts/artifacts/{NAME}", found)

    def _read(self, method: str, block: int | str, *arguments: Any, agreed: bool = False) -> Any:
        call = {"to": self._to, "data": "0x" + calldata(NAME, method, *arguments).hex()}
        ask = self.endpoints.agree if agreed else self.endpoints.ask
        at = hex(block) if isinstance(block, int) else block
        return ask("eth_call", call, at, form=lambda value: decoded(NAME, method, data(value)))

    # ---- what is sent ----

    @staticmethod
    def submit_call(signed: SignedCheckpoint, proof: Sequence[bytes]) -> bytes:
        return calldata(NAME, "submit", signed.abi, list(proof))

    @staticmethod
    def rotate_call(signed: SignedCheckpoint, proof: Sequence[bytes]) -> bytes:
        return calldata(NAME, "rotate", signed.abi, list(signed.next_validators), list(proof))

    def simulate(self, sender: bytes, call: bytes, block: int) -> bool:
        """What the call would return at a block, by a quorum. Raises: ContractRefuses with the contract's own error."""
        request = {"from": "0x" + sender.hex(), "to": self._to, "data": "0x" + call.hex()}
        try:
            output = self.endpoints.agree("eth_call", request, hex(block), form=data)
        except RpcError as error:
            reason = named_error(error.data) if error.data else error.message
            raise ContractRefuses(self.endpoints.chain, reason) from error
        return bool(int.from_bytes(output, "big"))

    def estimate(self, sender: bytes, call: bytes) -> int:
        """Gas that the call takes now."""
        request = {"from": "0x" + sender.hex(), "to": self._to, "data": "0x" + call.hex()}
        try:
            return int(self.endpoints.ask("eth_estimateGas", request, form=number))
        except RpcError as error:
            reason = named_error(error.data) if error.data else error.message
            raise ContractRefuses(self.endpoints.chain, reason) from error

    # ---- what happened ----

    def fork_evidence(self, first: int, last: int) -> tuple[SignedCheckpoint, ...]:
        """What the transaction that froze the bridge carried, searched from block `last` down to `first`."""
        hash_ = self._last_event("Forked", (), first, last)
        return () if hash_ is None else self.checkpoints_of(hash_)

    def recorded(self, size: int, first: int, last: int) -> SignedCheckpoint | None:
        """The signed checkpoint by which `size` was recorded; None where it is not found."""
        hash_ = self._last_event("CheckpointAccepted", ("0x" + size.to_bytes(32, "big").hex(),), first, last)
        try:
            return None if hash_ is None else self.checkpoints_of(hash_)[0]
        except MalformedAnswer:
            return None  # recorded by the constructor

    def _last_event(self, event: str, topics: tuple[str, ...], first: int, last: int) -> bytes | None:
        """Hash of the last transaction with such an event; the search is bounded."""
        for _ in range(LOG_QUESTIONS_MAX):
            if last < first:
                break
            start = max(first, last - LOG_BLOCKS + 1)
            query = {
                "address": self._to,
                "fromBlock": hex(start),
                "toBlock": hex(last),
                "topics": ["0x" + topic(NAME, event).hex(), *topics],
            }
            hashes: list[bytes] = self.endpoints.ask(
                "eth_getLogs", query, form=lambda value: [data(each["transactionHash"], 32) for each in value]
            )
            if hashes:
                return hashes[-1]
            last = start - 1
        return None

    def checkpoints_of(self, hash_: bytes) -> tuple[SignedCheckpoint, ...]:
        """What a transaction to the bridge carried. Raises: MalformedAnswer where it is no such transaction."""
        call: bytes = self.endpoints.ask(
            "eth_getTransactionByHash", "0x" + hash_.hex(), form=lambda value: data(value["input"])
        )
        block = number(self.endpoints.ask("eth_blockNumber"))
        genesis = self.genesis(block)
        for method in ("submit", "rotate", "reportFork", "reportForkedLeaf"):
            try:
                arguments = decoded_call(NAME, method, call)
            except ValueError:
                continue
            count = 2 if method.startswith("report") else 1
            try:
                return tuple(_signed(genesis, each) for each in arguments[:count])
            except MalformedMessage:
                break
        raise MalformedAnswer(self.endpoints.chain, f"transaction 0x{hash_.hex()} is no call of the bridge")


def _signed(genesis: bytes, value: Any) -> SignedCheckpoint:
    (epoch, size, root, successor), validators, signatures = value
    return SignedCheckpoint(
        consortium=genesis,
        checkpoint=ChainCheckpoint(epoch=Epoch(epoch), size=size, root=root, successor=Digest(successor)),
        validators=tuple(bytes.fromhex(each[2:]) for each in validators),
        signatures=tuple(r + vs for r, vs in signatures[:SIGNATURES_MAX]),
    )


def receipt_of(value: Any, contract: bytes | None) -> Receipt | None:
    """From eth_getTransactionReceipt; topics are those of `contract`'s events. Raises: ValueError, KeyError."""
    if value is None:
        return None
    logs = value["logs"]
    if not isinstance(logs, list):
        raise ValueError("logs are no list")  # noqa: TRY004
    ours = [each for each in logs if data(each["address"], 20) == contract and each["topics"]]
    made = value.get("contractAddress")
    return Receipt(
        block=number(value["blockNumber"]),
        block_hash=data(value["blockHash"], 32),
        gas_used=number(value["gasUsed"]),
        gas_price=number(value.get("effectiveGasPrice", "0x0")),
        succeeded=number(value["status"]) == 1,
        topics=frozenset(data(each["topics"][0], 32) for each in ours),
        contract=None if made is None else data(made, 20),
    )
