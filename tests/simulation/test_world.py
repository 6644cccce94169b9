"""Four to fifty whole validators: how fast, how quiet, and what they live through."""

from __future__ import annotations

import itertools

import pytest

from consensus.messages import Message, Proposal
from consensus.types import SignedVote, View, VoteKind
from ledger.governance import Remove, Scope
from tests.consensus.toys import committee_of, payload
from tests.simulation.consortium import genesis_of, member_id
from tests.simulation.politics import Politics
from tests.simulation.world import Weather, World

HOP_MS = 7


def world_of(size: int = 4, **parameters: int) -> World:
    """A good network where every message takes HOP_MS."""
    world = World(committee_of(size, **parameters), seed=1)
    world.weather = Weather(delay_ms=(HOP_MS, HOP_MS))
    for index in world.nodes:
        world.start(index)
    world.run(1000)
    return world


def finish(world: World, number: int, within_ms: int = 20_000) -> int:
    """Order payload `number`, held everywhere now; returns after how many ms it was final everywhere."""
    started_ms = world.now_ms
    world.hand_out(payload(number))
    assert world.run(started_ms + within_ms, lambda: world.have_all({payload(number)})), "not final in time"
    return world.now_ms - started_ms


@pytest.mark.parametrize("size", [4, 7, 50])
def test_a_payload_on_an_idle_chain_is_final_everywhere_after_three_hops(size: int) -> None:
    world = world_of(size)
    for number in range(3):
        assert finish(world, number) == 3 * HOP_MS
        world.run(world.now_ms + 1000)


def test_one_that_only_its_author_holds_takes_its_own_spreading_longer() -> None:
    world = world_of()
    author = next(i for i in world.nodes if i != world.committee.leader(View(1)))
    world.submit(author, payload(1))
    assert world.run(2000, lambda: world.have_all({payload(1)}))
    assert world.now_ms - 1000 == 4 * HOP_MS


def test_an_idle_chain_is_quiet_and_its_last_block_final() -> None:
    world = world_of()
    finish(world, 1)
    world.run(world.now_ms + HOP_MS)
    said = world.messages
    world.run(world.now_ms + 500_000)
    assert world.messages == said
    assert {node.disk.head.height for node in world.nodes.values()} == {1}


def test_finality_costs_one_proposal_and_two_votes_each() -> None:
    world = world_of()
    said = world.messages
    finish(world, 1)
    world.run(world.now_ms + 1000)
    peers = 3
    assert world.messages - said == peers * (1 + 3 + 4)  # proposal, three more notarizes, four finalizes


def test_the_heartbeat_makes_one_empty_block() -> None:
    world = world_of(heartbeat_ms=600_000)
    world.run(700_000)
    assert [node.disk.head.height for node in world.nodes.values()] == [1, 1, 1, 1]
    assert world.nodes[0].disk.head.payloads == ()
    world.run(1_300_000)
    assert [node.disk.head.height for node in world.nodes.values()] == [2, 2, 2, 2]


def test_payloads_that_come_fast_share_blocks_at_the_block_interval() -> None:
    world = world_of(block_interval_ms=20)
    started_ms = world.now_ms
    for number in range(100):
        world.at(started_ms + number * 5, lambda n=number: world.hand_out(payload(n)))
    everything = {payload(n) for n in range(100)}
    assert world.run(started_ms + 5000, lambda: world.have_all(everything))
    assert world.now_ms - started_ms < 500 + 20 + 4 * HOP_MS + 10
    times = [block.timestamp_ms for block in world.nodes[0].disk.chain[1:]]
    assert all(later - earlier >= 20 - HOP_MS for earlier, later in itertools.pairwise(times))


