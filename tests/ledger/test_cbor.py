"""Deterministic CBOR: one value, one encoding; everything else is refused where it first goes wrong."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.cbor import DEPTH_MAX, decode, encode
from ledger.errors import MalformedCbor

U64_MAX = 2**64 - 1

scalars = st.one_of(
    st.booleans(),
    st.integers(-U64_MAX - 1, U64_MAX),
    st.binary(max_size=300),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
)
keys = st.one_of(st.integers(-U64_MAX - 1, U64_MAX), st.text(max_size=30))


def values(map_keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def grow(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.lists(children, max_size=5) | st.dictionaries(map_keys, children, max_size=5)

    return st.recursive(scalars, grow, max_leaves=25)


@given(values(keys))
def test_every_value_comes_back_from_its_encoding(value: Any) -> None:
    assert decode(encode(value)) == value


@given(values(st.text(max_size=30)))
def test_cbor2_writes_the_same_bytes_where_keys_are_text(value: Any) -> None:
    assert encode(value) == cbor2.dumps(value, canonical=True)


@given(values(keys))
def test_cbor2_reads_what_we_write(value: Any) -> None:
    assert cbor2.loads(encode(value)) == value


@given(st.binary(max_size=60) | values(keys).map(encode).flatmap(lambda data: st.just(data).flatmap(mutated)))
def test_what_is_accepted_encodes_to_the_same_bytes(data: bytes) -> None:
    try:
        value = decode(data)
    except MalformedCbor:
        return
    assert encode(value) == data


def mutated(data: bytes) -> st.SearchStrategy[bytes]:
    return st.tuples(st.integers(0, max(0, len(data) - 1)), st.integers(0, 255)).map(
        lambda change: data[: change[0]] + bytes((change[1],)) + data[change[0] + 1 :]
    )


# RFC 8949, appendix A (IETF Trust, Simplified BSD licence): the encodings that use our types only.
APPENDIX_A: list[tuple[str, Any]] = [
    ("00", 0), ("01", 1), ("0a", 10), ("17", 23), ("1818", 24), ("1819", 25), ("1864", 100), ("1903e8", 1000),
    ("1a000f4240", 1000000), ("1b000000e8d4a51000", 1000000000000), ("1bffffffffffffffff", 18446744073709551615),
    ("3bffffffffffffffff", -18446744073709551616), ("20", -1), ("29", -10), ("3863", -100), ("3903e7", -1000),
    ("f4", False), ("f5", True), ("40", b""), ("4401020304", b"\x01\x02\x03\x04"), ("60", ""), ("6161", "a"),
    ("6449455446", "IETF"), ("62225c", '"\\'), ("62c3bc", "ü"), ("63e6b0b4", "水"), ("64f0908591", "𐅑"),
    ("80", []), ("83010203", [1, 2, 3]), ("8301820203820405", [1, [2, 3], [4, 5]]),
    ("98190102030405060708090a0b0c0d0e0f101112131415161718181819", list(range(1, 26))),
    ("a0", {}), ("a201020304", {1: 2, 3: 4}), ("a26161016162820203", {"a": 1, "b": [2, 3]}),
    ("826161a161626163", ["a", {"b": "c"}]),
]  # fmt: skip


@pytest.mark.parametrize(("encoded", "value"), APPENDIX_A)
def test_published_examples_hold_both_ways(encoded: str, value: Any) -> None:
    assert encode(value).hex() == encoded
    decoded = decode(bytes.fromhex(encoded))
    assert decoded == value
    assert type(decoded) is type(value)


def test_map_keys_are_ordered_by_their_bytes_and_not_by_their_length() -> None:
    # RFC 8949, section 4.2.1: its own example. The length-first order of section 4.2.3 has -1 before 100.
    value = {10: 1, 100: 2, -1: 3, "z": 4, "aa": 5}
    assert encode(value).hex() == "a50a01186402200361" + "7a04" + "626161" + "05"
    assert decode(encode(value)) == value
    with pytest.raises(MalformedCbor, match="ascending bytewise order"):
        decode(bytes.fromhex("a2200318640 2".replace(" ", "")))


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        ("f90000", "no float"),
        ("fa47c35000", "no float"),
        ("fb3ff199999999999a", "no float"),
        ("f97e00", "no float"),
        ("f6", "null"),
        ("f7", "undefined"),
        ("f0", "simple value"),
        ("f8ff", "simple value"),
        ("c11a514b67b0", "no tag"),
        ("c249010000000000000000", "no tag"),
        ("d9d9f700", "no tag"),
        ("5f42010243030405ff", "definite length"),
        ("7f657374726561646d696e67ff", "definite length"),
        ("9fff", "definite length"),
        ("bf61610161629f0203ffff", "definite length"),
        ("ff", "true or false"),
        ("1c", "definite length"),
        ("1817", "shortest form"),
        ("1900ff", "shortest form"),
        ("1a0000ffff", "shortest form"),
        ("1b00000000ffffffff", "shortest form"),
        ("3817", "shortest form"),
        ("580161", "shortest form"),
        ("780161", "shortest form"),
        ("980100", "shortest form"),
        ("b801000 0", "shortest form"),
        ("a2616101616102", "each once"),
        ("a2616201616102", "ascending bytewise order"),
        ("a1410100", "integer or text as map key"),
        ("a1f500", "integer or text as map key"),
        ("a1800000", "levels"),
        ("0000", "left over"),
        ("", "the bytes end here"),
        ("82 01", "bytes end here|only 1 bytes follow"),
        ("18", "1 bytes of argument"),
        ("1901", "2 bytes of argument"),
        ("4401", "only 1 follow"),
        ("61", "only 0 follow"),
        ("61ff", "UTF-8"),
        ("63eda080", "UTF-8"),
        ("9bffffffffffffffff", "only 0 bytes follow"),
        ("bbffffffffffffffff00", "only 1 bytes follow"),
        ("5bffffffffffffffff00", "only 1 follow"),
    ],
)
def test_other_encodings_are_refused(encoded: str, expected: str) -> None:
    with pytest.raises(MalformedCbor, match=expected):
        decode(bytes.fromhex(encoded.replace(" ", "")))


def test_nesting_is_bounded_both_ways() -> None:
    deepest: Any = 0
    for _ in range(DEPTH_MAX):
        deepest = [deepest]
    assert decode(encode(deepest)) == deepest
    with pytest.raises(MalformedCbor, match="levels"):
        encode([deepest])
    with pytest.raises(MalformedCbor, match="levels"):
        decode(b"\x81" * (DEPTH_MAX + 1) + b"\x00")
    with pytest.raises(MalformedCbor, match="levels"):
        decode(b"\x81" * 60_000)


@pytest.mark.parametrize("value", [1.5, None, U64_MAX + 1, -U64_MAX - 2, "\ud800", object(), {b"k": 1}, {1.5: 1}])
def test_values_without_an_encoding_are_refused(value: Any) -> None:
    with pytest.raises(MalformedCbor):
        encode(value)


def test_errors_name_the_byte() -> None:
    with pytest.raises(MalformedCbor) as caught:
        decode(bytes.fromhex("82 01 fb3ff199999999999a".replace(" ", "")))
    assert caught.value.field == "byte 2"
    assert caught.value.value.startswith("fb3ff1")
    assert caught.value.code == "MALFORMED_CBOR"
