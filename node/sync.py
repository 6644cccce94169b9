"""State sync: a node that is far behind fetches the finalized chain in bulk, before it takes part in consensus.

Every piece of the chain proves itself: it links to what is here, and a quorum of its epoch's validators, known from the
genesis on, made its last block final. What its blocks order is fetched by hash from several peers at once, checked on
threads, and written some blocks to a transaction by the same execution that consensus uses: so the indexes, the tree
and every later epoch's roster come out of it, and nothing needs to be believed. What is written stays, so that an
interrupted sync goes on where it was. See docs/sync.md.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from consensus.errors import PeerError
from consensus.events import Commit
from consensus.types import Block, Digest, Height
from ledger.derive import leaves_max as leaves_max_of
from ledger.rights import MINTS_MAX
from node.execution import execute
from node.fetching import Requester
from node.store.chain import ChainStore
from node.sync_chain import PIECE_PAYLOADS_MAX, check_pieces, next_height, read_chains
from node.sync_pieces import HELD_BYTES_MAX, Budget, Gatherer, Piece
from node.sync_pin import Pinning
from node.sync_providers import Providers, Unclaimed, Withheld
from node.validation import HeldPayload
from node.wire import ChainFetch, encode_fetch

log = logging.getLogger(__name__)

SYNC_BLOCKS_MIN = 16
"""Blocks that others are ahead before a node syncs instead of catching up within consensus."""
NEAR_BLOCKS = 4
"""A sync ends where an answer brings no more than so many: consensus fetches the rest, and what comes meanwhile."""
PIECES_MAX = 64
"""Pieces between network and store."""
CRUMBS_BLOCKS = 8
"""An answer of fewer blocks, from a peer that has more, is a trickle."""
COMMIT_BYTES = 8 * 2**20
"""Pieces that are ready are committed together up to so many bytes of payloads and bodies."""
PIN_WAIT_S = 1.0
GATHER_S = 10.0
"""How long a sync waits for the first greeting, which a start with an open pin comes before."""
REPORT_S = 5.0
RATE_S = 20.0
"""Rates are of the last so many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncProgress:
    """How far a sync has come. height, target: blocks. seconds_left: None where that cannot be said yet."""

    height: int
    target: int
    size: int
    claims: int
    blocks_per_s: float
    claims_per_s: float
    seconds_left: float | None
    bytes_in: int
    providers: tuple[str, ...]
    dropped: tuple[tuple[str, str], ...]
    """(member id, why)."""
    pinned_size: int
    """Leaves of the checkpoint that is still to be proven; 0 where none is."""

    def line(self) -> str:
        left = "" if self.seconds_left is None else f", about {self.seconds_left:.0f} s left"
        return (
            f"height {self.height} of {self.target}, {self.claims} claims, {self.blocks_per_s:.0f} blocks/s, "
            f"{self.claims_per_s:.0f} claims/s, {self.bytes_in / 1e6:.0f} MB from {len(self.providers)} peers{left}"
        )


