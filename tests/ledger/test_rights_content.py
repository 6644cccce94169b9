"""What is said about a claim's rights: one form, every field bounded, and an error that names the one that is wrong."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.cbor import decode, encode
from ledger.claim import Title
from ledger.errors import MalformedClaim, MalformedRights, MalformedTerms, StatementError
from ledger.member import Role
from ledger.rights_content import (
    POSITION_MAX,
    UNTIL_MS_MAX,
    CourtAction,
    CourtOrder,
    Mint,
    MintsFate,
    RightsContent,
    Supersede,
    parse_rights,
)
from ledger.statement import StatementKind, check_statement, parse_statement
from tests.ledger.builders import FOUR, make_claim, make_consortium
from tests.ledger.rights_builders import CLAIM, CONTENTS, contents, make_terms

CONSORTIUM = make_consortium()
ROSTER = CONSORTIUM.genesis.roster


def changed(name: str, **changes: Any) -> bytes:
    """A content's encoding with other fields; None drops one."""
    value = decode(CONTENTS[name].encode())
    assert isinstance(value, dict)
    return encode({key: item for key, item in (value | changes).items() if item is not None})


def refused(name: str, data: bytes) -> StatementError:
    with pytest.raises(StatementError) as caught:
        parse_rights(CONTENTS[name].kind, data)
    return caught.value


@pytest.mark.parametrize("name", CONTENTS)
def test_what_is_said_is_read(name: str) -> None:
    content = CONTENTS[name]
    assert parse_rights(content.kind, content.encode()) == content
    assert cbor2.loads(content.encode()) == decode(content.encode()), "a library reads it too"


@given(contents())
@settings(max_examples=300)
def test_every_content_has_one_encoding(content: RightsContent) -> None:
    data = content.encode()
    assert parse_rights(content.kind, data) == content
    assert parse_rights(content.kind, data).encode() == data


@given(contents(), st.data())
@settings(max_examples=300)
def test_other_bytes_say_something_else_or_nothing(content: RightsContent, data: st.DataObject) -> None:
    encoded = content.encode()
    at = data.draw(st.integers(0, len(encoded) - 1))
    other = encoded[:at] + bytes((encoded[at] ^ 1 << data.draw(st.integers(0, 7)),)) + encoded[at + 1 :]
    try:
        read = parse_rights(content.kind, other)
    except StatementError:
        return
    assert read != content
    assert read.encode() == other


# ---- who may say what ------------------------------------------------------------------------------------------------

_HOLDERS = {Role.LABEL, Role.SOCIETY}
MAY: dict[StatementKind, set[Role]] = {
    StatementKind.DISPUTE: _HOLDERS | {Role.COURT},
    StatementKind.RESPOND: _HOLDERS,
    StatementKind.RESOLVE: _HOLDERS | {Role.COURT},
    StatementKind.WITHDRAW: _HOLDERS,
    StatementKind.TRANSFER: _HOLDERS,
    StatementKind.SUPERSEDE: _HOLDERS,
    StatementKind.COURT_ORDER: {Role.COURT},
    StatementKind.MINT: _HOLDERS,
}


def test_every_kind_of_content_is_a_kind_of_statement() -> None:
    assert {content.kind for content in CONTENTS.values()} == {kind.value for kind in MAY}


@pytest.mark.parametrize(("member_id", "role"), FOUR)
@pytest.mark.parametrize("name", CONTENTS)
def test_roles_bound_who_may_say_it(name: str, member_id: str, role: Role) -> None:
    statement = CONSORTIUM.statement(CONTENTS[name], issuer=member_id)
    assert statement.content == CONTENTS[name]
    assert statement.kind == CONTENTS[name].kind
    if role in MAY[statement.kind]:
        check_statement(statement, ROSTER)
        return
    with pytest.raises(StatementError) as caught:
        check_statement(statement, ROSTER)
    assert caught.value.code == "ROLE_FORBIDS"
    assert all(str(allowed) in caught.value.expected for allowed in MAY[statement.kind])


def test_a_fault_is_named_from_the_outside() -> None:
    good = CONSORTIUM.sign(CONTENTS["dispute"])
    with pytest.raises(MalformedRights) as caught:
        parse_statement(good.replace(b"We recorded", b"We\nrecorded"))
    assert caught.value.field == "dispute.grounds"


