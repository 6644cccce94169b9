"""A checkpoint as validators sign it for public chains, and whether a contract in a given state would take it.

What is checked here costs nothing; the contract's check of the same rules costs gas. Rules are named as there.
Source: contracts/README.md, "What is signed"; contracts/src/Quorum.sol.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from coincurve import PublicKey

from bridge.errors import CheckpointRefused
from bridge.transaction import keccak256
from ledger.merkle import SIZE_MAX, InvalidProof, verify_consistency

NONE: Final = bytes(32)
SET_MIN: Final = 4
SET_MAX: Final = 64
ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1. Source: SEC 2, section 2.4.1."""
_DOMAIN: Final = keccak256(b"EIP712Domain(string name,string version,bytes32 salt)")
_CHECKPOINT: Final = keccak256(b"Checkpoint(uint64 epoch,uint64 size,bytes32 root,bytes32 successor)")


def quorum_of(count: int) -> int:
    """Signatures that a set of `count` needs: n - f."""
    return count - (count - 1) // 3


def set_hash(epoch: int, addresses: Sequence[bytes]) -> bytes:
    """keccak256(abi.encode(uint64 epoch, address[] addresses))."""
    words = [epoch.to_bytes(32, "big"), (64).to_bytes(32, "big"), len(addresses).to_bytes(32, "big")]
    return keccak256(b"".join(words + [bytes(12) + each for each in addresses]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainCheckpoint:
    """The log's first `size` leaves have this root, says the committee of `epoch`."""

    epoch: int
    size: int
    root: bytes
    successor: bytes = NONE
    """Commitment to the next epoch's set; zero but at a boundary."""

    def digest(self, consortium: bytes) -> bytes:
        """EIP-712. consortium: SHA-256 of the genesis file, the domain's salt."""
        domain = keccak256(_DOMAIN + keccak256(b"Stretto") + keccak256(b"1") + consortium)
        numbers = self.epoch.to_bytes(32, "big") + self.size.to_bytes(32, "big")
        return keccak256(b"\x19\x01" + domain + keccak256(_CHECKPOINT + numbers + self.root + self.successor))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint with the set that signs it and its signatures, as a node gives it: not checked yet."""

    consortium: bytes
    checkpoint: ChainCheckpoint
    validators: tuple[bytes, ...]
    """Addresses of the epoch's set, 20 bytes each."""
    signatures: tuple[bytes, ...]
    """EIP-2098, 64 bytes each."""
    next_validators: tuple[bytes, ...] = ()

    @property
    def is_boundary(self) -> bool:
        return self.checkpoint.successor != NONE

    @property
    def abi(self) -> Any:
        """As the contract's SignedCheckpoint: ((epoch, size, root, successor), addresses, ((r, vs), ...))."""
        point = self.checkpoint
        return (
            (point.epoch, point.size, point.root, point.successor),
            ["0x" + each.hex() for each in self.validators],
            [(each[:32], each[32:]) for each in self.signatures],
        )

    def as_json(self) -> dict[str, Any]:
        """For people and for `reportFork`: everything in hexadecimal."""
        point = self.checkpoint
        return {
            "consortium": self.consortium.hex(),
            "epoch": point.epoch,
            "size": point.size,
            "root": point.root.hex(),
            "successor": point.successor.hex(),
            "validators": ["0x" + each.hex() for each in self.validators],
            "signatures": ["0x" + each.hex() for each in self.signatures],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeState:
    """A CheckpointBridge at one block."""

    size: int
    root: bytes
    epoch: int
    validator_set: bytes
    frozen: bool
    block: int

    @property
    def key(self) -> tuple[int, int, bytes]:
        """What changes when something is relayed."""
        return (self.epoch, self.size, self.root)


def check_signed(signed: SignedCheckpoint, *, consortium: bytes, epoch: int, validator_set: bytes) -> None:
    """That a quorum of the set `validator_set` of `epoch` signed it, in the right form. Raises: CheckpointRefused."""
    point = signed.checkpoint
    if signed.consortium != consortium:
        raise CheckpointRefused("WrongConsortium", f"it is of {signed.consortium.hex()}, the bridge {consortium.hex()}")
    if point.size == 0:
        raise CheckpointRefused("ZeroSize", "it covers no leaf")
    if point.size > SIZE_MAX:
        raise CheckpointRefused("SizeTooLarge", f"{point.size} leaves")
    if point.root == NONE:
        raise CheckpointRefused("ZeroRoot", f"at {point.size} leaves")
    if point.epoch != epoch:
        raise CheckpointRefused("StaleEpoch", f"it is of epoch {point.epoch}, the bridge is in {epoch}")
    computed = set_hash(point.epoch, signed.validators)
    if computed != validator_set:
        raise CheckpointRefused("ForeignSet", f"its validators hash to {computed.hex()}, not {validator_set.hex()}")
    if signed.is_boundary:
        _check_successor(signed)
    check_signatures(point.digest(consortium), signed.validators, signed.signatures)


def _check_successor(signed: SignedCheckpoint) -> None:
    following = signed.next_validators
    if not SET_MIN <= len(following) <= SET_MAX:
        raise CheckpointRefused("SetSize", f"the next set has {len(following)} addresses, of {SET_MIN} to {SET_MAX}")
    if any(a >= b for a, b in itertools.pairwise((bytes(20), *following))):
        raise CheckpointRefused("SetNotAscending", "the next set's addresses are not in order")
    computed = set_hash(signed.checkpoint.epoch + 1, following)
    if computed != signed.checkpoint.successor:
        raise CheckpointRefused("WrongSuccessor", f"the next set hashes to {computed.hex()}")


def check_signatures(digest: bytes, validators: Sequence[bytes], signatures: Sequence[bytes]) -> None:
    """As Quorum.check: a quorum, ascending by signer, low s, of the set. Raises: CheckpointRefused."""
    if len(signatures) < quorum_of(len(validators)):
        raise CheckpointRefused("TooFewSignatures", f"{len(signatures)} of {quorum_of(len(validators))}")
    if len(signatures) > len(validators):
        raise CheckpointRefused("DuplicateSigner", f"{len(signatures)} signatures of {len(validators)} validators")
    known, before = frozenset(validators), bytes(20)
    for index, signature in enumerate(signatures):
        signer = _recover(digest, signature, index)
        if signer == before:
            raise CheckpointRefused("DuplicateSigner", f"0x{signer.hex()}")
        if signer < before:
            raise CheckpointRefused("SignersNotAscending", f"0x{before.hex()}, then 0x{signer.hex()}")
        if signer not in known:
            raise CheckpointRefused("ForeignSigner", f"0x{signer.hex()} is not of the set")
        before = signer


def _recover(digest: bytes, signature: bytes, index: int) -> bytes:
    if len(signature) != 64:
        raise CheckpointRefused("InvalidSignature", f"signature {index} has {len(signature)} bytes, expected 64")
    vs = int.from_bytes(signature[32:], "big")
    s = vs & (1 << 255) - 1
    if s > ORDER // 2:
        raise CheckpointRefused("HighS", f"signature {index}")
    try:
        key = PublicKey.from_signature_and_message(
            signature[:32] + s.to_bytes(32, "big") + bytes([vs >> 255]), digest, hasher=None
        )
    except Exception as error:  # coincurve raises bare Exception
        if type(error) not in (Exception, ValueError):
            raise
        raise CheckpointRefused("InvalidSignature", f"signature {index}") from None
    return keccak256(key.format(compressed=False)[1:])[12:]


def check_extends(signed: SignedCheckpoint, state: BridgeState, proof: Sequence[bytes]) -> None:
    """That the checkpoint's tree has the bridge's as its beginning. Raises: CheckpointRefused.

    A boundary at the size that is recorded already needs no proof.
    """
    point = signed.checkpoint
    if signed.is_boundary and (point.size, point.root) == (state.size, state.root):
        return
    if point.size <= state.size:
        raise CheckpointRefused("StaleSize", f"{point.size} leaves, the bridge has {state.size}")
    try:
        verify_consistency(size1=state.size, size2=point.size, root1=state.root, root2=point.root, proof=proof)
    except InvalidProof as error:
        raise CheckpointRefused("WrongRoot", error.reason) from error
