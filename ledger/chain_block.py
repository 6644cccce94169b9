"""Headers and receipts of Ethereum's blocks, as far as an anchor needs them; read strictly, made from what nodes tell.

A header's hash is keccak256 of its RLP on Ethereum, Polygon and whatever runs their clients. Chains that hash blocks
by rules of their own (Zilliqa 2) cannot be checked this way.
Source: yellow paper, sections 4.3 and 4.4; EIP-658 (status), EIP-2718 (types); EIP-1559, 4895, 4844, 4788 and 7685 for
the fields that headers gained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consensus.errors import MalformedMessage
from consensus.types import Digest
from ledger.keccak import keccak256
from ledger.rlp import RlpItem, decode_rlp, encode_number, encode_rlp

HEADER_BYTES_MAX: Final = 1 << 16
"""Polygon's carry validators and hints for parallel execution: some kilobytes."""
FIELDS_MIN: Final = 15
"""Before EIP-1559. London has 16, Shanghai 17, Cancun 20, Prague 21."""
FIELDS_MAX: Final = 32
"""Later forks append; what is appended is hashed, and means nothing here."""
NUMBER_MAX: Final = 2**63 - 1
RECEIPT_TYPES: Final = (1, 2, 3, 4)
"""EIP-2930, EIP-1559, EIP-4844 and EIP-7702; a legacy one has no type."""
LOGS_MAX: Final = 4096
TOPICS_MAX: Final = 4
ADDRESS_BYTES: Final = 20

_LENGTHS: Final = {0: 32, 1: 32, 2: ADDRESS_BYTES, 3: 32, 4: 32, 5: 32, 6: 256, 13: 32, 14: 8}
"""Of the header's fields with a fixed one, by position."""
_RECEIPTS_ROOT: Final = 5
_NUMBER: Final = 8
_TIMESTAMP: Final = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What an anchor uses of a block's header."""

    hash: Digest
    number: int
    timestamp_s: int
    """By the block's proposer, within the chain's own rules; seconds since the Unix epoch."""
    receipts_root: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """An event of a contract. address: 20 bytes. topics: 0 to 4 of 32 bytes."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Of one transaction. type: 0 for a legacy one."""

    type: int
    succeeded: bool
    cumulative_gas: int
    bloom: bytes
    logs: tuple[Log, ...]

    def encode(self) -> bytes:
        """As it stands in the trie: for a typed one the type, then the RLP."""
        logs: list[RlpItem] = [[log.address, list(log.topics), log.data] for log in self.logs]
        payload = encode_rlp([encode_number(int(self.succeeded)), encode_number(self.cumulative_gas), self.bloom, logs])
        return bytes([self.type]) + payload if self.type else payload


def _malformed(what: str, field: str, expected: str) -> MalformedMessage:
    return MalformedMessage(what, field, expected)


def _number(what: str, field: str, item: RlpItem) -> int:
    if not isinstance(item, bytes) or len(item) > 8 or item[:1] == b"\x00":
        raise _malformed(what, field, "a whole number of at most 8 bytes without leading zeros")
    value = int.from_bytes(item, "big")
    if value > NUMBER_MAX:
        raise _malformed(what, field, f"at most {NUMBER_MAX}")
    return value


def parse_header(data: bytes) -> Header:
    """A block's header from its RLP. Raises: MalformedMessage."""
    if len(data) > HEADER_BYTES_MAX:
        raise _malformed("block header", "length", f"at most {HEADER_BYTES_MAX} bytes, got {len(data)}")
    fields = decode_rlp(data)
    if not isinstance(fields, list) or not FIELDS_MIN <= len(fields) <= FIELDS_MAX:
        raise _malformed("block header", "form", f"a list of {FIELDS_MIN} to {FIELDS_MAX}")
    found: list[bytes] = []
    for position, field in enumerate(fields):
        if not isinstance(field, bytes):
            raise _malformed("block header", f"field {position}", "bytes")
        if len(field) != _LENGTHS.get(position, len(field)):
            raise _malformed("block header", f"field {position}", f"{_LENGTHS[position]} bytes, got {len(field)}")
        found.append(field)
    return Header(
        hash=keccak256(data),
        number=_number("block header", "number", found[_NUMBER]),
        timestamp_s=_number("block header", "timestamp", found[_TIMESTAMP]),
        receipts_root=Digest(found[_RECEIPTS_ROOT]),
    )


def parse_receipt(data: bytes) -> Receipt:
    """A receipt as it stands in the trie. Raises: MalformedMessage.

    Also for one from before Byzantium, which has a state root where the status is now.
    """
    kind = data[0] if data and data[0] < 0x80 else 0
    if kind and kind not in RECEIPT_TYPES:
        raise _malformed("receipt", "type", f"a legacy one or one of {RECEIPT_TYPES}, got {kind}")
    fields = decode_rlp(data[1:] if kind else data)
    if not isinstance(fields, list) or len(fields) != 4:
        raise _malformed("receipt", "form", "a list of status, gas, bloom and logs")
    status, gas, bloom, logs = fields
    if status not in (b"", b"\x01"):
        raise _malformed("receipt", "status", "0 or 1")
    if not isinstance(bloom, bytes) or len(bloom) != 256:
        raise _malformed("receipt", "bloom", "256 bytes")
    if not isinstance(logs, list) or len(logs) > LOGS_MAX:
        raise _malformed("receipt", "logs", f"a list of at most {LOGS_MAX}")
    return Receipt(
        type=kind,
        succeeded=status == b"\x01",
        cumulative_gas=_number("receipt", "gas", gas),
        bloom=bloom,
        logs=tuple(_log(i, log) for i, log in enumerate(logs)),
    )


def _log(position: int, item: RlpItem) -> Log:
    field = f"log {position}"
    if not isinstance(item, list) or len(item) != 3:
        raise _malformed("receipt", field, "a list of address, topics and data")
    address, topics, data = item
    if not isinstance(address, bytes) or len(address) != ADDRESS_BYTES:
        raise _malformed("receipt", field, f"an address of {ADDRESS_BYTES} bytes")
    if not isinstance(topics, list) or len(topics) > TOPICS_MAX:
        raise _malformed("receipt", field, f"at most {TOPICS_MAX} topics")
    found = [topic for topic in topics if isinstance(topic, bytes) and len(topic) == 32]
    if len(found) != len(topics) or not isinstance(data, bytes):
        raise _malformed("receipt", field, "topics of 32 bytes, and data")
    return Log(address=address, topics=tuple(found), data=data)
