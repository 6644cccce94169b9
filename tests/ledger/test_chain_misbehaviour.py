"""Evidence of equivocation on public chains: what proves it, and that nothing an honest validator signs ever does."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import combinations_with_replacement

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.types import Digest, Epoch, ValidatorIndex
from ledger.chain_checkpoint import NO_SUCCESSOR, ChainCheckpoint
from ledger.chain_misbehaviour import (
    CHAIN_MISBEHAVIOUR_BYTES,
    TAG,
    ChainMisbehaviour,
    SignedChainCheckpoint,
    parse_chain_misbehaviour,
)
from ledger.evidence_report import Outcome, Verdict
from ledger.misbehaviour import (
    CHAIN_CHECKS,
    MalformedMisbehaviour,
    MisbehaviourReport,
    parse_misbehaviour,
    verify_misbehaviour,
)
from tests.ledger.builders import FOUR, chain_key, make_consortium
from tests.ledger.epoch_builders import ROSTERS

GENESIS = make_consortium().genesis
MEMBERS = tuple(member for member, _ in FOUR)
ROOT, OTHER_ROOT = hashlib.sha256(b"root").digest(), hashlib.sha256(b"other").digest()
NEXT, OTHER_NEXT = Digest(hashlib.sha256(b"next").digest()), Digest(hashlib.sha256(b"other next").digest())


def checkpoint(size: int = 7, root: bytes = ROOT, successor: Digest = NO_SUCCESSOR, epoch: int = 0) -> ChainCheckpoint:
    return ChainCheckpoint(epoch=Epoch(epoch), size=size, root=root, successor=successor)


def sign(over: ChainCheckpoint, member: str = "court", consortium: Digest = GENESIS.digest) -> SignedChainCheckpoint:
    return SignedChainCheckpoint(checkpoint=over, signature=over.sign(chain_key(member).secret, consortium))


def evidence(one: ChainCheckpoint, other: ChainCheckpoint, member: str = "court") -> ChainMisbehaviour:
    index = ValidatorIndex(MEMBERS.index(member))
    return ChainMisbehaviour.of(GENESIS.digest, index, sign(one, member), sign(other, member))


TWO_ROOTS = evidence(checkpoint(), checkpoint(7, OTHER_ROOT))
END = checkpoint(9, ROOT, NEXT)


def refused_at(report: MisbehaviourReport) -> str:
    """Name of the one check that failed; all before it passed, none after it was made."""
    outcomes = [check.outcome for check in report.checks]
    at = outcomes.index(Outcome.FAILED)
    assert outcomes == [Outcome.PASSED] * at + [Outcome.FAILED] + [Outcome.NOT_CHECKED] * (len(CHAIN_CHECKS) - at - 1)
    assert (report.verdict, report.member) == (Verdict.REFUSED, None), "who is not convicted is not named"
    return report.checks[at].name


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (checkpoint(), checkpoint(7, OTHER_ROOT)),
        (END, checkpoint(9, ROOT, OTHER_NEXT)),
        (END, checkpoint(8, OTHER_ROOT, NEXT)),
        (END, checkpoint(9, OTHER_ROOT)),
    ],
    ids=["two roots", "two successors", "two ends", "two roots, one an end"],
)
def test_contradicting_signatures_convict_their_institution_by_name(
    member: str, one: ChainCheckpoint, other: ChainCheckpoint
) -> None:
    report = verify_misbehaviour(evidence(one, other, member).encode(), GENESIS)
    assert report.verdict is Verdict.VERIFIED
    assert [check.name for check in report.checks] == list(CHAIN_CHECKS)
    assert {check.outcome for check in report.checks} == {Outcome.PASSED}
    assert report.member == GENESIS.member(member)


HONEST = [checkpoint(3), checkpoint(7), checkpoint(9), END, checkpoint(12, OTHER_ROOT, epoch=1)]


@pytest.mark.parametrize(("one", "other"), list(combinations_with_replacement(HONEST, 2)))
def test_what_an_honest_validator_signs_is_no_evidence(one: ChainCheckpoint, other: ChainCheckpoint) -> None:
    if one.epoch != other.epoch:
        with pytest.raises(MalformedMisbehaviour, match="as in the first"):
            evidence(one, other)
        return
    for pair in ((one, other), (other, one)):
        assert refused_at(verify_misbehaviour(evidence(*pair).encode(), GENESIS)) == "contradiction"


def forged(
    one: SignedChainCheckpoint, other: SignedChainCheckpoint, voter: int = 1, consortium: Digest = GENESIS.digest
) -> str:
    made = ChainMisbehaviour.of(consortium, ValidatorIndex(voter), one, other)
    return refused_at(verify_misbehaviour(made.encode(), GENESIS))


def test_a_signature_of_another_key_is_found() -> None:
    one, other = sorted((checkpoint(), checkpoint(7, OTHER_ROOT)), key=lambda each: each.root)
    assert forged(sign(one), sign(other, "label")) == "second signature"
    assert forged(sign(one, "label"), sign(other)) == "first signature"
    assert forged(sign(one), sign(other), voter=2) == "first signature"
    assert forged(sign(one), sign(other), voter=4) == "validator"


def test_signatures_of_another_consortium_are_found_whatever_the_file_says_of_itself() -> None:
    foreign = make_consortium(name="Another").genesis.digest
    signed = [sign(checkpoint(7, root), consortium=foreign) for root in (ROOT, OTHER_ROOT)]
    assert forged(signed[0], signed[1], consortium=foreign) == "consortium"
    assert forged(signed[0], signed[1]) == "first signature"


def test_without_a_genesis_or_a_roster_it_names_nobody() -> None:
    report = verify_misbehaviour(TWO_ROOTS.encode(), None)
    assert (report.verdict, report.member) == (Verdict.INCOMPLETE, None)
    of_later = evidence(checkpoint(epoch=2), checkpoint(7, OTHER_ROOT, epoch=2))
    report = verify_misbehaviour(of_later.encode(), GENESIS)
    assert (report.verdict, report.member) == (Verdict.INCOMPLETE, None)
    assert report.check("epoch").outcome is Outcome.NOT_CHECKED


def test_a_validator_is_convicted_by_the_roster_of_its_epoch() -> None:
    of_later = evidence(checkpoint(epoch=2), checkpoint(7, OTHER_ROOT, epoch=2))
    report = verify_misbehaviour(of_later.encode(), GENESIS, known=ROSTERS)
    assert (report.verdict, report.member) == (Verdict.VERIFIED, ROSTERS[2].member("court"))


@given(at=st.integers(0, CHAIN_MISBEHAVIOUR_BYTES - 1), bit=st.integers(0, 7))
def test_no_flipped_bit_leaves_a_proof(at: int, bit: int) -> None:
    spoilt = bytearray(TWO_ROOTS.encode())
    spoilt[at] ^= 1 << bit
    report = verify_misbehaviour(bytes(spoilt), GENESIS, known=ROSTERS)
    assert report.verdict is not Verdict.VERIFIED
    assert report.member is None


def test_evidence_survives_its_bytes_and_has_one_encoding() -> None:
    data = TWO_ROOTS.encode()
    assert len(data) == CHAIN_MISBEHAVIOUR_BYTES == 343
    assert parse_misbehaviour(data) == parse_chain_misbehaviour(data) == TWO_ROOTS
    swapped = replace(TWO_ROOTS, second=TWO_ROOTS.first)
    assert swapped.encode() != data
    with pytest.raises(MalformedMisbehaviour, match="order of bytes"):
        replace(TWO_ROOTS, first=TWO_ROOTS.second, second=TWO_ROOTS.first)


@pytest.mark.parametrize(
    ("at", "value", "field"), [(0, 0, "tag"), (28, 0, "tag"), (71, bytes(40), "first"), (207, b"\xff" * 8, "second")]
)
def test_malformed_evidence_is_refused_by_field(at: int, value: int | bytes, field: str) -> None:
    put = bytes([value]) if isinstance(value, int) else value
    spoilt = TWO_ROOTS.encode()[:at] + put + TWO_ROOTS.encode()[at + len(put) :]
    with pytest.raises(MalformedMisbehaviour) as caught:
        parse_chain_misbehaviour(spoilt)
    assert caught.value.field == field


@given(st.binary(max_size=343).map(lambda rest: TAG + rest) | st.binary(min_size=314, max_size=314).map(TAG.__add__))
def test_any_bytes_get_a_report_and_never_a_conviction(data: bytes) -> None:
    report = verify_misbehaviour(data, GENESIS, known=ROSTERS)
    assert report.verdict is Verdict.REFUSED
    assert report.member is None
