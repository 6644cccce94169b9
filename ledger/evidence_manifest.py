"""The manifest of an evidence file: the SHA-256 of every other file, who exported it, and the two times.

JSON, so that a clerk can read it; signed as it stands, so that `openssl pkeyutl -verify -rawin` checks it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from consensus.errors import MalformedMessage
from consensus.types import Digest
from ledger.evidence_rights import RightsNote, read_rights_note

FORMAT: Final = "stretto/evidence/v1"
"""First field of what the export key signs; that key signs nothing else."""
MANIFEST_BYTES_MAX: Final = 1 << 20
TIME_MS_MAX: Final = 253_402_300_799_999
"""Last millisecond of the year 9999."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_HEX: Final = re.compile(r"[0-9a-f]{64}")


def _malformed(field: str, expected: str) -> MalformedMessage:
    return MalformedMessage("evidence manifest", field, expected)


def format_time(time_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds. time_ms: milliseconds since the Unix epoch. Raises: MalformedMessage."""
    if not 0 <= time_ms <= TIME_MS_MAX:
        raise _malformed("time", f"0 to {TIME_MS_MAX} ms since 1970, got {time_ms}")
    moment = _EPOCH + timedelta(milliseconds=time_ms)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def parse_time(text: str) -> int:
    """Inverse of `format_time`. Raises: MalformedMessage."""
    if not _TIME.fullmatch(text):
        raise _malformed("time", "YYYY-MM-DDThh:mm:ss.mmmZ")
    try:
        moment = datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC)
    except ValueError:
        raise _malformed("time", "a moment that exists") from None
    if moment < _EPOCH:
        raise _malformed("time", "a moment from 1970 on")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an exporting member signs.

    Invariants: times are within 1970 to 9999; digests are 32 bytes.
    """

    consortium: Digest
    exporter: str
    """Member id."""
    recorded_ms: int
    """Block time of the statement: order among the consortium's records, not legal time."""
    exported_ms: int
    """The exporting node's clock."""
    rights: RightsNote | None = None
    """Where the claim that the evidence offers stood then, in the exporter's log; None where it offers none."""
    files: tuple[tuple[str, Digest], ...]
    """(name, SHA-256) of every file but manifest.json and manifest.sig, in the archive's order."""

    def __post_init__(self) -> None:
        format_time(self.recorded_ms)
        format_time(self.exported_ms)

    def encode(self) -> bytes:
        """JSON in one fixed layout."""
        document: dict[str, object] = {
            "format": FORMAT,
            "consortium": self.consortium.hex(),
            "exporter": self.exporter,
            "recorded": format_time(self.recorded_ms),
            "exported": format_time(self.exported_ms),
            **({} if self.rights is None else {"rights": self.rights.value()}),
            "sha256": {name: digest.hex() for name, digest in self.files},
        }
        return (json.dumps(document, indent=2) + "\n").encode("ascii")


def digests_of(files: Mapping[str, bytes]) -> tuple[tuple[str, Digest], ...]:
    """(name, SHA-256) in the mapping's order."""
    return tuple((name, Digest(hashlib.sha256(content).digest())) for name, content in files.items())


def parse_manifest(data: bytes) -> Manifest:
    """Inverse of `Manifest.encode`: one value, one text. Raises: MalformedMessage."""
    if len(data) > MANIFEST_BYTES_MAX:
        raise _malformed("length", f"at most {MANIFEST_BYTES_MAX} bytes, got {len(data)}")
    try:
        document = json.loads(data.decode("ascii"))
    except (ValueError, RecursionError):
        raise _malformed("form", "JSON in ASCII") from None
    keys = ["format", "consortium", "exporter", "recorded", "exported", "sha256"]
    rights = document.pop("rights") if isinstance(document, dict) and list(document)[-2:-1] == ["rights"] else None
    if not isinstance(document, dict) or list(document) != keys:
        raise _malformed("form", f"an object of {', '.join(keys)}, in this order")
    if document["format"] != FORMAT:
        raise _malformed("format", FORMAT)
    texts = {key: document[key] for key in keys[:-1]}
    files = document["sha256"]
    if not all(isinstance(text, str) for text in texts.values()) or not isinstance(files, dict):
        raise _malformed("form", "text, and an object of digests by name")
    digests = [*files.values(), texts["consortium"]]
    if not all(isinstance(digest, str) and _HEX.fullmatch(digest) for digest in digests):
        raise _malformed("sha256", "digests as 64 lower-case hexadecimal digits")
    manifest = Manifest(
        consortium=Digest(bytes.fromhex(texts["consortium"])),
        exporter=texts["exporter"],
        recorded_ms=parse_time(texts["recorded"]),
        exported_ms=parse_time(texts["exported"]),
        rights=None if rights is None else read_rights_note(rights, _malformed),
        files=tuple((name, Digest(bytes.fromhex(digest))) for name, digest in files.items()),
    )
    if manifest.encode() != data:
        raise _malformed("form", "the one layout a manifest has (indent 2, no repeated name)")
    return manifest
