"""A chain's blocks as its nodes tell them in JSON, put back into the bytes that their hashes are of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from consensus.errors import PeerError
from ledger.chain_block import LOGS_MAX, Log, Receipt
from ledger.keccak import keccak256
from ledger.rlp import RlpItem, encode_number, encode_rlp
from ledger.trie import ITEMS_MAX, ListTrie

_DATA: Final = (
    "parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot", "receiptsRoot", "logsBloom",
)  # fmt: skip
_NUMBERS: Final = ("difficulty", "number", "gasLimit", "gasUsed", "timestamp")
_SEAL: Final = ("extraData", "mixHash", "nonce")
_LATER: Final = (
    ("baseFeePerGas", True), ("withdrawalsRoot", False), ("blobGasUsed", True), ("excessBlobGas", True),
    ("parentBeaconBlockRoot", False), ("requestsHash", False),
)  # fmt: skip
"""What forks have appended, in their order, and whether it is a number."""
BLOOM_BYTES: Final = 256
_HEX: Final = re.compile(r"0x[0-9a-fA-F]*")
_HEX_CHARACTERS_MAX: Final = 1 << 20


class MalformedBlock(PeerError):
    """A chain's node answered with something that is no block or receipt. field: where. value: what stood there."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"the chain's node answered {field} = {str(value)[:80]!r}: expected {expected}")
        self.field = field


class ForeignHeader(PeerError):
    """A block whose hash is not that of its header as Ethereum encodes it: nothing in it can be proven by that hash.

    So are all blocks of Zilliqa 2, which hashes them by rules of its own. computed, told: 32 bytes.
    """

    def __init__(self, computed: bytes, told: bytes) -> None:
        super().__init__(
            f"the block's header hashes to 0x{computed.hex()}, its hash is 0x{told.hex()}: this chain hashes blocks in"
            " another way than Ethereum (Zilliqa 2 does), so no anchor can be made of it"
        )
        self.computed = computed
        self.told = told


class ForeignReceipts(PeerError):
    """The receipts that a node tells are not those that the block's header commits to. root: 32 bytes, the header's."""

    def __init__(self, count: int, root: bytes) -> None:
        super().__init__(
            f"the block's {count} receipts do not have the root 0x{root.hex()} that its header names: the node answers"
            " wrongly, or this chain commits to receipts in another way; ask another node"
        )
        self.count = count
        self.root = root


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBlock:
    """A block as bytes. header: RLP. receipts: of all its transactions in their order, as they stand in the trie."""

    header: bytes
    receipts: tuple[bytes, ...]


def header_of(block: Mapping[str, Any]) -> bytes:
    """RLP of a header from the answer to eth_getBlockByHash. Raises: MalformedBlock, ForeignHeader."""
    fields: list[RlpItem] = [_data(block, name) for name in _DATA]
    fields += [encode_number(_number(block, name)) for name in _NUMBERS]
    fields += [_data(block, name) for name in _SEAL]
    present = [name for name, _ in _LATER if block.get(name) is not None]
    for name, is_number in _LATER[: 1 + max((i for i, (name, _) in enumerate(_LATER) if name in present), default=-1)]:
        if name not in present:
            fields.append(b"")  # Polygon leaves out what only Ethereum's consensus needs
        else:
            fields.append(encode_number(_number(block, name)) if is_number else _data(block, name))
    header = encode_rlp(fields)
    told = _data(block, "hash")
    if keccak256(header) != told:
        raise ForeignHeader(keccak256(header), told)
    return header


def receipt_of(receipt: Mapping[str, Any]) -> bytes:
    """A receipt as it stands in the trie, from the answer to eth_getTransactionReceipt. Raises: MalformedBlock."""
    logs = receipt.get("logs")
    if not isinstance(logs, Sequence) or isinstance(logs, str) or len(logs) > LOGS_MAX:
        raise MalformedBlock("logs", logs, f"a list of at most {LOGS_MAX}")
    kind = _number(receipt, "type") if receipt.get("type") is not None else 0
    if kind > 0x7F:
        raise MalformedBlock("type", kind, "a type of EIP-2718, at most 0x7f")
    return Receipt(
        type=kind,
        succeeded=bool(_number(receipt, "status")),
        cumulative_gas=_number(receipt, "cumulativeGasUsed"),
        bloom=_data(receipt, "logsBloom", BLOOM_BYTES),
        logs=tuple(
            Log(address=_data(log, "address"), topics=tuple(map(_topic, log["topics"])), data=_data(log, "data"))
            for log in map(_log, logs)
        ),
    ).encode()


def raw_block(block: Mapping[str, Any], receipts: Sequence[Mapping[str, Any]]) -> RawBlock:
    """Of a block and all its receipts, in JSON.

    Polygon's nodes list a receipt that its headers did not always commit to, as the last of some blocks: where
    the header has the root of the others, it is left out. Raises: MalformedBlock, ForeignHeader, ForeignReceipts.
    """
    named = block.get("transactions")
    if not isinstance(named, list) or len(named) > ITEMS_MAX:
        raise MalformedBlock("transactions", named, f"a list of at most {ITEMS_MAX}")
    hashes = [one["hash"] if isinstance(one, Mapping) else one for one in named]
    by_hash = {str(receipt.get("transactionHash")): receipt for receipt in receipts}
    missing = [one for one in hashes if str(one) not in by_hash]
    if missing:
        raise MalformedBlock("receipts", f"none of {missing[0]}", "a receipt of every transaction of the block")
    header = header_of(block)
    found = tuple(receipt_of(by_hash[str(one)]) for one in hashes)
    root = _data(block, "receiptsRoot")
    for count in (len(found), len(found) - 1):
        if count > 0 and ListTrie(found[:count]).root == root:
            return RawBlock(header=header, receipts=found[:count])
    raise ForeignReceipts(len(found), root)


def _log(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not isinstance(value.get("topics"), Sequence):
        raise MalformedBlock("logs", value, "an object with topics")
    return value


def _topic(value: object) -> bytes:
    return _bytes("topics", value)


def _data(answer: Mapping[str, Any], field: str, length: int | None = None) -> bytes:
    found = _bytes(field, answer.get(field))
    if length is not None and len(found) != length:
        raise MalformedBlock(field, answer.get(field), f"{length} bytes")
    return found


def _bytes(field: str, value: object) -> bytes:
    if not isinstance(value, str) or len(value) % 2 or len(value) > _HEX_CHARACTERS_MAX or not _HEX.fullmatch(value):
        raise MalformedBlock(field, value, "0x and hexadecimal digits, two for each byte")
    return bytes.fromhex(value[2:])


def _number(answer: Mapping[str, Any], field: str) -> int:
    value = answer.get(field)
    if not isinstance(value, str) or not 2 < len(value) <= 66 or not _HEX.fullmatch(value):
        raise MalformedBlock(field, value, "a number as 0x and hexadecimal digits")
    return int(value, 16)
