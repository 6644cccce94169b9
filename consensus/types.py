"""The values consensus is about: committee, block, vote, certificate, each with its canonical bytes.

Every value is frozen and valid by construction in shape (sizes, ranges, order); what depends on a committee or on
signatures is checked in `consensus.certificates` and in the engine.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import NewType

from consensus.errors import MalformedMessage

View = NewType("View", int)
"""One attempt to agree on a block; views count from 1, view 0 is the genesis block's."""
Height = NewType("Height", int)
"""Position in the finalized chain; the genesis block has height 0."""
Epoch = NewType("Epoch", int)
Digest = NewType("Digest", bytes)
"""32 bytes of SHA-256."""
ValidatorIndex = NewType("ValidatorIndex", int)
"""0-based position in the epoch's committee."""
PublicKey = NewType("PublicKey", bytes)
"""32 bytes, Ed25519 (RFC 8032)."""
Signature = NewType("Signature", bytes)
"""64 bytes, Ed25519 (RFC 8032)."""

ZERO_DIGEST = Digest(bytes(32))

VerifySignature = Callable[[PublicKey, bytes, Signature], bool]
"""(key, message, signature) -> whether it verifies, strictly. Injected: consensus imports no cryptography."""

VALIDATORS_MIN = 4
VALIDATORS_MAX = 128
BLOCK_PAYLOADS_MAX = 256
"""Payload digests one block may order: 8 KiB of header."""

_U64_MAX = 2**64 - 1
_BLOCK_TAG = b"stretto/block/v1"
_VOTE_TAG = b"stretto/vote/v1"
_BLOCK_HEAD = struct.Struct(">16s32sQQQQ32sQH32sH")
_VOTE_HEAD = struct.Struct(">15s32sQBQQ32s")


class VoteKind(IntEnum):
    """What a vote says about its view (research/consensus.md section 2: the byte that is signed)."""

    NOTARIZE = 1
    NULLIFY = 2
    FINALIZE = 3


def _check_digest(message: str, name: str, value: bytes) -> None:
    if len(value) != 32:
        raise MalformedMessage(message, name, f"32 bytes, got {len(value)}")


