"""Gets contents by hash from connected peers: asks one after another, takes what is right, remembers who fails."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import trio

from consensus.errors import LocalError, MalformedMessage, PeerError
from consensus.types import Digest
from node.wire import FETCH_DIGESTS_MAX, Fetch, decode_contents, encode_fetch

log = logging.getLogger(__name__)

FETCH_TIMEOUT_S = 5.0
FETCH_ROUNDS_MAX = 8
"""Rounds over all connected peers that find nothing before a fetch gives up; whoever needs it asks again."""
FETCH_PAUSE_S = 0.25
BLOB_BATCH = 16
"""Chunks asked for at once: 1 MiB of answer."""
BLOB_BATCHES_MAX = 4
"""Such requests under way for one body: while one is on the wire, another is being written."""

assert BLOB_BATCH <= FETCH_DIGESTS_MAX, "a batch fits one fetch"

T = TypeVar("T")


class Requester(Protocol):
    """What this module needs of the network."""

    async def request(self, member_id: str, frame: bytes, timeout_s: float) -> bytes: ...
    def connected(self) -> frozenset[str]: ...


class Missing(PeerError):
    """Nobody connected has a content that was asked for by hash."""

    def __init__(self, digest: bytes) -> None:
        super().__init__(f"content {digest.hex()[:16]} is held by no connected peer")
        self.digest = digest


class WrongContent(PeerError):
    """A peer answered a fetch by hash with something else."""

    def __init__(self, member: str, digest: bytes) -> None:
        super().__init__(f"{member} answered a fetch of {digest.hex()[:16]} with other content")
        self.member = member
        self.digest = digest


class Fetcher:
    """Asks peers. Invariant: what it returns is what was asked for."""

    def __init__(self, network: Requester, reject: Callable[[str, PeerError], None]) -> None:
        """reject: told who sent what no correct peer sends."""
        self._network = network
        self._reject = reject
        self._failures: Counter[str] = Counter()
        """Requests a peer left unanswered since its last answer: it is asked after the others."""

    async def some(
        self,
        digests: Sequence[Digest],
        holders: Sequence[str],
        read: Callable[[Digest, bytes], T | None],
        *,
        payloads: bool,
    ) -> dict[Digest, T]:
        """What the first peer has that has any of it; empty where nobody has.

        digests: at most FETCH_DIGESTS_MAX. read: gives the content's value, None where it is not what was asked for.
        """
        for member in self._order(holders):
            if found := await self._ask(member, digests, read, payloads=payloads):
                return found
        return {}

    async def blobs(
        self, digests: Sequence[Digest], holders: Sequence[str], arrived: Callable[[Sequence[bytes]], object]
    ) -> dict[Digest, bytes]:
        """All of these blobs. arrived: stores a few of them at a time, on a thread. Raises: Missing, what it raises."""
        found: dict[Digest, bytes] = {}
        missing: list[Missing] = []
        slots = trio.Semaphore(BLOB_BATCHES_MAX)

        async def fetch(batch: Sequence[Digest]) -> None:
            async with slots:
                if missing:
                    return
                try:
                    got = await self._all(batch, holders)
                except Missing as error:
                    missing.append(error)
                    return
                await trio.to_thread.run_sync(arrived, tuple(got.values()))
                found.update(got)

        batches = [digests[start : start + BLOB_BATCH] for start in range(0, len(digests), BLOB_BATCH)]
        if len(batches) == 1:
            await fetch(batches[0])
        else:
            async with trio.open_nursery() as nursery:
                for batch in batches:
                    nursery.start_soon(fetch, batch)
        if missing:
            raise missing[0]
        return found

    async def _all(self, digests: Sequence[Digest], holders: Sequence[str]) -> dict[Digest, bytes]:
        found: dict[Digest, bytes] = {}
        for _ in range(FETCH_ROUNDS_MAX):
            while lacking := [d for d in digests if d not in found]:
                got = await self.some(lacking, holders, _blob, payloads=False)
                if not got:
                    break
                found |= got
            if not lacking:
                return found
            await trio.sleep(FETCH_PAUSE_S)
        raise Missing(lacking[0])

    def _order(self, holders: Sequence[str]) -> list[str]:
        """Whom to ask: those that answer, of them the likely holders first; then anybody.

        At least one honest signer of the certificate has what is sought (research/consensus.md section 2).
        """
        connected = self._network.connected()
        order = dict.fromkeys(m for m in (*holders, *sorted(connected)) if m in connected)
        return sorted(order, key=lambda member: self._failures[member])

    async def _ask(
        self, member: str, digests: Sequence[Digest], read: Callable[[Digest, bytes], T | None], *, payloads: bool
    ) -> dict[Digest, T]:
        frame = encode_fetch(Fetch(payloads=payloads, digests=tuple(digests)))
        try:
            answer = await self._network.request(member, frame, FETCH_TIMEOUT_S)
            contents = decode_contents(answer, len(digests))
        except MalformedMessage as error:
            self._failures[member] += 1
            self._reject(member, error)
            return {}
        except (PeerError, LocalError) as error:
            self._failures[member] += 1
            log.debug("fetch from %s failed: %s", member, error)
            return {}
        found: dict[Digest, T] = {}
        for digest, content in zip(digests, contents, strict=True):
            if content is None:
                continue
            value = read(digest, content)
            if value is None:
                self._failures[member] += 1
                self._reject(member, WrongContent(member, digest))
                return found
            found[digest] = value
        self._failures.pop(member, None)
        return found


def _blob(digest: Digest, content: bytes) -> bytes | None:
    return content if hashlib.sha256(content).digest() == digest else None
