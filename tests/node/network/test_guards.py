"""What a member or a stranger can send at a node: the node survives, and an honest peer is still served."""

from __future__ import annotations

import logging
import os
import struct
from contextlib import suppress

import pytest
import trio

from consensus.errors import PeerError
from node.network import StreamClass
from node.network.host import HANDSHAKES_PER_ADDRESS_MAX, EdgeConnection
from node.network.muxer import CONNECTION_BYTES_MAX, INBOUND_REFUSALS_MAX, INBOUND_STREAMS_MAX
from node.network.transport import DialFailed, Stream, StreamBroken
from node.network.values import FRAME_BYTES_MAX
from tests.node.network.attacker import (
    CONSENSUS_PROTOCOL,
    DATA,
    SYN,
    WINDOW_UPDATE,
    Proxy,
    attacking,
    gone,
    raw_host,
    write_yamux,
)
from tests.node.network.town import NUMBERS, Town, found, free_port, peer_of, receive, until

CONSENSUS, PAYLOAD, SYNC = StreamClass.CONSENSUS, StreamClass.PAYLOAD, StreamClass.SYNC
LENGTH = struct.Struct(">I")


async def serves_honest_peer(town: Town) -> None:
    await town.hears("m0", "m1")
    await town.hears("m1", "m0")


@pytest.mark.parametrize(
    ("cls", "data"),
    [
        (CONSENSUS, LENGTH.pack(0)),
        (CONSENSUS, LENGTH.pack(2**32 - 1)),
        (CONSENSUS, LENGTH.pack(FRAME_BYTES_MAX[CONSENSUS] + 1)),
        (PAYLOAD, LENGTH.pack(FRAME_BYTES_MAX[PAYLOAD] + 1)),
        (SYNC, LENGTH.pack(FRAME_BYTES_MAX[SYNC] + 1)),
        (PAYLOAD, b"\xff" * 65536),
        (SYNC, LENGTH.pack(10) + b"\x09" * 10),
        (SYNC, LENGTH.pack(3) + b"\x01" * 3),
    ],
    ids=["zero", "4 GiB", "consensus cap + 1", "payload cap + 1", "sync cap + 1", "garbage", "sync kind", "sync head"],
)
async def test_frame_no_correct_peer_sends_resets_its_stream_only(cls: StreamClass, data: bytes) -> None:
    async with found(3, running=2) as town, attacking(town) as attacker:
        stream = await attacker.stream(f"/stretto/1/{cls.value}")
        await stream.write(data)
        with trio.fail_after(5):
            with suppress(StreamBroken):
                assert await stream.read() == b""
        assert town["m0"].counters().malformed == 1
        await serves_honest_peer(town)
        again = await attacker.stream()
        await again.write(LENGTH.pack(2) + b"ok")
        assert (await receive(town["m0"])).frame == b"ok"


async def test_half_a_frame_and_unknown_protocols_harm_nobody() -> None:
    async with found(3, running=2) as town, attacking(town) as attacker:
        await (await attacker.stream()).write(LENGTH.pack(1000) + b"half")
        for number in range(20):
            with pytest.raises(StreamBroken):
                await attacker.stream(f"/stretto/2/consensus/{number}")
        await serves_honest_peer(town)


async def test_exception_in_a_handler_resets_the_stream_and_is_counted() -> None:
    async with found(3, running=2) as town, attacking(town) as attacker:
        host = town["m0"]._host
        assert host is not None

        async def fails(stream: Stream, peer_id: str) -> None:
            raise ValueError(await stream.read())

        host.handle("/test/fails", fails)
        for _ in range(3):
            stream = await attacker.stream("/test/fails")
            await stream.write(b"anything")
            with trio.fail_after(5), suppress(StreamBroken):
                assert await stream.read() == b""
        assert town["m0"].counters().handler_errors == 3
        await serves_honest_peer(town)


async def test_protocol_name_that_is_no_text_resets_the_stream() -> None:
    """Stock dies of it: UnicodeDecodeError in the negotiation of a stream (test_stock)."""
    async with found(3, running=2) as town, attacking(town) as attacker:
        connection = await attacker.connect()
        await write_yamux(connection, WINDOW_UPDATE, SYN, 1001)
        await write_yamux(connection, DATA, 0, 1001, b"\x04\xff\xff\xff\n")
        await until(lambda: town["m0"].counters().handler_errors == 1)
        await serves_honest_peer(town)


