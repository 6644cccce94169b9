"""Following without a vote: ranges side by side, payloads ahead, and providers that lie, dawdle or say nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TypeVar

import pytest

from consensus.errors import RestoredStateInvalid
from consensus.events import (
    Alarm,
    Commit,
    Connected,
    Event,
    Executed,
    FetchPayloads,
    Output,
    PayloadsHeld,
    Received,
    Rejected,
    Restored,
    Send,
    Tick,
)
from consensus.follower import PAYLOADS_AHEAD_MAX, POLL_DELTAS_MAX, RANGE_DELTAS, RANGES_MAX, Follower
from consensus.messages import BLOCKS_MAX, Certificates, Chain, ChainRequest, Message
from consensus.sync import CHAIN_BLOCKS_MAX
from consensus.types import BLOCK_PAYLOADS_MAX, Block, Digest, Height, ValidatorIndex, VoteKind, genesis_block
from consensus.window import WINDOW_BLOCKS_MAX
from tests.consensus.toys import (
    SEED,
    certify,
    child,
    committee_of,
    finalization,
    notarization,
    payload,
    verify,
    vote_for,
)

M = TypeVar("M")
COMMITTEE = committee_of(4)
NEXT = committee_of(4, epoch=1)
DELTA = COMMITTEE.parameters.delta_ms
GENESIS = genesis_block(COMMITTEE)
NEW = payload(999_999)


def chain_of(length: int, *, payloads: int = 0, start: Block | None = None) -> tuple[Block, ...]:
    """`length` blocks on `start`, by default on the genesis block, each with so many payloads of its own."""
    blocks: list[Block] = []
    for number in range(length):
        parent = blocks[-1] if blocks else start
        orders = tuple(payload(number * BLOCK_PAYLOADS_MAX + i) for i in range(payloads))
        blocks.append(child(COMMITTEE, parent, payloads=orders))
    return tuple(blocks)


def chain(blocks: tuple[Block, ...]) -> Chain:
    return Chain(blocks=blocks, finalization=finalization(COMMITTEE, blocks[-1]))


class Bench:
    """A follower, driven by hand. options: `me`, `commits_max`."""

    def __init__(self, *, start: bool = True, restored: Restored | None = None, **options: int) -> None:
        self.outputs: list[Output] = []
        self.now_ms = 1000
        self.verified = 0
        self.follower = Follower(
            committee=COMMITTEE,
            restored=restored if restored is not None else Restored(head=GENESIS, finalization=None),
            verify=self._verify,
            seed=SEED,
            **options,  # type: ignore[arg-type]
        )
        if start:
            self.tick(0)

    def _verify(self, key: bytes, message: bytes, signature: bytes) -> bool:
        self.verified += 1
        return verify(key, message, signature)  # type: ignore[arg-type]

    def step(self, event: Event) -> tuple[Output, ...]:
        outputs = self.follower.step(event)
        self.outputs += outputs
        return outputs

    def tick(self, after_ms: int) -> None:
        until_ms = self.now_ms + after_ms
        while (due_ms := self.follower.deadline_ms) is not None and self.now_ms < due_ms < until_ms:
            self.now_ms = due_ms
            self.step(Tick(monotonic_ms=due_ms, wall_ms=0))
        self.now_ms = until_ms
        self.step(Tick(monotonic_ms=until_ms, wall_ms=0))

    def receive(self, sender: int, message: Message) -> tuple[Output, ...]:
        return self.step(Received(sender=ValidatorIndex(sender), message=message))

    def hold(self, *digests: Digest) -> tuple[Output, ...]:
        return self.step(PayloadsHeld(digests=digests, order=False))

    def drain(self) -> None:
        self.outputs.clear()

    def of(self, kind: type[M]) -> list[M]:
        return [output for output in self.outputs if isinstance(output, kind)]

    @property
    def asked(self) -> list[tuple[int, int]]:
        """(validator, height) of every ChainRequest."""
        return [(o.to, o.message.from_height) for o in self.of(Send) if isinstance(o.message, ChainRequest)]

    @property
    def committed(self) -> list[Block]:
        return [block for commit in self.of(Commit) for block in commit.blocks]

    @property
    def rejections(self) -> list[str]:
        return [type(rejected.error).__name__ for rejected in self.of(Rejected)]

    def serve(self, blocks: tuple[Block, ...], *, liars: frozenset[int] = frozenset(), rounds: int = 10_000) -> None:
        """Answer every ChainRequest from `blocks` as validators do, until nothing more is asked that has an answer."""
        served = 0
        for _ in range(rounds):
            asked = self.asked[served:]
            if not asked:
                return
            served += len(asked)
            for validator, height in asked:
                if validator not in liars and height <= len(blocks):
                    self.receive(validator, chain(blocks[height - 1 : height - 1 + BLOCKS_MAX]))


class TestFollowing:
    def test_one_validator_is_asked_for_what_follows_and_its_chain_committed(self) -> None:
        bench = Bench()
        assert [height for _, height in bench.asked] == [1]
        blocks = chain_of(3)
        bench.receive(bench.asked[0][0], chain(blocks))
        assert bench.committed == list(blocks)
        assert bench.of(Commit)[0].finalization.vote.block == blocks[-1].digest
        assert bench.follower.status().height == 3

    def test_it_starts_at_the_first_tick(self) -> None:
        bench = Bench(start=False)
        bench.hold(payload(1))
        assert not bench.outputs
        assert bench.follower.deadline_ms == 0

    def test_a_long_chain_comes_in_ranges_of_all_validators_side_by_side(self) -> None:
        bench = Bench()
        blocks = chain_of(10 * BLOCKS_MAX)
        bench.receive(0, finalization(COMMITTEE, blocks[-1]))
        heights = [height for _, height in bench.asked]
        assert heights == [1 + BLOCKS_MAX * n for n in range(RANGES_MAX)]
        assert {validator for validator, _ in bench.asked} == {0, 1, 2, 3}
        bench.serve(blocks)
        assert bench.committed == list(blocks)
        assert len(bench.follower._window._blocks) == 1, "what is committed is forgotten"

    def test_ranges_that_come_in_any_order_join(self) -> None:
        bench = Bench()
        blocks = chain_of(30)
        for first, last in ((20, 30), (5, 12), (10, 22)):
            bench.receive(0, chain(blocks[first:last]))
        assert not bench.committed
        bench.receive(1, chain(blocks[:6]))
        assert bench.committed == list(blocks)

    def test_without_a_known_height_more_is_asked_for_the_more_comes(self) -> None:
        bench = Bench()
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
        bench = Bench()
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
        bench = Bench(me=2)
        bench.tick(100 * DELTA)
        assert {validator for validator, _ in bench.asked} == {0, 1, 3}

    def test_at_the_tip_it_asks_ever_more_seldom_and_at_once_when_something_moves(self) -> None:
        bench = Bench()
        bench.tick(200 * DELTA)
        late = len(bench.asked)
        bench.tick(10 * POLL_DELTAS_MAX * DELTA)
        assert 9 <= len(bench.asked) - late <= 11
        bench.drain()
        bench.hold(payload(7))
        bench.tick(DELTA)
        assert bench.asked

    def test_a_finalization_tells_how_far_it_is(self) -> None:
        bench = Bench()
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
        bench = Bench(restored=Restored(head=blocks[2], finalization=finalization(COMMITTEE, blocks[2])))
        assert bench.asked[0][1] == 4
        bench.receive(0, chain(blocks))
        assert bench.committed == list(blocks[3:])

    def test_a_store_that_contradicts_itself_is_refused(self) -> None:
        blocks = chain_of(2)
        forged = certify(COMMITTEE, vote_for(VoteKind.FINALIZE, blocks[0]), (0, 1))
        for finalized in (None, finalization(COMMITTEE, blocks[1]), forged):
            with pytest.raises(RestoredStateInvalid):
                Bench(restored=Restored(head=blocks[0], finalization=finalized))


class TestPayloads:
    def test_they_are_wanted_ahead_of_what_can_be_committed(self) -> None:
        bench = Bench()
        blocks = chain_of(8, payloads=2)
        bench.receive(0, chain(blocks[:4]))
        bench.receive(0, chain(blocks[4:]))
        assert not bench.committed
        wanted = [digest for fetch in bench.of(FetchPayloads) for digest in fetch.digests]
        assert wanted == [digest for block in blocks for digest in block.payloads]

    def test_a_commit_waits_for_all_of_its_payloads_in_whatever_order_they_come(self) -> None:
        bench = Bench()
        blocks = chain_of(4, payloads=1)
        bench.receive(0, chain(blocks[:2]))
        bench.receive(0, chain(blocks[2:]))
        bench.hold(blocks[1].payloads[0], blocks[2].payloads[0], blocks[3].payloads[0])
        assert not bench.committed
        bench.hold(blocks[0].payloads[0])
        assert [commit.blocks for commit in bench.of(Commit)] == [blocks[:2], blocks[2:]]

    def test_what_was_held_before_its_block_came_is_not_asked_for(self) -> None:
        bench = Bench()
        blocks = chain_of(2, payloads=1)
        bench.hold(*blocks[0].payloads, *blocks[1].payloads)
        bench.receive(0, chain(blocks))
        assert bench.committed == list(blocks)
        assert not bench.of(FetchPayloads)

    def test_a_payload_two_blocks_order_is_enough_once(self) -> None:
        bench = Bench()
        one = child(COMMITTEE, payloads=(payload(1),))
        two = child(COMMITTEE, one, payloads=(payload(1),))
        bench.receive(0, chain((one, two)))
        bench.hold(payload(1))
        assert bench.committed == [one, two]

    def test_how_many_are_wanted_at_once_is_bounded(self) -> None:
        bench = Bench()
        blocks = chain_of(10, payloads=200)
        bench.receive(0, chain(blocks))
        wanted = [digest for fetch in bench.of(FetchPayloads) for digest in fetch.digests]
        assert PAYLOADS_AHEAD_MAX <= len(wanted) < PAYLOADS_AHEAD_MAX + 200
        bench.drain()
        bench.hold(*blocks[0].payloads)
        assert [fetch.digests for fetch in bench.of(FetchPayloads)] == [blocks[3].payloads]

    def test_what_does_not_come_is_asked_of_the_next_one(self) -> None:
        bench = Bench()
        bench.receive(0, chain(chain_of(1, payloads=1)))
        bench.tick(200 * DELTA)
        holders = [fetch.holders[0] for fetch in bench.of(FetchPayloads)]
        assert set(holders) == {0, 1, 2, 3}
        assert all(a != b for a, b in pairwise(holders))
        assert len(holders) < 8, "ever more seldom"

    def test_held_payloads_without_a_block_are_forgotten_once_they_are_many(self) -> None:
        bench = Bench()
        for number in range(100):
            bench.hold(*(payload(number * 100 + i) for i in range(100)))
        assert len(bench.follower._spare) == 8192

    def test_a_finalization_further_down_lets_us_commit_up_to_it(self) -> None:
        bench = Bench()
        blocks = chain_of(4, payloads=1)
        bench.receive(0, chain(blocks))
        bench.hold(*blocks[0].payloads, *blocks[1].payloads)
        assert not bench.committed
        bench.receive(1, chain(blocks[:2]))
        assert bench.committed == list(blocks[:2])


class TestExecution:
    def test_commits_wait_for_the_executor_where_that_is_wanted(self) -> None:
        bench = Bench(commits_max=2)
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
        bench = Bench(commits_max=1)
        blocks = chain_of(6, payloads=1)
        for block in blocks:
            bench.receive(0, chain((block,)))
        bench.hold(blocks[0].payloads[0])
        assert len(bench.of(Commit)) == 1
        assert {digest for fetch in bench.of(FetchPayloads) for digest in fetch.digests} == {
            block.payloads[0] for block in blocks
        }

    def test_memory_is_bounded_while_nothing_is_executed(self) -> None:
        bench = Bench(commits_max=1)
        blocks = chain_of(3 * WINDOW_BLOCKS_MAX)
        bench.receive(0, finalization(COMMITTEE, blocks[-1]))
        for _ in range(60):
            bench.serve(blocks)
            bench.tick(DELTA)
        assert len(bench.follower._window._blocks) <= WINDOW_BLOCKS_MAX + BLOCKS_MAX + 1
        assert max(height for _, height in bench.asked) <= bench.follower.status().height + WINDOW_BLOCKS_MAX
        assert not bench.rejections


class TestHostileProviders:
    GOOD = chain_of(6)

    def flawed(self) -> dict[str, Chain]:
        good = self.GOOD
        final = finalization(COMMITTEE, good[-1])
        rival = child(COMMITTEE, good[0], view=2, timestamp_ms=999)
        vote = final.vote
        alien = replace(good[-1], consortium=payload(5))
        forged = replace(final, signatures=(final.signatures[1], *final.signatures[1:]))
        return {
            "empty": Chain(blocks=(), finalization=final),
            "a block left out": Chain(blocks=good[:2] + good[3:], finalization=final),
            "another block": Chain(blocks=(good[0], rival, *good[2:]), finalization=final),
            "cut short": Chain(blocks=good[:-1], finalization=final),
            "only notarized": Chain(blocks=good, finalization=notarization(COMMITTEE, good[-1])),
            "too few signers": Chain(blocks=good, finalization=certify(COMMITTEE, vote, (0, 1))),
            "a forged signature": Chain(blocks=good, finalization=forged),
            "an unknown signer": Chain(blocks=good, finalization=certify(COMMITTEE, vote, (0, 1, 7))),
            "another consortium": Chain(blocks=(*good[:-1], alien), finalization=finalization(COMMITTEE, alien)),
            "a wrong height": Chain(blocks=(replace(good[0], height=Height(2)),), finalization=final),
            "too many": chain(chain_of(CHAIN_BLOCKS_MAX + 1)),
        }

    @pytest.mark.parametrize("flaw", [
        "empty", "a block left out", "another block", "cut short", "only notarized", "too few signers",
        "a forged signature", "an unknown signer", "another consortium", "a wrong height", "too many",
    ])  # fmt: skip
    def test_a_chain_that_does_not_prove_itself_drops_its_sender_for_good(self, flaw: str) -> None:
        bench = Bench()
        liar = bench.asked[0][0]
        bench.receive(liar, self.flawed()[flaw])
        assert len(bench.rejections) == 1
        assert not bench.committed
        bench.receive(liar, chain(self.GOOD))
        assert not bench.committed, "nothing of it is listened to any more"
        assert [validator for validator, _ in bench.asked[1:2]] not in ([], [liar]), "another one is asked at once"
        bench.tick(100 * DELTA)
        assert liar not in {validator for validator, _ in bench.asked[1:]}
        bench.receive((liar + 1) % 4, chain(self.GOOD))
        assert bench.committed == list(self.GOOD)

    def test_twice_the_same_signer_is_no_quorum(self) -> None:
        """A certificate with a signer twice cannot even be built; nor is one whose indices are swapped accepted."""
        final = finalization(COMMITTEE, self.GOOD[-1])
        swapped = replace(final, signatures=(final.signatures[1], final.signatures[0], final.signatures[2]))
        bench = Bench()
        bench.receive(1, Chain(blocks=self.GOOD, finalization=swapped))
        assert bench.rejections == ["InvalidSignature"]

    def test_a_forged_finalization_drops_its_sender_too(self) -> None:
        bench = Bench()
        bench.receive(1, certify(COMMITTEE, vote_for(VoteKind.FINALIZE, self.GOOD[-1]), (0, 1)))
        assert bench.rejections == ["TooFewSigners"]
        assert bench.follower.status().finalized_view == 0

    def test_payloads_are_not_asked_of_a_liar_first_nor_at_all(self) -> None:
        bench = Bench()
        bench.receive(1, self.flawed()["empty"])
        bench.receive(0, chain(chain_of(4, payloads=1)))
        assert all(1 not in fetch.holders for fetch in bench.of(FetchPayloads))

    def test_a_chain_of_another_epoch_is_left_alone(self) -> None:
        """A node further ahead answers with what it has at that height; nor is a late answer to before a lie."""
        bench = Bench()
        later = child(NEXT, self.GOOD[0])
        bench.receive(1, Chain(blocks=(later,), finalization=finalization(NEXT, later)))
        bench.receive(1, finalization(NEXT, later))
        assert not bench.rejections
        assert not bench.committed

    def test_what_is_no_news_costs_no_signature_check_and_does_not_stop_the_clock(self) -> None:
        bench = Bench()
        bench.receive(0, chain(self.GOOD))
        island = chain((child(COMMITTEE, self.GOOD[-1], view=20),))
        island = chain((child(COMMITTEE, island.blocks[0]),))
        bench.receive(0, island)
        asked = bench.asked[-1]
        verified, deadline = bench.verified, bench.follower.deadline_ms
        for _ in range(50):
            bench.receive(asked[0], chain(self.GOOD))
            bench.receive(asked[0], island)
            bench.receive(asked[0], finalization(COMMITTEE, self.GOOD[2]))
        assert bench.verified == verified
        assert bench.follower.deadline_ms == deadline

    def test_who_withholds_is_waited_for_once_and_asked_last(self) -> None:
        bench = Bench()
        blocks = chain_of(20 * BLOCKS_MAX)
        bench.receive(0, finalization(COMMITTEE, blocks[-1]))
        silent = bench.asked[0][0]
        for _ in range(60):
            bench.serve(blocks, liars=frozenset({silent}))
            bench.tick(DELTA)
        assert bench.committed == list(blocks)
        of_silent = sum(validator == silent for validator, _ in bench.asked)
        assert of_silent < len(bench.asked) / 4

    def test_a_range_nobody_answers_goes_from_one_to_the_next(self) -> None:
        bench = Bench()
        bench.receive(0, finalization(COMMITTEE, self.GOOD[-1]))
        bench.drain()
        bench.tick(40 * RANGE_DELTAS * DELTA)
        asked = [validator for validator, height in bench.asked if height == 1]
        assert set(asked) == {0, 1, 2, 3}
        assert len(asked) < 20, "whoever was silent is given more time"

    def test_a_connection_that_stands_again_makes_silence_good(self) -> None:
        bench = Bench()
        bench.receive(0, finalization(COMMITTEE, self.GOOD[-1]))
        bench.tick(40 * RANGE_DELTAS * DELTA)
        assert all(bench.follower._providers.silences(ValidatorIndex(v)) for v in range(4))
        bench.step(Connected(peer=ValidatorIndex(2)))
        assert bench.follower._providers.silences(ValidatorIndex(2)) == 0

    def test_a_chain_beyond_the_window_is_not_kept(self) -> None:
        bench = Bench()
        blocks = chain_of(WINDOW_BLOCKS_MAX + 10)
        bench.receive(0, chain(blocks[-5:]))
        assert len(bench.follower._window._blocks) == 1

    def test_with_everybody_dropped_it_says_so(self) -> None:
        bench = Bench()
        for validator in range(4):
            bench.receive(validator, self.flawed()["empty"])
        bench.drain()
        bench.tick(100 * DELTA)
        assert not bench.outputs
        assert bench.follower.status().waits_for == "a validator to ask: each of them sent what does not verify"

    def test_two_final_blocks_at_one_height_are_an_alarm(self) -> None:
        bench = Bench()
        rival = child(COMMITTEE, timestamp_ms=999)
        bench.receive(0, chain(self.GOOD[3:5]))
        bench.receive(1, chain((rival, child(COMMITTEE, rival), child(COMMITTEE, child(COMMITTEE, rival)))))
        assert len(bench.of(Alarm)) == 1
        bench = Bench()
        bench.receive(0, chain((self.GOOD[1],)))
        bench.receive(1, chain((rival, child(COMMITTEE, rival))))
        assert len(bench.of(Alarm)) == 1
        assert not bench.committed


class TestEpochs:
    BLOCKS = chain_of(2)
    BOUNDARY = child(COMMITTEE, BLOCKS[-1], next_committee=NEW)

    def test_the_boundary_ends_it(self) -> None:
        bench = Bench()
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
        bench = Bench()
        four = child(COMMITTEE, self.BOUNDARY)
        five = child(COMMITTEE, four)
        bench.receive(0, chain((*self.BLOCKS, self.BOUNDARY, four, five)))
        commit = bench.of(Commit)[-1]
        assert (commit.blocks[-1], commit.proof) == (self.BOUNDARY, (four, five))
        assert commit.finalization.vote.block == five.digest

    def test_what_lies_below_is_committed_first_with_its_own_finalization(self) -> None:
        bench = Bench()
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
        bench = Bench()
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
