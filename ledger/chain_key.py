"""A member's chain key, and the proof that whoever names it has it (design D12).

A validator set is committed to by its keys' addresses. Without the proof a member could name another's key, or one that
nobody has, and contracts would count a signer who is not there, or the same one twice.
"""

from __future__ import annotations

import hashlib
from typing import Final

from ledger import secp256k1

CHAIN_KEY_BYTES: Final = secp256k1.KEY_BYTES
CHAIN_PROOF_BYTES: Final = secp256k1.SIGNATURE_BYTES
_TAG: Final = b"stretto/chain-key/v1\0"


def _possession_digest(member_id: str) -> bytes:
    """SHA-256("stretto/chain-key/v1" || 0 || member id). What chains check is a keccak digest: never one of these."""
    return hashlib.sha256(_TAG + member_id.encode()).digest()


def prove_possession(secret: bytes, member_id: str) -> bytes:
    """64 bytes (EIP-2098) by which a member shows that it has the chain key that it names. secret: 32 bytes."""
    return secp256k1.sign_compact(secret, _possession_digest(member_id))


def is_possession(key: bytes, member_id: str, proof: bytes) -> bool:
    """Whether `proof` was made with `key`, for this member."""
    return secp256k1.verify_compact(key, _possession_digest(member_id), proof)
