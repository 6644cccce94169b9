"""Getting payloads and bodies here: verified once, asked of the next where one lies, held against the right one."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from consensus.errors import PeerError
from consensus.types import Digest, Signature
from ledger.catalogue import CHUNK_BYTES, Catalogue, build_catalogue
from ledger.payload import Payload
from node import acquire as module
from node.acquire import (
    FETCH_TIMEOUT_S,
    FETCHES_MAX,
    IN_PROGRESS_PER_AUTHOR_MAX,
    INLINE_STATEMENTS_MAX,
    THROTTLE_S,
    Acquirer,
    answer_fetch,
)
from node.network.values import NotConnected, RequestTimedOut
from node.store.chain import ChainStore
from node.store.errors import StoreFull
from node.validation import HeldPayload
from node.wire import Fetch, decode_fetch, encode_contents
from tests.ledger.builders import make_catalogue, make_claim
from tests.node.nodes import CONSORTIUM, GENESIS, MEMBERS, make_folder

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
            genesis=GENESIS,
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


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChainStore]:
    with ChainStore.open(make_folder(tmp_path / "court", "court").chain_path, GENESIS) as opened:
        yield opened


@pytest.fixture
def desk(store: ChainStore, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> Desk:
    async def inline(work: Callable[..., Any], *arguments: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return work(*arguments)

    # A virtual clock jumps while a thread works: here the work is done on the spot.
    monkeypatch.setattr(trio.to_thread, "run_sync", inline)
    return Desk(store, nursery)


# ---- pushed ----------------------------------------------------------------------------------------------------------


async def test_pushed_payload_is_verified_stored_and_reported_once(desk: Desk, autojump_clock: MockClock) -> None:
    payload = a_payload(1, 2)
    for _ in range(3):
        desk.acquirer.pushed(payload.encode(), LABEL)
    await desk.quiet()
    desk.acquirer.pushed(payload.encode(), SOCIETY)
    await desk.quiet()
    assert desk.digests == [payload.digest]
    assert [s.raw for s in desk.held[0].statements] == list(payload.statements)
    assert desk.store.payload(payload.digest) == payload.encode()
    assert not desk.peers.asked
    assert not desk.rejected


async def test_many_statements_are_checked_beside_the_loop(
    desk: Desk, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[object] = []
    inner = trio.to_thread.run_sync

    async def noted(work: Callable[..., Any], *arguments: Any) -> Any:
        threads.append(work)
        return await inner(work, *arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", noted)
    desk.acquirer.pushed(a_payload(*range(INLINE_STATEMENTS_MAX)).encode(), LABEL)
    await desk.quiet()
    assert threads == []
    desk.acquirer.pushed(a_payload(*range(INLINE_STATEMENTS_MAX + 1)).encode(), LABEL)
    await desk.quiet()
    assert threads == [module.check_statements]
    assert len(desk.held) == 2


@pytest.mark.parametrize("frame", [b"", b"noise" * 100, a_payload().encode()[:-1]])
async def test_pushed_noise_is_the_senders_fault(desk: Desk, autojump_clock: MockClock, frame: bytes) -> None:
    with pytest.raises(PeerError):
        desk.acquirer.pushed(frame, LABEL)
    assert not desk.acquirer._in_progress


async def test_pushed_forgery_is_the_senders_fault_and_does_not_silence_the_named_author(
    desk: Desk, autojump_clock: MockClock
) -> None:
    """Anybody can write another's number into a header: that must not make us deaf to the other."""
    with pytest.raises(PeerError, match="does not verify"):
        desk.acquirer.pushed(forged(a_payload(author=SOCIETY)).encode(), LABEL)
    await desk.quiet()
    good = a_payload(author=SOCIETY)
    desk.acquirer.pushed(good.encode(), SOCIETY)
    await desk.quiet()
    assert desk.digests == [good.digest]
    assert not desk.rejected


