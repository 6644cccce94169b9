"""docs/formats.md against the code: a page that strangers build on must not drift."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import cbor2
import pytest

from consensus.types import Block, Vote
from ledger.catalogue import CatalogueHeader
from ledger.cbor import decode
from ledger.claim import Claim, Exhibit, Media, Party, Share
from ledger.derived import MINT_TAG, STATUS_TAG
from ledger.epochs import encode_epochs
from ledger.member import parameter_values
from ledger.mint_terms import MintTerms
from ledger.payload import HEADER_BYTES
from ledger.rights_content import RightsContent
from ledger.roster import member_value
from ledger.statement import StatementKind
from ledger.token_file import FIELDS as TOKEN_FIELDS
from ledger.token_file import FILES as TOKEN_FILES
from tests.ledger.anchors import made_anchor
from tests.ledger.builders import make_claim, make_consortium
from tests.ledger.epoch_builders import CHANGES, ROSTERS, proofs
from tests.ledger.rights_builders import CONTENTS, make_terms

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "formats.md").read_text()


def described(rule: str) -> set[str]:
    """Field names in the CDDL rule of that name, those of nested maps left out."""
    start = re.search(rf"^{rule} = \{{", PAGE, re.MULTILINE)
    assert start is not None, f"no rule {rule}"
    depth, at = 1, start.end()
    text = ""
    while depth:
        char = PAGE[at]
        depth += (char == "{") - (char == "}")
        text += char if depth == 1 else ""
        at += 1
    return set(re.findall(r'"(\w+)" :', text))


@pytest.mark.parametrize(
    ("rule", "kind"),
    [("claim", Claim), ("party", Party), ("share", Share), ("media", Media), ("exhibit", Exhibit)],
)
def test_the_page_describes_every_field_and_no_other(rule: str, kind: type) -> None:
    assert described(rule) == {field.name for field in fields(kind)}


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("roster", decode(ROSTERS[1].encode())),
        ("member", member_value(ROSTERS[0].members[0])),
        ("keys", member_value(ROSTERS[0].members[0])["keys"]),
        ("parameters", parameter_values(ROSTERS[0].parameters)),
        ("epochs", decode(encode_epochs(ROSTERS[0].consortium, ()))),
        ("epoch-proof", decode(proofs(1)[0].encode())),
        ("admit", decode(CHANGES[0].encode())),
        ("rotate-key", decode(CHANGES[1].encode())),
        ("remove", decode(CHANGES[2].encode())),
        ("set-policy", decode(CHANGES[3].encode())),
    ],
)
def test_the_page_describes_what_is_encoded(rule: str, value: dict[str, object]) -> None:
    assert described(rule) == set(value)


def test_every_kind_is_named() -> None:
    (groups,) = re.findall(r"^kind = (.*)$", PAGE, re.MULTILINE)
    listed = [re.findall(rf"^{group} = (.*)$", PAGE, re.MULTILINE)[0] for group in groups.split(" / ")]
    assert set(re.findall(r'"(\w+)"', " ".join(listed))) == set(StatementKind)


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_what_is_said_about_rights_is_as_described(content: RightsContent) -> None:
    """Fields that only one of the orders has are optional in the rule."""
    found = decode(content.encode())
    assert isinstance(found, dict)
    assert set(found) <= described(content.kind.lower().replace("_", "-"))
    if content.kind != "COURT_ORDER":
        assert set(found) == described(content.kind.lower())


def test_orders_have_every_described_field_between_them() -> None:
    orders = [decode(content.encode()) for content in CONTENTS.values() if content.kind == "COURT_ORDER"]
    assert set().union(*orders) == described("court-order")


def test_terms_are_as_described() -> None:
    assert described("terms") == {field.name for field in fields(MintTerms)} == set(make_terms().value())
    for tag in (MINT_TAG, STATUS_TAG):
        assert f'"{tag.rstrip(bytes(1)).decode()}"' in PAGE
    for name in ("creator_share", "curator_share", "collector_share", "platform_share", "resale_share"):
        assert f"{getattr(make_terms(), name):,}" in PAGE


def test_catalogue_header_is_as_described() -> None:
    assert described("catalogue-header") == {field.name for field in fields(CatalogueHeader)}


def test_a_real_statement_has_the_described_shape() -> None:
    consortium = make_consortium()
    statement = cbor2.loads(consortium.statement(make_claim(1)).raw)
    assert statement.tag == 18
    protected, unprotected, payload, signature = statement.value
    assert unprotected == {}
    assert len(signature) == 64
    header = cbor2.loads(protected)
    assert set(header) == {1, 3, 4, 15, "stretto-consortium"}
    assert header[3] in PAGE
    assert set(cbor2.loads(payload)) == described("content")


def test_fixed_layouts_have_the_described_tags_and_sizes() -> None:
    for tag in ("stretto/payload/v1", "stretto/block/v1", "stretto/vote/v1"):
        assert f"`{tag}`" in PAGE
    columns = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("|")]
    sizes = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "32": 32}

    def total(column: int) -> int:
        cells = (line[column].split(",")[0] for line in columns if column < len(line))
        return sum(sizes[found[-1]] for cell in cells if (found := re.findall(r"\b(u8|u16|u32|u64|32)\b", cell)))

    consortium = make_consortium()
    assert total(0) + len("stretto/payload/v1") == HEADER_BYTES
    block = consortium.genesis.committee()
    genesis_block = Block(
        consortium=block.consortium, epoch=block.epoch, view=0, height=0, parent_view=0, parent=bytes(32),  # type: ignore[arg-type]
        timestamp_ms=0, proposer=0, payloads=(),  # type: ignore[arg-type]
    )  # fmt: skip
    assert total(1) + len("stretto/block/v1") == len(genesis_block.encode())
    for tag in ("stretto/misbehaviour/v1", "stretto/chain-misbehaviour/v1", "stretto/chain-key/v1"):
        assert tag in PAGE
    vote = Vote(kind=1, epoch=0, view=1, height=0, block=bytes(32))  # type: ignore[arg-type]
    assert total(2) + len("stretto/vote/v1") == len(vote.signing_bytes(block.consortium))


def test_the_page_describes_the_fields_of_anchors_and_token_files() -> None:
    anchor_section = PAGE.partition("## Anchor")[2].partition("\n## ")[0]
    token_section = PAGE.partition("## Token")[2].partition("\n## ")[0]
    for field in json.loads(made_anchor(7, bytes(32), 1).encode()).keys() - {"format"}:
        assert f"`{field}`" in anchor_section, field
    for field in (*TOKEN_FILES, *TOKEN_FIELDS[1:]):
        assert f"`{field}`" in token_section, field
