"""BLAKE3 on the CPU: the default backend, and the reference every other backend must equal.

Source: BLAKE3 specification, hash mode, 32 bytes of output. The work is done by the `blake3` extension, which picks
the widest SIMD the processor has and releases the interpreter lock, so callers may hash in parallel threads.
"""

from __future__ import annotations

import os
from itertools import pairwise

from blake3 import blake3

TYPE_CHECKING = False  # `stretto hash` imports this module: see catalog.walk
if TYPE_CHECKING:
    from collections.abc import Sequence
    from mmap import mmap

    Buffer = bytes | bytearray | memoryview | mmap

ALL_THREADS = blake3.AUTO
"""As many threads as the processors this process may run on."""

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
    """BLAKE3 of a message that arrives in pieces, in constant memory.

    threads: how many may work on one piece; more than one pays for pieces of megabytes.
    """

    __slots__ = ("_hasher",)

    _pool_of: int | None = None
    """The process in which the extension has made its pool of threads, which all hashers share."""

    def __init__(self, *, threads: int = 1) -> None:
        if threads == ALL_THREADS:
            # A fork copies the pool without its threads: whoever gave it work there would wait for ever.
            Stream._pool_of = Stream._pool_of or os.getpid()
            threads = threads if Stream._pool_of == os.getpid() else 1
        self._hasher = blake3(max_threads=threads)

    def update(self, piece: Buffer) -> None:
        self._hasher.update(piece)

    def digest(self) -> bytes:
        """32 bytes, over everything so far; more may follow."""
        return self._hasher.digest()


def hash_whole(message: Buffer) -> bytes:
    """BLAKE3 digest of a message that is all there."""
    return blake3(message).digest()


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
