"""Frames on a stream: length prefix, caps checked before the body is read, anything malformed refused."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import MalformedMessage
from node.network.frames import WRITE_BYTES_AIM, FrameReader, Outbox, encode_frame

FRAME_BYTES_MAX = 1000


def reader() -> FrameReader:
    return FrameReader("test", FRAME_BYTES_MAX)


@given(
    st.lists(st.binary(min_size=1, max_size=FRAME_BYTES_MAX), max_size=20), st.lists(st.integers(1, 300), min_size=1)
)
def test_frames_come_out_however_the_bytes_are_cut(frames: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(encode_frame, frames))
    taker, taken, at, turn = reader(), [], 0, 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        taken += taker.feed(stream[at : at + size])
        assert taker.held_bytes <= 4 + FRAME_BYTES_MAX
        at += size
        turn += 1
    assert taken == frames
    assert taker.held_bytes == 0


def test_largest_frame_is_taken_and_one_byte_more_refused_before_its_body() -> None:
    assert list(reader().feed(encode_frame(bytes(FRAME_BYTES_MAX)))) == [bytes(FRAME_BYTES_MAX)]
    with pytest.raises(MalformedMessage, match="1 to 1000, got 1001"):
        list(reader().feed((FRAME_BYTES_MAX + 1).to_bytes(4, "big")))


def test_empty_frame_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="got 0"):
        list(reader().feed(bytes(4)))


@given(st.binary(max_size=4000))
def test_garbage_is_frames_or_refused_and_never_held_beyond_one_frame(data: bytes) -> None:
    taker = reader()
    try:
        for frame in taker.feed(data):
            assert 1 <= len(frame) <= FRAME_BYTES_MAX
    except MalformedMessage:
        return
    assert taker.held_bytes < 4 + FRAME_BYTES_MAX


def outbox(frames_max: int = 10, bytes_max: int = 100) -> Outbox:
    box = Outbox(frames_max=frames_max, bytes_max=bytes_max)
    box.open()
    return box


async def test_outbox_refuses_beyond_its_frames() -> None:
    box = outbox(frames_max=2)
    assert [box.offer(b"a"), box.offer(b"b"), box.offer(b"c")] == [True, True, False]
    assert await box.take() == (b"ab", 2)
    assert box.offer(b"c")


async def test_outbox_refuses_beyond_its_bytes_but_takes_one_large_frame() -> None:
    box = outbox(bytes_max=100)
    assert box.offer(bytes(150))
    assert not box.offer(b"x")
    await box.take()
    assert box.offer(b"x")


async def test_queued_frames_are_joined_up_to_the_aim_and_no_further() -> None:
    box = outbox(frames_max=1000, bytes_max=10**9)
    size = WRITE_BYTES_AIM // 4
    for letter in b"abcdef":
        assert box.offer(bytes([letter]) * size)
    assert await box.take() == (b"".join(bytes([each]) * size for each in b"abcd"), 4)
    assert await box.take() == (b"".join(bytes([each]) * size for each in b"ef"), 2)


async def test_frame_above_the_aim_goes_alone_and_whole() -> None:
    box = outbox(frames_max=10, bytes_max=10**9)
    large = bytes(3 * WRITE_BYTES_AIM)
    for frame in (b"a", large, b"b"):
        assert box.offer(frame)
    assert [await box.take() for _ in range(3)] == [(b"a", 1), (large, 1), (b"b", 1)]


async def test_closed_outbox_refuses_forgets_and_wakes_its_taker(autojump_clock: trio.testing.MockClock) -> None:
    box = outbox()
    taken: list[tuple[bytes, int]] = []

    async def take() -> None:
        taken.append(await box.take())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        assert box.close() == 0
    assert taken == [(b"", 0)]
    assert not box.offer(b"a")
    box.open()
    event = trio.Event()
    assert box.offer(b"a", event)
    assert box.close() == 1
    assert event.is_set()
    assert await box.take() == (b"", 0)


async def test_taken_is_told_when_the_writer_has_the_frame() -> None:
    box, event = outbox(), trio.Event()
    assert box.offer(b"a", event)
    assert not event.is_set()
    await box.take()
    assert event.is_set()
