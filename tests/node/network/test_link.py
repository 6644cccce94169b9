"""A link to one peer: its three outbound streams, their queues, and what a break means."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from node.network.frames import encode_frame
from node.network.link import Link
from node.network.tally import Tally
from node.network.transport import Stream, StreamBroken
from node.network.values import OUTBOX_FRAMES_MAX, StreamClass

CONSENSUS, PAYLOAD, SYNC = StreamClass.CONSENSUS, StreamClass.PAYLOAD, StreamClass.SYNC
FRAME = encode_frame(b"frame")


class FakeStream:
    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.written: list[bytes] = []
        self.breaks = False
        self.stalls = False
        self.writing = 0
        self.was_reset = False
        self.ended = trio.Event()
        self.now: list[bytes] | None = None
        """What was written without waiting; None where that is not possible."""

    def write_now(self, data: bytes) -> bool:
        assert self.writing == 0, "not while a write is under way"
        if self.now is not None:
            self.now.append(data)
        return self.now is not None

    async def read(self) -> bytes:
        await self.ended.wait()
        return b""

    async def write(self, data: bytes) -> None:
        assert self.writing == 0, "one writer at a time"
        self.writing += 1
        try:
            await trio.lowlevel.checkpoint()
            if self.stalls:
                await trio.sleep(5)
            if self.breaks or self.stalls:
                raise StreamBroken("no window update for 5 seconds")
            self.written.append(data)
        finally:
            self.writing -= 1

    async def reset(self) -> None:
        self.was_reset = True
        self.ended.set()


class FakeConnection:
    peer_id = "peer"
    outbound = True

    def __init__(self) -> None:
        self.closed = trio.Event()
        self.streams: list[FakeStream] = []
        self.refusals = 0

    async def open_stream(self, protocol: str) -> Stream:
        await trio.lowlevel.checkpoint()
        if self.refusals:
            self.refusals -= 1
            raise StreamBroken("refused")
        self.streams.append(FakeStream(protocol))
        return self.streams[-1]

    async def abort(self) -> None:
        self.closed.set()

    def newest(self, cls: StreamClass) -> FakeStream:
        return next(each for each in reversed(self.streams) if each.protocol == f"/stretto/1/{cls.value}")


class Scene:
    def __init__(self) -> None:
        self.connection = FakeConnection()
        self.tally = Tally()
        self.ready: list[str] = []
        self.lost: list[StreamClass] = []
        self.link = Link(
            "label",
            self.connection,
            self.tally,
            ready=self.ready.append,
            lost=lambda _, cls: self.lost.append(cls),
        )


@pytest.fixture
async def scene(autojump_clock: MockClock, nursery: trio.Nursery) -> Scene:
    made = Scene()
    nursery.start_soon(made.link.run)
    await wait_all_tasks_blocked()
    return made


async def test_each_class_gets_one_stream_and_ready_is_told_once(autojump_clock: MockClock, scene: Scene) -> None:
    assert sorted(each.protocol for each in scene.connection.streams) == [
        "/stretto/1/consensus",
        "/stretto/1/payload",
        "/stretto/1/sync",
    ]
    assert scene.ready == ["label"]
    assert scene.link.is_ready


async def test_frames_go_to_the_stream_of_their_class_joined(autojump_clock: MockClock, scene: Scene) -> None:
    for _ in range(3):
        assert scene.link.offer(CONSENSUS, FRAME)
    assert scene.link.offer(PAYLOAD, FRAME)
    await wait_all_tasks_blocked()
    assert scene.connection.newest(CONSENSUS).written == [FRAME * 3]
    assert scene.connection.newest(PAYLOAD).written == [FRAME]
    assert (scene.tally.frames_out, scene.tally.bytes_out) == (4, 4 * len(b"frame"))


async def test_broken_stream_is_reset_opened_anew_and_told(autojump_clock: MockClock, scene: Scene) -> None:
    first = scene.connection.newest(CONSENSUS)
    first.breaks = True
    assert scene.link.offer(CONSENSUS, FRAME)
    await wait_all_tasks_blocked()
    assert first.was_reset
    assert scene.lost == [CONSENSUS]
    assert not scene.link.offer(CONSENSUS, FRAME)
    assert scene.link.offer(PAYLOAD, FRAME)
    await trio.sleep(1)
    assert scene.connection.newest(CONSENSUS) is not first
    assert scene.ready == ["label", "label"]
    assert scene.link.offer(CONSENSUS, FRAME)
    await wait_all_tasks_blocked()
    assert scene.connection.newest(CONSENSUS).written == [FRAME]
    assert scene.tally.streams_lost == 1
    assert scene.tally.drops_out == 2


async def test_what_waited_behind_a_stalled_write_is_lost_and_counted(autojump_clock: MockClock, scene: Scene) -> None:
    scene.connection.newest(SYNC).stalls = True
    for _ in range(3):
        assert scene.link.offer(SYNC, FRAME)
        await wait_all_tasks_blocked()
    await trio.sleep(6)
    assert scene.tally.drops_out == 3
    assert scene.ready == ["label", "label"]


async def test_stream_the_peer_ended_is_noticed_without_a_write(autojump_clock: MockClock, scene: Scene) -> None:
    first = scene.connection.newest(PAYLOAD)
    first.ended.set()
    await wait_all_tasks_blocked()
    assert not scene.link.is_ready
    await trio.sleep(1)
    assert scene.connection.newest(PAYLOAD) is not first
    assert scene.link.is_ready


async def test_full_outbox_refuses_and_counts(autojump_clock: MockClock, scene: Scene) -> None:
    scene.connection.newest(CONSENSUS).stalls = True
    assert scene.link.offer(CONSENSUS, FRAME)
    await wait_all_tasks_blocked()
    assert all(scene.link.offer(CONSENSUS, FRAME) for _ in range(OUTBOX_FRAMES_MAX))
    assert not scene.link.offer(CONSENSUS, FRAME)
    assert scene.tally.drops_out == 1
    assert scene.link.offer(PAYLOAD, FRAME)


async def test_stream_that_cannot_be_opened_is_tried_again(autojump_clock: MockClock) -> None:
    scene = Scene()
    scene.connection.refusals = 5
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.link.run)
        await wait_all_tasks_blocked()
        assert not scene.link.is_ready
        await trio.sleep(5)
        assert scene.link.is_ready
        nursery.cancel_scope.cancel()


async def test_link_ends_with_its_connection_and_takes_nothing_more(autojump_clock: MockClock) -> None:
    scene = Scene()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.link.run)
        await wait_all_tasks_blocked()
        scene.connection.closed.set()
    assert not scene.link.offer(CONSENSUS, FRAME)
    assert not scene.link.is_ready
    assert set(scene.lost) == {CONSENSUS, PAYLOAD, SYNC}


async def test_a_frame_goes_out_on_the_spot_where_nothing_waits_before_it(scene: Scene) -> None:
    stream = scene.connection.newest(CONSENSUS)
    stream.now = []
    taken = trio.Event()
    assert scene.link.offer(CONSENSUS, FRAME, taken)
    assert stream.now == [FRAME], "before any other task runs"
    assert taken.is_set()
    assert (scene.tally.frames_out, scene.tally.bytes_out) == (1, len(b"frame"))


async def test_no_frame_overtakes_those_that_wait_or_are_being_written(scene: Scene) -> None:
    stream = scene.connection.newest(CONSENSUS)
    first, second, third = (encode_frame(name) for name in (b"first", b"second", b"third"))
    scene.link.offer(CONSENSUS, first)
    stream.now = []
    scene.link.offer(CONSENSUS, second)
    assert stream.now == [], "the first waits"
    stream.stalls = True
    await trio.sleep(1)
    scene.link.offer(CONSENSUS, third)
    assert stream.now == [], "the first is under way"
