"""Evidence of equivocation on public chains: two signatures of one validator over checkpoints that exclude each other.

One fixed layout, so that one fact has one file; `ledger.misbehaviour` verifies it, beside two contradicting votes. A
quorum of such signatures would let a bridge be frozen (contracts/README.md); one validator's are proof against it.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from consensus.errors import MalformedMessage
from consensus.types import Digest, Epoch, ValidatorIndex
from ledger.chain_checkpoint import ChainCheckpoint
from ledger.errors import MalformedMisbehaviour
from ledger.secp256k1 import SIGNATURE_BYTES

TAG: Final = b"stretto/chain-misbehaviour/v1"
_HEAD: Final = struct.Struct(">29s32sQH")
_SIGNED: Final = struct.Struct(">Q32s32s64s")
CHAIN_MISBEHAVIOUR_BYTES: Final = _HEAD.size + 2 * _SIGNED.size
"""Of every such file: 343."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedChainCheckpoint:
    """A checkpoint and a signature over it, whose is said elsewhere. signature: EIP-2098, 64 bytes."""

    checkpoint: ChainCheckpoint
    signature: bytes

    def __post_init__(self) -> None:
        if len(self.signature) != SIGNATURE_BYTES:
            raise MalformedMessage("chain signature", "signature", f"{SIGNATURE_BYTES} bytes")


@dataclass(frozen=True, kw_only=True)
class ChainMisbehaviour:
    """Two signatures of one validator; whether they prove anything is for `verify_misbehaviour` to say.

    Invariants: (1) one epoch; (2) `first` sorts before `second`, or is the same.
    """

    consortium: Digest
    """SHA-256 of the genesis file."""
    voter: ValidatorIndex
    """The validator, by its number in the roster of the epoch."""
    first: SignedChainCheckpoint
    second: SignedChainCheckpoint

    def __post_init__(self) -> None:
        epoch, other = self.first.checkpoint.epoch, self.second.checkpoint.epoch
        if epoch != other:
            raise MalformedMisbehaviour("second.epoch", other, f"{epoch}, as in the first signature")
        if _order(self.first) > _order(self.second):
            raise MalformedMisbehaviour("second", self.second.signature, "the two signatures in their order of bytes")

    @classmethod
    def of(
        cls, consortium: Digest, voter: ValidatorIndex, one: SignedChainCheckpoint, other: SignedChainCheckpoint
    ) -> ChainMisbehaviour:
        """The evidence of two signatures, in whichever order they came. Raises: MalformedMisbehaviour."""
        first, second = sorted((one, other), key=_order)
        return cls(consortium=consortium, voter=voter, first=first, second=second)

    @property
    def epoch(self) -> Epoch:
        return self.first.checkpoint.epoch

    @property
    def size(self) -> int:
        """The smaller of the two."""
        return self.first.checkpoint.size

    def encode(self) -> bytes:
        """Canonical bytes: tag, consortium, epoch, validator; then twice size, root, successor, signature."""
        head = _HEAD.pack(TAG, self.consortium, self.epoch, self.voter)
        return head + _order(self.first) + _order(self.second)

    @cached_property
    def digest(self) -> Digest:
        """SHA-256 of the bytes: what names this piece of evidence."""
        return Digest(hashlib.sha256(self.encode()).digest())

    def sentence(self) -> str:
        """What the two signatures say, for people."""
        said = " and ".join(signed.checkpoint.sentence() for signed in (self.first, self.second))
        return f"for public chains in epoch {self.epoch}: {said}"


def parse_chain_misbehaviour(data: bytes) -> ChainMisbehaviour:
    """Inverse of `ChainMisbehaviour.encode`. Raises: MalformedMisbehaviour."""
    if len(data) != CHAIN_MISBEHAVIOUR_BYTES:
        raise MalformedMisbehaviour("length", f"{len(data)} bytes", f"{CHAIN_MISBEHAVIOUR_BYTES} bytes")
    tag, consortium, epoch, voter = _HEAD.unpack_from(data)
    if tag != TAG:
        raise MalformedMisbehaviour("tag", tag, TAG.decode())
    signed = tuple(
        _parse_signed(name, data[at : at + _SIGNED.size], Epoch(epoch))
        for name, at in (("first", _HEAD.size), ("second", _HEAD.size + _SIGNED.size))
    )
    return ChainMisbehaviour(
        consortium=Digest(consortium), voter=ValidatorIndex(voter), first=signed[0], second=signed[1]
    )


def _parse_signed(name: str, data: bytes, epoch: Epoch) -> SignedChainCheckpoint:
    size, root, successor, signature = _SIGNED.unpack(data)
    try:
        checkpoint = ChainCheckpoint(epoch=epoch, size=size, root=root, successor=Digest(successor))
    except MalformedMessage as error:
        raise MalformedMisbehaviour(name, data, str(error)) from None
    return SignedChainCheckpoint(checkpoint=checkpoint, signature=signature)


def _order(signed: SignedChainCheckpoint) -> bytes:
    """A signature without what both share; as bytes they sort by size first."""
    checkpoint = signed.checkpoint
    return _SIGNED.pack(checkpoint.size, checkpoint.root, checkpoint.successor, signed.signature)
