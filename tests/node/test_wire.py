"""Peer messages on the wire: what we send is read back the same; whatever else arrives is malformed, nothing worse."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consensus.chain import CHAIN_BLOCKS_MAX
from consensus.errors import MalformedMessage
from consensus.messages import (
    CERTIFICATES_MAX,
    NULLIFICATIONS_MAX,
    BlockReply,
    BlockRequest,
    CertificateRequest,
    Certificates,
    Chain,
    ChainRequest,
    Proposal,
    ViewReply,
    ViewRequest,
)
from consensus.types import (
    VALIDATORS_MAX,
    ZERO_DIGEST,
    Block,
    Certificate,
    Digest,
    Epoch,
    Height,
    Signature,
    SignedVote,
    ValidatorIndex,
    View,
    Vote,
    VoteKind,
)
from ledger.chain_checkpoint import NO_SUCCESSOR, ChainCheckpoint
from ledger.member import MEMBER_ID
from ledger.note import NoteSignature
from node.wire import (
    FETCH_DIGESTS_MAX,
    LINE_BYTES_MAX,
    VERSION_BYTES_MAX,
    ChainSignature,
    ChainSignatureRequest,
    Cosignature,
    CosignatureRequest,
    Envelope,
    Fetch,
    Hello,
    NodeMessage,
    decode,
    decode_contents,
    decode_envelope,
    decode_fetch,
    encode,
    encode_contents,
    encode_fetch,
    encode_within,
)
from protos import peer_pb2 as pb

T = TypeVar("T")
u64 = st.integers(0, 2**64 - 1)
positive_u64 = st.integers(1, 2**64 - 1)


def of_bytes(length: int) -> st.SearchStrategy[bytes]:
    # From a number, so that shrinking and growing cost nothing.
    return st.integers(0, 2**32).map(lambda n: hashlib.shake_256(str(n).encode()).digest(length))


digests = of_bytes(32).map(Digest)
signatures = of_bytes(64).map(Signature)


@st.composite
def votes(draw: st.DrawFn) -> Vote:
    kind = draw(st.sampled_from(VoteKind))
    nullify = kind is VoteKind.NULLIFY
    return Vote(
        kind=kind,
        epoch=Epoch(draw(u64)),
        view=View(draw(positive_u64)),
        height=Height(0 if nullify else draw(u64)),
        block=ZERO_DIGEST if nullify else draw(digests),
    )


signed_votes = st.builds(
    SignedVote, vote=votes(), voter=st.integers(0, VALIDATORS_MAX - 1).map(ValidatorIndex), signature=signatures
)


@st.composite
def certificates(draw: st.DrawFn) -> Certificate:
    signers = sorted(draw(st.sets(st.integers(0, VALIDATORS_MAX - 1), min_size=1, max_size=5)))
    return Certificate(
        vote=draw(votes()),
        signers=tuple(ValidatorIndex(i) for i in signers),
        signatures=tuple(draw(signatures) for _ in signers),
    )


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    parent_view = draw(st.integers(0, 2**64 - 2))
    return Block(
        consortium=draw(digests),
        epoch=Epoch(draw(u64)),
        view=View(draw(st.integers(parent_view + 1, 2**64 - 1))),
        height=Height(draw(positive_u64)),
        parent_view=View(parent_view),
        parent=draw(digests),
        timestamp_ms=draw(u64),
        proposer=ValidatorIndex(draw(st.integers(0, VALIDATORS_MAX - 1))),
        payloads=tuple(draw(st.lists(digests, max_size=4, unique=True))),
        next_committee=draw(digests),
    )


def tuples(of: st.SearchStrategy[T], *, least: int = 0) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(of, min_size=least, max_size=3).map(tuple)


lines = st.builds(
    NoteSignature,
    name=st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="+"), min_size=1)
    .map(lambda name: name[:40])
    .filter(lambda name: len(name.encode()) < 200),
    key_id=of_bytes(4),
    signature=of_bytes(72),
)
messages: st.SearchStrategy[NodeMessage] = st.one_of(
    st.builds(
        Proposal,
        block=blocks(),
        vote=signed_votes,
        parent=st.none() | certificates(),
        nullifications=tuples(certificates()),
    ),
    signed_votes,
    certificates(),
    st.builds(CertificateRequest, from_view=u64.map(View)),
    st.builds(Certificates, certificates=tuples(certificates())),
    st.builds(BlockRequest, digest=digests),
    st.builds(BlockReply, block=blocks()),
    st.builds(ChainRequest, from_height=u64.map(Height)),
    st.builds(Chain, blocks=tuples(blocks(), least=1), finalization=certificates()),
    st.builds(ViewRequest, nonce=of_bytes(16)),
    st.builds(ViewReply, nonce=of_bytes(16), highest=st.none() | certificates()),
    st.builds(Cosignature, size=u64, root=digests, log=lines, cosignature=lines),
    st.builds(CosignatureRequest, size=u64),
    st.builds(
        ChainSignature,
        checkpoint=st.builds(
            ChainCheckpoint,
            epoch=u64.map(Epoch),
            size=st.integers(1, 2**63 - 1),
            root=digests,
            successor=digests | st.just(NO_SUCCESSOR),
        ),
        member=st.from_regex(MEMBER_ID, fullmatch=True),
        signature=of_bytes(64),
    ),
    st.builds(ChainSignatureRequest, size=u64),
    st.builds(
        Hello,
        consortium=digests,
        boot_generation=u64,
        start=of_bytes(16),
        height=u64.map(Height),
        version=st.text(max_size=16),
        signature=signatures,
    ),
)


def only_malformed(read: Callable[[bytes], object], data: bytes) -> None:
    try:
        read(data)
    except MalformedMessage as error:
        assert all((error.message, error.field, error.expected))  # noqa: PT017  any bytes may be a message too


@given(message=messages, epoch=u64.map(Epoch))
def test_every_message_round_trips_with_its_epoch(message: NodeMessage, epoch: Epoch) -> None:
    assert decode_envelope(encode(message, epoch)) == Envelope(epoch=epoch, message=message)
    assert decode(encode(message)) == message


@given(data=st.binary(max_size=300))
@example(b"")
@example(b"\x12\x00")
@example(b"\x20\x00")
@example(b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
def test_random_bytes_are_a_message_or_malformed(data: bytes) -> None:
    only_malformed(decode, data)
    only_malformed(decode_fetch, data)
    only_malformed(lambda frame: decode_contents(frame, 3), data)


@given(message=messages, data=st.data())
def test_changed_frames_are_a_message_or_malformed(message: NodeMessage, data: st.DataObject) -> None:
    frame = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        if not frame:
            break
        at = data.draw(st.integers(0, len(frame) - 1))
        match data.draw(st.sampled_from(["change", "drop", "cut", "double"])):
            case "change":
                frame[at] = data.draw(st.integers(0, 255))
            case "drop":
                del frame[at]
            case "cut":
                del frame[at:]
            case "double":
                frame[at:at] = frame[at : at + data.draw(st.integers(1, 40))]
    only_malformed(decode, bytes(frame))


@given(inner=st.binary(max_size=200), field=st.integers(1, 14))
def test_known_field_with_random_content_is_a_message_or_malformed(inner: bytes, field: int) -> None:
    """Random bytes seldom get past protobuf: here they always reach our own readers."""
    only_malformed(decode, bytes([field << 3 | 2, len(inner) % 128]) + inner[: len(inner) % 128])


def a_vote(**changes: object) -> pb.PeerVote:
    fields: dict[str, object] = {
        "kind": 1, "epoch": 0, "view": 1, "height": 1, "block": bytes(32), "voter": 0, "signature": bytes(64),
    }  # fmt: skip
    return pb.PeerVote(**(fields | changes))


A_BLOCK = Block(
    consortium=ZERO_DIGEST,
    epoch=Epoch(0),
    view=View(2),
    height=Height(1),
    parent_view=View(0),
    parent=ZERO_DIGEST,
    timestamp_ms=1,
    proposer=ValidatorIndex(0),
    payloads=(),
)
A_CERTIFICATE = Certificate(
    vote=Vote(kind=VoteKind.NULLIFY, epoch=Epoch(0), view=View(1), height=Height(0), block=ZERO_DIGEST),
    signers=(ValidatorIndex(0), ValidatorIndex(1), ValidatorIndex(2)),
    signatures=(Signature(bytes(64)),) * 3,
)
A_LINE = NoteSignature(name="x", key_id=bytes(4), signature=bytes(72)).encode()


def a_proposal(**changes: object) -> pb.PeerProposal:
    fields: dict[str, object] = {"block": A_BLOCK.encode(), "vote": a_vote(), "parent": b"", "nullifications": ()}
    return pb.PeerProposal(**(fields | changes))


def a_cosignature(**changes: object) -> pb.PeerCosignature:
    fields: dict[str, object] = {"size": 1, "root": bytes(32), "log_line": A_LINE, "cosignature_line": A_LINE}
    return pb.PeerCosignature(**(fields | changes))


def a_chain_signature(**changes: object) -> pb.PeerChainSignature:
    fields: dict[str, object] = {
        "epoch": 1, "size": 1, "root": b"\1" * 32, "successor": b"", "member": "court", "signature": bytes(64)
    }  # fmt: skip
    return pb.PeerChainSignature(**(fields | changes))


def a_hello(**changes: object) -> pb.PeerHello:
    fields: dict[str, object] = {
        "consortium": bytes(32), "boot_generation": 1, "height": 0, "version": "1", "signature": bytes(64),
        "start": bytes(16),
    }  # fmt: skip
    return pb.PeerHello(**(fields | changes))


def a_chain(count: int) -> pb.PeerChain:
    return pb.PeerChain(blocks=[A_BLOCK.encode()] * count, finalization=A_CERTIFICATE.encode())


def some_certificates(count: int) -> pb.PeerCertificates:
    return pb.PeerCertificates(certificates=[A_CERTIFICATE.encode()] * count)


@pytest.mark.parametrize(
    "message",
    [
        pb.PeerMessage(vote=a_vote()),
        pb.PeerMessage(proposal=a_proposal(nullifications=[A_CERTIFICATE.encode()] * NULLIFICATIONS_MAX)),
        pb.PeerMessage(certificates=some_certificates(CERTIFICATES_MAX)),
        pb.PeerMessage(chain=a_chain(CHAIN_BLOCKS_MAX)),
        pb.PeerMessage(cosignature=a_cosignature()),
        pb.PeerMessage(hello=a_hello(version="v" * VERSION_BYTES_MAX)),
        pb.PeerMessage(chain_signature=a_chain_signature(size=2**63 - 1, member="m" * 32, successor=b"\2" * 32)),
    ],
)
def test_message_at_its_bounds_is_taken(message: pb.PeerMessage) -> None:
    assert encode(decode(message.SerializeToString())) == message.SerializeToString()


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (pb.PeerMessage(), "body"),
        (pb.PeerMessage(vote=a_vote(kind=0)), "kind"),
        (pb.PeerMessage(vote=a_vote(kind=4)), "kind"),
        (pb.PeerMessage(vote=a_vote(view=0)), "view"),
        (pb.PeerMessage(vote=a_vote(block=bytes(31))), "block"),
        (pb.PeerMessage(vote=a_vote(voter=VALIDATORS_MAX)), "voter"),
        (pb.PeerMessage(vote=a_vote(voter=2**32 - 1)), "voter"),
        (pb.PeerMessage(vote=a_vote(signature=bytes(63))), "signature"),
        (pb.PeerMessage(vote=a_vote(kind=2, height=1)), "block"),
        (pb.PeerMessage(vote=a_vote(kind=2, block=b"\x01" * 32)), "block"),
        (pb.PeerMessage(proposal=pb.PeerProposal()), "length"),
        (pb.PeerMessage(proposal=a_proposal(vote=None)), "kind"),
        (pb.PeerMessage(proposal=a_proposal(block=A_BLOCK.encode() + b"\0")), "length"),
        (pb.PeerMessage(proposal=a_proposal(block=b"\0" + A_BLOCK.encode()[1:])), "tag"),
        (pb.PeerMessage(proposal=a_proposal(parent=b"\0")), "length"),
        (
            pb.PeerMessage(proposal=a_proposal(nullifications=[A_CERTIFICATE.encode()] * (NULLIFICATIONS_MAX + 1))),
            "nullifications",
        ),
        (pb.PeerMessage(certificate=b""), "length"),
        (pb.PeerMessage(certificate=b"\x07" + A_CERTIFICATE.encode()[1:]), "kind"),
        (pb.PeerMessage(certificates=some_certificates(CERTIFICATES_MAX + 1)), "certificates"),
        (pb.PeerMessage(certificates=pb.PeerCertificates(certificates=[b"x"])), "length"),
        (pb.PeerMessage(block_request=bytes(33)), "digest"),
        (pb.PeerMessage(block_reply=b"x"), "length"),
        (pb.PeerMessage(chain=a_chain(0)), "blocks"),
        (pb.PeerMessage(chain=a_chain(CHAIN_BLOCKS_MAX + 1)), "blocks"),
        (pb.PeerMessage(chain=pb.PeerChain(blocks=[A_BLOCK.encode()])), "length"),
        (pb.PeerMessage(view_request=bytes(15)), "nonce"),
        (pb.PeerMessage(view_reply=pb.PeerViewReply(nonce=bytes(17))), "nonce"),
        (pb.PeerMessage(view_reply=pb.PeerViewReply(nonce=bytes(16), highest=b"x")), "length"),
        (pb.PeerMessage(cosignature=a_cosignature(root=bytes(31))), "root"),
        (pb.PeerMessage(cosignature=a_cosignature(log_line=b"")), "log_line"),
        (pb.PeerMessage(cosignature=a_cosignature(cosignature_line=b"")), "cosignature_line"),
        (pb.PeerMessage(cosignature=a_cosignature(log_line=b"x" * (LINE_BYTES_MAX + 1))), "log_line"),
        (pb.PeerMessage(cosignature=a_cosignature(log_line=b"no signature\n")), "signature line"),
        (pb.PeerMessage(cosignature=a_cosignature(log_line=A_LINE[:-1])), "signature line"),
        (pb.PeerMessage(cosignature=a_cosignature(log_line=b"\xff\n")), "text"),
        (pb.PeerMessage(chain_signature=a_chain_signature(size=0)), "size"),
        (pb.PeerMessage(chain_signature=a_chain_signature(size=2**63)), "size"),
        (pb.PeerMessage(chain_signature=a_chain_signature(root=bytes(32))), "root"),
        (pb.PeerMessage(chain_signature=a_chain_signature(root=b"\1" * 31)), "root"),
        (pb.PeerMessage(chain_signature=a_chain_signature(successor=bytes(32))), "successor"),
        (pb.PeerMessage(chain_signature=a_chain_signature(successor=b"\1" * 31)), "successor"),
        (pb.PeerMessage(chain_signature=a_chain_signature(member="")), "member"),
        (pb.PeerMessage(chain_signature=a_chain_signature(member="m" * 33)), "member"),
        (pb.PeerMessage(chain_signature=a_chain_signature(member="a\nb")), "member"),
        (pb.PeerMessage(chain_signature=a_chain_signature(signature=bytes(63))), "signature"),
        (pb.PeerMessage(hello=a_hello(consortium=b"")), "consortium"),
        (pb.PeerMessage(hello=a_hello(signature=bytes(65))), "signature"),
        (pb.PeerMessage(hello=a_hello(start=bytes(15))), "start"),
        (pb.PeerMessage(hello=a_hello(version="v" * (VERSION_BYTES_MAX + 1))), "version"),
        (pb.PeerMessage(hello=a_hello(version="é" * (VERSION_BYTES_MAX // 2 + 1))), "version"),
    ],
)
def test_malformed_message_is_named_by_field(message: pb.PeerMessage, field: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        decode(message.SerializeToString())
    assert caught.value.field == field


def test_last_body_of_a_frame_with_two_counts() -> None:
    """protobuf's rule for a oneof; nothing is signed over these bytes, so nobody gains by it."""
    two = pb.PeerMessage(vote=a_vote()).SerializeToString() + encode(ViewRequest(nonce=bytes(16)))
    assert decode(two) == ViewRequest(nonce=bytes(16))


