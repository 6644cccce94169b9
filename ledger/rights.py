"""The rights of one claim as a state machine: who holds it, what is disputed, ordered and minted. Pure.

Every rule is one function from the rights before to the rights after, or a RightsRefused with its reason. Nobody here
decides who is right: members and courts say so in statements, which `ledger.derive` reads and applies (design D9, D12).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, NamedTuple

from consensus.errors import MalformedMessage
from consensus.types import Digest
from ledger.cbor import CborInput, CborValue, decode, encode
from ledger.derived import MintState
from ledger.errors import MalformedCbor
from ledger.member import Role
from ledger.receipt import Reason
from ledger.rights_content import CourtAction, DisputeOutcome, MintsFate
from ledger.roster import Roster

DISPUTES_MAX: Final = 16
"""Open on one claim."""
MINTS_MAX: Final = 256
"""Live mints of one claim: what one transition appends STATUS leaves for."""
HOLDER_ROLES: Final = frozenset({Role.LABEL, Role.SOCIETY})


class RightsRefused(Exception):
    """The claim's rights do not allow it."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason


class ClaimId(NamedTuple):
    """Which claim: the digest of the statement that it is in, and its position there. Sorts as bytes do."""

    statement: Digest
    position: int

    def encode(self) -> bytes:
        """36 bytes that sort as the ids do."""
        return self.statement + self.position.to_bytes(4, "big")

    @classmethod
    def decode(cls, data: bytes) -> ClaimId:
        """Inverse of `encode`. data: 36 bytes."""
        return cls(Digest(data[:32]), int.from_bytes(data[32:], "big"))


class ClaimState(IntEnum):
    """Values as the wire's ClaimState, less one."""

    ACTIVE = 0
    DISPUTED = 1
    REVOKED = 2
    SUPERSEDED = 3


class OpenDispute(NamedTuple):
    statement: Digest
    """Of the DISPUTE."""
    disputant: str
    responded: bool = False


class Stay(NamedTuple):
    order: Digest
    """The COURT_ORDER."""
    until_ms: int
    """Block time from which it lapses; 0: it holds until lifted."""


class Superseded(NamedTuple):
    by: Digest
    """The SUPERSEDE."""
    mints: MintsFate


class LiveMint(NamedTuple):
    """A mint that has not been replaced. Its state is its claim's."""

    entry: Digest
    """Of the MINT leaf: the token's id."""
    leaf_index: int
    """Of the MINT leaf."""
    edition: int
    seq: int = 0
    """Of its latest STATUS leaf; 0 where it has none, which means active."""
    status_index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRights:
    """Where the rights of one claim stand.

    Invariants: (1) at most DISPUTES_MAX disputes, in the order they came, one of a disputant; (2) at most MINTS_MAX
    mints, by index, one of an edition; (3) a claim that passed its mints on has none.
    """

    claim: ClaimId
    holder: str
    """Member id."""
    head: Digest
    """The statement that changed these rights last, at first the claim's own. A MINT adds to them and changes none."""
    revoked: bool = False
    superseded: Superseded | None = None
    disputes: tuple[OpenDispute, ...] = ()
    stay: Stay | None = None
    editions: int = 0
    """As all its live mints say; 0 where it has none."""
    mints: tuple[LiveMint, ...] = ()

    @property
    def state(self) -> ClaimState:
        if self.superseded is not None and self.superseded.mints is MintsFate.KEEP:
            return ClaimState.SUPERSEDED
        if self.revoked:
            return ClaimState.REVOKED
        return ClaimState.DISPUTED if self.disputes or self.stay is not None else ClaimState.ACTIVE

    @property
    def mint_state(self) -> MintState:
        """What its mints' STATUS leaves say. A superseded claim that passed them on has none."""
        return MintState(min(self.state, ClaimState.REVOKED))

    def dispute(self, statement: Digest) -> OpenDispute | None:
        return next((each for each in self.disputes if each.statement == statement), None)

    def encode(self) -> bytes:
        """Canonical, for the store."""
        superseded, stay = self.superseded, self.stay
        value: list[CborInput] = [
            self.claim.statement,
            self.claim.position,
            self.holder,
            self.head,
            self.revoked,
            [] if superseded is None else [superseded.by, superseded.mints.value],
            [list(dispute) for dispute in self.disputes],
            [] if stay is None else list(stay),
            self.editions,
            [list(mint) for mint in self.mints],
        ]
        return encode(value)

    @classmethod
    def decode(cls, data: bytes) -> ClaimRights:
        """Inverse of `encode`. Raises: MalformedMessage."""
        try:
            rights = _read(decode(data))
        except (MalformedCbor, TypeError, ValueError) as error:
            raise MalformedMessage("rights", "layout", f"what ClaimRights.encode makes ({error})") from error
        if rights.encode() != data:
            raise MalformedMessage("rights", "layout", "what ClaimRights.encode makes, field by field")
        return rights


