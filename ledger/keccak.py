"""Keccak-256, as Ethereum hashes: the padding of the submission, not that of SHA-3 (FIPS 202)."""

from __future__ import annotations


def keccak256(data: bytes) -> bytes:
    """32 bytes."""
    # Imported here: whoever only reads statements should not wait for it.
    from Crypto.Hash import keccak  # noqa: PLC0415

    return keccak.new(digest_bits=256, data=data).digest()
