"""`stretto evidence anchor`: anchors of files and folders into evidence that was exported before."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.output import Exit
from ledger.evidence_anchor import add_anchors
from ledger.evidence_archive import parse_archive
from tests.cli.commands import Stretto
from tests.ledger.evidence_builders import INDEX, SIZE
from tests.ledger.test_evidence_anchor import BUNDLE, GENESIS, anchor


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "song.evidence.zip"
    path.write_bytes(BUNDLE)
    (tmp_path / "genesis.json").write_bytes(GENESIS.raw)
    return path


def test_anchor_of_the_same_size_is_added_without_asking_anybody(
    stretto: Stretto, bundle: Path, tmp_path: Path
) -> None:
    made, out = tmp_path / "made.json", tmp_path / "out.zip"
    made.write_bytes(anchor().encode())
    ended = stretto("evidence", "anchor", bundle, made, "--out", out, "--node", "127.0.0.1:1", "--json")
    assert (ended.code, ended.json["anchors"]) == (
        Exit.OK, [{"chain": 137, "size": SIZE, "block": f"0x{anchor().block.hex()}"}],
    )  # fmt: skip
    assert out.read_bytes() == add_anchors(BUNDLE, [anchor()])
    verified = stretto("evidence", "verify", out, "--genesis", tmp_path / "genesis.json")
    assert verified.code == Exit.OK
    assert "On chain 137 the contract 0x" in " ".join(verified.text.split())


def test_of_a_folder_the_earliest_that_covers_is_taken_for_each_chain(
    stretto: Stretto, bundle: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "anchors", tmp_path / "out.zip"
    folder.mkdir()
    for chain, size in ((137, INDEX), (137, SIZE), (137, SIZE + 4), (1, SIZE)):
        (folder / f"{chain}-{size}.json").write_bytes(anchor(size, chain=chain).encode())
    (folder / "notes.txt").write_text("not an anchor")
    ended = stretto("evidence", "anchor", bundle, folder, "--out", out)
    assert ended.code == Exit.OK
    assert f"chain 137, {SIZE} entries" in ended.text
    assert [*parse_archive(out.read_bytes())][-2:] == ["anchor-1.json", "anchor-137.json"]


def test_anchor_that_does_not_cover_the_statement_is_refused_by_name(
    stretto: Stretto, bundle: Path, tmp_path: Path
) -> None:
    made, out = tmp_path / "made.json", tmp_path / "out.zip"
    made.write_bytes(anchor(INDEX).encode())
    ended = stretto("evidence", "anchor", bundle, made, "--out", out)
    assert ended.code == Exit.REFUSED
    assert f"no anchor given covers entry {INDEX} of the log" in ended.err
    assert not out.exists()


def test_proof_that_no_node_gives_and_what_is_no_anchor_are_named(
    stretto: Stretto, bundle: Path, tmp_path: Path
) -> None:
    made, out = tmp_path / "made.json", tmp_path / "out.zip"
    made.write_bytes(anchor(SIZE + 1).encode())
    ended = stretto("evidence", "anchor", bundle, made, "--out", out, "--node", "127.0.0.1:1", "--deadline", "1")
    assert ended.code in (Exit.UNREACHABLE, Exit.RETRY)
    made.write_bytes(b"{}")
    ended = stretto("evidence", "anchor", bundle, made, "--out", out)
    assert ended.code == Exit.DATA
    assert f"{made}: MALFORMED_ANCHOR" in ended.err
    assert not out.exists()
