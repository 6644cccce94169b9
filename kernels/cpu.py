"""BLAKE3 on the CPU: the default backend, and the reference every other backend must equal.

Source: BLAKE3 specification, hash mode, 32 bytes of output. The work is done by the `blake3` extension, which picks
the widest SIMD the processor has and releases the interpreter lock, so callers may hash in parallel threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from blake3 import blake3

Buffer = bytes | bytearray | memoryview

DIGEST_BYTES = 32
LEAVES_MAX = 1 << 20
BATCH_BYTES_MAX = 1 << 31
"""2 GiB: what a packed batch may hold, so that 32-bit chunk counts suffice in every backend."""


class BatchTooLarge(ValueError):
    """A batch past a bound. what: which bound. size: what was asked. limit: what is allowed."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(f"batch of {size} {what} is over the limit of {limit}: split it")
        self.what = what
        self.size = size
        self.limit = limit


class Stream:
    """BLAKE3 of a message that arrives in pieces, in constant memory."""

    __slots__ = ("_hasher",)

    def __init__(self) -> None:
        self._hasher = blake3()

    def update(self, piece: Buffer) -> None:
        self._hasher.update(piece)

    def digest(self) -> bytes:
        """32 bytes, over everything so far; more may follow."""
        return self._hasher.digest()


def hash_leaves(data: Buffer, offsets: Sequence[int]) -> tuple[bytes, ...]:
    """BLAKE3 digest of every leaf of a packed batch.

    data: leaves back to back. offsets: n + 1 byte offsets, non-decreasing, from 0 to len(data).
    Returns n digests of 32 bytes; the i-th is over data[offsets[i]:offsets[i + 1]].
    Raises: BatchTooLarge if n > LEAVES_MAX or len(data) > BATCH_BYTES_MAX; ValueError where offsets do not tile data.
    """
    count = len(offsets) - 1
    if count > LEAVES_MAX:
        raise BatchTooLarge("leaves", count, LEAVES_MAX)
    if len(data) > BATCH_BYTES_MAX:
        raise BatchTooLarge("bytes", len(data), BATCH_BYTES_MAX)
    if count < 0 or offsets[0] != 0 or offsets[-1] != len(data):
        raise ValueError(f"offsets: expected them to run from 0 to {len(data)}, the length of the data")
    view = memoryview(data)
    digests: list[bytes] = []
    for start, end in pairwise(offsets):
        if end < start:
            raise ValueError(f"offsets: expected non-decreasing, got {end} after {start}")
        digests.append(blake3(view[start:end]).digest())
    return tuple(digests)