@pytest.mark.parametrize("guarded", [True, False], ids=["bounded", "stock"])
async def test_sender_that_ignores_its_window_is_cut(guarded: bool) -> None:
    """The stock muxer buffers without end (measured: 254 MiB of 266 MB sent); 64 MB show it here."""
    arrived: list[EdgeConnection] = []
    listen = f"/ip4/127.0.0.1/tcp/{free_port()}"
    victim, attacker = raw_host(0, arrived, listen, guarded=guarded), raw_host(1, [])

    async def never_reads(stream: Stream, peer_id: str) -> None:
        await trio.sleep_forever()

    victim.handle(CONSENSUS_PROTOCOL, never_reads)
    sent = 0
    with trio.fail_after(30):
        async with victim.run(), attacker.run():
            raw: list[EdgeConnection] = []
            attacker.swarm.arrived = raw.append
            await attacker.dial(peer_of(NUMBERS[0]), listen)
            stream = await raw[0].open_stream(CONSENSUS_PROTOCOL)
            stream_id = stream._muxed.stream_id  # type: ignore[attr-defined]
            with suppress(Exception):
                while sent < 64_000_000 and not raw[0].closed.is_set():
                    await write_yamux(raw[0], DATA, 0, stream_id, bytes(60_000))
                    sent += 60_000
            muxed = arrived[0]._muxed
            if guarded:
                await gone(arrived[0])
                assert victim._tally.overruns == 1
                assert sent < CONNECTION_BYTES_MAX + 16 * 1024 * 1024  # what fits the kernel's buffers was still sent
                assert not muxed.stream_buffers
            else:
                await until(lambda: sum(map(len, muxed.stream_buffers.values())) > 60_000_000)
                assert not arrived[0].closed.is_set()


async def test_flood_over_the_network_is_cut_and_the_honest_peer_served() -> None:
    async with found(3, running=2) as town, attacking(town) as attacker:
        stream = await attacker.stream("/stretto/1/payload")
        connection = attacker._arrived[-1]
        frame = LENGTH.pack(500_000) + bytes(500_000)
        with suppress(Exception):
            for _ in range(200):  # 100 MB, nobody consumes
                for start in range(0, len(frame), 60_000):
                    await write_yamux(
                        connection,
                        DATA,
                        0,
                        stream._muxed.stream_id,
                        frame[start : start + 60_000],  # type: ignore[attr-defined]
                    )
        await gone(connection)
        assert town["m0"].counters().overruns == 1
        await serves_honest_peer(town)


async def test_streams_of_a_peer_are_capped_and_a_peer_that_insists_is_cut() -> None:
    async with found(3, running=2) as town, attacking(town) as attacker:
        connection = await attacker.connect()
        victim = town["m0"]._links["m2"].connection
        muxed = victim._muxed  # type: ignore[attr-defined]
        most = 0
        with suppress(Exception):
            for number in range(5000):
                await write_yamux(connection, WINDOW_UPDATE, SYN, 1001 + 2 * number)
                most = max(most, len(muxed.streams))
        await gone(connection)
        assert town["m0"].counters().refused_streams == INBOUND_REFUSALS_MAX + 1
        assert most <= INBOUND_STREAMS_MAX + 64  # ours, and those read but not yet looked at
        await until(lambda: not muxed.streams)
        await serves_honest_peer(town)


async def test_peer_that_floods_is_back_pressured_and_others_do_not_wait_for_it() -> None:
    """Fair over real streams: thousands of frames of one peer wait, a single one of another comes through."""
    async with found(3) as town:
        for _ in range(3000):
            town["m2"].send("m0", CONSENSUS, bytes(3000))
        await trio.sleep(1)  # its frames have filled m0's inbox and stopped m0 reading
        assert town["m1"].send("m0", CONSENSUS, b"one vote")
        await trio.sleep(0.3)
        for turn in range(100):
            if (await receive(town["m0"])).member_id == "m1":
                assert turn < 40
                return
        raise AssertionError("a flood held up an honest peer")


async def test_peer_that_does_not_read_has_its_stream_reset_and_reopened_and_the_caller_is_told() -> None:
    """yamux gives up on a window after 5 s and leaves the stream torn; others get their frames meanwhile."""
    async with found(3, running=2) as town, attacking(town) as attacker:
        opened: list[str] = []

        async def never_reads(stream: Stream, peer_id: str) -> None:
            opened.append(peer_id)
            await trio.sleep_forever()

        for cls in (CONSENSUS, PAYLOAD, SYNC):
            attacker.host.handle(f"/stretto/1/{cls.value}", never_reads)
        told: list[str] = []
        town["m0"].on_connect(told.append)
        await attacker.connect()
        await until(lambda: told == ["m2"])
        for _ in range(16):  # 8 MB, beyond the window of one stream
            assert town["m0"].send("m2", PAYLOAD, bytes(500_000))
        for _ in range(20):
            await trio.sleep(0.05)
            await serves_honest_peer(town)
        await until(lambda: told == ["m2", "m2"])
        assert len(opened) == 4
        assert town["m0"].counters().streams_lost == 1
        assert town["m0"].counters().drops_out >= 3
        assert town["m0"].send("m2", PAYLOAD, b"on the new stream")


