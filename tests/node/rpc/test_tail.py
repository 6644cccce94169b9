"""Waiting for the log to grow: one look for all who wait, and none when nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from node.rpc.calls import Turnstile
from node.rpc.errors import NotReadyYet, TooManyCalls
from node.rpc.tail import LogState, LogTail


class Log:
    """What the tail looks at; counts the looks."""

    def __init__(self) -> None:
        self.size = 0
        self.looks = 0
        self.broken: Exception | None = None

    def look(self) -> LogState:
        self.looks += 1
        if self.broken is not None:
            raise self.broken
        return LogState(size=self.size, checkpoint=0)


def run(scenario: Callable[[Log, LogTail], Awaitable[None]]) -> None:
    """Runs `scenario` with a tail that polls as fast as the event loop turns: no time passes."""

    async def main() -> None:
        log = Log()
        tail = LogTail(log.look, poll_seconds=0)
        task = asyncio.create_task(tail.run())
        try:
            async with asyncio.timeout(5):
                await scenario(log, tail)
        finally:
            task.cancel()

    asyncio.run(main())


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_nobody_waiting_costs_no_look() -> None:
    async def scenario(log: Log, tail: LogTail) -> None:
        await turns(50)
        assert log.looks == 0

    run(scenario)


def test_looking_ends_with_the_last_who_waits() -> None:
    async def scenario(log: Log, tail: LogTail) -> None:
        log.size = 1
        await tail.until(lambda state: state.size > 0)
        await turns(50)
        looks = log.looks
        await turns(50)
        assert log.looks == looks

    run(scenario)


def test_all_who_wait_share_the_looks_and_each_gets_its_state() -> None:
    async def scenario(log: Log, tail: LogTail) -> None:
        waiting = [asyncio.create_task(tail.until(lambda state, n=n: state.size > n)) for n in range(100)]
        await turns(20)
        assert log.looks <= 20
        log.size = 50
        await turns(50)
        assert [task.done() for task in waiting] == [True] * 50 + [False] * 50
        log.size = 100
        await asyncio.gather(*waiting)

    run(scenario)


def test_looks_become_rare_without_news_and_frequent_with_the_next_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def record(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    async def main() -> None:
        log = Log()
        tail = LogTail(log.look, poll_seconds=1)
        running = asyncio.create_task(tail.run())
        waiting = asyncio.create_task(tail.until(lambda state: state.size > 0))
        while len(slept) < 300:
            await sleep(0)
        assert (slept[0], slept[-1]) == (1, 5)
        other = asyncio.create_task(tail.until(lambda state: state.size > 0))
        looks = len(slept)
        while len(slept) < looks + 3:
            await sleep(0)
        assert slept[-1] == 1
        log.size = 1
        await asyncio.gather(waiting, other)
        running.cancel()

    monkeypatch.setattr("node.rpc.tail.asyncio.sleep", record)
    asyncio.run(main())


def test_one_who_leaves_does_not_take_the_others_along() -> None:
    async def scenario(log: Log, tail: LogTail) -> None:
        leaves, stays = (asyncio.create_task(tail.until(lambda state: state.size > 0)) for _ in range(2))
        await turns(5)
        leaves.cancel()
        await turns(5)
        log.size = 1
        assert (await stays).size == 1
        assert leaves.cancelled()

    run(scenario)


def test_failed_look_reaches_those_who_wait_and_the_next_look_is_made() -> None:
    async def scenario(log: Log, tail: LogTail) -> None:
        log.broken = OSError("disk")
        with pytest.raises(OSError, match="disk"):
            await tail.until(lambda state: state.size > 0)
        log.broken, log.size = None, 1
        assert (await tail.until(lambda state: state.size > 0)).size == 1

    run(scenario)


def test_stop_ends_waiting_now_and_later() -> None:
    async def scenario(log: Log, tail: LogTail) -> None:
        waiting = asyncio.create_task(tail.until(lambda state: state.size > 0))
        await turns(5)
        tail.stop()
        for late in (waiting, tail.until(lambda state: state.size > 0)):
            with pytest.raises(NotReadyYet, match="stopping"):
                await late

    run(scenario)


def test_reach_returns_at_the_size_and_gives_up_after_its_time() -> None:
    async def scenario(log: Log, tail: LogTail) -> None:
        log.size = 5
        await tail.reach(5, seconds=0)
        assert log.looks == 1
        with pytest.raises(NotReadyYet, match="min_size"):
            await tail.reach(6, seconds=0)

    run(scenario)


def test_turnstile_bounds_one_client_and_all_together() -> None:
    turnstile = Turnstile("subscriptions", calls_max=3, calls_per_client_max=2)
    with turnstile.pass_through("a"), turnstile.pass_through("a"):
        with pytest.raises(TooManyCalls, match="from one client"), turnstile.pass_through("a"):
            pass
        with (
            turnstile.pass_through("b"),
            pytest.raises(TooManyCalls, match="at most 3 at once"),
            turnstile.pass_through("c"),
        ):
            pass
        with turnstile.pass_through("c"):
            pass
    with turnstile.pass_through("a"), turnstile.pass_through("a"):
        pass  # what ended counts no more
