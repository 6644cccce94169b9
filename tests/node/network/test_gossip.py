"""The gossip topic: what arrives, and what a member can send at it without harm."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import PUBSUB_SIGNING_PREFIX
from libp2p.utils import encode_varint_prefixed
from libp2p.utils.varint import encode_uvarint

from node.network import FrameTooLarge, Inbound, StreamClass
from node.network.gossip import MESSAGES_BURST_MAX, MESSAGES_PER_S_MAX, RPC_BYTES_MAX, RPC_MESSAGES_MAX, Gossip
from node.network.transport import Stream, StreamBroken
from node.network.values import FRAME_BYTES_MAX
from tests.node.network.attacker import Attacker, attacking
from tests.node.network.town import NUMBERS, Town, found, receive, until

TOPIC = "stretto/payloads"
MESHSUB = "/meshsub/1.1.0"
GOSSIP = StreamClass.GOSSIP


def gossip_of(town: Town, name: str) -> Gossip:
    gossip = town[name]._gossip
    assert gossip is not None
    return gossip


async def meshed(town: Town, *names: str) -> None:
    """Waits until the nodes have each other in their meshes."""

    def ready() -> bool:
        meshes = [gossip._pubsub and gossip._pubsub.router.mesh.get(TOPIC) for gossip in gossips]
        return all(mesh is not None and len(mesh) >= len(names) - 1 for mesh in meshes)

    gossips: list[Any] = [gossip_of(town, name) for name in names]
    await until(ready)


def message(
    author: int, number: int, data: bytes = b"forged", *, topic: str = TOPIC, **changes: bytes
) -> rpc_pb2.Message:
    """A message signed by a town member's key, then changed."""
    keys = create_new_key_pair(bytes([NUMBERS[author]]) * 32)
    made = rpc_pb2.Message(
        data=data,
        topicIDs=[topic],
        from_id=ID.from_pubkey(keys.public_key).to_bytes(),
        seqno=number.to_bytes(8, "big"),
    )
    made.signature = keys.private_key.sign(PUBSUB_SIGNING_PREFIX.encode() + made.SerializeToString())
    made.key = keys.public_key.serialize()
    for name, value in changes.items():
        setattr(made, name, value)
    return made


async def send(stream: Stream, *messages: rpc_pb2.Message) -> None:
    await stream.write(rpc(publish=messages))


async def still_works(town: Town) -> None:
    """An honest member's frame still arrives, by gossip and directly, and nothing forged came before it."""
    await meshed(town, "m0", "m1")
    await town["m1"].publish(b"honest")
    with trio.fail_after(10):
        got = await town["m0"].inbound.receive()
    assert got == Inbound(member_id="m1", cls=GOSSIP, frame=b"honest")
    await town.hears("m0", "m1")


async def test_every_member_gets_a_burst_and_the_publisher_does_not_hear_itself() -> None:
    """Stock delivers 50 of 250 here (ten a second and topic), or 102 of 500 (queues of 32)."""
    async with found(3, gossip_topic=TOPIC) as town:
        await meshed(town, "m0", "m1", "m2")
        for number in range(400):
            await town["m0"].publish(b"%d" % number + bytes(300))
        for name in ("m1", "m2"):
            got = [await receive(town[name]) for _ in range(400)]
            assert {each.member_id for each in got} == {"m0"}
            assert sorted(int(each.frame[:-300]) for each in got) == list(range(400))
        with pytest.raises(trio.WouldBlock):
            town["m0"].inbound.receive_nowait()


async def test_largest_frame_is_published_and_a_larger_one_refused() -> None:
    async with found(2, gossip_topic=TOPIC) as town:
        await meshed(town, "m0", "m1")
        largest = bytes(FRAME_BYTES_MAX[GOSSIP])
        await town["m0"].publish(largest)
        assert (await receive(town["m1"])).frame == largest
        for size in (0, len(largest) + 1):
            with pytest.raises(FrameTooLarge):
                await town["m0"].publish(bytes(size))


async def test_without_a_topic_nothing_is_gossiped() -> None:
    async with found(3, running=2) as town, attacking(town) as attacker:
        await town["m0"].publish(b"to nobody")
        with pytest.raises(StreamBroken):
            await attacker.stream(MESHSUB)
        await town.hears("m0", "m1")


