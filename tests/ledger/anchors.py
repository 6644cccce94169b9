"""Anchors to test with: those of anvil's blocks, and blocks made here around a root of the test's choice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bridge.blocks import raw_block
from consensus.types import Digest
from ledger.anchor import EVENT_TOPIC, Anchor, make_anchor
from ledger.chain_block import Log, Receipt
from ledger.rlp import RlpItem, encode_number, encode_rlp
from ledger.trie import ListTrie

VECTORS = Path(__file__).parents[1] / "vectors" / "anchors"
FORKS = ("berlin", "london", "shanghai", "cancun", "prague")
CONTRACT = bytes(range(20))
CHAIN = 137


@cache
def vector(fork: str) -> dict[str, Any]:
    """A block of an anvil node and its receipts, as its RPC told them (tests/ledger/make_anchors.py)."""
    return dict(json.loads((VECTORS / f"{fork}.json").read_text()))


def told_bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


@cache
def anvil_anchor(fork: str) -> Anchor:
    told = vector(fork)
    raw, contract = raw_block(told["block"], told["receipts"]), told_bytes(told["contract"])
    at = next(
        i
        for i, receipt in enumerate(told["receipts"])
        if any(log["address"] == told["contract"] for log in receipt["logs"])
    )
    return make_anchor(
        chain=told["chain"],
        contract=contract,
        header=raw.header,
        receipts=raw.receipts,
        transaction=at,
        size=told["size"],
    )


def event(size: int, root: bytes, *, epoch: int = 0, contract: bytes = CONTRACT, topic: bytes = EVENT_TOPIC) -> Log:
    return Log(address=contract, topics=(topic, size.to_bytes(32, "big")), data=root + epoch.to_bytes(32, "big"))


def receipt(*logs: Log, kind: int = 2, succeeded: bool = True) -> bytes:
    made = Receipt(type=kind, succeeded=succeeded, cumulative_gas=21_000, bloom=bytes(256), logs=logs)
    return made.encode()


@dataclass(frozen=True, kw_only=True)
class MadeBlock:
    """A block that no chain has: all that a header says is chosen here."""

    receipts: tuple[bytes, ...]
    timestamp_s: int
    number: int = 1_000
    tail: tuple[bytes, ...] = (b"\x07", bytes(32), b"", b"", bytes(32), bytes(32))

    @property
    def header(self) -> bytes:
        fields: list[RlpItem] = [bytes(32), bytes(32), bytes(20), bytes(32), bytes(32), ListTrie(self.receipts).root]
        fields += [bytes(256), *map(encode_number, (0, self.number, 30_000_000, 21_000, self.timestamp_s))]
        return encode_rlp([*fields, b"made", bytes(32), bytes(8), *self.tail])


def made_anchor(
    size: int, root: bytes, timestamp_s: int, *, chain: int = CHAIN, consistency: tuple[Digest, ...] = ()
) -> Anchor:
    """Of a block with two other transactions before the one that counts."""
    receipts = (receipt(), receipt(kind=0), receipt(event(size, root)))
    block = MadeBlock(receipts=receipts, timestamp_s=timestamp_s)
    made = make_anchor(chain=chain, contract=CONTRACT, header=block.header, receipts=receipts, transaction=2, size=size)
    return made.for_checkpoint(consistency)
