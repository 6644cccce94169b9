"""RLP, the serialisation of Ethereum's blocks and receipts: byte strings and lists of them, one encoding each.

Source: Ethereum yellow paper, appendix B; the execution specifications' module ethereum_rlp.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from consensus.errors import MalformedMessage

RlpItem: TypeAlias = "bytes | list[RlpItem]"

RLP_BYTES_MAX: Final = 1 << 20
RLP_DEPTH_MAX: Final = 6
"""Lists in lists. A receipt has four: itself, its logs, a log, that log's topics."""
RLP_ITEMS_MAX: Final = 1 << 16
"""In one encoding, at all depths together."""

_SHORT_MAX: Final = 55
"""Longer ones have their length's length in the first byte."""


def _malformed(field: str, expected: str) -> MalformedMessage:
    return MalformedMessage("RLP", field, expected)


def encode_rlp(item: RlpItem) -> bytes:
    """The one encoding."""
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < 0x80:
            return item
        return _head(0x80, len(item)) + item
    body = b"".join(map(encode_rlp, item))
    return _head(0xC0, len(body)) + body


def _head(offset: int, length: int) -> bytes:
    if length <= _SHORT_MAX:
        return bytes([offset + length])
    size = encode_number(length)
    return bytes([offset + _SHORT_MAX + len(size)]) + size


def encode_number(value: int) -> bytes:
    """Big-endian without leading zeros: zero is no byte at all. value: not negative."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def decode_rlp(data: bytes) -> RlpItem:
    """Inverse of `encode_rlp`: exactly one item.

    Raises: MalformedMessage for anything that it would not have written.
    """
    if len(data) > RLP_BYTES_MAX:
        raise _malformed("length", f"at most {RLP_BYTES_MAX} bytes, got {len(data)}")
    reader = _Reader(data)
    item = reader.item(0, len(data), RLP_DEPTH_MAX)
    if reader.at != len(data):
        raise _malformed("length", f"one item, {len(data) - reader.at} bytes follow it")
    return item


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = RLP_ITEMS_MAX
        self.at = 0

    def item(self, start: int, end: int, depth: int) -> RlpItem:
        """The one at `start`, which must end by `end`; `at` is where it ends. depth: lists that may still open."""
        self._left -= 1
        if self._left < 0:
            raise _malformed("items", f"at most {RLP_ITEMS_MAX}")
        if start >= end:
            raise _malformed(f"byte {start}", "an item")
        first = self._data[start]
        if first < 0x80:
            self.at = start + 1
            return self._data[start : start + 1]
        offset = 0x80 if first < 0xC0 else 0xC0
        begin, length = self._extent(start, end, first - offset)
        if offset == 0x80:
            content = self._data[begin : begin + length]
            if length == 1 and content[0] < 0x80:
                raise _malformed(f"byte {start}", "a byte below 0x80 as itself")
            self.at = begin + length
            return content
        if not depth:
            raise _malformed(f"byte {start}", f"at most {RLP_DEPTH_MAX} lists in each other")
        items: list[RlpItem] = []
        self.at = begin
        while self.at < begin + length:
            items.append(self.item(self.at, begin + length, depth - 1))
        return items

    def _extent(self, start: int, end: int, head: int) -> tuple[int, int]:
        """Where the content begins, and its bytes."""
        begin, length = start + 1, head
        if head > _SHORT_MAX:
            begin += head - _SHORT_MAX
            encoded = self._data[start + 1 : min(begin, end)]
            length = int.from_bytes(encoded, "big")
            if begin > end or not encoded[0] or length <= _SHORT_MAX:
                raise _malformed(f"byte {start}", "a length in its shortest form")
        if begin + length > end:
            raise _malformed(f"byte {start}", f"{length} bytes of content, there are {end - begin}")
        return begin, length