class TestFailures:
    def test_three_of_four_go_on_and_soon_lose_no_time_by_the_fourth(self) -> None:
        world = world_of()
        world.stop(2)
        took = []
        for number in range(30):
            took.append(finish(world, number))
            world.run(world.now_ms + 300)
        delta_ms = world.committee.parameters.delta_ms
        assert max(took) <= 3 * delta_ms + 6 * HOP_MS, "a dead leader costs its timer at most"
        assert sum(ms > delta_ms for ms in took) <= 2, "and is skipped once it was silent for n views"
        assert max(took[-8:]) <= 5 * HOP_MS

    def test_two_of_four_make_nothing_final_and_recover_when_a_third_returns(self) -> None:
        world = world_of()
        finish(world, 0)
        world.stop(0)
        world.stop(1)
        world.hand_out(payload(1))
        world.run(world.now_ms + 10_000)
        assert max(node.disk.head.height for node in world.nodes.values()) == 1
        world.start(0)
        assert world.run(world.now_ms + 5000, lambda: world.have_all({payload(1)}))

    def test_all_may_stop_at_once_and_go_on(self) -> None:
        world = world_of()
        world.hand_out(payload(1))
        world.run(world.now_ms + 2 * HOP_MS)
        for index in world.nodes:
            world.stop(index)
        for index in world.nodes:
            world.start(index)
        assert world.run(world.now_ms + 5000, lambda: world.have_all({payload(1)}))
        finish(world, 2)

    def test_what_a_validator_cut_outlives_its_crash_in_the_same_instant(self) -> None:
        world = world_of()
        world.lets_push = lambda *_: False
        world.submit(1, payload(1))
        world.stop(1)
        world.run(world.now_ms + 5000)
        assert not any(node.disk.pending() for node in world.nodes.values() if node.number != 1), "nobody else has it"
        world.start(1)
        assert world.run(world.now_ms + 5000, lambda: world.have_all({payload(1)}))

    def test_one_that_is_down_stores_nothing(self) -> None:
        world = world_of()
        world.lets_push = lambda *_: False
        world.stop(1)
        world.submit(1, payload(1))
        world.start(1)
        assert not world.run(world.now_ms + 5000, lambda: world.have_all({payload(1)}))
        assert not any(node.disk.payloads for node in world.nodes.values())

    def test_one_away_for_hundreds_of_blocks_catches_up(self) -> None:
        world = world_of()
        world.stop(3)
        for number in range(150):
            finish(world, number)
        top = world.nodes[0].disk.head.height
        assert top >= 150
        world.start(3)
        assert world.run(world.now_ms + 5000, lambda: world.nodes[3].disk.head.height >= top)
        world.run(world.now_ms + 5000)
        finish(world, 1000)
        assert len({node.disk.head.digest for node in world.nodes.values()}) == 1

    def test_clocks_set_back_an_hour_do_not_halt_the_chain(self) -> None:
        world = world_of()
        finish(world, 1)
        for node in world.nodes.values():
            node.skew_ms -= 3_600_000
        world.run(world.now_ms + 1000)
        assert finish(world, 2) == 3 * HOP_MS
        times = [block.timestamp_ms for block in world.nodes[0].disk.chain[1:]]
        assert times[1] == times[0] + 1

    def test_lost_finalize_votes_are_made_good_without_new_payloads(self) -> None:
        world = world_of()
        until_ms = world.now_ms + 100

        def lets_pass(sender: int, to: int, message: Message) -> bool:
            is_finalize = isinstance(message, SignedVote) and message.vote.kind is VoteKind.FINALIZE
            return not is_finalize or world.now_ms > until_ms

        world.lets_pass = lets_pass
        finish(world, 1)

    def test_a_leader_that_reaches_only_some_is_covered_by_them(self) -> None:
        world = world_of()
        leader = world.committee.leader(View(1))
        left_out = next(i for i in world.nodes if i != leader)

        def lets_pass(sender: int, to: int, message: Message) -> bool:
            return not (isinstance(message, Proposal) and to == left_out)

        world.lets_pass = lets_pass
        assert finish(world, 1) < world.committee.parameters.delta_ms

    def test_delta_too_small_for_the_network_grows_until_it_is_not(self) -> None:
        world = World(committee_of(4, delta_ms=10), seed=1)
        world.weather = Weather(delay_ms=(30, 30))
        for index in world.nodes:
            world.start(index)
        world.run(1000)
        finish(world, 1)


def test_nothing_grows_with_the_length_of_the_chain() -> None:
    world = world_of()
    sizes = []
    for number in range(120):
        finish(world, number)
        state = world.nodes[0].engine._state  # type: ignore[union-attr]
        sizes.append((
            len(state.tree.blocks), len(state.tree.notarizations), len(state.tree.nullifications),
            len(state.tree.finalizations), len(state.tree.seen_ms), len(state.pool._votes), len(state.ballots._votes),
            len(state.out._certificates), len(state.requests.blocks), len(state.requests.payloads),
            len(state.accused), len(state.payloads._held), state.payloads.pending, len(state.pacemaker._left_ms),
        ))  # fmt: skip
    assert max(sum(size) for size in sizes[60:]) <= max(sum(size) for size in sizes[:60])


def test_nothing_grows_without_bound_where_nothing_becomes_final() -> None:
    """Votes of old views are forgotten; certificates must stay, one small one a view, for the ancestry check."""
    world = world_of()

    def lets_pass(sender: int, to: int, message: Message) -> bool:
        return not (isinstance(message, SignedVote) and message.vote.kind is not VoteKind.NULLIFY)

    world.lets_pass = lets_pass
    world.hand_out(payload(1))
    while world.top_view() < 300:
        world.run(world.now_ms + 60_000)
    state = world.nodes[0].engine._state  # type: ignore[union-attr]
    assert len(state.pool._votes) <= 256 + 2
    assert len(state.tree.blocks) <= 2 * world.top_view()
    world.lets_pass = lambda *_: True
    assert world.run(world.now_ms + 60_000, lambda: world.have_all({payload(1)}))


def test_no_more_are_in_doubt_than_the_smallest_committee_to_come_can_spare() -> None:
    """Else a run asks for what no rule can give: two of six that do not trust their votes are more than f."""
    world = World(genesis_of(7).roster.committee(), seed=1, consortium=True, lying=frozenset({6}))
    politics = Politics(world, frozenset({6}))
    assert world.doubts_max(world.nodes[0]) == 1, "of two that may be faulty one lies"
    removal = Remove(epoch=world.checks.top_term.epoch, member_id=member_id(3), scope=next(iter(Scope)))
    politics.proposed.append(removal)
    assert world.doubts_max(world.nodes[0]) == 0
    world.nodes[1].disk.lose_voting_state()
    assert world.in_doubt() == {1}
