"""libp2p peer ids of Ed25519 keys, without importing libp2p (its import costs seconds)."""

from __future__ import annotations

PUBLIC_KEY_BYTES = 32

# Identity multihash (0x00) of 36 bytes (0x24): protobuf PublicKey {1: Type = Ed25519 (1), 2: Data = 32 bytes}.
# Source: libp2p specs, peer-ids/peer-ids.md: keys of at most 42 serialised bytes are inlined.
_ED25519_PREFIX = bytes.fromhex("002408011220")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def peer_id_of(public_key: bytes) -> str:
    """The peer id, base58btc text such as "12D3KooW…", of a raw 32-byte Ed25519 public key."""
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise ValueError(f"public_key: expected {PUBLIC_KEY_BYTES} bytes of Ed25519, got {len(public_key)}")
    data = _ED25519_PREFIX + public_key
    number = int.from_bytes(data, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    zeros = len(data) - len(data.lstrip(b"\0"))
    return _BASE58[0] * zeros + digits
