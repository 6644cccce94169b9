"""Deterministic CBOR (RFC 8949, section 4.2.1): one value, one encoding; whatever else decodes is refused.

Types: unsigned and negative integers of 64 bits, byte strings, text, arrays, maps with integer or text keys, booleans.
No floats, no tags, no null, no indefinite lengths. Our own decoder, because what is accepted is consensus state: it
may not change with a library's version, and a decoder that refuses at the first wrong byte has nothing to exploit.
`cbor2` says the same of every value accepted here (tests/ledger/test_cbor.py).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Final, TypeAlias, Union

from ledger.errors import MalformedCbor

CborValue: TypeAlias = Union[bool, int, str, bytes, list["CborValue"], dict[int | str, "CborValue"]]  # noqa: UP007
"""What decoding gives."""
CborInput: TypeAlias = Union[  # noqa: UP007
    bool,
    int,
    str,
    bytes,
    Sequence["CborInput"],
    Mapping[str, "CborInput"],
    Mapping[int, "CborInput"],
    Mapping[int | str, "CborInput"],
]
"""What encoding takes."""

DEPTH_MAX: Final = 16
"""Arrays and maps within each other."""

_NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = 0x20, 0x40, 0x60, 0x80, 0xA0, 0xC0, 0xE0
"""First initial byte of each major type from 1 to 7 (section 3.1)."""
_U64_MAX: Final = 2**64 - 1
_SIZES: Final = {24: 1, 25: 2, 26: 4, 27: 8}
_MINIMUM: Final = {24: 24, 25: 2**8, 26: 2**16, 27: 2**32}
"""Shortest form (section 4.2.1): the least argument each longer head may carry."""


def head(major: int, argument: int) -> bytes:
    """Initial byte and argument in the shortest form. major: 0 to 7; argument: length, count or the integer itself."""
    if argument < 24:
        return bytes((major << 5 | argument,))
    if argument < 2**8:
        return bytes((major << 5 | 24, argument))
    if argument < 2**16:
        return struct.pack(">BH", major << 5 | 25, argument)
    if argument < 2**32:
        return struct.pack(">BI", major << 5 | 26, argument)
    return struct.pack(">BQ", major << 5 | 27, argument)


def encode(value: CborInput) -> bytes:
    """The one deterministic encoding of a value; maps in bytewise order of their encoded keys.

    Raises: MalformedCbor for what has no encoding here: other types, integers beyond 64 bits, lone surrogates.
    """
    parts: list[bytes] = []
    _encode_into(value, parts, DEPTH_MAX)
    return b"".join(parts)


def _encode_into(value: CborInput, parts: list[bytes], depth: int) -> None:
    if isinstance(value, str):
        try:
            data = value.encode()
        except UnicodeEncodeError:
            raise MalformedCbor("text", value, "text without lone surrogates") from None
        parts += (head(3, len(data)), data)
    elif isinstance(value, bool):
        parts.append(b"\xf5" if value else b"\xf4")
    elif isinstance(value, int):
        if not -_U64_MAX - 1 <= value <= _U64_MAX:
            raise MalformedCbor("integer", value, "an integer from -2^64 to 2^64 - 1")
        parts.append(head(0, value) if value >= 0 else head(1, -1 - value))
    elif isinstance(value, bytes):
        parts += (head(2, len(value)), value)
    elif depth == 0:
        raise MalformedCbor("nesting", value, f"at most {DEPTH_MAX} levels")
    elif isinstance(value, Mapping):
        parts.append(head(5, len(value)))
        for key, item in sorted(((_encode_key(key), item) for key, item in value.items()), key=itemgetter(0)):
            parts.append(key)
            _encode_into(item, parts, depth - 1)
    elif isinstance(value, Sequence):
        parts.append(head(4, len(value)))
        for item in value:
            _encode_into(item, parts, depth - 1)
    else:
        raise MalformedCbor("type", value, "an integer, bytes, text, boolean, array or map")


def _encode_key(key: int | str) -> bytes:
    if type(key) is not str and type(key) is not int:
        raise MalformedCbor("key", key, "an integer or text as map key")
    return encode(key)


def decode(data: bytes) -> CborValue:
    """The value whose one deterministic encoding `data` is: `encode(decode(data)) == data`, always.

    Raises: MalformedCbor naming the byte offset. Time and memory are linear in len(data): callers bound that.
    """
    value, end = _decode_at(data, 0, DEPTH_MAX)
    if end != len(data):
        raise _refused(data, end, f"the end of the value, {len(data) - end} bytes are left over")
    return value


def _refused(data: bytes, offset: int, expected: str) -> MalformedCbor:
    return MalformedCbor(f"byte {offset}", data[offset : offset + 9], expected)


def _decode_at(data: bytes, at: int, depth: int) -> tuple[CborValue, int]:
    """The value that starts at byte `at`, and the offset behind it.

    The tests are on the initial byte and the strings' cases stand first: every claim of every catalogue comes by here.
    """
    if at >= len(data):
        raise _refused(data, at, "a value, the bytes end here")
    start = at
    initial = data[at]
    argument = initial & 31
    at += 1
    if argument >= 24 and initial < _SIMPLE:
        argument, at = _decode_argument(data, at, argument)
    if _BYTES <= initial < _ARRAY:
        end = at + argument
        if end > len(data):
            raise _refused(data, start, f"{argument} bytes of string, only {len(data) - at} follow")
        return (data[at:end] if initial < _TEXT else _decode_text(data, start, at, end)), end
    if initial < _NEGATIVE:
        return argument, at
    if initial < _BYTES:
        return -1 - argument, at
    if initial >= _SIMPLE:
        if argument in (20, 21):
            return argument == 21, at
        raise _refused(data, start, "true or false: no float, null, undefined or other simple value")
    if initial >= _TAG:
        raise _refused(data, start, "no tag")
    if depth == 0:
        raise _refused(data, start, f"at most {DEPTH_MAX} levels of nesting")
    if argument > len(data) - at:
        # Each item takes a byte: a head that promises more than there are bytes must not cost anything.
        raise _refused(data, start, f"{argument} items, only {len(data) - at} bytes follow")
    return (_decode_map if initial >= _MAP else _decode_array)(data, at, argument, depth - 1)


def _decode_argument(data: bytes, at: int, info: int) -> tuple[int, int]:
    size = _SIZES.get(info)
    if size is None:
        raise _refused(data, at - 1, "a definite length")
    end = at + size
    if end > len(data):
        raise _refused(data, at - 1, f"{size} bytes of argument")
    argument = int.from_bytes(data[at:end], "big")
    if argument < _MINIMUM[info]:
        raise _refused(data, at - 1, f"the shortest form of {argument}")
    return argument, end


def _decode_text(data: bytes, start: int, at: int, end: int) -> str:
    try:
        return data[at:end].decode()
    except UnicodeDecodeError:
        raise _refused(data, start, "text in UTF-8") from None


def _decode_array(data: bytes, at: int, count: int, depth: int) -> tuple[list[CborValue], int]:
    items: list[CborValue] = []
    for _ in range(count):
        item, at = _decode_at(data, at, depth)
        items.append(item)
    return items, at


def _decode_map(data: bytes, at: int, count: int, depth: int) -> tuple[dict[int | str, CborValue], int]:
    entries: dict[int | str, CborValue] = {}
    previous = b""
    size = len(data)
    for _ in range(count):
        start = at
        key: CborValue
        if at < size and _TEXT <= (initial := data[at]) < _TEXT + 24 and (end := at + 1 + initial - _TEXT) <= size:
            # A short text, as almost every key: without the calls that any value may need.
            key, at = _decode_text(data, start, at + 1, end), end
        else:
            key, at = _decode_at(data, at, 0)
        encoded = data[start:at]
        if encoded <= previous:
            raise _refused(data, start, "map keys in ascending bytewise order, each once")
        previous = encoded
        if type(key) is not str and type(key) is not int:
            raise _refused(data, start, "an integer or text as map key")
        entries[key], at = _decode_at(data, at, depth)
    return entries, at
