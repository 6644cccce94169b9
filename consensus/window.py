"""The final blocks a follower holds above what it has committed, each proven final before it comes in here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from consensus.chain import check_link
from consensus.errors import ConflictingCertificates, InvalidBlock
from consensus.messages import Chain
from consensus.types import Block, Certificate, Height

WINDOW_BLOCKS_MAX = 1024
"""How far above the committed head blocks are kept, beside those of one Chain that reaches further: 20 MB at worst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """What can be committed next. proof: headers after a boundary block, up to the one the finalization names."""

    blocks: tuple[Block, ...]
    proof: tuple[Block, ...]
    finalization: Certificate


class Window:
    """Blocks by height. They need not join: ranges are fetched side by side, and each proves itself.

    joined: up to here every block is held, and links to `head`.
    """

    def __init__(self, head: Block) -> None:
        self.head = head
        self.joined = head.height
        self._blocks: dict[Height, Block] = {head.height: head}
        self._finalizations: dict[Height, Certificate] = {}
        self._boundary: Height | None = None

    @property
    def limit(self) -> Height:
        """No block is asked for above."""
        return Height(self.head.height + WINDOW_BLOCKS_MAX)

    @property
    def is_complete(self) -> bool:
        """Whether all that this epoch ever commits is held."""
        at = self._boundary
        return at is not None and any(at <= height <= self.joined for height in self._finalizations)

    def holds(self, height: Height) -> bool:
        return height in self._blocks

    def has_news(self, chain: Chain) -> bool:
        """Whether it brings a block, or a place to commit at, that lacks and lies in the window."""
        last = chain.blocks[-1].height
        if last <= self.head.height or chain.blocks[0].height > self.limit:
            return False
        is_new = any(b.height > self.head.height and b.height not in self._blocks for b in chain.blocks)
        return is_new or last not in self._finalizations

    def add(self, chain: Chain) -> None:
        """Take up a checked Chain. Raises: ConflictingCertificates if it contradicts what is held as final."""
        fresh = [block for block in chain.blocks if block.height > self.head.height]
        for block in fresh:
            held = self._blocks.get(block.height)
            if held is not None and held.digest != block.digest:
                raise ConflictingCertificates(block.view, held.digest.hex(), block.digest.hex())
        for block in fresh:
            self._blocks[block.height] = block
            if block.is_boundary:
                self._boundary = block.height if self._boundary is None else min(self._boundary, block.height)
        self._finalizations[fresh[-1].height] = chain.finalization
        self._join()

    def _join(self) -> None:
        while (block := self._blocks.get(Height(self.joined + 1))) is not None:
            below = self._blocks[self.joined]
            try:
                check_link(below, block)
            except InvalidBlock as error:
                # Both are final: two chains, each with a quorum.
                raise ConflictingCertificates(block.view, below.digest.hex(), block.parent.hex()) from error
            self.joined = block.height

    def gaps(self, height_max: Height) -> Iterator[tuple[Height, Height]]:
        """(first, last) of every run of heights that lack, up to `height_max` and the window's limit, ascending."""
        first: int | None = None
        top = min(height_max, self.limit)
        for height in range(self.joined + 1, top + 2):
            lacks = height <= top and Height(height) not in self._blocks
            if lacks and first is None:
                first = height
            elif not lacks and first is not None:
                yield Height(first), Height(height - 1)
                first = None

    def above(self, height: Height) -> Iterator[Block]:
        """Joined blocks above `height` that enter the ledger, ascending."""
        for at in range(height + 1, self.ledger_height(self.joined) + 1):
            yield self._blocks[Height(at)]

    def next_final_height(self) -> Height | None:
        """Of the lowest joined block with a finalization of its own: up to there can be committed at once."""
        return min((height for height in self._finalizations if height <= self.joined), default=None)

    def ledger_height(self, height: Height) -> Height:
        """The last height up to `height` that enters the ledger."""
        return height if self._boundary is None else min(height, self._boundary)

    def final(self, height: Height) -> Final:
        """The run of blocks up to `height`, which has a finalization; it ends at a boundary, if there is one in it."""
        run = tuple(self._blocks[Height(at)] for at in range(self.head.height + 1, height + 1))
        count = self.ledger_height(height) - self.head.height
        return Final(blocks=run[:count], proof=run[count:], finalization=self._finalizations[height])

    def advance(self, head: Block) -> None:
        """`head` is committed."""
        for height in range(self.head.height, head.height):
            del self._blocks[Height(height)]
        self._finalizations = {h: c for h, c in self._finalizations.items() if h > head.height}
        self.head = head
