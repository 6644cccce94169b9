"""Gets payloads and catalogue bodies held here: takes what arrives, fetches what is missing, verifies all of it once.

What passes is stored durably and reported; only then may the engine vote for it (design D3, D4).
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import trio

from consensus.errors import LocalError, MalformedMessage, PeerError, RequestError
from consensus.types import Digest
from ledger.catalogue import CatalogueHeader, check_catalogue, parse_manifest
from ledger.genesis import Genesis
from ledger.payload import Payload, parse_payload
from ledger.statement import Statement
from node.store.chain import ChainStore
from node.validation import (
    BadPayload,
    HeldPayload,
    author_of,
    catalogues,
    check_author,
    check_statements,
)
from node.wire import FETCH_DIGESTS_MAX, Fetch, decode_contents, encode_fetch

log = logging.getLogger(__name__)

FETCH_TIMEOUT_S = 5.0
FETCH_ROUNDS_MAX = 8
"""Rounds over all connected peers before a fetch gives up; the engine asks again while it still needs the payload."""
FETCHES_MAX = 512
"""Payloads fetched at once: two blocks full. The engine asks again for what is dropped here."""
FETCH_PAUSE_S = 0.25
BLOB_BATCH = 16
"""Chunks asked for at once: 1 MiB of answer."""
IN_PROGRESS_PER_AUTHOR_MAX = 32
"""Payloads of one member being verified or fetched at once; more are dropped and fetched later if they are proposed."""
UNORDERED_PER_AUTHOR_MAX = 64
"""Payloads of one member stored here and not ordered yet. A correct author has 8 on their way (node/mempool.py): who
pushes more fills disks. What is dropped here is fetched if a leader proposes it all the same."""
INLINE_STATEMENTS_MAX = 4
"""Up to this many signatures are checked on the loop's thread: handing them to another costs more than checking."""
THROTTLE_S = 10.0
"""How long a member's pushed payloads are ignored after a bad one."""

assert BLOB_BATCH <= FETCH_DIGESTS_MAX, "a batch fits one fetch"


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


