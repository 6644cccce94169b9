"""What hostile peers send: refused, visible, and never able to stop, move or swell the engine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consensus.errors import MalformedMessage, PeerError
from consensus.events import Misbehaviour, Received, Rejected, Tick
from consensus.messages import (
    CERTIFICATES_MAX,
    NULLIFICATIONS_MAX,
    BlockReply,
    BlockRequest,
    CertificateRequest,
    Certificates,
    Chain,
    ChainRequest,
    Message,
    Proposal,
    ViewReply,
    ViewRequest,
)
from consensus.rations import REPLIES_PER_WINDOW_MAX
from consensus.state import VIEWS_AHEAD_MAX
from consensus.types import (
    Block,
    Certificate,
    Digest,
    Epoch,
    Height,
    Signature,
    SignedVote,
    ValidatorIndex,
    View,
    Vote,
    VoteKind,
    nullify,
)
from tests.consensus.bench import Bench, follower_of, leader_of
from tests.consensus.toys import certify, child, committee_of, finalization, payload, sign, signed, vote_for

COMMITTEE = committee_of(4)
NOTARIZE, NULLIFY, FINALIZE = VoteKind.NOTARIZE, VoteKind.NULLIFY, VoteKind.FINALIZE


def follower() -> Bench:
    return Bench(follower_of(1))


class TestVotes:
    def test_a_forged_vote_is_refused_and_does_not_count(self) -> None:
        bench = follower()
        for voter in bench.others:
            forged = replace(signed(COMMITTEE, voter, nullify(Epoch(0), View(1))), signature=Signature(bytes(64)))
            bench.receive(voter, forged)
        assert bench.view == 1
        assert bench.rejections == ["InvalidSignature"] * 3

    def test_votes_of_another_epoch_or_an_unknown_validator_are_refused(self) -> None:
        bench = follower()
        bench.vote(bench.others[0], nullify(Epoch(1), View(1)))
        bench.receive(bench.others[0], signed(COMMITTEE, 4, nullify(Epoch(0), View(1))))
        assert bench.rejections == ["WrongEpoch", "UnknownValidator"]

    def test_one_validator_counts_once_however_often_it_votes(self) -> None:
        bench = follower()
        for _ in range(5):
            bench.vote(bench.others[0], nullify(Epoch(0), View(1)))
        assert bench.view == 1
        assert not bench.rejections

    def test_a_vote_passed_on_by_another_counts_for_its_voter(self) -> None:
        bench = follower()
        for voter in bench.others:
            bench.receive(bench.others[0], signed(COMMITTEE, voter, nullify(Epoch(0), View(1))))
        assert bench.view == 2

    def test_each_signature_is_verified_once(self) -> None:
        bench = follower()
        block = child(COMMITTEE)
        bench.propose(block)
        for _ in range(3):
            bench.votes(NOTARIZE, block)
            bench.receive(bench.others[0], bench.notarization(block))
        # The leader's, and of the two others' the one that made the quorum; its certificate is free.
        assert bench.verified == 2

    def test_votes_far_ahead_are_not_kept(self) -> None:
        bench = follower()
        bench.nullifies(2 + VIEWS_AHEAD_MAX)
        assert bench.view == 1
        bench.nullifies(1 + VIEWS_AHEAD_MAX)
        assert bench.view == 2 + VIEWS_AHEAD_MAX

    def test_a_spammer_of_the_future_neither_moves_nor_delays_us(self) -> None:
        bench = follower()
        spammer = bench.others[0]
        for view in (10**3, 10**6, 2**64 - 1):
            bench.vote(spammer, nullify(Epoch(0), View(view)))
        assert bench.view == 1
        bench.propose(block := child(COMMITTEE))
        assert bench.cast == [vote_for(NOTARIZE, block)]


class TestEvidence:
    def test_an_equivocating_leader_is_reported_once_with_both_votes(self) -> None:
        bench = follower()
        first, second = child(COMMITTEE), child(COMMITTEE, timestamp_ms=77)
        for block in (first, second, child(COMMITTEE, timestamp_ms=78)):
            bench.propose(block)
        leader = leader_of(1)
        expected = [signed(COMMITTEE, leader, vote_for(NOTARIZE, block)) for block in (first, second)]
        assert bench.of(Misbehaviour) == [Misbehaviour(first=expected[0], second=expected[1])]

    def test_nullify_and_finalize_is_reported(self) -> None:
        bench = follower()
        bench.vote(bench.others[0], nullify(Epoch(0), View(1)))
        bench.vote(bench.others[0], vote_for(FINALIZE, child(COMMITTEE)))
        assert len(bench.of(Misbehaviour)) == 1

    def test_notarize_and_nullify_is_what_honest_validators_do(self) -> None:
        bench = follower()
        bench.vote(bench.others[0], vote_for(NOTARIZE, child(COMMITTEE)))
        bench.vote(bench.others[0], nullify(Epoch(0), View(1)))
        assert not bench.of(Misbehaviour)

    def test_a_forged_second_vote_accuses_nobody(self) -> None:
        bench = follower()
        voter = bench.others[0]
        bench.vote(voter, vote_for(NOTARIZE, child(COMMITTEE)))
        other = vote_for(NOTARIZE, child(COMMITTEE, timestamp_ms=77))
        bench.receive(voter, SignedVote(vote=other, voter=ValidatorIndex(voter), signature=sign(voter, b"")))
        assert not bench.of(Misbehaviour)
        assert bench.rejections == ["InvalidSignature"]

    def test_a_vote_against_a_certificate_it_is_in_is_reported(self) -> None:
        bench = follower()
        bench.receive(bench.others[1], bench.notarization(child(COMMITTEE)))
        bench.vote(bench.others[0], vote_for(NOTARIZE, child(COMMITTEE, timestamp_ms=77)))
        assert len(bench.of(Misbehaviour)) == 1

    def test_two_certificates_that_exclude_each_other_name_all_who_signed_both(self) -> None:
        bench = follower()
        block = child(COMMITTEE)
        bench.receive(bench.others[0], bench.nullification(1))
        bench.receive(bench.others[0], bench.finalization(block))
        assert bench.alarms == ["ConflictingCertificates"]
        assert [evidence.first.voter for evidence in bench.of(Misbehaviour)] == list(bench.others)
        assert bench.engine.status().finalized_view == 0

    def test_a_vote_of_ours_that_we_never_cast_ends_our_voting(self) -> None:
        bench = follower()
        bench.vote(bench.me, nullify(Epoch(0), View(1)))
        assert bench.alarms == ["ForeignOwnVote"]
        assert bench.engine.status().recovering
        bench.propose(child(COMMITTEE))
        assert not bench.cast

    def test_our_own_votes_told_back_do_not(self) -> None:
        bench = follower()
        bench.propose(block := child(COMMITTEE))
        bench.vote(bench.me, vote_for(NOTARIZE, block))
        assert not bench.engine.status().recovering


class TestCertificates:
    def test_too_few_wrong_epoch_and_forged_are_refused(self) -> None:
        bench = follower()
        vote = nullify(Epoch(0), View(1))
        good = bench.nullification(1)
        for wrong in (
            certify(COMMITTEE, vote, bench.others[:2]),
            certify(COMMITTEE, replace(vote, epoch=Epoch(1)), bench.others),
            replace(good, signatures=(*good.signatures[:2], good.signatures[0])),
            certify(COMMITTEE, vote, (*bench.others[1:], 4)),
        ):
            bench.receive(bench.others[0], wrong)
        assert bench.view == 1
        assert bench.rejections == ["TooFewSigners", "WrongEpoch", "InvalidSignature", "UnknownValidator"]
        bench.receive(bench.others[0], good)
        assert bench.view == 2

    def test_an_answer_is_read_up_to_its_first_bad_certificate(self) -> None:
        bench = follower()
        bad = certify(COMMITTEE, nullify(Epoch(0), View(2)), bench.others[:2])
        answer = Certificates(certificates=(bench.nullification(1), bad, bench.nullification(3)))
        bench.receive(bench.others[0], answer)
        assert bench.view == 2
        assert bench.rejections == ["TooFewSigners"]

    def test_more_than_an_answer_may_hold_are_refused_unread(self) -> None:
        bench = follower()
        answer = Certificates(certificates=(bench.nullification(1),) * (CERTIFICATES_MAX + 1))
        bench.receive(bench.others[0], answer)
        assert bench.rejections == ["MalformedMessage"]
        assert bench.verified == 0


class TestProposals:
    ONE = child(COMMITTEE)
    TWO = child(COMMITTEE, ONE)

    @pytest.mark.parametrize(
        "flaw",
        [
            "no parent",
            "parent of genesis",
            "nullified parent",
            "other parent",
            "unsorted",
            "outside",
            "other kind",
            "many",
        ],
    )
    def test_parts_that_do_not_belong_together_are_refused(self, flaw: str) -> None:
        bench = Bench(follower_of(3))
        three = child(COMMITTEE, self.ONE, view=3)
        parent, skip = bench.notarization(self.ONE), bench.nullification(2)
        good = bench.proposal(three, parent, (skip,))
        wrong: dict[str, Proposal] = {
            "no parent": replace(good, parent=None),
            "parent of genesis": bench.proposal(self.ONE, parent),
            "nullified parent": replace(good, parent=bench.nullification(1)),
            "other parent": replace(good, parent=bench.notarization(self.TWO)),
            "unsorted": replace(good, nullifications=(skip, skip)),
            "outside": replace(good, nullifications=(bench.nullification(3),)),
            "other kind": replace(good, nullifications=(bench.notarization(self.TWO),)),
            "many": bench.proposal(
                child(COMMITTEE, self.ONE, view=3 + NULLIFICATIONS_MAX),
                parent,
                tuple(bench.nullification(v) for v in range(2, 3 + NULLIFICATIONS_MAX)),
            ),
        }
        bench.receive(wrong[flaw].block.proposer, wrong[flaw])
        assert bench.rejections == ["MalformedMessage"]
        assert (bench.view, bench.cast) == (1, [])

    def test_the_leaders_vote_must_be_for_the_block(self) -> None:
        bench = follower()
        other = child(COMMITTEE, timestamp_ms=77)
        proposal = bench.proposal(self.ONE)
        for vote in (vote_for(NOTARIZE, other), vote_for(FINALIZE, self.ONE), nullify(Epoch(0), View(1))):
            bench.receive(leader_of(1), replace(proposal, vote=signed(COMMITTEE, leader_of(1), vote)))
        assert bench.rejections == ["MalformedMessage"] * 3
        assert not bench.cast

    def test_a_proposal_far_ahead_is_not_kept_unless_its_certificates_move_us(self) -> None:
        bench = Bench(0)
        view = next(v for v in range(VIEWS_AHEAD_MAX + 10, 200) if leader_of(v) != 0)
        block = child(COMMITTEE, self.ONE, view=view)
        bench.propose(block, bench.notarization(self.ONE))
        assert bench.view == 2
        skips = tuple(bench.nullification(v) for v in range(view - NULLIFICATIONS_MAX, view))
        bench.propose(block, bench.notarization(self.ONE), skips)
        assert bench.view == view
        assert bench.sent(CertificateRequest), "the rest of the nullifications must be asked for"


class TestBudgets:
    def test_a_peer_that_asks_too_much_is_not_answered_until_the_next_window(self) -> None:
        bench = follower()
        asker = bench.others[0]
        for _ in range(REPLIES_PER_WINDOW_MAX + 10):
            bench.receive(asker, BlockRequest(digest=bench.genesis.digest))
        assert len(bench.sent(BlockReply)) == REPLIES_PER_WINDOW_MAX
        bench.receive(bench.others[1], BlockRequest(digest=bench.genesis.digest))
        assert len(bench.sent(BlockReply)) == REPLIES_PER_WINDOW_MAX + 1, "others are not punished for it"
        bench.tick(COMMITTEE.parameters.delta_ms)
        bench.receive(asker, BlockRequest(digest=bench.genesis.digest))
        assert len(bench.sent(BlockReply)) == REPLIES_PER_WINDOW_MAX + 2

    def test_a_nonce_of_any_other_length_is_refused(self) -> None:
        bench = follower()
        bench.receive(bench.others[0], ViewRequest(nonce=bytes(15)))
        assert bench.rejections == ["MalformedMessage"]
        bench.receive(bench.others[0], ViewRequest(nonce=bytes(16)))
        assert bench.sent(ViewReply) == [(bench.others[0], ViewReply(nonce=bytes(16), highest=None))]


# ---- anything at all -------------------------------------------------------------------------------------------------

VIEWS = st.sampled_from([0, 1, 2, 3, 5, 66, 67, 10**6, 2**64 - 1])
BLOCKS = [child(COMMITTEE), child(COMMITTEE, view=2), child(COMMITTEE, child(COMMITTEE)), child(COMMITTEE, view=3)]


@st.composite
def votes(draw: st.DrawFn) -> Vote:
    kind = draw(st.sampled_from(VoteKind))
    epoch, view = Epoch(draw(st.integers(0, 1))), View(max(1, draw(VIEWS)))
    if kind is NULLIFY:
        return nullify(epoch, view)
    block = draw(st.sampled_from(BLOCKS))
    if draw(st.booleans()):
        return vote_for(kind, block)
    return Vote(kind=kind, epoch=epoch, view=view, height=Height(draw(st.integers(0, 3))), block=block.digest)


@st.composite
def signed_votes(draw: st.DrawFn) -> SignedVote:
    vote, voter = draw(votes()), draw(st.integers(0, 5))
    good = signed(COMMITTEE, voter, vote)
    return good if draw(st.booleans()) else replace(good, signature=Signature(bytes(64)))


@st.composite
def certificates(draw: st.DrawFn) -> Certificate:
    voters = draw(st.lists(st.integers(0, 5), min_size=1, max_size=5, unique=True))
    return certify(COMMITTEE, draw(votes()), tuple(voters))


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    block = draw(st.sampled_from(BLOCKS))
    change = draw(st.sampled_from(["", "height", "timestamp_ms", "proposer", "epoch", "payloads"]))
    match change:
        case "height" | "timestamp_ms":
            return replace(block, **{change: draw(st.sampled_from([0, 1, 7, 2**64 - 1]))})
        case "proposer" | "epoch":
            return replace(block, **{change: draw(st.integers(0, 5))})
        case "payloads":
            return replace(block, payloads=(payload(draw(st.integers(0, 3))),))
    return block


@st.composite
def proposals(draw: st.DrawFn) -> Proposal:
    block = draw(blocks())
    vote = signed(COMMITTEE, block.proposer, vote_for(NOTARIZE, block)) if draw(st.booleans()) else draw(signed_votes())
    parent = draw(st.none() | certificates())
    return Proposal(
        block=block, vote=vote, parent=parent, nullifications=tuple(draw(st.lists(certificates(), max_size=2)))
    )


MESSAGES: st.SearchStrategy[Message] = st.one_of(
    signed_votes(),
    certificates(),
    proposals(),
    st.builds(Certificates, certificates=st.lists(certificates(), max_size=4).map(tuple)),
    st.builds(CertificateRequest, from_view=VIEWS.map(View)),
    st.builds(BlockRequest, digest=st.sampled_from(BLOCKS).map(lambda block: block.digest)),
    st.builds(BlockReply, block=blocks()),
    st.builds(ChainRequest, from_height=VIEWS.map(Height)),
    st.builds(Chain, blocks=st.lists(blocks(), max_size=3).map(tuple), finalization=certificates()),
    st.builds(ViewRequest, nonce=st.binary(max_size=17)),
    st.builds(ViewReply, nonce=st.binary(max_size=16), highest=st.none() | certificates()),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(-1, 5), MESSAGES, st.integers(0, 400)), max_size=25), st.booleans())
def test_no_sequence_of_messages_raises_or_makes_us_contradict_ourselves(
    script: list[tuple[int, Message, int]], holds: bool
) -> None:
    """Also where all the other keys collude (the votes above are of any validator): safety of our own votes is ours."""
    bench = follower()
    if holds:
        bench.hold(payload(1), payload(2))
    for sender, message, after_ms in script:
        bench.jump(after_ms)
        bench.step(Received(sender=ValidatorIndex(sender), message=message))
    votes_by_view: dict[tuple[int, VoteKind], Digest] = {}
    for vote in bench.cast:
        assert (vote.view, vote.kind) not in votes_by_view, "a second vote of one kind in one view"
        votes_by_view[vote.view, vote.kind] = vote.block
    for view, kind in votes_by_view:
        assert kind is not NULLIFY or (view, FINALIZE) not in votes_by_view
    assert all(isinstance(rejected.error, PeerError) for rejected in bench.of(Rejected))


def test_a_sender_outside_the_committee_is_refused() -> None:
    bench = follower()
    for sender in (-1, 4, 1000):
        bench.receive(sender, CertificateRequest(from_view=View(1)))
    assert bench.rejections == ["UnknownValidator"] * 3


def test_a_clock_that_goes_back_is_a_bug_of_ours() -> None:
    bench = follower()
    with pytest.raises(AssertionError, match="monotonic"):
        bench.step(Tick(monotonic_ms=bench.now_ms - 1, wall_ms=0))


def test_malformed_values_cannot_even_be_built() -> None:
    with pytest.raises(MalformedMessage):
        replace(finalization(COMMITTEE, child(COMMITTEE)), signers=(ValidatorIndex(0),) * 3)
