"""Anchors from a chain's nodes: the block in which a bridge accepted a checkpoint, fetched, proven and checked here.

Nothing that a node answers is believed: the anchor follows from the block's hash, which is compared with what its own
bytes hash to. Whether the block is final is the node's word, and a quorum's where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from bridge.blocks import MalformedBlock, raw_block
from consensus.errors import RequestError
from ledger.anchor import EVENT_TOPIC, Anchor, make_anchor

BLOCKS_PER_QUERY: Final = 5_000
"""Of eth_getLogs; public endpoints refuse longer ranges."""
QUERIES_MAX: Final = 20_000
LOGS_MAX: Final = 10_000


class Asks(Protocol):
    """A chain's JSON-RPC, such as `bridge.endpoints.Endpoints`."""

    def ask(self, method: str, *params: Any) -> Any: ...


class NotAnchored(RequestError):
    """The contract has accepted no checkpoint that covers the entry, in the blocks that were searched."""

    def __init__(self, contract: bytes, index: int, first: int, last: int) -> None:
        super().__init__(
            f"0x{contract.hex()} accepted no checkpoint over entry {index} in the blocks {first} to {last}: wait until"
            " one is relayed and final, or relay it; if it is older, search from an earlier block"
        )
        self.index = index
        self.last = last


@dataclass(frozen=True, slots=True)
class Accepted:
    """Where the contract accepted a checkpoint, as a node says."""

    size: int
    block: str
    """Hash, as the node writes it."""
    number: int
    transaction: int


def accepted(
    chain: Asks, contract: bytes, first: int, last: int, progress: Callable[[int], None] = lambda _: None
) -> Iterator[Accepted]:
    """Every CheckpointAccepted of the contract in these blocks, ascending. progress: told each block searched up to.

    Raises: MalformedBlock.
    """
    for _ in range(QUERIES_MAX):
        if first > last:
            return
        until = min(last, first + BLOCKS_PER_QUERY - 1)
        query = {
            "address": f"0x{contract.hex()}",
            "topics": [f"0x{EVENT_TOPIC.hex()}"],
            "fromBlock": hex(first),
            "toBlock": hex(until),
        }
        logs = chain.ask("eth_getLogs", query)
        if not isinstance(logs, list) or len(logs) > LOGS_MAX:
            raise MalformedBlock("eth_getLogs", logs, f"a list of at most {LOGS_MAX}")
        yield from sorted(map(_accepted, logs), key=lambda one: one.size)
        progress(until)
        first = until + 1


def _accepted(log: Any) -> Accepted:
    try:
        return Accepted(
            size=int(log["topics"][1], 16),
            block=str(log["blockHash"]),
            number=int(log["blockNumber"], 16),
            transaction=int(log["transactionIndex"], 16),
        )
    except (KeyError, IndexError, TypeError, ValueError):
        raise MalformedBlock("eth_getLogs", log, "an event with topics and its place") from None


def final_number(chain: Asks, behind: int | None = None) -> int:
    """Number of the last final block. behind: so many below the head count as final; None: the tag `finalized`.

    Raises: MalformedBlock.
    """
    block = chain.ask("eth_getBlockByNumber", "finalized" if behind is None else "latest", False)
    if not isinstance(block, dict):
        raise MalformedBlock("eth_getBlockByNumber", block, "a block")
    try:
        return max(0, int(block["number"], 16) - (behind or 0))
    except (KeyError, TypeError, ValueError):
        raise MalformedBlock("number", block.get("number"), "a number as 0x and hexadecimal digits") from None


def anchor_of(chain: Asks, chain_id: int, contract: bytes, found: Accepted) -> Anchor:
    """The anchor of that acceptance: block and receipts are fetched, the proof is made, and checked.

    Raises: MalformedBlock, ForeignHeader, ForeignReceipts, InvalidAnchor.
    """
    block = chain.ask("eth_getBlockByHash", found.block, False)
    if not isinstance(block, dict) or str(block.get("hash")).lower() != found.block.lower():
        raise MalformedBlock("eth_getBlockByHash", block, f"block {found.block}")
    receipts = chain.ask("eth_getBlockReceipts", hex(found.number))
    if not isinstance(receipts, list) or not all(isinstance(one, dict) for one in receipts):
        raise MalformedBlock("eth_getBlockReceipts", receipts, "a list of receipts")
    raw = raw_block(block, receipts)
    return make_anchor(
        chain=chain_id, contract=contract, header=raw.header, receipts=raw.receipts, transaction=found.transaction,
        size=found.size,
    )  # fmt: skip


def first_anchor(
    chain: Asks,
    chain_id: int,
    contract: bytes,
    index: int,
    *,
    first: int,
    last: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Anchor:
    """Of the earliest acceptance over entry `index` in the blocks first to last.

    Raises: NotAnchored, and what `anchor_of` raises.
    """
    for found in accepted(chain, contract, first, last, progress):
        if found.size > index:
            return anchor_of(chain, chain_id, contract, found)
    raise NotAnchored(contract, index, first, last)