async def test_member_without_gossip_lives_beside_those_with_it() -> None:
    async with found(3, running=2, gossip_topic=TOPIC) as town:
        await town.start("m2", gossip_topic=None)
        await until(lambda: town["m2"].connected() == {"m0", "m1"})
        await town.hears("m2", "m0")
        await still_works(town)


def rpc(**parts: Any) -> bytes:
    return encode_varint_prefixed(rpc_pb2.RPC(**parts).SerializeToString())


HOSTILE_CONTROL = rpc_pb2.ControlMessage(
    ihave=[rpc_pb2.ControlIHave(topicID=TOPIC, messageIDs=[b"not hex", b"ff" * 40])] * 100,
    iwant=[rpc_pb2.ControlIWant(messageIDs=[b"zz"])] * 100,
    graft=[rpc_pb2.ControlGraft(topicID=str(each)) for each in range(100)],
    prune=[rpc_pb2.ControlPrune(topicID=TOPIC, peers=[rpc_pb2.PeerInfo(peerID=b"\xff")])]
    + [rpc_pb2.ControlPrune(topicID=str(each), backoff=2**63) for each in range(100)],
)


@pytest.mark.parametrize(
    ("data", "malformed"),
    [
        (b"\x28" + b"\xff" * 40, 1),
        (encode_varint_prefixed(b"\xff" * 40), 1),
        (encode_varint_prefixed(b""), 0),
        (b"\xff" * 40, 1),
        (encode_uvarint(RPC_BYTES_MAX + 1) + b"\xff" * 100, 1),
        (rpc(publish=[rpc_pb2.Message()] * (RPC_MESSAGES_MAX + 1)), 1),
        (rpc(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=str(each)) for each in range(5000)]), 1),
        (rpc(control=HOSTILE_CONTROL), 0),
        (encode_varint_prefixed(b"\x0a\x05\x08\x01\x12\x01\xff"), 0),
        (encode_varint_prefixed(b"\x1a\x05\x22\x03\x0a\x01\xff"), 0),
    ],
    ids=[
        "40 x 0xff", "no protobuf", "empty", "no length", "too long", "messages", "subscriptions", "control",
        "topic that is no text", "prune of a topic that is no text",
    ],
)  # fmt: skip
async def test_frame_that_kills_stock_or_floods_it_harms_nobody(data: bytes, malformed: int) -> None:
    async with found(3, running=2, gossip_topic=TOPIC) as town, attacking(town) as attacker:
        stream = await attacker.stream(MESHSUB)
        await stream.write(data)
        await trio.sleep(0.2)
        with suppress(StreamBroken):
            await stream.reset()
        await still_works(town)
        counters = town["m0"].counters()
        assert (counters.malformed, counters.handler_errors, counters.gossip_restarts) == (malformed, 0, 0)


@pytest.mark.parametrize(
    "foul",
    [
        message(2, 1, key=b"\xff\xff\xff", from_id=b"\x12\x20" + b"\1" * 32),
        message(2, 2, key=b"\xff\xff\xff"),
        message(2, 3, from_id=b""),
        message(2, 4, from_id=ID.from_pubkey(create_new_key_pair(bytes([NUMBERS[1]]) * 32).public_key).to_bytes()),
        message(2, 5, signature=b""),
        message(2, 6, signature=b"s" * 64),
        message(2, 7, data=b""),
        message(2, 8, topic="another"),
        message(2, 9, seqno=bytes(9)),
        message(5, 10),
        message(2, 11, data=bytes(FRAME_BYTES_MAX[GOSSIP] + 1)),
    ],
    ids=[
        "garbage key of a hashed id", "garbage key", "no author", "another's name", "no signature", "bad signature",
        "no data", "another topic", "long seqno", "a stranger's", "too large",
    ],
)  # fmt: skip
async def test_message_that_must_not_count_is_dropped(foul: rpc_pb2.Message) -> None:
    async with found(3, running=2, gossip_topic=TOPIC) as town, attacking(town) as attacker:
        if foul.key == b"\xff\xff\xff" and len(foul.from_id) > 34:
            foul.signature = b"s" * 64  # its own key in the id is what counts, so the signature must be wrong
        await send(await attacker.stream(MESHSUB), foul)
        await trio.sleep(0.1)
        pubsub = gossip_of(town, "m0")._pubsub
        assert pubsub is not None
        assert not pubsub._is_msg_seen(foul)  # seen is what it would forward
        await still_works(town)