def with_bad_statement(author: str, sequence: int = 1) -> Payload:
    bad = sign(1)[:-1] + bytes([sign(1)[-1] ^ 1])
    return CONSORTIUM.payload([sign(2), bad], author=MEMBERS.index(author), sequence=sequence)


async def test_bad_statement_drops_the_payload_and_throttles_its_author(desk: Desk, autojump_clock: MockClock) -> None:
    bad = with_bad_statement(SOCIETY)
    desk.acquirer.pushed(bad.encode(), LABEL)
    await desk.quiet()
    assert desk.held == []
    assert not desk.store.has_payload(bad.digest)
    assert desk.rejected == {SOCIETY: 1}, "its author let it in; who passed it on could not know"
    good = a_payload(author=SOCIETY, sequence=2)
    desk.acquirer.pushed(good.encode(), SOCIETY)
    other = a_payload(author=LABEL)
    desk.acquirer.pushed(other.encode(), LABEL)
    await desk.quiet()
    assert desk.digests == [other.digest], "only the author is throttled"
    await trio.sleep(THROTTLE_S)
    desk.acquirer.pushed(good.encode(), SOCIETY)
    await desk.quiet()
    assert desk.digests == [other.digest, good.digest]


async def test_throttled_authors_payload_is_still_fetched_when_it_is_proposed(
    desk: Desk, autojump_clock: MockClock
) -> None:
    """Throttling saves work; it must not keep us from voting for what others found valid."""
    desk.acquirer.pushed(with_bad_statement(SOCIETY).encode(), SOCIETY)
    await desk.quiet()
    good = a_payload(author=SOCIETY, sequence=2)
    desk.peers.give(LABEL, good)
    desk.acquirer.fetch([good.digest], [LABEL])
    await desk.quiet()
    assert desk.digests == [good.digest]


async def test_payloads_of_one_author_in_progress_are_bounded(desk: Desk, autojump_clock: MockClock) -> None:
    blocked = [catalogue_payload(make_catalogue(1, first=n)) for n in range(IN_PROGRESS_PER_AUTHOR_MAX + 5)]
    for payload in blocked:
        desk.acquirer.pushed(payload.encode(), LABEL)
    assert len(desk.acquirer._in_progress) == IN_PROGRESS_PER_AUTHOR_MAX
    other = a_payload(author=SOCIETY)
    desk.acquirer.pushed(other.encode(), SOCIETY)
    await trio.sleep(0.01)
    assert desk.digests == [other.digest], "one author's burden is not another's"
    await desk.quiet()
    assert desk.digests == [other.digest], "nobody had the bodies: given up, not kept"


