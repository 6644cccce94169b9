"""Evidence of misbehaviour: what proves it, and that no honest validator can ever be accused with its own votes."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations_with_replacement

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.types import Digest, Epoch, Height, Signature, SignedVote, ValidatorIndex, View, Vote, VoteKind, nullify
from ledger.evidence_report import Outcome, Verdict
from ledger.misbehaviour import (
    CHECKS,
    MISBEHAVIOUR_BYTES,
    MalformedMisbehaviour,
    MisbehaviourEvidence,
    MisbehaviourReport,
    parse_misbehaviour,
    verify_misbehaviour,
)
from tests.ledger.builders import FOUR, make_consortium, private_key
from tests.ledger.epoch_builders import ROSTERS, signer_of

GENESIS = make_consortium().genesis
MEMBERS = tuple(member for member, _ in FOUR)
A, B = Digest(b"a" * 32), Digest(b"b" * 32)
NOTARIZE, NULLIFY, FINALIZE = VoteKind.NOTARIZE, VoteKind.NULLIFY, VoteKind.FINALIZE


def vote(kind: VoteKind, block: Digest = A, *, view: int = 7, height: int = 3, epoch: int = 0) -> Vote:
    if kind is NULLIFY:
        return nullify(Epoch(epoch), View(view))
    return Vote(kind=kind, epoch=Epoch(epoch), view=View(view), height=Height(height), block=block)


def sign(cast: Vote, member: str = "court", *, signer: str = "", consortium: Digest = GENESIS.digest) -> SignedVote:
    """member's vote, with the key of `signer` where that is another."""
    signature = private_key(signer or member, "consensus").sign(cast.signing_bytes(consortium))
    return SignedVote(vote=cast, voter=ValidatorIndex(MEMBERS.index(member)), signature=Signature(signature))


def evidence(one: Vote, other: Vote, member: str = "court") -> MisbehaviourEvidence:
    return MisbehaviourEvidence.of(GENESIS.digest, sign(one, member), sign(other, member))


TWO_BLOCKS = evidence(vote(NOTARIZE, A), vote(NOTARIZE, B))


def refused_at(report: MisbehaviourReport) -> str:
    """Name of the one check that failed; all before it passed, none after it was made."""
    outcomes = [check.outcome for check in report.checks]
    at = outcomes.index(Outcome.FAILED)
    assert outcomes == [Outcome.PASSED] * at + [Outcome.FAILED] + [Outcome.NOT_CHECKED] * (len(CHECKS) - at - 1)
    assert (report.verdict, report.member) == (Verdict.REFUSED, None), "who is not convicted is not named"
    return report.checks[at].name


# ---- what proves misbehaviour ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (vote(NOTARIZE, A), vote(NOTARIZE, B)),
        (vote(FINALIZE, A), vote(FINALIZE, B)),
        (vote(FINALIZE, A, height=3), vote(FINALIZE, A, height=4)),
        (vote(NULLIFY), vote(FINALIZE, A)),
    ],
    ids=["two notarized", "two finalized", "two heights", "nullify and finalize"],
)
def test_contradicting_votes_convict_their_institution_by_name(member: str, one: Vote, other: Vote) -> None:
    report = verify_misbehaviour(evidence(one, other, member).encode(), GENESIS)
    assert report.verdict is Verdict.VERIFIED
    assert [check.name for check in report.checks] == list(CHECKS)
    assert {check.outcome for check in report.checks} == {Outcome.PASSED}
    assert report.member == GENESIS.member(member)
    assert f"The {member.capitalize()} ({member})" in report.check("validator").reason


def test_without_a_genesis_it_is_incomplete_and_names_nobody() -> None:
    report = verify_misbehaviour(TWO_BLOCKS.encode(), None)
    assert (report.verdict, report.member) == (Verdict.INCOMPLETE, None)
    made = {check.name for check in report.checks if check.outcome is Outcome.PASSED}
    assert made == {"form", "contradiction"}


