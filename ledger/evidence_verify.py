"""Verifying an evidence file: a fixed list of checks against a genesis the verifier already trusts, and nothing else.

Offline and pure: bytes in, report out. The bundle's own genesis, policy and validator list are compared, never
believed; without a trusted genesis everything that needs trust stays NOT_CHECKED.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from consensus.errors import StrettoError
from ledger import evidence_checks as checks
from ledger import evidence_report as names
from ledger.evidence_anchor import check_anchor, check_anchor_block
from ledger.evidence_archive import parse_archive
from ledger.evidence_case import Case
from ledger.evidence_parts import check_names
from ledger.evidence_report import CHECKS, Check, MediaDigests, Outcome, Report, Verdict
from ledger.genesis import Genesis
from ledger.roster import Roster


@dataclass(frozen=True, slots=True)
class _Rule:
    """One check, and what must hold before it can be made."""

    name: str
    check: Callable[[Case], str]
    fails: str
    """What it means when it fails: stands before a technical reason."""
    needs: tuple[str, ...] = ()
    needs_trust: bool = True
    """Whether passing means something only under a trusted genesis."""


_RULES: Final = (
    _Rule(names.MANIFEST, checks.check_manifest, "The manifest is malformed", needs_trust=False),
    _Rule(names.GENESIS, checks.check_genesis, "The genesis in the file is malformed"),
    _Rule(names.EPOCHS, checks.check_epochs, "The later committees do not follow from the genesis"),
    _Rule(
        names.EXPORTER,
        checks.check_exporter,
        "The exporter's signature cannot be checked",
        (names.MANIFEST, names.EPOCHS),
    ),
    _Rule(names.TEXTS, checks.check_texts, "The texts cannot be compared", (names.MANIFEST,), needs_trust=False),
    _Rule(names.STATEMENT, checks.check_statement_form, "This is not a statement of Stretto", needs_trust=False),
    _Rule(names.ISSUER, checks.check_issuer, "The issuer is not accepted", (names.EPOCHS, names.STATEMENT)),
    _Rule(names.SIGNATURE, checks.check_signature, "The statement's signature does not hold", (names.ISSUER,)),
    _Rule(
        names.CLAIM,
        checks.check_claim,
        "The claim is not one of those that the issuer signed",
        (names.STATEMENT,),
        needs_trust=False,
    ),
    _Rule(
        names.AUDIO,
        checks.check_audio,
        "The audio cannot be compared",
        (names.STATEMENT, names.CLAIM),
        needs_trust=False,
    ),
    _Rule(
        names.INCLUSION,
        checks.check_inclusion,
        "The statement's place in the log is not proven",
        (names.STATEMENT,),
        needs_trust=False,
    ),
    _Rule(
        names.CHECKPOINT,
        checks.check_checkpoint,
        "No quorum of the trusted institutions vouches for the log",
        (names.EPOCHS,),
    ),
    _Rule(names.POLICY, checks.check_policy, "The policy file is malformed", (names.EPOCHS,)),
    _Rule(
        names.FINALIZATION,
        checks.check_finalization,
        "No quorum of the trusted institutions finalized the block",
        (names.EPOCHS,),
    ),
    _Rule(
        names.ORDER,
        checks.check_order,
        "That the statement was ordered in the block is not proven",
        (names.STATEMENT,),
        needs_trust=False,
    ),
    _Rule(
        names.SUMMARY,
        checks.check_summary,
        "The summary cannot be compared",
        (names.EPOCHS, names.STATEMENT, names.CLAIM, names.INCLUSION),
    ),
    _Rule(names.TIME, checks.check_time, "The times do not hold", (names.MANIFEST, names.FINALIZATION)),
    _Rule(
        names.RIGHTS,
        checks.check_rights,
        "Where the claim's rights stood cannot be read",
        (names.EXPORTER,),
        needs_trust=False,
    ),
    _Rule(names.ANCHOR, check_anchor, "An anchor does not hold", (names.INCLUSION, names.TIME), needs_trust=False),
    _Rule(names.ANCHOR_BLOCK, check_anchor_block, "No block of a chain", (names.ANCHOR,), needs_trust=False),
    _Rule(names.LEGAL_TIME, checks.check_legal_time, "No legal time", needs_trust=False),
)
assert tuple(rule.name for rule in _RULES) == CHECKS[1:], "every check has a rule"


def verify_bundle(
    data: bytes, genesis: Genesis | None, media: MediaDigests | None, *, known: Sequence[Roster] = ()
) -> Report:
    """Report on an evidence file. Never raises for bad data.

    data: the file, from anywhere. genesis: the one the verifier trusts; None where there is none, and then the verdict
    is at best INCOMPLETE. media: digests of the audio in question, if there is any. known: rosters of epochs 0 and up
    that the verifier trusts besides; a file that rests on a later epoch than these is INCOMPLETE, since retired keys
    could have made another history (design D10), and one that contradicts them is REFUSED.
    """
    try:
        files = parse_archive(data)
        check_names(files)
    except StrettoError as error:
        damaged = Check(names.ARCHIVE, Outcome.FAILED, f"The file is damaged or was changed: {error}.")
        return _report([damaged], frozenset())
    found = [
        Check(names.ARCHIVE, Outcome.PASSED, f"A complete archive of {len(files)} files in its one possible encoding.")
    ]
    case = Case(files=files, trusted=genesis, media=media, known=tuple(known))
    broken: set[str] = set()
    for rule in _RULES:
        check = _apply(rule, case, broken)
        found.append(check)
    # These may stay open in complete evidence: a catalogue as a whole, no audio given, no token in this version, texts
    # of another one, what came after the statement, which is the exporter's word, no anchor, and whether an anchor's
    # block is in its chain.
    optional = {names.CLAIM, names.TEXTS, names.RIGHTS, names.ANCHOR, names.ANCHOR_BLOCK}
    if media is None:
        optional.add(names.AUDIO)
    if not checks.rests_on_retired_keys(case):
        optional.add(names.LEGAL_TIME)
    return _report(found, optional)


def _apply(rule: _Rule, case: Case, broken: set[str]) -> Check:
    """broken: names of the checks so far that others cannot build on; grows."""
    missing = [name for name in rule.needs if name in broken]
    if missing:
        broken.add(rule.name)
        return Check(rule.name, Outcome.NOT_CHECKED, f"It builds on what failed before: {', '.join(missing)}.")
    try:
        reason = rule.check(case)
    except checks.CannotCheck as error:
        return Check(rule.name, Outcome.NOT_CHECKED, str(error))
    except StrettoError as error:
        broken.add(rule.name)
        reason = str(error) if isinstance(error, checks.Refused) else f"{rule.fails}: {error}."
        return Check(rule.name, Outcome.FAILED, reason)
    if rule.needs_trust and case.trusted is None:
        return Check(
            rule.name,
            Outcome.NOT_CHECKED,
            f"Not checked for want of a trusted genesis. By the file's own genesis, which nobody vouches for: {reason}",
        )
    return Check(rule.name, Outcome.PASSED, reason)


def _report(found: list[Check], optional: Collection[str]) -> Report:
    """All checks, those not reached as NOT_CHECKED, and the verdict. optional: names of those that may stay open."""
    reached = {check.name for check in found}
    unread = "The file could not be read as an evidence archive."
    found += [Check(name, Outcome.NOT_CHECKED, unread) for name in CHECKS if name not in reached]
    outcomes = {check.name: check.outcome for check in found}
    if Outcome.FAILED in outcomes.values():
        verdict = Verdict.REFUSED
    elif any(outcome is Outcome.NOT_CHECKED and name not in optional for name, outcome in outcomes.items()):
        verdict = Verdict.INCOMPLETE
    else:
        verdict = Verdict.VERIFIED
    return Report(checks=tuple(found), verdict=verdict)
