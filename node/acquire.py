"""Gets payloads and catalogue bodies held here: takes what arrives, fetches what is missing, verifies all of it once.

What passes is stored durably and reported; only then may the engine vote for it (design D3, D4).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

import trio

from consensus.errors import PeerError, RequestError
from consensus.types import Digest
from ledger.catalogue import CatalogueHeader, parse_manifest
from ledger.payload import Payload, parse_payload
from ledger.roster import Roster
from ledger.statement import Statement
from node.bodies import check_body
from node.fetching import FETCH_PAUSE_S, FETCH_ROUNDS_MAX, Fetcher, Requester
from node.rosters import Rosters
from node.store.chain import ChainStore
from node.sync_chain import answer_chains
from node.validation import (
    BadPayload,
    HeldPayload,
    author_of,
    catalogues,
    check_author,
    check_statements,
)
from node.wire import FETCH_DIGESTS_MAX, ChainFetch, Fetch

log = logging.getLogger(__name__)

FETCHES_MAX = 512
"""Payloads fetched at once: two blocks full. The engine asks again for what is dropped here."""
BODIES_AT_ONCE_MAX = 2
"""Payloads of one author whose catalogues' bodies are gathered at once: one is fetched while the other is checked."""
IN_PROGRESS_PER_AUTHOR_MAX = 32
"""Payloads of one member being verified or fetched at once; more are dropped and fetched later if they are proposed."""
UNORDERED_PER_AUTHOR_MAX = 64
"""Payloads of one member stored here and not ordered yet. A correct author has 8 on their way (node/mempool.py): who
pushes more fills disks. What is dropped here is fetched if a leader proposes it all the same."""
INLINE_STATEMENTS_MAX = 24
"""Up to this many statements are checked on the loop's thread, 2 ms at most: handing them to another costs 0.3 ms more,
and a commit takes as long."""
THROTTLE_S = 10.0
"""How long a member's pushed payloads are ignored after a bad one."""


