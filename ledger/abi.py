"""Solidity's `abi.encode`, as much of it as derived leaves need: tuples of words, strings, arrays and tuples.

A value is a part: what has a fixed size is its words, `bytes`; what has not is `Dynamic`, and its tuple holds an offset
in its place. Encoding only, and strict about ranges: a number that does not fit would wrap on a chain.
Source: Solidity's Contract ABI Specification, "Formal Specification of the Encoding".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

WORD_BYTES: Final = 32
ADDRESS_BYTES: Final = 20


@dataclass(frozen=True, slots=True)
class Dynamic:
    """The encoding of a value whose size depends on it: stands behind the tuple that holds it."""

    data: bytes


Part: TypeAlias = bytes | Dynamic


def uint(value: int, bits: int = 256) -> bytes:
    """uint8 to uint256: one word. Raises: ValueError for a number that does not fit."""
    if not 0 <= value < 1 << bits:
        raise ValueError(f"{value} is no uint{bits}")
    return value.to_bytes(WORD_BYTES, "big")


def bytes32(value: bytes) -> bytes:
    """Raises: ValueError unless these are 32 bytes."""
    if len(value) != WORD_BYTES:
        raise ValueError(f"{len(value)} bytes are no bytes32")
    return bytes(value)


def address(value: bytes) -> bytes:
    """20 bytes, right-aligned in one word. Raises: ValueError for another length."""
    if len(value) != ADDRESS_BYTES:
        raise ValueError(f"{len(value)} bytes are no address")
    return bytes(WORD_BYTES - ADDRESS_BYTES) + value


def string(value: str) -> Dynamic:
    """UTF-8 behind its length in bytes, filled up with zeros to a word."""
    data = value.encode()
    return Dynamic(uint(len(data)) + data + bytes(-len(data) % WORD_BYTES))


def array(items: Sequence[bytes]) -> Dynamic:
    """T[] of elements of fixed size: their number, then each."""
    return Dynamic(uint(len(items)) + b"".join(items))


def struct(*parts: Part) -> Dynamic:
    """A tuple with dynamic parts, itself a part of another. One without is just its words, joined."""
    return Dynamic(encode(*parts))


def encode(*parts: Part) -> bytes:
    """abi.encode(parts…): heads in order, then the dynamic parts, each at the offset that its head names."""
    offset = sum(WORD_BYTES if isinstance(part, Dynamic) else len(part) for part in parts)
    heads: list[bytes] = []
    tails: list[bytes] = []
    for part in parts:
        if isinstance(part, Dynamic):
            heads.append(uint(offset))
            tails.append(part.data)
            offset += len(part.data)
        else:
            heads.append(part)
    return b"".join((*heads, *tails))
