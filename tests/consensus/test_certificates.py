"""Certificates: a quorum of distinct validators of the right committee, and nothing less."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consensus.certificates import check_certificate, form_certificate, votes_of
from consensus.errors import InvalidSignature, TooFewSigners, UnknownValidator, WrongEpoch
from consensus.types import Epoch, ValidatorIndex, VoteKind
from tests.consensus.toys import certify, child, committee_of, payload, sign, signed, verify, vote_for

COMMITTEE = committee_of(7)
VOTE = vote_for(VoteKind.NOTARIZE, child(COMMITTEE))


def test_a_quorum_of_valid_votes_is_accepted() -> None:
    check_certificate(certify(COMMITTEE, VOTE), COMMITTEE, verify)
    check_certificate(certify(COMMITTEE, VOTE, (6, 1, 3, 4, 5)), COMMITTEE, verify)


def test_one_signer_less_is_refused() -> None:
    with pytest.raises(TooFewSigners, match="4 signers, a quorum is 5"):
        check_certificate(certify(COMMITTEE, VOTE, (0, 1, 2, 3)), COMMITTEE, verify)


def test_another_epoch_is_refused_even_if_signed_by_the_same_keys() -> None:
    with pytest.raises(WrongEpoch):
        check_certificate(certify(COMMITTEE, replace(VOTE, epoch=Epoch(1))), COMMITTEE, verify)


def test_signatures_for_another_consortium_are_refused() -> None:
    other = replace(COMMITTEE, consortium=payload(7))
    with pytest.raises(InvalidSignature):
        check_certificate(certify(other, VOTE), COMMITTEE, verify)


def test_a_signer_the_committee_does_not_have_is_refused() -> None:
    with pytest.raises(UnknownValidator):
        check_certificate(certify(COMMITTEE, VOTE, (0, 1, 2, 3, 7)), COMMITTEE, verify)


@pytest.mark.parametrize("position", range(5))
def test_one_forged_signature_is_found_wherever_it_stands(position: int) -> None:
    certificate = certify(COMMITTEE, VOTE)
    signatures = list(certificate.signatures)
    signatures[position] = sign(position, b"something else")
    with pytest.raises(InvalidSignature, match=f"validator {position}"):
        check_certificate(replace(certificate, signatures=tuple(signatures)), COMMITTEE, verify)


def test_a_certificate_of_one_vote_does_not_stand_for_another() -> None:
    certificate = replace(certify(COMMITTEE, VOTE), vote=replace(VOTE, kind=VoteKind.FINALIZE))
    with pytest.raises(InvalidSignature):
        check_certificate(certificate, COMMITTEE, verify)


def test_signatures_verified_before_are_not_verified_again() -> None:
    certificate = certify(COMMITTEE, VOTE)
    known = set(votes_of(certificate)[:3])
    asked: list[bytes] = []

    def count(key: bytes, message: bytes, signature: bytes) -> bool:
        asked.append(key)
        return True

    check_certificate(certificate, COMMITTEE, count, known.__contains__)
    assert asked == [COMMITTEE.validators[3], COMMITTEE.validators[4]]


def test_a_known_vote_with_another_signature_is_verified() -> None:
    forged = replace(signed(COMMITTEE, 0, VOTE), signature=sign(1, b""))
    certificate = form_certificate([forged, *(signed(COMMITTEE, i, VOTE) for i in range(1, 5))])
    known = {signed(COMMITTEE, ValidatorIndex(i), VOTE) for i in range(7)}
    with pytest.raises(InvalidSignature):
        check_certificate(certificate, COMMITTEE, verify, known.__contains__)
