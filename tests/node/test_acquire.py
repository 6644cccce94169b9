"""Getting payloads and bodies here: verified once, asked of the next where one lies, held against the right one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from consensus.errors import PeerError
from consensus.types import Digest
from ledger.payload import Payload
from node import acquire as module
from node.acquire import (
    FETCHES_MAX,
    IN_PROGRESS_PER_AUTHOR_MAX,
    INLINE_STATEMENTS_MAX,
    THROTTLE_S,
)
from node.fetching import FETCH_PAUSE_S, FETCH_TIMEOUT_S
from node.network.values import RequestTimedOut
from node.store.chain import ChainStore
from node.store.errors import StoreFull
from node.wire import FETCH_DIGESTS_MAX, Fetch, encode_contents
from tests.ledger.builders import make_catalogue
from tests.node.desk import (
    LABEL,
    PLATFORM,
    SOCIETY,
    Answer,
    Desk,
    a_payload,
    catalogue_payload,
    forged,
    sign,
)
from tests.node.nodes import CONSORTIUM, MEMBERS

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


async def test_payloads_of_one_author_waiting_to_be_ordered_are_bounded(
    desk: Desk, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNORDERED_PER_AUTHOR_MAX", 2)
    pushed = [a_payload(number, sequence=number) for number in range(1, 4)]
    for payload in pushed:
        desk.acquirer.pushed(payload.encode(), LABEL)
        await desk.quiet()
    other = a_payload(author=SOCIETY)
    desk.acquirer.pushed(other.encode(), SOCIETY)
    await desk.quiet()
    assert desk.digests == [pushed[0].digest, pushed[1].digest, other.digest], "one author's flood is not another's"

    still = tuple(digest for digest in desk.store.pending_payloads() if digest != pushed[0].digest)
    monkeypatch.setattr(desk.store, "pending_payloads", lambda: still)
    desk.acquirer.pushed(pushed[2].encode(), LABEL)
    await desk.quiet()
    assert desk.digests[-1] == pushed[2].digest, "one was ordered, so there is room again"


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
    await trio.sleep(FETCH_PAUSE_S)
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


async def test_payloads_of_many_blocks_come_by_one_request_and_are_written_together(
    desk: Desk, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    inner = desk.store.put_payloads

    def counted(payloads: list[Payload]) -> None:
        written.append(len(payloads))
        inner(payloads)

    monkeypatch.setattr(desk.store, "put_payloads", counted)
    wanted = [a_payload(n, sequence=n) for n in range(1, FETCH_DIGESTS_MAX + 3)]
    for payload in wanted:
        desk.peers.give(PLATFORM, payload)
        desk.acquirer.fetch([payload.digest], [PLATFORM])
    await desk.quiet()
    assert sorted(desk.digests) == sorted(p.digest for p in wanted)
    assert sorted(len(fetch.digests) for _, fetch in desk.peers.asked) == [2, FETCH_DIGESTS_MAX]
    assert sorted(written) == [2, FETCH_DIGESTS_MAX]


async def test_bad_payload_among_fetched_ones_costs_only_itself(desk: Desk, autojump_clock: MockClock) -> None:
    good = [a_payload(n, sequence=n) for n in range(1, 9)]
    bad, absent = with_bad_statement(SOCIETY), a_payload(99, sequence=99)
    for payload in (*good, bad):
        desk.peers.give(LABEL, payload)
    desk.acquirer.fetch([bad.digest, absent.digest, *(p.digest for p in good)], [LABEL])
    await desk.quiet()
    assert desk.digests == [p.digest for p in good]
    assert desk.rejected == {SOCIETY: 1}
    assert not desk.store.has_payload(bad.digest)