async def test_line_that_goes_dead_is_noticed_and_used_again_when_it_is_back() -> None:
    """No farewell, no reset: stock believes for ever that such a peer is connected."""
    fast = {"keepalive_s": 0.2, "silence_s_max": 0.6}
    async with found(2, running=1, **fast) as town:
        proxy = Proxy(int(town.addresses["m0"].rpartition("/")[2]))
        await town.nursery.start(proxy.run)
        await town.start("m1", peers={"m0": f"/ip4/127.0.0.1/tcp/{proxy.port}"}, dial_s_max=0.5)
        await until(lambda: "m1" in town["m0"].connected() and "m0" in town["m1"].connected())
        proxy.freeze()
        await until(lambda: not town["m0"].connected() and not town["m1"].connected(), within_s=3)
        proxy.thaw()
        await until(lambda: "m1" in town["m0"].connected() and "m0" in town["m1"].connected(), within_s=5)
        await serves_honest_peer(town)


async def test_second_stream_of_a_class_replaces_the_first() -> None:
    """A peer that opened it anew has given up the first; one that hoards them gains nothing."""
    async with found(3, running=2) as town, attacking(town) as attacker:
        first = await attacker.stream()
        await first.write(LENGTH.pack(3) + b"one")
        assert (await receive(town["m0"])).frame == b"one"
        second = await attacker.stream()
        await second.write(LENGTH.pack(3) + b"two")
        assert (await receive(town["m0"])).frame == b"two"
        with trio.fail_after(5), suppress(StreamBroken):
            assert await first.read() == b""
        await second.write(LENGTH.pack(5) + b"three")
        assert (await receive(town["m0"])).frame == b"three"


async def test_reader_gives_up_when_nobody_takes_its_frames_and_the_sender_is_told() -> None:
    async with found(2, consume_s_max=0.2) as town:
        told: list[str] = []
        town["m1"].on_connect(told.append)
        for _ in range(30):  # more than channel and inbox hold
            while not town["m1"].send("m0", PAYLOAD, bytes(500_000)):
                await trio.sleep(0.01)
        await until(lambda: told != [], within_s=4)  # yamux would give up on the window after 5 s
        await until(lambda: town["m1"].connected() == {"m0"})
        assert town["m0"].connected() == {"m1"}


async def test_listener_that_never_answers_does_not_hold_up_the_dialler() -> None:
    async with found(2, running=0) as town:
        await town.nursery.start(
            trio.serve_tcp, lambda _: trio.sleep_forever(), int(town.addresses["m0"].split("/")[-1])
        )
        await town.start("m1", dial_s_max=0.2)
        await until(lambda: town["m1"].counters().dials_failed >= 3, within_s=4)


async def test_writer_to_a_dead_line_cuts_the_connection() -> None:
    async with found(2, running=1, write_s_max=0.5) as town:
        proxy = Proxy(int(town.addresses["m0"].rpartition("/")[2]))
        await town.nursery.start(proxy.run)
        await town.start("m1", peers={"m0": f"/ip4/127.0.0.1/tcp/{proxy.port}"}, dial_s_max=0.5)
        await until(lambda: "m0" in town["m1"].connected())
        proxy.freeze()
        for _ in range(80):
            town["m1"].send("m0", PAYLOAD, bytes(500_000))
        await until(lambda: not town["m1"].connected(), within_s=8)


async def test_stranger_is_refused_inbound() -> None:
    async with found(2) as town, attacking(town, name="m5") as attacker:
        connection = await attacker.connect()
        await gone(connection)
        host = town["m0"]._host
        assert host is not None
        assert town["m0"].counters().refused_connections == 1
        assert attacker.host.peer_id not in {str(each) for each in host.swarm.connections}
        with pytest.raises(PeerError):
            await connection.open_stream(CONSENSUS_PROTOCOL)
        await serves_honest_peer(town)


async def test_stranger_is_refused_outbound() -> None:
    async with found(2, running=1) as town:
        host = town["m0"]._host
        assert host is not None
        stranger = raw_host(5, [], town.addresses["m1"])
        async with stranger.run():
            with pytest.raises(DialFailed):  # it is not who the address is for
                await host.dial(town.peer_id("m1"), town.addresses["m1"])
            with pytest.raises(DialFailed, match="not a member"):
                await host.dial(stranger.peer_id, town.addresses["m1"])
        assert town["m0"].counters().refused_connections == 1
        assert not host.swarm.connections


