"""Proofs a stranger checks offline: index, inclusion path and cosigned checkpoint in one text (c2sp.org/tlog-proof)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consensus.errors import MalformedMessage
from consensus.types import Digest
from ledger.checkpoint import parse_checkpoint
from ledger.merkle import HASH_BYTES, SIZE_MAX, leaf_hash, verify_inclusion
from ledger.note import NOTE_BYTES_MAX, Note, decode_base64, encode_base64, parse_decimal, parse_note
from ledger.policy import Acceptance, Policy

HEADER: Final = "c2sp.org/tlog-proof@v1"
EXTRA_BYTES_MAX: Final = 8192
PATH_HASHES_MAX: Final = 63
"""Hashes in the inclusion proof of a leaf in a tree of SIZE_MAX leaves."""
PROOF_BYTES_MAX: Final = NOTE_BYTES_MAX + 2 * EXTRA_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class TlogProof:
    """An entry's place in the log. Verifies nothing by itself: see `check`.

    Invariants: (1) 0 <= index < SIZE_MAX; (2) at most PATH_HASHES_MAX hashes of 32 bytes; (3) the note is a checkpoint.
    """

    index: int
    """0-based."""
    path: tuple[Digest, ...]
    """From the leaf's sibling up to the root's child."""
    note: Note
    extra: bytes | None = None
    """Opaque, not authenticated: never trust it."""

    def __post_init__(self) -> None:
        if not 0 <= self.index < SIZE_MAX:
            raise MalformedMessage("tlog-proof", "index", f"0 to {SIZE_MAX - 1}, got {self.index}")
        if len(self.path) > PATH_HASHES_MAX or any(len(item) != HASH_BYTES for item in self.path):
            raise MalformedMessage("tlog-proof", "path", f"at most {PATH_HASHES_MAX} hashes of {HASH_BYTES} bytes")
        if self.extra is not None and not 1 <= len(self.extra) <= EXTRA_BYTES_MAX:
            raise MalformedMessage("tlog-proof", "extra", f"1 to {EXTRA_BYTES_MAX} bytes, or no such line")
        parse_checkpoint(self.note.text)

    def encode(self) -> bytes:
        lines = [HEADER]
        if self.extra is not None:
            lines.append(f"extra {encode_base64(self.extra)}")
        lines.append(f"index {self.index}")
        lines += [encode_base64(item) for item in self.path]
        return "".join(f"{line}\n" for line in [*lines, ""]).encode() + self.note.encode()

    def check(self, entry: bytes, policy: Policy) -> Acceptance:
        """Verify that `entry` is in the log, under a checkpoint the policy trusts.

        entry: the leaf's data; in Stretto's log the SHA-256 of a statement's bytes.
        Raises: MalformedMessage, InvalidSignature, PolicyNotMet, InvalidProof.
        Source: c2sp.org/tlog-proof, "Verifying a tlog proof".
        """
        acceptance = policy.check(self.note)
        checkpoint = acceptance.checkpoint
        verify_inclusion(
            leaf=leaf_hash(entry), index=self.index, size=checkpoint.size, proof=self.path, root=checkpoint.root
        )
        return acceptance


def parse_tlog_proof(data: bytes) -> TlogProof:
    """Inverse of `TlogProof.encode`. data: at most PROOF_BYTES_MAX bytes. Raises: MalformedMessage."""
    if len(data) > PROOF_BYTES_MAX:
        raise MalformedMessage("tlog-proof", "length", f"at most {PROOF_BYTES_MAX} bytes, got {len(data)}")
    head, gap, note = data.partition(b"\n\n")
    if not gap or not head.isascii():
        raise MalformedMessage("tlog-proof", "form", "lines of ASCII, an empty line, then the checkpoint")
    lines = head.decode("ascii").split("\n")
    if lines[0] != HEADER:
        raise MalformedMessage("tlog-proof", "first line", HEADER)
    rest = lines[1:]
    extra: bytes | None = None
    if rest and rest[0].startswith("extra "):
        extra = decode_base64("tlog-proof", "extra", rest[0].removeprefix("extra "))
        rest = rest[1:]
    if not rest or not rest[0].startswith("index "):
        raise MalformedMessage("tlog-proof", "index", "a line `index N` after the header")
    if len(rest) - 1 > PATH_HASHES_MAX:
        raise MalformedMessage("tlog-proof", "path", f"at most {PATH_HASHES_MAX} hashes, got {len(rest) - 1}")
    return TlogProof(
        index=parse_decimal("tlog-proof", "index", rest[0].removeprefix("index "), SIZE_MAX - 1),
        path=tuple(Digest(decode_base64("tlog-proof", "path", line)) for line in rest[1:]),
        note=parse_note(note),
        extra=extra,
    )
