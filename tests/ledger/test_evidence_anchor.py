"""Anchors in evidence: added by anybody, checked offline but for the block, and no byte of them can be changed."""

from __future__ import annotations

import hashlib

import pytest

from consensus.errors import MalformedMessage, StrettoError
from consensus.types import Digest
from ledger.anchor import Anchor, InvalidAnchor
from ledger.evidence import CHECKS, Outcome, Report, Verdict, verify_bundle
from ledger.evidence_anchor import AnchorNotForThis, add_anchors, sizes_for
from ledger.evidence_archive import encode_archive, parse_archive
from ledger.merkle import InvalidProof
from tests.contracts.log import Log
from tests.ledger.anchors import made_anchor
from tests.ledger.builders import make_consortium
from tests.ledger.evidence_builders import BLOCK_TIME_MS, INDEX, SIZE, entries, make_parts, refused, refused_for

CONSORTIUM = make_consortium()
GENESIS = CONSORTIUM.genesis
PARTS = make_parts(CONSORTIUM)
BUNDLE = PARTS.build()
STATEMENT = PARTS.arguments["statement"]
LOG = Log(entries(STATEMENT))
ANCHORED_S = BLOCK_TIME_MS // 1000 + 90


def anchor(size: int = SIZE, *, chain: int = 137, timestamp_s: int = ANCHORED_S) -> Anchor:
    """Of this log at `size`, with the proof that leads to the bundle's checkpoint."""
    low, high = min(size, SIZE), max(size, SIZE)
    proof = tuple(map(Digest, LOG.consistency(low, high)))
    return made_anchor(size, LOG.root(size), timestamp_s, chain=chain, consistency=proof)


def verified(data: bytes) -> Report:
    report = verify_bundle(data, GENESIS, None)
    assert report.verdict is Verdict.VERIFIED, report
    return report


@pytest.mark.parametrize("size", [INDEX + 1, SIZE - 1, SIZE, SIZE + 1, 2 * SIZE])
def test_anchor_before_at_and_after_the_checkpoint_is_checked_and_its_block_is_not(size: int) -> None:
    bundle = add_anchors(BUNDLE, [anchor(size)])
    report = verified(bundle)
    check, block = report.check("anchor"), report.check("anchor block")
    assert check.outcome is Outcome.PASSED
    for told in ("On chain 137", f"root at {size} entries", f"block 0x{anchor(size).block.hex()}", "2026-09-21T"):
        assert told in check.reason, told
    assert block.outcome is Outcome.NOT_CHECKED
    assert block.reason.startswith("No network was used, so it was not checked whether chain 137 has the block 0x")
    assert tuple(each.name for each in report.checks) == CHECKS


def test_evidence_without_an_anchor_says_so_and_is_complete() -> None:
    report = verified(BUNDLE)
    assert report.check("anchor").outcome is Outcome.NOT_CHECKED
    assert report.check("anchor").reason == "The file carries no anchor on a public chain."
    assert "token (RFC 3161), so it proves no legal time." in report.check("legal time").reason


def test_everything_else_in_the_file_stays_as_it_was_signed() -> None:
    before, after = parse_archive(BUNDLE), parse_archive(add_anchors(BUNDLE, [anchor()]))
    assert {name: content for name, content in after.items() if name in before} == before
    assert [*after] == [*before, "anchor-137.json"]


def test_anchors_of_several_chains_stand_in_the_order_of_their_ids() -> None:
    some = [anchor(chain=32769), anchor(SIZE + 3, chain=1), anchor(chain=137)]
    bundle = add_anchors(add_anchors(BUNDLE, some[:1]), some[1:])
    assert [name for name in parse_archive(bundle) if name.startswith("anchor")] == [
        "anchor-1.json", "anchor-137.json", "anchor-32769.json",
    ]  # fmt: skip
    assert bundle == add_anchors(BUNDLE, list(reversed(some)))
    report = verified(bundle)
    assert all(f"On chain {chain}" in report.check("anchor").reason for chain in (1, 137, 32769))
    again = add_anchors(bundle, [anchor(SIZE + 5, chain=137)])
    assert f"root at {SIZE + 5} entries" in verified(again).check("anchor").reason
    with pytest.raises(MalformedMessage, match="at most 8"):
        add_anchors(BUNDLE, [anchor(chain=chain) for chain in range(1, 10)])


# ---- what is refused ------------------------------------------------------------------------------------------------


def test_every_flipped_byte_of_an_anchored_file_is_refused() -> None:
    bundle = bytearray(add_anchors(BUNDLE, [anchor(SIZE + 1)]))
    for position in range(len(bundle)):
        bundle[position] ^= 1 << position % 8
        try:
            parse_archive(bytes(bundle))
        except MalformedMessage:
            pass
        else:
            raise AssertionError(position)
        bundle[position] ^= 1 << position % 8


