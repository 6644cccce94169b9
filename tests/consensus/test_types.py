"""Committee arithmetic and the canonical bytes of what is signed and stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import MalformedMessage
from consensus.types import (
    BLOCK_PAYLOADS_MAX,
    Block,
    Certificate,
    Digest,
    Epoch,
    Height,
    ValidatorIndex,
    View,
    Vote,
    VoteKind,
    nullify,
)
from tests.consensus.toys import CONSORTIUM, certify, child, committee_of, payload, sign, vote_for

U64 = st.integers(0, 2**64 - 1)
DIGEST = st.binary(min_size=32, max_size=32).map(Digest)


@pytest.mark.parametrize("size", range(4, 61))
def test_two_quorums_share_an_honest_validator_and_the_honest_alone_are_one(size: int) -> None:
    committee = committee_of(size)
    assert 2 * committee.quorum - size >= committee.faults_max + 1
    assert size - committee.faults_max >= committee.quorum
    assert 3 * committee.faults_max < size


def test_quorum_is_n_minus_f_and_not_2f_plus_1() -> None:
    committee = committee_of(50)
    assert (committee.faults_max, committee.quorum) == (16, 34)
    assert [committee_of(n).quorum for n in (4, 5, 6, 7, 16)] == [3, 4, 5, 5, 11]


def test_every_validator_leads_once_in_n_views() -> None:
    committee = committee_of(7)
    assert sorted(committee.leader(View(view)) for view in range(10, 17)) == list(range(7))


def test_committee_refuses_a_key_twice_and_too_few() -> None:
    committee = committee_of(4)
    with pytest.raises(MalformedMessage, match="distinct keys"):
        replace(committee, validators=(*committee.validators[:3], committee.validators[0]))
    with pytest.raises(MalformedMessage, match="4 to 128"):
        replace(committee, validators=committee.validators[:3])


@given(
    view=st.integers(1, 2**64 - 1),
    height=U64,
    parent=DIGEST,
    timestamp_ms=U64,
    proposer=st.integers(0, 127),
    payloads=st.lists(DIGEST, unique=True, max_size=5),
    epoch=U64,
)
def test_block_survives_its_encoding(payloads: list[Digest], view: int, **fields: Any) -> None:
    block = Block(
        consortium=CONSORTIUM, view=View(view), parent_view=View(view - 1), payloads=tuple(payloads), **fields
    )
    assert Block.decode(block.encode()) == block


@given(st.binary(max_size=400))
def test_block_decoder_refuses_junk_with_a_named_field(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        Block.decode(data)


def test_block_decoder_refuses_truncated_and_trailing_bytes() -> None:
    data = child(committee_of(4), payloads=(payload(1),)).encode()
    for wrong in (data[:-1], data + b"\0", data[:-32]):
        with pytest.raises(MalformedMessage, match="length"):
            Block.decode(wrong)


def test_block_refuses_repeated_and_too_many_payloads_and_a_later_parent() -> None:
    block = child(committee_of(4))
    with pytest.raises(MalformedMessage, match="distinct"):
        replace(block, payloads=(payload(1), payload(1)))
    with pytest.raises(MalformedMessage, match="at most"):
        replace(block, payloads=tuple(payload(n) for n in range(BLOCK_PAYLOADS_MAX + 1)))
    with pytest.raises(MalformedMessage, match="parent_view"):
        replace(block, parent_view=block.view)


def test_every_field_of_a_vote_is_signed() -> None:
    """Cross-epoch and cross-consortium replay (pitfall 3): nothing of what a vote says can be changed."""
    vote = vote_for(VoteKind.NOTARIZE, child(committee_of(4)))
    variants = [
        vote,
        replace(vote, kind=VoteKind.FINALIZE),
        replace(vote, epoch=Epoch(1)),
        replace(vote, view=View(2)),
        replace(vote, height=Height(2)),
        replace(vote, block=payload(1)),
        nullify(Epoch(0), View(1)),
    ]
    encodings = {v.signing_bytes(c) for v in variants for c in (CONSORTIUM, payload(2))}
    assert len(encodings) == 2 * len(variants)
    assert all(encoding.startswith(b"stretto/vote/v1") for encoding in encodings)


def test_all_nullifies_of_a_view_are_the_same_bytes() -> None:
    with pytest.raises(MalformedMessage, match="zero digest"):
        Vote(kind=VoteKind.NULLIFY, epoch=Epoch(0), view=View(1), height=Height(0), block=payload(1))


def test_certificate_survives_its_encoding_and_refuses_truncation() -> None:
    committee = committee_of(7)
    certificate = certify(committee, vote_for(VoteKind.FINALIZE, child(committee)))
    data = certificate.encode()
    assert Certificate.decode(data) == certificate
    for wrong in (data[:-1], data + b"\0", b"", b"\x04" + data[1:]):
        with pytest.raises(MalformedMessage):
            Certificate.decode(wrong)


def test_certificate_refuses_a_signer_twice_disorder_and_indices_out_of_range() -> None:
    """Pitfall 5: a duplicate signer cannot even be written down."""
    vote = vote_for(VoteKind.FINALIZE, child(committee_of(4)))
    signature = sign(0, b"")
    for signers in ((0, 0, 1), (1, 0, 2), (0, 1, 128), (-1, 0, 1)):
        with pytest.raises(MalformedMessage, match="signers"):
            Certificate(
                vote=vote, signers=tuple(ValidatorIndex(i) for i in signers), signatures=(signature,) * len(signers)
            )
    with pytest.raises(MalformedMessage, match="as many as signatures"):
        Certificate(vote=vote, signers=(ValidatorIndex(0),), signatures=(signature, signature))
