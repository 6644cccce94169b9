"""Changes to vote on: their one encoding, what names a proposal, and what each makes of a roster."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.types import Epoch, EpochParameters
from ledger.cbor import decode, encode
from ledger.chain_key import is_possession
from ledger.errors import MalformedGovernance, RoleForbids
from ledger.genesis import Role
from ledger.governance import (
    Admit,
    Change,
    NotApplicable,
    Remove,
    RotateKey,
    Scope,
    SetPolicy,
    amend,
    check_seats,
    conclude,
    parse_admit,
    parse_remove,
    parse_rotate_key,
    parse_set_policy,
    proposal_id,
    seats_changed,
)
from ledger.member import CHAIN, KEY_PURPOSES
from ledger.receipt import Reason
from ledger.roster import Roster
from ledger.statement import StatementKind, check_statement
from tests.ledger.builders import chain_key, make_consortium, make_member, public_key

CONSORTIUM = make_consortium()
ROSTER = CONSORTIUM.genesis.roster
INDIE = make_member("indie", Role.LABEL)
ZERO = Epoch(0)


def admit(member: str = "indie", *, validator: bool = True, epoch: int = 0) -> Admit:
    return Admit(epoch=Epoch(epoch), member=make_member(member, Role.LABEL, validator=validator))


def remove(member: str, scope: Scope = Scope.CONSORTIUM, *, epoch: int = 0) -> Remove:
    return Remove(epoch=Epoch(epoch), member_id=member, scope=scope)


def rotate(member: str, purpose: str, key: bytes | None = None, *, epoch: int = 0) -> RotateKey:
    new = public_key(f"{member} again", purpose) if key is None else key
    proof = chain_key(f"{member} again").prove(member) if purpose == CHAIN else b""
    return RotateKey(epoch=Epoch(epoch), member_id=member, purpose=purpose, key=new, proof=proof)  # type: ignore[arg-type]


def policy(delta_ms: int = 200, *, epoch: int = 0) -> SetPolicy:
    return SetPolicy(epoch=Epoch(epoch), parameters=EpochParameters(delta_ms=delta_ms))


CHANGES: list[Change] = [
    admit(),
    admit(validator=False),
    remove("label"),
    remove("label", Scope.COMMITTEE),
    *(rotate("court", purpose) for purpose in KEY_PURPOSES),
    policy(),
]
PARSERS: dict[str, Callable[[bytes], Change]] = {
    "ADMIT": parse_admit,
    "REMOVE": parse_remove,
    "ROTATE_KEY": parse_rotate_key,
    "SET_POLICY": parse_set_policy,
}


# ---- form ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_survives_its_bytes(change: Change) -> None:
    assert PARSERS[change.kind](change.encode()) == change


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_survives_a_statement_and_any_seat_may_sign_it(change: Change) -> None:
    for issuer in ("label", "court", "society", "platform"):
        statement = CONSORTIUM.statement(change, issuer=issuer)
        assert (statement.kind, statement.content) == (StatementKind(change.kind), change)
        check_statement(statement, ROSTER)


def test_whoever_has_no_seat_does_not_vote() -> None:
    watcher = make_member("watcher", Role.LABEL, validator=False)
    consortium = make_consortium([*ROSTER.members, watcher])
    statement = consortium.statement(policy(), issuer="watcher")
    with pytest.raises(RoleForbids, match="seat in the committee"):
        check_statement(statement, consortium.genesis.roster)


def test_the_same_change_is_one_proposal_whoever_votes_and_another_epoch_another() -> None:
    names = [proposal_id(change) for change in CHANGES]
    assert len(set(names)) == len(names)
    assert proposal_id(policy()) == proposal_id(policy())
    assert proposal_id(policy(epoch=1)) != proposal_id(policy())
    votes = [CONSORTIUM.statement(policy(), issuer=issuer, ref=issuer) for issuer in ("label", "court")]
    assert {proposal_id(vote.content) for vote in votes} == {proposal_id(policy())}  # type: ignore[arg-type]


def test_a_proposal_is_named_by_kind_and_body_as_documented() -> None:
    change = remove("label")
    listed = ["stretto/proposal/v1", "REMOVE", change.encode()]
    assert proposal_id(change) == hashlib.sha256(cbor2.dumps(listed, canonical=True)).digest()


def edited(change: Change, path: tuple[Any, ...], value: object) -> bytes:
    document: Any = decode(change.encode())
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return encode(document)


@pytest.mark.parametrize(
    ("change", "path", "value", "field"),
    [
        (policy(), ("epoch",), "0", "change.epoch"),
        (policy(), ("epoch",), -1, "change.epoch"),
        (policy(), ("epoch",), False, "change.epoch"),
        (policy(), ("parameters", "delta_ms"), 9, "change.parameters.delta_ms"),
        (policy(), ("parameters", "heartbeat_ms"), "600000", "change.parameters.heartbeat_ms"),
        (policy(), ("extra",), 1, "change.extra"),
        (remove("label"), ("from",), "earth", "change.from"),
        (remove("label"), ("from",), 1, "change.from"),
        (remove("label"), ("member",), "No Slug", "change.member"),
        (rotate("label", "log"), ("purpose",), "tls", "change.purpose"),
        (rotate("label", "log"), ("key",), bytes(32), "change.key"),
        (rotate("label", "log"), ("key",), b"short", "change.key"),
        (rotate("label", "log"), ("key",), "00" * 32, "change.key"),
        (rotate("label", "log"), ("member",), b"label", "change.member"),
        (rotate("label", "log"), ("proof",), bytes(64), "change.proof"),
        (rotate("label", "chain"), ("key",), bytes(33), "change.key"),
        (rotate("label", "chain"), ("key",), bytes(public_key("court", "chain")), "change.proof"),
        (rotate("label", "chain"), ("member",), "court", "change.proof"),
        (rotate("label", "chain"), ("proof",), bytes(64), "change.proof"),
        (rotate("label", "chain"), ("proof",), "00" * 64, "change.proof"),
        (admit(), ("member", "keys", "chain_proof"), bytes(64), "change.member.keys.chain_proof"),
        (admit(), ("member", "keys", "chain"), bytes(public_key("court", "chain")), "change.member.keys.chain_proof"),
        (admit(), ("member", "id"), "", "change.member.id"),
        (admit(), ("member", "role"), "king", "change.member.role"),
        (admit(), ("member", "keys", "log"), bytes(32), "change.member.keys.log"),
        (admit(), ("member", "keys", "log"), bytes(public_key("indie", "peer")), "change.member.keys"),
        (admit(), ("member",), "indie", "change.member"),
    ],
)
def test_malformed_changes_are_refused_by_field(
    change: Change, path: tuple[Any, ...], value: object, field: str
) -> None:
    with pytest.raises(MalformedGovernance) as caught:
        PARSERS[change.kind](edited(change, path, value))
    assert caught.value.field == field


@given(data=st.binary(max_size=120), kind=st.sampled_from(sorted(PARSERS)))
def test_any_bytes_are_a_change_or_refused(data: bytes, kind: str) -> None:
    with pytest.raises(MalformedGovernance):
        PARSERS[kind](data)


# ---- what a change makes of a roster ---------------------------------------------------------------------------------


def not_applicable(roster: Roster, change: Change) -> Reason:
    with pytest.raises(NotApplicable) as caught:
        amend(roster, change)
    return caught.value.reason


def grown(count: int, *, seats: int | None = None) -> Roster:
    members = [make_member(f"m{i}", Role.LABEL, validator=seats is None or i < seats) for i in range(count)]
    return replace(ROSTER, members=tuple(members))


FIVE = grown(5)


def test_an_admitted_member_stands_behind_the_others() -> None:
    roster = amend(ROSTER, admit())
    assert roster.members == (*ROSTER.members, INDIE)
    assert roster.validator_index("indie") == 4
    assert amend(ROSTER, admit(validator=False)).validator_index("indie") is None


def test_a_member_without_a_seat_is_given_one_and_keeps_its_place() -> None:
    roster = replace(ROSTER, members=(replace(INDIE, validator=False), *ROSTER.members))
    assert amend(roster, admit()).members == (INDIE, *ROSTER.members)


@pytest.mark.parametrize(
    ("roster", "change", "reason"),
    [
        (ROSTER, admit("label"), Reason.MEMBER_ID_USED),
        (ROSTER, Admit(epoch=ZERO, member=ROSTER.members[0]), Reason.MEMBER_ID_USED),
        (amend(ROSTER, admit(validator=False)), admit(validator=False), Reason.MEMBER_ID_USED),
        (
            amend(ROSTER, admit(validator=False)),
            Admit(epoch=ZERO, member=replace(INDIE, name="Another name")),
            Reason.MEMBER_ID_USED,
        ),
        (
            ROSTER,
            Admit(epoch=ZERO, member=replace(INDIE, keys=replace(INDIE.keys, log=public_key("court", "peer")))),
            Reason.KEY_USED,
        ),
        (ROSTER, remove("stranger"), Reason.UNKNOWN_MEMBER),
        (ROSTER, remove("label"), Reason.COMMITTEE_TOO_SMALL),
        (ROSTER, remove("label", Scope.COMMITTEE), Reason.COMMITTEE_TOO_SMALL),
        (amend(ROSTER, admit(validator=False)), remove("indie", Scope.COMMITTEE), Reason.NO_SEAT),
        (ROSTER, rotate("stranger", "log"), Reason.UNKNOWN_MEMBER),
        (ROSTER, rotate("label", "log", public_key("label", "log")), Reason.KEY_USED),
        (ROSTER, rotate("label", "log", public_key("label", "cosign")), Reason.KEY_USED),
        (ROSTER, rotate("label", "statement", public_key("court", "peer")), Reason.KEY_USED),
        (ROSTER, SetPolicy(epoch=ZERO, parameters=ROSTER.parameters), Reason.UNCHANGED),
    ],
)
def test_a_change_the_roster_does_not_allow_is_refused_with_its_reason(
    roster: Roster, change: Change, reason: Reason
) -> None:
    assert not_applicable(roster, change) is reason


def test_the_largest_committee_and_consortium_take_no_more() -> None:
    largest = grown(130, seats=128)
    assert not_applicable(largest, admit()) is Reason.COMMITTEE_FULL
    seatless = largest.members[129]
    assert not_applicable(largest, Admit(epoch=ZERO, member=replace(seatless, validator=True))) is Reason.COMMITTEE_FULL
    assert amend(largest, admit(validator=False)).member("indie") is not None
    full = replace(ROSTER, members=tuple(replace(INDIE, id=f"m{i}", validator=i < 4) for i in range(512)))
    assert not_applicable(full, admit(validator=False)) is Reason.CONSORTIUM_FULL


def test_a_statement_key_whose_id_collides_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 bytes can be ground; here the hash is made to collide instead."""
    monkeypatch.setattr("ledger.member.key_id", lambda _key: b"8 bytes.")
    monkeypatch.setattr("ledger.governance.key_id", lambda _key: b"8 bytes.")
    fresh = replace(ROSTER, members=ROSTER.members)
    assert not_applicable(fresh, admit()) is Reason.KEY_USED
    assert not_applicable(fresh, rotate("label", "statement")) is Reason.KEY_USED
    assert amend(fresh, rotate("label", "log")) is not None


