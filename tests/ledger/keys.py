"""Deterministic Ed25519 keys for tests: one seed, one key."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class TestKey:
    """A private key named by a seed, such as "court/cosign"."""

    __test__ = False  # a value, not a test

    def __init__(self, seed: str) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest())
        self.public = self._private.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)