def test_only_a_claim_and_a_replacement_are_claims_of_their_statement() -> None:
    supersede = CONSORTIUM.statement(CONTENTS["supersede"])
    assert supersede.own_claim == make_claim(7)
    assert supersede.own_claim_bytes == make_claim(7).encode()
    assert supersede.own_claim_bytes in supersede.raw
    claim = CONSORTIUM.statement(make_claim(3))
    assert (claim.own_claim, claim.own_claim_bytes) == (make_claim(3), make_claim(3).encode())
    assert CONSORTIUM.statement(CONTENTS["dispute"]).own_claim is None


# ---- what is refused -------------------------------------------------------------------------------------------------

HEADED = [name for name in CONTENTS if name not in ("dispute", "mint")]
NAMED = [name for name in CONTENTS if name != "mint"]


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"claim": None}, "claim", "missing"),
        ({"claim": bytes(31)}, "claim", "32 bytes"),
        ({"claim": bytes(33)}, "claim", "32 bytes"),
        ({"claim": "x" * 32}, "claim", "a byte string"),
        ({"position": None}, "position", "missing"),
        ({"position": -1}, "position", f"0 to {POSITION_MAX}"),
        ({"position": POSITION_MAX + 1}, "position", f"0 to {POSITION_MAX}"),
        ({"position": 2**64 - 1}, "position", f"0 to {POSITION_MAX}"),
        ({"position": True}, "position", "a whole number"),
        ({"position": b"\x01"}, "position", "a whole number"),
        ({"extra": 1}, "extra", "no such field"),
    ],
)
def test_a_claim_that_is_not_named_is_refused(name: str, changes: dict[str, Any], field: str, expected: str) -> None:
    error = refused(name, changed(name, **changes))
    assert isinstance(error, MalformedRights)
    assert (error.field, error.code) == (field, "MALFORMED_RIGHTS")
    assert expected in error.expected


@pytest.mark.parametrize("name", HEADED)
def test_a_change_without_its_head_is_refused(name: str) -> None:
    for head in (None, bytes(31), "x", 1):
        assert refused(name, changed(name, head=head)).field == "head"


def test_a_dispute_names_no_head() -> None:
    assert refused("dispute", changed("dispute", head=bytes(32))).field == "head"


@pytest.mark.parametrize(
    ("name", "field"),
    [("dispute", "grounds"), ("respond", "text"), ("withdraw", "reason"), ("lift", "reference"), ("stay", "reference")],
)
@pytest.mark.parametrize("value", ["", "x" * 1_025, " x", "a\nb", "a\u202eb", "e\u0301", 7, b"x", None])
def test_words_are_bounded_and_readable(name: str, field: str, value: object) -> None:
    assert refused(name, changed(name, **{field: value})).field == field


@pytest.mark.parametrize(
    ("name", "field"), [("dispute", "grounds"), ("respond", "text"), ("withdraw", "reason"), ("lift", "reference")]
)
def test_words_may_fill_their_bound(name: str, field: str) -> None:
    assert parse_rights(CONTENTS[name].kind, changed(name, **{field: "致" * 1_024}))


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [
        ("respond", {"dispute": None}, "dispute"),
        ("respond", {"dispute": bytes(31)}, "dispute"),
        ("drop", {"dispute": bytes(33)}, "dispute"),
        ("drop", {"outcome": "won"}, "outcome"),
        ("drop", {"outcome": 1}, "outcome"),
        ("drop", {"outcome": "Dropped"}, "outcome"),
        ("transfer", {"to": "The Society"}, "to"),
        ("transfer", {"to": "x" * 33}, "to"),
        ("transfer", {"to": 1}, "to"),
        ("transfer", {"to": None}, "to"),
        ("supersede", {"mints": "burn"}, "mints"),
        ("supersede", {"mints": None}, "mints"),
        ("supersede", {"replacement": None}, "replacement"),
        ("supersede", {"replacement": "x"}, "replacement"),
        ("stay", {"order": "adjourn"}, "until_ms"),
        ("lift", {"order": "adjourn"}, "order"),
        ("lift", {"order": None}, "order"),
        ("lift", {"order": 1}, "order"),
        ("stay", {"until_ms": None}, "until_ms"),
        ("stay", {"until_ms": -1}, "until_ms"),
        ("stay", {"until_ms": UNTIL_MS_MAX + 1}, "until_ms"),
        ("stay", {"until_ms": "tomorrow"}, "until_ms"),
        ("stay", {"to": "society"}, "to"),
        ("lift", {"until_ms": 0}, "until_ms"),
        ("revoke", {"to": "society"}, "to"),
        ("assign", {"to": None}, "to"),
        ("assign", {"to": "The Society"}, "to"),
        ("assign", {"until_ms": 0}, "until_ms"),
        ("mint", {"extra": 1}, "extra"),
        ("mint", {"terms": None}, "terms"),
        ("mint", {"terms": b""}, "terms"),
        ("mint", {"terms": []}, "terms"),
    ],
)
def test_any_other_form_is_refused(name: str, changes: dict[str, Any], field: str) -> None:
    assert refused(name, changed(name, **changes)).field == field


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("data", [b"", b"\xf6", b"\x80", b"\xa0", b"\xbf\xff", b"\xa1\x00\x00"])
def test_what_is_no_map_of_the_fields_is_refused(name: str, data: bytes) -> None:
    assert refused(name, data).expected


