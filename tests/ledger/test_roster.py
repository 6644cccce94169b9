"""Rosters: epoch 0's is the genesis's, each has one encoding, and what breaks a rule of its form is refused by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.types import Epoch
from ledger.cbor import decode, encode
from ledger.errors import MalformedRoster
from ledger.genesis import Role
from ledger.roster import Roster, parse_roster
from tests.ledger.builders import chain_key, make_consortium, make_member

GENESIS = make_consortium().genesis
ROSTER = GENESIS.roster


def spoilt(path: tuple[Any, ...], value: object) -> bytes:
    """The roster's encoding with another value at `path`."""
    document: Any = decode(ROSTER.encode())
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return encode(document)


def test_the_roster_of_epoch_0_says_what_the_genesis_says() -> None:
    assert (ROSTER.epoch, ROSTER.consortium, ROSTER.origin) == (0, GENESIS.digest, GENESIS.origin)
    assert (ROSTER.members, ROSTER.parameters) == (GENESIS.members, GENESIS.parameters)
    assert ROSTER.committee() == GENESIS.committee()
    assert ROSTER.quorum == GENESIS.quorum == 3


def test_members_without_a_seat_have_no_validator_index() -> None:
    indie = make_member("indie", Role.LABEL, validator=False)
    roster = replace(ROSTER, members=(indie, *ROSTER.members))
    assert roster.validator_index("indie") is None
    assert roster.validator_index("stranger") is None
    assert [roster.validator_index(member.id) for member in ROSTER.members] == [0, 1, 2, 3]
    assert roster.member_by_peer_key(indie.keys.peer) is indie
    assert roster.member_by_statement_key_id(indie.statement_key_id) is indie
    assert "indie" not in roster.log_keys()
    assert set(roster.cosign_keys()) == {"label", "court", "society", "platform"}


@given(epoch=st.integers(0, 2**64 - 1), seats=st.integers(4, 9), others=st.integers(0, 3))
def test_a_roster_survives_its_bytes_and_any_cbor_reader_reads_it(epoch: int, seats: int, others: int) -> None:
    members = tuple(make_member(f"m{i}", Role.LABEL, validator=i < seats) for i in range(seats + others))
    roster = replace(ROSTER, epoch=Epoch(epoch), members=members)
    assert parse_roster(roster.encode()) == roster
    assert parse_roster(roster.encode()).digest == roster.digest
    read = cbor2.loads(roster.encode())
    assert (read["epoch"], len(read["members"])) == (epoch, seats + others)


def test_rosters_of_two_epochs_never_have_one_digest() -> None:
    assert replace(ROSTER, epoch=Epoch(1)).digest != ROSTER.digest


TWICE = decode(ROSTER.encode())["members"][0]["keys"]["log"]  # type: ignore[call-overload,index]


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("format",), "stretto/roster/v2", "roster.format"),
        (("consortium",), b"short", "roster.consortium"),
        (("epoch",), -1, "roster.epoch"),
        (("epoch",), True, "roster.epoch"),
        (("origin",), "", "roster.origin"),
        (("origin",), b"bytes", "roster.origin"),
        (("parameters", "delta_ms"), 1, "roster.parameters.delta_ms"),
        (("parameters", "extra"), 1, "roster.parameters.extra"),
        (("members",), {}, "roster.members"),
        (("members",), [], "members"),
        (("members", 0, "id"), "Label", "members[0].id"),
        (("members", 1, "id"), "label", "members[1].keys.chain_proof"),
        (("members", 1, "keys", "chain"), bytes(33), "members[1].keys.chain"),
        (("members", 1, "keys", "chain"), bytes(32), "members[1].keys.chain"),
        (("members", 1, "keys", "chain_proof"), bytes(64), "members[1].keys.chain_proof"),
        (("members", 1, "keys", "chain"), chain_key("label").public, "members[1].keys.chain_proof"),
        (("members", 0, "role"), "king", "members[0].role"),
        (("members", 0, "validator"), 1, "members[0].validator"),
        (("members", 0, "validator"), False, "members"),
        (("members", 0, "name"), "a\u202eb", "members[0].name"),
        (("members", 0, "keys", "log"), "00" * 32, "members[0].keys.log"),
        (("members", 0, "keys", "log"), bytes(32), "members[0].keys.log"),
        (("members", 1, "keys", "peer"), TWICE, "members[1].keys.peer"),
        (("extra",), 1, "roster.extra"),
    ],
)
def test_malformed_rosters_are_refused_by_field(path: tuple[Any, ...], value: object, field: str) -> None:
    with pytest.raises(MalformedRoster) as caught:
        parse_roster(spoilt(path, value))
    assert caught.value.field == field


@pytest.mark.parametrize("data", [b"", b"\xa0", ROSTER.encode() + b"\x00", cbor2.dumps(1.5)])
def test_what_is_no_roster_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedRoster):
        parse_roster(data)


def test_a_roster_over_its_size_is_refused_unread() -> None:
    with pytest.raises(MalformedRoster, match="at most"):
        parse_roster(bytes((1 << 20) + 1))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_roster_or_refused(data: bytes) -> None:
    with pytest.raises(MalformedRoster):
        parse_roster(data)


def test_a_roster_of_the_largest_consortium_fits() -> None:
    members = tuple(
        replace(make_member(f"m{i:030}x", Role.SOCIETY, validator=i < 128), name="\U0001d11e" * 128) for i in range(512)
    )
    roster = Roster(
        consortium=GENESIS.digest,
        origin="x" * 128,
        epoch=Epoch(2**64 - 1),
        parameters=GENESIS.parameters,
        members=members,
    )
    assert parse_roster(roster.encode()) == roster
