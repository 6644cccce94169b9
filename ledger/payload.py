"""A payload: what a block orders. A batch of statements under a header that its author, a validator, signs.

Fixed layout, big-endian: header, 64 bytes of signature over the header, then each statement as u32 length and bytes.
The payload's digest is the header's SHA-256: the root binds the statements, so the body needs no hash of its own.
What is wrong with a payload is its author's or a peer's fault, not a submitter's: errors here are PeerErrors.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from consensus.errors import InvalidSignature, MalformedMessage
from consensus.types import Committee, Digest, Epoch, PublicKey, Signature, ValidatorIndex, VerifySignature
from ledger import merkle
from ledger.statement import STATEMENT_BYTES_MAX

PAYLOAD_BYTES_MAX: Final = 256 << 10
"""Of the whole encoding."""
PAYLOAD_BYTES_AIM: Final = 128 << 10
"""A loaded author cuts here (design D3)."""
STATEMENTS_MAX: Final = 1024

_TAG: Final = b"stretto/payload/v1"
_HEADER: Final = struct.Struct(">18s32sQHQQH32sI")
_LENGTH: Final = struct.Struct(">I")
HEADER_BYTES: Final = _HEADER.size
SIGNATURE_BYTES: Final = 64
STATEMENT_OVERHEAD_BYTES: Final = _LENGTH.size
"""What each statement adds to the body beside its own bytes."""
BODY_BYTES_MAX: Final = PAYLOAD_BYTES_MAX - HEADER_BYTES - SIGNATURE_BYTES


class MalformedPayload(MalformedMessage):
    """A payload no correct validator makes."""

    def __init__(self, field: str, expected: str) -> None:
        super().__init__("payload", field, expected)


@dataclass(frozen=True, kw_only=True)
class PayloadHeader:
    """What the author signs.

    Invariants: (1) 1 to STATEMENTS_MAX statements; (2) body_bytes within BODY_BYTES_MAX; (3) numbers fit their fields.
    """

    consortium: Digest
    epoch: Epoch
    author: ValidatorIndex
    sequence: int
    """Counts the author's payloads; two payloads of one author never have the same."""
    created_ms: int
    """The author's wall clock, milliseconds since the Unix epoch: for latency figures, nothing depends on it."""
    count: int
    root: Digest
    """RFC 6962 root over the statements' entries (SHA-256 of each statement)."""
    body_bytes: int

    def __post_init__(self) -> None:
        for name, high in (("epoch", 2**64), ("author", 2**16), ("sequence", 2**64), ("created_ms", 2**64)):
            if not 0 <= getattr(self, name) < high:
                raise MalformedPayload(name, f"0 to {high - 1}, got {getattr(self, name)}")
        if not 1 <= self.count <= STATEMENTS_MAX:
            raise MalformedPayload("count", f"1 to {STATEMENTS_MAX}, got {self.count}")
        if not self.count * (STATEMENT_OVERHEAD_BYTES + 1) <= self.body_bytes <= BODY_BYTES_MAX:
            raise MalformedPayload("body_bytes", f"bytes of {self.count} statements, at most {BODY_BYTES_MAX}")
        for name in ("consortium", "root"):
            if len(getattr(self, name)) != 32:
                raise MalformedPayload(name, f"32 bytes, got {len(getattr(self, name))}")

    def encode(self) -> bytes:
        """What the author signs; the tag keeps it apart from votes and everything else the consensus key signs."""
        return _HEADER.pack(
            _TAG, self.consortium, self.epoch, self.author, self.sequence, self.created_ms, self.count, self.root,
            self.body_bytes,
        )  # fmt: skip

    @cached_property
    def digest(self) -> Digest:
        """SHA-256 of the header: the payload's name in blocks."""
        return Digest(hashlib.sha256(self.encode()).digest())


@dataclass(frozen=True, kw_only=True)
class Payload:
    """A payload whose body is the one its header commits to. The signature is checked by `check_payload`."""

    header: PayloadHeader
    signature: Signature
    statements: tuple[bytes, ...]

    @property
    def digest(self) -> Digest:
        return self.header.digest

    def encode(self) -> bytes:
        parts = [self.header.encode(), self.signature]
        for statement in self.statements:
            parts += (_LENGTH.pack(len(statement)), statement)
        return b"".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedPayload:
    """A payload that waits for its author's signature over `signing_bytes`."""

    header: PayloadHeader
    statements: tuple[bytes, ...]

    @property
    def signing_bytes(self) -> bytes:
        return self.header.encode()

    @property
    def digest(self) -> Digest:
        return self.header.digest

    def signed(self, signature: bytes) -> Payload:
        if len(signature) != SIGNATURE_BYTES:
            raise MalformedPayload("signature", f"{SIGNATURE_BYTES} bytes, got {len(signature)}")
        return Payload(header=self.header, signature=Signature(signature), statements=self.statements)


