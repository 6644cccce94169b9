"""The libp2p host: TCP, noise, yamux, a gate by peer id, and a guard round everything that would end the process.

With `muxer` and `gossip` the only module that knows libp2p. It is imported when a network starts, not before: 1-3 s.
"""

from __future__ import annotations

import logging
import math
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p.abc import IMuxedConn, INetStream, IRawConnection
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_new_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.host.basic_host import BasicHost
from libp2p.identity.identify_push.identify_push import ID_PUSH
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.connection import swarm_connection
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_ID
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.transport.tcp.tcp import TCP
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr

from node.network.muxer import BoundedMuxer, BoundedYamux, MuxerSettings
from node.network.peer_id import peer_id_of
from node.network.tally import Tally
from node.network.transport import DialFailed, Stream, StreamBroken, StreamHandler
from node.network.values import CannotListen, NetworkSettings

READ_BYTES = 64 * 1024
WRITE_BYTES = 65_519 - 12
"""What yamux puts into one DATA frame, and noise into one message."""
CONNECTIONS_MAX = 512
HANDSHAKES_PER_ADDRESS_MAX = 16
"""Inbound connections of one IP address that have not yet proved who they are; a stranger can hold no more."""
HANDSHAKE_S_MAX = 5
NEGOTIATE_S_MAX = 5
CLOSE_S_MAX = 2.0
REFUSALS_LOGGED = 100

logger = logging.getLogger(__name__)
_quiet = logging.getLogger("libp2p")


def silence_libp2p() -> None:
    """libp2p logs an error for every failed dial and formats addresses, frames and messages: we log what matters."""
    # Some of its modules set their own level.
    for name in ("libp2p", *(each for each in logging.root.manager.loggerDict if each.startswith("libp2p."))):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    # It calls logging.debug on the root logger, which installs a handler there as a side effect.
    swarm_connection.logging = _quiet.getChild("swarm_connection")  # type: ignore[assignment, attr-defined]


