"""The peer network: frames between members' nodes, each class on its own stream, and what came in, in turns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from consensus.errors import MalformedMessage
from node.network.farewell import PROTOCOL as FAREWELL
from node.network.farewell import Farewells, Proofs, Told
from node.network.frames import FrameReader, encode_frame
from node.network.inbox import Inbox
from node.network.keeper import Keeper, Presence, dials
from node.network.link import Link, protocol_of
from node.network.requests import Requests, Responder, SyncKind, encode_sync, parse_sync
from node.network.tally import Tally
from node.network.transport import Connection, Stream, StreamBroken, StreamHandler
from node.network.values import (
    DIRECT_CLASSES,
    FRAME_BYTES_MAX,
    SYNC_BODY_BYTES_MAX,
    FrameTooLarge,
    Inbound,
    NetworkCounters,
    NetworkSettings,
    StreamClass,
)

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # mypy reads its stubs of trio, which libp2p brings along

    from node.network.gossip import Gossip
    from node.network.host import Host

HEAR_OUT_S = 4.0
"""A second connection of a connected member is kept so long, for it to greet and to be told that it is the second."""
HEAR_FIRST_S = 1.0
"""Of which it has so long to greet: told first, it would end, and the first process never learn that there was one."""
MEMBERS_CHECK_S = 1.0
"""How often the member set is compared with the connections and the keepers."""

logger = logging.getLogger(__name__)

Members = Callable[[], Mapping[str, str]]
"""() -> peer id -> member id, live: whoever leaves the mapping is disconnected within MEMBERS_CHECK_S."""


class Network:
    """One node's connections to the other members' nodes. All calls from one trio thread."""

    def __init__(self, settings: NetworkSettings, seed: bytes, members: Members) -> None:
        """seed: 32 bytes, the private Ed25519 `peer` key. Nothing is opened before `run`."""
        if len(seed) != 32:
            raise ValueError(f"seed: expected 32 bytes of Ed25519, got {len(seed)}")
        self._settings = settings
        self._seed = seed
        self._members = members
        self._tally = Tally()
        self._inbox = Inbox()
        self._links: dict[str, Link] = {}
        self._presence: dict[str, Presence] = {}
        self._keepers: dict[str, Keeper] = {}
        self._streams_in: dict[tuple[str, StreamClass], Stream] = {}
        self._requests = Requests(self._send_sync)
        self._farewells = Farewells()
        self._connect_callbacks: list[Callable[[str], None]] = []
        self._hearing: set[str] = set()
        """Members of whom a second connection is being heard out."""
        self._words_for_second: Callable[[str], Sequence[bytes]] = lambda _member: ()
        self._host: Host | None = None
        self._gossip: Gossip | None = None
        self._nursery: trio.Nursery | None = None

    @property
    def inbound(self) -> trio.MemoryReceiveChannel[Inbound]:
        """Frames of all members, fair between them; slow consumption back-pressures the senders."""
        return self._inbox.inbound

    @property
    def peer_id(self) -> str:
        """Ours; known once `run` has started."""
        assert self._host is not None, "run() has started"
        return self._host.peer_id

    def addresses(self) -> tuple[str, ...]:
        """Multiaddrs it listens on, with the port the system chose; known once `run` has started."""
        return () if self._host is None else self._host.addresses()

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled. Raises: CannotListen."""
        from node.network.host import Host  # noqa: PLC0415  libp2p takes seconds to import

        self._host = host = Host(
            self._settings,
            self._seed,
            gate=self._is_member,
            arrived=self._arrived,
            tally=self._tally,
            may_be_told=self._farewells.is_due,
            leaving=self._leaving,
        )
        host.check_address()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for cls in DIRECT_CLASSES:
                host.handle(protocol_of(cls), self._reader_of(cls))
            host.handle(FAREWELL, self._farewells.reader(self._members))
            if self._settings.gossip_topic is not None:
                from node.network.gossip import Gossip  # noqa: PLC0415

                self._gossip = Gossip(host, self._settings, self._members, self._take_gossip, self._tally)
            nursery.start_soon(self._inbox.run)
            async with host.run():
                if self._gossip is not None:
                    nursery.start_soon(self._gossip.run)
                nursery.start_soon(self._follow_members)
                task_status.started()
                await trio.sleep_forever()

    # ---- out ----

    def send(self, member_id: str, cls: StreamClass, frame: bytes) -> bool:
        """Queues a frame for one member; False when it is not connected or its queue is full. Raises: FrameTooLarge."""
        link = self._links.get(member_id)
        encoded = self._encode(cls, frame)
        return link is not None and link.offer(cls, encoded)

    def broadcast(self, cls: StreamClass, frame: bytes, among: Callable[[str], bool] = lambda _member: True) -> None:
        """Queues a frame for every connected member that is `among` those meant; who is not connected asks later.

        Raises: FrameTooLarge.
        """
        encoded = self._encode(cls, frame)
        for member_id, link in self._links.items():
            if among(member_id):
                link.offer(cls, encoded)

    def _encode(self, cls: StreamClass, frame: bytes) -> bytes:
        if cls is StreamClass.GOSSIP:
            raise ValueError("GOSSIP frames are published, not sent")
        limit = SYNC_BODY_BYTES_MAX if cls is StreamClass.SYNC else FRAME_BYTES_MAX[cls]
        if not 1 <= len(frame) <= limit:
            raise FrameTooLarge(cls, len(frame), limit)
        return encode_frame(encode_sync(SyncKind.MESSAGE, 0, frame) if cls is StreamClass.SYNC else frame)

    def _send_sync(self, member_id: str, body: bytes, taken: trio.Event | None) -> bool:
        link = self._links.get(member_id)
        return link is not None and link.offer(StreamClass.SYNC, encode_frame(body), taken)

    async def request(self, member_id: str, frame: bytes, timeout_s: float) -> bytes:
        """Asks a member on SYNC. Raises: FrameTooLarge; NotConnected, RequestTimedOut, RequestRefused (Unanswered)."""
        return await self._requests.ask(member_id, frame, timeout_s)

    def set_responder(self, responder: Responder) -> None:
        """Answers members' requests, several at once; an exception in it is logged and refuses that request."""
        self._requests.set_responder(responder)

    async def publish(self, frame: bytes) -> None:
        """Puts a frame on the gossip topic, best effort; nothing happens without gossip. Raises: FrameTooLarge."""
        limit = FRAME_BYTES_MAX[StreamClass.GOSSIP]
        if not 1 <= len(frame) <= limit:
            raise FrameTooLarge(StreamClass.GOSSIP, len(frame), limit)
        if self._gossip is not None:
            await self._gossip.publish(frame)

    def connected(self) -> frozenset[str]:
        """Members reachable now on all three streams."""
        return frozenset(member_id for member_id, link in self._links.items() if link.is_ready)

    def on_connect(self, callback: Callable[[str], None]) -> None:
        """Calls back with the member id when a member becomes reachable, and again after frames to it were lost."""
        self._connect_callbacks.append(callback)

    def on_farewell(self, proofs: Proofs, told: Told) -> None:
        """proofs: for nodes whose members were removed. told: called with what others say of this node's removal."""
        self._farewells.use(proofs, told)

    def on_second(self, words: Callable[[str], Sequence[bytes]]) -> None:
        """words: (member id) -> CONSENSUS frames for a second process that connects with that member's key."""
        self._words_for_second = words

    def counters(self) -> NetworkCounters:
        self._tally.connected = len(self.connected())
        return self._tally.snapshot()

    # ---- connections ----

    def _is_member(self, peer_id: str) -> bool:
        return peer_id in self._members() and peer_id != self.peer_id  # nobody else may have our key

    def _arrived(self, connection: Connection) -> None:
        """A member's connection came up. One per member stays: the direction the ids say, the newest of it."""
        assert self._nursery is not None, "connections arrive while running"
        member_id = self._members().get(connection.peer_id)
        older = self._links.get(member_id) if member_id is not None else None
        if older is not None and older.connection.closed.is_set():
            older = None
        if member_id is None or (
            older is not None and self._is_canonical(older.connection) and not self._is_canonical(connection)
        ):
            if member_id is None or member_id in self._hearing:
                self._nursery.start_soon(connection.abort)
            else:
                self._nursery.start_soon(self._hear_out, member_id, connection)
            return
        if older is not None:
            # It was restarted, or its address changed: the old connection is dead and does not know it yet.
            self._nursery.start_soon(older.connection.abort)
        link = Link(member_id, connection, self._tally, ready=self._ready, lost=self._lost)
        self._links[member_id] = link
        self._presence_of(member_id).came()
        self._nursery.start_soon(self._serve, link)

    async def _hear_out(self, member_id: str, connection: Connection) -> None:
        """A second connection of a connected member: of a second process with its key, perhaps.

        So it is told what is known of the first, may greet for a moment, and ends. What it sends is taken like the
        first one's, whose streams open again.
        """
        self._hearing.add(member_id)
        try:
            with trio.move_on_after(HEAR_OUT_S), suppress(StreamBroken):
                stream = await connection.open_stream(protocol_of(StreamClass.CONSENSUS))
                await trio.sleep(HEAR_FIRST_S)
                for frame in self._words_for_second(member_id):
                    await stream.write(encode_frame(frame))
                await connection.closed.wait()
        finally:
            self._hearing.discard(member_id)
            with trio.CancelScope(shield=True):
                await connection.abort()

    def _leaving(self, connection: Connection) -> None:
        assert self._nursery is not None, "connections arrive while running"
        self._nursery.start_soon(self._farewells.say, connection)

    async def _serve(self, link: Link) -> None:
        await link.run()
        if self._links.get(link.member_id) is link:
            del self._links[link.member_id]
            self._presence_of(link.member_id).went()
            # Who is refused again and again, having been removed there, must not fill the disk with it.
            level = logging.INFO if link.was_ready else logging.DEBUG
            logger.log(level, "disconnected from %s", link.member_id)

    def _presence_of(self, member_id: str) -> Presence:
        return self._presence.setdefault(member_id, Presence())

    def _is_canonical(self, connection: Connection) -> bool:
        return connection.outbound == dials(self.peer_id, connection.peer_id)

    def _ready(self, member_id: str) -> None:
        link = self._links.get(member_id)
        if link is not None and not link.was_ready:
            link.was_ready = True
            logger.info("connected to %s (%s)", member_id, "dialled" if link.connection.outbound else "accepted")
        for callback in self._connect_callbacks:
            callback(member_id)

    def _lost(self, member_id: str, cls: StreamClass) -> None:
        if cls is StreamClass.SYNC:
            self._requests.lost(member_id)

    async def _follow_members(self) -> None:
        """Starts a keeper for every member with an address, ends those of who left, and disconnects them."""
        assert self._nursery is not None, "run() has started"
        assert self._host is not None, "run() has started"
        while True:
            members = self._members()
            for peer_id, member_id in members.items():
                if peer_id != self.peer_id and member_id in self._settings.peers and peer_id not in self._keepers:
                    keeper = Keeper(
                        member_id=member_id,
                        peer_id=peer_id,
                        my_peer_id=self.peer_id,
                        presence=self._presence_of(member_id),
                        settings=self._settings,
                        dial=self._host.dial,
                        tally=self._tally,
                    )
                    self._keepers[peer_id] = keeper
                    self._nursery.start_soon(keeper.run)
            for peer_id in [each for each in self._keepers if each not in members]:
                self._keepers.pop(peer_id).scope.cancel()
            for link in list(self._links.values()):
                if members.get(link.connection.peer_id) != link.member_id:
                    logger.info("disconnecting %s: no longer a member", link.member_id)
                    await link.connection.abort()
            await trio.sleep(MEMBERS_CHECK_S)

    # ---- in ----

    def _reader_of(self, cls: StreamClass) -> StreamHandler:
        """Reads one inbound stream of a class until it ends; its frames wait for the consumer, its peer with them."""

        async def read(stream: Stream, peer_id: str) -> None:
            member_id = self._members().get(peer_id)
            if member_id is None:
                return
            key = (member_id, cls)
            older = self._streams_in.get(key)
            self._streams_in[key] = stream
            if older is not None:
                await older.reset()
            frames = FrameReader(cls.value, FRAME_BYTES_MAX[cls])
            try:
                while data := await stream.read():
                    for frame in frames.feed(data):
                        await self._take(member_id, cls, frame)
            except MalformedMessage as error:
                self._tally.malformed += 1
                logger.warning("reset the %s stream of %s: %s", cls.value, member_id, error)
            except StreamBroken as error:
                logger.debug("%s stream of %s: %s", cls.value, member_id, error.reason)
            except trio.TooSlowError:
                logger.warning("reset the %s stream of %s: nobody takes its frames", cls.value, member_id)
            finally:
                if self._streams_in.get(key) is stream:
                    del self._streams_in[key]

        return read

    async def _take(self, member_id: str, cls: StreamClass, frame: bytes) -> None:
        self._tally.frames_in += 1
        self._tally.bytes_in += len(frame)
        if cls is StreamClass.SYNC:
            assert self._nursery is not None, "frames come while running"
            kind, request_id, frame = parse_sync(frame)
            if kind is not SyncKind.MESSAGE:
                self._requests.receive(member_id, kind, request_id, frame, self._nursery)
                return
        inbound = Inbound(member_id=member_id, cls=cls, frame=frame)
        if not self._inbox.offer(inbound):
            with trio.fail_after(self._settings.consume_s_max):
                await self._inbox.put(inbound)

    def _take_gossip(self, member_id: str, frame: bytes) -> None:
        self._tally.frames_in += 1
        self._tally.bytes_in += len(frame)
        if not self._inbox.offer(Inbound(member_id=member_id, cls=StreamClass.GOSSIP, frame=frame)):
            self._tally.drops_in += 1
