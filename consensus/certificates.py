"""Certificates: a quorum of one vote by distinct named validators, checked against the committee of their epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from consensus.errors import InvalidSignature, TooFewSigners, UnknownValidator, WrongEpoch
from consensus.types import Certificate, Committee, SignedVote, VerifySignature


def check_certificate(
    certificate: Certificate,
    committee: Committee,
    verify: VerifySignature,
    is_verified: Callable[[SignedVote], bool] = lambda _: False,
) -> None:
    """Whether `certificate` proves that a quorum of `committee` cast its vote.

    is_verified: says which signed votes were verified before, so that none is verified twice.
    Raises: WrongEpoch, UnknownValidator, TooFewSigners, InvalidSignature.
    Source: Simplex, section 2 ("notarized": 2n/3 votes from different processes), with n - f in place of 2n/3
    (research/consensus.md, pitfall 4). Distinct signers are an invariant of Certificate (pitfall 5).
    """
    vote = certificate.vote
    if vote.epoch != committee.epoch:
        raise WrongEpoch("certificate", committee.epoch, vote.epoch)
    if certificate.signers[-1] >= committee.size:
        raise UnknownValidator(certificate.signers[-1], committee.size)
    if len(certificate.signers) < committee.quorum:
        raise TooFewSigners(len(certificate.signers), committee.quorum)
    message = vote.signing_bytes(committee.consortium)
    for signed in votes_of(certificate):
        if not is_verified(signed) and not verify(committee.validators[signed.voter], message, signed.signature):
            raise InvalidSignature(f"validator {signed.voter}", f"{vote.kind.name} certificate of view {vote.view}")


def votes_of(certificate: Certificate) -> tuple[SignedVote, ...]:
    """The signed votes a certificate is made of, by ascending signer."""
    return tuple(
        SignedVote(vote=certificate.vote, voter=signer, signature=signature)
        for signer, signature in zip(certificate.signers, certificate.signatures, strict=True)
    )


def form_certificate(votes: Iterable[SignedVote]) -> Certificate:
    """A certificate of verified votes that all say the same; sorted here, so any order will do."""
    ordered = sorted(votes, key=lambda signed: signed.voter)
    assert len({signed.vote for signed in ordered}) == 1, "a certificate is of one vote"
    return Certificate(
        vote=ordered[0].vote,
        signers=tuple(signed.voter for signed in ordered),
        signatures=tuple(signed.signature for signed in ordered),
    )
