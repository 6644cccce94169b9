"""The line under yamux: bytes arrive whole and in order however the kernel cuts them, and a closed line says so."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from node.network.host import EdgeConnection, EdgeStream
from node.network.session import Line
from node.network.transport import Stream, StreamBroken
from tests.node.network.attacker import raw_host
from tests.node.network.town import NUMBERS, free_port, peer_of

PROTOCOL = "/test/line"
PIECE_BYTES = 128 * 1024


@asynccontextmanager
async def joined() -> AsyncIterator[tuple[EdgeConnection, list[Stream]]]:
    """A connection of two bounded hosts, and the streams that the other end accepted and leaves unread."""
    accepted: list[Stream] = []

    async def accept(stream: Stream, peer_id: str) -> None:
        accepted.append(stream)
        await trio.sleep_forever()

    listen = f"/ip4/127.0.0.1/tcp/{free_port()}"
    here: list[EdgeConnection] = []
    far, near = raw_host(0, [], listen, guarded=True), raw_host(1, here, guarded=True)
    far.handle(PROTOCOL, accept)
    with trio.fail_after(30):
        async with far.run(), near.run():
            await near.dial(peer_of(NUMBERS[0]), listen)
            yield here[0], accepted


async def accepted_by(streams: list[Stream], count: int) -> list[Stream]:
    while len(streams) < count:
        await trio.sleep(0.01)
    return streams


def pattern(name: str, size: int) -> bytes:
    return hashlib.shake_128(name.encode()).digest(size)


async def read_all(stream: Stream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.read()
    return data


@pytest.mark.parametrize("size", [1, 65_506, 65_507, 65_508, 65_524, 65_536, 200_000])
async def test_writes_of_all_sizes_arrive_whole(size: int) -> None:
    async with joined() as (connection, streams):
        stream = await connection.open_stream(PROTOCOL)
        (far,) = await accepted_by(streams, 1)
        await stream.write(pattern("x", size))
        assert await read_all(far, size) == pattern("x", size)


async def test_what_the_kernel_does_not_take_waits_and_nothing_overtakes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen writers of one connection with more than the socket's buffers hold, and a reader for each at the end."""
    count, pieces, waited = 16, 8, 0
    drain = Line.drain

    async def counting(line: Line) -> None:
        nonlocal waited
        waited += not line.is_clear
        await drain(line)

    monkeypatch.setattr(Line, "drain", counting)
    async with joined() as (connection, streams):
        near = [await connection.open_stream(PROTOCOL) for _ in range(count)]
        far = await accepted_by(streams, count)

        async def write(index: int) -> None:
            for piece in range(pieces):
                await near[index].write(pattern(f"{index}-{piece}", PIECE_BYTES))

        received: set[bytes] = set()

        async def read(stream: Stream) -> None:
            received.add(await read_all(stream, pieces * PIECE_BYTES))

        async with trio.open_nursery() as nursery:
            for index in range(count):
                nursery.start_soon(write, index)
            for stream in far:
                nursery.start_soon(read, stream)
    assert received == {b"".join(pattern(f"{i}-{p}", PIECE_BYTES) for p in range(pieces)) for i in range(count)}
    assert waited


async def test_a_closed_line_refuses_writes_and_ends_reads() -> None:
    async with joined() as (connection, streams):
        stream = await connection.open_stream(PROTOCOL)
        (far,) = await accepted_by(streams, 1)
        await stream.write(b"said")
        assert await far.read() == b"said"
        await connection.abort()
        with pytest.raises(StreamBroken):
            await stream.write(b"unsaid")
        with suppress(StreamBroken):
            assert await far.read() == b""


async def test_a_message_that_was_tampered_with_ends_the_connection() -> None:
    async with joined() as (connection, streams):
        stream = await connection.open_stream(PROTOCOL)
        (far,) = await accepted_by(streams, 1)
        assert isinstance(far, EdgeStream)
        line = connection._muxed._line
        assert line is not None
        await line._raw.write(b"\x00\x20" + bytes(32))
        await far._muxed.muxed_conn.event_closed.wait()
        await connection.closed.wait()
        with pytest.raises(StreamBroken):
            await stream.write(b"unsaid")
