"""Which payloads are held here, and which of them wait to be ordered."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from consensus.types import BLOCK_PAYLOADS_MAX, Block, Digest

SETTLED_MAX = 16_384
"""Digests of payloads lately made final, remembered so that a late report does not queue one again."""
HELD_SPARE_MAX = 8192
"""Held digests that neither wait nor stand in a pending block; beyond, they are forgotten (and asked for again)."""


class Payloads:
    """Digests only; the bytes are in the store. The queue is bounded by the mempool that feeds it."""

    def __init__(self) -> None:
        self._held: set[Digest] = set()
        self._ending: set[Digest] = set()
        """Of the held ones, those that may change the committee."""
        self._queue: dict[Digest, None] = {}
        self._settled: dict[Digest, None] = {}

    def hold(self, digests: Iterable[Digest], *, order: bool, ending: bool = False) -> None:
        for digest in digests:
            self._held.add(digest)
            if ending:
                self._ending.add(digest)
            if order and digest not in self._settled:
                self._queue.setdefault(digest)

    @property
    def pending(self) -> int:
        """How many wait to become final."""
        return len(self._queue)

    def missing(self, block: Block) -> tuple[Digest, ...]:
        return tuple(digest for digest in block.payloads if digest not in self._held)

    def may_end(self, block: Block) -> bool:
        """Whether executing `block` may end the epoch, as far as is known: of a payload that lacks nothing is."""
        return any(digest not in self._held or digest in self._ending for digest in block.payloads)

    def select(self, excluded: Collection[Digest]) -> tuple[Digest, ...]:
        """The next payloads to order, oldest first (pitfall 14: the proposer drains in order of arrival)."""
        chosen: list[Digest] = []
        for digest in self._queue:
            if digest not in excluded:
                chosen.append(digest)
                if len(chosen) == BLOCK_PAYLOADS_MAX:
                    break
        return tuple(chosen)

    def settle(self, block: Block) -> None:
        """`block` is final: what it orders waits no longer, whether held here or not."""
        for digest in block.payloads:
            self._queue.pop(digest, None)
            self._settled[digest] = None
        while len(self._settled) > SETTLED_MAX:
            del self._settled[next(iter(self._settled))]

    def release(self, committed: Iterable[Block], pending: Iterable[Block]) -> None:
        """Forget what is committed, and the spare ones once they are many."""
        for block in committed:
            self._held.difference_update(block.payloads)
            self._ending.difference_update(block.payloads)
        if len(self._held) > len(self._queue) + HELD_SPARE_MAX:
            needed = {digest for block in pending for digest in block.payloads}
            self._held &= needed | self._queue.keys()
            self._ending &= self._held
