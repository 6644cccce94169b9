"""Four nodes with real stores in one thread: all come to the same log, also with one down, late, or returning."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.statement import Statement
from node.rpc.types import SubmissionState
from tests.ledger.builders import make_catalogue, make_claim
from tests.node.nodes import CONSORTIUM, MEMBERS, Bench
from tests.node.town import Town

ACCEPTED, FINAL, DUPLICATE, REFUSED = SubmissionState


def statement(number: int) -> Statement:
    return CONSORTIUM.statement(make_claim(number), ref=f"r{number}")


def entries(node: Bench) -> list[tuple[int, int]]:
    """(height, block time) of every leaf."""
    return [node.store.entry_position(index) for index in range(node.store.size)]


def test_statements_of_all_nodes_reach_one_log(town: Town) -> None:
    results = [town.submit(MEMBERS[number % 4], statement(number)) for number in range(12)]
    town.run(lambda: town.is_complete(12))
    assert [r.states for r in results] == [[ACCEPTED, FINAL]] * 12
    assert sorted(r.last.index for r in results) == list(range(12))
    assert len(town.roots()) == 1
    assert len({tuple(entries(node)) for node in town.nodes.values()}) == 1
    assert all(not node.loop.rejected for node in town.nodes.values()), "correct nodes find no fault with each other"


def test_same_town_runs_the_same_way_twice(tmp_path: Path) -> None:
    """No randomness, no clock but the test's: a failure here fails again."""
    seen = []
    for name in ("first", "second"):
        town = Town(tmp_path / name)
        for number in range(4):
            town.submit(MEMBERS[number], statement(number))
        town.run(lambda t=town: t.is_complete(4))
        seen.append((town.roots(), town.clock.now_ms, [len(n.said.consensus) for n in town.nodes.values()]))
        town.close()
    assert seen[0] == seen[1]


def test_catalogue_reaches_all_nodes_with_its_claims(town: Town) -> None:
    built = make_catalogue(500)
    assert len(built.chunks) > 1
    court = town["court"]
    court.store.put_blobs([built.manifest, *built.chunks])
    claims = tuple(make_claim(number).encode() for number in range(500))
    catalogue = town.submit("court", CONSORTIUM.statement(built.header, ref="c"), claims)
    claim = town.submit("label", statement(1))
    town.run(lambda: town.is_complete(2))
    assert (catalogue.last.state, claim.last.state) == (FINAL, FINAL)
    assert len(town.roots()) == 1
    assert {node.store.head().claims for node in town.nodes.values()} == {501}
    again = town.submit("platform", CONSORTIUM.statement(built.header, ref="again"), claims)
    town.run(lambda: again.last.ends)
    assert again.states == [ACCEPTED, DUPLICATE]
    assert again.last.index == catalogue.last.index


@pytest.mark.parametrize("dead", MEMBERS)
def test_three_nodes_go_on_without_any_one(tmp_path: Path, dead: str) -> None:
    town = Town(tmp_path)
    town.stop(dead)
    alive = [member for member in MEMBERS if member != dead]
    for number in range(5):
        results = town.submit(alive[number % 3], statement(number))
        town.run(lambda r=results, size=number + 1: r.last.ends and town.is_complete(size))
    assert len(town.roots()) == 1
    town.close()


def test_two_nodes_record_nothing_until_a_third_returns(town: Town) -> None:
    town.stop("society")
    town.stop("platform")
    results = town.submit("court", statement(1))
    town.run(for_ms=10_000)
    assert results.states == [ACCEPTED], "two of four are no quorum"
    assert set(town.sizes().values()) == {0}
    town.start("platform")
    town.run(lambda: results.last.ends, for_ms=60_000)
    assert results.states == [ACCEPTED, FINAL]


