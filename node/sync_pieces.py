"""One piece of the chain on its way into the store: its payloads fetched, checked, completed with their bodies.

Everything that takes time runs on threads; what waits for its turn is counted in bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from consensus.errors import LocalError, PeerError, RequestError
from consensus.events import Commit
from consensus.types import Digest
from ledger.catalogue import CatalogueHeader, check_catalogue, parse_manifest
from ledger.payload import PAYLOAD_BYTES_MAX, Payload, parse_payload
from ledger.roster import Roster
from ledger.statement import Statement
from node.fetching import BLOB_BATCH, WrongContent
from node.store.chain import ChainStore
from node.sync_providers import Providers, Withheld
from node.validation import BadPayload, HeldPayload, catalogues, check_author, check_statements, parse_statements
from node.wire import FETCH_DIGESTS_MAX, Fetch, decode_contents, encode_fetch

HELD_BYTES_MAX = 96 * 2**20
"""Payloads and bodies of pieces between network and store. One piece alone may be larger, and then goes alone."""
BLOBS_BATCH = 2 * BLOB_BATCH
"""Chunks asked for at once: 2 MiB of answer."""

T = TypeVar("T")


class ChainInvalid(LocalError):
    """A quorum made final what no correct validator votes for: this program differs from theirs, or they conspire."""

    def __init__(self, height: int, reason: str) -> None:
        super().__init__(
            f"a block up to height {height} is final, and holds what is not valid here ({reason}): this node has "
            "stopped; compare its version with the other members'"
        )
        self.height = height


class Budget:
    """Bytes held at once. Who is next in line gets what it asks for, or a large piece would wait for ever."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.used = 0
        self.peak = 0
        self._changed = trio.Event()

    async def take(self, size: int, is_next: Callable[[], bool]) -> None:
        while self.used + size > self._bytes_max and not is_next():
            await self._changed.wait()
        self.used += size
        self.peak = max(self.peak, self.used)

    def give(self, size: int) -> None:
        self.used -= size
        self.wake()

    def wake(self) -> None:
        """Somebody else is next in line."""
        self._changed.set()
        self._changed = trio.Event()


@dataclass(slots=True)
class Piece:
    """Blocks that are committed together."""

    number: int
    commit: Commit
    roster: Roster
    """Of the epoch of its blocks."""
    leaves_max: int = 0
    """Of the log up to and with this piece, with what may follow later from statements in it."""
    counted: trio.Event = field(default_factory=trio.Event)
    ready: trio.Event = field(default_factory=trio.Event)
    held: dict[Digest, HeldPayload] = field(default_factory=dict)
    held_bytes: int = 0

    @property
    def height(self) -> int:
        """Of its last block."""
        return self.commit.blocks[-1].height

    @property
    def digests(self) -> tuple[Digest, ...]:
        return tuple(digest for block in self.commit.blocks for digest in block.payloads)


