"""The end of an epoch: what may be voted for once a change of the committee may have passed (design D4, membership)."""

from __future__ import annotations

import pytest

from consensus.events import Commit, Connected, FetchPayloads
from consensus.messages import BlockReply, BlockRequest, CertificateRequest, Certificates, Chain, ChainRequest, Proposal
from consensus.types import ZERO_DIGEST, Block, View
from tests.consensus.bench import Bench, leader_of
from tests.consensus.change import (
    BOUNDARY,
    CHANGE,
    COMMITTEE,
    DELTA,
    FINALIZE,
    NEW,
    NOTARIZE,
    NULLIFY,
    OTHER,
    RIVAL,
    WORK,
    X,
    after_x,
    follower,
    on_x,
)
from tests.consensus.toys import child


class TestUndecided:
    """E1: while a change may have passed, only empty blocks are voted for; others wait, and are not refused."""

    def test_a_block_that_orders_something_is_not_voted_for(self) -> None:
        bench = on_x(follower())
        bench.hold(WORK)
        bench.propose(child(COMMITTEE, X, payloads=(WORK,)), bench.notarization(X))
        assert not bench.has_cast(NOTARIZE, 2)
        assert not bench.rejections

    def test_an_empty_one_is(self) -> None:
        bench = on_x(follower())
        bench.propose(child(COMMITTEE, X), bench.notarization(X))
        assert bench.has_cast(NOTARIZE, 2)

    def test_nor_is_a_boundary(self) -> None:
        bench = on_x(follower())
        bench.propose(BOUNDARY, bench.notarization(X))
        assert not bench.has_cast(NOTARIZE, 2)
        assert not bench.rejections

    def test_a_payload_that_cannot_change_the_committee_holds_nothing_up(self) -> None:
        bench = Bench(follower())
        bench.hold(OTHER, WORK)
        one = child(COMMITTEE, payloads=(OTHER,))
        bench.propose(one)
        bench.votes(NOTARIZE, one)
        bench.propose(child(COMMITTEE, one, payloads=(WORK,)), bench.notarization(one))
        assert bench.has_cast(NOTARIZE, 2)

    def test_an_ancestor_further_down_counts_as_well(self) -> None:
        bench = on_x(follower(3))
        two = child(COMMITTEE, X)
        bench.propose(two, bench.notarization(X))
        bench.votes(NOTARIZE, two)
        bench.hold(WORK)
        bench.propose(child(COMMITTEE, two, payloads=(WORK,)), bench.notarization(two))
        assert bench.view == 3
        assert not bench.has_cast(NOTARIZE, 3)

    def test_an_ancestor_whose_payload_lacks_may_change_it_and_is_fetched(self) -> None:
        bench = Bench(follower())
        bench.propose(X)
        bench.votes(NOTARIZE, X)
        bench.hold(WORK)
        bench.drain()
        bench.propose(child(COMMITTEE, X, payloads=(WORK,)), bench.notarization(X))
        assert not bench.of(FetchPayloads), "it may be on its way"
        bench.tick(DELTA // 16)
        assert not bench.has_cast(NOTARIZE, 2)
        assert [fetch.digests for fetch in bench.of(FetchPayloads)] == [(CHANGE,)]
        bench.hold(CHANGE, order=False)
        assert bench.has_cast(NOTARIZE, 2), "it is here now, and cannot change the committee"

    def test_once_it_is_here_and_may_we_wait_on(self) -> None:
        bench = Bench(follower())
        bench.propose(X)
        bench.votes(NOTARIZE, X)
        bench.hold(WORK)
        bench.propose(child(COMMITTEE, X, payloads=(WORK,)), bench.notarization(X))
        bench.hold(CHANGE, order=False, ending=True)
        assert not bench.has_cast(NOTARIZE, 2)

    def test_an_ancestor_that_lacks_is_asked_for_before_the_vote(self) -> None:
        bench = Bench(follower(3))
        two = child(COMMITTEE, X)
        bench.hold(WORK)
        bench.receive(bench.others[0], bench.notarization(two))
        bench.receive(bench.others[0], BlockReply(block=two))  # unasked: the request waits a moment
        bench.tick(DELTA)
        bench.receive(bench.others[0], BlockReply(block=two))
        bench.drain()
        bench.propose(child(COMMITTEE, two, payloads=(WORK,)), bench.notarization(two))
        assert bench.view == 3
        assert not bench.has_cast(NOTARIZE, 3)
        assert {request.digest for _, request in bench.sent(BlockRequest)} == {X.digest}

    def test_the_payloads_of_an_ancestor_known_only_by_its_descendants_are_fetched_until_they_are_here(self) -> None:
        bench = Bench(follower(3))
        two = child(COMMITTEE, X)
        bench.hold(WORK)
        bench.propose(X)
        bench.receive(bench.others[0], bench.notarization(two))
        bench.tick(DELTA)
        bench.receive(bench.others[0], BlockReply(block=two))
        bench.drain()
        bench.propose(child(COMMITTEE, two, payloads=(WORK,)), bench.notarization(two))
        bench.tick(3 * DELTA)
        assert [fetch.digests for fetch in bench.of(FetchPayloads)] == [(CHANGE,)] * 2

    def test_the_finalization_that_lacks_is_asked_for_first_of_the_leader(self) -> None:
        bench = on_x(follower())
        bench.drain()
        bench.propose(BOUNDARY, bench.notarization(X))
        assert not bench.sent(CertificateRequest), "it may be on its way"
        bench.tick(DELTA // 4)
        assert bench.sent(CertificateRequest) == [(leader_of(2), CertificateRequest(from_view=X.view))]
        bench.receive(leader_of(2), Certificates(certificates=(bench.finalization(X),)))
        assert bench.committed == [X]
        bench.executed(1, NEW)
        assert bench.has_cast(NOTARIZE, 2)

    def test_the_leader_proposes_empty_blocks_while_work_waits(self) -> None:
        bench = on_x(leader_of(2))
        bench.hold(WORK)
        bench.tick(DELTA)
        proposals = [message.block for message in bench.said if isinstance(message, Proposal)]
        assert [(block.view, block.payloads, block.is_boundary) for block in proposals] == [(2, (), False)]

    def test_a_leader_that_lacks_an_ancestors_payload_orders_nothing(self) -> None:
        bench = Bench(leader_of(2))
        bench.propose(X)
        bench.votes(NOTARIZE, X)
        bench.hold(WORK)
        bench.tick(DELTA)
        assert [m.block.payloads for m in bench.said if isinstance(m, Proposal)] == [()]
        assert bench.of(FetchPayloads)

    def test_even_one_whose_ancestor_is_final_proposes_an_empty_block_rather_than_nothing(self) -> None:
        bench = Bench(leader_of(2))
        bench.propose(X)
        bench.votes(FINALIZE, X)
        bench.hold(WORK)
        bench.tick(DELTA)
        assert not bench.committed
        assert [m.block.payloads for m in bench.said if isinstance(m, Proposal)] == [()]


class TestExecution:
    """E2: committed is not executed; the same step that commits must not vote as if nothing had passed."""

    def test_a_commit_says_that_its_execution_is_awaited(self) -> None:
        bench = on_x(follower())
        bench.votes(FINALIZE, X)
        assert [commit.awaits_execution for commit in bench.of(Commit)] == [True]

    def test_others_are_not(self) -> None:
        bench = Bench(follower())
        bench.hold(WORK)
        one = child(COMMITTEE, payloads=(WORK,))
        bench.propose(one)
        bench.votes(FINALIZE, one)
        assert [commit.awaits_execution for commit in bench.of(Commit)] == [False]

    def test_nothing_is_voted_for_in_the_step_that_commits_nor_until_it_is_executed(self) -> None:
        bench = on_x(follower())
        bench.hold(WORK)
        bench.propose(child(COMMITTEE, X, payloads=(WORK,)), bench.notarization(X))
        bench.votes(FINALIZE, X)
        assert bench.committed == [X]
        assert not bench.has_cast(NOTARIZE, 2)
        bench.executed(0)
        assert not bench.has_cast(NOTARIZE, 2), "that was another block"
        bench.executed(1)
        assert bench.has_cast(NOTARIZE, 2), "no change passed: the epoch goes on"

    def test_the_leader_proposes_nothing_until_it_is_executed(self) -> None:
        bench = on_x(leader_of(2))
        bench.hold(WORK)
        bench.votes(FINALIZE, X)
        bench.jump(DELTA)
        assert not bench.has_cast(NOTARIZE, 2)
        bench.executed(1)
        assert bench.has_cast(NOTARIZE, 2)
        assert next(m.block.payloads for m in bench.said if isinstance(m, Proposal)) == (WORK,)

    def test_of_two_blocks_committed_at_once_the_second_is_awaited(self) -> None:
        bench = Bench(follower(3))
        bench.hold(CHANGE, OTHER, ending=True)
        two = child(COMMITTEE, X, payloads=(OTHER,))
        bench.receive(bench.others[0], bench.finalization(two))
        bench.receive(bench.others[0], Chain(blocks=(X,), finalization=bench.finalization(X)))
        bench.receive(bench.others[0], Chain(blocks=(two,), finalization=bench.finalization(two)))
        assert bench.committed == [X, two]
        bench.hold(WORK)
        bench.executed(1)
        bench.propose(child(COMMITTEE, two, payloads=(WORK,)), bench.finalization(two))
        assert not bench.has_cast(NOTARIZE, 3)
        bench.executed(2)
        assert bench.has_cast(NOTARIZE, 3)

    def test_the_status_says_what_is_waited_for(self) -> None:
        bench = on_x(follower())
        bench.hold(WORK)
        bench.propose(child(COMMITTEE, X, payloads=(WORK,)), bench.notarization(X))
        assert bench.engine.status().waits_for == "what blocks below the proposal decide about the committee"


class TestDecided:
    """E3: the boundary follows, empty, naming what execution gave; then only empty blocks."""

    def test_the_leader_proposes_the_boundary_before_all_else(self) -> None:
        bench = after_x(leader_of(2), NEW)
        bench.hold(WORK)
        bench.tick(COMMITTEE.parameters.block_interval_ms)
        block = next(message.block for message in bench.said if isinstance(message, Proposal))
        assert (block.payloads, block.next_committee, block.parent) == ((), NEW, X.digest)

    def test_the_boundary_is_voted_for(self) -> None:
        bench = after_x(follower(), NEW)
        bench.propose(BOUNDARY, bench.finalization(X))
        assert bench.has_cast(NOTARIZE, 2)

    @pytest.mark.parametrize(
        "block",
        [
            child(COMMITTEE, X, next_committee=RIVAL),
            child(COMMITTEE, X, payloads=(WORK,)),
            child(COMMITTEE, X, payloads=(WORK,), next_committee=NEW),
        ],
        ids=["another committee", "payloads", "both"],
    )
    def test_anything_else_that_is_not_empty_is_refused(self, block: Block) -> None:
        bench = after_x(follower(), NEW)
        bench.hold(WORK)
        bench.propose(block, bench.finalization(X))
        assert not bench.has_cast(NOTARIZE, 2)
        assert bench.rejections == ["InvalidBlock"]

    def test_a_proposal_that_waited_is_refused_once_it_is_known_what_passed(self) -> None:
        bench = on_x(follower())
        bench.hold(WORK)
        bench.propose(child(COMMITTEE, X, payloads=(WORK,)), bench.notarization(X))
        bench.votes(FINALIZE, X)
        bench.executed(1, NEW)
        assert not bench.has_cast(NOTARIZE, 2)
        assert bench.rejections == ["InvalidBlock"]

    def test_an_empty_block_is_voted_for_and_the_boundary_on_top_of_it(self) -> None:
        bench = after_x(follower(3), NEW)
        two = child(COMMITTEE, X)
        bench.propose(two, bench.finalization(X))
        bench.votes(NOTARIZE, two)
        bench.propose(child(COMMITTEE, two, next_committee=NEW), bench.notarization(two))
        assert bench.has_cast(NOTARIZE, 2)
        assert bench.has_cast(NOTARIZE, 3)

    def test_a_boundary_where_nothing_passed_is_refused(self) -> None:
        bench = after_x(follower(), None)
        bench.propose(BOUNDARY, bench.finalization(X))
        assert not bench.has_cast(NOTARIZE, 2)
        assert bench.rejections == ["InvalidBlock"]

    @pytest.mark.parametrize("knows", [True, False], ids=["executed here", "X not final here"])
    @pytest.mark.parametrize("fields", [{"payloads": (WORK,)}, {"next_committee": NEW}], ids=["payloads", "boundary"])
    def test_nothing_but_empty_blocks_descends_from_a_boundary(self, fields: dict[str, object], knows: bool) -> None:
        bench = after_x(follower(3), NEW) if knows else on_x(follower(3))
        bench.hold(WORK)
        bench.propose(BOUNDARY, bench.finalization(X) if knows else bench.notarization(X))
        bench.votes(NOTARIZE, BOUNDARY)
        bench.propose(child(COMMITTEE, BOUNDARY, **fields), bench.notarization(BOUNDARY))  # type: ignore[arg-type]
        assert bench.view == 3
        assert not bench.has_cast(NOTARIZE, 3)
        assert bench.rejections == ["InvalidBlock"]

    def test_a_leader_that_lacks_an_ancestor_which_may_be_the_boundary_proposes_no_other(self) -> None:
        """Found by the simulation (seed 79 of its day): the second boundary was refused by those who had the first."""
        bench = after_x(leader_of(4), NEW)
        above = child(COMMITTEE, BOUNDARY)
        bench.receive(bench.others[0], bench.notarization(above))
        bench.tick(DELTA)
        bench.receive(bench.others[0], BlockReply(block=above))
        bench.tick(2 * DELTA)
        assert bench.view == 4
        blocks = [message.block for message in bench.said if isinstance(message, Proposal)]
        assert all(not block.is_boundary for block in blocks)
        assert BOUNDARY.digest in {request.digest for _, request in bench.sent(BlockRequest)}

    def test_empty_blocks_follow_until_the_boundary_is_final(self) -> None:
        bench = after_x(leader_of(3), NEW)
        bench.propose(BOUNDARY, bench.finalization(X))
        bench.votes(NOTARIZE, BOUNDARY)
        bench.tick(DELTA)
        block = next(message.block for message in bench.said if isinstance(message, Proposal))
        assert (block.view, block.payloads, block.next_committee) == (3, (), ZERO_DIGEST)


class TestPacemaker:
    """E4: while the end is under way, time matters, even if nothing waits to be ordered."""

    def test_a_leader_that_proposes_no_boundary_is_given_up_on(self) -> None:
        bench = after_x(follower(), NEW)
        bench.tick(3 * DELTA)
        assert bench.has_cast(NULLIFY, 2)

    def test_without_a_change_the_chain_is_quiet(self) -> None:
        bench = after_x(follower(), None)
        bench.tick(100 * DELTA)
        assert not bench.has_cast(NULLIFY, 2)

    def test_a_boundary_that_is_not_final_is_worth_a_view(self) -> None:
        bench = on_x(follower(3))
        bench.receive(bench.others[0], bench.notarization(BOUNDARY))
        bench.propose(BOUNDARY, bench.notarization(X))
        bench.receive(bench.others[0], bench.finalization(X))
        bench.executed(1, NEW)
        bench.tick(3 * DELTA)
        assert bench.has_cast(NULLIFY, 3)


def ended(*, by: Block | None = None) -> Bench:
    """The boundary is final; by: by the finalization of this descendant."""
    bench = after_x(follower(), NEW)
    bench.propose(BOUNDARY, bench.finalization(X))
    if by is not None:
        bench.votes(NOTARIZE, BOUNDARY)
        bench.propose(by, bench.notarization(BOUNDARY))
    bench.votes(FINALIZE, by if by is not None else BOUNDARY)
    return bench


class TestEnded:
    """E5: a final boundary is the last block; the engine says and does nothing more."""

    def test_a_final_boundary_ends_the_epoch(self) -> None:
        bench = ended()
        assert bench.committed == [X, BOUNDARY]
        last = bench.of(Commit)[-1]
        assert (last.ends_epoch, last.awaits_execution, last.proof) == (True, False, ())
        assert bench.engine.ended
        assert bench.engine.status().ended

    def test_a_boundary_final_by_a_descendant_comes_with_the_headers_between(self) -> None:
        three = child(COMMITTEE, BOUNDARY)
        bench = ended(by=three)
        last = bench.of(Commit)[-1]
        assert last.blocks == (BOUNDARY,)
        assert last.proof == (three,)
        assert last.finalization.vote.block == three.digest
        assert bench.engine.ended

    def test_it_is_quiet_from_then_on(self) -> None:
        bench = ended()
        bench.drain()
        assert bench.engine.deadline_ms is None
        bench.hold(WORK, OTHER)
        bench.tick(10_000)
        for other in bench.others:
            bench.receive(other, CertificateRequest(from_view=View(1)))
            bench.receive(other, ChainRequest(from_height=X.height))
            bench.step(Connected(peer=other))
        bench.propose(child(COMMITTEE, BOUNDARY), bench.finalization(BOUNDARY))
        bench.executed(2, NEW)
        assert not bench.outputs

    def test_the_step_that_ends_it_votes_no_more(self) -> None:
        bench = after_x(follower(3), NEW)
        final = bench.finalization(BOUNDARY)
        bench.receive(bench.others[0], final)
        bench.propose(child(COMMITTEE, BOUNDARY), final)
        assert not bench.has_cast(NOTARIZE, 3), "its parent lacks"
        bench.receive(bench.others[0], Chain(blocks=(BOUNDARY,), finalization=final))
        assert bench.committed == [X, BOUNDARY]
        assert not bench.has_cast(NOTARIZE, 3)

    def test_a_laggard_commits_over_the_boundary_by_one_chain(self) -> None:
        bench = Bench(follower())
        three = child(COMMITTEE, BOUNDARY)
        final = bench.finalization(three)
        bench.receive(bench.others[0], final)
        bench.receive(bench.others[0], Chain(blocks=(X, BOUNDARY, three), finalization=final))
        assert not bench.committed, "its payload lacks"
        bench.hold(CHANGE, order=False, ending=True)
        commit = bench.of(Commit)[-1]
        assert (commit.blocks, commit.proof, commit.finalization) == ((X, BOUNDARY), (three,), final)
        assert bench.engine.ended

    def test_a_laggard_takes_the_lowest_finalization_that_covers_it(self) -> None:
        bench = Bench(follower())
        three = child(COMMITTEE, BOUNDARY)
        bench.receive(bench.others[0], bench.finalization(three))
        for blocks in ((X,), (X, BOUNDARY), (X, BOUNDARY, three)):
            bench.receive(bench.others[0], Chain(blocks=blocks, finalization=bench.finalization(blocks[-1])))
        bench.hold(CHANGE, order=False, ending=True)
        assert [commit.blocks for commit in bench.of(Commit)] == [(X,), (BOUNDARY,)]
        assert bench.of(Commit)[-1].proof == ()