class Acquirer:
    """Invariants: (1) a payload is worked on once at a time; (2) what is reported held is valid and on disk."""

    def __init__(
        self,
        *,
        rosters: Rosters,
        store: ChainStore,
        network: Requester,
        nursery: trio.Nursery,
        held: Callable[[HeldPayload], None],
        reject: Callable[[str, PeerError], None],
    ) -> None:
        """held: told of every payload acquired. reject: told who sent what no correct peer sends."""
        self._rosters = rosters
        self._store = store
        self._nursery = nursery
        self._held = held
        self._reject = reject
        self._in_progress: dict[Digest, str] = {}
        self._throttled_until: dict[str, float] = {}
        self._unordered: dict[Digest, str] = {}
        """Pushed payloads by author; those that were ordered meanwhile leave when their author is at the limit."""
        self._bodies: dict[str, trio.Semaphore] = {}
        """By author: bodies of few payloads at a time, so that no author can make this node hold many in memory."""
        self._fetcher = Fetcher(network, reject)
        self._wanted: dict[Digest, tuple[str, ...]] = {}
        """Asked for since the last request was made, with their likely holders."""

    def pushed(self, frame: bytes, sender: str) -> None:
        """A payload arrived unasked. Bounded per author; only what an author signed is held against that author.

        Raises: PeerError, where it is the sender's fault.
        """
        payload = parse_payload(frame)
        if payload.header.epoch != self._rosters.epoch:
            return  # sent just before or after an epoch ended: nobody's fault
        author = author_of(payload, self._rosters.current)
        if payload.digest in self._in_progress or self._store.has_payload(payload.digest):
            return
        if trio.current_time() < self._throttled_until.get(author, 0.0):
            return
        if sum(a == author for a in self._in_progress.values()) >= IN_PROGRESS_PER_AUTHOR_MAX:
            return
        if self._has_too_many(author):
            return
        check_author(payload, self._roster_of(payload))
        self._in_progress[payload.digest] = author
        self._nursery.start_soon(self._work, payload.digest, (sender, author), payload, None)

    def _has_too_many(self, author: str) -> bool:
        """Whether so many payloads of `author` wait to be ordered that no correct author would cut another."""

        def count() -> int:
            return sum(a == author for a in self._unordered.values())

        if count() >= UNORDERED_PER_AUTHOR_MAX:
            waiting = set(self._store.pending_payloads())
            self._unordered = {digest: a for digest, a in self._unordered.items() if digest in waiting}
        return count() >= UNORDERED_PER_AUTHOR_MAX

    def _roster_of(self, payload: Payload) -> Roster:
        return self._rosters.of_payload(payload)

    def fetch(self, digests: Iterable[Digest], holders: Sequence[str]) -> None:
        """Starts getting payloads the engine needs, from `holders` first; already running ones go on.

        What one step of the engine wants, of however many blocks, goes into as few requests as hold it: a node that
        catches up would otherwise wait once, and write once, for every payload.
        """
        for digest in digests:
            fetching = sum(author == "" for author in self._in_progress.values())
            if digest not in self._in_progress and fetching < FETCHES_MAX:
                self._in_progress[digest] = ""
                if not self._wanted:
                    self._nursery.start_soon(self._fetch_wanted)
                self._wanted[digest] = tuple(holders)

    async def _fetch_wanted(self) -> None:
        await trio.lowlevel.checkpoint()
        wanted, self._wanted = self._wanted, {}
        digests = list(wanted)
        for start in range(0, len(digests), FETCH_DIGESTS_MAX):
            batch = digests[start : start + FETCH_DIGESTS_MAX]
            holders = tuple(dict.fromkeys(member for digest in batch for member in wanted[digest]))
            self._nursery.start_soon(self._fetch_batch, batch, holders)

    async def _fetch_batch(self, digests: list[Digest], holders: tuple[str, ...]) -> None:
        lacking = dict.fromkeys(digests)
        try:
            for _ in range(FETCH_ROUNDS_MAX):
                while lacking:
                    found = await self._fetcher.some(tuple(lacking), holders, self._read_payload, payloads=True)
                    if not found:
                        break
                    for digest in found:
                        del lacking[digest]
                    await self._take(list(found.values()), holders)
                if not lacking:
                    return
                await trio.sleep(FETCH_PAUSE_S)
            log.debug("%d payloads not acquired: no connected peer has them", len(lacking))
        finally:
            for digest in lacking:
                del self._in_progress[digest]

    def _read_payload(self, digest: Digest, content: bytes) -> Payload | None:
        """The digest is the header's: the author's signature, beside it, a lying peer could have exchanged."""
        try:
            payload = parse_payload(content)
            check_author(payload, self._roster_of(payload))
        except PeerError:
            return None
        return payload if payload.digest == digest else None

    async def _take(self, payloads: list[Payload], holders: tuple[str, ...]) -> None:
        """Fetched payloads, signed by their authors: verified together, and what needs no body stored in one go."""
        if sum(len(payload.statements) for payload in payloads) <= INLINE_STATEMENTS_MAX:
            checked = check_each(payloads, self._rosters)
        else:
            checked = await trio.to_thread.run_sync(check_each, payloads, self._rosters)
        whole: list[HeldPayload] = []
        for payload, result in zip(payloads, checked, strict=True):
            if isinstance(result, BadPayload):
                self._refuse(result)
                del self._in_progress[payload.digest]
            elif catalogues(result):
                asked = (*holders, author_of(payload, self._roster_of(payload)))
                self._nursery.start_soon(self._work, payload.digest, asked, payload, result)
            else:
                whole.append(HeldPayload(payload=payload, statements=result))
        if whole:
            self._store.put_payloads([held.payload for held in whole])
        for held in whole:
            del self._in_progress[held.payload.digest]
            self._held(held)

    def _refuse(self, error: BadPayload) -> None:
        self._throttled_until[error.author] = trio.current_time() + THROTTLE_S
        self._reject(error.author, error)

    async def _work(
        self, digest: Digest, holders: tuple[str, ...], payload: Payload, statements: tuple[Statement, ...] | None
    ) -> None:
        """statements: the payload's, where they are checked already."""
        try:
            held = await self._verify(payload, statements, holders)
            self._store.put_payloads([payload])
        except BadPayload as error:
            self._refuse(error)
        except (PeerError, RequestError) as error:
            log.debug("payload %s not acquired: %s", digest.hex()[:16], error)
        else:
            if self._in_progress[digest]:
                self._unordered[digest] = self._in_progress[digest]
            self._held(held)
        finally:
            del self._in_progress[digest]

    async def _verify(
        self, payload: Payload, statements: tuple[Statement, ...] | None, holders: Sequence[str]
    ) -> HeldPayload:
        """payload: signed by its author. Raises: BadPayload, Missing."""
        if statements is None and len(payload.statements) <= INLINE_STATEMENTS_MAX:
            statements = check_statements(payload, self._roster_of(payload))
        elif statements is None:
            statements = await trio.to_thread.run_sync(check_statements, payload, self._roster_of(payload))
        if not catalogues(statements):
            return HeldPayload(payload=payload, statements=statements)
        author = author_of(payload, self._roster_of(payload))
        async with self._bodies.setdefault(author, trio.Semaphore(BODIES_AT_ONCE_MAX)):
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
                author = author_of(payload, self._roster_of(payload))
                raise BadPayload(author, payload.digest, f"catalogue body: {error}") from error
        return HeldPayload(payload=payload, statements=statements, bodies=bodies)

    async def body(self, header: CatalogueHeader, holders: Sequence[str]) -> tuple[bytes, ...]:
        """All claims of a catalogue, stored and checked. Raises: MalformedCatalogue, Missing."""
        manifest = (await self._blobs((header.manifest,), holders))[0]
        chunks = await self._blobs(parse_manifest(header, manifest), holders)
        return await check_body(header, manifest, chunks)

    async def _blobs(self, digests: Sequence[Digest], holders: Sequence[str]) -> tuple[bytes, ...]:
        found: dict[Digest, bytes] = {d: b for d in digests if (b := self._store.blob(d)) is not None}
        # Each once: equal chunks have one digest, and a body may be made of nothing else.
        missing = [d for d in dict.fromkeys(digests) if d not in found]
        if missing:
            found |= await self._fetcher.blobs(missing, holders, self._store.put_blobs)
        return tuple(found[d] for d in digests)


def check_each(payloads: Sequence[Payload], rosters: Rosters) -> list[tuple[Statement, ...] | BadPayload]:
    """The statements of each, checked, or what is wrong with it."""
    checked: list[tuple[Statement, ...] | BadPayload] = []
    for payload in payloads:
        try:
            checked.append(check_statements(payload, rosters.of_payload(payload)))
        except BadPayload as error:
            checked.append(error)
    return checked


def answer_fetch(store: ChainStore, fetch: Fetch | ChainFetch, answer_bytes_max: int) -> tuple[bytes | None, ...]:
    """What this node holds of what a peer asks for; contents over the size limit count as not held this time."""
    if isinstance(fetch, ChainFetch):
        return answer_chains(store, fetch)
    contents: list[bytes | None] = []
    total = 0
    for digest in fetch.digests:
        content = store.payload(digest) if fetch.payloads else store.blob(digest)
        if content is not None and total + len(content) > answer_bytes_max:
            content = None
        total += len(content or b"")
        contents.append(content)
    return tuple(contents)
