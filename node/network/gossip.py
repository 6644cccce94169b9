"""GossipSub on one topic, best effort, for observers and foreign clients; consensus never depends on it.

Part of the libp2p edge. Stock behaviour this replaces, measured in 0.8.1: a frame of about 40 bytes, or a message with
a garbage key, ends the process; above 10 messages a second and topic messages vanish; so they do when 32 wait for a
peer; the heartbeat comes every 120 s; every message a peer packs into one frame becomes a task.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import trio
from google.protobuf.message import DecodeError
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.exceptions import ParseError
from libp2p.io.abc import Reader
from libp2p.peer.id import ID
from libp2p.pubsub import pubsub as pubsub_module
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.rpc_queue import RpcQueue
from libp2p.tools.anyio_service.context import background_trio_service
from libp2p.utils.varint import decode_uvarint_from_stream

from node.network.host import CLOSE_S_MAX, EdgeStream, Host
from node.network.tally import Tally
from node.network.transport import StreamBroken
from node.network.values import FRAME_BYTES_MAX, NetworkSettings, StreamClass

PROTOCOL = TProtocol("/meshsub/1.1.0")
RPC_BYTES_MAX = 1024 * 1024
RPC_MESSAGES_MAX = 64
RPC_SUBSCRIPTIONS_MAX = 16
RPC_CONTROLS_MAX = 64
SEQNO_BYTES_MAX = 8
QUEUE_RPCS_MAX = 256
"""RPCs waiting for one peer before GossipSub drops (stock: 32, silently)."""
PACE_S_MAX = 0.05
"""Longest a publisher waits for a peer whose queue is half full."""
MESSAGES_PER_S_MAX = 100
MESSAGES_BURST_MAX = 500
"""Messages taken from one forwarder: a second on average, and at once; what is beyond is dropped unread."""
HOUSEKEEPING_S = 5.0
RESTART_S = 5.0
HEARTBEAT_S = 1

logger = logging.getLogger(__name__)


class _LongQueue(RpcQueue):
    def __init__(self) -> None:
        super().__init__(max_size=QUEUE_RPCS_MAX)


pubsub_module.RpcQueue = _LongQueue  # type: ignore[assignment, attr-defined]  # it is no argument of anything


class _Allowance:
    """A token bucket per forwarder."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, peer_id: str, now_s: float) -> bool:
        tokens, since = self._left.get(peer_id, (float(MESSAGES_BURST_MAX), now_s))
        tokens = min(float(MESSAGES_BURST_MAX), tokens + (now_s - since) * MESSAGES_PER_S_MAX)
        taken = tokens >= 1.0
        self._left[peer_id] = (tokens - 1.0 if taken else tokens, now_s)
        return taken

    def forget_idle(self, now_s: float) -> None:
        self._left = {
            peer: each for peer, each in self._left.items() if now_s - each[1] < MESSAGES_BURST_MAX / MESSAGES_PER_S_MAX
        }


