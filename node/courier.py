"""What passes between this node and those that are not in its epoch's engine: observers, and peers an epoch apart.

All of it is answered from the store and rationed, whoever asks: neither a peer that lags for ever nor an observer that
asks for everything at once costs the validators' time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from consensus.chain import CHAIN_BLOCKS_MAX
from consensus.events import Commit
from consensus.messages import BLOCKS_MAX, Chain, ChainRequest
from consensus.types import Epoch, Height
from node.network.values import FRAME_BYTES_MAX, StreamClass
from node.store.chain import ChainStore
from node.wire import encode, encode_within

CONSENSUS_BYTES_MAX = FRAME_BYTES_MAX[StreamClass.CONSENSUS]
CHAIN_BYTES_MAX = 192 * 1024
"""A Chain answer fits one consensus frame with room to spare."""
CHAINS_PER_PERIOD_MAX = 16
"""Chain answers to one member in PERIOD_MS: 10,240 blocks a second."""
PERIOD_MS = 100
TELL_MS = 200
"""How often a peer in an earlier epoch is told that it is."""
ASK_MS = 100
"""How often a peer in a later epoch is asked for the way there."""


class Rations:
    """So many turns for each member in so many milliseconds; turns not taken are not saved up."""

    def __init__(self, turns: int, period_ms: int) -> None:
        self._turns = turns
        self._period_ms = period_ms
        self._taken: dict[str, tuple[int, int]] = {}
        """By member: when its period began, and turns taken since. As many as there are members."""

    def take(self, member: str, now_ms: int) -> bool:
        since, taken = self._taken.get(member, (now_ms, 0))
        if now_ms - since >= self._period_ms:
            since, taken = now_ms, 0
        if taken >= self._turns:
            return False
        self._taken[member] = (since, taken + 1)
        return True


class Courier:
    """Chains from the store, and who is in which epoch."""

    def __init__(self, store: ChainStore, send: Callable[[str, bytes], None], now_ms: Callable[[], int]) -> None:
        """send: puts a consensus frame on its way to a member; it never blocks and may drop."""
        self._store = store
        self._send = send
        self._now_ms = now_ms
        self._chains = Rations(CHAINS_PER_PERIOD_MAX, PERIOD_MS)
        self._told = Rations(1, TELL_MS)
        self._asked = Rations(1, ASK_MS)
        self._ahead: dict[str, Epoch] = {}
        """Newest epoch heard from each member."""

    def send_chain(self, member: str, from_height: Height) -> None:
        """Final blocks from `from_height` up, as many as fit, if the store has any; of one epoch."""
        # More than BLOCKS_MAX only where so many in a row became final by one descendant's finalization.
        for limit in (BLOCKS_MAX, CHAIN_BLOCKS_MAX, *(BLOCKS_MAX >> n for n in range(1, BLOCKS_MAX.bit_length()))):
            chain = self._store.blocks_from(from_height, limit)
            if chain is None:
                continue
            frame = encode_chain(chain)
            if len(frame) <= CHAIN_BYTES_MAX:
                self._send(member, frame)
                return

    def answer(self, member: str, request: ChainRequest) -> None:
        """As `send_chain`, where the member has a turn left."""
        if self._chains.take(member, self._now_ms()):
            self.send_chain(member, request.from_height)

    def may_tell(self, member: str) -> bool:
        """Whether it is time to tell a member in an earlier epoch that a later one has begun."""
        return self._told.take(member, self._now_ms())

    def heard(self, member: str, epoch: Epoch) -> None:
        """The member is in that epoch."""
        self._ahead[member] = epoch

    def ask(self, member: str, own: Epoch) -> None:
        """Asks a member in a later epoch than `own` for the blocks that lead there."""
        if self._ahead.get(member, own) > own and self._asked.take(member, self._now_ms()):
            height = Height(self._store.head().block.height + 1)
            for frame in encode_within(ChainRequest(from_height=height), CONSENSUS_BYTES_MAX, own):
                self._send(member, frame)

    def push(self, commit: Commit, observers: Iterable[str]) -> None:
        """Tells observers what has become final, so that they need not ask. Who gets it not, or too late, asks."""
        told = tuple(observers)
        if not told:
            return
        frame = encode_chain(Chain(blocks=(*commit.blocks, *commit.proof), finalization=commit.finalization))
        if len(frame) <= CHAIN_BYTES_MAX and len(commit.blocks) + len(commit.proof) <= CHAIN_BLOCKS_MAX:
            for member in told:
                self._send(member, frame)


def encode_chain(chain: Chain) -> bytes:
    """The frame of a chain, whose envelope names its blocks' epoch."""
    return encode(chain, chain.blocks[0].epoch)