def _read(value: CborValue) -> ClaimRights:
    """Types are left to the comparison with the encoding of what comes out."""
    if not isinstance(value, list):
        raise TypeError("no array")
    statement, position, holder, head, revoked, superseded, disputes, stay, editions, mints = value
    return ClaimRights(
        claim=ClaimId(statement, position),  # type: ignore[arg-type]
        holder=holder,  # type: ignore[arg-type]
        head=head,  # type: ignore[arg-type]
        revoked=revoked,  # type: ignore[arg-type]
        superseded=Superseded(superseded[0], MintsFate(superseded[1])) if superseded else None,  # type: ignore
        disputes=tuple(OpenDispute(*each) for each in disputes),  # type: ignore
        stay=Stay(*stay) if stay else None,  # type: ignore
        editions=editions,  # type: ignore[arg-type]
        mints=tuple(LiveMint(*each) for each in mints),  # type: ignore
    )


def initial(claim: ClaimId, issuer: str) -> ClaimRights:
    """Of a claim that nothing has happened to."""
    return ClaimRights(claim=claim, holder=issuer, head=claim.statement)


# ---- what every change needs -----------------------------------------------------------------------------------------


def require_not_superseded(rights: ClaimRights) -> None:
    """What is said of a superseded claim would reach nobody: its mints have gone to the claim in its place."""
    if rights.state is ClaimState.SUPERSEDED:
        raise RightsRefused(Reason.SUPERSEDED)


def require_holder(rights: ClaimRights, issuer: str) -> None:
    if issuer != rights.holder:
        raise RightsRefused(Reason.NOT_HOLDER)


def require_head(rights: ClaimRights, head: Digest) -> None:
    """Compare-and-set: nobody changes what they have not seen."""
    if head != rights.head:
        raise RightsRefused(Reason.STALE_HEAD)


def require_not_revoked(rights: ClaimRights) -> None:
    if rights.state is ClaimState.REVOKED:
        raise RightsRefused(Reason.REVOKED)


def require_active(rights: ClaimRights) -> None:
    require_not_revoked(rights)
    if rights.state is ClaimState.DISPUTED:
        raise RightsRefused(Reason.DISPUTED)


def require_new_holder(rights: ClaimRights, to: str, roster: Roster) -> None:
    """Only who may act for a claim can hold it."""
    member = roster.member(to)
    if member is None or member.role not in HOLDER_ROLES or to == rights.holder:
        raise RightsRefused(Reason.NO_SUCH_HOLDER)


def require_dispute(rights: ClaimRights, statement: Digest) -> OpenDispute:
    found = rights.dispute(statement)
    if found is None:
        raise RightsRefused(Reason.NO_DISPUTE)
    return found


# ---- the changes: rights before to rights after. Raises: RightsRefused -----------------------------------------------


class Act(NamedTuple):
    """A statement that changes rights, and names the head that its author saw."""

    cause: Digest
    """The statement's digest."""
    issuer: str
    head: Digest


def dispute(rights: ClaimRights, cause: Digest, issuer: str) -> ClaimRights:
    """At any time, also of a revoked claim, which a court may reinstate; and against any head."""
    require_not_superseded(rights)
    if issuer == rights.holder:
        raise RightsRefused(Reason.OWN_CLAIM)
    if any(each.disputant == issuer for each in rights.disputes):
        raise RightsRefused(Reason.DISPUTE_OPEN)
    if len(rights.disputes) >= DISPUTES_MAX:
        raise RightsRefused(Reason.TOO_MANY_DISPUTES)
    return replace(rights, head=cause, disputes=(*rights.disputes, OpenDispute(cause, issuer)))


def respond(rights: ClaimRights, act: Act, to: Digest) -> ClaimRights:
    """Once for each dispute. The claim stays disputed."""
    require_not_superseded(rights)
    require_holder(rights, act.issuer)
    require_head(rights, act.head)
    answered = require_dispute(rights, to)
    if answered.responded:
        raise RightsRefused(Reason.RESPONDED)
    disputes = tuple(each._replace(responded=True) if each is answered else each for each in rights.disputes)
    return replace(rights, head=act.cause, disputes=disputes)


