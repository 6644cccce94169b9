"""Evidence of misbehaviour: what one validator signed twice and no honest validator signs together (design D4).

Two votes, or two checkpoints for public chains (`ledger.chain_misbehaviour`). One fixed layout each, so that one fact
has one file. Anybody who holds the genesis (and, after epoch 0, the proofs of epochs) can check it, without a node and
without believing whoever handed it over: both signatures are the validator's own, over words that exclude each other.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

from consensus.errors import MalformedMessage
from consensus.types import Digest, Epoch, Height, Signature, SignedVote, ValidatorIndex, View, Vote, VoteKind
from consensus.votes import contradict
from ledger.chain_checkpoint import ChainCheckpoint
from ledger.chain_misbehaviour import (
    TAG as CHAIN_TAG,
)
from ledger.chain_misbehaviour import (
    ChainMisbehaviour,
    SignedChainCheckpoint,
    parse_chain_misbehaviour,
)
from ledger.ed25519 import verify_strict
from ledger.errors import MalformedMisbehaviour
from ledger.evidence_report import Check, Outcome, Verdict
from ledger.genesis import Genesis, Member
from ledger.roster import Roster

__all__ = [
    "CHAIN_CHECKS",
    "CHECKS",
    "MISBEHAVIOUR_BYTES",
    "ChainMisbehaviour",
    "Evidence",
    "MalformedMisbehaviour",
    "MisbehaviourEvidence",
    "MisbehaviourReport",
    "describe_vote",
    "parse_misbehaviour",
    "verify_misbehaviour",
]

_TAG: Final = b"stretto/misbehaviour/v1"
_HEAD: Final = struct.Struct(">23s32sQQH")
_VOTE: Final = struct.Struct(">BQ32s64s")
MISBEHAVIOUR_BYTES: Final = _HEAD.size + 2 * _VOTE.size
"""Of every such file: 283."""

FORM: Final = "form"
CONSORTIUM: Final = "consortium"
EPOCH: Final = "epoch"
VALIDATOR: Final = "validator"
FIRST_VOTE: Final = "first vote"
SECOND_VOTE: Final = "second vote"
CONTRADICTION: Final = "contradiction"
FIRST_SIGNATURE: Final = "first signature"
SECOND_SIGNATURE: Final = "second signature"
_COMMON_CHECKS: Final = (FORM, CONTRADICTION, CONSORTIUM, EPOCH, VALIDATOR)
CHECKS: Final = (*_COMMON_CHECKS, FIRST_VOTE, SECOND_VOTE)
"""Names of the checks of every report, in their order."""
CHAIN_CHECKS: Final = (*_COMMON_CHECKS, FIRST_SIGNATURE, SECOND_SIGNATURE)
"""As CHECKS, of signatures for public chains."""


@dataclass(frozen=True, kw_only=True)
class MisbehaviourEvidence:
    """Two votes of one validator in one view; whether they prove anything is for `verify_misbehaviour` to say.

    Invariants: (1) one voter, one epoch, one view; (2) `first` sorts before `second`, or is the same.
    """

    consortium: Digest
    """SHA-256 of the genesis file the votes are said to be bound to."""
    first: SignedVote
    second: SignedVote

    def __post_init__(self) -> None:
        for name in ("voter", "epoch", "view"):
            one, two = getattr(self, name), _of(self.second, name)
            if one != two:
                raise MalformedMisbehaviour(f"second.{name}", two, f"{one}, as in the first vote")
        if _order(self.first) > _order(self.second):
            raise MalformedMisbehaviour("second", self.second.vote.kind.name, "the two votes in their order of bytes")

    @classmethod
    def of(cls, consortium: Digest, one: SignedVote, other: SignedVote) -> MisbehaviourEvidence:
        """The evidence of two votes, in whichever order they came. Raises: MalformedMisbehaviour."""
        first, second = sorted((one, other), key=_order)
        return cls(consortium=consortium, first=first, second=second)

    @property
    def voter(self) -> ValidatorIndex:
        return self.first.voter

    @property
    def epoch(self) -> Epoch:
        return self.first.vote.epoch

    @property
    def view(self) -> View:
        return self.first.vote.view

    def encode(self) -> bytes:
        """Canonical bytes, MISBEHAVIOUR_BYTES long: tag, consortium, epoch, view, voter; then each vote's rest."""
        head = _HEAD.pack(_TAG, self.consortium, self.epoch, self.view, self.voter)
        return head + _order(self.first) + _order(self.second)

    @cached_property
    def digest(self) -> Digest:
        """SHA-256 of the bytes: what names this piece of evidence."""
        return Digest(hashlib.sha256(self.encode()).digest())

    def sentence(self) -> str:
        """What the two votes say, for people."""
        said = " and ".join(describe_vote(signed.vote) for signed in (self.first, self.second))
        return f"in view {self.view} of epoch {self.epoch}: {said}"


