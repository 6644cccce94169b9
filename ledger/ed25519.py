"""Ed25519 with one meaning everywhere: which signatures are valid is consensus state, so it is decided here (D7).

RFC 8032 leaves corners open (cofactor, small-order points, non-canonical encodings) and libraries differ in them: a
signature with R = identity passes OpenSSL and fails libsodium. The rule here is "Taming the many EdDSAs" (Chalkias,
Garillot, Nikolaenko, 2020), algorithm 2 without the cofactor:
(1) A and R are canonical encodings (y < p, no negative zero) and not one of the eight points of small order;
(2) S < L;
(3) [S]B = R + [k]A, without cofactor; libsodium computes it.
(1) and (2) are checked here before any library sees the signature, so that another library, or another version of
this one, cannot change what was final.
"""

from __future__ import annotations

from typing import Final

import nacl.bindings
import nacl.exceptions

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_P: Final = 2**255 - 19
_L: Final = 2**252 + 27742317777372353535851937790883648493
_Y_MASK: Final = 2**255 - 1

_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(encoding)
    for encoding in (
        # C2SP/CCTV ed25519/README.md, "Low-order edwards25519 point encodings": the canonical eight, then the two with
        # x = -0. The other four of that list have y >= p and fall to the range check.
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    )
)


def _is_strict_point(encoding: bytes) -> bool:
    """Whether 32 bytes are a canonical encoding of no small-order point. Says nothing about being on the curve."""
    return int.from_bytes(encoding, "little") & _Y_MASK < _P and encoding not in _SMALL_ORDER


def is_strict_key(key: bytes) -> bool:
    """Whether a public key may stand in a genesis: canonical, on the curve, of prime order (no torsion component).

    key: any bytes; False unless 32. A key of mixed order would still verify, deterministically, under (3); but no
    honest generator makes one, so the door to the consortium is where it is refused. Costs about 40 us.
    """
    if len(key) != KEY_BYTES or not _is_strict_point(bytes(key)):
        return False
    return bool(nacl.bindings.crypto_core_ed25519_is_valid_point(bytes(key)))


def is_strict_signature(key: bytes, signature: bytes) -> bool:
    """Whether the encodings obey (1) and (2) of the module's rule; costs about 1 us, no curve arithmetic."""
    return (
        len(key) == KEY_BYTES
        and len(signature) == SIGNATURE_BYTES
        and int.from_bytes(signature[32:], "little") < _L
        and _is_strict_point(key)
        and _is_strict_point(signature[:32])
    )


def verify_strict(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is `key`'s over `message`, by the module's rule. Usable as `consensus.types.VerifySignature`.

    key: 32 bytes, signature: 64 bytes; any other length is False, never an error. message: any length.
    Source: RFC 8032, section 5.1.7; Taming the many EdDSAs, section 4.
    """
    if not is_strict_signature(key, signature):
        return False
    try:
        nacl.bindings.crypto_sign_open(signature + message, key)
    except nacl.exceptions.BadSignatureError:
        return False
    return True
