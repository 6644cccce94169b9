"""Keccak-256 as Ethereum has it: the padding of 2011, not that of SHA-3 (FIPS 202), so `hashlib` cannot make it."""

from __future__ import annotations

from Crypto.Hash import keccak

from consensus.types import Digest


def keccak256(data: bytes) -> Digest:
    """32 bytes. Source: the Keccak reference, version 3.0, with rate 1088 and capacity 512."""
    return Digest(keccak.new(digest_bits=256, data=data).digest())