class Gatherer:
    """Gets what a piece needs. Invariant: what is stored on the way was found right by its hash."""

    def __init__(self, store: ChainStore, providers: Providers, budget: Budget) -> None:
        self._store = store
        self._providers = providers
        self._budget = budget

    async def payloads(self, piece: Piece, is_next: Callable[[], bool]) -> list[Payload]:
        """All payloads of a piece, in order, each signed by its author."""
        digests = piece.digests
        estimate = len(digests) * PAYLOAD_BYTES_MAX
        await self._budget.take(estimate, is_next)
        found = await trio.to_thread.run_sync(self._stored_payloads, digests)
        missing = [d for d in digests if d not in found]

        async def fetch(batch: Sequence[Digest]) -> None:
            def read(digest: Digest, content: bytes) -> Payload | None:
                return _read_payload(digest, content, piece.roster)

            found.update(await self._fetch(batch, read, piece.height, payloads=True))

        async with trio.open_nursery() as nursery:
            for batch in _batches(missing, FETCH_DIGESTS_MAX):
                nursery.start_soon(fetch, batch)
        payloads = [found[d] for d in digests]
        piece.held_bytes = sum(p.header.body_bytes for p in payloads)
        self._budget.give(estimate - piece.held_bytes)
        return payloads

    def _stored_payloads(self, digests: Sequence[Digest]) -> dict[Digest, Payload]:
        found = {digest: self._store.payload(digest) for digest in digests}
        return {digest: parse_payload(data) for digest, data in found.items() if data is not None}

    async def statements(self, piece: Piece, payloads: list[Payload]) -> list[tuple[Statement, ...]]:
        """The statements of each payload, by their form alone. Raises: ChainInvalid."""
        try:
            return await trio.to_thread.run_sync(lambda: [parse_statements(payload) for payload in payloads])
        except RequestError as error:
            raise ChainInvalid(piece.height, str(error)) from error

    async def hold(
        self,
        piece: Piece,
        payloads: list[Payload],
        read: list[tuple[Statement, ...]],
        is_next: Callable[[], bool],
        *,
        checked: bool,
    ) -> None:
        """Fills `piece.held`. checked: whether signatures are; else they are the pinned checkpoint's matter.

        read: the statements of each payload. Raises: ChainInvalid.
        """
        try:
            if checked:
                await trio.to_thread.run_sync(_check_all, payloads, read, piece.roster)
            bodies_bytes = sum(header.body_bytes for statements in read for _, header in catalogues(statements))
            if bodies_bytes:
                await self._budget.take(bodies_bytes, is_next)
                piece.held_bytes += bodies_bytes
            for payload, statements in zip(payloads, read, strict=True):
                bodies = {}
                for statement, header in catalogues(statements):
                    bodies[statement.digest] = await self._body(header, piece.height)
                piece.held[payload.digest] = HeldPayload(payload=payload, statements=statements, bodies=bodies)
        except (BadPayload, RequestError) as error:
            raise ChainInvalid(piece.height, str(error)) from error

    async def _body(self, header: CatalogueHeader, height: int) -> tuple[bytes, ...]:
        (manifest,) = await self._blobs((header.manifest,), height)
        chunks = await self._blobs(parse_manifest(header, manifest), height)
        # With a pin too: checking a catalogue's claims by what they have in common gives their keys as well, for less
        # than reading these one by one.
        return await trio.to_thread.run_sync(check_catalogue, header, manifest, chunks)

    async def _blobs(self, digests: Sequence[Digest], height: int) -> tuple[bytes, ...]:
        found = await trio.to_thread.run_sync(self._stored_blobs, digests)
        missing = [d for d in dict.fromkeys(digests) if d not in found]

        async def fetch(batch: Sequence[Digest]) -> None:
            got = await self._fetch(batch, _read_blob, height, payloads=False)
            await trio.to_thread.run_sync(self._store.put_blobs, tuple(got.values()))
            found.update(got)

        async with trio.open_nursery() as nursery:
            for batch in _batches(missing, BLOBS_BATCH):
                nursery.start_soon(fetch, batch)
        return tuple(found[d] for d in digests)

    def _stored_blobs(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        return {d: blob for d in dict.fromkeys(digests) if (blob := self._store.blob(d)) is not None}

    async def _fetch(
        self, digests: Sequence[Digest], read: Callable[[Digest, bytes], T | None], height: int, *, payloads: bool
    ) -> dict[Digest, T]:
        """All of `digests`; an answer that is full before it is complete is asked for the rest."""
        found: dict[Digest, T] = {}
        while lacking := [d for d in digests if d not in found]:
            request = encode_fetch(Fetch(payloads=payloads, digests=tuple(lacking)))

            def values(answer: bytes, lacking: Sequence[Digest] = lacking) -> dict[Digest, T]:
                got: dict[Digest, T] = {}
                for digest, content in zip(lacking, decode_contents(answer, len(lacking)), strict=True):
                    if content is None:
                        continue
                    value = read(digest, content)
                    if value is None:
                        raise WrongContent("a provider", digest)
                    got[digest] = value
                if not got:
                    raise Withheld(f"{'payload' if payloads else 'blob'} {lacking[0].hex()[:16]}")
                return got

            found |= await self._providers.ask(request, values, height=height)
        return found


def _batches(digests: Sequence[Digest], size: int) -> list[Sequence[Digest]]:
    return [digests[start : start + size] for start in range(0, len(digests), size)]


def _read_payload(digest: Digest, content: bytes, roster: Roster) -> Payload | None:
    """The digest is the header's: the author's signature, beside it, a lying peer could have exchanged."""
    try:
        payload = parse_payload(content)
        check_author(payload, roster)
    except PeerError:
        return None
    return payload if payload.digest == digest else None


def _read_blob(digest: Digest, content: bytes) -> bytes | None:
    return content if hashlib.sha256(content).digest() == digest else None


def _check_all(payloads: Sequence[Payload], read: Sequence[tuple[Statement, ...]], roster: Roster) -> None:
    """Raises: BadPayload."""
    for payload, statements in zip(payloads, read, strict=True):
        check_statements(payload, roster, statements)
