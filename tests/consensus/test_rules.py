"""The six rules of design D4, one validator at a time."""

from __future__ import annotations

import pytest

from consensus.events import Broadcast, FetchPayloads, Persist, Restored, Sign, Signed
from consensus.messages import CertificateRequest, Proposal
from consensus.types import BLOCK_PAYLOADS_MAX, SignedVote, View, VoteKind, nullify
from tests.consensus.bench import WALL_MS, Bench, follower_of, leader_of
from tests.consensus.toys import (
    certify,
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


def leader(view: int = 1) -> Bench:
    return Bench(leader_of(view))


class TestPersistBeforeSign:
    def test_every_signature_is_asked_for_after_its_vote_was_persisted(self) -> None:
        bench = follower()
        outputs = bench.propose(child(COMMITTEE))
        kinds = [type(output) for output in outputs]
        assert kinds.index(Persist) < kinds.index(Sign)
        assert bench.of(Persist)[0].votes == tuple(bench.cast)

    def test_nothing_leaves_before_the_signature_is_back(self) -> None:
        bench = Bench(follower_of(1), sign=False)
        bench.propose(child(COMMITTEE))
        assert bench.has_cast(NOTARIZE, 1)
        assert not [message for message in bench.said if isinstance(message, SignedVote)]
        bench.step(Signed(vote=signed(COMMITTEE, bench.me, bench.cast[0])))
        assert isinstance(bench.said[-1], SignedVote)

    def test_the_block_and_the_certificates_a_vote_rests_on_are_persisted_with_it(self) -> None:
        bench = follower(3)
        one = child(COMMITTEE)
        three = child(COMMITTEE, one, view=3)
        bench.propose(one)
        bench.votes(NOTARIZE, one, voters=tuple(i for i in bench.others if i != leader_of(1))[:2])
        bench.drain()
        bench.propose(three, bench.notarization(one), (bench.nullification(2),))
        kept = bench.of(Persist)[-1]
        assert three in kept.blocks
        assert [c.vote.view for c in kept.certificates if c.vote.kind is NULLIFY] == [2]

    def test_a_vote_of_ours_counts_only_once_signed(self) -> None:
        bench = Bench(follower_of(1), sign=False)
        block = child(COMMITTEE)
        bench.propose(block)
        third = next(i for i in bench.others if i != block.proposer)
        bench.votes(NOTARIZE, block, voters=(third,))
        assert bench.view == 1
        bench.step(Signed(vote=signed(COMMITTEE, bench.me, bench.cast[0])))
        assert bench.view == 2


class TestRule1Enter:
    @pytest.mark.parametrize("kind", [NOTARIZE, NULLIFY, FINALIZE])
    def test_any_certificate_enters_the_next_view(self, kind: VoteKind) -> None:
        bench = follower()
        if kind is NULLIFY:
            bench.nullifies(1)
        else:
            bench.votes(kind, child(COMMITTEE))
        assert bench.view == 2

    def test_less_than_a_quorum_does_not(self) -> None:
        bench = follower()
        bench.nullifies(1, voters=bench.others[:2])
        assert bench.view == 1

    def test_a_certificate_of_a_later_view_jumps_there(self) -> None:
        bench = follower()
        bench.receive(bench.others[0], bench.nullification(9))
        assert bench.view == 10

    def test_votes_of_later_views_make_us_ask_but_never_move(self) -> None:
        bench = follower()
        bench.nullifies(7, voters=bench.others[:2])
        assert bench.view == 1
        bench.tick(DELTA)

        asked = bench.sent(CertificateRequest)
        assert asked
        assert asked[0][0] in bench.others[:2]
        assert asked[0][1].from_view == 1

    def test_one_validator_ahead_makes_us_ask_nothing(self) -> None:

        bench = follower()
        bench.nullifies(7, voters=bench.others[:1])
        bench.tick(DELTA)
        assert not bench.sent(CertificateRequest)


class TestRule2Propose:
    def test_the_leader_proposes_at_once_when_a_payload_waits(self) -> None:
        bench = leader()
        bench.hold(payload(1))
        proposals = [message for message in bench.said if isinstance(message, Proposal)]
        assert len(proposals) == 1
        block = proposals[0].block
        assert (block.payloads, block.parent, block.view) == ((payload(1),), bench.genesis.digest, 1)
        assert proposals[0].vote == signed(COMMITTEE, bench.me, vote_for(NOTARIZE, block))

    def test_it_proposes_once_a_view_and_nobody_else_does(self) -> None:
        bench, other = leader(), follower()
        for number in (1, 2):
            bench.hold(payload(number))
            other.hold(payload(number))
        assert sum(isinstance(message, Proposal) for message in bench.said) == 1
        assert not [message for message in other.said if isinstance(message, Proposal)]

    def test_it_proposes_nothing_while_idle(self) -> None:
        bench = leader()
        bench.tick(10_000)
        assert not bench.cast

    def test_a_payload_only_fetched_for_others_is_no_reason(self) -> None:
        bench = leader()
        bench.hold(payload(1), order=False)
        assert not bench.cast

    def test_it_waits_the_block_interval_after_its_parent(self) -> None:
        bench = leader(2)
        one = child(COMMITTEE, payloads=(payload(1),))
        bench.hold(payload(1), payload(2))
        bench.propose(one)
        bench.votes(NOTARIZE, one)
        assert bench.view == 2
        assert not bench.has_cast(NOTARIZE, 2)
        assert bench.engine.deadline_ms == bench.now_ms + COMMITTEE.parameters.block_interval_ms
        bench.tick(COMMITTEE.parameters.block_interval_ms)
        assert bench.has_cast(NOTARIZE, 2)

    def test_it_does_not_order_again_what_its_ancestors_order(self) -> None:
        bench = leader(2)
        bench.hold(payload(1), payload(2))
        one = child(COMMITTEE, payloads=(payload(1),))
        bench.propose(one)
        bench.votes(NOTARIZE, one)
        bench.tick(100)
        proposal = next(message for message in bench.said if isinstance(message, Proposal))
        assert proposal.block.payloads == (payload(2),)
        assert proposal.parent is not None
        assert proposal.parent.vote.block == one.digest

    def test_it_orders_first_what_came_first_up_to_the_bound(self) -> None:
        bench = leader()
        digests = [payload(n) for n in range(BLOCK_PAYLOADS_MAX + 5)]
        bench.hold(*digests)
        proposal = next(message for message in bench.said if isinstance(message, Proposal))
        assert proposal.block.payloads == tuple(digests[:BLOCK_PAYLOADS_MAX])

    def test_empty_blocks_follow_until_pending_work_is_final(self) -> None:
        bench = leader(2)
        one = child(COMMITTEE, payloads=(payload(1),))
        bench.hold(payload(1))
        bench.propose(one)
        bench.votes(NOTARIZE, one)
        bench.tick(COMMITTEE.parameters.block_interval_ms)
        assert not bench.has_cast(NOTARIZE, 2), "finality may be on its way"
        bench.tick(DELTA // 2)
        assert bench.has_cast(NOTARIZE, 2)

    def test_no_empty_block_follows_once_it_is_final(self) -> None:
        bench = leader(2)
        one = child(COMMITTEE, payloads=(payload(1),))
        bench.hold(payload(1))
        bench.propose(one)
        bench.votes(NOTARIZE, one)
        bench.votes(FINALIZE, one)
        bench.tick(10 * DELTA)
        assert not bench.has_cast(NOTARIZE, 2)

    def test_skipped_views_are_justified_by_their_nullifications(self) -> None:
        bench = leader(3)
        bench.nullifies(1)
        bench.nullifies(2)
        bench.hold(payload(1))
        proposal = next(message for message in bench.said if isinstance(message, Proposal))
        assert [c.vote.view for c in proposal.nullifications] == [1, 2]
        assert proposal.block.parent_view == 0

    def test_it_does_not_propose_over_a_view_it_knows_nothing_of(self) -> None:
        bench = leader(3)
        bench.receive(bench.others[0], bench.nullification(2))
        bench.hold(payload(1))
        assert bench.view == 3
        assert not bench.cast

    def test_a_clock_set_back_gives_blocks_that_creep(self) -> None:
        bench = leader(2)
        one = child(COMMITTEE, timestamp_ms=WALL_MS + 400)
        bench.propose(one)
        bench.votes(NOTARIZE, one)
        bench.wall_ms -= 3_600_000
        bench.hold(payload(1))
        bench.tick(100)
        proposal = next(message for message in bench.said if isinstance(message, Proposal))
        assert proposal.block.timestamp_ms == one.timestamp_ms + 1


class TestRule4Nullify:
    def test_the_leader_timer_runs_from_when_something_is_at_stake(self) -> None:
        bench = follower()
        bench.tick(60_000)
        bench.hold(payload(1))
        bench.tick(3 * DELTA - 1)
        assert not bench.cast
        bench.tick(1)
        assert bench.cast == [nullify(COMMITTEE.epoch, View(1))]

    def test_a_proposal_stops_the_leader_timer_but_not_the_views(self) -> None:
        bench = follower()
        bench.hold(payload(1))
        bench.propose(child(COMMITTEE, payloads=(payload(1),)))
        bench.tick(5 * DELTA - 1)
        assert not bench.has_cast(NULLIFY, 1)
        bench.tick(1)
        assert bench.has_cast(NULLIFY, 1)

    def test_a_message_for_the_view_starts_the_timer(self) -> None:
        bench = follower()
        bench.nullifies(1, voters=bench.others[:1])
        bench.tick(3 * DELTA)
        assert bench.has_cast(NULLIFY, 1)

    def test_a_view_is_nullified_once(self) -> None:
        bench = follower()
        bench.hold(payload(1))
        for _ in range(20):
            bench.tick(DELTA)
        assert bench.cast == [nullify(COMMITTEE.epoch, View(1))]

    def test_a_silent_leader_is_not_waited_for(self) -> None:
        view = next(v for v in range(20, 30) if leader_of(v) == 3)
        bench = Bench(0)
        heard = certify(COMMITTEE, nullify(COMMITTEE.epoch, View(view - 1)), (0, 1, 2))
        untold = Restored(head=bench.genesis, finalization=None, votes=(heard.vote,), certificates=(heard,))
        bench = Bench(0, restored=untold)
        assert bench.view == view
        bench.drain()
        bench.hold(payload(1))
        assert bench.has_cast(NULLIFY, view)

    def test_one_that_was_heard_lately_is(self) -> None:
        view = next(v for v in range(20, 30) if leader_of(v) == 3)
        bench = Bench(0)
        bench.receive(1, certify(COMMITTEE, nullify(COMMITTEE.epoch, View(view - 1)), (1, 2, 3)))
        bench.hold(payload(1))
        assert bench.view == view
        assert not bench.has_cast(NULLIFY, view)


class TestRule5Finalize:
    def test_a_notarization_is_voted_final(self) -> None:
        bench = follower()
        block = child(COMMITTEE)
        bench.votes(NOTARIZE, block)
        assert bench.cast == [vote_for(FINALIZE, block)]

    def test_not_if_the_view_was_nullified_here(self) -> None:
        bench = follower()
        bench.hold(payload(1))
        bench.tick(3 * DELTA)
        bench.votes(NOTARIZE, child(COMMITTEE))
        assert bench.view == 2
        assert not bench.has_cast(FINALIZE, 1)

    def test_and_never_nullified_afterwards(self) -> None:
        bench = follower()
        bench.hold(payload(1))
        bench.votes(NOTARIZE, child(COMMITTEE))
        bench.tick(100 * DELTA)
        assert bench.has_cast(FINALIZE, 1)
        assert not bench.has_cast(NULLIFY, 1)

    def test_a_late_notarization_of_a_view_we_left_is_voted_final_too(self) -> None:
        bench = follower()
        bench.receive(bench.others[0], bench.nullification(2))
        bench.receive(bench.others[0], bench.notarization(child(COMMITTEE)))
        assert bench.view == 3
        assert bench.has_cast(FINALIZE, 1)

    def test_but_not_that_of_a_view_known_to_be_nullified(self) -> None:
        bench = follower()
        bench.nullifies(1)
        bench.receive(bench.others[0], bench.notarization(child(COMMITTEE)))
        assert not bench.has_cast(FINALIZE, 1)

    def test_nor_one_whose_leader_was_seen_to_equivocate(self) -> None:
        bench = follower()
        block = child(COMMITTEE)
        bench.propose(block)
        bench.propose(child(COMMITTEE, timestamp_ms=77))
        bench.votes(NOTARIZE, block)
        assert bench.view == 2
        assert not bench.has_cast(FINALIZE, 1)


class TestRule6Commit:
    def test_a_quorum_of_finalize_commits_the_block(self) -> None:
        bench = follower()
        block = child(COMMITTEE)
        bench.propose(block)
        bench.votes(FINALIZE, block, voters=bench.others[:2])
        assert not bench.committed
        bench.votes(FINALIZE, block, voters=bench.others[2:])
        assert bench.committed == [block]

    def test_and_all_its_ancestors_in_order(self) -> None:
        bench = follower(3)
        one = child(COMMITTEE)
        two = child(COMMITTEE, one)
        bench.propose(one)
        bench.propose(two, bench.notarization(one))
        bench.votes(FINALIZE, two)
        assert bench.committed == [one, two]

    def test_only_when_all_payloads_are_held(self) -> None:
        bench = follower(3)
        one = child(COMMITTEE, payloads=(payload(1),))
        two = child(COMMITTEE, one, payloads=(payload(2),))
        bench.propose(one)
        bench.propose(two, bench.notarization(one))
        bench.hold(payload(2), order=False)
        bench.votes(FINALIZE, two)
        assert not bench.committed
        assert payload(1) in {digest for fetch in bench.of(FetchPayloads) for digest in fetch.digests}
        bench.hold(payload(1), order=False)
        assert bench.committed == [one, two]

    def test_what_is_final_waits_no_longer_even_while_its_payload_is_fetched(self) -> None:
        bench = follower()
        block = child(COMMITTEE, payloads=(payload(1), payload(2)))
        bench.hold(payload(1))
        bench.propose(block)
        bench.votes(FINALIZE, block)
        assert not bench.committed
        assert bench.engine.status().pending_payloads == 0
        bench.hold(payload(2), order=False)
        bench.hold(payload(1), payload(2))
        assert bench.committed == [block]
        assert bench.engine.status().pending_payloads == 0, "a late report does not queue it again"

    def test_finality_is_told_by_a_certificate_as_well(self) -> None:
        bench = follower()
        block = child(COMMITTEE)
        bench.propose(block)
        bench.receive(bench.others[0], bench.finalization(block))
        assert bench.committed == [block]


def test_certificates_are_not_broadcast_by_those_who_form_them() -> None:
    bench = follower()
    block = child(COMMITTEE)
    bench.propose(block)
    bench.votes(NOTARIZE, block)
    bench.votes(FINALIZE, block)
    told = [type(output.message).__name__ for output in bench.of(Broadcast)]
    assert told == ["CertificateRequest", "SignedVote", "SignedVote"]
