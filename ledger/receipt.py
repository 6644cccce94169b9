"""What became of a statement that a final block ordered, and why, where it was not recorded."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from consensus.errors import MalformedMessage
from consensus.types import Digest


class Outcome(IntEnum):
    RECORDED = 1
    DUPLICATE = 2
    """On record already, in the sense that the reason says."""
    REFUSED = 3
    """A governance statement that does not count, or one about rights that the claim's state does not allow, for the
    reason given. It left no trace in the log."""


class Reason(IntEnum):
    """By what a duplicate is the same as the earlier statement; why a statement was refused. On disk: only append."""

    NONE = 0
    """Recorded."""
    STATEMENT = 1
    """The same bytes."""
    SIGNED = 2
    """The same signed content under another envelope or signature."""
    CLIENT_REF = 3
    """Another statement under a client reference that the issuer has used."""
    CATALOGUE = 4
    """A catalogue of the issuer's with the same root: a re-run."""
    OTHER_EPOCH = 16
    """A vote for another epoch than the block's."""
    VOTED = 17
    """The issuer has voted for this proposal."""
    PASSED = 18
    """The proposal has passed already, in this block."""
    UNKNOWN_MEMBER = 19
    """The change is of a member that is none."""
    MEMBER_ID_USED = 20
    """ADMIT of an id that a member has, and not to give that very member a seat."""
    KEY_USED = 21
    """A key, or a statement key's id, that the roster has already."""
    NO_SEAT = 22
    """REMOVE from the committee of a member without a seat in it."""
    UNCHANGED = 23
    """SET_POLICY to what is in force."""
    COMMITTEE_TOO_SMALL = 24
    """A removal that leaves fewer than four seats."""
    COMMITTEE_FULL = 25
    """A seat above the 128th."""
    CONSORTIUM_FULL = 26
    """A member above the 512th."""
    TOO_MANY_SEATS = 27
    """The deciding vote for a change that would make it more than f seats changed in this epoch."""
    TOO_MANY_VOTES = 28
    """One more than a member has in an epoch."""
    NO_CLAIM = 32
    """No claim is on record at that digest and position."""
    STALE_HEAD = 33
    """Another statement changed the claim's rights since its author looked."""
    NOT_HOLDER = 34
    """The issuer does not hold the claim."""
    OWN_CLAIM = 35
    """A DISPUTE by who holds the claim."""
    REVOKED = 36
    """What only a claim that stands allows."""
    DISPUTED = 37
    """What no claim allows while a dispute is open or a court has stayed it."""
    SUPERSEDED = 38
    """Another claim has taken this one's place."""
    DISPUTE_OPEN = 39
    """The issuer has a dispute open on this claim."""
    TOO_MANY_DISPUTES = 40
    """One more open dispute than a claim may have."""
    NO_DISPUTE = 41
    """The dispute named is not open on this claim."""
    RESPONDED = 42
    """The holder has answered that dispute."""
    NOT_DISPUTANT = 43
    """A dispute dropped by somebody who did not raise it."""
    NO_SUCH_HOLDER = 44
    """Who is to hold the claim is no label or society of this epoch, or holds it already."""
    STAY_PAST = 45
    """A stay until a time that has come already."""
    EDITION_LIVE = 46
    """The claim has a live mint of this edition."""
    OTHER_EDITIONS = 47
    """The claim's live mints speak of another number of editions."""
    TOO_MANY_MINTS = 48
    """One more live mint than a claim may have."""
    BLOCK_FULL = 49
    """What follows from it does not fit into its block: the same statement may be sent again."""


