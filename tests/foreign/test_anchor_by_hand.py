"""Anchors as a stranger checks them: by the archive's own `verify.py`, with a keccak256, RLP and trie of its own."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
from pathlib import Path
from types import ModuleType

import pytest

from ledger.anchor import parse_anchor
from ledger.evidence_anchor import add_anchors
from ledger.evidence_text import VERIFY_MD
from ledger.keccak import keccak256
from tests.foreign.test_evidence_by_hand import GENESIS_DIGEST, _openssl, run_verify, unpack
from tests.ledger.anchors import FORKS, anvil_anchor, made_anchor
from tests.ledger.evidence_builders import INDEX, SIZE
from tests.ledger.test_evidence_anchor import ANCHORED_S, BUNDLE, LOG, anchor

__all__ = ["_openssl"]


@pytest.fixture(scope="module")
def verify() -> ModuleType:
    path = Path(__file__).parents[2] / "ledger" / "evidence_files" / "verify.py"
    spec = importlib.util.spec_from_file_location("by_hand", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_keccak_of_the_program_is_the_librarys(verify: ModuleType) -> None:
    for length in (*range(280), 1_000):
        data = os.urandom(length)
        assert verify.keccak256(data) == keccak256(data)


@pytest.mark.parametrize("fork", FORKS)
def test_program_reads_real_blocks(fork: str, verify: ModuleType) -> None:
    made = anvil_anchor(fork)
    fields, end = verify.rlp(made.header)
    assert end == len(made.header)
    assert verify.receipt_of(made.transaction, fields[5], list(made.proof))
    with pytest.raises(SystemExit, match="REFUSED"):
        verify.receipt_of(made.transaction + 1, fields[5], list(made.proof))


@pytest.mark.parametrize("size", [INDEX + 1, SIZE, SIZE + 1, 2 * SIZE])
def test_second_verifier_agrees_and_tells_what_it_did_not_check(size: int, tmp_path: Path) -> None:
    made = anchor(size)
    done = run_verify(unpack(add_anchors(BUNDLE, [made, anchor(SIZE, chain=1)]), tmp_path), GENESIS_DIGEST)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"ok  contract 0x{made.contract.hex()} recorded a root at {size} entries" in done.stdout
    assert f"??  not checked: that chain 137 has block 1000, 0x{made.block.hex()}, {ANCHORED_S} s" in done.stdout
    assert "??  not checked: that chain 1 has block" in done.stdout
    assert "disregard" not in done.stdout


def test_second_verifier_refuses_a_change_anywhere_in_an_anchor(tmp_path: Path) -> None:
    folder = unpack(add_anchors(BUNDLE, [anchor(SIZE + 1)]), tmp_path)
    path = folder / "anchor-137.json"
    honest = path.read_bytes()
    document = json.loads(honest)
    spots = {honest.index(f'"{key}"'.encode()) + len(key) + 12 for key in ("contract", "root", "block", "header")}
    spots |= {honest.index(document[key][0].encode()) + 9 for key in ("proof", "consistency")}
    for spot in sorted(spots):
        path.write_bytes(honest[:spot] + bytes([honest[spot] ^ 1]) + honest[spot + 1 :])
        done = run_verify(folder, GENESIS_DIGEST)
        assert done.returncode == 1, honest[spot - 20 : spot + 20]
        assert "REFUSED" in done.stderr
    for key, value in (
        ("chain", 1),
        ("size", SIZE),
        ("transaction", 1),
        ("log", 1),
        ("proof", []),
        ("consistency", []),
    ):
        path.write_text(json.dumps({**document, key: value}))
        assert run_verify(folder, GENESIS_DIGEST).returncode == 1, key
    path.write_bytes(honest)
    assert run_verify(folder, GENESIS_DIGEST).returncode == 0


@pytest.mark.parametrize("wrong", ["another log", "before the statement"])
def test_second_verifier_refuses_an_anchor_of_something_else(wrong: str, tmp_path: Path) -> None:
    folder = unpack(BUNDLE, tmp_path)
    if wrong == "another log":
        made = made_anchor(SIZE, hashlib.sha256(b"another log").digest(), ANCHORED_S)
    else:
        made = anchor(INDEX)
    (folder / "anchor-137.json").write_bytes(made.encode())
    done = run_verify(folder, GENESIS_DIGEST)
    assert done.returncode == 1
    assert "not so: it is this log, the statement among the entries" in done.stderr


def test_verify_md_names_the_fields_that_an_anchor_has() -> None:
    section = VERIFY_MD.decode().partition("## 8.")[2]
    document = json.loads(parse_anchor(anchor().encode()).encode())
    named = set(re.findall(r"`([a-z]+)`", section)) - {"cast"}
    assert named <= {*document}
    assert {"block", "header", "proof", "contract", "root", "size", "consistency"} <= named
    assert len(LOG.entries) == 2 * SIZE
