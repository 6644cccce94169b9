"""Following without a vote: ranges side by side, payloads ahead; and how an epoch ends for it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from consensus.errors import RestoredStateInvalid
from consensus.events import (
    Commit,
    Executed,
    FetchPayloads,
    Received,
    Restored,
    Tick,
)
from consensus.follower import PAYLOADS_AHEAD_MAX, POLL_DELTAS_MAX, RANGES_MAX, Follower
from consensus.messages import BLOCKS_MAX, Certificates, Chain
from consensus.types import Height, ValidatorIndex, VoteKind
from consensus.window import WINDOW_BLOCKS_MAX
from tests.consensus.follower_bench import (
    COMMITTEE,
    DELTA,
    NEW,
    NEXT,
    FollowerBench,
    chain,
    chain_of,
)
from tests.consensus.toys import (
    SEED,
    certify,
    child,
    finalization,
    notarization,
    payload,
    verify,
    vote_for,
)


class TestFollowing:
    def test_one_validator_is_asked_for_what_follows_and_its_chain_committed(self) -> None:
        bench = FollowerBench()
        assert [height for _, height in bench.asked] == [1]
        blocks = chain_of(3)
        bench.receive(bench.asked[0][0], chain(blocks))
        assert bench.committed == list(blocks)
        assert bench.of(Commit)[0].finalization.vote.block == blocks[-1].digest
        assert bench.follower.status().height == 3

    def test_it_starts_at_the_first_tick(self) -> None:
        bench = FollowerBench(start=False)
        bench.hold(payload(1))
        assert not bench.outputs
        assert bench.follower.deadline_ms == 0

    def test_a_long_chain_comes_in_ranges_of_all_validators_side_by_side(self) -> None:
        bench = FollowerBench()
        blocks = chain_of(10 * BLOCKS_MAX)
        bench.receive(0, finalization(COMMITTEE, blocks[-1]))
        heights = [height for _, height in bench.asked]
        assert heights == [1 + BLOCKS_MAX * n for n in range(RANGES_MAX)]
        assert {validator for validator, _ in bench.asked} == {0, 1, 2, 3}
        bench.serve(blocks)
        assert bench.committed == list(blocks)
        assert len(bench.follower._window._blocks) == 1, "what is committed is forgotten"

    def test_ranges_that_come_in_any_order_join(self) -> None:
        bench = FollowerBench()
        blocks = chain_of(30)
        for first, last in ((20, 30), (5, 12), (10, 22)):
            bench.receive(0, chain(blocks[first:last]))
        assert not bench.committed
        bench.receive(1, chain(blocks[:6]))
        assert bench.committed == list(blocks)

    def test_without_a_known_height_more_is_asked_for_the_more_comes(self) -> None:
        bench = FollowerBench()
        blocks = chain_of(40 * BLOCKS_MAX)
        in_flight = []
        for turn in range(4):
            bench.drain()
            first = turn * BLOCKS_MAX
            bench.receive(turn, chain(blocks[first : first + BLOCKS_MAX]))
            in_flight.append(len(bench.follower._asked))
        assert in_flight == sorted(in_flight)
        assert max(in_flight) == RANGES_MAX

    def test_one_validator_is_not_asked_oftener_than_it_answers(self) -> None:
        bench = FollowerBench()
        blocks = chain_of(2 * WINDOW_BLOCKS_MAX)
        while bench.follower._asked:
            height, asked = next(iter(bench.follower._asked.items()))
            bench.receive(asked.validator, chain(blocks[height - 1 : height]))
        counts = [sum(v == validator for v, _ in bench.asked) for validator in range(4)]
        assert counts == [6] * 4
        assert bench.follower.deadline_ms is not None, "in the next delta it goes on"
        bench.drain()
        bench.tick(DELTA)
        assert bench.asked

    def test_own_seat_is_not_asked(self) -> None:
        bench = FollowerBench(me=2)
        bench.tick(100 * DELTA)
        assert {validator for validator, _ in bench.asked} == {0, 1, 3}

    def test_at_the_tip_it_asks_ever_more_seldom_and_at_once_when_something_moves(self) -> None:
        bench = FollowerBench()
        bench.tick(200 * DELTA)
        late = len(bench.asked)
        bench.tick(10 * POLL_DELTAS_MAX * DELTA)
        assert 9 <= len(bench.asked) - late <= 11
        bench.drain()
        bench.hold(payload(7))
        bench.tick(DELTA)
        assert bench.asked

    def test_a_finalization_tells_how_far_it_is(self) -> None:
        bench = FollowerBench()
        blocks = chain_of(3)
        bench.drain()
        bench.receive(
            1, Certificates(certificates=(notarization(COMMITTEE, blocks[0]), finalization(COMMITTEE, blocks[2])))
        )
        assert bench.follower.status().finalized_view == blocks[2].view
        bench.receive(1, chain(blocks))
        assert bench.committed == list(blocks)

    def test_restarted_it_goes_on_from_its_head(self) -> None:
        blocks = chain_of(5)
        bench = FollowerBench(restored=Restored(head=blocks[2], finalization=finalization(COMMITTEE, blocks[2])))
        assert bench.asked[0][1] == 4
        bench.receive(0, chain(blocks))
        assert bench.committed == list(blocks[3:])

    def test_a_store_that_contradicts_itself_is_refused(self) -> None:
        blocks = chain_of(2)
        forged = certify(COMMITTEE, vote_for(VoteKind.FINALIZE, blocks[0]), (0, 1))
        for finalized in (None, finalization(COMMITTEE, blocks[1]), forged):
            with pytest.raises(RestoredStateInvalid):
                FollowerBench(restored=Restored(head=blocks[0], finalization=finalized))


class TestPayloads:
    def test_they_are_wanted_ahead_of_what_can_be_committed(self) -> None:
        bench = FollowerBench()
        blocks = chain_of(8, payloads=2)
        bench.receive(0, chain(blocks[:4]))
        bench.receive(0, chain(blocks[4:]))
        assert not bench.committed
        wanted = [digest for fetch in bench.of(FetchPayloads) for digest in fetch.digests]
        assert wanted == [digest for block in blocks for digest in block.payloads]

    def test_a_commit_waits_for_all_of_its_payloads_in_whatever_order_they_come(self) -> None:
        bench = FollowerBench()
        blocks = chain_of(4, payloads=1)
        bench.receive(0, chain(blocks[:2]))
        bench.receive(0, chain(blocks[2:]))
        bench.hold(blocks[1].payloads[0], blocks[2].payloads[0], blocks[3].payloads[0])
        assert not bench.committed
        bench.hold(blocks[0].payloads[0])
        assert [commit.blocks for commit in bench.of(Commit)] == [blocks[:2], blocks[2:]]

    def test_what_was_held_before_its_block_came_is_not_asked_for(self) -> None:
        bench = FollowerBench()
        blocks = chain_of(2, payloads=1)
        bench.hold(*blocks[0].payloads, *blocks[1].payloads)
        bench.receive(0, chain(blocks))
        assert bench.committed == list(blocks)
        assert not bench.of(FetchPayloads)

    def test_a_payload_two_blocks_order_is_enough_once(self) -> None:
        bench = FollowerBench()
        one = child(COMMITTEE, payloads=(payload(1),))
        two = child(COMMITTEE, one, payloads=(payload(1),))
        bench.receive(0, chain((one, two)))
        bench.hold(payload(1))
        assert bench.committed == [one, two]

    def test_how_many_are_wanted_at_once_is_bounded(self) -> None:
        bench = FollowerBench()
        blocks = chain_of(10, payloads=200)
        bench.receive(0, chain(blocks))
        wanted = [digest for fetch in bench.of(FetchPayloads) for digest in fetch.digests]
        assert PAYLOADS_AHEAD_MAX <= len(wanted) < PAYLOADS_AHEAD_MAX + 200
        bench.drain()
        bench.hold(*blocks[0].payloads)
        assert [fetch.digests for fetch in bench.of(FetchPayloads)] == [blocks[3].payloads]

    def test_what_does_not_come_is_asked_of_the_next_one(self) -> None:
        bench = FollowerBench()
        bench.receive(0, chain(chain_of(1, payloads=1)))
        bench.tick(200 * DELTA)
        holders = [fetch.holders[0] for fetch in bench.of(FetchPayloads)]
        assert set(holders) == {0, 1, 2, 3}
        assert all(a != b for a, b in pairwise(holders))
        assert len(holders) < 8, "ever more seldom"

    def test_held_payloads_without_a_block_are_forgotten_once_they_are_many(self) -> None:
        bench = FollowerBench()
        for number in range(100):
            bench.hold(*(payload(number * 100 + i) for i in range(100)))
        assert len(bench.follower._spare) == 8192

    def test_a_finalization_further_down_lets_us_commit_up_to_it(self) -> None:
        bench = FollowerBench()
        blocks = chain_of(4, payloads=1)
        bench.receive(0, chain(blocks))
        bench.hold(*blocks[0].payloads, *blocks[1].payloads)
        assert not bench.committed
        bench.receive(1, chain(blocks[:2]))
        assert bench.committed == list(blocks[:2])


class TestExecution:
    def test_commits_wait_for_the_executor_where_that_is_wanted(self) -> None:
        bench = FollowerBench(commits_max=2)
        blocks = chain_of(4)
        for block in blocks:
            bench.receive(0, chain((block,)))
        assert bench.committed == list(blocks[:2])
        assert all(commit.awaits_execution for commit in bench.of(Commit))
        assert bench.follower.status().waits_for == "execution of the blocks up to height 2"
        bench.step(Executed(height=Height(1)))
        assert bench.committed == list(blocks[:3])
        bench.step(Executed(height=Height(3)))
        assert bench.committed == list(blocks)

    def test_fetching_goes_on_meanwhile(self) -> None:
        bench = FollowerBench(commits_max=1)
        blocks = chain_of(6, payloads=1)
        for block in blocks:
            bench.receive(0, chain((block,)))
        bench.hold(blocks[0].payloads[0])
        assert len(bench.of(Commit)) == 1
        assert {digest for fetch in bench.of(FetchPayloads) for digest in fetch.digests} == {
            block.payloads[0] for block in blocks
        }

    def test_memory_is_bounded_while_nothing_is_executed(self) -> None:
        bench = FollowerBench(commits_max=1)
        blocks = chain_of(3 * WINDOW_BLOCKS_MAX)
        bench.receive(0, finalization(COMMITTEE, blocks[-1]))
        for _ in range(60):
            bench.serve(blocks)
            bench.tick(DELTA)
        assert len(bench.follower._window._blocks) <= WINDOW_BLOCKS_MAX + BLOCKS_MAX + 1
        assert max(height for _, height in bench.asked) <= bench.follower.status().height + WINDOW_BLOCKS_MAX
        assert not bench.rejections


class TestEpochs:
    BLOCKS = chain_of(2)
    BOUNDARY = child(COMMITTEE, BLOCKS[-1], next_committee=NEW)

    def test_the_boundary_ends_it(self) -> None:
        bench = FollowerBench()
        bench.receive(0, chain((*self.BLOCKS, self.BOUNDARY)))
        commit = bench.of(Commit)[-1]
        assert (commit.blocks, commit.proof, commit.ends_epoch) == ((*self.BLOCKS, self.BOUNDARY), (), True)
        assert bench.follower.ended
        assert bench.follower.status().ended
        assert bench.follower.deadline_ms is None
        bench.drain()
        bench.hold(payload(1))
        bench.receive(0, Chain(blocks=(), finalization=finalization(COMMITTEE, self.BOUNDARY)))
        bench.tick(1000)
        assert not bench.outputs

    def test_a_boundary_final_by_a_descendant_comes_with_the_headers_between(self) -> None:
        bench = FollowerBench()
        four = child(COMMITTEE, self.BOUNDARY)
        five = child(COMMITTEE, four)
        bench.receive(0, chain((*self.BLOCKS, self.BOUNDARY, four, five)))
        commit = bench.of(Commit)[-1]
        assert (commit.blocks[-1], commit.proof) == (self.BOUNDARY, (four, five))
        assert commit.finalization.vote.block == five.digest

    def test_what_lies_below_is_committed_first_with_its_own_finalization(self) -> None:
        bench = FollowerBench()
        full = child(COMMITTEE, payloads=(payload(1),))
        boundary = child(COMMITTEE, full, next_committee=NEW)
        beyond = child(COMMITTEE, boundary)
        bench.receive(0, chain((full,)))
        bench.receive(0, chain((boundary, beyond)))
        assert not bench.committed
        bench.hold(payload(1))
        assert [(commit.blocks, commit.proof) for commit in bench.of(Commit)] == [
            ((full,), ()),
            ((boundary,), (beyond,)),
        ]

    def test_nothing_more_is_asked_for_once_all_of_the_epoch_is_here(self) -> None:
        bench = FollowerBench()
        full = child(COMMITTEE, payloads=(payload(1),))
        bench.receive(0, chain((full, child(COMMITTEE, full, next_committee=NEW))))
        bench.drain()
        bench.tick(20 * DELTA)
        assert not bench.asked
        assert bench.of(FetchPayloads)

    def test_it_starts_from_a_boundary_as_from_the_genesis_block(self) -> None:
        follower = Follower(
            committee=NEXT, restored=Restored(head=self.BOUNDARY, finalization=None), verify=verify, seed=SEED
        )
        first = child(NEXT, self.BOUNDARY)
        follower.step(Tick(monotonic_ms=1, wall_ms=1))
        outputs = follower.step(
            Received(sender=ValidatorIndex(0), message=Chain(blocks=(first,), finalization=finalization(NEXT, first)))
        )
        assert [output.blocks for output in outputs if isinstance(output, Commit)] == [(first,)]