_RIGHTS_MIN: Final = Reason.NO_CLAIM
_DUPLICATES: Final = {
    Reason.STATEMENT: ("statement", "a statement not on record"),
    Reason.SIGNED: ("signature", "content not signed and recorded before"),
    Reason.CLIENT_REF: ("content.ref", "a client reference this issuer has not used"),
    Reason.CATALOGUE: ("catalogue.root", "a set of claims this issuer has not recorded"),
}
_REFUSALS: Final = {
    Reason.OTHER_EPOCH: ("change.epoch", "another epoch", "the epoch of the block: votes lapse with their epoch"),
    Reason.VOTED: ("protected.issuer", "one that has", "a member that has not voted for this proposal"),
    Reason.PASSED: ("change", "one that has", "a proposal that has not passed"),
    Reason.UNKNOWN_MEMBER: ("change.member", "another id", "the id of a member of this epoch"),
    Reason.MEMBER_ID_USED: (
        "change.member.id",
        "the id of a member",
        "an id no member has, or a member as it is but for the seat it lacks",
    ),
    Reason.KEY_USED: ("change.key", "a key in use", "keys, and a statement key id, that no member of this epoch has"),
    Reason.NO_SEAT: ("change.member", "a member without", "a member with a seat in the committee"),
    Reason.UNCHANGED: ("change.parameters", "those in force", "parameters other than those in force"),
    Reason.COMMITTEE_TOO_SMALL: ("change.member", "fewer", "a committee of at least 4 after the removal"),
    Reason.COMMITTEE_FULL: ("change.member.validator", "one more", "a committee of at most 128 after the admission"),
    Reason.CONSORTIUM_FULL: ("change.member", "one more", "at most 512 members after the admission"),
    Reason.TOO_MANY_VOTES: ("protected.issuer", "one more", "at most 256 votes of a member in one epoch"),
    Reason.TOO_MANY_SEATS: ("change", "one more", "at most f seats changed in one epoch: vote again in the next"),
    Reason.NO_CLAIM: ("claim", "no claim", "digest of a recorded CLAIM, CATALOGUE or SUPERSEDE, and a position in it"),
    Reason.STALE_HEAD: ("head", "another", "the claim's head: look at what changed it meanwhile, then sign anew"),
    Reason.NOT_HOLDER: ("protected.issuer", "another member", "the member that holds the claim"),
    Reason.OWN_CLAIM: (
        "protected.issuer",
        "its holder",
        "a member that does not hold the claim: WITHDRAW takes it back",
    ),
    Reason.REVOKED: ("claim", "one that is revoked", "a claim that is not revoked"),
    Reason.DISPUTED: ("claim", "one that is disputed", "a claim without open dispute or stay"),
    Reason.SUPERSEDED: ("claim", "one that is superseded", "the claim that took its place: its SUPERSEDE, position 0"),
    Reason.DISPUTE_OPEN: ("protected.issuer", "one that has", "a member without an open dispute of this claim"),
    Reason.TOO_MANY_DISPUTES: ("claim", "one more", "at most 16 open disputes of a claim"),
    Reason.NO_DISPUTE: ("dispute", "another digest", "the digest of a DISPUTE that is open on this claim"),
    Reason.RESPONDED: ("dispute", "an answered one", "a dispute that was not answered yet"),
    Reason.NOT_DISPUTANT: ("protected.issuer", "another member", "the member that raised the dispute"),
    Reason.NO_SUCH_HOLDER: ("to", "another id", "the id of a label or society of this epoch that does not hold it yet"),
    Reason.STAY_PAST: ("until_ms", "a time that has passed", "0, or a time after the time of the block"),
    Reason.EDITION_LIVE: ("terms.edition", "one that is live", "an edition of the claim without a live mint"),
    Reason.OTHER_EDITIONS: ("terms.editions", "another number", "as many editions as the claim's live mints say"),
    Reason.TOO_MANY_MINTS: ("terms.claim", "one more", "at most 256 live mints of a claim"),
    Reason.BLOCK_FULL: ("claim", "one more", "a block with room for what follows: send the same statement again"),
}
"""Field, what stood there, and what would have been right."""


def refusal_words(reason: Reason) -> tuple[str, str, str]:
    """(field, what stood there, what would have been right) of a statement that is refused at execution."""
    return _REFUSALS[reason]


_RECEIPT: Final = struct.Struct(">BB32sQQQ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of one statement of one block. Stays outside the log: it is this node's answer, not a record."""

    statement: Digest
    outcome: Outcome
    index: int
    """Leaf index: its own where RECORDED, the earlier statement's where DUPLICATE, 0 where REFUSED."""
    height: int
    """Of the block that ordered it."""
    block_time_ms: int
    reason: Reason = Reason.NONE

    @property
    def code(self) -> str:
        """Refusal code; empty where recorded."""
        match self.outcome:
            case Outcome.RECORDED:
                return ""
            case Outcome.DUPLICATE:
                return "DUPLICATE_STATEMENT"
            case Outcome.REFUSED:
                return f"{'RIGHTS' if self.reason >= _RIGHTS_MIN else 'GOVERNANCE'}_{self.reason.name}"

    @property
    def field(self) -> str:
        """What of the statement is on record already, or does not count; empty where recorded."""
        return _DUPLICATES[self.reason][0] if self.reason in _DUPLICATES else self._words()[0]

    @property
    def value(self) -> str:
        """What of a refused statement stood where `expected` should; empty where it was not refused."""
        return self._words()[1]

    @property
    def expected(self) -> str:
        if self.reason in _DUPLICATES:
            return f"{_DUPLICATES[self.reason][1]}; it is leaf {self.index}"
        return self._words()[2]

    def _words(self) -> tuple[str, str, str]:
        return _REFUSALS.get(self.reason, ("", "", ""))

    def encode(self) -> bytes:
        """Fixed layout for the store."""
        return _RECEIPT.pack(
            self.outcome, self.reason, self.statement, self.index, self.height, self.block_time_ms
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> Receipt:
        """Inverse of `encode`. Raises: MalformedMessage."""
        if len(data) != _RECEIPT.size or data[0] not in set(Outcome) or data[1] not in set(Reason):
            raise MalformedMessage("receipt", "layout", f"{_RECEIPT.size} bytes with a known outcome and reason")
        outcome, reason, statement, index, height, block_time_ms = _RECEIPT.unpack(data)
        return cls(
            statement=Digest(statement), outcome=Outcome(outcome), index=index, height=height,
            block_time_ms=block_time_ms, reason=Reason(reason),
        )  # fmt: skip