def test_without_a_genesis_what_proves_nothing_is_refused_all_the_same() -> None:
    honest = evidence(vote(NOTARIZE), vote(NULLIFY))
    assert refused_at(verify_misbehaviour(honest.encode(), None)) == "contradiction"


# ---- what honest validators do ---------------------------------------------------------------------------------------

HONEST = [
    (vote(NOTARIZE, A), vote(NULLIFY)),  # its timer ran out after it had voted: Simplex, section 2.1, step 2
    (vote(NOTARIZE, A), vote(FINALIZE, A)),
    (vote(NOTARIZE, A), vote(FINALIZE, B)),  # a quorum notarized another block than this validator did
    *((v, v) for v in (vote(NOTARIZE), vote(NULLIFY), vote(FINALIZE))),
]


@pytest.mark.parametrize(("one", "other"), HONEST)
def test_what_an_honest_validator_may_cast_is_no_evidence(one: Vote, other: Vote) -> None:
    for pair in ((one, other), (other, one)):
        assert refused_at(verify_misbehaviour(evidence(*pair).encode(), GENESIS)) == "contradiction"


def test_the_same_vote_under_two_signatures_is_no_evidence() -> None:
    """Ed25519 lets a signer make many; a vote does not say something else by them."""
    again = replace(sign(vote(NOTARIZE)), signature=Signature(bytes(64)))
    both = MisbehaviourEvidence.of(GENESIS.digest, sign(vote(NOTARIZE)), again)
    report = verify_misbehaviour(both.encode(), GENESIS)
    assert refused_at(report) == "contradiction"
    assert "say the same" in report.check("contradiction").reason


@given(st.lists(st.tuples(st.sampled_from([A, B]), st.booleans()), min_size=1, max_size=4))
def test_no_two_votes_of_an_honest_run_are_evidence(views: list[tuple[Digest, bool]]) -> None:
    """block, timed out: in each view one notarize, then nullify or finalize, as `consensus.votes.Ballots` allows."""
    cast = [
        signed
        for view, (block, timed_out) in enumerate(views, 1)
        for signed in (
            sign(vote(NOTARIZE, block, view=view)),
            sign(vote(NULLIFY, view=view) if timed_out else vote(FINALIZE, block, view=view)),
        )
    ]
    for one, other in combinations_with_replacement(cast, 2):
        try:
            made = MisbehaviourEvidence.of(GENESIS.digest, one, other)
        except MalformedMisbehaviour:
            assert one.vote.view != other.vote.view
            continue
        assert verify_misbehaviour(made.encode(), GENESIS).verdict is Verdict.REFUSED


@pytest.mark.parametrize(
    "other",
    [
        sign(vote(NOTARIZE, B, view=8)),
        sign(vote(NOTARIZE, B, epoch=1)),
        sign(vote(NOTARIZE, B), "society"),
    ],
    ids=["another view", "another epoch", "another validator"],
)
def test_votes_that_do_not_belong_together_make_no_evidence(other: SignedVote) -> None:
    with pytest.raises(MalformedMisbehaviour, match="as in the first vote"):
        MisbehaviourEvidence.of(GENESIS.digest, sign(vote(NOTARIZE, A)), other)


# ---- forgeries -------------------------------------------------------------------------------------------------------


def forged(one: SignedVote, other: SignedVote, consortium: Digest = GENESIS.digest) -> str:
    return refused_at(verify_misbehaviour(MisbehaviourEvidence.of(consortium, one, other).encode(), GENESIS))


def test_a_vote_signed_with_another_key_is_found() -> None:
    assert forged(sign(vote(NOTARIZE, A)), sign(vote(NOTARIZE, B), signer="label")) == "second vote"
    assert forged(sign(vote(NOTARIZE, A), signer="label"), sign(vote(NOTARIZE, B))) == "first vote"


