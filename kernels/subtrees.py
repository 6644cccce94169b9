"""Trees above subtrees: what joins the chaining values of a message that was hashed in several pieces.

A message larger than a device's memory is cut into subtrees of 2^k chunks; the few compressions above them are done
here, in plain Python, which is slow and need not be fast. Source: BLAKE3 specification, sections 2.1 to 2.5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

CHUNK_BYTES: Final = 1024
BLOCK_BYTES: Final = 64
PIECE_CHUNKS_MIN: Final = 2

Words = tuple[int, ...]
"""Chaining value: eight 32-bit words."""

IV: Final[Words] = (
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
)  # fmt: skip
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
KEYED_HASH, DERIVE_KEY_CONTEXT, DERIVE_KEY_MATERIAL = 16, 32, 64

_MASK: Final = 0xFFFFFFFF
_PERMUTATION: Final = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
_COLUMNS: Final = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))
_DIAGONALS: Final = ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A whole message, or a subtree of one. offset: of its first byte in the message; a multiple of CHUNK_BYTES."""

    offset: int
    size: int
    """Bytes."""
    whole: bool

    @property
    def chunks(self) -> int:
        return max(1, -(-self.size // CHUNK_BYTES))


def cut(size: int, bytes_max: int) -> Iterator[Piece]:
    """The pieces of a message of `size` bytes, each at most `bytes_max`, in order.

    All but the last are subtrees of 2^k chunks at a multiple of 2^k. Raises: ValueError where bytes_max is under two
    chunks.
    """
    if bytes_max < PIECE_CHUNKS_MIN * CHUNK_BYTES:
        raise ValueError(f"bytes_max: expected at least {PIECE_CHUNKS_MIN * CHUNK_BYTES}, got {bytes_max}")
    if size <= bytes_max:
        yield Piece(offset=0, size=size, whole=True)
        return
    step = CHUNK_BYTES << ((bytes_max // CHUNK_BYTES).bit_length() - 1)
    for offset in range(0, size, step):
        yield Piece(offset=offset, size=min(step, size - offset), whole=False)


def join(values: Sequence[bytes], *, key: Words = IV, mode: int = 0, is_root: bool = True) -> bytes:
    """Digest (32 bytes) of a message from the chaining values of its pieces, as `cut` made them: at least two.

    mode: KEYED_HASH, DERIVE_KEY_MATERIAL or 0. is_root: False gives the chaining value of a subtree of them. Equal
    subtrees pair up level by level; what is odd at the end stays: that is the tree of section 2.1, in which every left
    subtree is as large a power of two as leaves a right one.
    """
    assert len(values) > 1, "a message of one piece is its digest already"
    nodes = list(values)
    while len(nodes) > 1:
        root = ROOT if is_root and len(nodes) == 2 else 0
        parents = [
            parent(left, right, key=key, flags=mode | root)
            for left, right in zip(nodes[::2], nodes[1::2], strict=False)
        ]
        nodes = parents + nodes[len(nodes) & ~1 :]
    return nodes[0]


def context_key(context: str) -> Words:
    """Key of derive-key mode for a context string (section 2.3): hash with it, in mode DERIVE_KEY_MATERIAL."""
    message = context.encode()
    chunks = range(0, max(1, len(message)), CHUNK_BYTES)
    alone = ROOT if len(chunks) == 1 else 0
    values = [
        chunk_value(message[at : at + CHUNK_BYTES], at // CHUNK_BYTES, IV, DERIVE_KEY_CONTEXT, alone) for at in chunks
    ]
    return unpack(values[0] if alone else join(values, mode=DERIVE_KEY_CONTEXT))


def chunk_value(chunk: bytes, counter: int, key: Words, mode: int, root: int) -> bytes:
    """Chaining value of a chunk (section 2.4), in plain Python: for a few."""
    cv, last = key, max(0, (len(chunk) - 1) // BLOCK_BYTES)
    for i in range(last + 1):
        block = chunk[i * BLOCK_BYTES : (i + 1) * BLOCK_BYTES]
        flags = mode | (CHUNK_START if i == 0 else 0) | (CHUNK_END | root if i == last else 0)
        cv = compress(cv, unpack(block.ljust(BLOCK_BYTES, b"\0")), counter, len(block), flags)
    return pack(cv)


def parent(left: bytes, right: bytes, *, key: Words, flags: int) -> bytes:
    """Chaining value of a parent node (section 2.5)."""
    return pack(compress(key, unpack(left + right), 0, BLOCK_BYTES, flags | PARENT))


def compress(cv: Words, block: Words, counter: int, size: int, flags: int) -> Words:
    """The compression function's first eight words (section 2.2). block: 16 words; size: its bytes."""
    v = [*cv, *IV[:4], counter & _MASK, counter >> 32 & _MASK, size, flags]
    m = block
    for _ in range(7):
        for i, quarter in enumerate((*_COLUMNS, *_DIAGONALS)):
            _mix(v, quarter, m[2 * i], m[2 * i + 1])
        m = tuple(m[i] for i in _PERMUTATION)
    return tuple(v[i] ^ v[i + 8] for i in range(8))


def _mix(v: list[int], quarter: tuple[int, int, int, int], x: int, y: int) -> None:
    a, b, c, d = quarter
    v[a] = (v[a] + v[b] + x) & _MASK
    v[d] = _rotate(v[d] ^ v[a], 16)
    v[c] = (v[c] + v[d]) & _MASK
    v[b] = _rotate(v[b] ^ v[c], 12)
    v[a] = (v[a] + v[b] + y) & _MASK
    v[d] = _rotate(v[d] ^ v[a], 8)
    v[c] = (v[c] + v[d]) & _MASK
    v[b] = _rotate(v[b] ^ v[c], 7)


def _rotate(word: int, bits: int) -> int:
    return (word >> bits | word << (32 - bits)) & _MASK


def unpack(data: bytes) -> Words:
    """Little-endian words of `data`, a multiple of four bytes."""
    return struct.unpack(f"<{len(data) // 4}I", data)


def pack(words: Words) -> bytes:
    return struct.pack(f"<{len(words)}I", *words)


def key_words(key: bytes) -> Words:
    """Of keyed mode. Raises: ValueError unless 32 bytes."""
    if len(key) != 32:
        raise ValueError(f"key: expected 32 bytes, got {len(key)}")
    return unpack(key)
