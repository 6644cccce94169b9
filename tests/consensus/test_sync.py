"""Catching up and helping others to."""

from __future__ import annotations

from dataclasses import replace

from consensus.events import Commit, Connected, FetchPayloads, SendChain
from consensus.messages import (
    BlockReply,
    BlockRequest,
    CertificateRequest,
    Certificates,
    Chain,
    ChainRequest,
    Proposal,
)
from consensus.types import Block, Certificate, Height, SignedVote, ValidatorIndex, View, VoteKind, nullify
from tests.consensus.bench import Bench, follower_of, leader_of
from tests.consensus.toys import child, committee_of, payload, vote_for

COMMITTEE = committee_of(4)
DELTA = COMMITTEE.parameters.delta_ms
NOTARIZE, FINALIZE = VoteKind.NOTARIZE, VoteKind.FINALIZE


def chain_of(length: int, **fields: object) -> tuple[Block, ...]:
    blocks: list[Block] = []
    for number in range(length):
        parent = blocks[-1] if blocks else None
        blocks.append(child(COMMITTEE, parent, payloads=(payload(number),) if fields.get("full") else ()))
    return tuple(blocks)


def behind(*, full: bool = False, length: int = 5) -> tuple[Bench, tuple[Block, ...]]:
    """A validator that learns of a finalization `length` blocks ahead."""
    bench = Bench(follower_of(1))
    blocks = chain_of(length, full=full)
    bench.receive(bench.others[0], bench.finalization(blocks[-1]))
    return bench, blocks


class TestChain:
    def test_a_finalization_far_ahead_makes_us_ask_for_the_chain_and_commit_it(self) -> None:
        bench, blocks = behind()
        assert bench.sent(ChainRequest)[0][1] == ChainRequest(from_height=Height(1))
        bench.receive(bench.others[0], Chain(blocks=blocks, finalization=bench.finalization(blocks[-1])))
        assert bench.committed == list(blocks)
        assert bench.view == 6

    def test_it_comes_in_several_rounds_each_asked_for_at_once(self) -> None:
        bench, blocks = behind(length=7)
        for start in (0, 3):
            part = blocks[start : start + 3]
            bench.receive(bench.others[0], Chain(blocks=part, finalization=bench.finalization(part[-1])))
            assert bench.committed[-1] == part[-1]
            assert bench.sent(ChainRequest)[-1][1].from_height == part[-1].height + 1
        bench.receive(bench.others[0], Chain(blocks=blocks[6:], finalization=bench.finalization(blocks[6])))
        bench.drain()
        bench.tick(20 * DELTA)
        assert bench.engine.status().height == 7
        assert not bench.sent(ChainRequest)

    def test_without_an_answer_others_are_asked_in_turn(self) -> None:
        bench, _ = behind()
        bench.tick(10 * DELTA)
        assert {to for to, _ in bench.sent(ChainRequest)} == set(bench.others)

    def test_payloads_are_fetched_before_it_is_committed(self) -> None:
        bench, blocks = behind(full=True)
        bench.receive(bench.others[0], Chain(blocks=blocks, finalization=bench.finalization(blocks[-1])))
        assert not bench.of(Commit)
        wanted = {digest for fetch in bench.of(FetchPayloads) for digest in fetch.digests}
        assert wanted == {payload(n) for n in range(5)}
        for number in range(4):
            bench.hold(payload(number), order=False)
        assert not bench.of(Commit)
        bench.hold(payload(4), order=False)
        assert bench.committed == list(blocks)

    def test_an_intermediate_finalization_lets_us_commit_up_to_it(self) -> None:
        bench, blocks = behind(full=True)
        bench.hold(payload(0), payload(1), order=False)
        bench.receive(bench.others[0], Chain(blocks=blocks[:2], finalization=bench.finalization(blocks[1])))
        assert bench.committed == list(blocks[:2])
        assert bench.of(Commit)[-1].finalization.vote.block == blocks[1].digest

    def test_chains_that_do_not_prove_themselves_are_refused_and_nothing_is_kept(self) -> None:
        good = chain_of(5)
        bench, _ = behind()
        final = bench.finalization(good[-1])
        rival = child(COMMITTEE, good[0], view=2, timestamp_ms=999)
        flawed = {
            "a gap": Chain(blocks=good[1:], finalization=final),
            "a block left out": Chain(blocks=good[:2] + good[3:], finalization=final),
            "another block": Chain(blocks=(good[0], rival, *good[2:]), finalization=final),
            "cut short": Chain(blocks=good[:-1], finalization=final),
            "only notarized": Chain(blocks=good, finalization=bench.notarization(good[-1])),
            "too few": Chain(blocks=good, finalization=_shortened(final)),
            "another epoch": Chain(blocks=(replace(good[0], epoch=1),), finalization=final),  # type: ignore[arg-type]
        }
        for chain in flawed.values():
            bench.receive(bench.others[0], chain)
        assert len(bench.rejections) == len(flawed)
        assert not bench.committed
        bench.receive(bench.others[0], Chain(blocks=good, finalization=final))
        assert bench.committed == list(good)

    def test_a_late_answer_about_what_is_committed_is_left_alone(self) -> None:
        bench, blocks = behind()
        chain = Chain(blocks=blocks, finalization=bench.finalization(blocks[-1]))
        bench.receive(bench.others[0], chain)
        bench.receive(bench.others[1], chain)
        assert len(bench.of(Commit)) == 1
        assert not bench.rejections

    def test_requests_are_answered_from_the_store_as_far_as_committed(self) -> None:
        bench, blocks = behind()
        bench.receive(bench.others[0], ChainRequest(from_height=Height(1)))
        assert not bench.of(SendChain)
        bench.receive(bench.others[0], Chain(blocks=blocks, finalization=bench.finalization(blocks[-1])))
        bench.receive(bench.others[0], ChainRequest(from_height=Height(3)))
        bench.receive(bench.others[0], ChainRequest(from_height=Height(6)))
        bench.receive(bench.others[0], ChainRequest(from_height=Height(0)))
        assert bench.of(SendChain) == [SendChain(to=ValidatorIndex(bench.others[0]), from_height=Height(3))]