Evidence: TypeAlias = MisbehaviourEvidence | ChainMisbehaviour


def describe_vote(vote: Vote) -> str:
    """A vote's content in words: such as "finalize block 9f86d081… at height 41"."""
    kind = vote.kind.name.lower()
    return kind if vote.kind is VoteKind.NULLIFY else f"{kind} block {vote.block.hex()[:16]}… at height {vote.height}"


def parse_misbehaviour(data: bytes) -> Evidence:
    """Evidence of either kind. Raises: MalformedMisbehaviour."""
    return parse_chain_misbehaviour(data) if data.startswith(CHAIN_TAG) else _parse_votes(data)


def _parse_votes(data: bytes) -> MisbehaviourEvidence:
    """Inverse of `MisbehaviourEvidence.encode`. Raises: MalformedMisbehaviour."""
    if len(data) != MISBEHAVIOUR_BYTES:
        raise MalformedMisbehaviour("length", f"{len(data)} bytes", f"{MISBEHAVIOUR_BYTES} bytes")
    tag, consortium, epoch, view, voter = _HEAD.unpack_from(data)
    if tag != _TAG:
        raise MalformedMisbehaviour("tag", tag, _TAG.decode())
    votes = tuple(
        _parse_vote(name, data[at : at + _VOTE.size], Epoch(epoch), View(view), ValidatorIndex(voter))
        for name, at in (("first", _HEAD.size), ("second", _HEAD.size + _VOTE.size))
    )
    return MisbehaviourEvidence(consortium=Digest(consortium), first=votes[0], second=votes[1])


def _parse_vote(name: str, data: bytes, epoch: Epoch, view: View, voter: ValidatorIndex) -> SignedVote:
    kind, height, block, signature = _VOTE.unpack(data)
    if kind not in (1, 2, 3):
        raise MalformedMisbehaviour(f"{name}.kind", kind, "1, 2 or 3")
    try:
        vote = Vote(kind=VoteKind(kind), epoch=epoch, view=view, height=Height(height), block=Digest(block))
        return SignedVote(vote=vote, voter=voter, signature=Signature(signature))
    except MalformedMessage as error:
        raise MalformedMisbehaviour(name, data, str(error)) from None


def _order(signed: SignedVote) -> bytes:
    """A vote without what both share; as bytes they sort by kind first."""
    return _VOTE.pack(signed.vote.kind, signed.vote.height, signed.vote.block, signed.signature)


def _of(signed: SignedVote, name: str) -> int:
    return signed.voter if name == "voter" else int(getattr(signed.vote, name))


# ---- verification ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MisbehaviourReport:
    """Result of `verify_misbehaviour`."""

    checks: tuple[Check, ...]
    """One for each name of CHECKS, or of CHAIN_CHECKS, in that order."""
    verdict: Verdict
    """VERIFIED: misbehaviour is proven. REFUSED: this proves nothing. INCOMPLETE: no genesis, or no roster."""
    evidence: Evidence | None
    """None where the file could not be read."""
    member: Member | None
    """The institution whose validator it is, by the roster of the epoch; None unless misbehaviour is proven."""

    def check(self, name: str) -> Check:
        return next(check for check in self.checks if check.name == name)


class _Refused(Exception):
    """A check failed; the text says why."""


class _Unknown(Exception):
    """A check cannot be made; the text says what is missing."""


def verify_misbehaviour(data: bytes, genesis: Genesis | None, *, known: Sequence[Roster] = ()) -> MisbehaviourReport:
    """Whether the bytes prove that a validator of the consortium contradicted itself. Never raises for bad data.

    data: from anywhere. genesis: the one the verifier trusts; None where there is none: INCOMPLETE at best. known:
    rosters of epochs 0 and up that the verifier trusts (`ledger.epochs.verify_epochs`); without them only what was
    signed in epoch 0, whose validators the genesis names, convicts anybody.
    """
    try:
        evidence = parse_misbehaviour(data)
    except MalformedMisbehaviour as error:
        return _report([Check(FORM, Outcome.FAILED, f"This is not evidence of misbehaviour: {error}.")], None, None)
    names, things = _names(evidence), "votes" if isinstance(evidence, MisbehaviourEvidence) else "signatures"
    found = [Check(FORM, Outcome.PASSED, f"Two {things} under one validator's name, {evidence.sentence()}.")]
    member: Member | None = None
    try:
        found.append(_passed(CONTRADICTION, _contradiction(evidence)))
        if genesis is None:
            return _report(found, evidence, None)
        found.append(_passed(CONSORTIUM, _consortium(evidence, genesis)))
        roster = _roster(evidence, (genesis.roster, *known[1:]))
        found.append(_passed(EPOCH, _named(roster)))
        accused = _validator(evidence, roster)
        found.append(_passed(VALIDATOR, f"Validator {evidence.voter} is {accused.name} ({accused.id})."))
        for name, signed in zip(names[-2:], (evidence.first, evidence.second), strict=True):
            found.append(_passed(name, _signature(signed, accused, genesis)))
        member = accused
    except _Refused as error:
        found.append(Check(names[len(found)], Outcome.FAILED, str(error)))
    except _Unknown as error:
        found.append(Check(names[len(found)], Outcome.NOT_CHECKED, str(error)))
    return _report(found, evidence, member)


