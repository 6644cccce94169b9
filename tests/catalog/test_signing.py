"""How a catalogue is cut into statements, and what its list of them may name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catalog import signing
from catalog.claims import Terms, TrackClaim, derived_salts
from catalog.metadata.stated import Stated, stated_claim
from catalog.signing import MalformedSigned, Part, Signed, cut, parse_signed
from tests.catalog.metadata.catalogues import record

PART = Part(
    file="001.stretto", openings="001.stretto.openings.json", statement="aa" * 32, client_ref="r", claims=1,
    first="a", last="b",
)  # fmt: skip


def claims(count: int) -> list[TrackClaim]:
    terms, salts = Terms(member="label"), derived_salts(b"x")
    return [
        stated_claim(record(f"{i}.flac").track(Path()), Stated(title="x" * (i % 50 + 1)), terms, salts)
        for i in range(count)
    ]


def test_claims_are_cut_where_a_statement_is_full_and_keep_their_order() -> None:
    made = claims(10)
    assert [len(part) for part in cut(made, 4)] == [4, 4, 2]
    assert [claim for part in cut(made, 4) for claim in part] == made
    assert list(cut([])) == []
    assert [len(part) for part in cut(made, 10)] == [10]


def test_claims_are_cut_before_a_body_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    made = claims(10)
    sizes = [2 + len(claim.encoded) for claim in made]
    monkeypatch.setattr(signing, "BODY_BYTES_MAX", sum(sizes[:4]))
    parts = list(cut(made))
    assert len(parts[0]) == 4, "as many as just fit"
    assert all(sum(2 + len(claim.encoded) for claim in part) <= sum(sizes[:4]) for part in parts)
    assert [claim for part in parts for claim in part] == made


def test_the_list_of_statements_is_read_as_it_was_written_and_says_what_changed() -> None:
    signed = Signed(inputs={"key": "k", "ref": None}, parts=(PART,))
    assert parse_signed(signed.encode(), Path("x")) == signed
    assert signed.changed_inputs({"key": "k", "ref": None}) == []
    assert signed.changed_inputs({"key": "other", "ref": None, "new": 1}) == ["key", "new"]


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../001.stretto"},
        {"file": "/etc/001.stretto"},
        {"file": "keys.pem"},
        {"openings": "../../x.stretto"},
        {"claims": None},
        {"claims": True},
        {"claims": -1},
        {"claims": 1.5},
        {"more": 1},
        {"file": "001.stretto\0"},
        {"openings": "002.stretto.openings.json"},
        {"openings": 1},
        {"statement": "aa"},
        {"statement": ["aa"]},
        {"client_ref": None},
    ],
)
def test_a_list_that_names_anything_else_is_refused(change: dict[str, Any]) -> None:
    document = json.loads(Signed(inputs={}, parts=(PART,)).encode())
    document["statements"][0] |= change
    with pytest.raises(MalformedSigned):
        parse_signed(json.dumps(document).encode(), Path("x"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"stretto_signed":2}',
        b'{"stretto_signed":true,"inputs":{},"statements":[]}',
        b'{"stretto_signed":1,"inputs":{},"statements":[1]}',
        b'{"stretto_signed":1,"inputs":{},"statements":{}}',
        b'{"stretto_signed":1,"inputs":[],"statements":[]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_list_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedSigned):
        parse_signed(data, Path("x"))
