"""Recorded reproductions: four inputs of a few bytes end an unguarded py-libp2p 0.8.1 process.

`test_guards` and `test_gossip` send the same to our node. When one of these tests fails after an upgrade of libp2p, the
library has been mended and a guard may be simplified.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from google.protobuf.message import DecodeError
from libp2p import new_host
from libp2p.abc import IHost, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service.context import background_trio_service
from libp2p.utils import encode_varint_prefixed
from multiaddr import Multiaddr

from node.network.host import EdgeConnection
from tests.node.network.attacker import DATA, SYN, WINDOW_UPDATE, raw_host, write_yamux
from tests.node.network.town import free_port

KEY = bytes([77]) * 32
MESHSUB = "/meshsub/1.1.0"
GARBAGE_KEY = rpc_pb2.Message(
    data=b"x",
    topicIDs=["topic"],
    from_id=b"\x12\x20" + b"\1" * 32,
    seqno=b"1" * 8,
    signature=b"s" * 64,
    key=b"\xff\xff\xff",
)


@asynccontextmanager
async def stock(port: int) -> AsyncIterator[IHost]:
    """A host and its pubsub as the library's documentation makes them."""
    host = new_host(key_pair=create_new_key_pair(KEY))
    pubsub = Pubsub(host, GossipSub([TProtocol(MESHSUB)], 6, 3, 12))
    async with host.run([Multiaddr(f"/ip4/127.0.0.1/tcp/{port}")]), background_trio_service(pubsub):
        await pubsub.wait_until_ready()
        await pubsub.subscribe("topic")
        yield host


async def attack(name: str, connection: EdgeConnection) -> None:
    match name:
        case "handler":
            await (await connection.open_stream("/fails")).write(b"x")
        case "frame":
            await (await connection.open_stream(MESHSUB)).write(b"\x28" + b"\xff" * 40)
        case "key":
            frame = encode_varint_prefixed(rpc_pb2.RPC(publish=[GARBAGE_KEY]).SerializeToString())
            await (await connection.open_stream(MESHSUB)).write(frame)
        case "protocol":
            await write_yamux(connection, WINDOW_UPDATE, SYN, 1001)
            await write_yamux(connection, DATA, 0, 1001, b"\x04\xff\xff\xff\n")


@pytest.mark.parametrize(
    ("name", "error"),
    [("handler", ZeroDivisionError), ("frame", DecodeError), ("key", DecodeError), ("protocol", UnicodeDecodeError)],
)
async def test_stock_host_dies_of(name: str, error: type[Exception]) -> None:
    port = free_port()

    async def fails(_: INetStream) -> None:
        raise ZeroDivisionError

    with trio.fail_after(20), pytest.RaisesGroup(error, flatten_subgroups=True):
        async with stock(port) as host:
            host.set_stream_handler(TProtocol("/fails"), fails)
            arrived: list[EdgeConnection] = []
            attacker = raw_host(0, arrived)
            async with attacker.run():
                await attacker.dial(str(host.get_id()), f"/ip4/127.0.0.1/tcp/{port}")
                with suppress(Exception):
                    await attack(name, arrived[0])
                await trio.sleep(5)  # ended by the host's death
