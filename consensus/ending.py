"""How an epoch ends: what may follow a block that may change the committee (design D4, membership).

A change passes when the block that carries its deciding vote is executed. That block is the last of its epoch that
orders anything: then comes the boundary, an empty block that names the next committee, and the epoch's ledger ends with
it. Whether a payload may change the committee is seen from the payload alone; whether it did, only execution tells. So
between the two nobody may vote for anything but empty blocks, which make the undecided one final (docs/consensus.md).
"""

from __future__ import annotations

from enum import Enum, auto

from consensus.payloads import Payloads
from consensus.tree import Tree
from consensus.types import ZERO_DIGEST, Block, Digest, Height


class Outlook(Enum):
    """What may follow a block, beside an empty one, which always may."""

    OPEN = auto()
    """Payloads: no change passed up to this block."""
    UNDECIDED = auto()
    """Nothing yet: up to this block a change may have passed, or a payload lacks that would tell."""
    DECIDED = auto()
    """The boundary: a change has passed."""
    OVER = auto()
    """Nothing: this is the boundary, or descends from it."""


class Ending:
    """next_committee: what a passed change made of the committee. ended: the boundary is final and committed."""

    def __init__(self, next_committee: Digest) -> None:
        self.next_committee = next_committee if next_committee != ZERO_DIGEST else None
        self.ended = False
        self.awaited: Height | None = None
        """Committed up to here, and not yet told what execution decided; None while nothing is awaited."""

    @property
    def is_pending(self) -> bool:
        """Whether the epoch's end is under way: then time matters, until the boundary is final."""
        return not self.ended and (self.awaited is not None or self.next_committee is not None)

    def commit(self, blocks: tuple[Block, ...], payloads: Payloads) -> bool:
        """These become committed. Returns whether their execution must be told of before anything more is ordered."""
        if blocks[-1].is_boundary:
            self.ended = True
            return False
        if not any(payloads.may_end(block) for block in blocks):
            return False
        # Before the loop has executed them, this very step may come to vote and to propose: so from now on.
        self.awaited = blocks[-1].height
        return True

    def executed(self, height: Height, next_committee: Digest | None) -> None:
        if self.awaited is not None and height >= self.awaited:
            self.awaited = None
        if next_committee is not None:
            assert self.next_committee in (None, next_committee), "an epoch has one successor"
            self.next_committee = next_committee

    def outlook(self, tree: Tree, payloads: Payloads, block: Block) -> Outlook:
        """What may follow `block`, by all that is known here of it and of its ancestors that are not committed."""
        path = tree.uncommitted(block)
        if any(above.is_boundary for above in path.blocks):
            return Outlook.OVER
        if path.missing is not None:
            return Outlook.UNDECIDED  # the boundary itself may be what lacks
        if self.next_committee is not None:
            return Outlook.DECIDED
        if self.awaited is not None or any(payloads.may_end(b) for b in path.blocks):
            return Outlook.UNDECIDED
        return Outlook.OPEN
