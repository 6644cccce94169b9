"""What a batch needs of the kernels in blake3.cu: where its pieces lie, and which launches hash them, in order.

A plan is data. Whoever runs it (a GPU, or the host in the tests) obeys it and decides nothing, so that what is verified
without a GPU is what a GPU gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kernels.subtrees import BLOCK_BYTES, CHUNK_BYTES

TILE_CHUNKS: Final = 128
TILE_LEVELS: Final = 7
"""Levels that a tile merges itself: 2^7 chunks."""
BLOCK_THREADS: Final = 128
SLOTS_MAX: Final = 2**32 // 8 - 1
"""Slots are counted in 32 bits, in words of a thread index too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One kernel launch over the pieces `listed`; `sums` says how its items (chunks, tiles or pairs) are theirs."""

    kernel: str
    listed: NDArray[np.uint32]
    """(k,) indices of pieces."""
    sums: NDArray[np.uint32]
    """(k + 1,) sums of items, from 0."""
    grid: int
    """Blocks of BLOCK_THREADS threads."""
    level: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    pieces: NDArray[np.uint64]
    """(n, 4): byte offset in the packed buffer, bytes, counter of the first chunk, 1 if a whole message."""
    first_slot: NDArray[np.uint32]
    """(n,)"""
    slots: int
    """Chaining values the device keeps."""
    buffer_bytes: int
    """Length of the packed buffer: a multiple of 64."""
    launches: tuple[Launch, ...]


def plan_batch(
    sizes: Sequence[int], *, counters: Sequence[int] | None = None, whole: Sequence[bool] | None = None,
    tile_from_chunks: int = TILE_CHUNKS,
) -> Plan:  # fmt: skip
    """Plan for pieces of `sizes` bytes, packed at multiples of 64 in this order.

    counters: number of each piece's first chunk in its message (default 0). whole: whether it is all of its message
    (default True). tile_from_chunks: pieces of at least so many chunks go through tiles, smaller ones chunk by chunk.
    Raises: ValueError where there are too many chunks for one batch.
    """
    count = len(sizes)
    size = np.asarray(sizes, dtype=np.uint64)
    padded = (size + np.uint64(BLOCK_BYTES - 1)) // np.uint64(BLOCK_BYTES) * np.uint64(BLOCK_BYTES)
    ends = np.cumsum(padded, dtype=np.uint64)
    chunks = np.maximum(np.uint64(1), (size + np.uint64(CHUNK_BYTES - 1)) // np.uint64(CHUNK_BYTES))
    slots = int(chunks.sum())
    if slots > SLOTS_MAX:
        raise ValueError(f"sizes: {slots} chunks, at most {SLOTS_MAX} go in one batch")
    pieces = np.zeros((count, 4), dtype=np.uint64)
    pieces[:, 0] = ends - padded
    pieces[:, 1] = size
    pieces[:, 2] = 0 if counters is None else np.asarray(counters, dtype=np.uint64)
    pieces[:, 3] = 1 if whole is None else np.asarray(whole, dtype=np.uint64)
    tiled = chunks >= tile_from_chunks
    launches = []
    for kernel, chosen, per_item, per_block in (
        ("b3_chunks", ~tiled, 1, BLOCK_THREADS), ("b3_tiles", tiled, TILE_CHUNKS, 1),
    ):  # fmt: skip
        items = np.where(chosen, (chunks + np.uint64(per_item - 1)) // np.uint64(per_item), 0)
        launches += _launch(kernel, items, per_block)
    level = 0
    while (nodes := (chunks + np.uint64((1 << level) - 1)) >> np.uint64(level)).size and int(nodes.max()) > 1:
        merged = tiled if level < TILE_LEVELS else np.zeros_like(tiled)
        launches += _launch("b3_level", np.where(merged, 0, nodes // np.uint64(2)), BLOCK_THREADS, level=level)
        level += 1
    return Plan(
        pieces=pieces, first_slot=(np.cumsum(chunks) - chunks).astype(np.uint32), slots=slots,
        buffer_bytes=int(ends[-1]) if count else 0, launches=tuple(launches),
    )  # fmt: skip


def _launch(kernel: str, items: NDArray[np.uint64], per_block: int, *, level: int | None = None) -> list[Launch]:
    """The launch over all pieces that have items; none where nobody has."""
    listed = np.flatnonzero(items).astype(np.uint32)
    if not listed.size:
        return []
    sums = np.zeros(listed.size + 1, dtype=np.uint32)
    np.cumsum(items[listed], out=sums[1:])
    grid = -(-int(sums[-1]) // per_block)
    return [Launch(kernel=kernel, listed=listed, sums=sums, grid=grid, level=level)]
