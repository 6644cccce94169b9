"""What counts as a signature is consensus state: the published edge cases, through our rule and both libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nacl.bindings
import nacl.exceptions
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import ed25519
from ledger.ed25519 import is_strict_key, is_strict_signature, verify_strict

VECTORS = Path(__file__).parent.parent / "vectors"
ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19

SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = SIGNER.public_key().public_bytes_raw()
MESSAGE = b"who claimed which music when"
SIGNATURE = SIGNER.sign(MESSAGE)


def read_cases(name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((VECTORS / name).read_text())["cases"]
    for case in cases:
        case.update({field: bytes.fromhex(case[field]) for field in ("key", "message", "signature")})
    return cases


SPECCHECK = read_cases("ed25519_speccheck.json")
CCTV = read_cases("ed25519_cctv.json")


def openssl_accepts(case: dict[str, Any]) -> bool:
    """The `cryptography` package, which is OpenSSL."""
    try:
        Ed25519PublicKey.from_public_bytes(case["key"]).verify(case["signature"], case["message"])
    except InvalidSignature:
        return False
    return True


def libsodium_accepts(case: dict[str, Any]) -> bool:
    """PyNaCl alone, without our checks before it."""
    try:
        nacl.bindings.crypto_sign_open(case["signature"] + case["message"], case["key"])
    except nacl.exceptions.BadSignatureError:
        return False
    return True


def ours_accepts(case: dict[str, Any]) -> bool:
    return verify_strict(case["key"], case["message"], case["signature"])


def test_honest_signature_is_accepted_and_any_flipped_bit_is_not() -> None:
    assert verify_strict(KEY, MESSAGE, SIGNATURE)
    assert not verify_strict(KEY, MESSAGE + b".", SIGNATURE)
    for bit in range(512):
        flipped = bytearray(SIGNATURE)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not verify_strict(KEY, MESSAGE, bytes(flipped)), f"bit {bit}"


@settings(max_examples=50)
@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=2000))
def test_whatever_openssl_signs_verifies(seed: bytes, message: bytes) -> None:
    signer = Ed25519PrivateKey.from_private_bytes(seed)
    key = signer.public_key().public_bytes_raw()
    assert is_strict_key(key)
    assert verify_strict(key, message, signer.sign(message))


@pytest.mark.parametrize("case", SPECCHECK, ids=lambda case: case["name"])
def test_speccheck_case(case: dict[str, Any]) -> None:
    """Of the twelve, one alone is valid: mixed order that holds without the cofactor."""
    assert ours_accepts(case) is (case["name"] == "mixed A and R, passes cofactorless")


def test_libraries_differ_on_small_order_points_and_ours_refuses_each() -> None:
    """The reason for the module: these four pass one library of our own dependencies and fail the other."""
    differing = [case for case in SPECCHECK if openssl_accepts(case) != libsodium_accepts(case)]
    assert [case["name"] for case in differing] == [
        "S = 0, small A and R",
        "small A only",
        "small R only",
        "small non-canonical A, not reduced for hash",
    ]
    assert all(openssl_accepts(case) and not libsodium_accepts(case) for case in differing)
    assert not any(is_strict_signature(case["key"], case["signature"]) for case in differing)


@pytest.mark.parametrize("case", CCTV, ids=lambda case: case["name"])
def test_cctv_case(case: dict[str, Any]) -> None:
    """Small order and non-canonical are refused by us before a library; a residue is refused by the equation."""
    flags = set(case["flags"])
    refused_by_encoding = bool(flags & {"low_order_A", "low_order_R", "non_canonical_A", "non_canonical_R"})
    assert is_strict_signature(case["key"], case["signature"]) is not refused_by_encoding
    assert ours_accepts(case) is not (refused_by_encoding or "low_order_residue" in flags)


def test_libraries_agree_wherever_the_encoding_is_strict() -> None:
    strict = [case for case in SPECCHECK + CCTV if is_strict_signature(case["key"], case["signature"])]
    assert len(strict) > 10
    assert all(openssl_accepts(case) == libsodium_accepts(case) == ours_accepts(case) for case in strict)
    assert any(openssl_accepts(case) != libsodium_accepts(case) for case in SPECCHECK + CCTV)


def test_scalar_not_below_group_order_is_refused_by_ourselves() -> None:
    """[S + L]B = [S]B: a second signature for one message, were it accepted."""
    scalar = int.from_bytes(SIGNATURE[32:], "little")
    malleated = SIGNATURE[:32] + (scalar + ORDER).to_bytes(32, "little")
    assert is_strict_signature(KEY, SIGNATURE)
    assert is_strict_signature(KEY, SIGNATURE[:32] + (ORDER - 1).to_bytes(32, "little"))
    assert not is_strict_signature(KEY, SIGNATURE[:32] + ORDER.to_bytes(32, "little"))
    assert not is_strict_signature(KEY, malleated)
    assert not verify_strict(KEY, MESSAGE, malleated)


@pytest.mark.parametrize("sign_bit", [0, 1 << 255])
@pytest.mark.parametrize("y", range(PRIME, 2**255))
def test_y_not_below_the_prime_is_refused_by_ourselves(y: int, sign_bit: int) -> None:
    encoding = (y | sign_bit).to_bytes(32, "little")
    assert not is_strict_signature(encoding, SIGNATURE)
    assert not is_strict_signature(KEY, encoding + SIGNATURE[32:])


@pytest.mark.parametrize("y", [0, 1, PRIME - 1])
@pytest.mark.parametrize("sign_bit", [0, 1 << 255])
def test_small_order_and_negative_zero_are_refused_by_ourselves(y: int, sign_bit: int) -> None:
    encoding = (y | sign_bit).to_bytes(32, "little")
    assert not is_strict_signature(encoding, SIGNATURE)
    assert not is_strict_signature(KEY, encoding + SIGNATURE[32:])


def test_no_library_is_asked_about_a_refused_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a library that accepts everything, the edge cases still fall."""
    monkeypatch.setattr(ed25519.nacl.bindings, "crypto_sign_open", lambda signed, _key: signed[64:])
    assert verify_strict(KEY, MESSAGE, bytes([7]) + SIGNATURE[1:])  # the stub is in force
    identity = (1).to_bytes(32, "little")
    assert not verify_strict(KEY, MESSAGE, identity + SIGNATURE[32:])
    assert not verify_strict(identity, MESSAGE, SIGNATURE)
    assert not verify_strict(KEY, MESSAGE, SIGNATURE[:32] + ORDER.to_bytes(32, "little"))


@pytest.mark.parametrize(
    ("key", "signature"),
    [(b"", SIGNATURE), (KEY + b"\0", SIGNATURE), (KEY, b""), (KEY, SIGNATURE[:-1])],
    ids=["no key", "long key", "no signature", "short signature"],
)
def test_wrong_length_is_false_not_an_error(key: bytes, signature: bytes) -> None:
    assert not verify_strict(key, MESSAGE, signature)


def test_key_of_wrong_length_is_no_member_key() -> None:
    assert not is_strict_key(KEY[:-1])
    assert not is_strict_key(KEY + b"\0")


def test_key_with_torsion_or_off_the_curve_is_no_member_key() -> None:
    mixed = next(case for case in SPECCHECK if case["name"] == "mixed A and R, passes cofactorless")
    off_curve = (2).to_bytes(32, "little")
    assert is_strict_key(KEY)
    assert not is_strict_key(mixed["key"])
    assert not is_strict_key(off_curve)
