"""Providers that lie, dawdle, withhold or say nothing, and what a follower makes of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consensus.chain import CHAIN_BLOCKS_MAX
from consensus.events import (
    Alarm,
    Connected,
    FetchPayloads,
)
from consensus.follower import RANGE_DELTAS
from consensus.messages import BLOCKS_MAX, Chain
from consensus.types import Height, ValidatorIndex, VoteKind
from consensus.window import WINDOW_BLOCKS_MAX
from tests.consensus.follower_bench import (
    COMMITTEE,
    DELTA,
    NEXT,
    FollowerBench,
    chain,
    chain_of,
)
from tests.consensus.toys import (
    certify,
    child,
    finalization,
    notarization,
    payload,
    vote_for,
)


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
            "another height in its votes": Chain(
                blocks=good, finalization=certify(COMMITTEE, replace(vote, height=Height(vote.height + 1)))
            ),
            "an unknown signer": Chain(blocks=good, finalization=certify(COMMITTEE, vote, (0, 1, 7))),
            "another consortium": Chain(blocks=(*good[:-1], alien), finalization=finalization(COMMITTEE, alien)),
            "a wrong height": Chain(blocks=(replace(good[0], height=Height(2)),), finalization=final),
            "too many": chain(chain_of(CHAIN_BLOCKS_MAX + 1)),
        }

    @pytest.mark.parametrize("flaw", [
        "empty", "a block left out", "another block", "cut short", "only notarized", "too few signers",
        "a forged signature", "another height in its votes", "an unknown signer", "another consortium",
        "a wrong height", "too many",
    ])  # fmt: skip
    def test_a_chain_that_does_not_prove_itself_drops_its_sender_for_good(self, flaw: str) -> None:
        bench = FollowerBench()
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
        bench = FollowerBench()
        bench.receive(1, Chain(blocks=self.GOOD, finalization=swapped))
        assert bench.rejections == ["InvalidSignature"]

    def test_a_forged_finalization_drops_its_sender_too(self) -> None:
        bench = FollowerBench()
        bench.receive(1, certify(COMMITTEE, vote_for(VoteKind.FINALIZE, self.GOOD[-1]), (0, 1)))
        assert bench.rejections == ["TooFewSigners"]
        assert bench.follower.status().finalized_view == 0

    def test_payloads_are_not_asked_of_a_liar_first_nor_at_all(self) -> None:
        bench = FollowerBench()
        bench.receive(1, self.flawed()["empty"])
        bench.receive(0, chain(chain_of(4, payloads=1)))
        assert all(1 not in fetch.holders for fetch in bench.of(FetchPayloads))

    def test_a_chain_of_another_epoch_is_left_alone(self) -> None:
        """A node further ahead answers with what it has at that height; nor is a late answer to before a lie."""
        bench = FollowerBench()
        later = child(NEXT, self.GOOD[0])
        bench.receive(1, Chain(blocks=(later,), finalization=finalization(NEXT, later)))
        bench.receive(1, finalization(NEXT, later))
        assert not bench.rejections
        assert not bench.committed

    def test_what_is_no_news_costs_no_signature_check_and_does_not_stop_the_clock(self) -> None:
        bench = FollowerBench()
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
        bench = FollowerBench()
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
        bench = FollowerBench()
        bench.receive(0, finalization(COMMITTEE, self.GOOD[-1]))
        bench.drain()
        bench.tick(40 * RANGE_DELTAS * DELTA)
        asked = [validator for validator, height in bench.asked if height == 1]
        assert set(asked) == {0, 1, 2, 3}
        assert len(asked) < 20, "whoever was silent is given more time"

    def test_a_connection_that_stands_again_makes_silence_good(self) -> None:
        bench = FollowerBench()
        bench.receive(0, finalization(COMMITTEE, self.GOOD[-1]))
        bench.tick(40 * RANGE_DELTAS * DELTA)
        assert all(bench.follower._providers.silences(ValidatorIndex(v)) for v in range(4))
        bench.step(Connected(peer=ValidatorIndex(2)))
        assert bench.follower._providers.silences(ValidatorIndex(2)) == 0

    def test_a_chain_beyond_the_window_is_not_kept(self) -> None:
        bench = FollowerBench()
        blocks = chain_of(WINDOW_BLOCKS_MAX + 10)
        bench.receive(0, chain(blocks[-5:]))
        assert len(bench.follower._window._blocks) == 1

    def test_with_everybody_dropped_it_says_so(self) -> None:
        bench = FollowerBench()
        for validator in range(4):
            bench.receive(validator, self.flawed()["empty"])
        bench.drain()
        bench.tick(100 * DELTA)
        assert not bench.outputs
        assert bench.follower.status().waits_for == "a validator to ask: each of them sent what does not verify"

    def test_two_final_blocks_at_one_height_are_an_alarm(self) -> None:
        bench = FollowerBench()
        rival = child(COMMITTEE, timestamp_ms=999)
        bench.receive(0, chain(self.GOOD[3:5]))
        bench.receive(1, chain((rival, child(COMMITTEE, rival), child(COMMITTEE, child(COMMITTEE, rival)))))
        assert len(bench.of(Alarm)) == 1
        bench = FollowerBench()
        bench.receive(0, chain((self.GOOD[1],)))
        bench.receive(1, chain((rival, child(COMMITTEE, rival))))
        assert len(bench.of(Alarm)) == 1
        assert not bench.committed