def test_votes_of_one_validator_under_the_name_of_another_are_found() -> None:
    votes = [replace(sign(vote(NOTARIZE, block)), voter=ValidatorIndex(0)) for block in (A, B)]
    assert forged(votes[0], votes[1]) == "first vote"
    swapped = bytearray(TWO_BLOCKS.encode())
    swapped[72] = 2  # low byte of the voter
    assert refused_at(verify_misbehaviour(bytes(swapped), GENESIS)) == "first vote"


def test_a_voter_the_genesis_does_not_have_is_found() -> None:
    votes = [replace(sign(vote(NOTARIZE, block)), voter=ValidatorIndex(4)) for block in (A, B)]
    assert forged(votes[0], votes[1]) == "validator"


def test_votes_of_another_consortium_are_found_whatever_the_file_says_of_itself() -> None:
    foreign = make_consortium(name="Another").genesis.digest
    votes = [sign(vote(NOTARIZE, block), consortium=foreign) for block in (A, B)]
    assert forged(votes[0], votes[1], consortium=foreign) == "consortium"
    assert forged(votes[0], votes[1]) == "first vote"


def test_votes_of_another_epoch_are_found_whatever_the_file_says_of_itself() -> None:
    votes = [sign(vote(NOTARIZE, block, epoch=1)) for block in (A, B)]
    report = verify_misbehaviour(MisbehaviourEvidence.of(GENESIS.digest, *votes).encode(), GENESIS)
    assert (report.verdict, report.member) == (Verdict.INCOMPLETE, None)
    assert report.check("epoch").outcome is Outcome.NOT_CHECKED
    assert "of epoch 0 alone" in report.check("epoch").reason
    assert "It builds on what could not be checked before: epoch" in report.check("first vote").reason
    relabelled = [replace(signed, vote=vote(NOTARIZE, signed.vote.block)) for signed in votes]
    assert forged(relabelled[0], relabelled[1]) == "first vote"


def in_epoch(epoch: int, voter: int) -> bytes:
    """Two votes to notarize, by a validator of the epoch."""
    signed = [
        SignedVote(
            vote=cast, voter=ValidatorIndex(voter),
            signature=Signature(signer_of(ROSTERS[epoch], voter).sign(cast.signing_bytes(GENESIS.digest))),
        )
        for cast in (vote(NOTARIZE, block, epoch=epoch) for block in (A, B))
    ]  # fmt: skip
    return MisbehaviourEvidence.of(GENESIS.digest, *signed).encode()


@pytest.mark.parametrize(
    ("epoch", "voter", "member"), [(1, 4, "indie"), (2, 1, "court"), (2, 3, "platform"), (3, 3, "indie")]
)
def test_a_validator_is_convicted_by_the_roster_of_its_epoch(epoch: int, voter: int, member: str) -> None:
    """The court's key is another from epoch 2 on; platform is gone in epoch 3, where index 3 is indie's."""
    data = in_epoch(epoch, voter)
    report = verify_misbehaviour(data, GENESIS, known=ROSTERS)
    assert report.verdict is Verdict.VERIFIED
    assert report.member == ROSTERS[epoch].member(member)
    assert ROSTERS[epoch].digest.hex() in report.check("epoch").reason
    too_few = verify_misbehaviour(data, GENESIS, known=ROSTERS[:epoch])
    assert (too_few.verdict, too_few.member) == (Verdict.INCOMPLETE, None)


def test_votes_of_one_epoch_convict_nobody_in_another() -> None:
    data = bytearray(in_epoch(2, 1))
    data[62] = 1  # low byte of the epoch
    assert refused_at(verify_misbehaviour(bytes(data), GENESIS, known=ROSTERS)) == "first vote"
    assert refused_at(verify_misbehaviour(in_epoch_3_of_4(), GENESIS, known=ROSTERS)) == "validator"


def in_epoch_3_of_4() -> bytes:
    """Votes of epoch 3 under index 4, which only the committees before have."""
    data = bytearray(in_epoch(2, 4))
    data[62] = 3
    return bytes(data)


