"""The relayer's key, which pays for gas and signs nothing else: a keystore file, or a hardware security module.

It must never be a validator's key. Secrets are in no log, `repr`, error or journal.
Sources: Web3 Secret Storage version 3; PKCS#11 3.0; SEC 1 section 4.1.6 (recovery); EIP-2 (low s).
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, Final, Protocol

from coincurve import PrivateKey, PublicKey

from bridge.errors import ExposedSecret, SignerError
from bridge.imports import quietly
from bridge.transaction import RecoverableSignature, Transaction
from ledger.keccak import keccak256

SECRET_BYTES_MAX: Final = 1024
"""Of a file with a password or PIN."""
ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1. Source: SEC 2, section 2.4.1."""
KEYSTORE_BYTES_MAX: Final = 64 * 1024


class Signer(Protocol):
    """Signs digests as one account. Raises: SignerError."""

    @property
    def address(self) -> bytes:
        """20 bytes."""
        ...

    def sign(self, digest: bytes) -> RecoverableSignature:
        """digest: 32 bytes."""
        ...


def sign_transaction(signer: Signer, transaction: Transaction) -> bytes:
    """The bytes to broadcast."""
    return transaction.signed(signer.sign(transaction.digest))


def address_of(key: PublicKey) -> bytes:
    return keccak256(key.format(compressed=False)[1:])[12:]


class KeySigner:
    """A key in this process' memory."""

    def __init__(self, secret: bytes) -> None:
        self._key = PrivateKey(secret)
        self._address = address_of(self._key.public_key)

    def __repr__(self) -> str:
        return f"KeySigner(0x{self._address.hex()})"

    def __reduce__(self) -> str:
        raise TypeError("a key is not copied anywhere")

    @property
    def address(self) -> bytes:
        return self._address

    def sign(self, digest: bytes) -> RecoverableSignature:
        signature = self._key.sign_recoverable(digest, hasher=None)  # RFC 6979, low s
        return RecoverableSignature(
            int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"), signature[64]
        )


