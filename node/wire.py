"""Peer messages between protobuf and our values. `encode` never fails, `decode` raises MalformedMessage, nothing else.

The only place besides the gRPC edge that names generated code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from google.protobuf.message import DecodeError

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
    Message,
    Proposal,
    ViewReply,
    ViewRequest,
)
from consensus.types import (
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
from ledger.note import NoteSignature, parse_signature_line
from ledger.secp256k1 import SIGNATURE_BYTES as CHAIN_SIGNATURE_BYTES
from protos import peer_pb2 as pb

FETCH_DIGESTS_MAX = 32
"""Contents one fetch may ask for."""
_CONTENT_TAG = b"\x0a"
"""Of FetchResponse.contents: field 1, length-delimited."""
LINE_BYTES_MAX = 512
"""A note signature line: a name, a key id and 72 bytes of signature in base64."""
VERSION_BYTES_MAX = 64
START_BYTES = 16
FIRST_EPOCH = Epoch(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosignature:
    """A validator's two signatures over one checkpoint: 0x01 under the origin's name, 0x04 under its own."""

    size: int
    root: Digest
    log: NoteSignature
    cosignature: NoteSignature


@dataclass(frozen=True, slots=True, kw_only=True)
class CosignatureRequest:
    """Asks for all signatures a peer holds over its checkpoint of `size` leaves."""

    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainSignature:
    """A validator's signature over one checkpoint for public chains."""

    checkpoint: ChainCheckpoint
    member: str
    """Member id, by the sender's word until the signature is checked."""
    signature: bytes
    """EIP-2098, 64 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainSignatureRequest:
    """Asks for all signatures a peer holds over its checkpoint for public chains of `size` leaves."""

    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """First message on a connection. boot_generation: signed count of this node's starts (design D4).

    start: START_BYTES random bytes, new with every start: two processes of one count are told apart by it.
    """

    consortium: Digest
    boot_generation: int
    start: bytes
    height: Height
    version: str
    signature: Signature
    second: bool = False
    """Sent back to its member: of another process, which came after this one and is to stop. Not signed: whoever lies
    here makes a log line at most."""

    def signing_bytes(self) -> bytes:
        return b"stretto/hello/v1" + self.consortium + self.boot_generation.to_bytes(8, "big") + self.start


Signing = Cosignature | CosignatureRequest | ChainSignature | ChainSignatureRequest
"""What is said of checkpoints: to validators and observers alike, in any epoch."""
NodeMessage = Message | Signing | Hello


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Contents wanted by hash. payloads: whether the digests name payloads, else blobs (manifests and chunks)."""

    payloads: bool
    digests: tuple[Digest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainFetch:
    """Finalized blocks wanted, in as many chains as fit one answer: for a node that syncs."""

    from_height: Height


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A message, and the epoch it is said in: its sender's, but a Chain's is that of its blocks."""

    epoch: Epoch
    message: NodeMessage


def encode(message: NodeMessage, epoch: Epoch = FIRST_EPOCH) -> bytes:
    """The frame for `message`, said in `epoch`."""
    wire = _to_wire(message)
    wire.epoch = epoch
    return wire.SerializeToString()


def encode_within(message: NodeMessage, bytes_max: int, epoch: Epoch = FIRST_EPOCH) -> tuple[bytes, ...]:
    """As `encode`, in frames of at most `bytes_max`. Only what grows with the committee can be too large for one.

    Certificates go in several frames; a proposal leaves out its lowest nullifications, which who lacks them asks for.
    """
    frame = encode(message, epoch)
    if len(frame) <= bytes_max:
        return (frame,)
    match message:
        case Certificates() if len(message.certificates) > 1:
            half = len(message.certificates) // 2
            parts = (message.certificates[:half], message.certificates[half:])
            return tuple(f for part in parts for f in encode_within(Certificates(certificates=part), bytes_max, epoch))
        case Proposal() if message.nullifications:
            half = len(message.nullifications) // 2
            fewer = replace(message, nullifications=message.nullifications[half or 1 :])
            return encode_within(fewer, bytes_max, epoch)
        case _:
            raise AssertionError(f"a {type(message).__name__} of {len(frame)} bytes: every other message is bounded")


def decode_envelope(frame: bytes) -> Envelope:
    """Inverse of `encode`, bounds checked. Raises: MalformedMessage."""
    try:
        wire = pb.PeerMessage.FromString(frame)
    except DecodeError:
        raise MalformedMessage("peer message", "frame", "a PeerMessage") from None
    return Envelope(epoch=Epoch(wire.epoch), message=_from_wire(wire))


def decode(frame: bytes) -> NodeMessage:
    """As `decode_envelope`, the message alone. Raises: MalformedMessage."""
    return decode_envelope(frame).message


def encode_fetch(fetch: Fetch | ChainFetch) -> bytes:
    if isinstance(fetch, ChainFetch):
        return pb.FetchRequest(kind=pb.FetchRequest.KIND_CHAIN, from_height=fetch.from_height).SerializeToString()
    kind = pb.FetchRequest.KIND_PAYLOAD if fetch.payloads else pb.FetchRequest.KIND_BLOB
    return pb.FetchRequest(kind=kind, digests=fetch.digests).SerializeToString()


def decode_fetch(frame: bytes) -> Fetch | ChainFetch:
    """Raises: MalformedMessage."""
    try:
        wire = pb.FetchRequest.FromString(frame)
    except DecodeError:
        raise MalformedMessage("fetch", "frame", "a FetchRequest") from None
    if wire.kind == pb.FetchRequest.KIND_CHAIN:
        return ChainFetch(from_height=Height(wire.from_height))
    if wire.kind not in (pb.FetchRequest.KIND_PAYLOAD, pb.FetchRequest.KIND_BLOB):
        raise MalformedMessage("fetch", "kind", f"payload, blob or chain, got {wire.kind}")
    if not 1 <= len(wire.digests) <= FETCH_DIGESTS_MAX:
        raise MalformedMessage("fetch", "digests", f"1 to {FETCH_DIGESTS_MAX}, got {len(wire.digests)}")
    digests = tuple(_digest("fetch", "digests", d) for d in wire.digests)
    return Fetch(payloads=wire.kind == pb.FetchRequest.KIND_PAYLOAD, digests=digests)


def encode_contents(contents: tuple[bytes | None, ...]) -> bytes:
    """A FetchResponse. Written out here: filling and serializing the message takes 2.5 ms a MiB, this a tenth."""
    parts: list[bytes] = []
    for content in contents:
        parts += (_CONTENT_TAG, _varint(len(content or b"")), content or b"")
    return b"".join(parts)


def _varint(number: int) -> bytes:
    """Protocol Buffers' encoding: seven bits a byte, the lowest first, the high bit where more follow."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def decode_contents(frame: bytes, count: int | None) -> tuple[bytes | None, ...]:
    """The `count` contents asked for (None: any number), None where the peer lacks one. Raises: MalformedMessage."""
    try:
        contents = pb.FetchResponse.FromString(frame).contents
    except DecodeError:
        raise MalformedMessage("fetch response", "frame", "a FetchResponse") from None
    if count is not None and len(contents) != count:
        raise MalformedMessage("fetch response", "contents", f"{count}, got {len(contents)}")
    return tuple(c or None for c in contents)


def _digest(message: str, field: str, value: bytes) -> Digest:
    if len(value) != 32:
        raise MalformedMessage(message, field, f"32 bytes, got {len(value)}")
    return Digest(value)


def _to_wire(message: NodeMessage) -> pb.PeerMessage:  # noqa: PLR0911, PLR0912  one arm per message
    match message:
        case Proposal():
            return pb.PeerMessage(
                proposal=pb.PeerProposal(
                    block=message.block.encode(),
                    vote=_vote_to_wire(message.vote),
                    parent=message.parent.encode() if message.parent else b"",
                    nullifications=[c.encode() for c in message.nullifications],
                )
            )
        case SignedVote():
            return pb.PeerMessage(vote=_vote_to_wire(message))
        case Certificate():
            return pb.PeerMessage(certificate=message.encode())
        case CertificateRequest():
            return pb.PeerMessage(certificate_request=message.from_view)
        case Certificates():
            encoded = [c.encode() for c in message.certificates]
            return pb.PeerMessage(certificates=pb.PeerCertificates(certificates=encoded))
        case BlockRequest():
            return pb.PeerMessage(block_request=message.digest)
        case BlockReply():
            return pb.PeerMessage(block_reply=message.block.encode())
        case ChainRequest():
            return pb.PeerMessage(chain_request=message.from_height)
        case Chain():
            blocks = [b.encode() for b in message.blocks]
            return pb.PeerMessage(chain=pb.PeerChain(blocks=blocks, finalization=message.finalization.encode()))
        case ViewRequest():
            return pb.PeerMessage(view_request=message.nonce)
        case ViewReply():
            highest = message.highest.encode() if message.highest else b""
            return pb.PeerMessage(view_reply=pb.PeerViewReply(nonce=message.nonce, highest=highest))
        case Cosignature():
            return pb.PeerMessage(
                cosignature=pb.PeerCosignature(
                    size=message.size,
                    root=message.root,
                    log_line=message.log.encode(),
                    cosignature_line=message.cosignature.encode(),
                )
            )
        case CosignatureRequest():
            return pb.PeerMessage(cosignature_request=pb.PeerCosignatureRequest(size=message.size))
        case ChainSignature():
            checkpoint = message.checkpoint
            return pb.PeerMessage(
                chain_signature=pb.PeerChainSignature(
                    epoch=checkpoint.epoch,
                    size=checkpoint.size,
                    root=checkpoint.root,
                    successor=checkpoint.successor if checkpoint.ends_epoch else b"",
                    member=message.member,
                    signature=message.signature,
                )
            )
        case ChainSignatureRequest():
            return pb.PeerMessage(chain_signature_request=pb.PeerChainSignatureRequest(size=message.size))
        case Hello():
            return pb.PeerMessage(
                hello=pb.PeerHello(
                    consortium=message.consortium,
                    boot_generation=message.boot_generation,
                    start=message.start,
                    height=message.height,
                    version=message.version,
                    signature=message.signature,
                    second=message.second,
                )
            )


def _vote_to_wire(signed: SignedVote) -> pb.PeerVote:
    vote = signed.vote
    return pb.PeerVote(
        kind=vote.kind,
        epoch=vote.epoch,
        view=vote.view,
        height=vote.height,
        block=vote.block,
        voter=signed.voter,
        signature=signed.signature,
    )


def _vote_from_wire(wire: pb.PeerVote) -> SignedVote:
    if wire.kind not in (1, 2, 3):
        raise MalformedMessage("vote", "kind", f"1, 2 or 3, got {wire.kind}")
    vote = Vote(
        kind=VoteKind(wire.kind),
        epoch=Epoch(wire.epoch),
        view=View(wire.view),
        height=Height(wire.height),
        block=Digest(wire.block),
    )
    return SignedVote(vote=vote, voter=ValidatorIndex(wire.voter), signature=Signature(wire.signature))


def _proposal_from_wire(wire: pb.PeerProposal) -> Proposal:
    if len(wire.nullifications) > NULLIFICATIONS_MAX:
        raise MalformedMessage("proposal", "nullifications", f"at most {NULLIFICATIONS_MAX}")
    return Proposal(
        block=Block.decode(wire.block),
        vote=_vote_from_wire(wire.vote),
        parent=Certificate.decode(wire.parent) if wire.parent else None,
        nullifications=tuple(Certificate.decode(c) for c in wire.nullifications),
    )


def _nonce(value: bytes) -> bytes:
    if len(value) != 16:
        raise MalformedMessage("view request", "nonce", f"16 bytes, got {len(value)}")
    return value


def _cosignature_from_wire(wire: pb.PeerCosignature) -> Cosignature:
    for name, line in (("log_line", wire.log_line), ("cosignature_line", wire.cosignature_line)):
        if not 0 < len(line) <= LINE_BYTES_MAX:
            raise MalformedMessage("cosignature", name, f"1 to {LINE_BYTES_MAX} bytes")
    return Cosignature(
        size=wire.size,
        root=_digest("cosignature", "root", wire.root),
        log=parse_signature_line(wire.log_line),
        cosignature=parse_signature_line(wire.cosignature_line),
    )


def _chain_signature_from_wire(wire: pb.PeerChainSignature) -> ChainSignature:
    if not MEMBER_ID.fullmatch(wire.member):
        raise MalformedMessage("chain signature", "member", "a member's id")
    if len(wire.signature) != CHAIN_SIGNATURE_BYTES:
        raise MalformedMessage(
            "chain signature", "signature", f"{CHAIN_SIGNATURE_BYTES} bytes, got {len(wire.signature)}"
        )
    if wire.successor == NO_SUCCESSOR:
        raise MalformedMessage("chain signature", "successor", "32 bytes that are not all zero, or none")
    return ChainSignature(
        checkpoint=ChainCheckpoint(
            epoch=Epoch(wire.epoch),
            size=wire.size,
            root=wire.root,
            successor=Digest(wire.successor) if wire.successor else NO_SUCCESSOR,
        ),
        member=wire.member,
        signature=wire.signature,
    )


def _hello_from_wire(wire: pb.PeerHello) -> Hello:
    if len(wire.version.encode()) > VERSION_BYTES_MAX:
        raise MalformedMessage("hello", "version", f"at most {VERSION_BYTES_MAX} bytes")
    if len(wire.signature) != 64:
        raise MalformedMessage("hello", "signature", f"64 bytes, got {len(wire.signature)}")
    if len(wire.start) != START_BYTES:
        raise MalformedMessage("hello", "start", f"{START_BYTES} bytes, got {len(wire.start)}")
    return Hello(
        consortium=_digest("hello", "consortium", wire.consortium),
        boot_generation=wire.boot_generation,
        start=wire.start,
        height=Height(wire.height),
        version=wire.version,
        signature=Signature(wire.signature),
        second=wire.second,
    )


def _from_wire(wire: pb.PeerMessage) -> NodeMessage:  # noqa: PLR0911, PLR0912  one arm per message
    match wire.WhichOneof("body"):
        case "proposal":
            return _proposal_from_wire(wire.proposal)
        case "vote":
            return _vote_from_wire(wire.vote)
        case "certificate":
            return Certificate.decode(wire.certificate)
        case "certificate_request":
            return CertificateRequest(from_view=View(wire.certificate_request))
        case "certificates":
            certificates = wire.certificates.certificates
            if len(certificates) > CERTIFICATES_MAX:
                raise MalformedMessage("certificates", "certificates", f"at most {CERTIFICATES_MAX}")
            return Certificates(certificates=tuple(Certificate.decode(c) for c in certificates))
        case "block_request":
            return BlockRequest(digest=_digest("block request", "digest", wire.block_request))
        case "block_reply":
            return BlockReply(block=Block.decode(wire.block_reply))
        case "chain_request":
            return ChainRequest(from_height=Height(wire.chain_request))
        case "chain":
            if not 1 <= len(wire.chain.blocks) <= CHAIN_BLOCKS_MAX:
                raise MalformedMessage("chain", "blocks", f"1 to {CHAIN_BLOCKS_MAX}, got {len(wire.chain.blocks)}")
            return Chain(
                blocks=tuple(Block.decode(b) for b in wire.chain.blocks),
                finalization=Certificate.decode(wire.chain.finalization),
            )
        case "view_request":
            return ViewRequest(nonce=_nonce(wire.view_request))
        case "view_reply":
            highest = Certificate.decode(wire.view_reply.highest) if wire.view_reply.highest else None
            return ViewReply(nonce=_nonce(wire.view_reply.nonce), highest=highest)
        case "cosignature":
            return _cosignature_from_wire(wire.cosignature)
        case "cosignature_request":
            return CosignatureRequest(size=wire.cosignature_request.size)
        case "chain_signature":
            return _chain_signature_from_wire(wire.chain_signature)
        case "chain_signature_request":
            return ChainSignatureRequest(size=wire.chain_signature_request.size)
        case "hello":
            return _hello_from_wire(wire.hello)
        case _:
            raise MalformedMessage("peer message", "body", "one of the known messages")
