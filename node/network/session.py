"""The encrypted line under yamux: as noise's own session on the wire, with one system call for all that is there.

Stock (py-libp2p 0.8.1) reads the two bytes of a length and then the message, each behind locks and a task switch, and
writes through six layers of them: some 100 us a frame and direction, where a node of four sends and takes a dozen
frames a block (docs/performance.md). Part of the libp2p edge (with `host`, `muxer` and `gossip`).
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import trio
from libp2p.abc import ISecureConn
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.security.noise.io import MAX_PLAINTEXT_LENGTH, NoiseTransportReadWriter
from libp2p.security.secure_session import SecureSession

READ_BYTES = 64 * 1024
"""Taken from the socket at once."""
_LENGTH = struct.Struct(">H")


class LineClosed(Exception):
    """The peer closed the line, or it broke. clean: between two messages."""

    def __init__(self, *, clean: bool) -> None:
        super().__init__("closed by the peer" if clean else "broken within a message")
        self.clean = clean


class Line:
    """Reads and writes the socket of a secured connection directly. One reader; writers take turns (`BoundedYamux`).

    Closing stays with the connection: afterwards the socket refuses every call.
    """

    def __init__(self, secured: ISecureConn) -> None:
        """secured: noise over TCP, its handshake done; nothing else may read or write it from now on."""
        assert isinstance(secured, SecureSession), "the upgrader offers noise alone"
        messages = secured.conn
        assert isinstance(messages, NoiseTransportReadWriter), "the handshake is done"
        raw: Any = messages.read_writer.read_write_closer
        assert isinstance(raw, RawConnection), "TCP is the only transport"
        assert isinstance(raw.stream, TrioTCPStream), "TCP is the only transport"
        self._messages = messages
        self._raw = raw
        # The system's own: trio's wrapper makes every call a task switch. Closed, it refuses what comes later.
        self._socket: socket.socket = raw.stream.stream.socket._sock  # type: ignore[attr-defined]
        self._sealed = bytearray()
        """Read, not yet a whole message."""
        self._opened = secured._drain(None)
        self._unsent = b""

    async def receive(self) -> bytes:
        """What has come, at least one byte. Raises: LineClosed; what decrypting raises; trio.ClosedResourceError."""
        if self._opened:
            opened, self._opened = self._opened, b""
            return opened
        while True:
            await trio.lowlevel.wait_readable(self._socket)  # type: ignore[arg-type]  # it takes sockets too
            try:
                data = self._socket.recv(READ_BYTES)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                raise LineClosed(clean=False) from error
            if not data:
                raise LineClosed(clean=not self._sealed)
            opened = self._open(data)
            if opened:
                return opened

    def _open(self, data: bytes) -> bytes:
        """The plaintext of all messages that `data` completes."""
        sealed = self._sealed
        sealed += data
        messages: list[bytes] = []
        start = 0
        while len(sealed) - start >= _LENGTH.size:
            end = start + _LENGTH.size + _LENGTH.unpack_from(sealed, start)[0]
            if end > len(sealed):
                break
            messages.append(self._messages.decrypt(bytes(sealed[start + _LENGTH.size : end])))
            start = end
        del sealed[:start]
        return messages[0] if len(messages) == 1 else b"".join(messages)

    @property
    def is_clear(self) -> bool:
        """Whether all that was given to `send_now` has left."""
        return not self._unsent

    def send_now(self, data: bytes) -> None:
        """Encrypts and sends as much as the kernel takes; `drain` sends the rest. Only while `is_clear`."""
        assert self.is_clear, "what is encrypted first is sent first"
        if len(data) <= MAX_PLAINTEXT_LENGTH:
            sealed = self._seal(data)
        else:
            pieces = range(0, len(data), MAX_PLAINTEXT_LENGTH)
            sealed = b"".join(self._seal(data[start : start + MAX_PLAINTEXT_LENGTH]) for start in pieces)
        try:
            sent = self._socket.send(sealed)
        except OSError:
            sent = 0  # the kernel's buffer is full; or the line broke, and `drain` says so
        if sent < len(sealed):
            self._unsent = sealed[sent:]

    def _seal(self, data: bytes) -> bytes:
        sealed = self._messages.encrypt(data)
        return _LENGTH.pack(len(sealed)) + sealed

    async def drain(self) -> None:
        """Sends what `send_now` could not. Not for two at once. Raises: ConnectionClosedError, RawConnError."""
        if self._unsent:
            if self._socket.fileno() < 0:  # stock would take the bytes and say nothing
                raise ConnectionClosedError("the connection was closed here")
            await self._raw.write(self._unsent)
            self._unsent = b""
