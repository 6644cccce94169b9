"""Rule 3 of design D4: what is voted for, and above all what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consensus.events import FetchPayloads
from consensus.messages import BlockReply, BlockRequest
from consensus.types import View, VoteKind, nullify
from tests.consensus.bench import WALL_MS, Bench, follower_of, leader_of
from tests.consensus.toys import (
    child,
    committee_of,
    payload,
    signed,
    vote_for,
)

COMMITTEE = committee_of(4)
DELTA = COMMITTEE.parameters.delta_ms
NOTARIZE, NULLIFY, FINALIZE = VoteKind.NOTARIZE, VoteKind.NULLIFY, VoteKind.FINALIZE


def follower(view: int = 1) -> Bench:
    return Bench(follower_of(view))


class TestRule3Notarize:
    def test_the_first_valid_proposal_is_voted_for(self) -> None:
        bench = follower()
        block = child(COMMITTEE)
        bench.propose(block)
        assert bench.cast == [vote_for(NOTARIZE, block)]

    def test_a_second_proposal_in_the_view_is_not(self) -> None:
        bench = follower()
        first, second = child(COMMITTEE), child(COMMITTEE, timestamp_ms=5)
        bench.propose(first)
        bench.propose(second)
        assert bench.cast == [vote_for(NOTARIZE, first)]

    def test_nor_is_any_after_the_view_was_nullified_here(self) -> None:
        bench = follower()
        bench.hold(payload(1))
        bench.tick(3 * DELTA)
        assert bench.has_cast(NULLIFY, 1)
        bench.propose(child(COMMITTEE))
        assert not bench.has_cast(NOTARIZE, 1)

    def test_payloads_are_fetched_first(self) -> None:
        bench = follower()
        block = child(COMMITTEE, payloads=(payload(1), payload(2)))
        bench.hold(payload(1))
        bench.propose(block)
        assert not bench.cast
        assert not bench.of(FetchPayloads), "it may be on its way"
        bench.tick(DELTA // 16)
        assert bench.of(FetchPayloads)[0].digests == (payload(2),)
        assert bench.of(FetchPayloads)[0].holders[0] == block.proposer
        bench.hold(payload(2), order=False)
        assert bench.has_cast(NOTARIZE, 1)

    def test_a_fetch_is_repeated_with_another_holder_first(self) -> None:
        bench = follower()
        bench.propose(child(COMMITTEE, payloads=(payload(1),)))
        bench.tick(2 * DELTA + DELTA // 16)
        first, second = bench.of(FetchPayloads)
        assert first.holders[0] != second.holders[0]
        assert set(first.holders) == set(second.holders) == set(bench.others)

    @pytest.mark.parametrize(
        ("field", "value"),
        [("height", 2), ("height", 0), ("next_committee", payload(3)), ("timestamp_ms", 0)],
    )
    def test_a_block_that_breaks_a_rule_is_refused(self, field: str, value: object) -> None:
        bench = follower()
        bench.propose(replace(child(COMMITTEE), **{field: value}))  # type: ignore[arg-type]
        assert not bench.cast
        assert bench.rejections == ["InvalidBlock"]

    def test_a_block_of_another_consortium_or_epoch_is_refused(self) -> None:
        for field, value, error in (("consortium", payload(3), "WrongConsortium"), ("epoch", 1, "WrongEpoch")):
            bench = follower()
            bench.propose(replace(child(COMMITTEE), **{field: value}))  # type: ignore[arg-type]
            assert not bench.cast
            assert bench.rejections == [error]

    def test_only_the_leader_of_the_view_may_propose(self) -> None:
        bench = follower()
        impostor = next(i for i in bench.others if i != leader_of(1))
        block = replace(child(COMMITTEE), proposer=impostor)
        bench.receive(impostor, bench.proposal(block))
        assert not bench.cast
        assert bench.rejections == ["WrongLeader"]

    def test_the_leader_must_have_signed_the_block(self) -> None:
        bench = follower()
        proposal = bench.proposal(child(COMMITTEE))
        forged = replace(proposal.vote, signature=signed(COMMITTEE, 3, nullify(COMMITTEE.epoch, View(1))).signature)
        bench.receive(leader_of(1), replace(proposal, vote=forged))
        assert not bench.cast
        assert bench.rejections == ["InvalidSignature"]

    def test_a_block_from_the_future_waits_until_its_time_is_near(self) -> None:
        bench = follower()
        block = child(COMMITTEE, timestamp_ms=WALL_MS + COMMITTEE.parameters.precision_ms + 30)
        bench.propose(block)
        assert not bench.cast
        assert bench.engine.deadline_ms == bench.now_ms + 30
        bench.tick(30)
        assert bench.cast == [vote_for(NOTARIZE, block)]

    def test_one_millisecond_after_its_parent_is_never_too_early(self) -> None:
        bench = follower(2)
        one = child(COMMITTEE, timestamp_ms=WALL_MS)
        bench.propose(one)
        bench.votes(NOTARIZE, one)
        bench.wall_ms -= 3_600_000
        bench.tick(0)
        bench.propose(child(COMMITTEE, one, timestamp_ms=one.timestamp_ms + 1), bench.notarization(one))
        assert bench.has_cast(NOTARIZE, 2)

    def test_two_milliseconds_after_it_are(self) -> None:
        bench = follower(2)
        one = child(COMMITTEE, timestamp_ms=WALL_MS)
        bench.propose(one)
        bench.votes(NOTARIZE, one)
        bench.wall_ms -= 3_600_000
        bench.tick(0)
        bench.propose(child(COMMITTEE, one, timestamp_ms=one.timestamp_ms + 2), bench.notarization(one))
        assert not bench.has_cast(NOTARIZE, 2)


class TestAncestry:
    """Rule 3's heart: the parent is notarized, and every view between is nullified."""

    ONE = child(COMMITTEE, payloads=())
    TWO = child(COMMITTEE, ONE)

    def at_view_3(self) -> Bench:
        bench = follower(3)
        for block, parent in ((self.ONE, None), (self.TWO, bench.notarization(self.ONE))):
            bench.propose(block, parent)
            bench.votes(NOTARIZE, block)
        assert bench.view == 3
        return bench

    def test_a_child_of_the_last_notarized_block_is_voted_for(self) -> None:
        bench = self.at_view_3()
        bench.propose(child(COMMITTEE, self.TWO), bench.notarization(self.TWO))
        assert bench.has_cast(NOTARIZE, 3)

    def test_a_fork_past_a_view_that_is_not_nullified_is_not(self) -> None:
        bench = self.at_view_3()
        bench.propose(child(COMMITTEE, self.ONE, view=3), bench.notarization(self.ONE))
        assert not bench.has_cast(NOTARIZE, 3)

    def test_the_same_fork_with_the_nullification_is(self) -> None:
        bench = self.at_view_3()
        fork = child(COMMITTEE, self.ONE, view=3)
        bench.propose(fork, bench.notarization(self.ONE), (bench.nullification(2),))
        assert bench.has_cast(NOTARIZE, 3)

    def test_a_parent_nobody_notarized_is_not_built_on(self) -> None:
        bench = self.at_view_3()
        bogus = child(COMMITTEE, self.ONE, view=2, timestamp_ms=99)
        bench.propose(child(COMMITTEE, bogus), bench.notarization(self.TWO))
        assert not bench.has_cast(NOTARIZE, 3)
        assert bench.rejections == ["MalformedMessage"]

    def test_a_certificate_of_the_parent_comes_with_the_proposal(self) -> None:
        bench = follower(2)
        bench.propose(child(COMMITTEE, self.ONE), bench.notarization(self.ONE))
        assert bench.view == 2, "the parent's notarization let us in"
        assert not bench.has_cast(NOTARIZE, 2), "its block lacks"
        assert bench.sent(BlockRequest)

        bench.receive(leader_of(2), BlockReply(block=self.ONE))
        assert bench.has_cast(NOTARIZE, 2)

    def test_finalization_of_the_parent_stands_for_its_notarization(self) -> None:
        bench = follower(2)
        bench.propose(self.ONE)
        bench.votes(FINALIZE, self.ONE)
        assert bench.committed == [self.ONE]
        bench.propose(child(COMMITTEE, self.ONE), bench.finalization(self.ONE))
        assert bench.has_cast(NOTARIZE, 2)

    def test_nothing_below_a_final_view_is_built_on(self) -> None:
        bench = follower(3)
        bench.propose(self.ONE)
        bench.propose(self.TWO, bench.notarization(self.ONE))
        bench.votes(FINALIZE, self.TWO)
        forged = child(COMMITTEE, self.ONE, view=3)
        bench.propose(forged, bench.notarization(self.ONE))
        assert not bench.has_cast(NOTARIZE, 3)
        assert bench.rejections == ["InvalidBlock"]
