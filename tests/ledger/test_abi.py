"""Solidity's ABI as far as it is needed: the same bytes as eth_abi, and nothing that would wrap on a chain."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from eth_abi.abi import encode as eth_encode
from hypothesis import given
from hypothesis import strategies as st

from ledger import abi

words32 = st.binary(min_size=32, max_size=32)
accounts = st.binary(min_size=20, max_size=20)


@given(st.integers(0, 2**64 - 1), st.lists(accounts, max_size=8))
def test_a_number_and_a_list_of_addresses(epoch: int, listed: list[bytes]) -> None:
    ours = abi.encode(abi.uint(epoch, 64), abi.array([abi.address(one) for one in listed]))
    assert ours == eth_encode(["uint64", "address[]"], [epoch, listed])


@given(words32, st.text(max_size=70), st.text(max_size=70), st.integers(0, 2**256 - 1))
def test_several_dynamic_parts_within_each_other(word: bytes, first: str, second: str, number: int) -> None:
    ours = abi.encode(
        abi.string(first), abi.bytes32(word), abi.struct(abi.uint(number), abi.string(second)), abi.uint(number)
    )
    expected = eth_encode(["string", "bytes32", "(uint256,string)", "uint256"], [first, word, (number, second), number])
    assert ours == expected


@given(st.lists(st.tuples(accounts, st.integers(0, 2**16 - 1)), max_size=5), words32)
def test_a_list_of_pairs_and_a_pair_of_words(pairs: list[tuple[bytes, int]], word: bytes) -> None:
    ours = abi.encode(
        abi.array([abi.address(who) + abi.uint(share, 16) for who, share in pairs]), abi.bytes32(word) + abi.uint(7, 8)
    )
    assert ours == eth_encode(["(address,uint16)[]", "(bytes32,uint8)"], [pairs, (word, 7)])


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 64])
def test_a_string_is_filled_up_to_a_word(length: int) -> None:
    assert abi.encode(abi.string("x" * length)) == eth_encode(["string"], ["x" * length])


@pytest.mark.parametrize(
    "made",
    [
        lambda: abi.uint(-1),
        lambda: abi.uint(256, 8),
        lambda: abi.uint(2**256),
        lambda: abi.bytes32(bytes(31)),
        lambda: abi.bytes32(bytes(33)),
        lambda: abi.address(bytes(19)),
        lambda: abi.address(bytes(32)),
    ],
)
def test_what_does_not_fit_is_refused(made: Callable[[], bytes]) -> None:
    with pytest.raises(ValueError, match="no "):
        made()


@pytest.mark.parametrize(("value", "bits"), [(0, 8), (255, 8), (2**64 - 1, 64), (2**256 - 1, 256)])
def test_the_largest_that_fits_is_encoded(value: int, bits: int) -> None:
    assert abi.uint(value, bits) == eth_encode([f"uint{bits}"], [value])
