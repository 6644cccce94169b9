"""The genesis: what a founding file says is what everybody reads, or nobody reads it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from consensus.types import EpochParameters
from ledger.errors import MalformedGenesis
from ledger.genesis import (
    GENESIS_BYTES_MAX,
    Genesis,
    Role,
    encode_genesis,
    key_id,
    parse_genesis,
)
from tests.ledger.builders import FOUR, chain_key, make_consortium, make_keys, make_member, public_key


@pytest.fixture
def genesis() -> Genesis:
    return make_consortium().genesis


def edited(genesis: Genesis, edit: Callable[[Any], None]) -> bytes:
    document = json.loads(genesis.raw)
    edit(document)
    return json.dumps(document).encode()


def test_what_was_written_is_read(genesis: Genesis) -> None:
    again = parse_genesis(
        encode_genesis(name=genesis.name, origin=genesis.origin, parameters=genesis.parameters, members=genesis.members)
    )
    assert again == genesis
    assert again.parameters == EpochParameters()
    assert [member.role for member in again.members] == [Role.LABEL, Role.COURT, Role.SOCIETY, Role.PLATFORM]


def test_the_digest_is_that_of_the_exact_file(genesis: Genesis) -> None:
    assert genesis.digest == hashlib.sha256(genesis.raw).digest()
    other = parse_genesis(genesis.raw + b"\n")
    assert other.members == genesis.members
    assert other.digest != genesis.digest


def test_a_judge_can_read_the_file(genesis: Genesis) -> None:
    lines = genesis.raw.decode().splitlines()
    assert '  "name": "Test consortium",' in lines
    assert f'        "statement": "{public_key("court", "statement").hex()}",' in lines
    assert max(map(len, lines)) < 160


def test_the_committee_is_the_validators_in_the_order_of_the_file() -> None:
    members = [make_member(member_id, role) for member_id, role in FOUR]
    members.insert(1, make_member("reader", Role.PLATFORM, validator=False))
    genesis = make_consortium(members).genesis
    assert [member.id for member in genesis.validator_members()] == ["label", "court", "society", "platform"]
    committee = genesis.committee()
    assert committee.validators == tuple(public_key(member_id, "consensus") for member_id, _ in FOUR)
    assert committee.consortium == genesis.digest
    assert (committee.epoch, genesis.quorum, committee.faults_max) == (0, 3, 1)
    assert genesis.validator_index("society") == 2
    assert genesis.validator_index("reader") is None
    assert genesis.validator_index("nobody") is None


def test_members_are_found_by_id_and_by_key(genesis: Genesis) -> None:
    court = genesis.member("court")
    assert court is not None
    assert genesis.member("nobody") is None
    assert genesis.roster.member_by_statement_key_id(key_id(public_key("court", "statement"))) is court
    assert genesis.roster.member_by_statement_key_id(bytes(8)) is None
    assert genesis.roster.member_by_peer_key(public_key("court", "peer")) is court
    assert genesis.roster.member_by_peer_key(public_key("court", "log")) is None
    assert genesis.roster.log_keys()["court"] == public_key("court", "log")
    assert list(genesis.roster.cosign_keys()) == ["label", "court", "society", "platform"]
    assert genesis.roster.cosign_name("court") == "test.stretto.example/log/court"


def _set(*path: Any, value: Any) -> Callable[[Any], None]:
    def edit(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = value

    return edit


def _drop(*path: Any) -> Callable[[Any], None]:
    def edit(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        del document[path[-1]]

    return edit


LABEL_CHAIN = chain_key("label")
LABEL_LOG = public_key("label", "log").hex()


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (_set("format", value="stretto/genesis/v2"), "format"),
        (_set("comment", value="x"), "genesis.comment"),
        (_drop("origin"), "genesis.origin"),
        (_set("name", value=""), "name"),
        (_set("name", value=7), "name"),
        (_set("name", value="a\nb"), "name"),
        (_set("name", value="x" * 129), "name"),
        (_set("origin", value="https://log.example"), "origin"),
        (_set("origin", value="Log.example"), "origin"),
        (_set("origin", value="log.example/a+b"), "origin"),
        (_set("origin", value="log.example/a b"), "origin"),
        (_set("origin", value="log.example/"), "origin"),
        (_set("parameters", value=[]), "parameters"),
        (_set("parameters", "delta_ms", value=0), "parameters.delta_ms"),
        (_set("parameters", "delta_ms", value=True), "parameters.delta_ms"),
        (_set("parameters", "delta_factor_max", value=True), "parameters.delta_factor_max"),
        (_set("parameters", "delta_ms", value="150"), "parameters.delta_ms"),
        (_set("parameters", "delta_ms", value=10**15), "parameters.delta_ms"),
        (_set("parameters", "delta_s", value=1), "parameters.delta_s"),
        (_drop("parameters", "heartbeat_ms"), "parameters.heartbeat_ms"),
        (_set("members", value={}), "members"),
        (_set("members", value=[]), "members"),
        (_drop("members", 3), "members"),
        (_set("members", 3, "validator", value=False), "members"),
        (_set("members", 3, "validator", value=1), "members[3].validator"),
        (_set("members", 1, "id", value="label"), "members[1].keys.chain_proof"),
        (_set("members", 1, "id", value="The-Court"), "members[1].id"),
        (_set("members", 1, "id", value="-court"), "members[1].id"),
        (_set("members", 1, "id", value="c" * 33), "members[1].id"),
        (_set("members", 1, "id", value="../x"), "members[1].id"),
        (_set("members", 1, "id", value=""), "members[1].id"),
        (_set("members", 1, "role", value="judge"), "members[1].role"),
        (_set("members", 1, "role", value=["court"]), "members[1].role"),
        (_set("members", 1, "keys", value=None), "members[1].keys"),
        (_drop("members", 1, "keys", "log"), "members[1].keys.log"),
        (_set("members", 1, "keys", "tls", value="00" * 32), "members[1].keys.tls"),
        (_set("members", 1, "keys", "log", value="00" * 31), "members[1].keys.log"),
        (_set("members", 1, "keys", "log", value="AB" * 32), "members[1].keys.log"),
        (_set("members", 1, "keys", "log", value=LABEL_LOG), "members[1].keys.log"),
        (_set("members", 0, "keys", "export", value=LABEL_LOG), "members[0].keys.export"),
        (_drop("members", 1, "keys", "chain"), "members[1].keys.chain"),
        (_drop("members", 1, "keys", "chain_proof"), "members[1].keys.chain_proof"),
        (_set("members", 1, "keys", "chain", value="02" + "ff" * 32), "members[1].keys.chain"),
        (_set("members", 1, "keys", "chain", value="04" + "00" * 32), "members[1].keys.chain"),
        (_set("members", 1, "keys", "chain", value=LABEL_CHAIN.public.hex().upper()), "members[1].keys.chain"),
        # another's key: shown without possession
        (_set("members", 1, "keys", "chain", value=LABEL_CHAIN.public.hex()), "members[1].keys.chain_proof"),
        (_set("members", 1, "keys", "chain_proof", value="00" * 64), "members[1].keys.chain_proof"),
        (_set("members", 1, "keys", "chain_proof", value="00" * 63), "members[1].keys.chain_proof"),
        # the identity: a small-order point, under which anything "verifies" in some libraries
        (_set("members", 1, "keys", "statement", value="01" + "00" * 31), "members[1].keys.statement"),
        # y >= p: not canonical
        (_set("members", 1, "keys", "statement", value="ff" * 31 + "7f"), "members[1].keys.statement"),
    ],
)
def test_a_wrong_field_is_refused_by_name(genesis: Genesis, edit: Callable[[Any], None], field: str) -> None:
    parse_genesis(edited(genesis, lambda _: None))
    with pytest.raises(MalformedGenesis) as caught:
        parse_genesis(edited(genesis, edit))
    assert caught.value.field == field


def test_two_members_of_one_id_or_one_chain_key_are_refused(genesis: Genesis) -> None:
    """With proofs of their own: whoever has a key may prove it under any name."""
    twice = make_keys("label", "court")
    copied = _set("members", 1, "keys", "chain_proof", value=LABEL_CHAIN.prove("court").hex())
    for edit, field in (
        (_set("members", 1, "keys", "chain_proof", value=twice.chain_proof.hex()), "members[1].id"),
        (_set("members", 1, "keys", "chain", value=LABEL_CHAIN.public.hex()), "members[1].keys.chain"),
    ):
        also = _set("members", 1, "id", value="label") if field.endswith("id") else copied
        with pytest.raises(MalformedGenesis, match=r"not used by|of its own") as caught:
            parse_genesis(edited(genesis, lambda document, edit=edit, also=also: (edit(document), also(document))))
        assert caught.value.field == field


def test_a_consortium_from_before_chain_keys_is_told_so(genesis: Genesis) -> None:
    def before(document: Any) -> None:
        for member in document["members"]:
            del member["keys"]["chain"], member["keys"]["chain_proof"]

    with pytest.raises(MalformedGenesis, match="before members had chain keys: found the consortium anew"):
        parse_genesis(edited(genesis, before))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "JSON"),
        (b"\xff{}", "UTF-8 at byte 0"),
        (b"\xef\xbb\xbf{}", "JSON"),
        (b"[]", "an object"),
        (b'{"format": 1, "format": 1}', "each key once"),
        (b'{"format": 1.0}', "whole numbers"),
        (b'{"format": NaN}', "whole numbers"),
        (b'{"format": -Infinity}', "whole numbers"),
        (b'{"format": ' + b"9" * 10_000 + b"}", "whole numbers"),
        (b"[" * 100_000, "levels|JSON"),
        (b" " * (GENESIS_BYTES_MAX + 1), "at most"),
        (b"{} {}", "JSON"),
        (b"{,}", "JSON"),
    ],
)
def test_files_that_are_no_strict_json_are_refused(data: bytes, expected: str) -> None:
    with pytest.raises(MalformedGenesis, match=expected):
        parse_genesis(data)


def test_duplicate_keys_deep_inside_are_refused(genesis: Genesis) -> None:
    doubled = genesis.raw.replace(b'"role": "court"', b'"role": "label", "role": "court"')
    with pytest.raises(MalformedGenesis, match="each key once"):
        parse_genesis(doubled)


def test_encoding_refuses_what_parsing_would(genesis: Genesis) -> None:
    with pytest.raises(MalformedGenesis, match="4 to 512 members"):
        encode_genesis(
            name="x", origin="a.example", parameters=genesis.parameters, members=genesis.members[:3]
        )  # fmt: skip
