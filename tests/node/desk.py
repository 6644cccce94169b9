"""One node's acquirer at its desk, and peers that hold, lie or stay silent as the test says."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

import trio

from consensus.errors import PeerError
from consensus.types import Digest, Signature
from ledger.catalogue import Catalogue
from ledger.payload import Payload
from node.acquire import (
    Acquirer,
)
from node.network.values import NotConnected
from node.rosters import Rosters
from node.store.chain import ChainStore
from node.validation import HeldPayload
from node.wire import Fetch, decode_fetch, encode_contents
from tests.ledger.builders import make_claim
from tests.node.nodes import CONSORTIUM, GENESIS, MEMBERS

LABEL, COURT, SOCIETY, PLATFORM = MEMBERS


def sign(number: int) -> bytes:
    return CONSORTIUM.sign(make_claim(number), ref=f"r{number}")


def a_payload(*numbers: int, author: str = LABEL, sequence: int = 1) -> Payload:
    return CONSORTIUM.payload([sign(n) for n in numbers or (1,)], author=MEMBERS.index(author), sequence=sequence)


def catalogue_payload(*built: Catalogue, author: str = LABEL) -> Payload:
    statements = [CONSORTIUM.sign(each.header, ref=f"c{i}") for i, each in enumerate(built)]
    return CONSORTIUM.payload(statements, author=MEMBERS.index(author))


def forged(payload: Payload) -> Payload:
    """The same header and body; the digest does not tell that the signature is not the author's."""
    return replace(payload, signature=Signature(bytes(64)))


def sha256(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).digest())


Answer = Callable[[Fetch], Awaitable[bytes] | bytes]


class Peers:
    """What each other member holds, or how else it answers."""

    def __init__(self) -> None:
        self.contents: dict[str, dict[Digest, bytes]] = {member: {} for member in MEMBERS if member != COURT}
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, Fetch]] = []
        self.gone: set[str] = set()

    def give(self, member: str, payload: Payload) -> None:
        self.contents[member][payload.digest] = payload.encode()

    def give_body(self, member: str, built: Catalogue) -> None:
        self.contents[member].update({sha256(blob): blob for blob in (built.manifest, *built.chunks)})

    def connected(self) -> frozenset[str]:
        return frozenset(self.contents) - self.gone

    async def request(self, member_id: str, frame: bytes, timeout_s: float) -> bytes:  # noqa: ARG002
        fetch = decode_fetch(frame)
        self.asked.append((member_id, fetch))
        await trio.sleep(0.001)
        if member_id in self.gone:
            raise NotConnected(member_id)
        if member_id in self.answers:
            answer = self.answers[member_id](fetch)
            return answer if isinstance(answer, bytes) else await answer
        return encode_contents(tuple(self.contents[member_id].get(d) for d in fetch.digests))

    def who_was_asked(self) -> list[str]:
        return [member for member, _ in self.asked]


class Desk:
    """The court's acquirer with its peers."""

    def __init__(self, store: ChainStore, nursery: trio.Nursery) -> None:
        self.store = store
        self.peers = Peers()
        self.held: list[HeldPayload] = []
        self.rejected: Counter[str] = Counter()
        self.errors: list[PeerError] = []
        self.acquirer = Acquirer(
            rosters=Rosters(GENESIS),
            store=store,
            network=self.peers,
            nursery=nursery,
            held=self._held,
            reject=self._reject,
        )

    def _held(self, held: HeldPayload) -> None:
        assert self.store.has_payload(held.payload.digest), "what is reported held is on disk"
        self.held.append(held)

    def _reject(self, member: str, error: PeerError) -> None:
        self.rejected[member] += 1
        self.errors.append(error)

    @property
    def digests(self) -> list[Digest]:
        return [held.payload.digest for held in self.held]

    async def quiet(self) -> None:
        """Until no work is in progress; the clock is virtual."""
        with trio.fail_after(10_000):
            while self.acquirer._in_progress:
                await trio.sleep(0.05)
