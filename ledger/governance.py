"""Governance: what members vote on, and what a passed change makes of a roster. Pure; execution is in `ledger.apply`.

A vote is a statement of kind ADMIT, REMOVE, ROTATE_KEY or SET_POLICY whose body is the change. Members that sign the
same change for the same epoch have voted for one proposal; it passes with a quorum of the epoch's validators
(docs/adr/0007-membership-by-vote.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, Final, TypeAlias, assert_never

from consensus.types import VALIDATORS_MAX, VALIDATORS_MIN, Digest, Epoch, EpochParameters, PublicKey
from ledger.cbor import CborInput, CborValue, decode, encode
from ledger.errors import MalformedCbor, MalformedGovernance
from ledger.member import (
    CHAIN,
    KEY_PURPOSES,
    MEMBERS_MAX,
    Member,
    MemberKeys,
    ReadKeys,
    key_id,
    parameter_values,
    read_member,
    read_member_id,
    read_object,
    read_parameters,
)
from ledger.receipt import Reason
from ledger.roster import Roster, member_value

_PROPOSAL: Final = "stretto/proposal/v1"
_EPOCH_MAX: Final = 2**64 - 1
VOTES_PER_EPOCH_MAX: Final = 256
"""Of one member: votes are kept, and counted, until their epoch ends."""
SEAT_KEYS: Final = ("consensus", "log", "cosign", "peer", "chain")
"""Keys that a validator's node needs to take part: who replaces one of them has its seat changed."""


