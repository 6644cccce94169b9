"""A checkpoint as a node gives it for public chains, and whether a contract in a given state would take it.

What is checked here costs nothing; the contract's check of the same rules costs gas. Rules are named as there.
Source: contracts/README.md, "What is signed"; contracts/src/CheckpointBridge.sol.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from bridge.errors import CheckpointRefused
from ledger.chain_checkpoint import (
    VALIDATORS_BRIDGED_MAX,
    ChainCheckpoint,
    InvalidChainSignatures,
    check_quorum,
    set_commitment,
)
from ledger.merkle import InvalidProof, leaf_hash, verify_consistency

NO_ROOT: Final = bytes(32)
SET_MIN: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint with the set that signs it and its signatures: not checked yet."""

    consortium: bytes
    checkpoint: ChainCheckpoint
    validators: tuple[bytes, ...]
    """Addresses of the epoch's set, 20 bytes each."""
    signatures: tuple[bytes, ...]
    """EIP-2098, 64 bytes each."""
    next_validators: tuple[bytes, ...] = ()

    @property
    def abi(self) -> Any:
        """As the contract's SignedCheckpoint: ((epoch, size, root, successor), addresses, ((r, vs), ...))."""
        point = self.checkpoint
        return (
            (point.epoch, point.size, bytes(point.root), bytes(point.successor)),
            list(self.validators),
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
    if point.epoch != epoch:
        raise CheckpointRefused("StaleEpoch", f"it is of epoch {point.epoch}, the bridge is in {epoch}")
    computed = set_commitment(point.epoch, signed.validators)
    if computed != validator_set:
        raise CheckpointRefused("ForeignSet", f"its validators hash to {computed.hex()}, not {validator_set.hex()}")
    if point.ends_epoch:
        _check_successor(signed)
    try:
        check_quorum(point, consortium, signed.validators, signed.signatures)
    except InvalidChainSignatures as error:
        raise CheckpointRefused(
            "InvalidSignatures", f"{error.field}: expected {error.expected}, got {error.value}"
        ) from error


def _check_successor(signed: SignedCheckpoint) -> None:
    following, most = signed.next_validators, VALIDATORS_BRIDGED_MAX
    if not SET_MIN <= len(following) <= most:
        raise CheckpointRefused("SetSize", f"the next set has {len(following)} addresses, of {SET_MIN} to {most}")
    if any(a >= b for a, b in itertools.pairwise((bytes(20), *following))):
        raise CheckpointRefused("SetNotAscending", "the next set's addresses are not in order")
    computed = set_commitment(signed.checkpoint.epoch + 1, following)
    if computed != signed.checkpoint.successor:
        raise CheckpointRefused("WrongSuccessor", f"the next set hashes to {computed.hex()}")


def check_extends(signed: SignedCheckpoint, state: BridgeState, proof: Sequence[bytes]) -> None:
    """That the checkpoint's tree has the bridge's as its beginning. Raises: CheckpointRefused.

    A boundary at the size that is recorded already needs no proof.
    """
    point = signed.checkpoint
    if point.ends_epoch and (point.size, point.root) == (state.size, state.root):
        return
    if point.size <= state.size:
        raise CheckpointRefused("StaleSize", f"{point.size} leaves, the bridge has {state.size}")
    _check_prefix(state.size, state.root, point, proof)


def check_first_entry(entry: bytes, point: ChainCheckpoint, proof: Sequence[bytes]) -> None:
    """That the log begins with `entry`: what a bridge's constructor is told. Raises: CheckpointRefused."""
    _check_prefix(1, leaf_hash(entry), point, proof)


def _check_prefix(size: int, root: bytes, point: ChainCheckpoint, proof: Sequence[bytes]) -> None:
    try:
        verify_consistency(size1=size, size2=point.size, root1=root, root2=point.root, proof=proof)
    except InvalidProof as error:
        raise CheckpointRefused("WrongRoot", error.reason) from error
