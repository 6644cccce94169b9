"""The small formats inside evidence: manifest, times, inclusion proofs, names. One value, one text."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import MalformedMessage
from consensus.types import Digest
from ledger.evidence_manifest import (
    MANIFEST_BYTES_MAX,
    TIME_MS_MAX,
    Manifest,
    format_time,
    parse_manifest,
    parse_time,
)
from ledger.evidence_parts import InclusionProof, check_names, ordered_names, parse_inclusion_proof
from ledger.merkle import Frontier, InvalidProof, inclusion_proof
from tests.ledger.evidence_builders import make_parts

digests = st.binary(min_size=32, max_size=32).map(Digest)
MANIFEST = Manifest(
    consortium=Digest(bytes(32)),
    exporter="court",
    recorded_ms=1_790_000_000_123,
    exported_ms=1_790_000_001_000,
    files=(("claim.json", Digest(b"c" * 32)), ("statement.cose", Digest(b"s" * 32))),
)
TEXT = MANIFEST.encode().decode()


# ---- times -----------------------------------------------------------------------------------------------------------


def test_times_are_utc_with_milliseconds() -> None:
    assert format_time(0) == "1970-01-01T00:00:00.000Z"
    assert format_time(1_790_000_000_123) == "2026-09-21T14:13:20.123Z"
    assert format_time(TIME_MS_MAX) == "9999-12-31T23:59:59.999Z"
    for outside in (-1, TIME_MS_MAX + 1):
        with pytest.raises(MalformedMessage):
            format_time(outside)


@given(st.integers(0, TIME_MS_MAX))
def test_time_round_trips(time_ms: int) -> None:
    assert parse_time(format_time(time_ms)) == time_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-09-21T14:13:20Z",
        "2026-09-21T14:13:20.123",
        "2026-09-21T14:13:20.123+00:00",
        "2026-09-21 14:13:20.123Z",
        "2026-02-30T14:13:20.123Z",
        "2026-09-21T24:00:00.000Z",
        "1969-12-31T23:59:59.999Z",
        "0000-01-01T00:00:00.000Z",
        "２026-09-21T14:13:20.123Z",
    ],
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_time(text)


# ---- manifest --------------------------------------------------------------------------------------------------------


@given(
    consortium=digests,
    exporter=st.text(max_size=40),
    recorded_ms=st.integers(0, TIME_MS_MAX),
    exported_ms=st.integers(0, TIME_MS_MAX),
    files=st.dictionaries(st.text(max_size=20), digests, max_size=5).map(lambda files: tuple(files.items())),
)
def test_manifest_round_trips(
    consortium: Digest, exporter: str, recorded_ms: int, exported_ms: int, files: tuple[tuple[str, Digest], ...]
) -> None:
    manifest = Manifest(
        consortium=consortium, exporter=exporter, recorded_ms=recorded_ms, exported_ms=exported_ms, files=files
    )
    assert parse_manifest(manifest.encode()) == manifest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        TEXT[:-1],
        TEXT + "\n",
        TEXT.replace("v1", "v2"),
        TEXT.replace('"court"', "7"),
        TEXT.replace('"court"', '"co\\u0075rt"'),
        TEXT.replace("  ", "\t"),
        TEXT.replace("63" * 32, "6C" * 32),
        TEXT.replace("63" * 32, "63" * 31),
        TEXT.replace("statement.cose", "claim.json"),
        TEXT.replace("exporter", "Exporter"),
        TEXT.replace("00" * 32, "é" * 64),
        json.dumps({**json.loads(TEXT), "more": 1}, indent=2) + "\n",
        json.dumps(dict(reversed(json.loads(TEXT).items())), indent=2) + "\n",
        json.dumps({**json.loads(TEXT), "sha256": [1]}, indent=2) + "\n",
        json.dumps({**json.loads(TEXT), "sha256": {"a": 1}}, indent=2) + "\n",
        " " * MANIFEST_BYTES_MAX + TEXT,
    ],
)
def test_almost_a_manifest_is_refused(text: str) -> None:
    assert parse_manifest(TEXT.encode()) == MANIFEST
    with pytest.raises(MalformedMessage):
        parse_manifest(text.encode())


# ---- inclusion proofs ------------------------------------------------------------------------------------------------

ENTRIES = [bytes([i]) for i in range(7)]
FRONTIER, _FULL = Frontier().extend(ENTRIES)
NODES = {(node.level, node.index): node.hash for node in _FULL}


def proof_of(index: int) -> InclusionProof:
    return InclusionProof(index=index, count=7, path=inclusion_proof(index, 7, lambda level, i: NODES[level, i]))


@given(index=st.integers(0, 999), more=st.integers(1, 999), path=st.lists(digests, max_size=20))
def test_inclusion_proof_round_trips(index: int, more: int, path: list[Digest]) -> None:
    proof = InclusionProof(index=index, count=index + more, path=tuple(path))
    assert parse_inclusion_proof(proof.encode()) == proof


def test_inclusion_proof_holds_for_its_entry_count_and_root_only() -> None:
    root = FRONTIER.root()
    for index in range(7):
        proof_of(index).check(ENTRIES[index], 7, root)
        with pytest.raises(InvalidProof):
            proof_of(index).check(ENTRIES[index - 1], 7, root)
        with pytest.raises(InvalidProof):
            proof_of(index).check(ENTRIES[index], 7, bytes(32))
    with pytest.raises(MalformedMessage, match="a tree of 8 leaves, as signed, got 7"):
        proof_of(1).check(ENTRIES[1], 8, root)
    with pytest.raises(InvalidProof):
        dataclasses.replace(proof_of(1), index=2).check(ENTRIES[1], 7, root)


GOOD = proof_of(3).encode().decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD[:-1],
        GOOD.replace("v1", "v2"),
        GOOD.replace("index 3", "index 03"),
        GOOD.replace("index 3", "index 7"),
        GOOD.replace("index 3\n", ""),
        GOOD.replace("count 7", "count 0"),
        GOOD.replace("count 7", "count 9999999"),
        GOOD.replace("count 7\n", "count 7\n\n"),
        GOOD.replace("count 7\n", "count 7\nAAAA\n"),
        GOOD + ("A" * 43 + "=\n") * 20,
        GOOD + "é\n",
        GOOD + " " * 3000 + "\n",
    ],
)
def test_almost_an_inclusion_proof_is_refused(text: str) -> None:
    assert parse_inclusion_proof(GOOD.encode()) == proof_of(3)
    with pytest.raises(MalformedMessage):
        parse_inclusion_proof(text.encode())


# ---- names -----------------------------------------------------------------------------------------------------------


@given(blocks=st.integers(1, 30), catalogue=st.booleans())
def test_complete_set_of_names_is_accepted_in_its_order_only(blocks: int, catalogue: bool) -> None:
    names = ordered_names(blocks, catalogue=catalogue)
    check_names(names)
    with pytest.raises(MalformedMessage):
        check_names(reversed(names))
    with pytest.raises(MalformedMessage):
        check_names(names[1:])
    with pytest.raises(MalformedMessage):
        check_names([*names, "more"])


def test_catalogue_claim_and_its_proof_come_together() -> None:
    names = ordered_names(1, catalogue=True)
    for lone in ("claim.cbor", "catalogue-proof.txt"):
        with pytest.raises(MalformedMessage, match=r"claim\.cbor|catalogue-proof\.txt"):
            check_names(name for name in names if name != lone)


def test_gap_in_the_block_headers_is_refused() -> None:
    names = [name.replace("block-001", "block-002") for name in ordered_names(2, catalogue=False)]
    with pytest.raises(MalformedMessage, match=r"block-001\.bin"):
        check_names(names)
    with pytest.raises(MalformedMessage, match="1 to 1000 block headers, got 0"):
        check_names(name for name in names if not name.startswith("block"))


# ---- summary ---------------------------------------------------------------------------------------------------------


def test_summary_tells_absent_disclosure_and_committed_names_as_such() -> None:
    from ledger.claim import Commitment, Party, PartyRole
    from ledger.evidence_archive import parse_archive

    party = Party(role=PartyRole.COMPOSER, name=Commitment(b"n" * 32))
    summary = json.loads(parse_archive(make_parts(parties=(party,)).build())["claim.json"])
    assert summary["ai_disclosure"] == "Undeclared"
    assert summary["claim"]["parties"] == [{"name": {"committed": "6e" * 32}, "role": "Composer"}]
    assert summary["questions"]["who owns it"] == "not decided here"
    assert list(summary["claim"])[:2] == ["subject", "title"]
