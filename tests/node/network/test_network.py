"""Real nodes over loopback TCP: who is connected, what arrives, and what happens when one is killed."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
import trio

from node.network import (
    CannotListen,
    FrameTooLarge,
    Inbound,
    Network,
    NetworkSettings,
    NotConnected,
    RequestRefused,
    RequestTimedOut,
    StreamClass,
)
from node.network.values import FRAME_BYTES_MAX, SYNC_BODY_BYTES_MAX
from tests.node.network.town import found, receive, seed_of, until

CONSENSUS, PAYLOAD, SYNC = StreamClass.CONSENSUS, StreamClass.PAYLOAD, StreamClass.SYNC


async def test_members_connect_whoever_starts_first_and_frames_keep_class_and_order() -> None:
    async with found(3) as town:
        first = town["m0"]
        for cls in (CONSENSUS, PAYLOAD, SYNC):
            for number in range(20):
                assert first.send("m1", cls, f"{cls.value} {number}".encode())
        got = [await receive(town["m1"]) for _ in range(60)]
        assert {each.member_id for each in got} == {"m0"}
        for cls in (CONSENSUS, PAYLOAD, SYNC):
            frames = [each.frame for each in got if each.cls is cls]
            assert frames == [f"{cls.value} {number}".encode() for number in range(20)]


async def test_broadcast_reaches_every_member_and_not_its_sender() -> None:
    async with found(3) as town:
        town["m1"].broadcast(CONSENSUS, b"vote")
        for name in ("m0", "m2"):
            assert await receive(town[name]) == Inbound(member_id="m1", cls=CONSENSUS, frame=b"vote")
        with pytest.raises(trio.WouldBlock):
            town["m1"].inbound.receive_nowait()


@pytest.mark.parametrize("cls", [CONSENSUS, PAYLOAD, SYNC])
async def test_largest_frame_of_a_class_arrives_and_a_larger_or_empty_one_is_refused(cls: StreamClass) -> None:
    largest = SYNC_BODY_BYTES_MAX if cls is SYNC else FRAME_BYTES_MAX[cls]
    async with found(2) as town:
        frame = bytes(range(256)) * (largest // 256) + bytes(largest % 256)
        assert town["m0"].send("m1", cls, frame)
        assert (await receive(town["m1"])).frame == frame
        for size in (0, largest + 1):
            with pytest.raises(FrameTooLarge):
                town["m0"].send("m1", cls, bytes(size))
            with pytest.raises(FrameTooLarge):
                town["m0"].broadcast(cls, bytes(size))


async def test_request_is_answered_refused_or_timed_out() -> None:
    async with found(2) as town:

        async def respond(member_id: str, frame: bytes) -> bytes:
            if frame == b"slow":
                await trio.sleep_forever()
            if frame == b"bad":
                raise KeyError("no such block")
            return member_id.encode() + b" asked " + frame

        town["m1"].set_responder(respond)
        assert await town["m0"].request("m1", b"a block", 5) == b"m0 asked a block"
        with pytest.raises(RequestRefused):
            await town["m0"].request("m1", b"bad", 5)
        with pytest.raises(RequestTimedOut):
            await town["m0"].request("m1", b"slow", 0.2)
        with pytest.raises(RequestRefused):
            await town["m1"].request("m0", b"nobody answers there", 5)
        with pytest.raises(NotConnected):
            await town["m0"].request("m7", b"a block", 5)
        large = bytes(SYNC_BODY_BYTES_MAX - len(b"m0 asked "))
        assert await town["m0"].request("m1", large, 10) == b"m0 asked " + large


async def test_sending_to_who_is_not_connected_says_so() -> None:
    async with found(3, running=2) as town:
        assert not town["m0"].send("m2", CONSENSUS, b"x")
        assert not town["m0"].send("nobody", CONSENSUS, b"x")
        assert town["m0"].connected() == {"m1"}


@pytest.mark.parametrize("name", ["m0", "m1"], ids=["the dialled one", "the dialling one"])
async def test_killed_and_restarted_node_is_connected_again_within_seconds(name: str) -> None:
    """Stock never reconnects to a restarted listener: the failed dials put it in a 60 s cache."""
    other = {"m0": "m1", "m1": "m0"}[name]
    async with found(2) as town:
        told: list[str] = []
        town[other].on_connect(told.append)
        await town.nodes[name].kill()
        await until(lambda: town[other].connected() == frozenset())
        await trio.sleep(0.7)  # several dials fail meanwhile
        started = trio.current_time()
        await town.start(name)
        await until(lambda: name in town[other].connected() and other in town[name].connected())
        assert trio.current_time() - started < 3
        assert told[0] == name
        await town.hears(name, other)
        await town.hears(other, name)


async def test_request_in_flight_to_a_node_that_dies_ends_early() -> None:
    async with found(2) as town:

        async def respond(member_id: str, frame: bytes) -> bytes:
            town.nodes["m1"].scope.cancel()
            await trio.sleep_forever()
            raise AssertionError

        town["m1"].set_responder(respond)
        with trio.fail_after(10), pytest.raises(NotConnected):
            await town["m0"].request("m1", b"x", 60)


async def test_member_admitted_later_connects_and_one_that_left_is_cut() -> None:
    async with found(3, running=2) as town:
        late = town.members.pop(town.peer_id("m2"))
        await town.start("m2")
        await until(lambda: town["m0"].counters().refused_connections > 0)
        assert "m2" not in town["m0"].connected()
        assert "m2" not in town["m1"].connected()
        town.members[town.peer_id("m2")] = late
        await until(lambda: town["m2"].connected() == {"m0", "m1"})
        del town.members[town.peer_id("m2")]
        await until(lambda: town["m0"].connected() == {"m1"} and town["m1"].connected() == {"m0"})
        await town.hears("m0", "m1")


async def test_second_connection_the_wrong_way_round_is_dropped_and_the_first_stays() -> None:
    """Both dialled at once: the one the higher id dialled stays, on both sides."""
    async with found(2) as town:
        lower, higher = town["m0"]._host, town["m1"]._host
        assert lower is not None
        assert higher is not None
        kept = town["m0"]._links["m1"].connection, town["m1"]._links["m0"].connection
        await lower.dial(town.peer_id("m1"), town.addresses["m1"])
        await until(lambda: all(sum(map(len, host.swarm.connections.values())) == 1 for host in (lower, higher)))
        assert kept == (town["m0"]._links["m1"].connection, town["m1"]._links["m0"].connection)
        assert not any(each.closed.is_set() for each in kept)
        await town.hears("m0", "m1")
        await town.hears("m1", "m0")


async def test_second_process_with_a_key_is_heard_and_told_before_it_is_cut_off() -> None:
    """The first keeps the connection; without this neither would ever hear of the other."""
    async with found(2) as town:
        town["m1"].on_second(lambda member: (b"you are the second " + member.encode(),))
        settings = NetworkSettings(listen=None, peers={"m1": town.addresses["m1"]}, fallback_dial_s=0.1)
        twin = Network(settings, town.seeds[0], lambda: {town.peer_id("m1"): "m1"})
        twin.on_connect(lambda member: twin.send(member, StreamClass.CONSENSUS, b"hello") and None)
        async with trio.open_nursery() as nursery:
            await nursery.start(twin.run)
            assert await receive(twin) == Inbound(
                member_id="m1", cls=StreamClass.CONSENSUS, frame=b"you are the second m0"
            )
            assert await receive(town["m1"]) == Inbound(member_id="m0", cls=StreamClass.CONSENSUS, frame=b"hello")
            nursery.cancel_scope.cancel()
        await until(lambda: "m0" in town["m1"].connected())
        await until(lambda: not town["m1"]._hearing)
        await until(lambda: "m1" in town["m0"].connected())
        await town.hears("m1", "m0")


async def test_lower_id_dials_when_it_is_not_dialled() -> None:
    """The other side may be behind a wall that lets it accept but not dial, or lack our address."""
    async with found(2, running=0, fallback_dial_s=0.2) as town:
        await town.start("m1", peers={})
        await town.start("m0")
        await until(lambda: town["m0"].connected() == {"m1"} and town["m1"].connected() == {"m0"})


async def test_restarted_node_replaces_a_connection_not_yet_known_to_be_dead() -> None:
    """Its machine lost power: nothing told us. The new connection of the same peer takes the old one's place."""
    async with found(2) as town:
        old = town["m0"]._links["m1"].connection
        # Another process with m1's key, before m0 has noticed anything of the first.
        twin = Network(
            NetworkSettings(listen=None, peers={"m0": town.addresses["m0"]}), town.seeds[1], lambda: town.members
        )
        town.nodes["m1"].network._keepers.clear()
        for keeper in list(town["m1"]._keepers.values()):
            keeper.scope.cancel()
        await town.nursery.start(twin.run)
        await until(old.closed.is_set)
        await until(lambda: twin.connected() == {"m0"})


