"""secp256k1 as public chains use it: strict compressed keys, compact recoverable signatures, addresses.

One meaning everywhere: a key has one encoding (33 bytes), a signature of a digest by a key is checked by recovering the
key, as contracts do, and of s and N - s only the lower is a signature (EIP-2).
"""

from __future__ import annotations

from typing import Final

from coincurve import PrivateKey
from coincurve import PublicKey as Point
from coincurve.utils import validate_secret

from ledger.keccak import keccak256

KEY_BYTES: Final = 33
SIGNATURE_BYTES: Final = 64
SECRET_BYTES: Final = 32
ADDRESS_BYTES: Final = 20
DIGEST_BYTES: Final = 32

_N: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Order of the group (SEC 2, section 2.4.1)."""
_S_MAX: Final = _N // 2
_TOP_BIT: Final = 1 << 255


def is_strict_key(key: bytes) -> bool:
    """Whether `key` is a point of the curve in its compressed encoding: 33 bytes, 0x02 or 0x03, then x below the prime.

    The group has prime order: every point but infinity, which has no such encoding, generates it.
    """
    if len(key) != KEY_BYTES or key[0] not in (2, 3):
        return False
    try:
        return bool(Point(bytes(key)).format(compressed=True) == key)
    except ValueError:
        return False


def address(key: bytes) -> bytes:
    """20 bytes by which contracts know a key: the end of keccak-256(x || y). key: a strict one; ValueError else."""
    return keccak256(Point(bytes(key)).format(compressed=False)[1:])[-ADDRESS_BYTES:]


def public_key(secret: bytes) -> bytes:
    """The compressed public half. secret: 32 bytes, 1 to N - 1; ValueError else."""
    return bytes(PrivateKey(validate_secret(secret)).public_key.format(compressed=True))


def sign_compact(secret: bytes, digest: bytes) -> bytes:
    """EIP-2098: r, then s with the recovery bit on top; s at most N/2. Deterministic (RFC 6979).

    secret, digest: 32 bytes each; ValueError else.
    """
    if len(digest) != DIGEST_BYTES:
        raise ValueError(f"a digest of {DIGEST_BYTES} bytes, got {len(digest)}")
    signature = PrivateKey(validate_secret(secret)).sign_recoverable(bytes(digest), hasher=None)
    # libsecp256k1 gives the lower s. Recovery ids 2 and 3 (r at or above N) happen once in 2^127 signatures.
    assert signature[64] < 2, "an r below the order of the group"
    s = int.from_bytes(signature[32:64], "big") | (_TOP_BIT if signature[64] else 0)
    return bytes(signature[:32]) + s.to_bytes(32, "big")


def recover(digest: bytes, signature: bytes) -> bytes | None:
    """The compressed key whose EIP-2098 signature over `digest` this is; None where it is of no key.

    Of bytes of any length: what is too long, too short, has a high s or a value out of range is of no key.
    """
    if len(digest) != DIGEST_BYTES or len(signature) != SIGNATURE_BYTES:
        return None
    vs = int.from_bytes(signature[32:], "big")
    s = vs & (_TOP_BIT - 1)
    if not 0 < s <= _S_MAX or not 0 < int.from_bytes(signature[:32], "big") < _N:
        return None
    full = bytes(signature[:32]) + s.to_bytes(32, "big") + bytes([vs >> 255])
    try:
        return bytes(Point.from_signature_and_message(full, bytes(digest), hasher=None).format(compressed=True))
    except Exception:  # noqa: BLE001  coincurve raises a bare Exception where nothing can be recovered
        return None


def verify_compact(key: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether `signature` is `key`'s over `digest`: it recovers to that key. Never an error for bad bytes."""
    return recover(digest, signature) == key
