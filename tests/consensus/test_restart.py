"""Stopping and starting again: the same votes, never others; and what to do where the votes are lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consensus.errors import RestoredStateInvalid
from consensus.events import Persist, Restored, Sign, Tick
from consensus.messages import CertificateRequest, Proposal, ViewReply, ViewRequest
from consensus.types import SignedVote, View, VoteKind, nullify
from tests.consensus.bench import Bench, follower_of, leader_of
from tests.consensus.toys import certify, child, committee_of, finalization, payload, signed, vote_for

COMMITTEE = committee_of(4)
DELTA = COMMITTEE.parameters.delta_ms
NOTARIZE, NULLIFY, FINALIZE = VoteKind.NOTARIZE, VoteKind.NULLIFY, VoteKind.FINALIZE


def after(bench: Bench, *, trusted: bool = True) -> Restored:
    """What the store holds after all that the bench was told to persist."""
    kept = bench.of(Persist)
    return Restored(
        head=bench.genesis,
        finalization=None,
        votes=tuple(vote for persist in kept for vote in persist.votes),
        blocks=tuple(block for persist in kept for block in persist.blocks),
        certificates=tuple(certificate for persist in kept for certificate in persist.certificates),
        trusted=trusted,
    )


class TestTrustedRestart:
    def test_the_same_votes_are_signed_and_told_again(self) -> None:
        before = Bench(follower_of(1))
        before.propose(block := child(COMMITTEE))
        again = Bench(before.me, restored=after(before))
        assert again.cast == [vote_for(NOTARIZE, block)]
        assert [m for m in again.said if isinstance(m, SignedVote)] == [
            signed(COMMITTEE, before.me, vote_for(NOTARIZE, block))
        ]
        assert not again.of(Persist), "they are on disk"

    def test_another_block_of_the_view_is_not_voted_for(self) -> None:
        before = Bench(follower_of(1))
        before.propose(block := child(COMMITTEE))
        again = Bench(before.me, restored=after(before))
        again.propose(child(COMMITTEE, timestamp_ms=77))
        assert again.cast == [vote_for(NOTARIZE, block)]

    def test_a_leader_proposes_the_same_block_again(self) -> None:
        before = Bench(leader_of(1))
        before.hold(payload(1))
        first = next(m for m in before.said if isinstance(m, Proposal))
        again = Bench(before.me, restored=after(before))
        again.wall_ms += 5000
        again.hold(payload(1), payload(2))
        assert [m for m in again.said if isinstance(m, Proposal)] == [first]

    def test_a_nullified_view_stays_nullified(self) -> None:
        before = Bench(follower_of(1))
        before.hold(payload(1))
        before.tick(3 * DELTA)
        again = Bench(before.me, restored=after(before))
        again.votes(NOTARIZE, child(COMMITTEE))
        assert again.view == 2
        assert not again.has_cast(FINALIZE, 1)

    def test_a_view_voted_final_is_not_nullified(self) -> None:
        before = Bench(follower_of(1))
        before.votes(NOTARIZE, child(COMMITTEE))
        again = Bench(before.me, restored=after(before))
        again.hold(payload(1))
        again.tick(50 * DELTA)
        assert again.view == 2
        assert not again.has_cast(NULLIFY, 1)

    def test_a_vote_persisted_but_never_signed_is_signed_now(self) -> None:
        before = Bench(follower_of(1), sign=False)
        before.propose(child(COMMITTEE))
        again = Bench(before.me, restored=after(before))
        assert len(again.cast) == 1

    def test_the_view_is_taken_up_where_it_was(self) -> None:
        before = Bench(follower_of(1))
        before.receive(before.others[0], before.nullification(6))
        before.hold(payload(1))
        before.tick(3 * DELTA * 8)
        again = Bench(before.me, restored=after(before))
        assert again.view == before.view == 7

    def test_peers_are_asked_once_what_happened_meanwhile(self) -> None:
        again = Bench(0)
        assert [m for m in again.said if isinstance(m, CertificateRequest)] == [CertificateRequest(from_view=View(1))]

    def test_nothing_happens_before_the_first_tick(self) -> None:
        bench = Bench(leader_of(1), start=False)
        assert bench.engine.deadline_ms == 0
        bench.hold(payload(1))
        assert not bench.outputs
        bench.step(Tick(monotonic_ms=10**9, wall_ms=10**9))
        assert bench.has_cast(NOTARIZE, 1)

    @pytest.mark.parametrize(
        "flaw", ["two notarizes", "nullify and finalize", "forged", "no finalization", "other head"]
    )
    def test_a_store_that_contradicts_itself_is_refused(self, flaw: str) -> None:
        good = Restored(head=Bench(0).genesis, finalization=None)
        one, other = child(COMMITTEE), child(COMMITTEE, timestamp_ms=77)
        wrong = {
            "two notarizes": replace(good, votes=(vote_for(NOTARIZE, one), vote_for(NOTARIZE, other))),
            "nullify and finalize": replace(good, votes=(nullify(COMMITTEE.epoch, View(1)), vote_for(FINALIZE, one))),
            "forged": replace(good, certificates=(certify(COMMITTEE, vote_for(NOTARIZE, one), (0, 1)),)),
            "no finalization": replace(good, head=one),
            "other head": replace(good, head=one, finalization=finalization(COMMITTEE, other)),
        }
        with pytest.raises(RestoredStateInvalid):
            Bench(0, restored=wrong[flaw])


class TestRecovery:
    """Design D4: ask n - f others, vote only above the highest + 2, after a finalization there."""

    def recovering(self) -> Bench:
        before = Bench(follower_of(1))
        before.propose(child(COMMITTEE))
        return Bench(before.me, restored=after(before, trusted=False))

    def reply(self, bench: Bench, sender: int, view: int) -> None:
        nonce = bench.sent(ViewRequest)[-1][1].nonce
        bench.receive(sender, ViewReply(nonce=nonce, highest=bench.nullification(view) if view else None))

    def test_it_neither_votes_nor_proposes_nor_repeats_old_votes(self) -> None:
        bench = self.recovering()
        bench.propose(child(COMMITTEE, timestamp_ms=77))
        bench.hold(payload(1))
        bench.tick(20 * DELTA)
        bench.votes(NOTARIZE, child(COMMITTEE))
        assert not bench.of(Sign)
        assert bench.engine.status().recovering

    def test_all_others_are_asked_and_the_silent_ones_again(self) -> None:
        bench = self.recovering()
        assert [to for to, _ in bench.sent(ViewRequest)] == list(bench.others)
        self.reply(bench, bench.others[0], 4)
        bench.drain()
        bench.tick(2 * DELTA)
        assert [to for to, _ in bench.sent(ViewRequest)] == list(bench.others[1:])

    def finish(self, bench: Bench, view: int) -> None:
        """Others make a block of `view` final on the genesis block, which we follow."""
        block = child(COMMITTEE, view=view)
        bench.propose(block, None, ())
        bench.receive(bench.others[0], bench.finalization(block))

    def test_it_votes_above_a_finalization_above_the_highest_plus_two(self) -> None:
        bench = self.recovering()
        for sender, view in zip(bench.others, (4, 6, 5), strict=True):
            self.reply(bench, sender, view)
        self.finish(bench, 8)
        assert bench.engine.status().recovering, "8 is not above 6 + 2"
        self.finish(bench, 9)
        assert not bench.engine.status().recovering
        bench.drain()
        bench.hold(payload(1))
        bench.tick(5 * DELTA)
        assert {vote.view for vote in bench.cast} == {10}

    def test_one_answer_less_than_a_quorum_is_not_enough(self) -> None:
        bench = self.recovering()
        for sender in bench.others[:2]:
            self.reply(bench, sender, 0)
        self.finish(bench, 50)
        assert bench.engine.status().recovering

    def test_one_validator_answers_once(self) -> None:
        bench = self.recovering()
        for _ in range(5):
            self.reply(bench, bench.others[0], 0)
        self.finish(bench, 50)
        assert bench.engine.status().recovering

    def test_old_nonces_and_unproven_views_do_not_count(self) -> None:
        bench = self.recovering()
        nonce = bench.sent(ViewRequest)[-1][1].nonce
        for sender in bench.others:
            bench.receive(sender, ViewReply(nonce=bytes(16), highest=None))
            few = certify(COMMITTEE, nullify(COMMITTEE.epoch, View(3)), bench.others[:2])
            bench.receive(sender, ViewReply(nonce=nonce, highest=few))
        self.finish(bench, 50)
        assert bench.engine.status().recovering
        assert bench.rejections == ["TooFewSigners"] * 3

    def test_it_follows_meanwhile(self) -> None:
        bench = self.recovering()
        bench.propose(block := child(COMMITTEE, view=3))
        bench.receive(bench.others[0], bench.finalization(block))
        assert bench.committed == [block]

    def test_the_nonce_comes_of_the_seed(self) -> None:
        first, second = self.recovering(), self.recovering()
        assert first.sent(ViewRequest) == second.sent(ViewRequest)

    def test_who_is_asked_proves_its_highest_view(self) -> None:
        bench = Bench(follower_of(1))
        bench.receive(bench.others[0], top := bench.nullification(7))
        bench.receive(bench.others[0], ViewRequest(nonce=b"n" * 16))
        assert bench.sent(ViewReply) == [(bench.others[0], ViewReply(nonce=b"n" * 16, highest=top))]
