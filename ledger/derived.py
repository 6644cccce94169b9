"""Derived leaves: what execution appends to the log right after its cause, for contracts on public chains (design D12).

    MINT   entry = SHA-256("stretto/mint/v1"   ‖ abi.encode(genesis, MintTermsV1))
    STATUS entry = SHA-256("stretto/status/v1" ‖ abi.encode(genesis, StatusV1))

The tags in front are filled up with zeros to 32 bytes; a structure stands in the encoding as a tuple of its fields. A
statement begins with 0xd2, a preimage with "s": no statement has the entry of a derived leaf.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from consensus.types import Digest
from ledger import abi
from ledger.mint_terms import MINT_TAG, MintTerms

__all__ = [
    "MINT_TAG",
    "STATUS_PREIMAGE_BYTES",
    "STATUS_TAG",
    "DerivedKind",
    "MintState",
    "StatusLeaf",
    "derived_entry",
    "derived_kind",
    "mint_preimage",
    "status_preimage",
]

STATUS_TAG: Final = b"stretto/status/v1".ljust(32, b"\x00")
STATUS_PREIMAGE_BYTES: Final = 6 * 32
"""Tag, genesis and four words."""
_SEQ_MAX: Final = 2**64 - 1


class DerivedKind(StrEnum):
    """Which derived leaf it is; values as the wire's DerivedKind."""

    MINT = "MINT"
    STATUS = "STATUS"


class MintState(IntEnum):
    """What contracts know of a mint: StatusV1's `state`."""

    ACTIVE = 0
    DISPUTED = 1
    REVOKED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusLeaf:
    """StatusV1: a transition of the claim that a mint is of."""

    mint: Digest
    """Entry of the MINT leaf."""
    seq: int
    """From 1, one more with every transition."""
    state: MintState
    cause: Digest
    """SHA-256 of the statement that caused it; of a stay that lapses, the COURT_ORDER."""

    def __post_init__(self) -> None:
        assert len(self.mint) == len(self.cause) == 32, "entries and digests are 32 bytes"
        assert 1 <= self.seq <= _SEQ_MAX, f"a STATUS leaf's seq counts from 1, got {self.seq}"

    def preimage(self, consortium: Digest | bytes) -> bytes:
        return STATUS_TAG + abi.encode(
            abi.bytes32(consortium),
            abi.bytes32(self.mint) + abi.uint(self.seq, 64) + abi.uint(self.state, 8) + abi.bytes32(self.cause),
        )

    def entry(self, consortium: Digest | bytes) -> Digest:
        return derived_entry(self.preimage(consortium))


def mint_preimage(consortium: Digest | bytes, terms: MintTerms) -> bytes:
    return terms.preimage(consortium)


def status_preimage(consortium: Digest | bytes, status: StatusLeaf) -> bytes:
    return status.preimage(consortium)


def derived_entry(preimage: bytes) -> Digest:
    """The log's entry: SHA-256."""
    return Digest(hashlib.sha256(preimage).digest())


def derived_kind(preimage: bytes) -> DerivedKind | None:
    """By the tag alone; None for what is no preimage of a derived leaf."""
    return {MINT_TAG: DerivedKind.MINT, STATUS_TAG: DerivedKind.STATUS}.get(preimage[:32])
