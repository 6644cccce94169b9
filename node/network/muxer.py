"""yamux with the bounds py-libp2p 0.8.1 leaves out. Part of the libp2p edge (with `host` and `gossip`).

Stock behaviour these classes replace, measured in 0.8.1:
- a peer may send any amount beyond its window: 254 MiB of memory from 266 MB sent, no limit;
- a peer may open any number of streams: a task and its buffers for each;
- a peer whose machine is gone stays connected for ever: pings are sent but a missing answer has no consequence;
- every read sends a window update, encrypted and alone, before it returns what was read;
- every frame passes a dozen locks and formats as many log lines, on its way in and out: `session` and the methods here
  that say so go round them, with the same bytes on the wire.
"""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass
from typing import Any

import trio
from libp2p.abc import IMuxedConn, IMuxedStream, ISecureConn
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamReset
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux import yamux
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream

from node.network.session import Line, LineClosed
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

HEADER = struct.Struct(yamux.YAMUX_HEADER_FORMAT)
"""Version, type, flags, stream, length."""

logger = logging.getLogger(__name__)


class _BadFrame(Exception):
    """The peer sent what ends its connection. Its one argument says why."""


class SteadyStream(YamuxStream):
    """A stream that renews its window when half of it is used, not at every read, and does without locks.

    They guard nothing here: between two awaits no other task runs, and no method leaves anything half done at one.
    """

    def write_now(self, data: bytes) -> bool:
        """Takes all of `data`, which the connection's `drain` sends where the kernel would not; or takes nothing.

        data: at most MAX_MESSAGE_SIZE - HEADER_SIZE bytes.
        """
        if self.send_closed or self.closed or len(data) > self.send_window:
            return False
        header = HEADER.pack(0, yamux.TYPE_DATA, 0, self.stream_id, len(data))
        if not self.conn.write_now(header + data):  # type: ignore[attr-defined]  # ours is a BoundedYamux
            return False
        self.send_window -= len(data)
        return True

    def post(self, data: bytes) -> bool:
        """As `write_now`, for who does not wait: what the kernel would not have is sent on by a task."""
        return self.write_now(data) and (self.conn.send_on() or True)  # type: ignore[attr-defined]

    async def read(self, n: int | None = -1) -> bytes:
        """As stock's: some bytes, at most `n` unless that is negative. Raises: MuxedStreamReset, MuxedStreamEOF."""
        conn, key = self.conn, self.stream_id
        while True:
            buffer = conn.stream_buffers.get(key)
            if buffer:
                if n is None or n < 0 or n >= len(buffer):
                    data = bytes(buffer)
                    buffer.clear()
                else:
                    data = bytes(buffer[:n])
                    del buffer[:n]
                if self.closed:
                    conn._finalize_stream_locked(self, fully_closed=True)
                await self._auto_tune_and_send_window_update(bytes_read=len(data))
                return data
            event = conn.stream_events.get(key)
            if self.reset_received:
                raise MuxedStreamReset("stream was reset")
            if self.recv_closed or self.closed or buffer is None or event is None or conn.event_shutting_down.is_set():
                raise MuxedStreamEOF("stream is closed")
            await event.wait()
            if key in conn.stream_events:
                conn.stream_events[key] = trio.Event()

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
        self._line = Line(conn) if settings.enforce else None

    # ---- out ----

    def write_now(self, frame: bytes) -> bool:
        """Takes a whole frame unless others wait to be sent. What the kernel would not have is left to `drain`."""
        line = self._line
        if line is None or self._write_lock.locked() or not line.is_clear:
            return False
        line.send_now(frame)
        return True

    @property
    def is_clear(self) -> bool:
        """Whether all frames taken have left."""
        return self._line is None or self._line.is_clear

    async def drain(self) -> None:
        """Waits until they have. Raises: ConnectionClosedError, RawConnError."""
        if self._line is not None and not self._line.is_clear:
            async with self._write_lock:
                await self._line.drain()

    def send_on(self) -> None:
        """Has what the kernel would not take sent by a task of the connection, which dies with it."""
        if self._nursery is not None and not self.is_clear:
            self._nursery.start_soon(self._send_on)

    async def _send_on(self) -> None:
        with trio.move_on_after(self._settings.silence_s_max) as waiting:
            try:
                await self.drain()
            except (BaseLibp2pError, OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                logger.debug("connection of %s: %s", self.peer_id, error)
        if waiting.cancelled_caught:
            logger.warning("cut %s: it took nothing for %g s", self.peer_id, self._settings.silence_s_max)
            await self.abort()

    async def _write_frame(self, data: bytes) -> None:
        if self._line is None:
            await super()._write_frame(data)
        elif self.write_now(data):
            await self.drain()
        else:
            async with self._write_lock:
                await self._line.drain()
                self._line.send_now(data)
                await self._line.drain()

    # ---- in ----

    async def handle_incoming(self) -> None:
        """Takes frames until the connection ends."""
        if self._line is None:
            await super().handle_incoming()
            return
        pending = bytearray()
        try:
            while not self.event_shutting_down.is_set():
                pending += await self._line.receive()
                taken = 0
                while (frame := _next_frame(pending, taken)) is not None:
                    taken = await self._take_frame(pending, taken, *frame)
                del pending[:taken]
        except (LineClosed, trio.ClosedResourceError) as error:
            logger.debug("connection of %s: %s", self.peer_id, error)
        except _BadFrame as error:
            logger.warning("cut %s: %s", self.peer_id, error)
        except Exception as error:  # noqa: BLE001  what cannot be decrypted, or not be written: the line is of no more use
            logger.info("connection of %s: %s: %s", self.peer_id, type(error).__name__, error)
        self.event_shutting_down.set()
        await self._cleanup_on_error()

    async def _take_frame(  # noqa: PLR0917  what a header holds
        self, pending: bytearray, start: int, kind: int, flags: int, key: int, length: int
    ) -> int:
        """Does what one frame says. Returns where the next begins."""
        end = start + HEADER.size
        match kind:
            case yamux.TYPE_DATA | yamux.TYPE_WINDOW_UPDATE:
                stream = self.streams.get(key)
                if flags & yamux.FLAG_SYN:
                    stream = await self._opened(key, flags)
                if kind == yamux.TYPE_DATA:
                    end += length
                    if stream is not None and length:
                        self._append(stream, pending, start + HEADER.size, end)
                elif stream is not None:
                    stream.send_window += length
                if stream is not None and flags & (yamux.FLAG_FIN | yamux.FLAG_RST):
                    self._ended(stream, flags)
            case yamux.TYPE_PING if flags & yamux.FLAG_SYN:
                await self._write_frame(HEADER.pack(0, yamux.TYPE_PING, yamux.FLAG_ACK, 0, length))
            case yamux.TYPE_PING:
                rtt = trio.current_time() - self._ping_sent_time
                self._rtt = (self._rtt + rtt) / 2 if self._rtt else rtt
                self._ping_event.set()
            case yamux.TYPE_GO_AWAY:
                raise LineClosed(clean=True)
            case _:
                raise _BadFrame(f"a yamux frame of type {kind}")
        return end

    def _append(self, stream: YamuxStream, pending: bytearray, start: int, end: int) -> None:
        """Raises: _BadFrame where the peer already holds too much of our memory."""
        held = sum(len(buffer) for buffer in self.stream_buffers.values())
        if held + end - start > CONNECTION_BYTES_MAX:
            self._settings.tally.overruns += 1
            raise _BadFrame(f"{held} unread bytes, it ignores its windows")
        with memoryview(pending) as view:
            self.stream_buffers[stream.stream_id] += view[start:end]
        stream.recv_window = max(0, stream.recv_window - (end - start))
        self.stream_events[stream.stream_id].set()

    async def _opened(self, key: int, flags: int) -> YamuxStream | None:
        """A new inbound stream; None, and a reset, where its number is taken. Waits while too many are unaccepted."""
        if key in self.streams:
            await self._write_frame(HEADER.pack(0, yamux.TYPE_WINDOW_UPDATE, yamux.FLAG_RST, key, 0))
            return None
        stream = SteadyStream(key, self, is_initiator=False)
        self.streams[key] = stream
        self.stream_buffers[key] = bytearray()
        self.stream_events[key] = trio.Event()
        if not flags & yamux.FLAG_RST:
            await self._write_frame(HEADER.pack(0, yamux.TYPE_WINDOW_UPDATE, yamux.FLAG_ACK, key, 0))
        await self.new_stream_send_channel.send(stream)
        return self.streams.get(key)

    def _ended(self, stream: YamuxStream, flags: int) -> None:
        if flags & yamux.FLAG_FIN:
            stream.recv_closed = True
            stream.closed = stream.closed or stream.send_closed
        if flags & yamux.FLAG_RST:
            stream.closed = stream.reset_received = True
        self.stream_events[stream.stream_id].set()
        if stream.closed:
            self._finalize_stream_locked(stream, fully_closed=True)

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
            if self.aborted:
                return  # it was closed under them
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


def _next_frame(pending: bytearray, start: int) -> tuple[int, int, int, int] | None:
    """Type, flags, stream and length of the frame that begins at `start`; None where it has not come whole.

    Raises: _BadFrame for more data in one frame than any window allows.
    """
    if len(pending) - start < HEADER.size:
        return None
    _, kind, flags, key, length = HEADER.unpack_from(pending, start)
    if kind == yamux.TYPE_DATA:
        if length > STREAM_WINDOW_BYTES:
            raise _BadFrame(f"a yamux frame of {length} bytes")
        if len(pending) - start - HEADER.size < length:
            return None
    return kind, flags, key, length


class BoundedMuxer(MuxerMultistream):
    """Negotiates yamux (nothing else is offered) and makes it a bounded one: stock names its class in the code."""

    def __init__(self, settings: MuxerSettings, negotiate_timeout: int) -> None:
        options: Any = {yamux.PROTOCOL_ID: Yamux}
        super().__init__(options, negotiate_timeout)
        self._settings = settings

    async def new_conn(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        protocol, _ = await self._selector.select(conn, conn.is_initiator, self.negotiate_timeout)
        return self._annotate_connection(BoundedYamux(conn, peer_id, self._settings), conn, protocol)
