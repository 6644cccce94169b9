"""The timer sleeps until something is due, and is woken only by what is due earlier than it sleeps."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from node.timer import Timer


class Alarm:
    """What is due, and when the timer looked after it."""

    def __init__(self) -> None:
        self.due_ms: int | None = None
        self.ticks_ms: list[int] = []
        self.timer = Timer(lambda: self.due_ms, self.now_ms)

    def now_ms(self) -> int:
        return round(trio.current_time() * 1000)

    def tick(self) -> None:
        self.ticks_ms.append(self.now_ms())
        self.due_ms = None


async def test_it_ticks_when_due_and_sleeps_where_nothing_is(autojump_clock: MockClock) -> None:
    alarm = Alarm()
    alarm.due_ms = alarm.now_ms() + 50
    begun = alarm.now_ms()
    with trio.move_on_after(10):
        await alarm.timer.run(alarm.tick)
    assert alarm.ticks_ms == [begun + 50]


async def test_what_is_due_earlier_wakes_it_and_what_is_due_later_does_not(autojump_clock: MockClock) -> None:
    alarm = Alarm()
    async with trio.open_nursery() as nursery:
        begun = alarm.now_ms()
        alarm.due_ms = begun + 1000
        nursery.start_soon(alarm.timer.run, alarm.tick)
        await trio.sleep(0.1)
        alarm.due_ms = begun + 2000
        alarm.timer.rouse()
        await trio.sleep(0.1)
        assert alarm.ticks_ms == []
        alarm.due_ms = begun + 300
        alarm.timer.rouse()
        await trio.sleep(0.05)
        assert alarm.ticks_ms == []
        await trio.sleep(0.2)
        assert alarm.ticks_ms == [begun + 300]
        nursery.cancel_scope.cancel()