# ---- fetching --------------------------------------------------------------------------------------------------------

fetches = st.builds(
    Fetch,
    payloads=st.booleans(),
    digests=st.lists(digests, min_size=1, max_size=FETCH_DIGESTS_MAX).map(tuple),
)


@given(fetch=fetches)
def test_fetch_round_trips(fetch: Fetch) -> None:
    assert decode_fetch(encode_fetch(fetch)) == fetch


sized = st.sampled_from((127, 128, 16_383, 16_384, 65_536)).map(bytes)


@given(contents=st.lists(st.none() | sized | st.binary(min_size=1, max_size=50), min_size=1, max_size=32).map(tuple))
def test_contents_round_trip(contents: tuple[bytes | None, ...]) -> None:
    frame = encode_contents(contents)
    assert decode_contents(frame, len(contents)) == contents
    assert frame == pb.FetchResponse(contents=[content or b"" for content in contents]).SerializeToString()
    assert frame, "an answer of nothing is still an answer: the network refuses empty ones"


@pytest.mark.parametrize(
    ("wire", "field"),
    [
        (pb.FetchRequest(digests=[bytes(32)]), "kind"),
        (pb.FetchRequest(kind=1), "digests"),
        (pb.FetchRequest(kind=2, digests=[bytes(32)] * (FETCH_DIGESTS_MAX + 1)), "digests"),
        (pb.FetchRequest(kind=2, digests=[bytes(32), bytes(31)]), "digests"),
    ],
)
def test_malformed_fetch_is_named_by_field(wire: pb.FetchRequest, field: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        decode_fetch(wire.SerializeToString())
    assert caught.value.field == field


def test_fetch_of_an_unknown_kind_is_malformed() -> None:
    with pytest.raises(MalformedMessage, match="kind"):
        decode_fetch(b"\x08\x63" + pb.FetchRequest(digests=[bytes(32)]).SerializeToString())


@pytest.mark.parametrize("count", [0, 1, 3])
def test_answer_with_other_than_what_was_asked_is_malformed(count: int) -> None:
    with pytest.raises(MalformedMessage, match="contents"):
        decode_contents(encode_contents((b"x",) * count), 2)


# ---- frames that must fit --------------------------------------------------------------------------------------------


def wide_certificate(view: int) -> Certificate:
    """A nullification by 86 of 128 validators: 5.7 KB."""
    return Certificate(
        vote=Vote(kind=VoteKind.NULLIFY, epoch=Epoch(0), view=View(view), height=Height(0), block=ZERO_DIGEST),
        signers=tuple(ValidatorIndex(i) for i in range(86)),
        signatures=(Signature(bytes(64)),) * 86,
    )


def test_message_that_fits_goes_in_one_frame() -> None:
    message = Certificates(certificates=(A_CERTIFICATE,))
    assert encode_within(message, 1000) == (encode(message),)


def test_certificates_of_a_large_committee_go_in_several_frames() -> None:
    """128 certificates of 86 signers are 730 KB: one frame of that size would be refused by our own network."""
    sent = Certificates(certificates=tuple(wide_certificate(view) for view in range(1, CERTIFICATES_MAX + 1)))
    frames = encode_within(sent, 256 * 1024, Epoch(3))
    assert max(map(len, frames)) <= 256 * 1024
    assert {decode_envelope(frame).epoch for frame in frames} == {3}
    got = [certificate for frame in frames for certificate in decode(frame).certificates]  # type: ignore[union-attr]
    assert tuple(got) == sent.certificates


def test_proposal_of_a_large_committee_keeps_its_highest_nullifications() -> None:
    """Who lacks the lower ones asks for them."""
    nullifications = tuple(wide_certificate(view) for view in range(1, NULLIFICATIONS_MAX + 1))
    vote = SignedVote(
        vote=Vote(kind=VoteKind.NOTARIZE, epoch=Epoch(0), view=View(2), height=Height(1), block=A_BLOCK.digest),
        voter=ValidatorIndex(0),
        signature=Signature(bytes(64)),
    )
    sent = Proposal(block=A_BLOCK, vote=vote, parent=wide_certificate(1), nullifications=nullifications)
    (frame,) = encode_within(sent, 256 * 1024, Epoch(3))
    assert decode_envelope(frame).epoch == 3
    got = decode(frame)
    assert isinstance(got, Proposal)
    assert (got.block, got.vote, got.parent) == (sent.block, sent.vote, sent.parent)
    kept = len(got.nullifications)
    assert 0 < kept < NULLIFICATIONS_MAX
    assert got.nullifications == nullifications[-kept:]
