"""What a verification says: every check by name, its outcome and a reason a judge understands. Never one boolean."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Outcome(Enum):
    """Of one check."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    NOT_CHECKED = "NOT_CHECKED"
    """It could not be made; the reason says what is missing."""


class Verdict(Enum):
    """Of all checks together."""

    VERIFIED = "VERIFIED"
    """Every check that matters passed."""
    REFUSED = "REFUSED"
    """At least one failed."""
    INCOMPLETE = "INCOMPLETE"
    """None failed, but one that matters could not be made."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    outcome: Outcome
    reason: str
    """One or two sentences, for people."""


ARCHIVE: Final = "archive"
MANIFEST: Final = "manifest"
GENESIS: Final = "genesis"
EPOCHS: Final = "epochs"
EXPORTER: Final = "exporter"
TEXTS: Final = "texts"
STATEMENT: Final = "statement"
ISSUER: Final = "issuer"
SIGNATURE: Final = "signature"
CLAIM: Final = "claim"
AUDIO: Final = "audio"
INCLUSION: Final = "inclusion"
CHECKPOINT: Final = "checkpoint"
POLICY: Final = "policy"
FINALIZATION: Final = "finalization"
ORDER: Final = "order"
SUMMARY: Final = "summary"
TIME: Final = "time"
RIGHTS: Final = "rights"
ANCHOR: Final = "anchor"
ANCHOR_BLOCK: Final = "anchor block"
LEGAL_TIME: Final = "legal time"

CHECKS: Final = (
    ARCHIVE, MANIFEST, GENESIS, EPOCHS, EXPORTER, TEXTS, STATEMENT, ISSUER, SIGNATURE, CLAIM, AUDIO, INCLUSION,
    CHECKPOINT, POLICY, FINALIZATION, ORDER, SUMMARY, TIME, RIGHTS, ANCHOR, ANCHOR_BLOCK, LEGAL_TIME,
)  # fmt: skip
"""Names of the checks of every report, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Result of `verify_bundle`."""

    checks: tuple[Check, ...]
    """One for each name of CHECKS, in that order."""
    verdict: Verdict

    def check(self, name: str) -> Check:
        return self.checks[CHECKS.index(name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaDigests:
    """Of an audio file that is offered; at least one of the two, 32 bytes each."""

    blake3: bytes | None = None
    sha256: bytes | None = None

    def __post_init__(self) -> None:
        given = [digest for digest in (self.blake3, self.sha256) if digest is not None]
        if not given or any(len(digest) != 32 for digest in given):
            raise ValueError("media digests: expected BLAKE3, SHA-256 or both, 32 bytes each")
