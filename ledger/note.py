"""C2SP signed notes: text that several keys sign, readable by a person and by Go's x/mod (c2sp.org/signed-note).

Stretto signs checkpoints and evidence manifests this way. A note says nothing until a signature of a key the reader
already trusts has been verified.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property, lru_cache
from typing import Final

from consensus.errors import InvalidSignature, MalformedMessage
from ledger.ed25519 import KEY_BYTES, verify_strict

Sign = Callable[[bytes], bytes]
"""message -> 64-byte Ed25519 signature. Injected: this package holds no private key."""

NOTE_BYTES_MAX: Final = 65_536
SIGNATURES_MAX: Final = 100
"""As golang.org/x/mod; a quorum of the largest committee (86 of 128) and a log signature fit."""
PORTABLE_SIGNATURES_MAX: Final = 16
"""What every reader must accept (signed-note, "Format"); a note for strangers holds no more."""
NAME_CHARACTERS_MAX: Final = 200
_KEY_ID_BYTES: Final = 4
VERIFIER_KEYS_KEPT: Final = 1024
"""Two for each of 128 validators, and those of some epochs before."""
_SIGNATURE_BYTES_MAX: Final = 8192
"""Signatures of other types stand in a note too: ML-DSA-44 takes 2,420 bytes."""
_LINE_START: Final = "— "


class SignatureType(IntEnum):
    """Signature type identifiers of signed-note that Stretto uses."""

    ED25519 = 0x01
    """Ed25519 over the note text."""
    COSIGNATURE = 0x04
    """Timestamped Ed25519 checkpoint cosignature (c2sp.org/tlog-cosignature)."""


def decode_base64(what: str, field: str, text: str) -> bytes:
    """RFC 4648 section 4, in its one canonical form. Raises: MalformedMessage naming `what` and `field`."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedMessage(what, field, "standard base64") from None
    if encode_base64(data) != text:
        # The unused bits of the last digit are free otherwise: two texts for one value.
        raise MalformedMessage(what, field, "canonical base64, with padding and zero unused bits")
    return data


def encode_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def parse_decimal(what: str, field: str, text: str, maximum: int) -> int:
    """ASCII decimal without leading zeroes. Raises: MalformedMessage naming `what` and `field`."""
    digits_max = len(str(maximum))
    if not (text.isascii() and text.isdigit()) or len(text) > digits_max or (text[0] == "0" and text != "0"):
        raise MalformedMessage(what, field, "an ASCII decimal without leading zeroes")
    value = int(text)
    if value > maximum:
        raise MalformedMessage(what, field, f"at most {maximum}")
    return value


def check_key_name(name: str) -> None:
    """Raises: MalformedMessage unless `name` may name a key: non-empty, no space, no plus, no control character."""
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX:
        raise MalformedMessage("note", "key name", f"1 to {NAME_CHARACTERS_MAX} characters, got {len(name)}")
    if name.isascii() and name.isprintable() and not (" " in name or "+" in name):
        return  # as almost every name: eight are checked for each cosignature, so not character by character
    if any(c.isspace() or c == "+" or c < " " or "\ud800" <= c <= "\udfff" for c in name):
        raise MalformedMessage("note", "key name", "no space, plus, control character or surrogate")


@dataclass(frozen=True, kw_only=True)
class VerifierKey:
    """A public key under the name it signs with ("vkey").

    Invariants: (1) `name` is a key name; (2) `key` is 32 bytes.
    """

    name: str
    type: SignatureType
    key: bytes

    def __post_init__(self) -> None:
        check_key_name(self.name)
        if len(self.key) != KEY_BYTES:
            raise MalformedMessage("verifier key", "key", f"{KEY_BYTES} bytes, got {len(self.key)}")

    @cached_property
    def key_id(self) -> bytes:
        """4 bytes: SHA-256(key name || 0x0A || signature type || public key)[:4]. An identifier, not a fingerprint."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.key).digest()[:_KEY_ID_BYTES]

    def encode(self) -> str:
        """<key name>+hex(key ID)+base64(signature type || public key)."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(bytes([self.type]) + self.key)}"


@lru_cache(maxsize=VERIFIER_KEYS_KEPT)
def verifier_key(name: str, kind: SignatureType, key: bytes) -> VerifierKey:
    """The key, made and named once: a validator meets the same few with every checkpoint. Raises: MalformedMessage."""
    return VerifierKey(name=name, type=kind, key=key)


