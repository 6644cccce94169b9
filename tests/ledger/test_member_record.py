"""Member records: what a newcomer hands to the members is read in one way, or refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import MalformedMember
from ledger.genesis import Role
from ledger.member_record import MEMBER_RECORD_BYTES_MAX, encode_member_record, parse_member_record
from tests.ledger.builders import make_member

INDIE = make_member("indie", Role.LABEL)
RECORD = encode_member_record(INDIE)


@pytest.mark.parametrize("validator", [True, False])
def test_a_record_says_who_and_the_voters_say_whether_with_a_seat(validator: bool) -> None:
    assert parse_member_record(RECORD, validator=validator) == replace(INDIE, validator=validator)
    assert b"validator" not in RECORD


def test_names_of_any_script_survive() -> None:
    member = replace(INDIE, name="音乐出版社 “Ñandú”")
    assert parse_member_record(encode_member_record(member), validator=True) == member


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("format",), "stretto/member/v2", "member.format"),
        (("id",), "In Die", "member.id"),
        (("name",), "", "member.name"),
        (("role",), "king", "member.role"),
        (("validator",), True, "member.validator"),
        (("keys", "log"), "00" * 32, "member.keys.log"),
        (("keys", "log"), INDIE.keys.log.hex().upper(), "member.keys.log"),
        (("keys", "log"), INDIE.keys.consensus.hex(), "member.keys.log"),
        (("keys", "tls"), INDIE.keys.log.hex(), "member.keys.tls"),
    ],
)
def test_malformed_records_are_refused_by_field(path: tuple[str, ...], value: object, field: str) -> None:
    document: Any = json.loads(RECORD)
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    with pytest.raises(MalformedMember) as caught:
        parse_member_record(json.dumps(document).encode(), validator=True)
    assert caught.value.field == field


def test_a_repeated_key_is_refused() -> None:
    with pytest.raises(MalformedMember, match="each key once"):
        parse_member_record(RECORD.replace(b'"id": "indie"', b'"id": "other", "id": "indie"'), validator=True)


def test_what_would_not_parse_is_not_written() -> None:
    with pytest.raises(MalformedMember):
        encode_member_record(replace(INDIE, name="two\nlines"))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_refused(data: bytes) -> None:
    with pytest.raises(MalformedMember):
        parse_member_record(data, validator=True)


def test_a_record_over_its_size_is_refused_unread() -> None:
    with pytest.raises(MalformedMember, match="at most"):
        parse_member_record(RECORD + b" " * MEMBER_RECORD_BYTES_MAX, validator=True)
