"""A log to prove things of: entries and their tree, with the proofs of ledger/merkle.py."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ledger.merkle import Frontier, consistency_proof, inclusion_proof, root_at


def numbered(count: int, label: str = "entry") -> list[bytes]:
    """So many entries, each other bytes."""
    return [hashlib.sha256(f"{label} {i}".encode()).digest() for i in range(count)]


class Log:
    def __init__(self, entries: Iterable[bytes] = ()) -> None:
        self.entries: list[bytes] = []
        self._frontier = Frontier()
        self._nodes: dict[tuple[int, int], bytes] = {}
        self.extend(entries)

    def extend(self, entries: Iterable[bytes]) -> int:
        """Index of the first one."""
        first, added = self.size, list(entries)
        self._frontier, full = self._frontier.extend(added)
        self._nodes.update({(node.level, node.index): node.hash for node in full})
        self.entries += added
        return first

    @property
    def size(self) -> int:
        return self._frontier.size

    def _read(self, level: int, index: int) -> bytes:
        return self._nodes[level, index]

    def root(self, size: int | None = None) -> bytes:
        return root_at(self.size if size is None else size, self._read)

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        return list(inclusion_proof(index, self.size if size is None else size, self._read))

    def consistency(self, size1: int, size2: int | None = None) -> list[bytes]:
        return list(consistency_proof(size1, self.size if size2 is None else size2, self._read))