class SafePubsub(Pubsub):
    """Pubsub that takes one topic's messages by members, in order, and survives what it cannot read."""

    def __init__(
        self,
        host: Host,
        router: GossipSub,
        *,
        settings: NetworkSettings,
        members: Callable[[], Mapping[str, str]],
        take: Callable[[str, bytes], None],
        tally: Tally,
    ) -> None:
        assert settings.gossip_topic is not None, "gossip is on"
        self._topic = settings.gossip_topic
        self._write_s_max = settings.write_s_max
        self._members = members
        self._deliver = take
        self._tally = tally
        self._me = host.peer_id
        self._allowance = _Allowance()
        self._streams_in: set[EdgeStream] = set()
        self._registering: set[ID] = set()
        super().__init__(
            host.libp2p, router, allowed_topics={self._topic}, max_inbound_rpc_size=RPC_BYTES_MAX, strict_signing=True
        )

    async def continuously_read_stream(self, stream: INetStream) -> None:
        """Reads RPCs one after the other: a peer that floods waits for itself. Stock starts a task for each message."""
        peer_id = stream.muxed_conn.peer_id
        edge = EdgeStream(stream, self._write_s_max)
        reader = _BufferedReader(edge)
        self._streams_in.add(edge)
        if peer_id not in self.peers:
            self._schedule_peer_stream_retry(peer_id)  # it gossips again; stock gave it up when it did not
        try:
            while True:
                await self._take_rpc(peer_id, await reader.delimited(RPC_BYTES_MAX))
        except StreamBroken as error:
            raise ParseError(error.reason) from error
        except (DecodeError, ParseError) as error:
            self._tally.malformed += 1
            logger.warning("reset the gossip stream of %s: %s: %s", peer_id, type(error).__name__, error)
            # What stock's stream handler takes as: reset the stream, forget the peer.
            raise ParseError("not an RPC of GossipSub") from error
        finally:
            self._streams_in.discard(edge)

    async def _handle_new_peer(self, peer_id: ID) -> None:
        """Opens the stream towards a peer, once: two at a time leave one nobody writes to."""
        if peer_id not in self._registering:
            self._registering.add(peer_id)
            try:
                await super()._handle_new_peer(peer_id)
            finally:
                self._registering.discard(peer_id)

    async def handle_sending_messages(self, peer_id: ID, stream: INetStream, queue: RpcQueue) -> None:
        """Writes to a peer, and notices when it ended the stream: stock does at the next write, and loses that."""
        edge = EdgeStream(stream, self._write_s_max)

        async def watch() -> None:
            with suppress(StreamBroken):
                await edge.read()
            if self.peers.get(peer_id) is stream:
                self._handle_dead_peer(peer_id)  # closes the queue, which ends the writer

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await super().handle_sending_messages(peer_id, stream, queue)
            nursery.cancel_scope.cancel()
        await edge.reset()

    async def end_streams(self) -> None:
        """Tells the peers that what they send here is read no more."""
        for edge in list(self._streams_in):
            await edge.reset()

    async def _take_rpc(self, peer_id: ID, data: bytes) -> None:
        rpc = rpc_pb2.RPC()
        rpc.ParseFromString(data)
        if len(rpc.publish) > RPC_MESSAGES_MAX or len(rpc.subscriptions) > RPC_SUBSCRIPTIONS_MAX:
            raise ParseError(f"RPC of {len(rpc.publish)} messages, {len(rpc.subscriptions)} subscriptions")
        for msg in rpc.publish:
            if self._allowance.take(str(peer_id), trio.current_time()):
                await self.push_msg(peer_id, msg)
            else:
                self._tally.drops_in += 1
        for subscription in rpc.subscriptions:
            self.handle_subscription(peer_id, subscription)
        if rpc.HasField("control"):
            await self.router.handle_rpc(rpc_pb2.RPC(control=self._bounded(rpc.control)), peer_id)

    def _bounded(self, control: Any) -> Any:
        """Only what concerns our topic, only so much of it, and no addresses of others."""
        ours = [[each for each in part if each.topicID == self._topic] for part in (control.ihave, control.graft)]
        # Looked at before it is copied: a topic that is no UTF-8 can be read, as bytes, and not be written.
        prunes = [each for each in control.prune if each.topicID == self._topic][:RPC_CONTROLS_MAX]
        return rpc_pb2.ControlMessage(
            ihave=ours[0][:RPC_CONTROLS_MAX],
            iwant=control.iwant[:RPC_CONTROLS_MAX],
            graft=ours[1][:RPC_CONTROLS_MAX],
            prune=[rpc_pb2.ControlPrune(topicID=each.topicID, backoff=each.backoff) for each in prunes],
        )

    async def push_msg(self, msg_forwarder: ID, msg: rpc_pb2.Message) -> None:
        """Checks, delivers and forwards one message. Never raises: stock dies of a key it cannot read."""
        try:
            if self._is_acceptable(msg):
                await super().push_msg(msg_forwarder, msg)
        except Exception as error:  # noqa: BLE001  whatever its bytes provoke ends this message only
            self._tally.handler_errors += 1
            logger.warning("dropped a gossip message from %s: %s: %s", msg_forwarder, type(error).__name__, error)

    def _is_acceptable(self, msg: rpc_pb2.Message) -> bool:
        author = str(ID(msg.from_id))
        return (
            list(msg.topicIDs) == [self._topic]
            and 1 <= len(msg.data) <= FRAME_BYTES_MAX[StreamClass.GOSSIP]
            and len(msg.seqno) <= SEQNO_BYTES_MAX
            # What this node publishes passes here too, and the live set need not name the node itself.
            and (author == self._me or author in self._members())
        )

    def notify_subscriptions(self, publish_message: rpc_pb2.Message) -> None:
        """Delivers a valid message to the inbox; stock drops it when 32 wait."""
        author = str(ID(publish_message.from_id))
        member_id = self._members().get(author)
        if author != self._me and member_id is not None:
            self._deliver(member_id, publish_message.data)

    def forget_idle(self) -> None:
        self._allowance.forget_idle(trio.current_time())


