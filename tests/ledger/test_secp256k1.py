"""secp256k1 with one meaning: what is a key, what is a signature, and whose. Two other libraries are the judges."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_keys import keys as eth_keys
from hypothesis import given
from hypothesis import strategies as st

from ledger import secp256k1
from ledger.chain_key import is_possession, prove_possession
from ledger.keccak import keccak256

SECRET = hashlib.sha256(b"a secret").digest()
KEY = secp256k1.public_key(SECRET)
DIGEST = hashlib.sha256(b"what is signed").digest()
SIGNATURE = secp256k1.sign_compact(SECRET, DIGEST)
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
P = 2**256 - 2**32 - 977


def test_keccak_is_that_of_the_chains() -> None:
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak256(b"") != hashlib.sha3_256(b"").digest()


@given(secret=st.integers(1, N - 1), digest=st.binary(min_size=32, max_size=32))
def test_keys_addresses_and_signatures_are_those_of_other_libraries(secret: int, digest: bytes) -> None:
    raw = secret.to_bytes(32, "big")
    theirs = eth_keys.PrivateKey(raw)
    assert secp256k1.public_key(raw) == theirs.public_key.to_compressed_bytes()
    assert secp256k1.address(secp256k1.public_key(raw)) == theirs.public_key.to_canonical_address()
    signature = theirs.sign_msg_hash(digest)
    vs = signature.v << 255 | signature.s
    made = secp256k1.sign_compact(raw, digest)
    assert made == signature.r.to_bytes(32, "big") + vs.to_bytes(32, "big")
    assert secp256k1.verify_compact(secp256k1.public_key(raw), digest, made)
    assert not secp256k1.verify_compact(KEY, digest, made) or raw == SECRET


def test_a_key_has_one_encoding() -> None:
    assert secp256k1.is_strict_key(KEY)
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), KEY)
    uncompressed = point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    hybrid = bytes([6 | uncompressed[-1] & 1]) + uncompressed[1:]
    for other in (uncompressed, hybrid, b"", KEY[:-1], KEY + b"\0", bytes(33), b"\x05" + KEY[1:]):
        assert not secp256k1.is_strict_key(other)


def test_a_key_is_on_the_curve_and_its_x_below_the_prime() -> None:
    x = next(x for x in range(1, 100) if pow(x**3 + 7, (P - 1) // 2, P) != 1)
    assert not secp256k1.is_strict_key(b"\x02" + x.to_bytes(32, "big")), "no point has that x"
    y = next(x for x in range(1, 100) if pow(x**3 + 7, (P - 1) // 2, P) == 1)
    assert secp256k1.is_strict_key(b"\x02" + y.to_bytes(32, "big"))
    assert not secp256k1.is_strict_key(b"\x02" + (y + P).to_bytes(32, "big")), "the same x, encoded a second time"


def test_the_other_half_of_s_is_no_signature() -> None:
    """(r, N - s) with the other bit recovers to the same key: contracts refuse it, and so do we."""
    vs = int.from_bytes(SIGNATURE[32:], "big")
    s, bit = vs & (1 << 255) - 1, vs >> 255
    high = N - s
    assert high > N // 2
    flipped = high | (1 - bit) << 255
    assert not secp256k1.verify_compact(KEY, DIGEST, SIGNATURE[:32] + flipped.to_bytes(33, "big")[-32:])
    assert secp256k1.verify_compact(KEY, DIGEST, SIGNATURE[:32] + vs.to_bytes(32, "big"))


@pytest.mark.parametrize("s", [0, N // 2 + 1, N - 1, N])
def test_s_is_above_zero_and_at_most_half_the_order(s: int) -> None:
    if s < 1 << 255:
        assert secp256k1.recover(DIGEST, SIGNATURE[:32] + s.to_bytes(32, "big")) is None
    assert secp256k1.recover(DIGEST, SIGNATURE[:32] + (N // 2).to_bytes(32, "big")) != KEY


@pytest.mark.parametrize("r", [0, N, 2**256 - 1])
def test_r_is_a_number_of_the_group(r: int) -> None:
    assert secp256k1.recover(DIGEST, r.to_bytes(32, "big") + SIGNATURE[32:]) is None


def test_the_wrong_recovery_bit_names_another_key() -> None:
    flipped = bytes([SIGNATURE[32] ^ 0x80])
    assert not secp256k1.verify_compact(KEY, DIGEST, SIGNATURE[:32] + flipped + SIGNATURE[33:])


@given(signature=st.binary(max_size=70), digest=st.binary(max_size=33))
def test_any_bytes_are_checked_without_an_error(signature: bytes, digest: bytes) -> None:
    assert not secp256k1.verify_compact(KEY, digest, signature)


@pytest.mark.parametrize("secret", [bytes(32), N.to_bytes(32, "big"), b"\1" * 33])
def test_no_secret_out_of_range_signs(secret: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        secp256k1.sign_compact(secret, DIGEST)


def test_a_proof_of_possession_is_one_members_alone() -> None:
    proof = prove_possession(SECRET, "court")
    assert is_possession(KEY, "court", proof)
    assert not is_possession(KEY, "label", proof)
    assert not is_possession(secp256k1.public_key(DIGEST), "court", proof)
    said = hashlib.sha256(b"stretto/chain-key/v1" + b"\0" + b"court").digest()
    assert secp256k1.verify_compact(KEY, said, proof), "as documented"
