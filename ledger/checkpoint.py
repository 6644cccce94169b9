"""Checkpoints: the log's size and root as a C2SP note, cosigned by named validators (c2sp.org/tlog-checkpoint).

Stretto has no single log operator, so every validator signs twice: with its log key under the origin's name, type 0x01,
which Go's x/mod reads; and with its cosign key under its own name, type 0x04, timestamped (c2sp.org/tlog-cosignature).
The quorum of the second kind carries the security (design D8).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from consensus.errors import InvalidSignature, MalformedMessage
from ledger.ed25519 import SIGNATURE_BYTES, verify_strict
from ledger.merkle import HASH_BYTES, SIZE_MAX
from ledger.note import (
    PORTABLE_SIGNATURES_MAX,
    Note,
    NoteSignature,
    Sign,
    SignatureType,
    VerifierKey,
    check_key_name,
    decode_base64,
    encode_base64,
    note_signature,
    parse_decimal,
    verifier_key,
)

CHECKPOINT_BYTES_MAX: Final = 512
TIMESTAMP_MAX: Final = 2**63 - 1
"""Seconds since the Unix epoch (tlog-cosignature, "Format")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A statement of the log's head: its first `size` leaves have this root.

    Invariants: (1) `origin` is a key name; (2) 0 <= size <= SIZE_MAX leaves; (3) `root` is 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        check_key_name(self.origin)
        if not 0 <= self.size <= SIZE_MAX:
            raise MalformedMessage("checkpoint", "size", f"0 to {SIZE_MAX}, got {self.size}")
        if len(self.root) != HASH_BYTES:
            raise MalformedMessage("checkpoint", "root", f"{HASH_BYTES} bytes, got {len(self.root)}")

    def body(self) -> bytes:
        """The note text that is signed: three lines, no extension lines."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n".encode()


def parse_checkpoint(text: bytes) -> Checkpoint:
    """Inverse of `Checkpoint.body`. Raises: MalformedMessage.

    Extension lines are refused: Stretto writes none, the specification advises against them, and ML-DSA cosignatures
    would not cover them.
    """
    if len(text) > CHECKPOINT_BYTES_MAX:
        raise MalformedMessage("checkpoint", "length", f"at most {CHECKPOINT_BYTES_MAX} bytes, got {len(text)}")
    try:
        lines = text.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise MalformedMessage("checkpoint", "text", "UTF-8") from None
    if len(lines) != 4 or lines[3]:
        raise MalformedMessage("checkpoint", "lines", "origin, size and root, each ending in a newline, and no more")
    return Checkpoint(
        origin=lines[0],
        size=parse_decimal("checkpoint", "size", lines[1], SIZE_MAX),
        root=decode_base64("checkpoint", "root", lines[2]),
    )


def log_key(origin: str, public_key: bytes) -> VerifierKey:
    """A validator's log key: every validator's has the origin as its name."""
    return verifier_key(origin, SignatureType.ED25519, public_key)


def cosigner_key(origin: str, member_id: str, public_key: bytes) -> VerifierKey:
    """A validator's cosign key, under the validator's own name."""
    return verifier_key(f"{origin}/{member_id}", SignatureType.COSIGNATURE, public_key)


def log_signature(checkpoint: Checkpoint, *, public_key: bytes, sign: Sign) -> NoteSignature:
    """Sign as the log: type 0x01, named after the origin."""
    return note_signature(checkpoint.body(), name=checkpoint.origin, public_key=public_key, sign=sign)


def cosignature_message(checkpoint: Checkpoint, timestamp_s: int) -> bytes:
    """What a cosigner signs. Source: c2sp.org/tlog-cosignature, "Ed25519 signed message"."""
    return f"cosignature/v1\ntime {timestamp_s}\n".encode() + checkpoint.body()


def cosignature(
    checkpoint: Checkpoint, *, member_id: str, timestamp_s: int, public_key: bytes, sign: Sign
) -> NoteSignature:
    """Cosign: "as of this time, the consistent tree head with the largest size I have observed has this root".

    timestamp_s: seconds since the Unix epoch, by the cosigner's clock. The caller has made sure, durably, that it
    never cosigned a larger or contradicting tree before.
    """
    if not 0 <= timestamp_s <= TIMESTAMP_MAX:
        raise MalformedMessage("cosignature", "timestamp", f"0 to {TIMESTAMP_MAX}, got {timestamp_s}")
    key = cosigner_key(checkpoint.origin, member_id, public_key)
    signature = sign(cosignature_message(checkpoint, timestamp_s))
    return NoteSignature(name=key.name, key_id=key.key_id, signature=struct.pack(">Q", timestamp_s) + signature)


def check_cosignature(checkpoint: Checkpoint, signature: NoteSignature, key: VerifierKey) -> int:
    """Timestamp (seconds since the Unix epoch) of `key`'s cosignature over `checkpoint`. Raises: InvalidSignature."""
    what = f"the checkpoint of {checkpoint.size} leaves"
    if (
        key.type is not SignatureType.COSIGNATURE
        or not signature.is_by(key)
        or len(signature.signature) != 8 + SIGNATURE_BYTES
    ):
        raise InvalidSignature(signature.name, what)
    (timestamp_s,) = struct.unpack_from(">Q", signature.signature)
    message = cosignature_message(checkpoint, timestamp_s)
    if timestamp_s > TIMESTAMP_MAX or not verify_strict(key.key, message, signature.signature[8:]):
        raise InvalidSignature(signature.name, what)
    return int(timestamp_s)


def checkpoint_note(
    checkpoint: Checkpoint, log_signatures: Sequence[NoteSignature], cosignatures: Sequence[NoteSignature]
) -> Note:
    """The note to hand out: all lines if every reader must accept so many, else one log signature and the cosignatures.

    Above eight validators the other log signatures travel apart, as a note of their own (design D8).
    """
    together = (*log_signatures, *cosignatures)
    if len(together) > PORTABLE_SIGNATURES_MAX:
        together = (*log_signatures[:1], *cosignatures)
    return Note(text=checkpoint.body(), signatures=together)
