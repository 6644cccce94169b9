"""The keeper of connections: who dials, when again, and when not."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from node.network.keeper import STABLE_S, Keeper, Presence, dials, redial_pause_s
from node.network.tally import Tally
from node.network.transport import DialFailed
from node.network.values import NetworkSettings

SETTINGS = NetworkSettings(listen=None, peers={"label": "/ip4/127.0.0.1/tcp/1"})


@given(st.integers(0, 10_000), st.text(max_size=5), st.text(max_size=5))
def test_pauses_stay_between_their_bounds_and_repeat(attempt: int, mine: str, theirs: str) -> None:
    pause = redial_pause_s(mine, theirs, attempt, SETTINGS)
    assert 0.75 * SETTINGS.redial_s_min <= pause <= 1.25 * SETTINGS.redial_s_max
    assert pause == redial_pause_s(mine, theirs, attempt, SETTINGS)


def test_pauses_grow_and_differ_between_nodes() -> None:
    assert redial_pause_s("a", "b", 0, SETTINGS) < redial_pause_s("a", "b", 2, SETTINGS)
    assert len({redial_pause_s(name, "z", 0, SETTINGS) for name in "abcdefgh"}) == 8


def test_of_two_peers_exactly_one_dials() -> None:
    assert dials("b", "a")
    assert not dials("a", "b")


class Line:
    """A member that can be dialled, or not."""

    def __init__(self, *, mine: str = "z", fails: bool = True) -> None:
        self.times: list[float] = []
        self.presence = Presence()
        self.tally = Tally()
        self.fails = fails
        self.keeper = Keeper(
            member_id="label",
            peer_id="m",
            my_peer_id=mine,
            presence=self.presence,
            settings=SETTINGS,
            dial=self.dial,
            tally=self.tally,
        )

    async def dial(self, peer_id: str, address: str) -> None:
        self.times.append(trio.current_time())
        if self.fails:
            raise DialFailed(peer_id, address, "refused")
        self.presence.came()


async def test_unreachable_member_is_dialled_again_with_growing_pauses(autojump_clock: MockClock) -> None:
    line = Line()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.keeper.run)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    pauses = [after - before for before, after in zip(line.times, line.times[1:], strict=False)]
    assert pauses == [pytest.approx(redial_pause_s("z", "m", turn, SETTINGS)) for turn in range(len(pauses))]
    assert line.times[0] == pytest.approx(0)
    assert len(pauses) >= 10
    assert line.tally.dials_failed == len(line.times)


async def test_after_a_stable_connection_it_dials_at_once_and_after_a_short_one_it_waits(
    autojump_clock: MockClock,
) -> None:
    line = Line(fails=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.keeper.run)
        await wait_all_tasks_blocked()
        await trio.sleep(STABLE_S + 1)
        line.presence.went()
        await wait_all_tasks_blocked()
        assert line.times == [pytest.approx(0), pytest.approx(STABLE_S + 1)]
        await trio.sleep(0.1)
        line.presence.went()
        await trio.sleep(10)
        assert line.times[2] == pytest.approx(STABLE_S + 1.1 + redial_pause_s("z", "m", 0, SETTINGS))
        nursery.cancel_scope.cancel()


async def test_lower_peer_waits_to_be_dialled_and_dials_when_nobody_does(autojump_clock: MockClock) -> None:
    line = Line(mine="a", fails=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.keeper.run)
        await trio.sleep(5)
        line.presence.came()
        await trio.sleep(100)
        assert line.times == []
        line.presence.went()
        await trio.sleep(SETTINGS.fallback_dial_s + 1)
        assert line.times == [pytest.approx(105 + SETTINGS.fallback_dial_s)]
        nursery.cancel_scope.cancel()


async def test_cancelled_keeper_dials_no_more(autojump_clock: MockClock) -> None:
    line = Line()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.keeper.run)
        await trio.sleep(3)
        line.keeper.scope.cancel()
        count = len(line.times)
    await trio.sleep(60)
    assert len(line.times) == count
