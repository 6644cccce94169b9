"""Terms from options, files and defaults: what goes before what, and what contradicts the claim."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from cli.mint import terms_rows
from cli.mint_terms import make_terms, read_terms_file
from cli.output import CliError, Exit
from ledger.address import show_address
from ledger.errors import MalformedTerms
from ledger.mint_terms import load_terms

MINTER, OTHER, NFT = (show_address(bytes([i]) * 20) for i in (1, 2, 3))
FIXED = {"chain_id": 137, "nft": NFT, "claim": "ab" * 32, "position": 3, "title": "Opus"}


def made(given: dict[str, Any], written: dict[str, Any] | None = None) -> dict[str, Any]:
    return dict(make_terms(FIXED, given, written or {}).to_json())


def test_minter_alone_is_enough_and_gets_the_creators_part_and_the_royalty() -> None:
    terms = made({"minter": MINTER})
    assert terms["payees"] == [{"account": MINTER, "share": 10_000}]
    assert (terms["royalty_to"], terms["royalty"], terms["edition"], terms["editions"]) == (MINTER, 2_000, 1, 1)
    shares = [terms[f"{who}_share"] for who in ("creator", "curator", "collector", "platform")]
    assert shares == [7_000, 1_500, 1_000, 500]
    assert (terms["curator"], terms["platform"], terms["sale_floor"], terms["title"]) == (None, None, "0", "Opus")


def test_options_go_before_the_file_and_the_file_before_defaults() -> None:
    written = {"minter": OTHER, "royalty": 1_800, "title": "Of the file", "editions": 5}
    terms = made({"minter": MINTER, "royalty": 1_900}, written)
    assert (terms["minter"], terms["royalty"], terms["title"], terms["editions"]) == (MINTER, 1_900, "Of the file", 5)
    assert made({"minter": MINTER, "title": "Mine"}, written)["title"] == "Mine"


def test_payees_are_given_with_shares_and_the_first_gets_the_royalty() -> None:
    terms = made({"minter": MINTER, "payees": (f"{OTHER}=6000", f"{MINTER}:4000")})
    assert terms["payees"] == [{"account": OTHER, "share": 6_000}, {"account": MINTER, "share": 4_000}]
    assert terms["royalty_to"] == OTHER
    for wrong in ((OTHER, MINTER), ("somebody",), (f"{OTHER}=60%",)):
        with pytest.raises(click.UsageError, match="ADDRESS=SHARE"):
            made({"minter": MINTER, "payees": wrong})


def test_file_that_contradicts_the_claim_or_the_chain_is_refused() -> None:
    made({"minter": MINTER}, {"chain_id": 137, "claim": "AB" * 32, "position": 3})
    for name, value in (("chain_id", 1), ("nft", OTHER), ("claim", "00" * 32), ("position", 0)):
        with pytest.raises(CliError, match=f"the terms file has {name}"):
            made({"minter": MINTER}, {name: value})


def test_terms_without_a_minter_or_with_an_unknown_field_are_refused() -> None:
    with pytest.raises(click.UsageError, match="--minter"):
        made({})
    with pytest.raises(MalformedTerms, match="colour"):
        made({"minter": MINTER}, {"colour": "blue"})


def test_files_are_toml_or_json_and_what_prepare_writes_can_be_read_again(tmp_path: Path) -> None:
    toml, told = tmp_path / "terms.toml", tmp_path / "terms.json"
    toml.write_text(f'minter = "{MINTER}"\n[[payees]]\naccount = "{OTHER}"\nshare = 10000\n')
    told.write_text(json.dumps({"minter": MINTER, "payees": [{"account": OTHER, "share": 10_000}]}))
    assert made({}, read_terms_file(toml)) == made({}, read_terms_file(told))
    whole = make_terms(FIXED, {"minter": MINTER}, {})
    assert load_terms(json.dumps(whole.to_json()).encode()) == whole


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("terms.toml", b"minter = ", "is not TOML"), ("terms.json", b"{", "JSON"), ("terms.json", b"[1]", "a table"),
        ("terms.toml", b"\xff", "is not TOML"), ("terms.json", b'{"a": 1, "a": 2}', "each key once"),
        ("terms.toml", b"x = 1\n" * 9_999, "over 16384 bytes"),
    ],
)  # fmt: skip
def test_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CliError, match=says) as refused:
        read_terms_file(path)
    assert refused.value.exit is Exit.DATA
    assert str(path) in str(refused.value)


def test_a_first_sale_without_a_floor_is_said_to_be_at_any_price() -> None:
    shown = dict(terms_rows(make_terms(FIXED, {"minter": MINTER}, {})))
    assert "next to nothing" in shown["first sale"]
    shown = dict(terms_rows(make_terms(FIXED, {"minter": MINTER, "sale_floor": "5"}, {})))
    assert shown["first sale"] == "at least 5 of the smallest unit of the chain's coin"