def _root(statements: Sequence[bytes]) -> Digest:
    return Digest(merkle.root([hashlib.sha256(statement).digest() for statement in statements]))


def build_payload(
    statements: Sequence[bytes],
    *,
    consortium: Digest,
    epoch: Epoch,
    author: ValidatorIndex,
    sequence: int,
    created_ms: int,
) -> UnsignedPayload:
    """Payload of statements that are valid and fit: callers cut by `payload_bytes`. Raises: MalformedPayload."""
    header = PayloadHeader(
        consortium=consortium,
        epoch=epoch,
        author=author,
        sequence=sequence,
        created_ms=created_ms,
        count=len(statements),
        root=_root(statements),
        body_bytes=sum(STATEMENT_OVERHEAD_BYTES + len(statement) for statement in statements),
    )
    return UnsignedPayload(header=header, statements=tuple(statements))


def parse_payload(data: bytes) -> Payload:
    """Inverse of `Payload.encode`: bounds, layout, count and root are checked; signature and statements are not.

    Raises: MalformedPayload.
    """
    if not HEADER_BYTES + SIGNATURE_BYTES < len(data) <= PAYLOAD_BYTES_MAX:
        raise MalformedPayload(
            "length", f"{HEADER_BYTES + SIGNATURE_BYTES + 1} to {PAYLOAD_BYTES_MAX} bytes, got {len(data)}"
        )  # fmt: skip
    header = parse_payload_header(data[:HEADER_BYTES])
    at = HEADER_BYTES + SIGNATURE_BYTES
    signature = data[HEADER_BYTES:at]
    if len(data) - at != header.body_bytes:
        raise MalformedPayload("body_bytes", f"{header.body_bytes} bytes of body, got {len(data) - at}")
    statements: list[bytes] = []
    while at < len(data):
        start = at + _LENGTH.size
        length = int.from_bytes(data[at:start], "big")
        at = start + length
        if not 0 < length <= STATEMENT_BYTES_MAX or at > len(data):
            raise MalformedPayload(
                f"statements[{len(statements)}]", f"1 to {STATEMENT_BYTES_MAX} bytes within the body, got {length}"
            )  # fmt: skip
        statements.append(data[start:at])
    if len(statements) != header.count:
        raise MalformedPayload("count", f"{header.count} statements, got {len(statements)}")
    if _root(statements) != header.root:
        raise MalformedPayload("root", f"statements under the root {header.root.hex()}")
    return Payload(header=header, signature=Signature(signature), statements=tuple(statements))


def parse_payload_header(data: bytes) -> PayloadHeader:
    """Inverse of `PayloadHeader.encode`. Raises: MalformedPayload.

    For evidence too, which carries a header without its body.
    """
    if len(data) != HEADER_BYTES:
        raise MalformedPayload("header", f"{HEADER_BYTES} bytes, got {len(data)}")
    tag, consortium, epoch, author, sequence, created_ms, count, root, body_bytes = _HEADER.unpack(data)
    if tag != _TAG:
        raise MalformedPayload("tag", _TAG.decode())
    return PayloadHeader(
        consortium=Digest(consortium), epoch=Epoch(epoch), author=ValidatorIndex(author), sequence=sequence,
        created_ms=created_ms, count=count, root=Digest(root), body_bytes=body_bytes,
    )  # fmt: skip


def check_payload(payload: Payload, committee: Committee, verify: VerifySignature) -> PublicKey:
    """The author's key, where this committee's validator of that index signed the header.

    Says nothing about the statements: each is parsed and checked by itself. Raises: MalformedPayload, InvalidSignature.
    """
    header = payload.header
    if header.consortium != committee.consortium:
        raise MalformedPayload("consortium", f"{committee.consortium.hex()}, got {header.consortium.hex()}")
    if header.epoch != committee.epoch:
        raise MalformedPayload("epoch", f"{committee.epoch}, got {header.epoch}")
    if header.author >= committee.size:
        raise MalformedPayload("author", f"a validator below {committee.size}, got {header.author}")
    key = committee.validators[header.author]
    if not verify(key, header.encode(), payload.signature):
        raise InvalidSignature(f"validator {header.author}", f"payload {payload.digest.hex()}")
    return key
