"""Gossip that loses a third of what it carries, to a node that gets payloads by it alone: pull by hash brings the rest.

Real networks over loopback, real stores, the acquirer of a node; only the loss is made, where gossip hands over.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from consensus.errors import PeerError
from consensus.types import Digest
from ledger.payload import Payload
from node.acquire import Acquirer, answer_fetch
from node.network import Network, StreamClass
from node.store.chain import ChainStore
from node.validation import HeldPayload
from node.wire import Fetch, decode_fetch, encode_contents
from tests.node.desk import a_payload
from tests.node.network.test_gossip import TOPIC, meshed
from tests.node.network.town import found, until
from tests.node.nodes import GENESIS

PAYLOADS = 60
LOST = 0.3


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[ChainStore, ChainStore]]:
    """Of the node that publishes, and of the one that listens."""
    with ExitStack() as stack:
        yield tuple(stack.enter_context(ChainStore.open(tmp_path / name, GENESIS)) for name in ("full", "listening"))  # type: ignore[misc]


def lossy(network: Network, seed: int) -> list[bool]:
    """Has the network lose gossip from now on; the list says of each message whether it was lost."""
    chance, fates, take = random.Random(seed), list[bool](), network._take_gossip

    def drop_some(member_id: str, frame: bytes) -> None:
        fates.append(chance.random() < LOST)
        if not fates[-1]:
            take(member_id, frame)

    gossip = network._gossip
    assert gossip is not None
    assert gossip._pubsub is not None
    gossip._pubsub._deliver = drop_some
    return fates


async def test_listener_ends_with_every_payload_that_was_ordered(stores: tuple[ChainStore, ChainStore]) -> None:
    full, listening = stores
    payloads: list[Payload] = [a_payload(n, sequence=n) for n in range(1, PAYLOADS + 1)]
    full.put_payloads(payloads)
    held: list[Digest] = []

    async def answer(_member: str, frame: bytes) -> bytes:
        asked = decode_fetch(frame)
        assert isinstance(asked, Fetch)
        pulled.extend(asked.digests)
        return encode_contents(answer_fetch(full, asked, 2**20))

    def keep(payload: HeldPayload) -> None:
        held.append(payload.payload.digest)

    def reject(member: str, error: PeerError) -> None:
        raise AssertionError(f"{member}: {error}")

    pulled: list[Digest] = []
    async with found(2, gossip_topic=TOPIC) as town, trio.open_nursery() as nursery:
        await meshed(town, "m0", "m1")
        publisher, listener = town["m0"], town["m1"]
        publisher.set_responder(answer)
        acquirer = Acquirer(
            rosters=listening.rosters, store=listening, network=listener, nursery=nursery, held=keep, reject=reject
        )
        fates = lossy(listener, seed=5)

        async def listen() -> None:
            async for inbound in listener.inbound:
                assert inbound.cls is StreamClass.GOSSIP
                acquirer.pushed(inbound.frame, inbound.member_id)

        nursery.start_soon(listen)
        for payload in payloads:
            await publisher.publish(payload.encode())
        await until(lambda: len(fates) == PAYLOADS)
        await until(lambda: len(held) >= fates.count(False) // 2)  # what one author may have in progress is bounded
        # What the chain names, and this node follows: each payload by its digest.
        acquirer.fetch([payload.digest for payload in payloads if not listening.has_payload(payload.digest)], ["m0"])
        await until(lambda: all(listening.has_payload(payload.digest) for payload in payloads))
        await until(lambda: set(held) == {payload.digest for payload in payloads})
        nursery.cancel_scope.cancel()
    assert PAYLOADS // 6 < fates.count(True) < PAYLOADS // 2, "a good part was lost"
    assert len(set(pulled)) >= fates.count(True), "and pulled, each by its hash"
    assert [listening.payload(p.digest) for p in payloads] == [p.encode() for p in payloads]