async def test_payload_naming_more_catalogues_than_memory_bears_is_refused(
    desk: Desk, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = [make_catalogue(2, first=10 * n) for n in range(3)]
    size = sum(each.header.body_bytes for each in built)
    for bound, expected in ((size, 0), (size - 1, 1)):
        monkeypatch.setattr("node.validation.PAYLOAD_BODIES_BYTES_MAX", bound)
        desk.rejected.clear()
        desk.acquirer.pushed(catalogue_payload(*built).encode(), LABEL)
        await desk.quiet()
        assert desk.rejected[LABEL] == expected
    assert "catalogues" in str(desk.errors[-1])


async def test_store_without_room_ends_the_node(
    desk: Desk, autojump_clock: MockClock, store: ChainStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An error of this machine is nobody else's fault: it goes up, through the nursery."""

    def full(_payloads: object) -> None:
        raise StoreFull(tmp_path, "the disk is full")

    monkeypatch.setattr(store, "put_payloads", full)
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            Desk(store, nursery).acquirer.pushed(a_payload().encode(), LABEL)
    assert caught.group_contains(StoreFull)


# ---- fetched ---------------------------------------------------------------------------------------------------------


async def test_payload_is_fetched_from_its_holders_first(desk: Desk, autojump_clock: MockClock) -> None:
    payload = a_payload()
    desk.peers.give(PLATFORM, payload)
    desk.peers.give(LABEL, payload)
    desk.acquirer.fetch([payload.digest], [PLATFORM])
    desk.acquirer.fetch([payload.digest], [LABEL])
    await desk.quiet()
    assert desk.digests == [payload.digest]
    assert desk.peers.who_was_asked() == [PLATFORM]


async def test_anybody_is_asked_where_the_holders_are_gone_or_lack_it(desk: Desk, autojump_clock: MockClock) -> None:
    payload = a_payload()
    desk.peers.give(SOCIETY, payload)
    desk.peers.gone = {PLATFORM}
    desk.acquirer.fetch([payload.digest], [PLATFORM, LABEL])
    await desk.quiet()
    assert desk.digests == [payload.digest]
    assert desk.peers.who_was_asked() == [LABEL, SOCIETY]


SOUGHT = a_payload(author=SOCIETY)
OTHER = a_payload(7)


def silence(_fetch: Fetch) -> bytes:
    raise RequestTimedOut(LABEL, FETCH_TIMEOUT_S)


@pytest.mark.parametrize(
    "lie",
    [
        lambda _: encode_contents((OTHER.encode(),)),
        lambda _: encode_contents((b"noise",)),
        lambda _: encode_contents((forged(SOUGHT).encode(),)),
        lambda _: encode_contents((SOUGHT.encode()[:-1] + b"x",)),
        lambda _: encode_contents((SOUGHT.encode(),) * 2),
        lambda _: b"\xff\xff",
        silence,
    ],
    ids=["other payload", "noise", "signature exchanged", "statement exchanged", "too many", "no answer", "silence"],
)
async def test_lying_peers_answer_is_discarded_and_the_next_is_asked(
    desk: Desk, autojump_clock: MockClock, lie: Answer
) -> None:
    desk.peers.answers[LABEL] = lie
    desk.peers.give(PLATFORM, SOUGHT)
    desk.acquirer.fetch([SOUGHT.digest], [LABEL, PLATFORM])
    await desk.quiet()
    assert desk.digests == [SOUGHT.digest]
    assert desk.peers.who_was_asked() == [LABEL, PLATFORM]
    assert set(desk.rejected) == (set() if lie is silence else {LABEL}), "the liar, and not the author"
    follow_up = a_payload(2, author=SOCIETY, sequence=2)
    desk.acquirer.pushed(follow_up.encode(), SOCIETY)
    await desk.quiet()
    assert desk.digests[-1] == follow_up.digest, "the author is not throttled for a liar"


async def test_peer_that_fails_is_asked_last_until_it_answers(desk: Desk, autojump_clock: MockClock) -> None:
    """A silent holder costs a whole time-out: 512 chunks must not each wait for it."""
    built = make_catalogue(3)
    desk.peers.give_body(SOCIETY, built)
    payload = catalogue_payload(built, author=SOCIETY)
    desk.peers.give(SOCIETY, payload)

    async def silent(_fetch: Fetch) -> bytes:
        await trio.sleep(FETCH_TIMEOUT_S)
        raise RequestTimedOut(LABEL, FETCH_TIMEOUT_S)

    desk.peers.answers[LABEL] = silent
    started = trio.current_time()
    desk.acquirer.fetch([payload.digest], [LABEL, SOCIETY])
    await desk.quiet()
    assert desk.digests == [payload.digest]
    assert desk.peers.who_was_asked().count(LABEL) == 1
    assert trio.current_time() - started < 2 * FETCH_TIMEOUT_S
    del desk.peers.answers[LABEL]
    late = a_payload(5, sequence=9)
    desk.peers.give(LABEL, late)
    desk.acquirer.fetch([late.digest], [LABEL])
    await desk.quiet()
    assert desk.digests[-1] == late.digest


async def test_fetch_of_what_nobody_has_is_given_up_and_may_be_asked_again(
    desk: Desk, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    digests = [Digest(bytes([n]) * 32) for n in range(50)]
    with caplog.at_level(logging.INFO):
        desk.acquirer.fetch(digests, [LABEL])
        await desk.quiet()
    assert caplog.records == [], "a leader may name what nobody has, in every block: no line in the log for each"
    assert not desk.rejected
    payload = a_payload()
    desk.acquirer.fetch([payload.digest], [LABEL])
    await desk.quiet()
    desk.peers.give(LABEL, payload)
    desk.acquirer.fetch([payload.digest], [LABEL])
    await desk.quiet()
    assert desk.digests == [payload.digest]


async def test_payload_that_turns_up_a_moment_later_is_found(desk: Desk, autojump_clock: MockClock) -> None:
    payload = a_payload()
    desk.acquirer.fetch([payload.digest], [LABEL])
    await trio.sleep(module.FETCH_PAUSE_S)
    desk.peers.give(PLATFORM, payload)
    await desk.quiet()
    assert desk.digests == [payload.digest]


async def test_fetches_are_bounded(desk: Desk, autojump_clock: MockClock, store: ChainStore) -> None:
    async with trio.open_nursery() as nursery:
        own = Desk(store, nursery)
        own.acquirer.fetch([Digest(n.to_bytes(32, "big")) for n in range(2 * FETCHES_MAX)], [LABEL])
        assert len(own.acquirer._in_progress) == FETCHES_MAX
        own.acquirer.pushed(a_payload().encode(), LABEL)
        await trio.sleep(0.01)
        assert len(own.held) == 1, "what is pushed has room of its own"
        nursery.cancel_scope.cancel()


async def test_fetched_payload_with_a_bad_statement_is_held_against_its_author(
    desk: Desk, autojump_clock: MockClock
) -> None:
    bad = with_bad_statement(SOCIETY)
    desk.peers.give(LABEL, bad)
    desk.acquirer.fetch([bad.digest], [LABEL])
    await desk.quiet()
    assert desk.held == []
    assert desk.rejected == {SOCIETY: 1}


# ---- bodies ----------------------------------------------------------------------------------------------------------


async def test_catalogue_is_held_only_with_its_whole_body_on_disk(desk: Desk, autojump_clock: MockClock) -> None:
    built = make_catalogue(500)
    assert len(built.chunks) > 1
    desk.peers.give_body(LABEL, built)
    payload = catalogue_payload(built)
    desk.acquirer.pushed(payload.encode(), LABEL)
    await desk.quiet()
    (held,) = desk.held
    (claims,) = held.bodies.values()
    assert claims == tuple(make_claim(n).encode() for n in range(500))
    assert all(desk.store.has_blobs([sha256(blob) for blob in (built.manifest, *built.chunks)]))


async def test_chunks_here_already_are_not_asked_for(desk: Desk, autojump_clock: MockClock) -> None:
    built = make_catalogue(500)
    desk.store.put_blobs([built.manifest, built.chunks[0]])
    desk.peers.give_body(LABEL, built)
    desk.acquirer.pushed(catalogue_payload(built).encode(), LABEL)
    await desk.quiet()
    asked = {digest for _, fetch in desk.peers.asked for digest in fetch.digests}
    assert asked == {sha256(chunk) for chunk in built.chunks[1:]}
    assert len(desk.held) == 1


async def test_lying_peers_chunk_is_discarded_and_the_next_is_asked(desk: Desk, autojump_clock: MockClock) -> None:
    built = make_catalogue(500)
    desk.peers.give_body(PLATFORM, built)
    desk.peers.answers[LABEL] = lambda fetch: encode_contents(tuple(b"wrong" for _ in fetch.digests))
    desk.acquirer.pushed(catalogue_payload(built).encode(), LABEL)
    await desk.quiet()
    assert len(desk.held) == 1
    assert desk.rejected[LABEL] >= 1
    assert not any(desk.store.has_blobs([sha256(b"wrong")]))


async def test_chunks_scattered_over_peers_are_put_together(desk: Desk, autojump_clock: MockClock) -> None:
    built = make_catalogue(500)
    blobs = [built.manifest, *built.chunks]
    for number, blob in enumerate(blobs):
        member = (LABEL, SOCIETY, PLATFORM)[number % 3]
        desk.peers.contents[member][sha256(blob)] = blob
    desk.acquirer.pushed(catalogue_payload(built).encode(), LABEL)
    await desk.quiet()
    assert len(desk.held) == 1


async def test_body_of_equal_chunks_is_acquired(desk: Desk, autojump_clock: MockClock) -> None:
    """Its manifest names one digest again and again; counting the answers by digest never came to an end."""
    titles = ("x" * length for length in range(1, 200))
    claim = next(c for title in titles if len(c := make_claim(0, title=title).encode()) == 254)
    built = build_catalogue([claim] * (3 * CHUNK_BYTES // 256))
    assert len(set(built.chunks)) == 1
    assert len(built.chunks) == 3
    desk.peers.give_body(LABEL, built)
    desk.acquirer.pushed(catalogue_payload(built).encode(), LABEL)
    await desk.quiet()
    assert len(desk.held) == 1


async def test_body_that_is_not_what_was_signed_is_held_against_the_author(
    desk: Desk, autojump_clock: MockClock
) -> None:
    """Every chunk is right by its hash: it is the signed root or a claim that is wrong."""
    good = make_catalogue(3)
    bad = build_catalogue([b"no claim at all"] * 3)
    lying = replace(good, header=replace(good.header, root=Digest(bytes(32))))
    for number, built in enumerate((bad, lying)):
        desk.rejected.clear()
        desk.peers.give_body(LABEL, built)
        payload = CONSORTIUM.payload([CONSORTIUM.sign(built.header, ref=f"b{number}")], author=number)
        desk.acquirer.pushed(payload.encode(), PLATFORM)
        await desk.quiet()
        assert desk.rejected == {MEMBERS[number]: 1}
    assert desk.held == []


async def test_bodies_of_one_author_are_gathered_one_payload_at_a_time(desk: Desk, autojump_clock: MockClock) -> None:
    built = [make_catalogue(2, first=10 * n) for n in range(4)]
    gathering, most = 0, 0
    inner = desk.acquirer.body

    async def counted(*arguments: Any) -> tuple[bytes, ...]:
        nonlocal gathering, most
        gathering += 1
        most = max(most, gathering)
        try:
            return await inner(*arguments)
        finally:
            gathering -= 1

    desk.acquirer.body = counted  # type: ignore[method-assign]
    for number, each in enumerate(built):
        desk.peers.give_body(LABEL, each)
        payload = CONSORTIUM.payload([CONSORTIUM.sign(each.header, ref=f"c{number}")], author=0, sequence=number)
        desk.acquirer.pushed(payload.encode(), LABEL)
    await desk.quiet()
    assert len(desk.held) == 4
    assert most == 1


# ---- answering -------------------------------------------------------------------------------------------------------


def test_answer_holds_what_is_here_in_the_order_asked(store: ChainStore) -> None:
    one, two, unknown = a_payload(1), a_payload(2, sequence=2), Digest(bytes(32))
    store.put_payloads([one, two])
    store.put_blobs([b"chunk"])
    fetch = Fetch(payloads=True, digests=(two.digest, unknown, one.digest))
    assert answer_fetch(store, fetch, 2**20) == (two.encode(), None, one.encode())
    blobs = Fetch(payloads=False, digests=(one.digest, sha256(b"chunk")))
    assert answer_fetch(store, blobs, 2**20) == (None, b"chunk")
    assert answer_fetch(store, Fetch(payloads=True, digests=(sha256(b"chunk"),)), 2**20) == (None,)


def test_answer_stays_within_its_size(store: ChainStore) -> None:
    blobs = [bytes([n]) * 100 for n in range(5)]
    digests = store.put_blobs(blobs)
    answer = answer_fetch(store, Fetch(payloads=False, digests=digests), 250)
    assert answer == (blobs[0], blobs[1], None, None, None)