async def test_node_with_our_own_key_is_refused() -> None:
    """A copy of this node, or its thief, is not a member besides us."""
    async with found(1) as town:
        twin = Network(NetworkSettings(listen=None, peers={}), town.seeds[0], lambda: town.members)
        await town.nursery.start(twin.run)
        host = twin._host
        assert host is not None
        host.swarm.gate = lambda _: True
        await host.dial(town.peer_id("m0"), town.addresses["m0"])
        await until(lambda: town["m0"].counters().refused_connections == 1)
        assert town["m0"].connected() == frozenset()


async def test_members_find_each_other_over_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    async with found(2, running=0) as town:
        for name in town.addresses:
            town.addresses[name] = town.addresses[name].replace("/ip4/127.0.0.1", "/ip6/::1")
        for name in town.addresses:
            await town.start(name)
        await until(lambda: town["m0"].connected() == {"m1"} and town["m1"].connected() == {"m0"})
        await town.hears("m0", "m1")


async def test_counters_count_what_happened() -> None:
    async with found(2) as town:
        for _ in range(10):
            town["m0"].send("m1", CONSENSUS, bytes(100))
        for _ in range(10):
            await receive(town["m1"])
        sent, got = town["m0"].counters(), town["m1"].counters()
        assert (sent.frames_out, sent.bytes_out, sent.connected) == (10, 1000, 1)
        assert (got.frames_in, got.bytes_in, got.connected) == (10, 1000, 1)


