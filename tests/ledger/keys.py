"""Deterministic keys for tests: one seed, one key."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consensus.types import PublicKey
from ledger import secp256k1
from ledger.chain_key import prove_possession
from ledger.genesis import MemberKeys
from ledger.member import ED25519_PURPOSES


class TestKey:
    """A private key named by a seed, such as "court/cosign"."""

    __test__ = False  # a value, not a test

    def __init__(self, seed: str) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest())
        self.public = self._private.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)


class TestChainKey:
    """A secp256k1 key named by a seed, such as "court/chain"."""

    __test__ = False  # a value, not a test

    def __init__(self, seed: str) -> None:
        self.secret = hashlib.sha256(seed.encode()).digest()
        self.public = secp256k1.public_key(self.secret)

    def prove(self, member: str) -> bytes:
        return prove_possession(self.secret, member)


def member_keys(member: str, public: Callable[[str], bytes], chain: TestChainKey) -> MemberKeys:
    """All keys of a member. public: the Ed25519 key of a purpose."""
    return MemberKeys(
        **{purpose: PublicKey(public(purpose)) for purpose in ED25519_PURPOSES},
        chain=PublicKey(chain.public),
        chain_proof=chain.prove(member),
    )
