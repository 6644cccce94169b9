"""When to dial whom: the peer with the higher id dials, again and again, with growing, spread pauses."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable

import trio

from node.network.tally import Tally
from node.network.transport import DialFailed
from node.network.values import NetworkSettings

STABLE_S = 5.0
"""A connection that lasted so long ends the growth of the pauses; one refused at once does not."""
_JITTER = 0.25

logger = logging.getLogger(__name__)


def dials(my_peer_id: str, peer_id: str) -> bool:
    """Whether we dial them: the higher id does, so that a pair never ends up with two connections."""
    return my_peer_id > peer_id


def redial_pause_s(my_peer_id: str, peer_id: str, attempt: int, settings: NetworkSettings) -> float:
    """Pause before attempt number `attempt` (0-based): doubling from redial_s_min to redial_s_max, +-25 %.

    The spread comes from the ids and the attempt, not from chance: the same node waits the same, two nodes differ.
    """
    pause = min(settings.redial_s_min * 2.0 ** min(attempt, 16), settings.redial_s_max)
    seed = hashlib.sha256(f"{my_peer_id}/{peer_id}/{attempt}".encode()).digest()
    return pause * (1.0 - _JITTER + 2.0 * _JITTER * int.from_bytes(seed[:4], "big") / 2**32)


class Presence:
    """Whether a member is connected, as something to wait for, and how long it lasted."""

    def __init__(self) -> None:
        self._up = trio.Event()
        self._down = trio.Event()
        self._down.set()
        self._since = 0.0
        self.lasted_s = 0.0
        """Length of the connection that ended last."""

    @property
    def is_up(self) -> bool:
        return self._up.is_set()

    def came(self) -> None:
        if not self.is_up:
            self._since = trio.current_time()
            self._up.set()
            self._down = trio.Event()

    def went(self) -> None:
        if self.is_up:
            self.lasted_s = trio.current_time() - self._since
            self._down.set()
            self._up = trio.Event()

    async def until_up(self) -> None:
        await self._up.wait()

    async def until_down(self) -> None:
        await self._down.wait()


class Keeper:
    """Keeps one member connected: dials whenever it is not."""

    def __init__(
        self,
        *,
        member_id: str,
        peer_id: str,
        my_peer_id: str,
        presence: Presence,
        settings: NetworkSettings,
        dial: Callable[[str, str], Awaitable[None]],
        tally: Tally,
    ) -> None:
        self._member_id = member_id
        self._peer_id = peer_id
        self._my_peer_id = my_peer_id
        self._presence = presence
        self._settings = settings
        self._dial = dial
        self._tally = tally
        self.scope = trio.CancelScope()

    async def run(self) -> None:
        """Until `scope` is cancelled."""
        attempt = 0
        with self.scope:
            while True:
                await self._presence.until_down()
                if self._presence.lasted_s >= STABLE_S:
                    attempt = 0
                if await self._came_within(self._pause_s(attempt)):
                    continue
                attempt += 1
                self._presence.lasted_s = 0.0
                try:
                    await self._dial(self._peer_id, self._settings.peers[self._member_id])
                except DialFailed as error:
                    self._tally.dials_failed += 1
                    logger.log(logging.INFO if attempt == 1 else logging.DEBUG, "%s: %s", self._member_id, error)

    def _pause_s(self, attempt: int) -> float:
        if attempt:
            return redial_pause_s(self._my_peer_id, self._peer_id, attempt - 1, self._settings)
        return 0.0 if dials(self._my_peer_id, self._peer_id) else self._settings.fallback_dial_s

    async def _came_within(self, seconds: float) -> bool:
        with trio.move_on_after(seconds):
            await self._presence.until_up()
        return self._presence.is_up