class Scope(StrEnum):
    """What a member is removed from."""

    CONSORTIUM = "consortium"
    """It is no member any more: its statements are refused."""
    COMMITTEE = "committee"
    """It gives up its seat and stays a member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admit:
    """A new member as it is to stand in the roster; or a member as it stands there, but with the seat it lacks."""

    kind: ClassVar[str] = "ADMIT"
    epoch: Epoch
    """In which the vote counts; in any other it is refused."""
    member: Member

    def encode(self) -> bytes:
        return _encode(self.epoch, {"member": member_value(self.member)})

    def describe(self) -> str:
        seat = "with a seat in the committee" if self.member.validator else "without a seat in the committee"
        return f"admit {self.member.name} ({self.member.id}, {self.member.role}) {seat}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    kind: ClassVar[str] = "REMOVE"
    epoch: Epoch
    member_id: str
    scope: Scope

    def encode(self) -> bytes:
        return _encode(self.epoch, {"member": self.member_id, "from": self.scope.value})

    def describe(self) -> str:
        return f"remove {self.member_id} from the {self.scope}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateKey:
    """A member's new key for one purpose. Statements and signatures by the old one count up to the epoch's end."""

    kind: ClassVar[str] = "ROTATE_KEY"
    epoch: Epoch
    member_id: str
    purpose: str
    """Name of a field of MemberKeys."""
    key: PublicKey
    proof: bytes = b""
    """Of possession, for the purpose `chain`; empty for every other."""

    def encode(self) -> bytes:
        proof: dict[str, CborInput] = {"proof": self.proof} if self.purpose == CHAIN else {}
        return _encode(self.epoch, {"member": self.member_id, "purpose": self.purpose, "key": bytes(self.key), **proof})

    def describe(self) -> str:
        return f"replace the {self.purpose} key of {self.member_id} by {self.key.hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPolicy:
    kind: ClassVar[str] = "SET_POLICY"
    epoch: Epoch
    parameters: EpochParameters

    def encode(self) -> bytes:
        return _encode(self.epoch, {"parameters": parameter_values(self.parameters)})

    def describe(self) -> str:
        told = ", ".join(f"{name} {value}" for name, value in parameter_values(self.parameters).items())
        return f"set the epoch's parameters to {told}"


Change: TypeAlias = Admit | Remove | RotateKey | SetPolicy


def proposal_id(change: Change) -> Digest:
    """SHA-256 that names what is voted on: kind, epoch and change, whoever votes."""
    return Digest(hashlib.sha256(encode([_PROPOSAL, change.kind, change.encode()])).digest())


# ---- form ------------------------------------------------------------------------------------------------------------


def _encode(epoch: Epoch, rest: Mapping[str, CborInput]) -> bytes:
    return encode({"epoch": int(epoch), **rest})


def _decode(data: bytes) -> CborValue:
    try:
        return decode(data)
    except MalformedCbor as error:
        expected = f"deterministic CBOR, at {error.field}: {error.expected}"
        raise MalformedGovernance("change", error.value, expected) from None


def _read(value: CborValue, names: tuple[str, ...]) -> tuple[Epoch, dict[str, object]]:
    found = read_object(value, "change", ("epoch", *names), MalformedGovernance)
    epoch = found["epoch"]
    if type(epoch) is not int or not 0 <= epoch <= _EPOCH_MAX:
        raise MalformedGovernance("change.epoch", epoch, "a whole number from 0 to 2^64 - 1")
    return Epoch(epoch), found


_KEYS: Final = ReadKeys(MalformedGovernance, hexadecimal=False)


def parse_admit(data: bytes) -> Admit:
    """Inverse of `Admit.encode`. Raises: MalformedGovernance."""
    epoch, found = _read(_decode(data), ("member",))
    member = read_member(found["member"], "change.member", keys=_KEYS, refuse=MalformedGovernance)
    keys = [getattr(member.keys, purpose) for purpose in KEY_PURPOSES]
    if len(set(keys)) != len(keys):
        raise MalformedGovernance("change.member.keys", member.id, "a key of its own for each purpose")
    return Admit(epoch=epoch, member=member)


def parse_remove(data: bytes) -> Remove:
    """Inverse of `Remove.encode`. Raises: MalformedGovernance."""
    epoch, found = _read(_decode(data), ("member", "from"))
    scope = found["from"]
    if not isinstance(scope, str) or scope not in set(Scope):
        raise MalformedGovernance("change.from", scope, " | ".join(Scope))
    member_id = read_member_id(found["member"], "change.member", MalformedGovernance)
    return Remove(epoch=epoch, member_id=member_id, scope=Scope(scope))


def parse_rotate_key(data: bytes) -> RotateKey:
    """Inverse of `RotateKey.encode`. Raises: MalformedGovernance."""
    value = _decode(data)
    is_chain = isinstance(value, dict) and value.get("purpose") == CHAIN
    epoch, found = _read(value, ("member", "purpose", "key", *(("proof",) if is_chain else ())))
    purpose = found["purpose"]
    if not isinstance(purpose, str) or purpose not in KEY_PURPOSES:
        raise MalformedGovernance("change.purpose", purpose, " | ".join(KEY_PURPOSES))
    member_id = read_member_id(found["member"], "change.member", MalformedGovernance)
    if not is_chain:
        return RotateKey(
            epoch=epoch, member_id=member_id, purpose=purpose, key=_KEYS.key(found["key"], "change.key")
        )  # fmt: skip
    key = _KEYS.chain_key(found["key"], "change.key")
    proof = _KEYS.chain_proof(found["proof"], "change.proof", key=key, member_id=member_id)
    return RotateKey(epoch=epoch, member_id=member_id, purpose=purpose, key=key, proof=proof)


def parse_set_policy(data: bytes) -> SetPolicy:
    """Inverse of `SetPolicy.encode`. Raises: MalformedGovernance."""
    epoch, found = _read(_decode(data), ("parameters",))
    parameters = read_parameters(found["parameters"], "change.parameters", MalformedGovernance)
    return SetPolicy(epoch=epoch, parameters=parameters)


_PARSERS: Final[Mapping[str, Callable[[bytes], Change]]] = {
    Admit.kind: parse_admit,
    Remove.kind: parse_remove,
    RotateKey.kind: parse_rotate_key,
    SetPolicy.kind: parse_set_policy,
}


def parse_change(kind: str, data: bytes) -> Change:
    """The change that a statement of this kind has as its body. Raises: MalformedGovernance."""
    parse = _PARSERS.get(kind)
    if parse is None:
        raise MalformedGovernance("kind", kind, " | ".join(_PARSERS))
    return parse(data)


# ---- what a change makes of a roster ---------------------------------------------------------------------------------


class NotApplicable(Exception):
    """A change that this roster does not allow. reason: why, as a receipt says it."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason


