"""The inbox: bounded, fair between peers, back-pressure instead of loss."""

import trio
from trio.testing import wait_all_tasks_blocked

from node.network.inbox import CHANNEL_FRAMES, Inbox
from node.network.values import INBOX_FRAMES_MAX, Inbound, StreamClass

CONSENSUS, PAYLOAD = StreamClass.CONSENSUS, StreamClass.PAYLOAD


def item(member_id: str, number: int, cls: StreamClass = CONSENSUS, size: int = 1) -> Inbound:
    return Inbound(member_id=member_id, cls=cls, frame=number.to_bytes(4, "big") + bytes(size))


async def drain(inbox: Inbox, count: int) -> list[tuple[str, int]]:
    got = []
    for _ in range(count):
        each = await inbox.inbound.receive()
        got.append((each.member_id, int.from_bytes(each.frame[:4], "big")))
    return got


async def test_frames_of_one_peer_and_class_keep_their_order(autojump_clock: trio.testing.MockClock) -> None:
    inbox = Inbox()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.run)
        for number in range(500):
            assert inbox.offer(item("a", number))
        assert await drain(inbox, 500) == [("a", number) for number in range(500)]
        nursery.cancel_scope.cancel()


async def test_flood_of_one_peer_delays_another_by_a_bounded_number_of_frames(
    autojump_clock: trio.testing.MockClock,
) -> None:
    inbox = Inbox()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.run)
        for number in range(INBOX_FRAMES_MAX):
            assert inbox.offer(item("flooder", number))
        await wait_all_tasks_blocked()
        assert inbox.offer(item("honest", 0))
        assert inbox.offer(item("honest", 0, PAYLOAD))
        got = await drain(inbox, CHANNEL_FRAMES + 6)
        assert [each for each in got if each[0] == "honest"] == [("honest", 0)] * 2
        nursery.cancel_scope.cancel()


async def test_full_queue_refuses_its_peer_and_no_other(autojump_clock: trio.testing.MockClock) -> None:
    inbox = Inbox()  # nothing runs: nothing is consumed
    taken = 0
    while inbox.offer(item("flooder", taken)):
        taken += 1
    assert taken == CHANNEL_FRAMES + INBOX_FRAMES_MAX
    assert inbox.offer(item("flooder", 0, PAYLOAD))
    assert inbox.offer(item("honest", 0))


async def test_large_frames_are_bounded_by_bytes(autojump_clock: trio.testing.MockClock) -> None:
    inbox = Inbox()
    while inbox.offer(item("flooder", 0, PAYLOAD, size=500_000)):
        pass
    assert 3_500_000 < inbox.held_bytes("flooder") <= 4 * 1024 * 1024


async def test_put_waits_for_room_and_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    inbox = Inbox()
    count = CHANNEL_FRAMES + 3 * INBOX_FRAMES_MAX

    async def put() -> None:
        for number in range(count):
            await inbox.put(item("a", number))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.run)
        nursery.start_soon(put)
        await wait_all_tasks_blocked()
        assert await drain(inbox, count) == [("a", number) for number in range(count)]
        nursery.cancel_scope.cancel()


async def test_two_readers_of_one_queue_both_get_room(autojump_clock: trio.testing.MockClock) -> None:
    inbox = Inbox()
    while inbox.offer(item("a", 0)):
        pass
    waiting = CHANNEL_FRAMES + INBOX_FRAMES_MAX
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.put, item("a", 1))
        nursery.start_soon(inbox.put, item("a", 2))
        await wait_all_tasks_blocked()
        nursery.start_soon(inbox.run)
        got = await drain(inbox, waiting + 2)
        assert {number for _, number in got[-2:]} == {1, 2}
        nursery.cancel_scope.cancel()
