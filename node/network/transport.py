"""What the network needs of a transport, in our own types: `node.network.host` fulfils it with libp2p."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from consensus.errors import PeerError


class StreamBroken(PeerError):
    """A stream that cannot go on: reset, closed, or its connection gone. reason: one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"stream broken: {reason}")
        self.reason = reason


class DialFailed(PeerError):
    """peer_id: who was dialled. address: where. reason: one line."""

    def __init__(self, peer_id: str, address: str, reason: str) -> None:
        super().__init__(f"cannot reach {peer_id} at {address}: {reason}")
        self.peer_id = peer_id
        self.address = address
        self.reason = reason


class Stream(Protocol):
    """One bidirectional byte stream. At most one writer at a time: concurrent writes interleave."""

    async def read(self) -> bytes:
        """Some bytes, b"" at the end. Raises: StreamBroken."""

    async def write(self, data: bytes) -> None:
        """Writes everything. Raises: StreamBroken; after it, an unknown part has been sent: reset and reopen."""

    def write_now(self, data: bytes) -> bool:
        """Writes all of `data` without waiting, or nothing of it (False). Not while a `write` is under way."""

    async def reset(self) -> None:
        """Ends both directions at once; never raises."""


class Connection(Protocol):
    """One authenticated connection to a member's node."""

    @property
    def peer_id(self) -> str: ...

    @property
    def outbound(self) -> bool:
        """Whether we dialled it."""

    @property
    def closed(self) -> trio.Event: ...

    async def open_stream(self, protocol: str) -> Stream:
        """Raises: StreamBroken."""

    async def abort(self) -> None:
        """Drops the connection without waiting for the peer; never raises."""


StreamHandler = Callable[[Stream, str], Awaitable[None]]
"""(stream, peer id). The stream is reset when it returns."""
