"""Votes cast and votes counted: each once, none contradicting, all within bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consensus.errors import InvalidSignature, UnknownValidator, WrongEpoch
from consensus.types import Epoch, ValidatorIndex, View, VoteKind, nullify
from consensus.votes import Ballots, VotePool, contradict
from tests.consensus.toys import child, committee_of, payload, signed, verify, vote_for

COMMITTEE = committee_of(4)
BLOCK = child(COMMITTEE)
OTHER = child(COMMITTEE, payloads=(payload(1),))
NOTARIZE, FINALIZE = vote_for(VoteKind.NOTARIZE, BLOCK), vote_for(VoteKind.FINALIZE, BLOCK)
NULLIFY = nullify(Epoch(0), View(1))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (NOTARIZE, vote_for(VoteKind.NOTARIZE, OTHER), True),
        (FINALIZE, vote_for(VoteKind.FINALIZE, OTHER), True),
        (NULLIFY, FINALIZE, True),
        (FINALIZE, NULLIFY, True),
        (NOTARIZE, NULLIFY, False),
        (NOTARIZE, FINALIZE, False),
        (NOTARIZE, NOTARIZE, False),
        (NOTARIZE, replace(vote_for(VoteKind.NOTARIZE, OTHER), view=View(2)), False),
    ],
)
def test_only_what_no_honest_validator_does_is_a_contradiction(first: object, second: object, expected: bool) -> None:
    assert contradict(first, second) is expected  # type: ignore[arg-type]


class TestPool:
    def test_a_voter_counts_once_for_a_vote(self) -> None:
        pool = VotePool(COMMITTEE, verify)
        for voter in (0, 0, 1, 1, 1):
            pool.put(signed(COMMITTEE, voter, NOTARIZE))
        assert pool.count(NOTARIZE) == 2
        assert pool.certificate(NOTARIZE) is None

    def test_a_second_digest_is_returned_as_contradiction_and_does_not_count(self) -> None:
        pool = VotePool(COMMITTEE, verify)
        first, second = signed(COMMITTEE, 2, NOTARIZE), signed(COMMITTEE, 2, vote_for(VoteKind.NOTARIZE, OTHER))
        assert pool.put(first) is None
        assert pool.put(second) == first
        assert (pool.count(NOTARIZE), pool.count(second.vote)) == (1, 0)

    def test_votes_for_different_blocks_do_not_add_up(self) -> None:
        pool = VotePool(COMMITTEE, verify)
        for voter in (0, 1):
            pool.put(signed(COMMITTEE, voter, NOTARIZE))
        pool.put(signed(COMMITTEE, 2, vote_for(VoteKind.NOTARIZE, OTHER)))
        assert pool.certificate(NOTARIZE) is None
        pool.put(signed(COMMITTEE, 3, NOTARIZE))
        certificate = pool.certificate(NOTARIZE)
        assert certificate is not None
        assert certificate.signers == (0, 1, 3)

    def test_votes_are_checked_against_epoch_committee_and_key(self) -> None:
        pool = VotePool(COMMITTEE, verify)
        good = signed(COMMITTEE, 1, NOTARIZE)
        pool.check(good)
        with pytest.raises(InvalidSignature):
            pool.check(replace(good, voter=ValidatorIndex(2)))
        with pytest.raises(UnknownValidator):
            pool.check(replace(good, voter=ValidatorIndex(4)))
        with pytest.raises(WrongEpoch):
            pool.check(signed(COMMITTEE, 1, replace(NOTARIZE, epoch=Epoch(1))))

    def test_pruning_forgets_up_to_the_view(self) -> None:
        pool = VotePool(COMMITTEE, verify)
        for view in (1, 2, 3):
            pool.put(signed(COMMITTEE, 0, nullify(Epoch(0), View(view))))
        pool.prune(View(2))
        assert [pool.has_view(View(view)) for view in (1, 2, 3)] == [False, False, True]


class TestBallots:
    @pytest.mark.parametrize(
        ("cast", "asked", "allowed"),
        [
            (None, NOTARIZE, True),
            (None, NULLIFY, True),
            (None, FINALIZE, True),
            (NOTARIZE, NOTARIZE, False),
            (NULLIFY, NULLIFY, False),
            (FINALIZE, FINALIZE, False),
            (NOTARIZE, NULLIFY, True),
            (NOTARIZE, FINALIZE, True),
            (NULLIFY, FINALIZE, False),
            (FINALIZE, NULLIFY, False),
            (NULLIFY, NOTARIZE, False),
        ],
    )
    def test_what_may_follow_what_in_one_view(self, cast: object, asked: object, allowed: bool) -> None:
        ballots = Ballots()
        if cast is not None:
            ballots.cast(cast)  # type: ignore[arg-type]
        reason = ballots.reason_against(asked.kind, View(1))  # type: ignore[attr-defined]
        assert (reason is None) is allowed
        assert ballots.reason_against(asked.kind, View(2)) is None  # type: ignore[attr-defined]

    def test_casting_against_the_rules_is_impossible(self) -> None:
        ballots = Ballots()
        ballots.cast(NULLIFY)
        with pytest.raises(AssertionError, match="must not be cast"):
            ballots.cast(FINALIZE)

    def test_a_signature_is_taken_for_own_votes_only(self) -> None:
        ballots = Ballots()
        ballots.cast(NOTARIZE)
        assert ballots.add_signature(signed(COMMITTEE, 0, NOTARIZE))
        assert not ballots.add_signature(signed(COMMITTEE, 0, NULLIFY))
        assert ballots.signed(View(1)) == (signed(COMMITTEE, 0, NOTARIZE),)
