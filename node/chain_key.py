"""A member's key for public chains as a file: secp256k1, PKCS#8 PEM, mode 0600, readable by openssl."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePrivateKey, generate_private_key

from consensus.types import PublicKey
from ledger import secp256k1
from ledger.chain_checkpoint import ChainCheckpoint
from ledger.chain_key import prove_possession
from node.keys import KeyFileError, load_key, write_key


class ChainKey:
    """A private key that signs checkpoints for public chains. Never logs, never prints; `repr` shows its address."""

    __slots__ = ("_secret", "public")

    def __init__(self, key: EllipticCurvePrivateKey) -> None:
        """key: of the curve secp256k1."""
        self._secret = key.private_numbers().private_value.to_bytes(secp256k1.SECRET_BYTES, "big")
        self.public = PublicKey(secp256k1.public_key(self._secret))
        """33 bytes, compressed."""

    def __repr__(self) -> str:
        return f"ChainKey(0x{self.address.hex()})"

    @property
    def address(self) -> bytes:
        return secp256k1.address(self.public)

    def sign(self, checkpoint: ChainCheckpoint, consortium: bytes) -> bytes:
        """EIP-2098. The caller has made sure, durably, that it never signed what contradicts this."""
        return checkpoint.sign(self._secret, consortium)

    def prove(self, member_id: str) -> bytes:
        """That this member has this key."""
        return prove_possession(self._secret, member_id)


def generate_chain_key(path: Path) -> ChainKey:
    """Makes a new key and writes it to `path`. Raises: KeyFileError if the file exists, or cannot be written."""
    key = generate_private_key(SECP256K1())
    write_key(path, key)
    return ChainKey(key)


def load_chain_key(path: Path) -> ChainKey:
    """Raises: KeyFileError, naming the file and the mend."""
    if not path.exists():
        made = f"run: stretto key new --chain {path}; a member of a consortium needs the key that its roster names"
        raise KeyFileError(path, "is missing", f"the member's key for public chains; {made}")
    key = load_key(path, "a secp256k1 key")
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256K1):
        raise KeyFileError(path, f"holds {_kind(key)}", "a secp256k1 key ('stretto key new --chain')")
    return ChainKey(key)


def _kind(key: object) -> str:
    curve = f" of {key.curve.name}" if isinstance(key, EllipticCurvePrivateKey) else ""
    return f"a {type(key).__name__}{curve}"