async def test_taken_address_is_refused_and_named() -> None:
    """libp2p listens with SO_REUSEPORT: stock, a second node silently takes half of the first one's connections."""
    async with found(1) as town:
        listen = town.addresses["m0"]
        second = Network(NetworkSettings(listen=listen), seed_of(200), dict)
        with pytest.raises(CannotListen):
            with trio.fail_after(5):
                await second.run()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}"
        with pytest.raises(CannotListen):
            with trio.fail_after(5):
                await Network(NetworkSettings(listen=listen), seed_of(200), dict).run()


@pytest.mark.parametrize("listen", ["127.0.0.1:4101", "/dns4/localhost/tcp/1", "/ip4/127.0.0.1/udp/1/quic-v1"])
async def test_address_it_cannot_listen_on_is_refused(listen: str) -> None:
    with pytest.raises(CannotListen):
        await Network(NetworkSettings(listen=listen), seed_of(200), dict).run()


async def test_peer_is_found_by_name() -> None:
    async with found(2, running=1) as town:
        port = town.addresses["m0"].rpartition("/")[2]
        await town.start("m1", peers={"m0": f"/dns4/localhost/tcp/{port}"})
        await until(lambda: town["m1"].connected() == {"m0"})


def test_importing_the_package_does_not_import_libp2p() -> None:
    code = "import sys, node.network; sys.exit('libp2p' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
