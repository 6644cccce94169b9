"""Toy cryptography and small committees for consensus tests: fast, deterministic, and no security whatever."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from consensus.certificates import form_certificate
from consensus.types import (
    ZERO_DIGEST,
    Block,
    Certificate,
    Committee,
    Digest,
    Epoch,
    EpochParameters,
    Height,
    PublicKey,
    Signature,
    SignedVote,
    ValidatorIndex,
    View,
    Vote,
    VoteKind,
    genesis_block,
    nullify,
)

CONSORTIUM = Digest(hashlib.sha256(b"toy consortium").digest())
SEED = b"toy seed"


def key_of(index: int) -> PublicKey:
    """A validator's key; public and private at once."""
    return PublicKey(hashlib.sha256(b"toy key" + index.to_bytes(2, "big")).digest())


def sign(index: int, message: bytes) -> Signature:
    half = hashlib.sha256(key_of(index) + message).digest()
    return Signature(half + half)


def verify(key: PublicKey, message: bytes, signature: Signature) -> bool:
    half = hashlib.sha256(key + message).digest()
    return signature == half + half


def committee_of(size: int, epoch: int = 0, **parameters: int) -> Committee:
    """parameters: fields of EpochParameters that differ from the defaults."""
    return Committee(
        consortium=CONSORTIUM,
        epoch=Epoch(epoch),
        validators=tuple(key_of(i) for i in range(size)),
        parameters=replace(EpochParameters(), **parameters),
    )


def payload(number: int) -> Digest:
    return Digest(hashlib.sha256(b"payload" + number.to_bytes(8, "big")).digest())


def signed(committee: Committee, voter: int, vote: Vote) -> SignedVote:
    return SignedVote(
        vote=vote, voter=ValidatorIndex(voter), signature=sign(voter, vote.signing_bytes(committee.consortium))
    )


def vote_for(kind: VoteKind, block: Block) -> Vote:
    return Vote(kind=kind, epoch=block.epoch, view=block.view, height=block.height, block=block.digest)


def certify(committee: Committee, vote: Vote, voters: tuple[int, ...] | None = None) -> Certificate:
    """A certificate for `vote` by `voters`, by default the first quorum of the committee."""
    chosen = range(committee.quorum) if voters is None else voters
    return form_certificate(signed(committee, voter, vote) for voter in chosen)


def notarization(committee: Committee, block: Block) -> Certificate:
    return certify(committee, vote_for(VoteKind.NOTARIZE, block))


def finalization(committee: Committee, block: Block) -> Certificate:
    return certify(committee, vote_for(VoteKind.FINALIZE, block))


def nullification(committee: Committee, view: int) -> Certificate:
    return certify(committee, nullify(committee.epoch, View(view)))


def child(
    committee: Committee,
    parent: Block | None = None,
    *,
    view: int | None = None,
    payloads: tuple[Digest, ...] = (),
    timestamp_ms: int | None = None,
    next_committee: Digest = ZERO_DIGEST,
) -> Block:
    """A correct block on `parent` (by default the genesis block), in `view` (by default the next)."""
    on = parent if parent is not None else genesis_block(committee)
    at = View(view if view is not None else on.view + 1)
    return Block(
        consortium=committee.consortium,
        epoch=committee.epoch,
        view=at,
        height=Height(on.height + 1),
        parent_view=on.view,
        parent=on.digest,
        timestamp_ms=timestamp_ms if timestamp_ms is not None else on.timestamp_ms + 10,
        proposer=committee.leader(at),
        payloads=payloads,
        next_committee=next_committee,
    )
