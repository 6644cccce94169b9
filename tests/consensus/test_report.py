"""What an operator is told: who is where, what lacks, who costs time, and what this validator waits for."""

from __future__ import annotations

from consensus.events import Restored
from consensus.types import View, VoteKind
from tests.consensus.bench import WALL_MS, Bench, follower_of, leader_of
from tests.consensus.toys import child, committee_of, payload

COMMITTEE = committee_of(4)
DELTA = COMMITTEE.parameters.delta_ms
NOTARIZE, NULLIFY, FINALIZE = VoteKind.NOTARIZE, VoteKind.NULLIFY, VoteKind.FINALIZE
ONE = child(COMMITTEE)


def follower(view: int = 1) -> Bench:
    return Bench(follower_of(view))


def waits_for(bench: Bench) -> str | None:
    return bench.engine.status().waits_for


class TestValidators:
    def test_the_last_vote_of_each_is_shown_with_its_view(self) -> None:
        bench = follower()
        a, b, c = bench.others
        bench.votes(NOTARIZE, ONE, voters=(a, b))
        bench.votes(FINALIZE, ONE, voters=(a,))
        bench.nullifies(1, voters=(c,))
        status = bench.engine.status()
        assert [status.last_votes[i] for i in (a, b, c)] == [FINALIZE, NOTARIZE, NULLIFY]
        assert status.last_heard[a] == 1

    def test_an_older_vote_does_not_replace_a_newer_one(self) -> None:
        bench = follower()
        a = bench.others[0]
        bench.nullifies(3, voters=(a,))
        bench.votes(NOTARIZE, ONE, voters=(a,))
        status = bench.engine.status()
        assert (status.last_heard[a], status.last_votes[a]) == (3, NULLIFY)

    def test_nobody_was_heard_yet(self) -> None:
        assert Bench(0).engine.status().last_votes == (None,) * 4

    def test_nullified_views_count_against_their_leaders(self) -> None:
        bench = follower()
        for view in (1, 2, 5):
            bench.nullifies(view)
        status = bench.engine.status()
        assert [status.timeouts[leader_of(view)] for view in (1, 2, 3)] == [2, 1, 0]
        assert status.timeouts_in_row == 3

    def test_a_notarization_ends_the_row_and_keeps_the_total(self) -> None:
        bench = follower()
        bench.nullifies(1)
        two = child(COMMITTEE, view=2)
        bench.votes(NOTARIZE, two)
        status = bench.engine.status()
        assert (status.timeouts_in_row, sum(status.timeouts)) == (0, 1)


class TestWhatLacks:
    def test_a_certificate(self) -> None:
        bench = follower()
        bench.receive(bench.others[0], bench.nullification(2))
        assert bench.engine.status().missing_certificate == 1
        bench.receive(bench.others[0], bench.nullification(1))
        assert bench.engine.status().missing_certificate is None

    def test_a_block_that_is_notarized_or_final(self) -> None:
        for kind in (NOTARIZE, FINALIZE):
            bench = follower()
            bench.votes(kind, ONE)
            assert bench.engine.status().missing_block == ONE.digest

    def test_what_holds_up_finality_comes_first(self) -> None:
        bench = follower()
        bench.votes(NOTARIZE, ONE)
        two = child(COMMITTEE, view=2)
        bench.votes(FINALIZE, two)
        assert bench.engine.status().missing_block == two.digest

    def test_nothing(self) -> None:
        status = Bench(0).engine.status()
        assert (status.missing_certificate, status.missing_block, status.missing_payloads) == (None, None, 0)


class TestWhatIsWaitedFor:
    def test_nothing_while_idle(self) -> None:
        assert waits_for(follower()) is None

    def test_a_proposal(self) -> None:
        bench = follower()
        bench.hold(payload(1))
        assert waits_for(bench) == "a proposal for view 1"

    def test_the_votes_of_others(self) -> None:
        bench = follower()
        bench.hold(payload(1))
        bench.propose(ONE)
        assert waits_for(bench) == "the notarization of view 1: 2 of 3 notarize votes are here"

    def test_the_end_of_a_view_given_up(self) -> None:
        bench = follower()
        bench.hold(payload(1))
        bench.tick(3 * DELTA)
        assert waits_for(bench) == "the end of view 1: 1 of 3 nullify votes are here"

    def test_the_end_of_a_view_whose_proposal_was_refused(self) -> None:
        bench = follower()
        bench.propose(child(COMMITTEE, next_committee=payload(9)))
        assert waits_for(bench) == "the end of view 1: its proposal was refused"

    def test_a_certificate_that_justifies_the_proposal(self) -> None:
        bench = follower(3)
        bench.receive(bench.others[0], bench.nullification(2))
        bench.propose(child(COMMITTEE, view=3))
        assert waits_for(bench) == "the certificate of view 1, on which the proposal of view 3 rests"

    def test_its_parent(self) -> None:
        bench = follower(2)
        bench.propose(child(COMMITTEE, ONE), bench.notarization(ONE))
        assert waits_for(bench) == f"block {ONE.digest.hex()}, the parent of the proposal of view 2"

    def test_its_payloads(self) -> None:
        bench = follower()
        bench.propose(child(COMMITTEE, payloads=(payload(1), payload(2))))
        assert waits_for(bench) == "2 payloads of the proposal of view 1"
        assert bench.engine.status().missing_payloads == 2

    def test_its_time(self) -> None:
        bench = follower()
        bench.propose(child(COMMITTEE, timestamp_ms=WALL_MS + 60_000))
        assert waits_for(bench) == "the time of the proposal of view 1"

    def test_answers_and_finality_where_the_own_votes_are_in_doubt(self) -> None:
        bench = Bench(0, restored=Restored(head=Bench(0).genesis, finalization=None, trusted=False))
        bench.hold(payload(1))
        assert waits_for(bench) is not None
        assert "does not trust" in str(waits_for(bench))


def test_a_view_is_told_with_its_leader() -> None:
    bench = follower()
    bench.nullifies(1)
    status = bench.engine.status()
    assert (status.view, status.leader) == (View(2), leader_of(2))
