"""A node that syncs, and peers that serve a long chain, lie, withhold or stall as the test says; no network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from consensus.errors import PeerError
from ledger.checkpoint import Checkpoint, checkpoint_note
from ledger.genesis import Genesis
from node.acquire import answer_fetch
from node.network.values import NotConnected, RequestTimedOut
from node.store.chain import ChainStore
from node.sync import Syncer
from node.sync_pieces import HELD_BYTES_MAX
from node.sync_pin import Pin, Pinning, read_pin
from node.wire import ChainFetch, Fetch, decode_fetch, encode_contents
from tests.node.store.chains import GENESIS, ChainMaker, cosigned, statement

ANSWER_BYTES = 2**20
MEMBERS = ("label", "court", "society")
"""The peers of the node that syncs, which is the platform's."""

Answer = Callable[[Fetch | ChainFetch, bytes], Awaitable[bytes] | bytes]
"""(what is asked, the honest answer) -> what is answered."""


def make_chain(path: Path, *, blocks: int = 40, catalogues: int = 2) -> ChainStore:
    """A store with a long chain: two statements a block, and some catalogues of 300 claims among them."""
    store = ChainStore.open(path, GENESIS)
    maker = ChainMaker(store)
    for number in range(blocks):
        raws = [statement(2 * number), statement(2 * number + 1)]
        if catalogues and number % max(2, blocks // catalogues) == 1:
            raws.append(maker.catalogue(1_000 + 300 * number, 300))
        maker.commit([raws])
    return store


@dataclass
class Peers:
    """Implements node.fetching.Requester."""

    store: ChainStore
    answers: dict[str, Answer] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    asked: list[tuple[str, Fetch | ChainFetch]] = field(default_factory=list)
    hop_s: float = 0.01

    def connected(self) -> frozenset[str]:
        return frozenset(MEMBERS) - self.gone

    async def request(self, member_id: str, frame: bytes, timeout_s: float) -> bytes:
        fetch = decode_fetch(frame)
        self.asked.append((member_id, fetch))
        await trio.sleep(self.hop_s)
        if member_id in self.gone:
            raise NotConnected(member_id)
        honest = encode_contents(answer_fetch(self.store, fetch, ANSWER_BYTES))
        if member_id not in self.answers:
            return honest
        with trio.move_on_after(timeout_s):
            answer = self.answers[member_id](fetch, honest)
            return answer if isinstance(answer, bytes) else await answer
        raise RequestTimedOut(member_id, timeout_s)


async def never(_fetch: Fetch | ChainFetch, _honest: bytes) -> bytes:
    await trio.sleep_forever()
    raise AssertionError("it sleeps for ever")


@dataclass
class Joining:
    """The node that syncs."""

    store: ChainStore
    peers: Peers
    syncer: Syncer
    pinning: Pinning
    rejected: list[tuple[str, PeerError]]


@asynccontextmanager
async def joining(
    folder: Path,
    source: ChainStore,
    *,
    pin: Pin | None = None,
    held_bytes_max: int = HELD_BYTES_MAX,
    genesis: Genesis = GENESIS,
) -> AsyncIterator[Joining]:
    """Opens the node's store; peers have greeted, and `syncer.run()` is the test's to call."""
    with ChainStore.open(folder, genesis) as store:
        peers = Peers(source)
        rejected: list[tuple[str, PeerError]] = []
        pinning = Pinning(folder, store, pin)
        syncer = Syncer(
            store=store, network=peers, pinning=pinning, held_bytes_max=held_bytes_max,
            reject=lambda member, error: rejected.append((member, error)),
        )  # fmt: skip
        for member in MEMBERS:
            syncer.greeted(member, source.head().block.height)
        yield Joining(store, peers, syncer, pinning, rejected)


def same_log(one: ChainStore, other: ChainStore) -> bool:
    return (one.head().block, one.frontier()) == (other.head().block, other.frontier())


def make_pin(
    path: Path, store: ChainStore, *, root: bytes | None = None, signers: int = 3, forged: bool = False
) -> Pin:
    """The checkpoint of the store as it stands, cosigned, in a file. forged: what was signed is another."""
    frontier = store.frontier()
    checkpoint = Checkpoint(origin=GENESIS.origin, size=frontier.size, root=frontier.root() if root is None else root)
    other = Checkpoint(origin=GENESIS.origin, size=frontier.size, root=bytes(32))
    signed = [
        cosigned(other if forged else checkpoint, member)
        for member in ("label", "court", "society", "platform")[:signers]
    ]
    path.write_bytes(checkpoint_note(checkpoint, [log for log, _ in signed], [each for _, each in signed]).encode())
    return read_pin(path, GENESIS.origin)