def test_removal_from_the_committee_leaves_a_member() -> None:
    roster = amend(FIVE, remove("m2", Scope.COMMITTEE))
    assert [member.id for member in roster.validator_members()] == ["m0", "m1", "m3", "m4"]
    assert roster.member("m2") is not None
    assert amend(FIVE, remove("m2")).member("m2") is None
    assert amend(amend(FIVE, admit(validator=False)), remove("indie")) == FIVE


def test_a_new_key_replaces_the_one_for_its_purpose_alone() -> None:
    for purpose in KEY_PURPOSES:
        member = amend(ROSTER, rotate("court", purpose)).member("court")
        assert member is not None
        assert getattr(member.keys, purpose) == public_key("court again", purpose)
        kept = [other for other in KEY_PURPOSES if other != purpose]
        assert all(getattr(member.keys, other) == public_key("court", other) for other in kept)


def test_a_new_chain_key_comes_with_its_proof_and_the_roster_keeps_it() -> None:
    change = parse_rotate_key(rotate("court", "chain").encode())
    member = amend(ROSTER, change).member("court")
    assert member is not None
    assert (member.keys.chain, member.keys.chain_proof) == (change.key, change.proof)
    assert is_possession(member.keys.chain, "court", member.keys.chain_proof)
    without = decode(rotate("court", "chain").encode())
    del without["proof"]  # type: ignore[arg-type,union-attr]
    with pytest.raises(MalformedGovernance, match="proof"):
        parse_rotate_key(encode(without))  # type: ignore[arg-type]