def _passed(name: str, reason: str) -> Check:
    return Check(name, Outcome.PASSED, reason)


def _names(evidence: Evidence | None) -> tuple[str, ...]:
    return CHAIN_CHECKS if isinstance(evidence, ChainMisbehaviour) else CHECKS


def _contradiction(evidence: Evidence) -> str:
    if isinstance(evidence, ChainMisbehaviour):
        return _chain_contradiction(evidence.first.checkpoint, evidence.second.checkpoint)
    first, second = evidence.first.vote, evidence.second.vote
    if first == second:
        raise _Refused("The two votes say the same: a vote may be repeated.")
    if not contradict(first, second):
        kinds = f"{first.kind.name.lower()} and {second.kind.name.lower()}"
        raise _Refused(f"An honest validator may cast both, {kinds}, in one view: these votes prove nothing.")
    if first.kind is second.kind:
        return f"No honest validator casts {first.kind.name.lower()} votes for two blocks in one view."
    return "No honest validator votes both to nullify a view and to finalize a block in it."


def _chain_contradiction(first: ChainCheckpoint, second: ChainCheckpoint) -> str:
    if first == second:
        raise _Refused("The two signatures say the same: a signature may be repeated.")
    if not first.contradicts(second):
        raise _Refused("An honest validator may sign both checkpoints: these signatures prove nothing.")
    if first.size == second.size and first.root != second.root:
        return "No honest validator signs two roots of one size."
    return "No honest validator signs two ends of one epoch."


def _consortium(evidence: Evidence, genesis: Genesis) -> str:
    if evidence.consortium != genesis.digest:
        raise _Refused(
            f"The evidence is of the consortium with genesis {evidence.consortium.hex()}; trusted is "
            f"{genesis.digest.hex()}."
        )
    return f"The evidence is of {genesis.origin}, whose genesis is {genesis.digest.hex()}."


def _roster(evidence: Evidence, rosters: Sequence[Roster]) -> Roster:
    if evidence.epoch >= len(rosters):
        up_to = f"up to epoch {len(rosters) - 1}" if len(rosters) > 1 else "of epoch 0 alone, from the genesis"
        raise _Unknown(
            f"It is of epoch {evidence.epoch}; known are the validators {up_to}. Give the proofs of the later"
            " epochs, from somebody you trust."
        )
    return rosters[evidence.epoch]


def _named(roster: Roster) -> str:
    source = f"The roster with SHA-256 {roster.digest.hex()}" if roster.epoch else "The genesis"
    return f"{source} names the validators of epoch {roster.epoch}."


def _validator(evidence: Evidence, roster: Roster) -> Member:
    validators = roster.validator_members()
    if evidence.voter >= len(validators):
        source = f"the roster of epoch {roster.epoch}" if roster.epoch else "the genesis"
        raise _Refused(f"There is no validator {evidence.voter}: {source} names {len(validators)}, counted from 0.")
    return validators[evidence.voter]


def _signature(signed: SignedVote | SignedChainCheckpoint, member: Member, genesis: Genesis) -> str:
    if isinstance(signed, SignedChainCheckpoint):
        said = signed.checkpoint.sentence()
        if not signed.checkpoint.is_signed_by(member.keys.chain, genesis.digest, signed.signature):
            raise _Refused(f"It is not signed with the chain key of {member.id}: {said}.")
        return f"Signed with the chain key of {member.id}: {said}."
    # The trusted genesis's digest goes into what must have been signed, whatever the file says.
    if not verify_strict(member.keys.consensus, signed.vote.signing_bytes(genesis.digest), signed.signature):
        raise _Refused(f"It is not signed with the consensus key of {member.id}: {describe_vote(signed.vote)}.")
    return f"Signed with the consensus key of {member.id}: {describe_vote(signed.vote)}."


def _report(found: list[Check], evidence: Evidence | None, member: Member | None) -> MisbehaviourReport:
    failed = next((check.name for check in found if check.outcome is Outcome.FAILED), None)
    open_ = next((check.name for check in found if check.outcome is Outcome.NOT_CHECKED), None)
    why = "Not checked for want of a trusted genesis."
    if failed or open_:
        why = f"It builds on what {'failed' if failed else 'could not be checked'} before: {failed or open_}."
    found += [Check(name, Outcome.NOT_CHECKED, why) for name in _names(evidence)[len(found) :]]
    proven = Verdict.VERIFIED if member is not None else Verdict.INCOMPLETE
    verdict = Verdict.REFUSED if failed else proven
    return MisbehaviourReport(checks=tuple(found), verdict=verdict, evidence=evidence, member=member)
