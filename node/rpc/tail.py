"""Notices that the log has grown: one look at the store now and then while anybody waits, however many wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from node.rpc.errors import NotReadyYet

POLL_SECONDS: Final = 0.02
"""Between two looks while something happens: what a subscriber's news may be late by."""
IDLE_FACTOR: Final = 5
IDLE_LOOKS: Final = 250
"""After so many looks without news (5 s) and without anybody new who waits, looks become that much rarer."""

RETRY_MS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """size: leaves. checkpoint: size of the latest complete checkpoint; 0 where there is none.

    chain_checkpoints: how many have a quorum for public chains. epoch: the current one.
    """

    size: int
    checkpoint: int
    chain_checkpoints: int = 0
    epoch: int = 0


class LogTail:
    """Waits for a state of the log. One event loop owns it; `run` is the only one that looks at the store."""

    def __init__(self, look: Callable[[], LogState], poll_seconds: float = POLL_SECONDS) -> None:
        self._look = look
        self._poll_seconds = poll_seconds
        self._waiting = 0
        self._stopped = False
        self._last: LogState | None = None
        self._looks_without_news = 0
        self._wanted = asyncio.Event()
        self._looked: asyncio.Future[LogState] = asyncio.get_running_loop().create_future()

    def now(self) -> LogState:
        """The state at this moment. Raises: what looking at the store raises."""
        return self._look()

    async def until(self, holds: Callable[[LogState], bool]) -> LogState:
        """The first state seen from now on for which `holds`.

        Raises: what looking at the store raises; NotReadyYet once it was stopped.
        """
        self._waiting += 1
        self._looks_without_news = 0
        self._wanted.set()
        try:
            while True:
                # Shielded: one caller that goes away must not cancel the look for all.
                state = await asyncio.shield(self._looked)
                if holds(state):
                    return state
        finally:
            self._waiting -= 1

    async def reach(self, size: int, seconds: float | None) -> None:
        """Waits until the log has `size` leaves. Raises: NotReadyYet after `seconds`."""
        if size == 0 or self._look().size >= size:
            return
        try:
            async with asyncio.timeout(seconds):
                await self.until(lambda state: state.size >= size)
        except TimeoutError:
            raise NotReadyYet("min_size", str(size), "fewer leaves: this node has not got there", RETRY_MS) from None

    def stop(self) -> None:
        """Ends all waiting, so that a process which stops need not wait for subscribers that never end."""
        self._stopped = True
        if not self._looked.done():
            self._looked.set_exception(NotReadyYet("node", "stopping", "a node that runs", RETRY_MS))
            self._looked.exception()  # nobody may wait: then it is no news

    async def run(self) -> None:
        """Looks while anybody waits, until `stop`."""
        while not self._stopped:
            await self._wanted.wait()
            idle = self._looks_without_news >= IDLE_LOOKS
            await asyncio.sleep(self._poll_seconds * (IDLE_FACTOR if idle else 1))
            if self._stopped:
                return
            looked, self._looked = self._looked, asyncio.get_running_loop().create_future()
            if not self._waiting:
                self._wanted.clear()
            try:
                state = self._look()
                self._looks_without_news = 0 if state != self._last else self._looks_without_news + 1
                self._last = state
                looked.set_result(state)
            except Exception as error:  # noqa: BLE001  every waiter gets it, as if it had looked itself
                looked.set_exception(error)
                looked.exception()  # nobody may wait: then it is no news