def amend(roster: Roster, change: Change) -> Roster:
    """The roster with one change, still of the same epoch. Raises: NotApplicable."""
    match change:
        case Admit():
            return replace(roster, members=_admit(roster, change.member))
        case Remove():
            return replace(roster, members=_remove(roster, change))
        case RotateKey():
            return replace(roster, members=_rotate(roster, change))
        case SetPolicy():
            if change.parameters == roster.parameters:
                raise NotApplicable(Reason.UNCHANGED)
            return replace(roster, parameters=change.parameters)
        case _:
            assert_never(change)


def _admit(roster: Roster, member: Member) -> tuple[Member, ...]:
    present = roster.member(member.id)
    if member.validator and len(roster.validator_members()) >= VALIDATORS_MAX:
        raise NotApplicable(Reason.COMMITTEE_FULL)
    if present is not None:
        if not member.validator or present != replace(member, validator=False):
            raise NotApplicable(Reason.MEMBER_ID_USED)
        return tuple(member if other is present else other for other in roster.members)
    if len(roster.members) >= MEMBERS_MAX:
        raise NotApplicable(Reason.CONSORTIUM_FULL)
    _check_keys_free(roster, member.keys)
    return (*roster.members, member)


def _check_keys_free(roster: Roster, keys: MemberKeys) -> None:
    used = {getattr(member.keys, purpose) for member in roster.members for purpose in KEY_PURPOSES}
    clash = roster.member_by_statement_key_id(key_id(keys.statement)) is not None
    if clash or any(getattr(keys, purpose) in used for purpose in KEY_PURPOSES):
        raise NotApplicable(Reason.KEY_USED)


def _remove(roster: Roster, change: Remove) -> tuple[Member, ...]:
    member = roster.member(change.member_id)
    if member is None:
        raise NotApplicable(Reason.UNKNOWN_MEMBER)
    if change.scope is Scope.COMMITTEE and not member.validator:
        raise NotApplicable(Reason.NO_SEAT)
    if member.validator and len(roster.validator_members()) <= VALIDATORS_MIN:
        raise NotApplicable(Reason.COMMITTEE_TOO_SMALL)
    if change.scope is Scope.CONSORTIUM:
        return tuple(other for other in roster.members if other is not member)
    return tuple(replace(other, validator=False) if other is member else other for other in roster.members)


def _rotate(roster: Roster, change: RotateKey) -> tuple[Member, ...]:
    member = roster.member(change.member_id)
    if member is None:
        raise NotApplicable(Reason.UNKNOWN_MEMBER)
    if any(change.key == getattr(other.keys, purpose) for other in roster.members for purpose in KEY_PURPOSES):
        raise NotApplicable(Reason.KEY_USED)
    if change.purpose == "statement" and roster.member_by_statement_key_id(key_id(change.key)) is not None:
        raise NotApplicable(Reason.KEY_USED)
    keys = {purpose: getattr(member.keys, purpose) for purpose in KEY_PURPOSES} | {change.purpose: change.key}
    proof = change.proof if change.purpose == CHAIN else member.keys.chain_proof
    renewed = replace(member, keys=MemberKeys(**keys, chain_proof=proof))
    return tuple(renewed if other is member else other for other in roster.members)


def seats_changed(old: Roster, new: Roster) -> int:
    """Seats given, seats taken, and seats whose node needs a new key (SEAT_KEYS) to keep taking part."""
    before = {member.id: member.keys for member in old.validator_members()}
    after = {member.id: member.keys for member in new.validator_members()}
    renewed = [
        member_id
        for member_id in before.keys() & after.keys()
        if any(getattr(before[member_id], name) != getattr(after[member_id], name) for name in SEAT_KEYS)
    ]
    return len(before.keys() ^ after.keys()) + len(renewed)


def check_seats(old: Roster, new: Roster) -> None:
    """At most f seats change in an epoch: as many new ones may be down, or not caught up, and it goes on.

    Raises: NotApplicable.
    """
    if seats_changed(old, new) > old.committee().faults_max:
        raise NotApplicable(Reason.TOO_MANY_SEATS)


def conclude(old: Roster, amended: Roster) -> Roster:
    """The roster of the epoch after `old`, from `old` with every change that passed.

    Who was a member keeps its place; who is new stands behind, by id: the order in which changes passed does not show.
    """
    kept = [member for member in amended.members if old.member(member.id) is not None]
    new = sorted((member for member in amended.members if old.member(member.id) is None), key=lambda member: member.id)
    return replace(amended, epoch=Epoch(old.epoch + 1), members=(*kept, *new))