def _shortened(certificate: Certificate) -> Certificate:
    return replace(certificate, signers=certificate.signers[:2], signatures=certificate.signatures[:2])


class TestBlocks:
    def test_a_notarized_block_we_never_saw_is_asked_for_by_digest(self) -> None:
        bench = Bench(follower_of(1))
        block = child(COMMITTEE)
        bench.votes(NOTARIZE, block)
        assert not bench.sent(BlockRequest), "the proposal may be on its way"
        bench.tick(DELTA // 4)
        asked = bench.sent(BlockRequest)
        assert asked[0][1].digest == block.digest
        bench.receive(asked[0][0], BlockReply(block=block))
        bench.drain()
        bench.tick(10 * DELTA)
        assert not bench.sent(BlockRequest)

    def test_a_block_nobody_asked_for_is_not_kept(self) -> None:
        bench = Bench(follower_of(1))
        bench.receive(bench.others[0], BlockReply(block=child(COMMITTEE)))
        bench.receive(bench.others[1], BlockRequest(digest=child(COMMITTEE).digest))
        assert not bench.sent(BlockReply)

    def test_a_final_block_we_never_saw_is_committed_when_it_comes(self) -> None:
        bench = Bench(follower_of(1))
        block = child(COMMITTEE)
        bench.votes(FINALIZE, block)
        assert not bench.committed
        bench.tick(DELTA)
        bench.receive(bench.others[0], BlockReply(block=block))
        assert bench.committed == [block]

    def test_who_looks_for_a_committed_block_is_told_what_is_final_so_that_it_asks_for_the_chain(self) -> None:
        bench, blocks = behind(length=3)
        final = bench.finalization(blocks[-1])
        bench.receive(bench.others[0], Chain(blocks=blocks, finalization=final))
        bench.drain()
        bench.receive(bench.others[1], BlockRequest(digest=blocks[0].digest))
        assert bench.sent(Certificates) == [(bench.others[1], Certificates(certificates=(final,)))]
        assert not bench.sent(BlockReply)

    def test_nobody_is_told_of_finality_while_nothing_is_final(self) -> None:
        bench = Bench(follower_of(1))
        bench.drain()
        bench.receive(bench.others[1], BlockRequest(digest=payload(1)))
        assert not bench.sent(Certificates)


class TestCertificateRequests:
    def test_a_gap_below_a_jump_is_asked_for_at_once(self) -> None:
        bench = Bench(follower_of(1))
        bench.receive(bench.others[0], bench.nullification(3))
        assert bench.sent(CertificateRequest)[0][1].from_view == 1

    def test_an_answer_fills_it(self) -> None:
        bench = Bench(follower_of(1))
        bench.receive(bench.others[0], bench.nullification(3))
        bench.receive(bench.others[0], Certificates(certificates=(bench.nullification(1), bench.nullification(2))))
        bench.drain()
        bench.tick(DELTA)
        assert not bench.sent(CertificateRequest)

    def test_requests_are_answered_with_the_finalization_as_a_shortcut(self) -> None:
        bench = Bench(follower_of(1))
        blocks = chain_of(3)
        final, skip = bench.finalization(blocks[-1]), bench.nullification(4)
        bench.receive(bench.others[0], final)
        bench.receive(bench.others[0], skip)
        bench.receive(bench.others[1], CertificateRequest(from_view=View(1)))
        assert bench.sent(Certificates) == [(bench.others[1], Certificates(certificates=(final, skip)))]

    def test_who_is_not_behind_gets_no_answer(self) -> None:
        bench = Bench(follower_of(1))
        bench.receive(bench.others[1], CertificateRequest(from_view=View(1)))
        assert not bench.sent(Certificates)


class TestHelp:
    def moved_on(self) -> tuple[Bench, Block]:
        bench = Bench(follower_of(1))
        bench.propose(block := child(COMMITTEE))
        bench.votes(FINALIZE, block)
        bench.drain()
        return bench, block

    def test_a_late_vote_in_time_is_normal(self) -> None:
        bench, block = self.moved_on()
        bench.vote(bench.others[0], vote_for(FINALIZE, block))
        assert not bench.sent(Certificates)

    def test_one_long_after_shows_that_its_voter_is_behind(self) -> None:
        bench, block = self.moved_on()
        bench.tick(DELTA + 1)
        bench.vote(bench.others[0], vote_for(FINALIZE, block))
        assert bench.sent(Certificates) == [(bench.others[0], Certificates(certificates=(bench.finalization(block),)))]

    def test_help_is_rationed(self) -> None:
        bench, block = self.moved_on()
        bench.tick(DELTA + 1)
        for _ in range(5):
            bench.vote(bench.others[0], vote_for(FINALIZE, block))
        assert len(bench.sent(Certificates)) == 1

    def test_an_old_certificate_shows_it_too(self) -> None:
        bench, block = self.moved_on()
        bench.receive(bench.others[0], bench.notarization(block))
        assert bench.sent(Certificates) == [(bench.others[0], Certificates(certificates=(bench.finalization(block),)))]

    def test_the_finalization_we_have_ourselves_does_not(self) -> None:
        bench, block = self.moved_on()
        bench.receive(bench.others[0], bench.finalization(block))
        assert not bench.sent(Certificates)

    def test_who_nullifies_what_we_saw_notarized_is_told_at_once(self) -> None:
        bench = Bench(follower_of(1))
        block = child(COMMITTEE)
        bench.receive(bench.others[0], bench.notarization(block))
        bench.vote(bench.others[1], nullify(COMMITTEE.epoch, View(1)))
        assert bench.sent(Certificates) == [(bench.others[1], Certificates(certificates=(bench.notarization(block),)))]


class TestRepetition:
    def test_own_votes_and_what_let_us_in_are_repeated(self) -> None:
        bench = Bench(follower_of(1))
        entry = bench.nullification(1)
        bench.receive(bench.others[0], entry)
        bench.hold(payload(1))
        bench.tick(2 * DELTA)
        assert [m for m in bench.said if isinstance(m, Certificate)] == [entry]
        bench.drain()
        bench.tick(10 * DELTA)
        assert {m.vote for m in bench.said if isinstance(m, SignedVote)} == {nullify(COMMITTEE.epoch, View(2))}

    def test_a_leader_repeats_its_proposal(self) -> None:
        bench = Bench(leader_of(1))
        bench.hold(payload(1))
        bench.tick(2 * DELTA)
        first, second = (m for m in bench.said if isinstance(m, Proposal))
        assert first == second

    def test_nothing_is_repeated_on_an_idle_chain(self) -> None:
        bench = Bench(follower_of(1))
        bench.propose(block := child(COMMITTEE))
        bench.votes(FINALIZE, block)
        bench.drain()
        bench.tick(COMMITTEE.parameters.heartbeat_ms - 1)
        assert not bench.outputs

    def test_a_new_connection_is_told_where_we_are_and_asked_where_it_is(self) -> None:
        bench = Bench(follower_of(1))
        bench.propose(block := child(COMMITTEE))
        bench.drain()
        bench.step(Connected(peer=ValidatorIndex(bench.others[0])))
        assert {to for to, _ in bench.sent(CertificateRequest)} == {bench.others[0]}
        assert [vote.vote for _, vote in bench.sent(SignedVote)] == [vote_for(NOTARIZE, block)]
