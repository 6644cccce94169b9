"""Private keys as files: PKCS#8 PEM, mode 0600, readable by openssl. One key, one purpose (design D8)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from consensus.errors import LocalError
from consensus.types import PublicKey
from ledger.member import KEY_PURPOSES

KEY_NAMES = KEY_PURPOSES
"""The keys of a node directory, each in keys/NAME.pem and each for one purpose; `chain` is in node/chain_key.py."""

KEY_FILE_BYTES_MAX = 16 * 1024


class KeyFileError(LocalError):
    """A key file that cannot be used. path: the file. expected: what to do."""

    def __init__(self, path: Path, problem: str, expected: str) -> None:
        super().__init__(f"key file {path}: {problem}: {expected}")
        self.path = path
        self.problem = problem
        self.expected = expected


def public_bytes(key: Ed25519PrivateKey) -> PublicKey:
    """The 32 raw bytes of the public half."""
    return PublicKey(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def seed_bytes(key: Ed25519PrivateKey) -> bytes:
    """The 32 raw bytes of the private half, for libraries that want a seed. Never log them."""
    return key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())


def write_key(path: Path, key: Ed25519PrivateKey | EllipticCurvePrivateKey) -> None:
    """Writes `key` to a new file that only its owner can read.

    Raises: KeyFileError if the file exists: a key is never overwritten, since what it signed must stay explainable.
    """
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        # O_EXCL and the mode in one call: the file never exists with other rights, not even for an instant.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeyFileError(path, "exists already", "choose another name; keys are never overwritten") from None
    except OSError as error:
        raise KeyFileError(path, error.strerror or "cannot be created", "choose a folder you may write to") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink()  # half a key is none, and would stand in the way of the next attempt
        raise KeyFileError(path, error.strerror or "cannot be written", "make room on that disk") from error


def generate_private_key(path: Path) -> Ed25519PrivateKey:
    """Makes a new Ed25519 key and writes it to `path`. Raises: KeyFileError."""
    key = Ed25519PrivateKey.generate()
    write_key(path, key)
    return key


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Reads an Ed25519 private key (PKCS#8 PEM, unencrypted). Raises: KeyFileError, naming the file and the mend."""
    key = load_key(path, "an Ed25519 key")
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(path, f"holds a {type(key).__name__}", "an Ed25519 key")
    return key


def load_key(path: Path, what: str) -> PrivateKeyTypes:
    """The private key in a file that only its owner can read. what: for the error, such as "an Ed25519 key".

    Raises: KeyFileError.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            pem = file.read(KEY_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise KeyFileError(path, error.strerror or "cannot be read", "check the path and its owner") from error
    if mode & 0o077:
        raise KeyFileError(path, f"has mode {mode:04o}", f"others must not read it; run: chmod 600 {path}")
    if len(pem) > KEY_FILE_BYTES_MAX:
        raise KeyFileError(path, f"is over {KEY_FILE_BYTES_MAX} bytes", f"{what} in PKCS#8 PEM form")
    try:
        return load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The parser's own message could quote key material.
        raise KeyFileError(path, "is not a private key", f"{what} in unencrypted PKCS#8 PEM form") from None
