"""Whether two large collections of index rows are the same, without holding either: a keyed sum over each."""

from __future__ import annotations

import secrets
from typing import Final

import numpy as np

from node.store.records import Rows

_LANES: Final = 2


class RowKeys:
    """Random factors, drawn anew for every comparison, so that no rows can be chosen to cancel out."""

    def __init__(self) -> None:
        drawn = np.frombuffer(secrets.token_bytes(_LANES * 4 * 8), dtype=np.uint64).reshape(_LANES, 4)
        self.factors = drawn | np.uint64(1)


class RowTally:
    """A collection of rows; equal collections under one RowKeys have equal tallies, others do not but by a fluke."""

    def __init__(self, keys: RowKeys) -> None:
        self.keys = keys
        self._sums = [0] * _LANES
        self.count = 0

    def add(self, rows: Rows) -> None:
        words = np.ascontiguousarray(rows).view(">u8").reshape(-1, 3).astype(np.uint64)
        for lane, (one, two, three, last) in enumerate(self.keys.factors):
            mixed = words[:, 0] * one + words[:, 1] * two + words[:, 2] * three
            mixed ^= mixed >> np.uint64(32)
            mixed *= last
            mixed ^= mixed >> np.uint64(29)
            self._sums[lane] = (self._sums[lane] + int(np.add.reduce(mixed, dtype=np.uint64))) % 2**64
        self.count += len(rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowTally) and (self.count, self._sums) == (other.count, other._sums)

    __hash__ = None  # type: ignore[assignment]  # it changes