class Syncer:
    """One sync. Everything but `greeted` and `progress` happens within `run`."""

    def __init__(
        self,
        *,
        store: ChainStore,
        network: Requester,
        pinning: Pinning,
        reject: Callable[[str, PeerError], None],
        held_bytes_max: int = HELD_BYTES_MAX,
    ) -> None:
        self._store = store
        self._pinning = pinning
        self.providers = Providers(network, reject)
        self.budget = Budget(held_bytes_max)
        self._gatherer = Gatherer(store, self.providers, self.budget)
        self._pieces: deque[Piece] = deque()
        self._made = 0
        self._head: Block = store.head().block
        """Last block that is known to be final; what is stored may end below it."""
        self._chain_ended = False
        self._stored = trio.Event()
        self._added = trio.Event()
        self._totals: tuple[int, int, int] = (self._head.height, *store.totals_after(self._head.height))
        self._history: deque[tuple[float, int, int]] = deque()
        """(time, height, claims) after commits, for the rates."""

    def greeted(self, member: str, height: int) -> None:
        """A peer says up to where it has the chain."""
        self.providers.greeted(member, height)

    @property
    def target(self) -> int:
        """Height that the best of the peers claim to have; a liar's claim until it is found out."""
        return max([self._head.height, *self.providers.heights().values()])

    async def run(self) -> None:
        """Until the chain of the peers is here but for a few blocks, and every pin proven.

        Raises: PinMismatch, PinUnusable; ChainInvalid, BoundaryDiffers; StoreFull: nothing can go on.
        """
        await self.providers.wait_for_anybody(GATHER_S)
        log.info("sync: starting at height %d, peers claim %d", self._head.height, self.target)
        self._history.append((trio.current_time(), self._totals[0], self._totals[2]))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._report)
            async with trio.open_nursery() as work:
                work.start_soon(self._follow, work)
                work.start_soon(self._write)
            nursery.cancel_scope.cancel()
        log.info("sync: done: %s", self.progress().line())

    # ---- the chain ---------------------------------------------------------------------------------------------------

    async def _follow(self, nursery: trio.Nursery) -> None:
        """Gets the chain, piece by piece, as far ahead as there is room, and has each piece gathered."""
        while True:
            await self._wait_for_room()
            commits = await self._next_commits()
            for commit in commits:
                self._add(nursery, commit)
            if commits and commits[-1].ends_epoch:
                # The next epoch's committee comes out of executing this one's last blocks.
                while self._pieces:
                    await self._stored.wait()
            blocks = sum(len(commit.blocks) for commit in commits)
            if blocks > NEAR_BLOCKS or self.target > self._head.height:
                continue
            while self._pieces:
                await self._stored.wait()
            if not self._pinning.is_open:
                break
            # The pin is beyond what anybody has; somebody may have more any moment.
            log.warning("sync: at %d leaves, the pinned checkpoint of %d is not reached", *self._pinned())
            await trio.sleep(PIN_WAIT_S)
        self._chain_ended = True
        self._wake_writer()

    def _pinned(self) -> tuple[int, int]:
        return self._totals[1], self._pinning.size

    async def _wait_for_room(self) -> None:
        while len(self._pieces) >= PIECES_MAX:
            await self._stored.wait()

    async def _next_commits(self) -> list[Commit]:
        """What comes after the last known block; empty where nobody has more."""
        head, roster = self._head, self._store.rosters.current
        request = encode_fetch(ChainFetch(from_height=Height(head.height + 1)))
        claimed = self.target
        payloads_max = PIECE_PAYLOADS_MAX << min(4 * self.providers.rounds, 16)

        def read(answer: bytes) -> list[Commit]:
            commits = check_pieces(head, roster.committee(), read_chains(answer), payloads_max=payloads_max)
            blocks = sum(len(commit.blocks) for commit in commits)
            top = next_height(commits, head) - 1
            if not commits or (blocks < CRUMBS_BLOCKS and not _is_enough(commits, top, claimed)):
                raise Withheld(f"the chain from height {top + 1}")
            return commits

        def read_more(answer: bytes) -> list[Commit]:
            return check_pieces(head, roster.committee(), read_chains(answer), payloads_max=payloads_max)

        try:
            return await self.providers.ask(request, read, height=head.height + 1, strict=True)
        except Unclaimed:
            # Nobody said that there is more, but a greeting is as old as its connection.
            return await self.providers.ask(request, read_more, height=head.height + 1)

    def _add(self, nursery: trio.Nursery, commit: Commit) -> None:
        piece = Piece(number=self._made, commit=commit, roster=self._store.rosters.current)
        before = self._pieces[-1] if self._pieces else None
        self._made += 1
        self._pieces.append(piece)
        self._head = commit.blocks[-1]
        nursery.start_soon(self._gather, piece, before)

    async def _gather(self, piece: Piece, before: Piece | None) -> None:
        def is_next() -> bool:
            return self._pieces[0] is piece

        payloads = await self._gatherer.payloads(piece, is_next)
        read = await self._gatherer.statements(piece, payloads)
        if before is None:
            leaves_max = self._totals[1] + MINTS_MAX * self._store.open_stays()
        else:
            await before.counted.wait()
            leaves_max = before.leaves_max
        # Every statement may become a leaf, and have as many derived ones as its kind can have, whose indices at most
        # reach this: where that is below the pin, all are.
        piece.leaves_max = leaves_max + sum(leaves_max_of(each.content) for statements in read for each in statements)
        piece.counted.set()
        checked = piece.leaves_max > self._pinning.size
        if not checked:
            self._pinning.begin()
        await self._gatherer.hold(piece, payloads, read, is_next, checked=checked)
        piece.ready.set()
        self._wake_writer()

    # ---- the store ---------------------------------------------------------------------------------------------------

    def _wake_writer(self) -> None:
        self._added.set()
        self._added = trio.Event()

    async def _write(self) -> None:
        """Commits pieces in order as they get ready, several at a time."""
        while not (self._chain_ended and not self._pieces):
            batch = self._ready()
            if not batch:
                await self._added.wait()
                continue
            self._totals = await trio.to_thread.run_sync(self._commit, batch)
            for piece in batch:
                self._pieces.popleft()
                self.budget.give(piece.held_bytes)
            height = batch[-1].height
            self._history.append((trio.current_time(), height, self._totals[2]))
            self._stored.set()
            self._stored = trio.Event()

    def _ready(self) -> list[Piece]:
        batch: list[Piece] = []
        size = 0
        for piece in self._pieces:
            if not piece.ready.is_set() or (batch and size + piece.held_bytes > COMMIT_BYTES):
                break
            batch.append(piece)
            size += piece.held_bytes
            if piece.commit.ends_epoch:
                break
        return batch

    def _commit(self, batch: Sequence[Piece]) -> tuple[int, int, int]:
        """On a thread. Gives height, leaves and claims then."""
        held: dict[Digest, HeldPayload] = {digest: h for piece in batch for digest, h in piece.held.items()}
        self._store.put_payloads([h.payload for h in held.values()])
        last = batch[-1].commit
        merged = Commit(
            blocks=tuple(block for piece in batch for block in piece.commit.blocks),
            finalization=last.finalization,
            proof=last.proof,
        )
        execute(
            merged,
            self._store,
            lambda digests: [held[digest] for digest in digests],
            finalizations=[piece.commit.finalization for piece in batch[:-1]],
        )
        if self._pinning.is_open:
            self._pinning.prove()
        height = batch[-1].height
        return (height, *self._store.totals_after(height))

    # ---- progress ----------------------------------------------------------------------------------------------------

    def progress(self) -> SyncProgress:
        height, size, claims = self._totals
        now = trio.current_time()
        while len(self._history) > 2 and self._history[0][0] < now - RATE_S:
            self._history.popleft()
        since, first_height, first_claims = self._history[0] if self._history else (now, height, claims)
        seconds = max(now - since, 0.001)
        blocks_per_s = (height - first_height) / seconds
        left = self.target - height
        return SyncProgress(
            height=height, target=self.target, size=size, claims=claims, blocks_per_s=blocks_per_s,
            claims_per_s=(claims - first_claims) / seconds,
            seconds_left=left / blocks_per_s if blocks_per_s > 0 else None,
            bytes_in=self.providers.bytes_in(), providers=tuple(sorted(self.providers.heights())),
            dropped=tuple(sorted(self.providers.dropped().items())),
            pinned_size=self._pinning.size,
        )  # fmt: skip

    async def _report(self) -> None:
        while True:
            await trio.sleep(REPORT_S)
            log.info("sync: %s", self.progress().line())


def _is_enough(commits: Sequence[Commit], top: int, claimed: int) -> bool:
    """Whether an answer of few blocks is all there is, or large all the same, or ends with its epoch."""
    return top >= claimed or commits[-1].ends_epoch or sum(len(b.encode()) for c in commits for b in c.blocks) > 2**16
