"""Whom a node that syncs asks: several at once, each in time; who lies, withholds, stalls or trickles is dropped.

Dropped for this sync only, with one line in the log that names the peer and what it did. Where all are dropped or gone,
the node says so, waits, and begins again with everybody: an operator must see it, and a network may heal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import trio

from consensus.errors import LocalError, PeerError
from node.fetching import Requester
from node.network.values import NotConnected, RequestRefused, RequestTimedOut

log = logging.getLogger(__name__)

IN_FLIGHT_MAX = 3
"""Requests to one provider at once: one on the wire, one being answered, one waiting. It has votes to cast as well."""
REQUEST_S = 10.0
"""Deadline of one request: an answer of 4 MiB at 3.4 Mbit/s. Doubled, up to REQUEST_S_MAX, where nobody kept it."""
REQUEST_S_MAX = 80.0
STRIKES_MAX = 3
"""Failures in a row, each of which may happen to an honest peer once."""
TRICKLE_SHARE = 1 / 16
TRICKLE_S = 1.0
"""A trickle is an answer that took so long, with less than TRICKLE_SHARE of the pace of the best."""
BUSY_S = 0.2
BUSY_MAX = 100
"""Refusals in a row because a peer has others to answer."""
RETRY_S = 2.0
RETRY_S_MAX = 60.0
"""How long to wait when there is nobody left to ask; doubled each time."""

T = TypeVar("T")


class Withheld(PeerError):
    """A peer does not give what it must have. what: that."""

    def __init__(self, what: str) -> None:
        super().__init__(f"it does not give {what}, which it must have")


class Unclaimed(PeerError):
    """Nobody who is left claims to have the chain up to a height."""

    def __init__(self, height: int) -> None:
        super().__init__(f"no provider claims to have height {height}")


class Trickles(PeerError):
    def __init__(self, pace: float, best: float) -> None:
        super().__init__(f"it trickles: {pace / 1024:.0f} KiB/s, where another gave {best / 1024:.0f} KiB/s")


@dataclass(slots=True)
class Provider:
    """What is known of one peer."""

    member: str
    height: int = 0
    """Up to where it says it has the chain."""
    in_flight: int = 0
    strikes: int = 0
    refusals: int = 0
    asked_not_before: float = 0.0
    dropped: str = ""
    """Why it is not asked any more."""
    bytes_in: int = 0


class Providers:
    """Invariant: nobody who is dropped is asked again before everybody is."""

    def __init__(self, network: Requester, reject: Callable[[str, PeerError], None]) -> None:
        """reject: told who sent what no correct peer sends."""
        self._network = network
        self._reject = reject
        self._all: dict[str, Provider] = {}
        self._changed = trio.Event()
        self._best_pace = 0.0
        self._request_s = REQUEST_S
        self._retry_s = RETRY_S
        self.waiting_since: float | None = None
        """Since when there is nobody to ask, on trio's clock."""
        self.rounds = 0
        """How often everybody was dropped and taken up again."""

    def greeted(self, member: str, height: int) -> None:
        """A peer says that it has the chain up to `height`."""
        provider = self._all.setdefault(member, Provider(member))
        provider.height = max(provider.height, height)
        self._wake()

    async def wait_for_anybody(self, seconds_max: float) -> None:
        """Returns when somebody can be asked, or after that time."""
        with trio.move_on_after(seconds_max):
            while not self.heights():
                with trio.move_on_after(BUSY_S):
                    await self._changed.wait()

    def heights(self) -> dict[str, int]:
        """By member, of those that can be asked."""
        connected = self._network.connected()
        return {p.member: p.height for p in self._all.values() if not p.dropped and p.member in connected}

    def dropped(self) -> dict[str, str]:
        """By member: why."""
        return {p.member: p.dropped for p in self._all.values() if p.dropped}

    def bytes_in(self) -> int:
        return sum(provider.bytes_in for provider in self._all.values())

    async def ask(self, request: bytes, read: Callable[[bytes], T], *, height: int, strict: bool = False) -> T:
        """The first answer that `read` accepts. Waits as long as that takes.

        height: who claims to have the chain up to there must have what is asked for, and is asked first. strict: raises
        Unclaimed where somebody is left to ask, but nobody claims that. read: raises PeerError for an answer that its
        sender is to be dropped for, Withheld where it lacks what it must have.
        """
        tried: set[str] = set()
        while True:
            provider = await self._choose(height, tried, strict=strict)
            provider.in_flight += 1
            try:
                return await self._ask(provider, request, read, height)
            except PeerError as error:
                log.debug("sync: %s: %s", provider.member, error)
                tried.add(provider.member)
            finally:
                provider.in_flight -= 1
                self._wake()

    async def _ask(self, provider: Provider, request: bytes, read: Callable[[bytes], T], height: int) -> T:
        began = trio.current_time()
        try:
            answer = await self._network.request(provider.member, request, self._request_s)
            provider.bytes_in += len(answer)
            value = read(answer)
        except NotConnected:
            raise
        except RequestRefused as error:
            provider.refusals += 1
            provider.asked_not_before = trio.current_time() + BUSY_S
            if provider.refusals >= BUSY_MAX:
                self.drop(provider.member, error)
            raise
        except RequestTimedOut as error:
            self._strike(provider, error)
            raise
        except Withheld as error:
            if provider.height >= height:
                self._strike(provider, error)
            else:
                provider.asked_not_before = trio.current_time() + BUSY_S
            raise
        except LocalError as error:
            raise NotConnected(provider.member) from error
        except PeerError as error:
            self._reject(provider.member, error)
            self.drop(provider.member, error)
            raise
        provider.refusals = 0
        self.waiting_since, self._retry_s = None, RETRY_S
        self._note_pace(provider, len(answer), trio.current_time() - began)
        return value

    def _strike(self, provider: Provider, error: PeerError) -> None:
        provider.strikes += 1
        if provider.strikes >= STRIKES_MAX:
            self.drop(provider.member, error)

    def _note_pace(self, provider: Provider, size: int, seconds: float) -> None:
        pace = size / max(seconds, 0.001)
        if seconds > TRICKLE_S and pace < self._best_pace * TRICKLE_SHARE:
            self._strike(provider, Trickles(pace, self._best_pace))
            return
        provider.strikes = 0
        if size > 64 * 1024:
            self._best_pace = max(pace, 0.9 * self._best_pace)

    def drop(self, member: str, error: PeerError) -> None:
        """Asks this peer no more, and says why."""
        provider = self._all[member]
        if not provider.dropped:
            provider.dropped = str(error)
            log.warning("sync: dropped %s: %s; %d providers left", member, error, len(self.heights()))
            self._wake()

    async def _choose(self, height: int, tried: set[str], *, strict: bool) -> Provider:
        """Somebody who can be asked now; of those not tried for this the one with the fewest requests under way."""
        while True:
            live = [self._all[member] for member in self.heights()]
            able = [p for p in live if p.height >= height]
            if live and not able:
                if strict:
                    raise Unclaimed(height)
                able = live
            if not able:
                await self._wait_and_begin_again()
                continue
            if tried.issuperset(p.member for p in able):
                tried.clear()
            now = trio.current_time()
            fresh = [
                p for p in able if p.in_flight < IN_FLIGHT_MAX and p.asked_not_before <= now and p.member not in tried
            ]
            if fresh:
                return min(fresh, key=lambda p: (p.in_flight, p.strikes, p.bytes_in))
            with trio.move_on_after(BUSY_S):
                await self._changed.wait()

    async def _wait_and_begin_again(self) -> None:
        reasons = "; ".join(f"{member}: {why}" for member, why in self.dropped().items()) or "nobody is connected"
        log.error("sync: nobody is left to ask (%s); trying again in %.0f s", reasons, self._retry_s)
        self.waiting_since = trio.current_time() if self.waiting_since is None else self.waiting_since
        await self.wait_for_anybody(self._retry_s)
        if self.heights():
            self.waiting_since = None
            return
        self._retry_s = min(2 * self._retry_s, RETRY_S_MAX)
        if self.dropped():
            self.rounds += 1
            self._request_s = min(2 * self._request_s, REQUEST_S_MAX)
            for provider in self._all.values():
                provider.dropped, provider.strikes, provider.refusals = "", 0, 0
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
