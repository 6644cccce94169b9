"""Starting again while an epoch ends, and the engine of the next epoch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consensus.errors import RestoredStateInvalid
from consensus.events import FetchPayloads, Persist, Restored
from consensus.messages import Chain, Proposal, ViewReply, ViewRequest
from consensus.types import ZERO_DIGEST, Block, Certificate, Digest, View, nullify
from consensus.votes import contradict
from tests.consensus.bench import Bench, leader_of
from tests.consensus.change import (
    BOUNDARY,
    CHANGE,
    COMMITTEE,
    DELTA,
    FINALIZE,
    NEW,
    NEXT,
    NOTARIZE,
    NULLIFY,
    WORK,
    X,
    after_x,
    follower,
    on_x,
)
from tests.consensus.toys import certify, child, committee_of, finalization, vote_for


class TestRestart:
    """In whatever state of the ending a validator is killed, it goes on from there."""

    def kept(self, bench: Bench, head: Block | None, next_committee: Digest = ZERO_DIGEST) -> Restored:
        persists = bench.of(Persist)
        return Restored(
            head=head if head is not None else bench.genesis,
            finalization=bench.finalization(head) if head is not None else None,
            votes=tuple(vote for each in persists for vote in each.votes),
            blocks=tuple(block for each in persists for block in each.blocks),
            certificates=tuple(certificate for each in persists for certificate in each.certificates),
            next_committee=next_committee,
        )

    def test_before_x_is_final_its_payload_is_asked_for_and_held_against_others(self) -> None:
        before = on_x(follower())
        bench = Bench(before.me, restored=self.kept(before, None))
        bench.hold(WORK)
        bench.propose(child(COMMITTEE, X, payloads=(WORK,)), bench.notarization(X))
        bench.tick(DELTA)
        assert not bench.has_cast(NOTARIZE, 2)
        assert CHANGE in {digest for fetch in bench.of(FetchPayloads) for digest in fetch.digests}
        bench.hold(CHANGE, order=False, ending=True)
        assert not bench.has_cast(NOTARIZE, 2)

    def test_after_x_is_executed_the_store_says_what_passed(self) -> None:
        before = after_x(leader_of(2), NEW)
        bench = Bench(before.me, restored=self.kept(before, X, NEW))
        bench.hold(WORK)
        bench.tick(DELTA)
        block = next(message.block for message in bench.said if isinstance(message, Proposal))
        assert block.next_committee == NEW
        assert bench.engine.status().next_committee == NEW

    def test_after_the_boundary_was_voted_for(self) -> None:
        before = after_x(follower(), NEW)
        before.propose(BOUNDARY, before.finalization(X))
        before.votes(NOTARIZE, BOUNDARY)
        bench = Bench(before.me, restored=self.kept(before, X, NEW))
        assert vote_for(FINALIZE, BOUNDARY) in bench.cast
        bench.votes(FINALIZE, BOUNDARY)
        assert bench.committed == [BOUNDARY]
        assert bench.engine.ended

    @pytest.mark.parametrize("flaw", ["ended", "no finalization", "nothing executed", "not a boundary", "two epochs"])
    def test_a_store_that_contradicts_itself_is_refused(self, flaw: str) -> None:
        final = finalization(COMMITTEE, BOUNDARY)
        committee, restored = {
            "ended": (COMMITTEE, Restored(head=BOUNDARY, finalization=final)),
            "no finalization": (COMMITTEE, Restored(head=X, finalization=None)),
            "nothing executed": (NEXT, Restored(head=BOUNDARY, finalization=None, next_committee=NEW)),
            "not a boundary": (NEXT, Restored(head=X, finalization=None)),
            "two epochs": (committee_of(4, epoch=2), Restored(head=BOUNDARY, finalization=None)),
        }[flaw]
        with pytest.raises(RestoredStateInvalid):
            Bench(0, committee=committee, restored=restored)


class TestDoubt:
    """A validator that lost its votes need not doubt them in the next epoch if it cannot have been in that before."""

    def ended(self, *views: int, trusted: bool = False) -> Bench:
        """In doubt from the start; so many others answer with certificates of `views`; the epoch ends in view 9."""
        bench = Bench(0, restored=Restored(head=Bench(0).genesis, finalization=None, trusted=trusted))
        boundary = child(COMMITTEE, X, view=9, next_committee=NEW)
        for sender, view in zip(bench.others, views, strict=False):
            nonce = bench.sent(ViewRequest)[-1][1].nonce
            highest = bench.nullification(view) if view != boundary.view else bench.notarization(boundary)
            bench.receive(sender, ViewReply(nonce=nonce, highest=highest))
        bench.hold(CHANGE, order=False, ending=True)
        final = bench.finalization(boundary)
        bench.receive(1, final)
        bench.receive(1, Chain(blocks=(X, boundary), finalization=final))
        assert bench.engine.ended
        return bench

    def test_it_ends_where_the_boundary_is_above_all_that_a_quorum_knew(self) -> None:
        assert self.ended(3, 8, 4).engine.clears_doubt

    def test_it_goes_on_where_somebody_knew_of_views_as_high(self) -> None:
        assert not self.ended(3, 10, 4).engine.clears_doubt
        assert not self.ended(3, 9, 4).engine.clears_doubt

    def test_it_goes_on_where_too_few_have_answered(self) -> None:
        assert not self.ended(3, 4).engine.clears_doubt

    def test_who_never_doubted_has_nothing_to_clear(self) -> None:
        assert not self.ended(trusted=True).engine.clears_doubt

    def test_nothing_is_cleared_before_the_end(self) -> None:
        bench = Bench(0, restored=Restored(head=Bench(0).genesis, finalization=None, trusted=False))
        nonce = bench.sent(ViewRequest)[-1][1].nonce
        for sender in bench.others:
            bench.receive(sender, ViewReply(nonce=nonce, highest=None))
        bench.receive(1, Chain(blocks=(child(COMMITTEE, view=9),), finalization=_final(child(COMMITTEE, view=9))))
        assert bench.committed
        assert not bench.engine.clears_doubt


def _final(block: Block) -> Certificate:
    return certify(COMMITTEE, vote_for(FINALIZE, block), (1, 2, 3))


class TestNextEpoch:
    """The next epoch's engine starts from the boundary as the first one did from the genesis block."""

    def bench(self, me: int | None = None, **kept: object) -> Bench:
        """By default as a validator that leads none of the first views."""
        leaders = {NEXT.leader(View(v)) for v in (3, 4)}
        quiet = next(i for i in range(4) if i not in leaders)
        start = Restored(head=BOUNDARY, finalization=None)
        return Bench(quiet if me is None else me, committee=NEXT, restored=replace(start, **kept))  # type: ignore[arg-type]

    def test_views_and_heights_go_on(self) -> None:
        bench = self.bench(NEXT.leader(View(3)))
        bench.hold(WORK)
        proposal = next(message for message in bench.said if isinstance(message, Proposal))
        block = proposal.block
        assert (block.epoch, block.view, block.height) == (1, 3, 3)
        assert (block.parent, block.parent_view, proposal.parent) == (BOUNDARY.digest, 2, None)

    def test_its_first_block_is_voted_for_and_becomes_final(self) -> None:
        bench = self.bench()
        first = child(NEXT, BOUNDARY)
        bench.propose(first)
        assert bench.cast == [vote_for(NOTARIZE, first)]
        bench.votes(NOTARIZE, first)
        bench.votes(FINALIZE, first)
        assert bench.committed == [first]
        assert not bench.rejections

    def test_a_later_block_needs_the_certificate_of_its_parent(self) -> None:
        bench = self.bench()
        first = child(NEXT, BOUNDARY)
        bench.propose(first)
        bench.votes(NOTARIZE, first)
        bench.propose(child(NEXT, first))
        assert bench.rejections == ["MalformedMessage"]

    def test_a_first_block_seen_late_by_who_restarted_above_is_no_offence(self) -> None:
        first = child(NEXT, BOUNDARY)
        bench = self.bench(head=first, finalization=certify(NEXT, vote_for(FINALIZE, first)))
        bench.propose(child(NEXT, BOUNDARY, timestamp_ms=first.timestamp_ms))
        assert not bench.rejections

    def test_votes_of_the_epoch_before_do_not_stand_in_its_way(self) -> None:
        old = child(COMMITTEE, BOUNDARY)
        votes = (vote_for(NOTARIZE, old), nullify(COMMITTEE.epoch, old.view))
        bench = self.bench(votes=votes, blocks=(old,), certificates=(finalization(COMMITTEE, old),))
        assert not bench.cast
        bench.propose(child(NEXT, BOUNDARY))
        assert bench.has_cast(NOTARIZE, 3)

    def test_nothing_of_another_epoch_counts(self) -> None:
        bench = self.bench()
        bench.receive(0, certify(COMMITTEE, nullify(COMMITTEE.epoch, View(3))))
        assert bench.view == 3
        assert bench.rejections == ["WrongEpoch"]

    def test_a_view_given_up_lets_the_next_leader_build_on_the_boundary(self) -> None:
        bench = self.bench(NEXT.leader(View(4)))
        bench.hold(WORK)
        bench.nullifies(3)
        block = next(message.block for message in bench.said if isinstance(message, Proposal))
        assert (block.view, block.parent) == (4, BOUNDARY.digest)

    def test_leaders_are_waited_for_in_its_first_views(self) -> None:
        """Nobody was heard in an epoch that has just begun; that is no silence, however high its views count."""
        far = child(COMMITTEE, X, view=1000, next_committee=NEW)
        leader = NEXT.leader(View(1002))
        me = next(i for i in range(4) if i != leader)
        bench = Bench(me, committee=NEXT, restored=Restored(head=far, finalization=None))
        bench.nullifies(1001, voters=tuple(i for i in bench.others if i != leader))
        bench.hold(WORK)
        bench.tick(3 * DELTA)  # we nullify 1001 ourselves
        assert bench.view == 1002
        assert not bench.has_cast(NULLIFY, 1002)


def test_evidence_is_of_one_epoch() -> None:
    first, second = nullify(COMMITTEE.epoch, View(3)), vote_for(FINALIZE, child(NEXT, BOUNDARY))
    assert first.view == second.view
    assert not contradict(first, second)
    assert contradict(first, replace(second, epoch=first.epoch))


def test_a_certificate_is_of_one_epoch() -> None:
    certificate: Certificate = finalization(COMMITTEE, X)
    bench = Bench(0, committee=NEXT, restored=Restored(head=BOUNDARY, finalization=None))
    bench.receive(1, certificate)
    assert bench.rejections == ["WrongEpoch"]
