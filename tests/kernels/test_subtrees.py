"""Messages of any size cut into subtrees and joined: the tree is the specification's, up to tens of gigabytes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.subtrees import (
    CHUNK_BYTES,
    DERIVE_KEY_MATERIAL,
    IV,
    KEYED_HASH,
    PARENT,
    ROOT,
    Piece,
    chunk_value,
    context_key,
    cut,
    join,
    key_words,
    parent,
)

MIB, GIB = 1 << 20, 1 << 30


def by_the_book(pieces: list[Piece], values: list[bytes], flags: int = ROOT) -> bytes:
    """Section 2.1, word for word: the left subtree is full, and of the largest power of two that leaves some chunks to
    the right. Where a subtree is a piece, its value is the piece's."""
    if len(pieces) == 1:
        return values[0]
    chunks = sum(p.chunks for p in pieces)
    left_chunks = 1 << (chunks - 1).bit_length() - 1
    left = next(i for i in range(1, len(pieces)) if sum(p.chunks for p in pieces[:i]) == left_chunks)
    return parent(
        by_the_book(pieces[:left], values[:left], 0), by_the_book(pieces[left:], values[left:], 0), key=IV, flags=flags
    )


@settings(deadline=None, max_examples=40)  # plain Python, hundreds of compressions each
@given(size=st.integers(1, 80 * GIB), bytes_max=st.integers(128 * MIB, GIB))
def test_pieces_of_tens_of_gigabytes_are_joined_as_the_specification_says(size: int, bytes_max: int) -> None:
    pieces = list(cut(size, bytes_max))
    assert all(0 < p.size <= bytes_max for p in pieces)
    assert sum(p.size for p in pieces) == size
    assert all(a.offset + a.size == b.offset for a, b in pairwise(pieces))
    assert all(p.offset % p.size == 0 and p.size & (p.size - 1) == 0 for p in pieces[:-1]), "full subtrees"
    if len(pieces) == 1:
        assert pieces[0].whole
        return
    assert not any(p.whole for p in pieces)
    values = [blake3(str(p.offset).encode()).digest() for p in pieces]
    assert join(values) == by_the_book(pieces, values)


def test_joining_in_another_shape_would_be_noticed() -> None:
    pieces = list(cut(5 * GIB, GIB))
    values = [blake3(bytes([i])).digest() for i in range(5)]
    assert join(values) == by_the_book(pieces, values)
    assert join(values) != join([values[1], values[0], *values[2:]])
    left, right = join(values[:4], is_root=False), values[4]
    assert join(values) == parent(left, right, key=IV, flags=ROOT)
    assert join(values) != parent(left, right, key=IV, flags=PARENT), "a root is marked"


@pytest.mark.parametrize("size", [1, 64, 65, 1023, 1024])
def test_a_chunk_in_plain_python_equals_the_reference_in_all_modes(size: int) -> None:
    message, key, context = bytes(range(256)) * 4, bytes(range(32)), "Stretto 2026-11 chunk"
    message = message[:size]
    assert chunk_value(message, 0, IV, 0, ROOT) == blake3(message).digest()
    assert chunk_value(message, 0, key_words(key), KEYED_HASH, ROOT) == blake3(message, key=key).digest()
    derived = chunk_value(message, 0, context_key(context), DERIVE_KEY_MATERIAL, ROOT)
    assert derived == blake3(message, derive_key_context=context).digest()


@pytest.mark.parametrize("length", [0, 1, 64, 1024, 1025, 2049, 5000])
def test_the_key_of_a_context_of_any_length_is_right(length: int) -> None:
    context = "ä" * (length // 2) + "x" * (length % 2)
    found = chunk_value(b"abc", 0, context_key(context), DERIVE_KEY_MATERIAL, ROOT)
    assert found == blake3(b"abc", derive_key_context=context).digest()


@pytest.mark.parametrize("bytes_max", [0, 1, 2 * CHUNK_BYTES - 1])
def test_pieces_of_less_than_two_chunks_are_refused(bytes_max: int) -> None:
    with pytest.raises(ValueError, match="bytes_max: expected at least 2048"):
        list(cut(10, bytes_max))


def test_keys_have_32_bytes() -> None:
    assert len(key_words(bytes(32))) == 8
    with pytest.raises(ValueError, match="key: expected 32 bytes, got 31"):
        key_words(bytes(31))
