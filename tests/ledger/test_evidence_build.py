"""Making evidence: parts that do not belong together are refused before anything is signed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from consensus.errors import StrettoError
from ledger.evidence import EvidenceImpossible
from ledger.evidence_archive import parse_archive
from ledger.evidence_manifest import parse_manifest
from ledger.evidence_parts import BLOCKS_MAX
from tests.ledger.builders import make_claim, make_consortium
from tests.ledger.evidence_builders import (
    BLOCK_TIME_MS,
    EXPORT_TIME_MS,
    finalize,
    make_blocks,
    make_parts,
)

CONSORTIUM = make_consortium()
SINGLE = make_parts(CONSORTIUM)
TRACK = make_parts(CONSORTIUM, position=3)
OTHER = make_parts(CONSORTIUM, title="Another")


def signed_nothing(_message: bytes) -> bytes:
    raise AssertionError("signed before it was known that evidence can be made")


@pytest.mark.parametrize(
    ("parts", "changes", "reason"),
    [
        (SINGLE, {"exporter": "stranger"}, "stranger is not a member of Test consortium"),
        (SINGLE, {"blocks": ()}, "0 block headers"),
        (SINGLE, {"blocks": SINGLE.arguments["blocks"] * (BLOCKS_MAX + 1)}, "1001 block headers"),
        (SINGLE, {"payload": OTHER.arguments["payload"]}, "block 7 does not order the payload"),
        (SINGLE, {"blocks": SINGLE.arguments["blocks"] * 2}, "the blocks from 7 on are not linked"),
        (SINGLE, {"finalization": OTHER.arguments["finalization"]}, "the finalization is not of block 7"),
        (SINGLE, {"statement": OTHER.arguments["statement"]}, "the statement is not in the payload"),
        (SINGLE, {"position": 0}, "the statement is a claim by itself"),
        (SINGLE, {"claims": [b"x"]}, "the statement is a claim by itself"),
        (TRACK, {"position": 5}, "positions 0 to 4, asked for 5"),
        (TRACK, {"position": -1}, "positions 0 to 4, asked for -1"),
        (TRACK, {"claims": None}, "positions 0 to 4, asked for 3"),
        (TRACK, {"claims": [make_claim(9).encode()] * 5}, "do not have its signed root"),
        (SINGLE, {"exported_ms": BLOCK_TIME_MS - 501}, "this machine's clock"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(parts: Any, changes: dict[str, Any], reason: str) -> None:
    parts.build()
    with pytest.raises(EvidenceImpossible, match=reason):
        parts.but(**changes, sign=signed_nothing).build()


@pytest.mark.parametrize("name", ["statement", "payload", "note"])
def test_malformed_part_is_refused(name: str) -> None:
    with pytest.raises(StrettoError):
        SINGLE.but(**{name: b"\0" * 200}, sign=signed_nothing).build()


def test_manifest_holds_both_times_and_every_file() -> None:
    files = parse_archive(TRACK.build())
    manifest = parse_manifest(files["manifest.json"])
    assert (manifest.recorded_ms, manifest.exported_ms) == (BLOCK_TIME_MS, EXPORT_TIME_MS)
    assert [name for name, _ in manifest.files] == [name for name in files if not name.startswith("manifest.")]


def test_clock_behind_the_block_within_the_consortiums_precision_is_no_obstacle() -> None:
    assert SINGLE.but(exported_ms=BLOCK_TIME_MS - 500).build()


def test_long_way_to_a_finalization_fits() -> None:
    payload = SINGLE.arguments["blocks"][0].payloads[1]
    blocks = make_blocks(CONSORTIUM, payload, BLOCKS_MAX - 1)
    data = SINGLE.but(blocks=blocks, finalization=finalize(CONSORTIUM, blocks[-1])).build()
    assert "block-999.bin" in parse_archive(data)


def test_exporting_for_another_member_needs_its_key() -> None:
    """The builder signs with what it is given; the verifier tells."""
    from ledger.evidence import verify_bundle

    data = SINGLE.but(sign=CONSORTIUM.key("label", "export").sign).build()
    report = verify_bundle(data, CONSORTIUM.genesis, None)
    assert "not signed by The Court" in report.check("exporter").reason


def test_same_statement_twice_in_a_payload_is_placed_once() -> None:
    statement = SINGLE.arguments["statement"]
    payload = CONSORTIUM.payload([statement, statement])
    blocks = tuple(
        dataclasses.replace(block, payloads=(payload.digest,)) for block in make_blocks(CONSORTIUM, payload.digest, 0)
    )
    data = SINGLE.but(blocks=blocks, finalization=finalize(CONSORTIUM, blocks[-1]), payload=payload.encode()).build()
    assert b"index 0\ncount 2\n" in parse_archive(data)["payload-proof.txt"]