class _BufferedReader(Reader):
    """Reads what is there and hands out parts; stock asks the muxer for every byte of a length."""

    def __init__(self, stream: EdgeStream) -> None:
        self._stream = stream
        self._held = bytearray()

    async def read(self, n: int | None = None) -> bytes:
        """libp2p's Reader: exactly n bytes."""
        assert n is not None, "lengths are read byte by byte"
        return await self.exactly(n)

    async def delimited(self, bytes_max: int) -> bytes:
        """A varint length, then so many bytes. Raises: ParseError, StreamBroken."""
        size = await decode_uvarint_from_stream(self)
        if size > bytes_max:
            raise ParseError(f"RPC of {size} bytes")
        return await self.exactly(size)

    async def exactly(self, size: int) -> bytes:
        while len(self._held) < size:
            data = await self._stream.read()
            if not data:
                raise StreamBroken("ended")
            self._held += data
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken


class Gossip:
    """The topic's life in this node. A failure in it restarts it; nothing else notices."""

    def __init__(
        self,
        host: Host,
        settings: NetworkSettings,
        members: Callable[[], Mapping[str, str]],
        take: Callable[[str, bytes], None],
        tally: Tally,
    ) -> None:
        assert settings.gossip_topic is not None, "gossip is on"
        self._topic = settings.gossip_topic
        self._host = host
        self._tally = tally
        self._make: Callable[[GossipSub], SafePubsub] = lambda router: SafePubsub(
            host, router, settings=settings, members=members, take=take, tally=tally
        )
        self._pubsub: SafePubsub | None = None

    async def publish(self, frame: bytes) -> None:
        """Sends to the mesh; who is not in it, or too slow, misses it and asks for it by hash."""
        if self._pubsub is not None:
            await self._pubsub.publish(self._topic, frame)
            self._tally.frames_out += 1
            self._tally.bytes_out += len(frame)
            with trio.move_on_after(PACE_S_MAX):
                while any(len(queue) > QUEUE_RPCS_MAX // 2 for queue in self._pubsub.peer_queues.values()):
                    await trio.sleep(PACE_S_MAX / 10)
        await trio.lowlevel.checkpoint()

    async def run(self) -> None:
        while True:
            try:
                await self._run_once()
            except Exception as error:  # the library's services fail whole; the node must not fail with them
                self._tally.gossip_restarts += 1
                logger.warning("gossip failed and is started again: %s: %s", type(error).__name__, error, exc_info=True)
            await trio.sleep(RESTART_S)

    async def _run_once(self) -> None:
        router = GossipSub(
            [PROTOCOL],
            degree=6,
            degree_low=3,
            degree_high=12,
            heartbeat_interval=HEARTBEAT_S,
            adaptive_gossip_enabled=False,
            spam_protection_enabled=False,
            eclipse_protection_enabled=False,
        )
        swarm = self._host.swarm
        others = list(swarm.notifees)
        pubsub = self._make(router)
        known = list(swarm.connections)  # later ones the notifee, registered just now, reports
        try:
            async with background_trio_service(pubsub), background_trio_service(router), trio.open_nursery() as nursery:
                await pubsub.wait_until_ready()
                await pubsub.subscribe(self._topic)
                self._pubsub = pubsub
                for peer_id in known:
                    nursery.start_soon(pubsub.ensure_peer_stream, peer_id)
                await self._keep_house(pubsub, router)
        finally:
            self._pubsub = None
            swarm.notifees[:] = [each for each in swarm.notifees if each in others]
            self._host.libp2p.remove_stream_handler(PROTOCOL)
            pubsub.seen_messages._stop_event.set()  # ends its thread; stop() would wait for it
            with trio.CancelScope(deadline=trio.current_time() + CLOSE_S_MAX, shield=True):
                await pubsub.end_streams()

    async def _keep_house(self, pubsub: SafePubsub, router: GossipSub) -> None:
        """Forgets what stock keeps: a time per message for ever, and the last thousand messages in full."""
        while True:
            await trio.sleep(HOUSEKEEPING_S)
            router.recent_message_deliveries.clear()
            router.equivocation_detection.clear()
            pubsub.forget_idle()