class EdgeStream:
    """A libp2p stream as ours: one kind of error, and no state machine between us and the muxer."""

    def __init__(self, net: INetStream, write_s_max: float) -> None:
        self._net: Any = net
        self._muxed: Any = net.muxed_stream  # type: ignore[attr-defined]
        self._write_s_max = write_s_max

    async def read(self) -> bytes:
        try:
            data: bytes = await self._muxed.read(READ_BYTES)
        except EOFError:
            return b""
        except (BaseLibp2pError, OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise StreamBroken(f"read: {type(error).__name__}: {error}") from error
        return data

    def write_now(self, data: bytes) -> bool:
        return len(data) <= WRITE_BYTES and bool(self._muxed.post(data))

    async def write(self, data: bytes) -> None:
        # Piece by piece, so that the deadline is about progress: a large frame on a slow line is no dead peer.
        for start in range(0, len(data), WRITE_BYTES):
            await self._write_piece(data if len(data) <= WRITE_BYTES else data[start : start + WRITE_BYTES])

    async def _write_piece(self, piece: bytes) -> None:
        muxed = self._muxed
        taken = muxed.write_now(piece)
        if taken and muxed.conn.is_clear:
            return  # the kernel has it: there is nothing to wait for
        with trio.move_on_after(self._write_s_max) as waiting:
            try:
                await (muxed.conn.drain() if taken else muxed.write(piece))
            except (BaseLibp2pError, OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise StreamBroken(f"write: {type(error).__name__}: {error}") from error
        if waiting.cancelled_caught:
            # Part of an encrypted message may have left: the whole connection is torn.
            await muxed.muxed_conn.abort()
            raise StreamBroken(f"write: the peer took nothing for {self._write_s_max:g} s")

    async def reset(self) -> None:
        with trio.move_on_after(self._write_s_max) as waiting:
            await self._net.reset()
        if waiting.cancelled_caught:
            await self._muxed.muxed_conn.abort()


class EdgeConnection:
    """A libp2p connection as ours."""

    def __init__(self, conn: SwarmConn, muxed: BoundedYamux, outbound: bool, write_s_max: float) -> None:
        self._conn = conn
        self._muxed = muxed
        self._write_s_max = write_s_max
        self.outbound = outbound
        self.peer_id = str(muxed.peer_id)
        self.closed = muxed.event_closed

    async def open_stream(self, protocol: str) -> Stream:
        try:
            net = await self._conn.new_stream()
            stream = EdgeStream(net, self._write_s_max)
            try:
                await MultiselectClient().select_one_of(
                    [TProtocol(protocol)], MultiselectCommunicator(net), NEGOTIATE_S_MAX
                )
            except BaseException:
                with trio.CancelScope(shield=True):
                    await stream.reset()
                raise
        except (BaseLibp2pError, OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise StreamBroken(f"open {protocol}: {type(error).__name__}: {error}") from error
        return stream

    async def abort(self) -> None:
        await self._muxed.abort()


class GuardedSwarm(Swarm):
    """A swarm for members only, that dials only when told to, and forgets connections that ended."""

    gate: Callable[[str], bool]
    may_be_told: Callable[[str], bool]
    arrived: Callable[[EdgeConnection], None]
    leaving: Callable[[EdgeConnection], None]
    tally: Tally
    write_s_max: float

    async def add_conn(self, muxed_conn: IMuxedConn, direction: str = "unknown") -> SwarmConn:
        """The gate: here noise has proved the peer id, inbound and outbound; stock gates only by IP address."""
        assert isinstance(muxed_conn, BoundedYamux), "the upgrader makes nothing else"
        peer_id = str(muxed_conn.peer_id)
        is_member = self.gate(peer_id)
        if not is_member and not self.may_be_told(peer_id):
            self.tally.refused_connections += 1
            # A stranger that insists must not fill the disk.
            level = logging.INFO if self.tally.refused_connections <= REFUSALS_LOGGED else logging.DEBUG
            logger.log(level, "refused %s connection of %s: not a member", direction, peer_id)
            await muxed_conn.abort()
            raise SwarmException("not a member")
        conn = await super().add_conn(muxed_conn, direction)
        if not muxed_conn.is_closed:
            edge = EdgeConnection(conn, muxed_conn, direction == "outbound", self.write_s_max)
            (self.arrived if is_member else self.leaving)(edge)
        return conn

    async def dial_peer(self, peer_id: ID) -> list[Any]:
        """Refused: only the keepers dial, by `dial_addr`, and only configured addresses.

        Stock's connection manager dials whatever a peer advertised, also with watermarks of zero (it aims at the middle
        of low and high), and so does every attempt to open a stream.
        """
        raise SwarmException(f"not connected to {peer_id}")

    async def upgrade_inbound_raw_conn(self, raw_conn: IRawConnection, maddr: Multiaddr) -> IMuxedConn:
        """Stock keeps a task and an inbound slot for every connection there ever was: the 300th is the last."""
        address = _address_of(raw_conn)
        if self._handshakes[address] >= HANDSHAKES_PER_ADDRESS_MAX:
            await raw_conn.close()
            raise SwarmException(f"too many handshakes from {address}")
        self._handshakes[address] += 1
        try:
            muxed = await super().upgrade_inbound_raw_conn(raw_conn, maddr)
        finally:
            self._handshakes[address] -= 1
            if not self._handshakes[address]:
                del self._handshakes[address]
        assert isinstance(muxed, BoundedYamux), "the upgrader makes nothing else"
        await muxed.event_closed.wait()
        raise SwarmException("the connection has ended")  # frees the slot and the task

    def prepare(  # noqa: PLR0917  called once, by the host
        self,
        gate: Callable[[str], bool],
        may_be_told: Callable[[str], bool],
        arrived: Callable[[EdgeConnection], None],
        leaving: Callable[[EdgeConnection], None],
        tally: Tally,
        write_s_max: float,
    ) -> None:
        self.gate = gate
        self.may_be_told = may_be_told
        self.arrived = arrived
        self.leaving = leaving
        self.tally = tally
        self.write_s_max = write_s_max
        self._handshakes: Counter[str] = Counter()
        self._inbound_limiter = trio.CapacityLimiter(math.inf)  # CONNECTIONS_MAX and the handshakes bound them


class QuietHost(BasicHost):
    """A host that asks nobody for addresses and takes none: members come from the ledger, addresses from the config."""

    def _schedule_identify(self, peer_id: ID, *, reason: str) -> None:
        pass

    async def _push_identify_to_all_peers(self) -> None:
        pass


class Host:
    """The running host. `arrived` is called with every connection of a member, after the gate."""

    def __init__(
        self,
        settings: NetworkSettings,
        seed: bytes,
        *,
        gate: Callable[[str], bool],
        arrived: Callable[[EdgeConnection], None],
        tally: Tally,
        may_be_told: Callable[[str], bool] = lambda _peer_id: False,
        leaving: Callable[[EdgeConnection], None] = lambda _connection: None,
        guarded: bool = True,
    ) -> None:
        """may_be_told, leaving: a connection that the gate refuses is given to `leaving` where it may be told why.

        seed: 32 bytes, the Ed25519 `peer` key. guarded=False: stock behaviour, for tests of the guards only."""
        silence_libp2p()
        self._settings = settings
        self._tally = tally
        keys = create_new_key_pair(seed)
        peer_id = ID.from_pubkey(keys.public_key)
        self.peer_id = peer_id_of(keys.public_key.to_bytes())
        assert self.peer_id == str(peer_id), "our peer ids are libp2p's"
        # noise only: stock also offers plaintext, which proves no identity at all.
        noise: Any = {NOISE_ID: NoiseTransport(keys, noise_privkey=create_new_x25519_key_pair().private_key)}
        upgrader = TransportUpgrader(noise, {}, NEGOTIATE_S_MAX)
        upgrader.muxer_multistream = BoundedMuxer(
            MuxerSettings(
                keepalive_s=settings.keepalive_s, silence_s_max=settings.silence_s_max, tally=tally, enforce=guarded
            ),
            NEGOTIATE_S_MAX,
        )
        peerstore = PeerStore()
        peerstore.add_key_pair(peer_id, keys)
        self.swarm = GuardedSwarm(
            peer_id,
            peerstore,
            upgrader,
            transports=[TCP()],
            retry_config=RetryConfig(max_retries=0),
            connection_config=ConnectionConfig(
                max_connections=CONNECTIONS_MAX,
                min_connections=0,
                low_watermark=0,
                high_watermark=CONNECTIONS_MAX,
                inbound_upgrade_timeout=HANDSHAKE_S_MAX,
                outbound_upgrade_timeout=HANDSHAKE_S_MAX,
                inbound_stream_protocol_negotiation_timeout=NEGOTIATE_S_MAX,
                outbound_stream_protocol_negotiation_timeout=NEGOTIATE_S_MAX,
            ),
        )
        self.swarm.prepare(gate, may_be_told, arrived, leaving, tally, settings.write_s_max)
        self.libp2p = QuietHost(network=self.swarm, disable_identify_address_discovery=True)
        self.libp2p.remove_stream_handler(ID_PUSH)
        if guarded:
            self._guard_handlers()

    def _guard_handlers(self) -> None:
        """An exception in any stream handler, the library's own included, otherwise climbs up and ends the process."""
        inner = self.swarm.common_stream_handler

        async def guarded(net: INetStream) -> None:
            try:
                await inner(net)
            except Exception as error:  # noqa: BLE001  the guard: whatever a peer's bytes provoke ends its stream only
                self._tally.handler_errors += 1
                logger.warning("reset a stream of %s: %s: %s", net.muxed_conn.peer_id, type(error).__name__, error)
                await EdgeStream(net, self._settings.write_s_max).reset()

        self.swarm.set_stream_handler(guarded)

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        """Serves a protocol. The stream is reset when the handler returns."""

        async def serve(net: INetStream) -> None:
            stream = EdgeStream(net, self._settings.write_s_max)
            try:
                await handler(stream, str(net.muxed_conn.peer_id))
            finally:
                with trio.CancelScope(shield=True):
                    await stream.reset()

        self.libp2p.set_stream_handler(TProtocol(protocol), serve)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Raises: CannotListen, in an ExceptionGroup (`check_address` before says almost all of it plainly)."""
        listen = self._settings.listen
        async with self.libp2p.run([] if listen is None else [Multiaddr(listen)]):
            if listen is not None and not self.swarm.listeners:
                raise CannotListen(listen, "libp2p refused the address")
            try:
                yield
            finally:
                with trio.CancelScope(deadline=trio.current_time() + CLOSE_S_MAX, shield=True):
                    await self._close()

    async def _close(self) -> None:
        """Cancelled, stock leaves its listeners (system tasks) and connections open until the process ends."""
        for listener in list(self.swarm.listeners.values()):
            await listener.close()
        async with trio.open_nursery() as nursery:
            for conns in list(self.swarm.connections.values()):
                for muxed in [conn.muxed_conn for conn in conns]:
                    assert isinstance(muxed, BoundedYamux), "the upgrader makes nothing else"
                    nursery.start_soon(muxed.abort)

    def check_address(self) -> None:
        """Raises: CannotListen when the listen address is unusable or taken."""
        if self._settings.listen is not None:
            _check_free(self._settings.listen)

    def addresses(self) -> tuple[str, ...]:
        """Where it listens, with the port the system chose."""
        return tuple(str(address) for listener in self.swarm.listeners.values() for address in listener.get_addrs())

    async def dial(self, peer_id: str, address: str) -> None:
        """Connects; `arrived` has been called when it returns. Raises: DialFailed."""
        target = ID.from_base58(peer_id)
        try:
            with trio.fail_after(self._settings.dial_s_max):
                # `dial_addr` looks at no negative cache; pubsub's own attempts do, and must not wait 60 s.
                self.swarm.unblock_peer(target)
                await self.swarm.dial_addr(await _resolve(address), target)
        except (BaseLibp2pError, OSError, ValueError) as error:
            raise DialFailed(peer_id, address, f"{type(error).__name__}: {error}") from error
        except trio.TooSlowError:
            raise DialFailed(peer_id, address, f"no connection within {self._settings.dial_s_max:g} s") from None


def _address_of(raw_conn: Any) -> str:
    """Who connected; libp2p's own answer is None for IPv6."""
    try:
        return str(raw_conn.stream.stream.socket.getpeername()[0])
    except (AttributeError, OSError):
        return ""


def _protocols(address: str) -> Mapping[str, str]:
    parts = address.strip("/").split("/")
    return dict(zip(parts[::2], parts[1::2], strict=False))


async def _resolve(address: str) -> Multiaddr:
    """Names through the system's resolver (hosts file included); libp2p asks DNS servers only."""
    parts = _protocols(address)
    name = next((parts[kind] for kind in ("dns", "dns4", "dns6") if kind in parts), None)
    if name is None:
        return Multiaddr(address)
    family = {"dns4": socket.AF_INET, "dns6": socket.AF_INET6}.get(next(iter(parts)), socket.AF_UNSPEC)
    found = await trio.socket.getaddrinfo(name, int(parts["tcp"]), family=family, type=socket.SOCK_STREAM)
    kind = "ip6" if found[0][0] == socket.AF_INET6 else "ip4"
    return Multiaddr(f"/{kind}/{found[0][4][0]}/tcp/{parts['tcp']}")


def _check_free(listen: str) -> None:
    """libp2p listens with SO_REUSEPORT: a second node on the same port would silently share its connections."""
    parts = _protocols(listen)
    if "tcp" not in parts or not ("ip4" in parts or "ip6" in parts):
        raise CannotListen(listen, "expected /ip4/ADDRESS/tcp/PORT or /ip6/ADDRESS/tcp/PORT")
    family = socket.AF_INET6 if "ip6" in parts else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((parts.get("ip4") or parts["ip6"], int(parts["tcp"])))
        except OSError as error:
            raise CannotListen(listen, str(error)) from error
