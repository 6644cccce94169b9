"""What a simulated node's store holds of signing for public chains, and so what survives its crashes."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from consensus.events import Commit
from consensus.types import Epoch, Height
from ledger.apply import Applied
from ledger.chain_checkpoint import ChainCheckpoint
from ledger.genesis import Genesis
from ledger.merkle import Frontier
from ledger.roster import Roster
from node.rosters import EpochStart, Rosters


class Shelf:
    """What a node's store holds of all this."""

    def __init__(self, genesis: Genesis | None) -> None:
        self.genesis = genesis
        self.starts: list[EpochStart] = []
        self.roots: dict[int, bytes] = {}
        """Of every block that appended to the log, by size."""
        self.times_ms: dict[int, int] = {}
        self.signatures: dict[int, dict[str, bytes]] = {}
        self.complete: set[int] = set()
        self.ends: dict[Epoch, ChainCheckpoint] = {}
        self.watermark = 0

    def copy(self) -> Shelf:
        taken = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (list, dict, set)):
                setattr(taken, name, copy.copy(value))
        taken.signatures = {size: dict(held) for size, held in self.signatures.items()}
        return taken

    def rosters(self) -> Rosters:
        assert self.genesis is not None, "who signs for chains has a consortium"
        return Rosters(self.genesis, self.starts)

    def commit(
        self, commit: Commit, applied: Sequence[Applied], before: Frontier, following: Roster | None
    ) -> list[int]:
        """In the transaction of the blocks; the sizes they made. following: of the epoch that begins with them."""
        sizes = []
        for block, one in zip(commit.blocks, applied, strict=True):
            if one.leaf_count:
                before, _ = before.extend(leaf.digest for leaf in one.leaves())
                self.roots[before.size], self.times_ms[before.size] = before.root(), block.timestamp_ms
                sizes.append(before.size)
        if following is not None:
            height = Height(commit.blocks[-1].height)
            self.starts.append(EpochStart(roster=following, height=height, size=before.size))
        return sizes
