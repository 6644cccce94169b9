"""Keccak-256, the hash of public chains: the padding of the Keccak submission, not that of FIPS 202's SHA3-256."""

from __future__ import annotations

from consensus.types import Digest


def keccak256(data: bytes) -> Digest:
    """32 bytes. Source: Keccak submission 3.0; Ethereum Yellow Paper, appendix A."""
    # Imported here: whoever only reads statements should not wait for it.
    from Crypto.Hash import keccak  # noqa: PLC0415

    return Digest(keccak.new(digest_bits=256, data=data).digest())