def test_every_flipped_byte_of_an_anchor_with_mended_checksums_is_refused() -> None:
    """Nobody signed it: that it is refused is its own doing. The one byte of the chain too: the name says it again."""
    files = parse_archive(add_anchors(BUNDLE, [anchor(SIZE + 1)]))
    content = bytearray(files["anchor-137.json"])
    for position in range(len(content)):
        content[position] ^= 1 << position % 8
        report = verify_bundle(encode_archive(files | {"anchor-137.json": bytes(content)}), GENESIS, None)
        assert report.verdict is Verdict.REFUSED, position
        assert report.check("anchor").outcome is Outcome.FAILED
        assert report.check("manifest").outcome is Outcome.PASSED
        content[position] ^= 1 << position % 8


def replaced(content: bytes, name: str = "anchor-137.json") -> bytes:
    files = parse_archive(add_anchors(BUNDLE, [anchor()]))
    del files["anchor-137.json"]
    return encode_archive(files | {name: content})


def test_anchor_under_the_name_of_another_chain_is_refused() -> None:
    verified(replaced(anchor().encode()))
    refused_for(replaced(anchor().encode(), "anchor-1.json"), "anchor", "anchor-1.json says that it is of chain 137")
    for name in ("anchor-0.json", "anchor-0137.json", "anchor-.json", "anchor-137.txt"):
        refused_for(replaced(anchor().encode(), name), "archive", name)


def test_anchor_of_another_log_is_refused_and_not_added() -> None:
    other = made_anchor(SIZE, hashlib.sha256(b"another log").digest(), ANCHORED_S)
    refused_for(replaced(other.encode()), "anchor", "consistency")
    with pytest.raises(InvalidProof):
        add_anchors(BUNDLE, [other])
    with pytest.raises(InvalidProof):
        add_anchors(BUNDLE, [anchor(SIZE + 1).for_checkpoint(())])


def test_anchor_from_before_the_statement_is_refused_and_not_added() -> None:
    early = anchor(INDEX)
    refused_for(replaced(early.encode()), "anchor", f"over {INDEX}, the entry that the evidence is about")
    with pytest.raises(AnchorNotForThis, match=r"anchor\.size"):
        add_anchors(BUNDLE, [early])
    with pytest.raises(AnchorNotForThis, match=r"anchor\.size"):
        sizes_for(BUNDLE, early)
    assert sizes_for(BUNDLE, anchor(SIZE - 1)) == (SIZE - 1, SIZE)
    assert sizes_for(BUNDLE, anchor(SIZE + 2)) == (SIZE, SIZE + 2)


def test_block_that_is_older_than_the_statement_is_refused() -> None:
    """A minute is allowed for the clocks."""
    recorded_s = BLOCK_TIME_MS // 1000
    verified(add_anchors(BUNDLE, [anchor(timestamp_s=recorded_s - 59)]))
    refused_for(
        add_anchors(BUNDLE, [anchor(timestamp_s=recorded_s - 61)]), "anchor", "it cannot show what did not exist"
    )


def test_forged_block_is_not_told_from_a_real_one_offline_and_the_report_says_so() -> None:
    """That is what the open check is for: an anchor shows nothing until somebody has looked the block up."""
    forged = anchor(timestamp_s=ANCHORED_S + 7)
    report = verified(add_anchors(BUNDLE, [forged]))
    assert "only then does the anchor show anything" in report.check("anchor block").reason


def test_invalid_anchor_is_not_added() -> None:
    import dataclasses

    with pytest.raises(InvalidAnchor):
        add_anchors(BUNDLE, [dataclasses.replace(anchor(), block=Digest(bytes(32)))])
    with pytest.raises(StrettoError):
        add_anchors(BUNDLE[:-1], [anchor()])


def test_missing_anchor_leaves_complete_evidence() -> None:
    """Whoever offers a file decides what it shows; without the anchor it shows less, and says so."""
    files = parse_archive(add_anchors(BUNDLE, [anchor()]))
    del files["anchor-137.json"]
    assert encode_archive(files) == BUNDLE


def test_time_that_does_not_hold_leaves_the_anchor_unchecked() -> None:
    files = parse_archive(add_anchors(BUNDLE, [anchor()]))
    report = refused(encode_archive(files | {"manifest.json": b"{}"}))
    assert report.check("anchor").reason.startswith("It builds on what failed before: ")
    assert report.check("anchor block").outcome is Outcome.NOT_CHECKED


def test_anchors_in_another_order_are_refused() -> None:
    files = parse_archive(add_anchors(BUNDLE, [anchor(chain=1), anchor(chain=137)]))
    first = files.pop("anchor-1.json")
    refused_for(encode_archive(files | {"anchor-1.json": first}), "archive", "order")
