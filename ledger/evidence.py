"""Evidence: one file that proves a statement to a stranger, and its verification (design D10). The door to both."""

from ledger.evidence_build import EvidenceImpossible, build_bundle
from ledger.evidence_report import CHECKS, Check, MediaDigests, Outcome, Report, Verdict
from ledger.evidence_verify import verify_bundle

__all__ = [
    "CHECKS",
    "Check",
    "EvidenceImpossible",
    "MediaDigests",
    "Outcome",
    "Report",
    "Verdict",
    "build_bundle",
    "verify_bundle",
]