def read_secret(path: Path) -> str:
    """The first line of a file that only its owner may read. Raises: ExposedSecret, SignerError."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise SignerError(str(path), "not a file")
        if mode & 0o077:
            raise ExposedSecret(str(path), f"others may read it (mode {stat.S_IMODE(mode):04o}): chmod 600 it")
        data = path.open("rb").read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise SignerError(str(path), error.strerror or "unreadable") from error
    if len(data) > SECRET_BYTES_MAX:
        raise SignerError(str(path), f"more than {SECRET_BYTES_MAX} bytes")
    try:
        return data.decode().splitlines()[0] if data else ""
    except UnicodeDecodeError:
        raise SignerError(str(path), "not UTF-8") from None


def open_keystore(path: Path, password_file: Path) -> KeySigner:
    """A keystore of version 3, as geth, clef, cast and `stretto bridge key` write it. Raises: SignerError."""
    password = read_secret(password_file)
    try:
        data = path.open("rb").read(KEYSTORE_BYTES_MAX + 1)
        stored = json.loads(data) if len(data) <= KEYSTORE_BYTES_MAX else None
    except OSError as error:
        raise SignerError(str(path), error.strerror or "unreadable") from error
    except (ValueError, RecursionError):
        stored = None
    if not isinstance(stored, dict) or stored.get("version") != 3:
        raise SignerError(str(path), "not a keystore of version 3 (JSON)")
    try:
        secret = bytes(quietly("eth_account").Account.decrypt(stored, password))
    except (ValueError, KeyError, TypeError, NotImplementedError, MemoryError, OverflowError):
        # Not the library's own words: what is in them was not read for secrets.
        raise SignerError(str(path), "the password does not open it, or it is damaged") from None
    return KeySigner(secret)


def create_keystore(path: Path, password_file: Path) -> bytes:
    """A new key under the password. Never replaces a file. Returns: its address. Raises: SignerError."""
    password = read_secret(password_file)
    if not password:
        raise SignerError(str(password_file), "an empty password")
    secret = PrivateKey().secret
    stored: dict[str, Any] = quietly("eth_account").Account.encrypt(secret, password)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise SignerError(str(path), "a file is there already; keys are never replaced") from None
    except OSError as error:
        raise SignerError(str(path), error.strerror or "cannot be written") from error
    with os.fdopen(handle, "w") as file:
        json.dump(stored, file)
        file.flush()
        os.fsync(file.fileno())
    return KeySigner(secret).address


class Pkcs11Signer:
    """A key that never leaves its module. The session is opened once and kept."""

    def __init__(self, module: Path, *, token: str, key: str, pin_file: Path) -> None:
        """module: the vendor's library. token, key: labels. Raises: SignerError."""
        self._source = f"{module.name}, token {token!r}, key {key!r}"
        pin = read_secret(pin_file)
        pkcs11 = self._library()
        failures = (pkcs11.PKCS11Error, RuntimeError, OSError, ValueError)
        try:
            session = pkcs11.lib(str(module)).get_token(token_label=token).open(user_pin=pin)
        except failures as error:
            raise SignerError(self._source, f"{type(error).__name__}: {_plain(error, pin)}") from None
        try:
            classes = pkcs11.ObjectClass
            self._private = session.get_key(object_class=classes.PRIVATE_KEY, label=key)
            public = session.get_key(object_class=classes.PUBLIC_KEY, label=key)
            self._public = PublicKey(_point(bytes(public[pkcs11.Attribute.EC_POINT])))
        except failures as error:
            session.close()
            raise SignerError(self._source, f"{type(error).__name__}: {_plain(error, pin)}") from None
        self._session = session
        self._mechanism = pkcs11.Mechanism.ECDSA
        self._errors = (pkcs11.PKCS11Error, RuntimeError)
        self._address = address_of(self._public)

    def _library(self) -> Any:
        try:
            import pkcs11  # noqa: PLC0415  an extra
        except ImportError:
            raise SignerError(self._source, "python-pkcs11 is not installed: pip install 'stretto[pkcs11]'") from None
        return pkcs11

    def __repr__(self) -> str:
        return f"Pkcs11Signer(0x{self._address.hex()})"

    @property
    def address(self) -> bytes:
        return self._address

    def sign(self, digest: bytes) -> RecoverableSignature:
        try:
            signature = bytes(self._private.sign(digest, mechanism=self._mechanism))
        except self._errors as error:
            raise SignerError(self._source, f"cannot sign: {type(error).__name__}") from None
        return recoverable(signature, digest, self._public, self._source)


def recoverable(signature: bytes, digest: bytes, public: PublicKey, source: str) -> RecoverableSignature:
    """A module's signature (r and s, raw or in DER) with the lower s and the parity that leads to `public`.

    Raises: SignerError where it leads to another key.
    """
    r, s = _numbers(signature, source)
    s = min(s, ORDER - s)
    if not 0 < r < ORDER or not 0 < s < ORDER:
        raise SignerError(source, "its signature is none of secp256k1: is the key of that curve?")
    compact = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    wanted = public.format()
    for parity in (0, 1):
        try:
            found = PublicKey.from_signature_and_message(compact + bytes([parity]), digest, hasher=None)
        except Exception as error:  # coincurve raises bare Exception
            if type(error) not in (Exception, ValueError):
                raise
            continue
        if found.format() == wanted:
            return RecoverableSignature(r, s, parity)
    raise SignerError(source, "its signature is not of its public key")


def _numbers(signature: bytes, source: str) -> tuple[int, int]:
    if len(signature) == 64:
        return int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature  # noqa: PLC0415  rarely needed

    try:
        return decode_dss_signature(signature)
    except ValueError:
        raise SignerError(source, f"a signature of {len(signature)} bytes that is neither raw nor DER") from None


def _point(value: bytes) -> bytes:
    """CKA_EC_POINT: an uncompressed point, by itself or, as the standard has it, in a DER OCTET STRING."""
    if len(value) == 67 and value[:2] == b"\x04\x41":
        return value[2:]
    return value


def _plain(error: Exception, secret: str) -> str:
    """A module's words, unless the secret stands in them."""
    text = str(error)[:120]
    return "" if secret and secret in text else text