def parse_verifier_key(text: str) -> VerifierKey:
    """Inverse of `VerifierKey.encode`. Raises: MalformedMessage, also for a key ID that is not the recommended one."""
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise MalformedMessage("verifier key", "form", "<name>+<hex key ID>+<base64 key>")
    name, key_id, encoded = parts
    material = decode_base64("verifier key", "key", encoded)
    if not material or material[0] not in tuple(SignatureType):
        raise MalformedMessage("verifier key", "signature type", "0x01 (Ed25519) or 0x04 (Ed25519 cosignature)")
    key = VerifierKey(name=name, type=SignatureType(material[0]), key=material[1:])
    if key.key_id.hex() != key_id:
        raise MalformedMessage("verifier key", "key ID", f"{key.key_id.hex()} for this name, type and key")
    return key


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    """One signature line. (name, key_id) names the key; what the bytes mean depends on the key's type.

    Invariants: `key_id` is 4 bytes, `signature` at least 1.
    """

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        check_key_name(self.name)
        if len(self.key_id) != _KEY_ID_BYTES:
            raise MalformedMessage("note", "key ID", f"{_KEY_ID_BYTES} bytes, got {len(self.key_id)}")
        if not 1 <= len(self.signature) <= _SIGNATURE_BYTES_MAX:
            raise MalformedMessage("note", "signature", f"1 to {_SIGNATURE_BYTES_MAX} bytes, got {len(self.signature)}")

    def is_by(self, key: VerifierKey) -> bool:
        """Whether the line claims to be by this key; says nothing of its validity."""
        return self.name == key.name and self.key_id == key.key_id

    def encode(self) -> bytes:
        """The line with its newline."""
        return f"{_LINE_START}{self.name} {encode_base64(self.key_id + self.signature)}\n".encode()


def parse_signature_line(line: bytes) -> NoteSignature:
    """Inverse of `NoteSignature.encode`. Raises: MalformedMessage."""
    if len(line) > NOTE_BYTES_MAX or not line.endswith(b"\n"):
        raise MalformedMessage("note", "signature line", f"at most {NOTE_BYTES_MAX} bytes ending in a newline")
    return _parse_signature(_decode_text(line)[:-1])


def _parse_signature(line: str) -> NoteSignature:
    parts = line.removeprefix(_LINE_START).split(" ")
    if not line.startswith(_LINE_START) or len(parts) != 2:
        raise MalformedMessage("note", "signature line", "an em dash, a key name and base64, separated by spaces")
    data = decode_base64("note", "signature", parts[1])
    return NoteSignature(name=parts[0], key_id=data[:_KEY_ID_BYTES], signature=data[_KEY_ID_BYTES:])


def _decode_text(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedMessage("note", "text", f"UTF-8, got byte 0x{data[error.start]:02x} at {error.start}") from None
    if text.replace("\n", "").isprintable():
        return text  # as almost every note: a text without control characters need not be walked over
    if any(c < "\x20" and c != "\n" for c in text):
        raise MalformedMessage("note", "text", "no ASCII control character but newline")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A text and the lines that sign it.

    Invariants: (1) `text` ends in a newline, is UTF-8 without control characters; (2) 1 to SIGNATURES_MAX signatures,
    no two by the same (name, key ID).
    """

    text: bytes
    signatures: tuple[NoteSignature, ...]

    def __post_init__(self) -> None:
        if not self.text.endswith(b"\n"):
            raise MalformedMessage("note", "text", "a newline at its end")
        _decode_text(self.text)
        if not 1 <= len(self.signatures) <= SIGNATURES_MAX:
            raise MalformedMessage("note", "signatures", f"1 to {SIGNATURES_MAX}, got {len(self.signatures)}")
        if len({(s.name, s.key_id) for s in self.signatures}) != len(self.signatures):
            raise MalformedMessage("note", "signatures", "one line per key")

    def encode(self) -> bytes:
        return self.text + b"\n" + b"".join(signature.encode() for signature in self.signatures)


def parse_note(data: bytes) -> Note:
    """Inverse of `Note.encode`; verifies nothing.

    data: at most NOTE_BYTES_MAX bytes. Stricter than the specification where that loses nothing: base64 is canonical
    and a key signs once. Raises: MalformedMessage. Source: c2sp.org/signed-note, "Format".
    """
    if len(data) > NOTE_BYTES_MAX:
        raise MalformedMessage("note", "length", f"at most {NOTE_BYTES_MAX} bytes, got {len(data)}")
    # "the text is separated from the signatures by the last empty line in the note"
    cut = data.rfind(b"\n\n")
    if cut < 0 or not data.endswith(b"\n"):
        raise MalformedMessage("note", "form", "text, an empty line, signature lines, each ending in a newline")
    lines = _decode_text(data[cut + 2 :]).split("\n")[:-1]
    if len(lines) > SIGNATURES_MAX:
        raise MalformedMessage("note", "signatures", f"at most {SIGNATURES_MAX}, got {len(lines)}")
    return Note(text=data[: cut + 1], signatures=tuple(_parse_signature(line) for line in lines))


def note_signature(text: bytes, *, name: str, public_key: bytes, sign: Sign) -> NoteSignature:
    """Sign a note's text with an Ed25519 key (type 0x01). text: with its final newline, as in `Note.text`."""
    key = verifier_key(name, SignatureType.ED25519, public_key)
    return NoteSignature(name=name, key_id=key.key_id, signature=sign(text))


def check_note_signature(text: bytes, signature: NoteSignature, key: VerifierKey) -> None:
    """Raises: InvalidSignature unless `signature` is by `key` (type 0x01) over `text`."""
    if (
        key.type is not SignatureType.ED25519
        or not signature.is_by(key)
        or not verify_strict(key.key, text, signature.signature)
    ):
        raise InvalidSignature(signature.name, "the note's text")