def test_returning_node_catches_up_and_takes_part(town: Town) -> None:
    """Killed in the middle; the others go on; it fetches chain and payloads, and comes to the same root."""
    town.submit("court", statement(0))
    town.run(lambda: town.is_complete(1))
    in_flight = town.submit("platform", statement(1))
    town.stop("platform")
    assert not in_flight.last.ends
    for number in range(2, 10):
        results = town.submit(MEMBERS[number % 3], statement(number))
        town.run(lambda r=results: r.last.ends, for_ms=60_000)
    returned = town.start("platform")
    town.run(lambda: len(town.roots()) == 1 and returned.store.size >= 9, for_ms=60_000)
    assert returned.generation == 2
    sizes = set(town.sizes().values())
    assert len(sizes) == 1
    results = town.submit("platform", statement(20))
    town.run(lambda: town.is_complete(max(sizes) + 1), for_ms=60_000)
    assert results.last.state is FINAL
    assert len({tuple(entries(node)) for node in town.nodes.values()}) == 1


def test_node_that_starts_with_nothing_fetches_the_whole_chain(tmp_path: Path) -> None:
    town = Town(tmp_path, members=[m for m in MEMBERS if m != "label"])
    built = make_catalogue(20)
    town["court"].store.put_blobs([built.manifest, *built.chunks])
    claims = tuple(make_claim(number).encode() for number in range(20))
    town.submit("court", CONSORTIUM.statement(built.header, ref="c"), claims)
    for number in range(20):
        results = town.submit("society", statement(100 + number))
        town.run(lambda r=results: r.last.ends, for_ms=60_000)
    late = town.start("label")
    town.run(lambda: late.store.size == 21 and len(town.roots()) == 1, for_ms=60_000)
    assert late.store.head().claims == 40
    town.run(for_ms=5_000)
    assert late.store.latest_complete() == 21
    town.close()


@pytest.mark.parametrize("times", range(3))
def test_all_nodes_killed_at_once_lose_nothing_that_was_acknowledged(tmp_path: Path, times: int) -> None:
    town = Town(tmp_path)
    results = [town.submit(MEMBERS[number % 4], statement(number)) for number in range(6)]
    town.run(lambda: sum(r.last.ends for r in results) >= 2 * times, for_ms=60_000)
    final = {r.last.digest: r.last.index for r in results if r.last.state is FINAL}
    for member in MEMBERS:
        town.stop(member)
    for member in MEMBERS:
        town.start(member)
    for number in range(6):
        town.submit("court", statement(number))
    town.run(lambda: town.is_complete(6), for_ms=60_000)
    assert len(town.roots()) == 1
    for digest, index in final.items():
        assert {node.store.index_of_statement(digest) for node in town.nodes.values()} == {index}
    town.close()


def test_healed_partition_leaves_one_log(town: Town) -> None:
    """Two against two: neither side can go on; afterwards both sides' statements are recorded, once each."""
    left, right = MEMBERS[:2], MEMBERS[2:]
    town.lost = {(a, b) for a in left for b in right} | {(b, a) for a in left for b in right}
    results = [town.submit(MEMBERS[number], statement(number)) for number in range(4)]
    town.run(for_ms=8_000)
    assert set(town.sizes().values()) == {0}
    town.lost = set()
    for a in MEMBERS:
        for b in MEMBERS:
            if a != b:
                town[a].loop.connected(b)
    town.run(lambda: town.is_complete(4), for_ms=120_000)
    assert [r.last.state for r in results] == [FINAL] * 4
    assert len(town.roots()) == 1


def test_node_without_its_voting_state_follows_and_votes_again_later(town: Town) -> None:
    """It may have voted before and forgotten: it must not vote until others have gone on without it (design D4)."""
    town.submit("court", statement(0))
    town.run(lambda: town.is_complete(1))
    town.stop("platform")
    for file in town.configs["platform"].voting_path.iterdir():
        file.unlink()
    returned = town.start("platform")
    assert returned.loop.core.status().recovering
    for number in range(1, 12):
        results = town.submit("court", statement(number))
        town.run(lambda r=results: r.last.ends, for_ms=60_000)
        if not returned.loop.core.status().recovering:
            break
    assert not returned.loop.core.status().recovering
    town.run(for_ms=5_000)
    assert len(town.roots()) == 1
    town.stop("platform")
    assert town.start("platform").restored.trusted, "remembered: else two such nodes would stall every restart of all"
    town.stop("court")
    results = town.submit("platform", statement(50))
    town.run(lambda: results.last.ends, for_ms=60_000)
    assert results.last.state is FINAL, "now three need its vote, and have it"
