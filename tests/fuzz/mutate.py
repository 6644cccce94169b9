"""Changes to honest inputs: at random, yet the same for the same seed; knows some words of every format."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.fuzz.target import INPUT_BYTES_MAX

WORDS = (
    b'\x00', b'\xff', b'\x7f', b'\x80', b'\x00\x00\x00\x00\x00\x00\x00\x00', b'\xff\xff\xff\xff\xff\xff\xff\xff',
    b'\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00',
    b'\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff',
    b'\x80\x00\x00\x00\x00\x00\x00\x00', b'\xd2\x84', b'\xa0', b'\xa1', b'\x80\x80', b'@', b'X ', b'Y\x01\x00',
    b'\x1b\xff\xff\xff\xff\xff\xff\xff\xff', b'\xf6', b'\xf5', b'\xfb\x00\x00\x00\x00\x00\x00\x00\x00', b'_',
    b'\x9f', b'\xbf', b'\x18\x00', b'\n', b'\n\n', b'\xe2\x80\x94 ', b'+', b' ', b'{}', b'[]', b'null', b'1e999',
    b'\\u0000', b'"', b'\\ud800', b'[peers]\n', b'PK\x03\x04', b'PK\x01\x02', b'PK\x05\x06', b'any', b'none',
    b'quorum', b'group ', b'witness ', b'log ', b'origin\n', b'0', b'00', b'-1', b'18446744073709551616', b'\n\x00',
    b'\x08\x96\x01', b'\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01',
)  # fmt: skip
"""Heads of CBOR and protobuf, ends of integers, marks of the text formats."""


def mutated(seed: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """`seed` with one to eight changes. others: inputs of the same target, to splice with."""
    data = bytearray(seed)
    for _ in range(1 << chance.randrange(4)):
        _change(data, others, chance)
    return bytes(data[:INPUT_BYTES_MAX])


def _change(data: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(data) + 1)
    end = min(len(data), at + 1 + int(chance.expovariate(0.1)))
    match chance.randrange(11):
        case 0 if data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        case 1 if data:
            data[at % len(data)] = chance.randrange(256)
        case 2 if data:
            data[at % len(data)] = (data[at % len(data)] + chance.choice((-1, 1))) % 256
        case 3:
            data[at:at] = chance.choice(WORDS)
        case 4:
            word = chance.choice(WORDS)
            data[at : at + len(word)] = word
        case 5:
            del data[at:end]
        case 6:
            data[at:at] = data[at:end]
        case 7:
            del data[at:]
        case 8 if others:
            other = chance.choice(others)
            cut = chance.randrange(len(other) + 1)
            data[at:] = other[cut:]
        case 9 if others:
            other = chance.choice(others)
            start = chance.randrange(len(other) + 1)
            data[at:end] = other[start : start + 1 + int(chance.expovariate(0.05))]
        case 10 if data:
            # The next integer of 1, 2, 4 or 8 bytes, near one of its ends or near what it was.
            width = chance.choice((1, 2, 4, 8))
            was = int.from_bytes(data[at : at + width], "big")
            value = chance.choice((0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), was - 1, was + 1, len(data)))
            data[at : at + width] = (value % 2 ** (8 * width)).to_bytes(width, "big")
        case _:
            data[at:at] = chance.randbytes(1 + chance.randrange(8))