async def test_message_of_a_member_counts_whoever_forwards_it() -> None:
    async with found(4, running=2, gossip_topic=TOPIC) as town, attacking(town) as attacker:
        await send(await attacker.stream(MESHSUB), message(3, 1, b"by m3 through m2"))
        assert await receive(town["m0"]) == Inbound(member_id="m3", cls=GOSSIP, frame=b"by m3 through m2")
        await still_works(town)


async def flood(attacker: Attacker, count: int) -> None:
    stream = await attacker.stream(MESHSUB)
    for start in range(0, count, RPC_MESSAGES_MAX):
        await send(stream, *(message(2, start + each, b"%d" % each) for each in range(RPC_MESSAGES_MAX)))


async def test_flood_of_messages_is_thinned() -> None:
    async with found(3, running=2, gossip_topic=TOPIC) as town, attacking(town) as attacker:
        started = trio.current_time()
        await flood(attacker, 1000)
        await until(lambda: town["m0"].counters().drops_in > 0)
        await trio.sleep(0.3)
        passed = town["m0"].counters().frames_in
        assert passed <= MESSAGES_BURST_MAX + MESSAGES_PER_S_MAX * (trio.current_time() - started)
        while town["m0"].inbound.statistics().current_buffer_used:
            await receive(town["m0"])
        await town.hears("m0", "m1")


async def test_failed_gossip_is_started_again_and_nothing_else_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.network.gossip.RESTART_S", 0.1)
    async with found(2, gossip_topic=TOPIC) as town:
        await meshed(town, "m0", "m1")
        gossip = gossip_of(town, "m0")
        failed: Any = gossip._pubsub

        async def fail() -> None:
            raise ValueError("what its author did not foresee")

        threads = failed.seen_messages._thread
        failed.manager.run_task(fail)
        await until(lambda: town["m0"].counters().gossip_restarts == 1)
        await town.hears("m0", "m1")
        await until(lambda: gossip._pubsub is not None and gossip._pubsub is not failed)
        assert len(gossip._host.swarm.notifees) == 3  # tags, identify, and one pubsub
        await until(lambda: not threads.is_alive())
        await still_works(town)


async def test_peer_is_registered_once_however_often_it_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    async with found(2, gossip_topic=TOPIC) as town:
        await meshed(town, "m0", "m1")
        pubsub: Any = gossip_of(town, "m0")._pubsub
        (peer_id,) = pubsub.peers
        pubsub.peers.pop(peer_id)
        opened: list[object] = []
        new_stream = pubsub.host.new_stream

        async def count(*arguments: Any) -> Any:
            opened.append(arguments)
            return await new_stream(*arguments)

        monkeypatch.setattr(pubsub.host, "new_stream", count)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(pubsub._handle_new_peer, peer_id)
        assert len(opened) == 1
        assert peer_id in pubsub.peers


async def test_what_stock_remembers_for_ever_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.network.gossip.HOUSEKEEPING_S", 0.2)
    async with found(2, gossip_topic=TOPIC) as town:
        await meshed(town, "m0", "m1")
        pubsub = gossip_of(town, "m1")._pubsub
        assert pubsub is not None
        router: Any = pubsub.router
        for number in range(50):
            await town["m0"].publish(b"%d" % number)
        for _ in range(50):
            await receive(town["m1"])
        assert router.recent_message_deliveries or router.equivocation_detection
        await until(lambda: not router.recent_message_deliveries and not router.equivocation_detection)


def test_settings_stock_gets_wrong_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}

    class Stop(Exception):
        pass

    def record(*_: object, **settings: Any) -> None:
        made.update(settings)
        raise Stop

    monkeypatch.setattr("node.network.gossip.GossipSub", record)
    gossip = Gossip.__new__(Gossip)
    with pytest.raises(Stop):
        trio.run(gossip._run_once)
    assert made["heartbeat_interval"] == 1
    assert made["adaptive_gossip_enabled"] is made["spam_protection_enabled"] is False
    assert made["eclipse_protection_enabled"] is False
