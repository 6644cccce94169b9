"""Keccak-256, as Ethereum hashes: the padding of the submission, not that of SHA-3 (FIPS 202)."""

from __future__ import annotations

from Crypto.Hash import keccak


def keccak256(data: bytes) -> bytes:
    """32 bytes."""
    return keccak.new(digest_bits=256, data=data).digest()
