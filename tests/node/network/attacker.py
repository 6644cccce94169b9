"""A member, or a stranger, that plays foul: raw libp2p under its key, without any of our bounds."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from node.network import NetworkSettings
from node.network.host import EdgeConnection, Host
from node.network.tally import Tally
from node.network.transport import Stream
from tests.node.network.town import NUMBERS, Town, until

YAMUX_HEADER = struct.Struct("!BBHII")
DATA, WINDOW_UPDATE, SYN = 0, 1, 1
CONSENSUS_PROTOCOL = "/stretto/1/consensus"


class Attacker:
    """Connects to one node and sends what it likes."""

    def __init__(self, host: Host, victim_peer_id: str, victim_address: str, arrived: list[EdgeConnection]) -> None:
        self.host = host
        self._victim = (victim_peer_id, victim_address)
        self._arrived = arrived

    async def connect(self) -> EdgeConnection:
        """Returns the connection; a gate may have closed it already."""
        await self.host.dial(*self._victim)
        return self._arrived[-1]

    async def stream(self, protocol: str = CONSENSUS_PROTOCOL) -> Stream:
        live = [each for each in self._arrived if not each.closed.is_set()]
        return await (live[-1] if live else await self.connect()).open_stream(protocol)


@asynccontextmanager
async def attacking(
    town: Town, name: str = "m2", victim: str = "m0", listen: str | None = None
) -> AsyncIterator[Attacker]:
    """Plays member `name` of the town, which no honest node runs; a name beyond the town's is a stranger."""
    arrived: list[EdgeConnection] = []
    host = raw_host(int(name[1:]), arrived, listen)
    async with host.run():
        yield Attacker(host, town.peer_id(victim), town.addresses[victim], arrived)


def raw_host(index: int, arrived: list[EdgeConnection], listen: str | None = None, *, guarded: bool = False) -> Host:
    return Host(
        NetworkSettings(listen=listen),
        bytes([NUMBERS[index]]) * 32,
        gate=lambda _: True,
        arrived=arrived.append,
        tally=Tally(),
        guarded=guarded,
    )


async def write_yamux(connection: EdgeConnection, kind: int, flags: int, stream_id: int, body: bytes = b"") -> None:
    """One yamux frame, whatever the peer's windows say."""
    muxed: Any = connection._muxed
    await muxed._write_frame(YAMUX_HEADER.pack(0, kind, flags, stream_id, len(body)) + body)


async def gone(connection: EdgeConnection) -> None:
    await until(connection.closed.is_set)


class Proxy:
    """A TCP line that can go dead without a word, as when a machine loses power or a cable is pulled."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self.port = 0
        self._flowing = trio.Event()
        self._flowing.set()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, self._serve, 0)
            self.port = listeners[0].socket.getsockname()[1]
            task_status.started()

    def freeze(self) -> None:
        self._flowing = trio.Event()

    def thaw(self) -> None:
        self._flowing.set()

    async def _serve(self, near: trio.SocketStream) -> None:
        far = await trio.open_tcp_stream("127.0.0.1", self._target_port)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, near, far, nursery.cancel_scope)
            nursery.start_soon(self._pump, far, near, nursery.cancel_scope)

    async def _pump(self, source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope) -> None:
        try:
            while data := await source.receive_some(65536):
                await self._flowing.wait()
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        await self._flowing.wait()
        scope.cancel()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            await source.aclose()
            await sink.aclose()
