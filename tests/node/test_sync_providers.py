"""Whom a node that syncs asks, and for how long: time is virtual and moves to the next deadline."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from consensus.errors import MalformedMessage, PeerError
from node.network.values import NotConnected, RequestRefused, RequestTimedOut
from node.sync_providers import (
    BUSY_MAX,
    IN_FLIGHT_MAX,
    REQUEST_S,
    RETRY_S,
    STRIKES_MAX,
    Providers,
    Unclaimed,
    Withheld,
)

Answer = Callable[[], Awaitable[bytes]]
LARGE = bytes(2**20)


class Network:
    """Answers as the test says, with the deadline that the real one keeps."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.gone: set[str] = set()
        self.most: dict[str, int] = {}
        self._under_way: dict[str, int] = {}

    def connected(self) -> frozenset[str]:
        return frozenset(self.answers) - self.gone

    async def request(self, member_id: str, frame: bytes, timeout_s: float) -> bytes:  # noqa: ARG002
        self.asked.append(member_id)
        if member_id in self.gone:
            raise NotConnected(member_id)
        self._under_way[member_id] = self._under_way.get(member_id, 0) + 1
        self.most[member_id] = max(self.most.get(member_id, 0), self._under_way[member_id])
        try:
            with trio.move_on_after(timeout_s):
                return await self.answers[member_id]()
            raise RequestTimedOut(member_id, timeout_s)
        finally:
            self._under_way[member_id] -= 1


def after(seconds: float, answer: bytes = b"good") -> Answer:
    async def work() -> bytes:
        await trio.sleep(seconds)
        return answer

    return work


def refusing(error: PeerError) -> Answer:
    async def work() -> bytes:
        await trio.sleep(0.01)
        raise error

    return work


class Town:
    def __init__(self, **answers: Answer) -> None:
        self.network = Network()
        self.network.answers = answers
        self.rejected: list[str] = []
        self.providers = Providers(self.network, lambda member, _error: self.rejected.append(member))
        for member in answers:
            self.providers.greeted(member, 100)

    async def ask(self, height: int = 100, *, strict: bool = False) -> bytes:
        return await self.providers.ask(b"?", self.read, height=height, strict=strict)

    @staticmethod
    def read(answer: bytes) -> bytes:
        match answer:
            case b"lie":
                raise MalformedMessage("answer", "content", "the truth")
            case b"nothing":
                raise Withheld("what was asked for")
        return answer


async def test_load_is_shared_and_bounded(autojump_clock: MockClock) -> None:
    town = Town(a=after(1.0, LARGE), b=after(1.0, LARGE), c=after(1.0, LARGE))
    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(town.ask)
    assert set(town.network.most.values()) == {IN_FLIGHT_MAX}
    assert {town.network.asked.count(member) for member in "abc"} == {10}
    assert trio.current_time() == pytest.approx(4.0, abs=0.5)


async def test_liar_is_dropped_at_once(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    town = Town(a=after(0.01, b"lie"), b=after(0.02))
    assert [await town.ask() for _ in range(5)] == [b"good"] * 5
    assert town.network.asked.count("a") == 1
    assert town.rejected == ["a"]
    assert "sync: dropped a: malformed answer" in caplog.text
    assert "1 providers left" in caplog.text


@pytest.mark.parametrize("answer", [after(10**6), after(0.01, b"nothing")], ids=["stalls", "withholds"])
async def test_who_gives_nothing_is_dropped_after_some_tries(autojump_clock: MockClock, answer: Answer) -> None:
    town = Town(a=answer, b=after(0.02))
    assert [await town.ask() for _ in range(9)] == [b"good"] * 9
    assert town.network.asked.count("a") == 1, "after it failed once the other is asked, as long as that is free"
    async with trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(town.ask)
    assert STRIKES_MAX <= town.network.asked.count("a") <= STRIKES_MAX + IN_FLIGHT_MAX
    assert trio.current_time() <= STRIKES_MAX * REQUEST_S + 1
    assert set(town.providers.dropped()) == {"a"}
    assert town.rejected == []


async def test_who_need_not_have_it_is_no_liar(autojump_clock: MockClock) -> None:
    town = Town(a=after(0.01, b"nothing"), b=after(0.02))
    town.providers.greeted("b", 200)
    assert await town.ask(200) == b"good"
    town.network.gone = {"b"}
    with trio.move_on_after(30):
        await town.ask(200)
    assert town.providers.dropped() == {}


async def test_one_that_trickles_is_dropped_and_one_that_is_merely_slower_is_not(autojump_clock: MockClock) -> None:
    town = Town(a=after(0.5, LARGE), b=after(5.0, LARGE), c=after(REQUEST_S - 0.1, LARGE[: 2**18]))
    async with trio.open_nursery() as nursery:
        for _ in range(60):
            nursery.start_soon(town.ask)
    assert set(town.providers.dropped()) == {"c"}
    assert "trickles: 26 KiB/s" in town.providers.dropped()["c"]
    assert town.network.asked.count("c") <= STRIKES_MAX + IN_FLIGHT_MAX


async def test_busy_peer_is_asked_again_a_little_later_but_not_for_ever(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    busy = refusing(RequestRefused("a", "busy"))
    town = Town(a=busy)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(town.ask)
        await trio.sleep(2)
        assert 5 < len(town.network.asked) < 15
        town.network.answers["a"] = after(0.01)
    assert town.providers.dropped() == {}
    town.network.answers["a"] = busy
    with trio.move_on_after(30):
        await town.ask()
    assert town.network.asked.count("a") >= BUSY_MAX
    assert "sync: dropped a: request to a: refused: busy" in caplog.text


async def test_when_nobody_is_left_it_waits_longer_and_longer_and_begins_with_all(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    town = Town(a=after(0.01, b"lie"), b=after(0.01, b"lie"))
    with trio.move_on_after(RETRY_S * (1 + 2 + 4) + 1):
        await town.ask()
    assert town.network.asked.count("a") == town.network.asked.count("b") == 4
    assert town.providers.rounds == 3
    said = [r.message for r in caplog.records if r.levelno == logging.ERROR]
    assert len(said) == 4
    assert "a: malformed" in said[0]
    assert "b: malformed" in said[0]
    town.network.answers["b"] = after(0.01)
    assert await town.ask() == b"good"


async def test_who_comes_back_is_asked_at_once(autojump_clock: MockClock) -> None:
    town = Town(a=after(0.01))
    town.network.gone = {"a"}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(town.ask)
        await trio.sleep(100)
        town.network.gone = set()
        before = trio.current_time()
    assert trio.current_time() - before < 1


async def test_height_that_nobody_claims_is_told_where_that_is_asked(autojump_clock: MockClock) -> None:
    town = Town(a=after(0.01))
    with pytest.raises(Unclaimed):
        await town.ask(101, strict=True)
    assert await town.ask(101) == b"good"