async def test_connection_without_encryption_is_refused() -> None:
    """Stock offers plaintext too, which proves no identity: anybody could claim a member's."""
    async with found(1) as town:
        stream = await trio.open_tcp_stream("127.0.0.1", int(town.addresses["m0"].rpartition("/")[2]))
        answers = b""
        async with stream:
            for line in (b"/multistream/1.0.0\n", b"/plaintext/2.0.0\n"):
                await stream.send_all(bytes([len(line)]) + line)
            with trio.fail_after(5):
                while not answers.endswith(b"na\n"):
                    answers += await stream.receive_some(100)
        assert answers == b"\x13/multistream/1.0.0\n\x03na\n"


async def test_addresses_a_peer_advertises_are_never_dialled() -> None:
    """Stock's connection manager dials whatever is in the address book while it has few connections."""
    from libp2p.peer.id import ID
    from multiaddr import Multiaddr

    async with found(2) as town:
        host = town["m0"]._host
        assert host is not None
        hits: list[int] = []

        async def count(_: trio.SocketStream) -> None:
            hits.append(1)

        listeners = await town.nursery.start(trio.serve_tcp, count, 0)
        port = listeners[0].socket.getsockname()[1]
        target = ID.from_base58(peer_of(NUMBERS[6]))
        host.swarm.peerstore.add_addrs(target, [Multiaddr(f"/ip4/127.0.0.1/tcp/{port}")], 1000)
        await host.swarm.auto_connector.maybe_connect()
        host.swarm._schedule_auto_connect()
        with pytest.raises(Exception, match="not connected"):
            await host.swarm.new_stream(target)
        await trio.sleep(0.5)
        assert not hits


async def test_connections_that_ended_free_their_slots() -> None:
    """Stock keeps a slot and a task for each inbound connection there ever was, and refuses all after the 300th."""
    async with found(3, running=2) as town, attacking(town) as attacker:
        host = town["m0"]._host
        assert host is not None
        for _ in range(30):
            connection = await attacker.connect()
            await connection.abort()
        await until(lambda: host.swarm._inbound_limiter.borrowed_tokens <= 1)
        await serves_honest_peer(town)


async def test_half_open_connections_of_one_address_do_not_keep_others_out() -> None:
    async with found(2) as town:
        port = int(town.addresses["m0"].rpartition("/")[2])
        sockets = []
        for _ in range(4 * HANDSHAKES_PER_ADDRESS_MAX):
            each = trio.socket.socket()
            await each.bind(("127.0.0.2", 0))
            await each.connect(("127.0.0.1", port))
            sockets.append(each)
        host = town["m0"]._host
        assert host is not None
        await until(lambda: host.swarm._handshakes["127.0.0.2"] == HANDSHAKES_PER_ADDRESS_MAX)
        await town.nodes["m1"].kill()
        await town.start("m1")
        await until(lambda: town["m1"].connected() == {"m0"}, within_s=4)
        for each in sockets:
            each.close()


async def test_garbage_instead_of_a_handshake_harms_nobody() -> None:
    async with found(2) as town:
        port = int(town.addresses["m0"].rpartition("/")[2])
        for data in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\xff" * 5000,
            bytes(5000),
            b"\x13/multistream/1.0.0\n\x07/noise\n" + b"\xff" * 500,
        ):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(data)
            await stream.aclose()
        await serves_honest_peer(town)


async def test_large_frames_queued_by_several_tasks_arrive_whole() -> None:
    """Two writers of one yamux stream interleave above 64 KiB; ours has one writer."""
    async with found(2) as town:

        async def send(letter: int) -> None:
            for _ in range(5):
                while not town["m0"].send("m1", PAYLOAD, bytes([letter]) * 300_000):
                    await trio.sleep(0.01)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for letter in b"abcd":
                nursery.start_soon(send, letter)
            frames = [(await receive(town["m1"])).frame for _ in range(20)]
        assert sorted(frames) == sorted(bytes([letter]) * 300_000 for letter in b"abcd" for _ in range(5))


async def test_logs_are_quiet_and_hold_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with found(3, running=2) as town, attacking(town, name="m5") as stranger:
        with suppress(PeerError):
            await stranger.connect()
        await town.nodes["m0"].kill()
        await trio.sleep(0.3)
        seeds = [seed.hex() for seed in town.seeds] + [repr(seed) for seed in town.seeds]
    assert "cannot reach" in caplog.text
    assert not [each for each in caplog.records if each.name.startswith("libp2p") or each.name == "root"]
    assert not [seed for seed in seeds if seed in caplog.text]
    assert os.environ.get("LIBP2P_DEBUG") is None