# ---- how much may change ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "seats"),
    [
        ([admit()], 1),
        ([admit(validator=False)], 0),
        ([remove("m1")], 1),
        ([remove("m1", Scope.COMMITTEE)], 1),
        ([admit(), remove("m1")], 2),
        ([rotate("m1", "consensus")], 1),
        ([rotate("m1", purpose) for purpose in ("consensus", "log", "cosign", "peer", "chain")], 1),
        ([rotate("m1", "statement"), rotate("m1", "export")], 0),
        ([rotate("m1", "peer"), rotate("m2", "cosign")], 2),
        ([policy()], 0),
    ],
)
def test_seats_given_taken_and_rekeyed_are_counted(changes: list[Change], seats: int) -> None:
    roster = FIVE
    for change in changes:
        roster = amend(roster, change)
    assert seats_changed(FIVE, roster) == seats


@pytest.mark.parametrize(("committee", "allowed"), [(4, 1), (6, 1), (7, 2), (10, 3)])
def test_at_most_f_seats_change(committee: int, allowed: int) -> None:
    old = roster = grown(committee)
    for i in range(allowed):
        roster = amend(roster, admit(f"new{i}"))
        check_seats(old, roster)
    with pytest.raises(NotApplicable) as caught:
        check_seats(old, amend(roster, admit("one-more")))
    assert caught.value.reason is Reason.TOO_MANY_SEATS


def test_the_next_epoch_keeps_places_and_puts_the_new_behind_by_id() -> None:
    amended = FIVE
    for change in (admit("zebra", validator=False), remove("m1"), admit("aria", validator=False)):
        amended = amend(amended, change)
    following = conclude(FIVE, amended)
    assert [member.id for member in following.members] == ["m0", "m2", "m3", "m4", "aria", "zebra"]
    assert (following.epoch, following.origin, following.consortium) == (1, FIVE.origin, FIVE.consortium)