def test_rosters_of_another_genesis_convict_nobody_of_epoch_0() -> None:
    other = make_consortium(name="Another").genesis
    assert refused_at(verify_misbehaviour(TWO_BLOCKS.encode(), other, known=ROSTERS)) == "consortium"


def test_votes_of_two_views_relabelled_as_one_are_found() -> None:
    moved = replace(sign(vote(NOTARIZE, B, view=8)), vote=vote(NOTARIZE, B))
    assert forged(sign(vote(NOTARIZE, A)), moved) == "second vote"


@given(at=st.integers(0, MISBEHAVIOUR_BYTES - 1), bit=st.integers(0, 7))
def test_no_flipped_bit_leaves_a_proof(at: int, bit: int) -> None:
    spoilt = bytearray(TWO_BLOCKS.encode())
    spoilt[at] ^= 1 << bit
    of_another_epoch = 55 <= at < 63  # then it is said that nobody knows, which is no conviction either
    expected = Verdict.INCOMPLETE if of_another_epoch else Verdict.REFUSED
    assert verify_misbehaviour(bytes(spoilt), GENESIS).verdict is expected
    known = verify_misbehaviour(bytes(spoilt), GENESIS, known=ROSTERS)
    assert known.member is None


# ---- form ------------------------------------------------------------------------------------------------------------

digests = st.binary(min_size=32, max_size=32).map(Digest)
u64 = st.integers(0, 2**64 - 1)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[SignedVote, SignedVote]:
    epoch, view = Epoch(draw(u64)), View(draw(st.integers(1, 2**64 - 1)))
    voter = ValidatorIndex(draw(st.integers(0, 127)))

    def one() -> SignedVote:
        kind = draw(st.sampled_from(VoteKind))
        cast = (
            nullify(epoch, view)
            if kind is NULLIFY
            else Vote(kind=kind, epoch=epoch, view=view, height=Height(draw(u64)), block=draw(digests))
        )
        return SignedVote(vote=cast, voter=voter, signature=Signature(draw(st.binary(min_size=64, max_size=64))))

    return one(), one()


@given(consortium=digests, votes=pairs())
def test_evidence_survives_its_bytes_and_has_one_encoding(
    consortium: Digest, votes: tuple[SignedVote, SignedVote]
) -> None:
    made = MisbehaviourEvidence.of(consortium, *votes)
    assert made == MisbehaviourEvidence.of(consortium, *reversed(votes))
    data = made.encode()
    assert len(data) == MISBEHAVIOUR_BYTES == 283
    assert parse_misbehaviour(data) == made


def test_the_other_order_of_the_two_votes_is_malformed() -> None:
    data = TWO_BLOCKS.encode()
    swapped = data[:73] + data[178:] + data[73:178]
    assert len(swapped) == len(data)
    with pytest.raises(MalformedMisbehaviour, match="order of bytes"):
        parse_misbehaviour(swapped)
    assert refused_at(verify_misbehaviour(swapped, GENESIS)) == "form"


@pytest.mark.parametrize(
    ("at", "value", "field"),
    [(0, 0, "tag"), (73, 0, "first.kind"), (73, 4, "first.kind"), (71, 1, "first"), (178, 9, "second.kind")],
)
def test_malformed_evidence_is_refused_by_field(at: int, value: int, field: str) -> None:
    spoilt = bytearray(TWO_BLOCKS.encode())
    spoilt[at] = value
    with pytest.raises(MalformedMisbehaviour) as caught:
        parse_misbehaviour(bytes(spoilt))
    assert caught.value.field == field


@given(
    st.binary(max_size=300) | st.binary(min_size=260, max_size=260).map(lambda rest: b"stretto/misbehaviour/v1" + rest)
)
def test_any_bytes_get_a_report_and_never_a_conviction(data: bytes) -> None:
    report = verify_misbehaviour(data, GENESIS)
    assert report.verdict is Verdict.REFUSED
    assert report.member is None
    assert len(report.checks) == len(CHECKS)
