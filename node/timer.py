"""Sleeps until something is due, and wakes earlier only where something has become due earlier."""

from __future__ import annotations

from collections.abc import Callable

import trio

IDLE_MS = 3_600_000
"""Longest sleep where nothing is due at all."""


class Timer:
    """One task runs it; anybody on the same thread may rouse it."""

    def __init__(self, due_ms: Callable[[], int | None], now_ms: Callable[[], int]) -> None:
        """due_ms: when something is wanted next, None for never. now_ms: the monotonic clock it counts by."""
        self._due_ms = due_ms
        self._now_ms = now_ms
        self._until_ms = 0
        self._wake = trio.Event()

    def rouse(self) -> None:
        """Something has changed. Looked at here, since to wake a task for nothing costs more than to look."""
        due = self._due_ms()
        if due is not None and due < self._until_ms:
            self._wake.set()

    async def run(self, tick: Callable[[], None]) -> None:
        """Calls `tick` when something is due, for ever."""
        while True:
            self._wake = trio.Event()
            now, due = self._now_ms(), self._due_ms()
            self._until_ms = now + IDLE_MS if due is None else due
            with trio.move_on_after(max(0.0, (self._until_ms - now) / 1000)):
                await self._wake.wait()
            await trio.lowlevel.checkpoint()
            due = self._due_ms()
            if due is not None and due <= self._now_ms():
                tick()
