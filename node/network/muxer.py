"""yamux with the bounds py-libp2p 0.8.1 leaves out. Part of the libp2p edge (with `host` and `gossip`).

Stock behaviour these classes replace, measured in 0.8.1:
- a peer may send any amount beyond its window: 254 MiB of memory from 266 MB sent, no limit;
- a peer may open any number of streams: a task and its buffers for each;
- a peer whose machine is gone stays connected for ever: pings are sent but a missing answer has no consequence;
- every read sends a window update, encrypted and alone, before it returns what was read.
"""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass
from typing import Any

import trio
from libp2p.abc import IMuxedConn, IMuxedStream, ISecureConn
from libp2p.peer.id import ID
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux import yamux
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream

from node.network.tally import Tally

CONNECTION_BYTES_MAX = 32 * 1024 * 1024
"""Unread bytes held for one peer; more than its windows allow means that it ignores them: it is cut."""
STREAM_WINDOW_BYTES = 4 * 1024 * 1024
"""Receive window of a stream after its first bytes (stock grows to 16 MiB): those of a correct peer stay below
CONNECTION_BYTES_MAX."""
INBOUND_STREAMS_MAX = 32
"""Streams a peer may have open towards us; a correct node needs four."""
INBOUND_REFUSALS_MAX = 256
"""A peer refused so many streams on one connection is cut."""

logger = logging.getLogger(__name__)


class SteadyStream(YamuxStream):
    """A stream that renews its window when half of it is used, not at every read."""

    async def _auto_tune_and_send_window_update(self, *, bytes_read: int = 0) -> None:  # noqa: ARG002
        """Called after a read. A window is what the peer may send (`recv_window`), what is unread, and what is used."""
        unread = len(self.conn.stream_buffers.get(self.stream_id, b""))
        used = STREAM_WINDOW_BYTES - self.recv_window - unread
        if used >= STREAM_WINDOW_BYTES // 2:
            self.recv_window += used
            await self.send_window_update(used)


# The muxer names its stream class and its bounds in the code. This one also bounds the largest DATA frame.
yamux.YamuxStream = SteadyStream  # type: ignore[misc]
yamux.MAX_WINDOW_SIZE = STREAM_WINDOW_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class MuxerSettings:
    keepalive_s: float
    silence_s_max: float
    tally: Tally
    enforce: bool = True
    """False leaves the stock behaviour: only for tests that show what the bounds are for."""


class BoundedYamux(Yamux):
    """A connection that holds, accepts and waits only so much."""

    def __init__(self, conn: ISecureConn, peer_id: ID, settings: MuxerSettings) -> None:
        super().__init__(conn, peer_id, is_initiator=conn.is_initiator)
        self._settings = settings
        self._refusals = 0
        self.aborted = False

    async def _read_data_body(self, length: int) -> bytes:
        """Reads the body of a DATA frame, unless the peer already holds too much of our memory."""
        held = sum(len(buffer) for buffer in self.stream_buffers.values())
        if self._settings.enforce and held + length > CONNECTION_BYTES_MAX:
            self._settings.tally.overruns += 1
            logger.warning("cut %s: %d unread bytes, it ignores its windows", self.peer_id, held)
            raise trio.TooSlowError  # handled by the caller as a connection to close
        return await super()._read_data_body(length)

    async def accept_stream(self) -> IMuxedStream:
        while True:
            stream = await super().accept_stream()
            inbound = sum(1 for each in self.streams.values() if not each.is_initiator)
            if not self._settings.enforce or inbound <= INBOUND_STREAMS_MAX:
                return stream
            self._settings.tally.refused_streams += 1
            self._refusals += 1
            if self._refusals > INBOUND_REFUSALS_MAX:
                logger.warning("cut %s: it opened too many streams", self.peer_id)
                await self.abort()
            else:
                await stream.reset()

    async def start(self) -> None:
        """Runs the connection. An exception of its tasks ends it alone, not the process."""
        try:
            await super().start()
        except Exception:  # the library's tasks raise what their author did not foresee
            self._settings.tally.handler_errors += 1
            logger.warning("connection of %s failed", self.peer_id, exc_info=True)
            await self.abort()

    async def abort(self) -> None:
        """Closes the socket at once; no farewell, which could block behind a peer that does not read."""
        self.aborted = True
        try:
            await self.secured_conn.close()
        except Exception:  # closing what is already broken
            logger.debug("closing the connection of %s", self.peer_id, exc_info=True)
        with trio.CancelScope(shield=True):
            if not self.event_shutting_down.is_set():
                await self._cleanup_on_error()

    async def _measure_rtt_loop(self) -> None:
        """Pings, and cuts a peer that answers none for `silence_s_max`."""
        while not self.event_shutting_down.is_set():
            self._ping_id += 1
            self._ping_event = trio.Event()
            header = struct.pack(yamux.YAMUX_HEADER_FORMAT, 0, yamux.TYPE_PING, yamux.FLAG_SYN, 0, self._ping_id)
            with trio.move_on_after(self._settings.silence_s_max) as waiting:
                await self._write_frame(header)
                self._ping_sent_time = trio.current_time()
                await self._ping_event.wait()
            if waiting.cancelled_caught and self._settings.enforce:
                logger.warning("cut %s: silent for %g s", self.peer_id, self._settings.silence_s_max)
                await self.abort()
                return
            with trio.move_on_after(self._settings.keepalive_s):
                await self.event_shutting_down.wait()


class BoundedMuxer(MuxerMultistream):
    """Negotiates yamux (nothing else is offered) and makes it a bounded one: stock names its class in the code."""

    def __init__(self, settings: MuxerSettings, negotiate_timeout: int) -> None:
        options: Any = {yamux.PROTOCOL_ID: Yamux}
        super().__init__(options, negotiate_timeout)
        self._settings = settings

    async def new_conn(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        protocol, _ = await self._selector.select(conn, conn.is_initiator, self.negotiate_timeout)
        return self._annotate_connection(BoundedYamux(conn, peer_id, self._settings), conn, protocol)
