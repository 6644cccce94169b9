"""What the running node says of itself: timers, ages, and what it knows of each peer. The clock is the test's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from consensus.errors import ConflictingCertificates, ForeignOwnVote
from consensus.types import View
from node.intake import Door
from node.metrics import _COUNTERS
from node.rpc.types import PeerLive
from tests.ledger.builders import make_claim
from tests.node.nodes import CONSORTIUM, GENESIS, Bench, Results, make_folder


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(make_folder(tmp_path / "court", "court"))
    bench.loop.start()
    yield bench
    bench.close()


@pytest.fixture
async def door(node: Bench) -> AsyncIterator[Door]:
    async with trio.open_nursery() as nursery:
        yield Door(node.loop, nursery, frozenset)


def later(clock: MockClock, door: Door, seconds: float) -> None:
    clock.jump(seconds)
    door.refresh()


def say(monkeypatch: pytest.MonkeyPatch, node: Bench, **changes: View) -> None:
    """From now on the engine stands there."""
    said = replace(node.loop.core.status(), **changes)  # type: ignore[arg-type]
    monkeypatch.setattr(node.loop.core, "status", lambda: said)


async def test_timers_and_quorum_are_those_of_the_genesis(door: Door) -> None:
    said, delta = door.status(), GENESIS.parameters.delta_ms
    assert (said.delta_ms, said.leader_timeout_ms, said.view_timeout_ms) == (delta, 3 * delta, 5 * delta)
    assert said.quorum == 3
    assert said.boot_generation == 1, "its first start"


async def test_peers_are_told_with_their_start_and_what_of_theirs_was_rejected(node: Bench, door: Door) -> None:
    node.loop.generations["society"] = 4
    node.loop.rejected["platform"] = 2
    door.refresh()
    assert door.status().peers == (
        PeerLive(member="label", connected=False, last_view=0),
        PeerLive(member="society", connected=False, last_view=0, boot_generation=4),
        PeerLive(member="platform", connected=False, last_view=0, rejected=2),
    )
    assert set(node.loop.rejected) == {"platform"}, "asking counts nothing"


async def test_age_of_a_view_starts_anew_with_the_next(
    node: Bench, door: Door, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    later(mock_clock, door, 2.5)
    assert (door.status().view, door.status().view_age_ms) == (1, 2500)
    say(monkeypatch, node, view=View(2))
    later(mock_clock, door, 1.0)
    assert (door.status().view, door.status().view_age_ms) == (2, 0)
    later(mock_clock, door, 0.25)
    assert door.status().view_age_ms == 250


async def test_waiting_counts_only_while_work_waits_and_nothing_becomes_final(
    node: Bench, door: Door, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    later(mock_clock, door, 60.0)
    assert door.status().waiting_ms == 0, "an idle chain waits for nothing"
    node.loop.accept(CONSORTIUM.statement(make_claim(1)), (), Results())
    later(mock_clock, door, 1.5)
    assert door.status().waiting_ms == 1500
    later(mock_clock, door, 1.0)
    assert door.status().waiting_ms == 2500
    say(monkeypatch, node, finalized_view=View(1))
    later(mock_clock, door, 1.0)
    assert door.status().waiting_ms == 0, "something became final"


async def test_counts_of_network_door_and_alarms_are_told_by_name(node: Bench) -> None:
    async with trio.open_nursery() as nursery:
        door = Door(node.loop, nursery, frozenset, lambda: {"drops_out": 3})
        node.loop.reject("label", ConflictingCertificates(4, "one", "other"))
        node.loop.reject("court", ForeignOwnVote(5, "NOTARIZE"))
        door.refresh()
        counts = door.status().counters
        assert (counts["drops_out"], counts["conflicting_certificates"], counts["foreign_own_votes"]) == (3, 1, 1)
        assert set(counts) <= set(_COUNTERS), "each is shown"