def _check_u64(message: str, name: str, value: int, minimum: int = 0) -> None:
    if not minimum <= value <= _U64_MAX:
        raise MalformedMessage(message, name, f"an integer from {minimum} to 2^64 - 1, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochParameters:
    """Timing of an epoch. In the genesis, never per node: a wrong local timeout silently skips its node."""

    delta_ms: int = 150
    """Assumed network delay. Leader timer 3 delta, view timer 5 delta (design D4)."""
    delta_factor_max: int = 8
    """Cap of the back-off: delta grows at most to delta_ms * delta_factor_max."""
    block_interval_ms: int = 20
    """A leader waits this long after the parent's proposal before it proposes."""
    precision_ms: int = 500
    """How far validators' wall clocks may differ before block times are refused."""
    heartbeat_ms: int = 600_000
    """An idle chain makes an empty block this often."""


@dataclass(frozen=True, kw_only=True)
class Committee:
    """The validators of one epoch.

    Invariants: (1) at least VALIDATORS_MIN validators; (2) all keys distinct.
    """

    consortium: Digest
    """SHA-256 of the genesis file: what binds every signature to this consortium."""
    epoch: Epoch
    validators: tuple[PublicKey, ...]
    parameters: EpochParameters = field(default_factory=EpochParameters)

    def __post_init__(self) -> None:
        _check_digest("committee", "consortium", self.consortium)
        if not VALIDATORS_MIN <= len(self.validators) <= VALIDATORS_MAX:
            raise MalformedMessage(
                "committee", "validators", f"{VALIDATORS_MIN} to {VALIDATORS_MAX}, got {len(self.validators)}"
            )
        if len(set(self.validators)) != len(self.validators):
            raise MalformedMessage("committee", "validators", "distinct keys")
        for key in self.validators:
            _check_digest("committee", "validators", key)

    @cached_property
    def size(self) -> int:
        return len(self.validators)

    @cached_property
    def faults_max(self) -> int:
        """f: how many members may be faulty in any way."""
        return (self.size - 1) // 3

    @cached_property
    def quorum(self) -> int:
        """n - f. Not 2f + 1: at n = 50 two quorums of 33 can meet in faulty validators only (design D4)."""
        return self.size - self.faults_max

    @cached_property
    def schedule(self) -> tuple[ValidatorIndex, ...]:
        """Order in which validators lead, fixed by consortium and epoch (research/consensus.md section 2, rule 1)."""

        def rank(index: int) -> bytes:
            return hashlib.sha256(
                b"stretto/schedule/v1" + self.consortium + struct.pack(">QH", self.epoch, index)
            ).digest()

        return tuple(ValidatorIndex(i) for i in sorted(range(self.size), key=rank))

    def leader(self, view: View) -> ValidatorIndex:
        return self.schedule[view % self.size]


@dataclass(frozen=True, kw_only=True)
class Block:
    """A header that orders payloads by digest; it has no body of its own.

    Invariants: (1) parent_view < view; (2) payload digests are distinct and at most BLOCK_PAYLOADS_MAX.
    """

    consortium: Digest
    epoch: Epoch
    view: View
    height: Height
    parent_view: View
    parent: Digest
    timestamp_ms: int
    """Proposer's wall clock, milliseconds since the Unix epoch. Order, not legal time (design D4, D8)."""
    proposer: ValidatorIndex
    payloads: tuple[Digest, ...]
    next_committee: Digest = ZERO_DIGEST
    """Digest of the next epoch's committee in a boundary block, else zero."""

    def __post_init__(self) -> None:
        for name in ("consortium", "parent", "next_committee"):
            _check_digest("block", name, getattr(self, name))
        for name in ("epoch", "height", "timestamp_ms", "parent_view", "view"):
            _check_u64("block", name, getattr(self, name))
        if not 0 <= self.proposer < VALIDATORS_MAX:
            raise MalformedMessage("block", "proposer", f"0 to {VALIDATORS_MAX - 1}, got {self.proposer}")
        if self.parent_view >= self.view and self.height > 0:
            raise MalformedMessage("block", "parent_view", f"less than view {self.view}, got {self.parent_view}")
        if len(self.payloads) > BLOCK_PAYLOADS_MAX:
            raise MalformedMessage("block", "payloads", f"at most {BLOCK_PAYLOADS_MAX}, got {len(self.payloads)}")
        if len(set(self.payloads)) != len(self.payloads):
            raise MalformedMessage("block", "payloads", "distinct digests")
        for digest in self.payloads:
            _check_digest("block", "payloads", digest)

    @property
    def is_boundary(self) -> bool:
        """Whether it is the last block of its epoch's ledger."""
        return self.next_committee != ZERO_DIGEST

    def encode(self) -> bytes:
        """Canonical bytes; `digest` is their SHA-256. Big-endian, fixed layout, then the payload digests."""
        head = _BLOCK_HEAD.pack(
            _BLOCK_TAG, self.consortium, self.epoch, self.view, self.height, self.parent_view, self.parent,
            self.timestamp_ms, self.proposer, self.next_committee, len(self.payloads),
        )  # fmt: skip
        return head + b"".join(self.payloads)

    @cached_property
    def digest(self) -> Digest:
        return Digest(hashlib.sha256(self.encode()).digest())

    @classmethod
    def decode(cls, data: bytes) -> Block:
        """Inverse of `encode`. Raises: MalformedMessage."""
        if len(data) < _BLOCK_HEAD.size:
            raise MalformedMessage("block", "length", f"at least {_BLOCK_HEAD.size} bytes, got {len(data)}")
        tag, consortium, epoch, view, height, parent_view, parent, timestamp, proposer, nxt, count = (
            _BLOCK_HEAD.unpack_from(data)
        )
        if tag != _BLOCK_TAG:
            raise MalformedMessage("block", "tag", _BLOCK_TAG.decode())
        if len(data) != _BLOCK_HEAD.size + 32 * count:
            raise MalformedMessage("block", "length", f"{_BLOCK_HEAD.size + 32 * count} bytes, got {len(data)}")
        body = data[_BLOCK_HEAD.size :]
        return cls(
            consortium=Digest(consortium), epoch=Epoch(epoch), view=View(view), height=Height(height),
            parent_view=View(parent_view), parent=Digest(parent), timestamp_ms=timestamp,
            proposer=ValidatorIndex(proposer), next_committee=Digest(nxt),
            payloads=tuple(Digest(body[i : i + 32]) for i in range(0, len(body), 32)),
        )  # fmt: skip


def genesis_block(committee: Committee) -> Block:
    """The block every chain of this consortium starts from: height 0, view 0, no payloads, final by definition."""
    return Block(
        consortium=committee.consortium, epoch=committee.epoch, view=View(0), height=Height(0), parent_view=View(0),
        parent=ZERO_DIGEST, timestamp_ms=0, proposer=ValidatorIndex(0), payloads=(),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One validator's statement about a view, unsigned (Simplex, section 2).

    Invariants: a NULLIFY has height 0 and the zero digest, so that all of a view's nullifies are the same bytes.
    """

    kind: VoteKind
    epoch: Epoch
    view: View
    height: Height
    block: Digest

    def __post_init__(self) -> None:
        _check_u64("vote", "epoch", self.epoch)
        _check_u64("vote", "view", self.view, 1)
        _check_u64("vote", "height", self.height)
        _check_digest("vote", "block", self.block)
        if self.kind is VoteKind.NULLIFY and (self.height != 0 or self.block != ZERO_DIGEST):
            raise MalformedMessage("vote", "block", "height 0 and the zero digest in a nullify")

    def signing_bytes(self, consortium: Digest) -> bytes:
        """What the validator signs: domain tag, consortium, epoch, kind, view, height, block."""
        return _VOTE_HEAD.pack(_VOTE_TAG, consortium, self.epoch, self.kind, self.view, self.height, self.block)


def nullify(epoch: Epoch, view: View) -> Vote:
    return Vote(kind=VoteKind.NULLIFY, epoch=epoch, view=view, height=Height(0), block=ZERO_DIGEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedVote:
    """A vote with its voter and signature; the signature is checked where it enters the engine."""

    vote: Vote
    voter: ValidatorIndex
    signature: Signature

    def __post_init__(self) -> None:
        if not 0 <= self.voter < VALIDATORS_MAX:
            raise MalformedMessage("vote", "voter", f"0 to {VALIDATORS_MAX - 1}, got {self.voter}")
        if len(self.signature) != 64:
            raise MalformedMessage("vote", "signature", f"64 bytes, got {len(self.signature)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A quorum of one vote: notarization, nullification or finalization, by named signers (accountable in court).

    Invariants: signers strictly ascending, one signature each. That they are a quorum of the right committee and
    that the signatures verify is for `consensus.certificates.check`.
    """

    vote: Vote
    signers: tuple[ValidatorIndex, ...]
    signatures: tuple[Signature, ...]

    def __post_init__(self) -> None:
        if len(self.signers) != len(self.signatures) or not 1 <= len(self.signers) <= VALIDATORS_MAX:
            raise MalformedMessage("certificate", "signers", f"1 to {VALIDATORS_MAX}, as many as signatures")
        if any(a >= b for a, b in zip(self.signers, self.signers[1:], strict=False)):
            raise MalformedMessage("certificate", "signers", "strictly ascending indices")
        if not 0 <= self.signers[0] <= self.signers[-1] < VALIDATORS_MAX:
            raise MalformedMessage("certificate", "signers", f"indices from 0 to {VALIDATORS_MAX - 1}")
        if any(len(s) != 64 for s in self.signatures):
            raise MalformedMessage("certificate", "signatures", "64 bytes each")

    def encode(self) -> bytes:
        """Canonical bytes for storage and evidence: the vote's fields, then (u16 signer, signature) pairs."""
        vote = self.vote
        head = struct.pack(">BQQQ32sH", vote.kind, vote.epoch, vote.view, vote.height, vote.block, len(self.signers))
        return head + b"".join(struct.pack(">H", i) + s for i, s in zip(self.signers, self.signatures, strict=True))

    @classmethod
    def decode(cls, data: bytes) -> Certificate:
        """Inverse of `encode`. Raises: MalformedMessage."""
        head = struct.Struct(">BQQQ32sH")
        if len(data) < head.size:
            raise MalformedMessage("certificate", "length", f"at least {head.size} bytes, got {len(data)}")
        kind, epoch, view, height, block, count = head.unpack_from(data)
        if kind not in (1, 2, 3):
            raise MalformedMessage("certificate", "kind", f"1, 2 or 3, got {kind}")
        if len(data) != head.size + 66 * count:
            raise MalformedMessage("certificate", "length", f"{head.size + 66 * count} bytes, got {len(data)}")
        pairs = [struct.unpack_from(">H64s", data, head.size + 66 * i) for i in range(count)]
        return cls(
            vote=Vote(
                kind=VoteKind(kind), epoch=Epoch(epoch), view=View(view), height=Height(height), block=Digest(block)
            ),
            signers=tuple(ValidatorIndex(i) for i, _ in pairs),
            signatures=tuple(Signature(s) for _, s in pairs),
        )
