"""Sets of signers with their keys, and what they sign for the bridge."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from eth_abi.abi import encode
from eth_keys import keys
from eth_utils.crypto import keccak

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1."""
NONE = bytes(32)
_DOMAIN = keccak(b"EIP712Domain(string name,string version,bytes32 salt)")
_CHECKPOINT = keccak(b"Checkpoint(uint64 epoch,uint64 size,bytes32 root,bytes32 successor)")
_RECOVERY = keccak(b"Recovery(uint64 epoch,bytes32 successor)")

Compact = tuple[bytes, bytes]
"""r and vs of EIP-2098."""


def digest_of(genesis: bytes, struct_hash: bytes) -> bytes:
    """EIP-712, with the consortium's genesis as the domain's salt and neither chain nor contract."""
    domain = keccak(encode(["bytes32"] * 4, [_DOMAIN, keccak(b"Stretto"), keccak(b"1"), genesis]))
    return bytes(keccak(b"\x19\x01" + domain + struct_hash))


@dataclass(frozen=True)
class Checkpoint:
    epoch: int
    size: int
    root: bytes
    successor: bytes = NONE

    def digest(self, genesis: bytes) -> bytes:
        values = [_CHECKPOINT, self.epoch, self.size, self.root, self.successor]
        return digest_of(genesis, keccak(encode(["bytes32", "uint64", "uint64", "bytes32", "bytes32"], values)))

    @property
    def abi(self) -> tuple[int, int, bytes, bytes]:
        return (self.epoch, self.size, self.root, self.successor)


def recovery_digest(genesis: bytes, epoch: int, successor: bytes) -> bytes:
    values = [_RECOVERY, epoch, successor]
    return digest_of(genesis, keccak(encode(["bytes32", "uint64", "bytes32"], values)))


def compact(key: Any, digest: bytes) -> Compact:
    signature = key.sign_msg_hash(digest)
    return signature.r.to_bytes(32, "big"), (signature.v << 255 | signature.s).to_bytes(32, "big")


@dataclass(frozen=True)
class Signers:
    """A set: keys in the order of their addresses."""

    keys: tuple[Any, ...]

    @property
    def addresses(self) -> list[str]:
        return [key.public_key.to_checksum_address() for key in self.keys]

    @property
    def quorum(self) -> int:
        return len(self.keys) - (len(self.keys) - 1) // 3

    def hash(self, epoch: int) -> bytes:
        return bytes(keccak(encode(["uint64", "address[]"], [epoch, self.addresses])))

    def sign(self, digest: bytes, which: Iterable[int] | None = None) -> list[Compact]:
        """By a quorum, the first ones, unless told who."""
        return [compact(self.keys[i], digest) for i in (range(self.quorum) if which is None else which)]

    def signed(self, genesis: bytes, checkpoint: Checkpoint, which: Iterable[int] | None = None) -> Signed:
        return Signed(checkpoint, tuple(self.addresses), tuple(self.sign(checkpoint.digest(genesis), which)))


@dataclass(frozen=True)
class Signed:
    checkpoint: Checkpoint
    validators: tuple[str, ...]
    signatures: tuple[Compact, ...]

    @property
    def abi(self) -> Any:
        return (self.checkpoint.abi, list(self.validators), list(self.signatures))

    def with_signatures(self, *signatures: Compact) -> Signed:
        return replace(self, signatures=signatures)


def recorded(checkpoint: Checkpoint) -> Signed:
    """Evidence that needs no signatures: the bridge has recorded it."""
    return Signed(checkpoint, (), ())


def make_signers(count: int, seed: str = "validators") -> Signers:
    made = [keys.PrivateKey(hashlib.sha256(f"{seed} {i}".encode()).digest()) for i in range(count)]
    return Signers(tuple(sorted(made, key=lambda key: key.public_key.to_canonical_address())))
