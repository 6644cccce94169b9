"""What validators sign for public chains: the log's checkpoint as contracts read it (contracts/README.md).

An EIP-712 digest with the consortium as the domain's salt, and neither chain nor contract: one set of signatures serves
all chains. A set of validators is named by the hash of its epoch and addresses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from consensus.errors import MalformedMessage
from consensus.types import Digest, Epoch
from ledger import secp256k1
from ledger.errors import StatementError
from ledger.keccak import keccak256
from ledger.merkle import HASH_BYTES, SIZE_MAX
from ledger.roster import Roster

VALIDATORS_BRIDGED_MAX: Final = 64
"""Addresses in a set that contracts take (contracts/src/Quorum.sol): with more validators no bridge."""
NO_SUCCESSOR: Final = Digest(bytes(32))
"""The successor in every checkpoint but the one that ends an epoch."""
_EPOCH_MAX: Final = 2**64 - 1
_NO_ROOT: Final = bytes(HASH_BYTES)

_DOMAIN_TYPE: Final = keccak256(b"EIP712Domain(string name,string version,bytes32 salt)")
_CHECKPOINT_TYPE: Final = keccak256(b"Checkpoint(uint64 epoch,uint64 size,bytes32 root,bytes32 successor)")
_NAME: Final = keccak256(b"Stretto")
_VERSION: Final = keccak256(b"1")


class SetNotBridgeable(StatementError):
    """More validators than contracts take: their checkpoints are signed for no chain."""

    code = "SET_NOT_BRIDGEABLE"


class InvalidChainSignatures(StatementError):
    """Signatures that contracts refuse: too few, in another order than that of addresses, or not the validators'."""

    code = "INVALID_CHAIN_SIGNATURES"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainCheckpoint:
    """The log's first `size` leaves have this root; signed by validators of `epoch`.

    Invariants: (1) 1 <= size <= SIZE_MAX; (2) `root` is 32 bytes, not all zero; (3) `successor` is 32 bytes.
    """

    epoch: Epoch
    size: int
    root: bytes
    successor: Digest = NO_SUCCESSOR
    """Commitment to the next epoch's set, in the checkpoint that ends the epoch; else NO_SUCCESSOR."""

    def __post_init__(self) -> None:
        if not 0 <= self.epoch <= _EPOCH_MAX:
            raise MalformedMessage("chain checkpoint", "epoch", f"0 to {_EPOCH_MAX}, got {self.epoch}")
        if not 1 <= self.size <= SIZE_MAX:
            raise MalformedMessage("chain checkpoint", "size", f"1 to {SIZE_MAX}, got {self.size}")
        if len(self.root) != HASH_BYTES or self.root == _NO_ROOT:
            raise MalformedMessage("chain checkpoint", "root", f"{HASH_BYTES} bytes that are not all zero")
        if len(self.successor) != HASH_BYTES:
            raise MalformedMessage("chain checkpoint", "successor", f"{HASH_BYTES} bytes, got {len(self.successor)}")

    @property
    def ends_epoch(self) -> bool:
        return self.successor != NO_SUCCESSOR

    def digest(self, consortium: bytes) -> Digest:
        """What is signed. consortium: SHA-256 of the genesis file. Source: EIP-712."""
        struct = keccak256(
            _CHECKPOINT_TYPE + _word(self.epoch) + _word(self.size) + bytes(self.root) + bytes(self.successor)
        )
        return keccak256(b"\x19\x01" + _domain(bytes(consortium)) + struct)

    def sign(self, secret: bytes, consortium: bytes) -> bytes:
        """EIP-2098. The caller has made sure, durably, that it never signed what contradicts this."""
        return secp256k1.sign_compact(secret, self.digest(consortium))

    def is_signed_by(self, key: bytes, consortium: bytes, signature: bytes) -> bool:
        """key: compressed, as rosters have it."""
        return secp256k1.verify_compact(key, self.digest(consortium), signature)

    def contradicts(self, other: ChainCheckpoint) -> bool:
        """Whether no honest validator signs both: two roots of one size, or two ends, in one epoch.

        The same that freezes a bridge (contracts/src/CheckpointBridge.sol, reportFork), of signatures of one epoch.
        """
        if self.epoch != other.epoch:
            return False
        roots = self.size == other.size and self.root != other.root
        ends = self.ends_epoch and other.ends_epoch
        return roots or (ends and (self.successor, self.size) != (other.successor, other.size))

    def sentence(self) -> str:
        """For people."""
        end = f", the epoch's end, with successor {self.successor.hex()[:16]}…" if self.ends_epoch else ""
        return f"root {self.root.hex()[:16]}… at size {self.size}{end}"


@lru_cache(maxsize=16)
def _domain(consortium: bytes) -> bytes:
    return keccak256(_DOMAIN_TYPE + _NAME + _VERSION + consortium)


def _word(value: int) -> bytes:
    """A uint as Solidity's ABI has it."""
    return value.to_bytes(32, "big")


# ---- sets ------------------------------------------------------------------------------------------------------------


def bridge_set(roster: Roster) -> tuple[bytes, ...]:
    """Addresses of an epoch's validators, ascending. Raises: SetNotBridgeable."""
    addresses = tuple(roster.chain_validators)
    if len(addresses) > VALIDATORS_BRIDGED_MAX:
        raise SetNotBridgeable(
            "roster", f"{len(addresses)} validators in epoch {roster.epoch}", f"at most {VALIDATORS_BRIDGED_MAX}"
        )
    return addresses


def set_commitment(epoch: int, addresses: Sequence[bytes]) -> Digest:
    """keccak256(abi.encode(uint64 epoch, address[] addresses)). addresses: 20 bytes each, ascending."""
    head = _word(epoch) + _word(64) + _word(len(addresses))
    return keccak256(head + b"".join(bytes(12) + address for address in addresses))


def successor_of(roster: Roster) -> Digest:
    """What the checkpoint that ends the epoch before names. Raises: SetNotBridgeable."""
    return set_commitment(roster.epoch, bridge_set(roster))


def quorum_of(count: int) -> int:
    """Signatures that a set of `count` needs: n - f."""
    return count - (count - 1) // 3


# ---- quorums ---------------------------------------------------------------------------------------------------------


def in_order(signatures: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """The signatures by ascending address, as contracts want them. signatures: by address."""
    return tuple(signatures[address] for address in sorted(signatures))


def check_quorum(
    checkpoint: ChainCheckpoint, consortium: bytes, addresses: Sequence[bytes], signatures: Sequence[bytes]
) -> None:
    """Whether contracts accept these as the set's: a quorum or more, each valid, in strictly ascending order.

    addresses: of the set, ascending. signatures: EIP-2098. Raises: InvalidChainSignatures, as Quorum.sol reverts.
    """
    quorum = quorum_of(len(addresses))
    if len(signatures) < quorum:
        raise InvalidChainSignatures("signatures", len(signatures), f"{quorum} or more of {len(addresses)}")
    digest, before, known = checkpoint.digest(consortium), b"", frozenset(addresses)
    for i, signature in enumerate(signatures):
        key = secp256k1.recover(digest, signature)
        if key is None:
            raise InvalidChainSignatures(f"signatures[{i}]", signature, "an EIP-2098 signature with the lower s")
        signer = secp256k1.address(key)
        if signer <= before:
            raise InvalidChainSignatures(f"signatures[{i}]", signer, f"a signer above {before.hex()}: ascending, once")
        if signer not in known:
            raise InvalidChainSignatures(f"signatures[{i}]", signer, f"a validator of epoch {checkpoint.epoch}")
        before = signer