def test_a_kind_that_says_nothing_of_rights_is_refused() -> None:
    for kind in ("CLAIM", "LICENCE", ""):
        with pytest.raises(MalformedRights) as caught:
            parse_rights(kind, CONTENTS["dispute"].encode())
        assert caught.value.field == "kind"


@pytest.mark.parametrize("name", CONTENTS)
def test_what_stands_behind_the_content_is_refused(name: str) -> None:
    assert "left over" in refused(name, CONTENTS[name].encode() + b"\x00").expected


def test_a_replacement_is_checked_as_a_claim_is() -> None:
    good = make_claim(7).encode()
    error = refused("supersede", changed("supersede", replacement=good.replace(b"USSKG1900007", b"USSKG19000X7")))
    assert (error.code, error.field) == ("INVALID_IDENTIFIER", "replacement.claim.isrc")
    error = refused("supersede", changed("supersede", replacement=good + b"\x00"))
    assert isinstance(error, MalformedClaim)
    assert error.field == "replacement.claim"
    error = refused("supersede", changed("supersede", replacement=bytes(4_097)))
    assert error.expected == "at most 4096 bytes"


def test_a_replacement_over_its_size_cannot_be_signed() -> None:
    large = make_claim(1, titles=tuple(Title(text=f"{i:x}" + "x" * 255) for i in range(16)))
    with pytest.raises(MalformedClaim):
        CONSORTIUM.sign(Supersede(claim=CLAIM, position=0, head=CLAIM, replacement=large, mints=MintsFate.KEEP))


def test_terms_that_are_wrong_are_named_within_the_mint() -> None:
    value = decode(CONTENTS["mint"].encode())
    assert isinstance(value, dict)
    terms = value["terms"]
    assert isinstance(terms, dict)
    error = refused("mint", encode({"terms": terms | {"royalty": 2_501}}))
    assert isinstance(error, MalformedTerms)
    assert (error.field, error.value) == ("terms.royalty", "2501")
    error = refused("mint", encode({"terms": terms | {"position": POSITION_MAX + 1}}))
    assert error.field == "terms.position"


def test_a_mint_names_the_claim_of_its_terms() -> None:
    mint = Mint(terms=make_terms(position=9))
    assert (mint.claim, mint.position) == (CLAIM, 9)


@pytest.mark.parametrize(
    ("order", "changes", "field"),
    [
        (CourtAction.LIFT, {"until_ms": 1}, "until_ms"),
        (CourtAction.REVOKE, {"to": "society"}, "to"),
        (CourtAction.ASSIGN, {}, "to"),
        (CourtAction.STAY, {"until_ms": -1}, "until_ms"),
        (CourtAction.STAY, {"reference": ""}, "reference"),
        (CourtAction.STAY, {"head": bytes(31)}, "head"),
    ],
)
def test_what_would_be_refused_cannot_be_made(order: CourtAction, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedRights) as caught:
        CourtOrder(**{"claim": CLAIM, "position": 0, "head": CLAIM, "order": order, "reference": "x"} | changes)
    assert caught.value.field == field


def test_people_read_what_a_content_is_about() -> None:
    told = {name: content.describe() for name, content in CONTENTS.items()}
    short = f"{CLAIM[:6].hex()}…"
    assert told["dispute"] == f"dispute claim {short}: We recorded this ourselves in 2019."
    assert told["transfer"] == f"transfer claim {short} to society"
    assert told["assign"] == f"assign claim {short} to society: HK CFI 16/2026"
    assert told["mint"] == f"mint edition 1 of 1 of claim {short}: Opus 1"
    assert all(told.values())
