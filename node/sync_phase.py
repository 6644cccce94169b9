"""When this node syncs: at its start if others are far ahead or a pinned checkpoint is not proven, and if it fell back.

Meanwhile consensus stands still here; it takes up again, in whatever epoch that is, where the sync stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from consensus.errors import PeerError
from node.fetching import Requester
from node.store.chain import ChainStore
from node.sync import Syncer, SyncProgress
from node.sync_pin import Pinning

log = logging.getLogger(__name__)

START_BLOCKS_MIN = 16
"""Blocks that others must be ahead for a node to sync at its start; fewer are caught up within consensus."""
RUNNING_BLOCKS_MIN = 512
"""The same once it was up to date: a node that was cut off or stopped for long, when peers greet it again."""


class SyncPhase:
    """Invariant: consensus stands still while a sync writes the store."""

    def __init__(
        self,
        *,
        store: ChainStore,
        network: Requester,
        pinning: Pinning,
        reject: Callable[[str, PeerError], None],
        pause: Callable[[], None],
        resume: Callable[[], None],
    ) -> None:
        """pause, resume: of consensus, or of following it."""
        self._store = store
        self._network = network
        self._pinning = pinning
        self._reject = reject
        self._pause = pause
        self._resume = resume
        self._settled = False
        """Whether this node was up to date once since its start: what it lacks since then it may catch up with."""
        self._heights: dict[str, int] = {}
        self._wanted = trio.Event()
        self._syncer: Syncer | None = None
        self.proven = trio.Event()
        """Nothing taken on trust is left to be proven: the node may serve and vote."""
        self.syncs_done = 0
        if pinning.is_open:
            self._begin()
        else:
            self.proven.set()

    def greeted(self, member: str, height: int) -> None:
        """A validator says up to where it has the chain."""
        self._heights[member] = height
        roster = self._store.rosters.current
        if self._syncer is not None:
            self._syncer.greeted(member, height)
        elif not self._wanted.is_set():
            if self.blocks_behind() >= (RUNNING_BLOCKS_MIN if self._settled else START_BLOCKS_MIN):
                self._begin()
            elif self._heard() >= min(roster.quorum, len(roster.validator_members()) - 1):
                self._settled = True

    def blocks_behind(self) -> int:
        """How many blocks this node lacks at least: more than f validators say so, one of whom is honest."""
        roster = self._store.rosters.current
        claims = sorted((h for m, h in self._heights.items() if roster.validator_index(m) is not None), reverse=True)
        faults_max = roster.committee().faults_max
        return claims[faults_max] - self._store.head().block.height if len(claims) > faults_max else 0

    def _heard(self) -> int:
        """How many validators have said where they are."""
        roster = self._store.rosters.current
        return sum(roster.validator_index(member) is not None for member in self._heights)

    def _begin(self) -> None:
        self._pause()
        self._wanted.set()

    async def run(self) -> None:
        """Syncs whenever that is wanted, for ever. Raises: LocalError, where this node cannot go on."""
        while True:
            await self._wanted.wait()
            self._syncer = Syncer(store=self._store, network=self._network, pinning=self._pinning, reject=self._reject)
            for member, height in self._heights.items():
                self._syncer.greeted(member, height)
            await self._syncer.run()
            self._heights.clear()
            self._syncer = None
            self.syncs_done += 1
            self._settled = True
            self._wanted = trio.Event()
            self.proven.set()
            self._resume()

    @property
    def has_joined(self) -> bool:
        """Whether it is known that nothing is left to sync: more than f validators said where they are."""
        return (
            (self.syncs_done > 0 or self._heard() > self._store.rosters.current.committee().faults_max)
            and not self._wanted.is_set()
            and self.proven.is_set()
        )

    @property
    def size(self) -> int:
        """Leaves in the store."""
        return self._store.size

    def progress(self) -> SyncProgress | None:
        """None while no sync is under way."""
        return None if self._syncer is None else self._syncer.progress()

    def line(self) -> str:
        """For the status; empty while no sync is under way."""
        progress = self.progress()
        return "" if progress is None else f"it syncs: {progress.line()}"

    def counters(self) -> dict[str, int]:
        """For the metrics."""
        progress = self.progress()
        if progress is None:
            return {"syncs_done": self.syncs_done}
        return {
            "syncs_done": self.syncs_done,
            "sync_height": progress.height,
            "sync_target": progress.target,
            "sync_bytes_in": progress.bytes_in,
            "sync_dropped": len(progress.dropped),
        }