def resolve(rights: ClaimRights, act: Act, ended: Digest, outcome: DisputeOutcome) -> ClaimRights:
    """Dropped by who raised it, or conceded by the holder, which revokes the claim. Other disputes stay open."""
    require_not_superseded(rights)
    found = require_dispute(rights, ended)
    if outcome is DisputeOutcome.CONCEDED:
        require_holder(rights, act.issuer)
    elif act.issuer != found.disputant:
        raise RightsRefused(Reason.NOT_DISPUTANT)
    require_head(rights, act.head)
    rest = tuple(each for each in rights.disputes if each is not found)
    return replace(
        rights, head=act.cause, disputes=rest, revoked=rights.revoked or outcome is DisputeOutcome.CONCEDED
    )  # fmt: skip


def withdraw(rights: ClaimRights, act: Act) -> ClaimRights:
    require_not_superseded(rights)
    require_holder(rights, act.issuer)
    require_head(rights, act.head)
    require_not_revoked(rights)
    return replace(rights, head=act.cause, revoked=True)


def transfer(rights: ClaimRights, act: Act, to: str, roster: Roster) -> ClaimRights:
    require_not_superseded(rights)
    require_holder(rights, act.issuer)
    require_head(rights, act.head)
    require_active(rights)
    require_new_holder(rights, to, roster)
    return replace(rights, head=act.cause, holder=to)


def supersede(rights: ClaimRights, act: Act, mints: MintsFate) -> tuple[ClaimRights, ClaimRights]:
    """The old claim's rights and those of the claim in its place, which is at (act.cause, 0)."""
    require_not_superseded(rights)
    require_holder(rights, act.issuer)
    require_head(rights, act.head)
    require_active(rights)
    old = replace(rights, head=act.cause, superseded=Superseded(act.cause, mints))
    new = initial(ClaimId(act.cause, 0), act.issuer)
    if mints is MintsFate.REVOKE:
        return replace(old, revoked=True), new
    return replace(old, mints=(), editions=0), replace(new, mints=rights.mints, editions=rights.editions)


def order(
    rights: ClaimRights,
    act: Act,
    action: CourtAction,
    *,
    until_ms: int,
    to: str | None,
    block_time_ms: int,
    roster: Roster,
) -> ClaimRights:
    """A court's, in any state. until_ms: of a stay. to: of an assignment."""
    require_head(rights, act.head)
    ordered = replace(rights, head=act.cause)
    match action:
        case CourtAction.STAY:
            if until_ms and until_ms <= block_time_ms:
                raise RightsRefused(Reason.STAY_PAST)
            return replace(ordered, stay=Stay(act.cause, until_ms))
        case CourtAction.LIFT:
            return replace(ordered, stay=None)
        case CourtAction.REVOKE:
            return replace(ordered, revoked=True)
        case CourtAction.REINSTATE:
            return _reinstated(ordered)
        case CourtAction.ASSIGN:
            assert to is not None, "the content says to whom"
            require_new_holder(rights, to, roster)
            return replace(ordered, holder=to)


def _reinstated(rights: ClaimRights) -> ClaimRights:
    """Active: not revoked, nothing disputed or stayed. Mints that went to another claim stay there."""
    kept = rights.superseded if rights.state is ClaimState.SUPERSEDED else None
    return replace(rights, revoked=False, disputes=(), stay=None, superseded=kept)


def lapse(rights: ClaimRights) -> ClaimRights:
    """The stay's time has come. No statement says so: the head stays."""
    assert rights.stay is not None, "only a stay lapses"
    assert rights.stay.until_ms, "a stay without a time holds until it is lifted"
    return replace(rights, stay=None)


# ---- mints -----------------------------------------------------------------------------------------------------------


def mint(rights: ClaimRights, issuer: str, minted: LiveMint, editions: int) -> ClaimRights:
    """minted: with the index that its leaf gets. editions: how many its terms say there are."""
    require_not_superseded(rights)
    require_holder(rights, issuer)
    require_active(rights)
    if any(each.edition == minted.edition for each in rights.mints):
        raise RightsRefused(Reason.EDITION_LIVE)
    if rights.mints and editions != rights.editions:
        raise RightsRefused(Reason.OTHER_EDITIONS)
    if len(rights.mints) >= MINTS_MAX:
        raise RightsRefused(Reason.TOO_MANY_MINTS)
    return replace(rights, editions=editions, mints=(*rights.mints, minted))


def with_status(rights: ClaimRights, first_index: int) -> ClaimRights:
    """After every live mint got a STATUS leaf, from `first_index` on, in the order of the mints."""
    mints = tuple(
        each._replace(seq=each.seq + 1, status_index=first_index + place) for place, each in enumerate(rights.mints)
    )
    return replace(rights, mints=mints)