class Acquirer:
    """Invariants: (1) a payload is worked on once at a time; (2) what is reported held is valid and on disk."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        store: ChainStore,
        network: Requester,
        nursery: trio.Nursery,
        held: Callable[[HeldPayload], None],
        reject: Callable[[str, PeerError], None],
    ) -> None:
        """held: told of every payload acquired. reject: told who sent what no correct peer sends."""
        self._genesis = genesis
        self._store = store
        self._network = network
        self._nursery = nursery
        self._held = held
        self._reject = reject
        self._in_progress: dict[Digest, str] = {}
        self._throttled_until: dict[str, float] = {}
        self._unordered: dict[Digest, str] = {}
        """Pushed payloads by author; those that were ordered meanwhile leave when their author is at the limit."""
        self._bodies: dict[str, trio.Lock] = {}
        """By author: bodies of one payload at a time, so that no author can make this node hold many in memory."""
        self._failures: Counter[str] = Counter()
        """Requests a peer left unanswered since its last answer: it is asked after the others."""

    def pushed(self, frame: bytes, sender: str) -> None:
        """A payload arrived unasked. Bounded per author; only what an author signed is held against that author.

        Raises: PeerError, where it is the sender's fault.
        """
        payload = parse_payload(frame)
        author = author_of(payload, self._genesis)
        if payload.digest in self._in_progress or self._store.has_payload(payload.digest):
            return
        if trio.current_time() < self._throttled_until.get(author, 0.0):
            return
        if sum(a == author for a in self._in_progress.values()) >= IN_PROGRESS_PER_AUTHOR_MAX:
            return
        if self._has_too_many(author):
            return
        check_author(payload, self._genesis)
        self._in_progress[payload.digest] = author
        self._nursery.start_soon(self._work, payload.digest, (sender, author), payload)

    def _has_too_many(self, author: str) -> bool:
        """Whether so many payloads of `author` wait to be ordered that no correct author would cut another."""

        def count() -> int:
            return sum(a == author for a in self._unordered.values())

        if count() >= UNORDERED_PER_AUTHOR_MAX:
            waiting = set(self._store.pending_payloads())
            self._unordered = {digest: a for digest, a in self._unordered.items() if digest in waiting}
        return count() >= UNORDERED_PER_AUTHOR_MAX

    def fetch(self, digests: Iterable[Digest], holders: Sequence[str]) -> None:
        """Starts getting payloads the engine needs, from `holders` first; already running ones go on."""
        for digest in digests:
            fetching = sum(author == "" for author in self._in_progress.values())
            if digest not in self._in_progress and fetching < FETCHES_MAX:
                self._in_progress[digest] = ""
                self._nursery.start_soon(self._work, digest, tuple(holders), None)

    async def _work(self, digest: Digest, holders: tuple[str, ...], payload: Payload | None) -> None:
        try:
            if payload is None:
                (content,) = await self._contents([digest], holders, payloads=True)
                payload = parse_payload(content)
                holders = (*holders, author_of(payload, self._genesis))
            held = await self._verify(payload, holders)
            self._store.put_payloads([payload])
        except BadPayload as error:
            self._throttled_until[error.author] = trio.current_time() + THROTTLE_S
            self._reject(error.author, error)
        except (PeerError, RequestError) as error:
            log.debug("payload %s not acquired: %s", digest.hex()[:16], error)
        else:
            if self._in_progress[digest]:
                self._unordered[digest] = self._in_progress[digest]
            self._held(held)
        finally:
            del self._in_progress[digest]

    async def _verify(self, payload: Payload, holders: Sequence[str]) -> HeldPayload:
        """payload: signed by its author. Raises: BadPayload, Missing."""
        if len(payload.statements) <= INLINE_STATEMENTS_MAX:
            statements = check_statements(payload, self._genesis)
        else:
            statements = await trio.to_thread.run_sync(check_statements, payload, self._genesis)
        if not catalogues(statements):
            return HeldPayload(payload=payload, statements=statements)
        async with self._bodies.setdefault(author_of(payload, self._genesis), trio.Lock()):
            return await self.complete(payload, statements, holders)

    async def complete(
        self, payload: Payload, statements: tuple[Statement, ...], holders: Sequence[str]
    ) -> HeldPayload:
        """Adds the bodies of the catalogues in a payload, fetching what is not here. Raises: BadPayload, Missing."""
        bodies = {}
        for statement, header in catalogues(statements):
            try:
                bodies[statement.digest] = await self.body(header, holders)
            except RequestError as error:
                author = author_of(payload, self._genesis)
                raise BadPayload(author, payload.digest, f"catalogue body: {error}") from error
        return HeldPayload(payload=payload, statements=statements, bodies=bodies)

    async def body(self, header: CatalogueHeader, holders: Sequence[str]) -> tuple[bytes, ...]:
        """All claims of a catalogue, stored and checked. Raises: MalformedCatalogue, Missing."""
        manifest = (await self._blobs((header.manifest,), holders))[0]
        chunks = await self._blobs(parse_manifest(header, manifest), holders)
        return await trio.to_thread.run_sync(check_catalogue, header, manifest, chunks)

    async def _blobs(self, digests: Sequence[Digest], holders: Sequence[str]) -> tuple[bytes, ...]:
        found: dict[Digest, bytes] = {d: b for d in digests if (b := self._store.blob(d)) is not None}
        # Each once: equal chunks have one digest, and a body may be made of nothing else.
        missing = [d for d in dict.fromkeys(digests) if d not in found]
        for start in range(0, len(missing), BLOB_BATCH):
            batch = missing[start : start + BLOB_BATCH]
            contents = await self._contents(batch, holders, payloads=False)
            found.update(zip(batch, contents, strict=True))
            self._store.put_blobs([found[d] for d in batch])
        return tuple(found[d] for d in digests)

    async def _contents(self, digests: Sequence[Digest], holders: Sequence[str], *, payloads: bool) -> list[bytes]:
        """All of `digests`, each found right, asking one peer after another. Raises: Missing."""
        found: dict[Digest, bytes] = {}
        for _ in range(FETCH_ROUNDS_MAX):
            for member in self._order(holders):
                wanted = [d for d in digests if d not in found]
                found.update(await self._ask(member, wanted, payloads=payloads))
                if len(found) == len(digests):
                    return [found[d] for d in digests]
            await trio.sleep(FETCH_PAUSE_S)
        raise Missing(next(d for d in digests if d not in found))

    def _order(self, holders: Sequence[str]) -> list[str]:
        """Whom to ask: those that answer, of them the likely holders first; then anybody.

        At least one honest signer of the certificate has what is sought (research/consensus.md section 2).
        """
        connected = self._network.connected()
        order = dict.fromkeys(m for m in (*holders, *sorted(connected)) if m in connected)
        return sorted(order, key=lambda member: self._failures[member])

    async def _ask(self, member: str, digests: list[Digest], *, payloads: bool) -> dict[Digest, bytes]:
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
        found: dict[Digest, bytes] = {}
        for digest, content in zip(digests, contents, strict=True):
            if content is None:
                continue
            if not (self._is_payload(digest, content) if payloads else hashlib.sha256(content).digest() == digest):
                self._failures[member] += 1
                self._reject(member, WrongContent(member, digest))
                return found
            found[digest] = content
        self._failures.pop(member, None)
        return found

    def _is_payload(self, digest: Digest, content: bytes) -> bool:
        """The digest is the header's: the author's signature, beside it, a lying peer could have exchanged."""
        try:
            payload = parse_payload(content)
            check_author(payload, self._genesis)
        except PeerError:
            return False
        return payload.digest == digest


def answer_fetch(store: ChainStore, fetch: Fetch, answer_bytes_max: int) -> tuple[bytes | None, ...]:
    """What this node holds of what a peer asks for; contents over the size limit count as not held this time."""
    contents: list[bytes | None] = []
    total = 0
    for digest in fetch.digests:
        content = store.payload(digest) if fetch.payloads else store.blob(digest)
        if content is not None and total + len(content) > answer_bytes_max:
            content = None
        total += len(content or b"")
        contents.append(content)
    return tuple(contents)
