"""`stretto epochs`: from a node into a file, and from the file back to the genesis, offline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cli.output import Exit
from ledger.epochs import EpochProof, encode_epochs, parse_epochs
from protos import stretto_pb2 as pb
from tests.cli.commands import Stretto, modules_after
from tests.cli.membership_node import MembershipNode
from tests.ledger.builders import make_consortium
from tests.ledger.epoch_builders import GENESIS, ROSTERS, certify, proofs

PROOFS = proofs()


def records(given: tuple[EpochProof, ...] = PROOFS) -> list[pb.EpochRecord]:
    first = pb.EpochRecord(epoch=0, roster=ROSTERS[0].encode())
    return [first] + [
        pb.EpochRecord(epoch=i, roster=proof.roster.encode(), proof=proof.encode(), start_height=proof.boundary.height)
        for i, proof in enumerate(given, 1)
    ]


@pytest.fixture
def node() -> Iterator[MembershipNode]:
    with MembershipNode(records(), pb.GetGovernanceResponse()) as made:
        yield made


@pytest.fixture
def genesis(tmp_path: Path) -> Path:
    path = tmp_path / "genesis.json"
    path.write_bytes(GENESIS.raw)
    return path


def test_list_shows_every_epoch_proven_from_the_genesis(stretto: Stretto, node: MembershipNode, genesis: Path) -> None:
    ended = stretto("epochs", "list", "--node", node.address, "--genesis", genesis)
    assert ended.code == Exit.OK, ended.err
    assert "label, court, society, platform, indie" in ended.text
    assert f"every epoch up to 4 follows from the genesis; roster {ROSTERS[4].digest.hex()}" in ended.text
    listed = stretto("epochs", "list", "--node", node.address, "--genesis", genesis, "--json").json
    assert [epoch["roster"] for epoch in listed["epochs"]] == [roster.digest.hex() for roster in ROSTERS]
    assert listed["epochs"][3]["members"][3] == {
        "id": "indie",
        "name": "The Indie",
        "role": "label",
        "validator": 3,
        "keys": {
            purpose: getattr(ROSTERS[3].members[3].keys, purpose).hex()
            for purpose in ("consensus", "log", "cosign", "export", "peer", "statement", "chain", "chain_proof")
        },
    }


def test_export_writes_what_verify_proves(
    stretto: Stretto, node: MembershipNode, genesis: Path, tmp_path: Path
) -> None:
    out = tmp_path / "epochs.cbor"
    ended = stretto("epochs", "export", "--out", out, "--node", node.address, "--genesis", genesis, "--json")
    assert ended.code == Exit.OK, ended.err
    assert ended.json["roster"] == ROSTERS[4].digest.hex()
    assert parse_epochs(out.read_bytes()) == (GENESIS.digest, PROOFS)
    ended = stretto("epochs", "verify", out, "--genesis", genesis)
    assert ended.code == Exit.OK, ended.err
    assert "every epoch up to 4" in ended.text


@pytest.mark.parametrize(
    "given",
    [
        (replace(PROOFS[0], finalization=certify(ROSTERS[0], PROOFS[0].boundary, (0, 1))), *PROOFS[1:]),
        (PROOFS[1],),
    ],
    ids=["no quorum", "gap"],
)
def test_a_node_that_answers_with_what_is_no_proof_is_refused(
    stretto: Stretto, genesis: Path, tmp_path: Path, given: tuple[EpochProof, ...]
) -> None:
    out = tmp_path / "epochs.cbor"
    with MembershipNode(records(given), pb.GetGovernanceResponse()) as lying:
        ended = stretto("epochs", "export", "--out", out, "--node", lying.address, "--genesis", genesis)
    assert ended.code == Exit.REFUSED
    assert "your genesis does not lead to" in ended.err
    assert not out.exists()


def test_verify_refuses_what_a_quorum_did_not_sign(stretto: Stretto, genesis: Path, tmp_path: Path) -> None:
    forged = replace(PROOFS[1], finalization=certify(ROSTERS[1], PROOFS[1].headers[-1], (0, 1, 2)))
    path = tmp_path / "epochs.cbor"
    path.write_bytes(encode_epochs(GENESIS.digest, (PROOFS[0], forged)))
    ended = stretto("epochs", "verify", path, "--genesis", genesis, "--json")
    assert ended.code == Exit.REFUSED
    assert (ended.json["ok"], ended.json["epoch"]) == (False, "2")
    assert "the roster of epoch 2 is not proven" in ended.err


def test_verify_refuses_the_epochs_of_another_consortium(stretto: Stretto, genesis: Path, tmp_path: Path) -> None:
    path = tmp_path / "epochs.cbor"
    path.write_bytes(encode_epochs(make_consortium(name="Another").genesis.digest, PROOFS))
    ended = stretto("epochs", "verify", path, "--genesis", genesis)
    assert ended.code == Exit.DATA
    assert "another consortium" in ended.err


def test_verify_refuses_what_is_no_such_file(stretto: Stretto, genesis: Path, tmp_path: Path) -> None:
    path = tmp_path / "epochs.cbor"
    assert stretto("epochs", "verify", path, "--genesis", genesis).code == Exit.NO_INPUT
    path.write_bytes(b"something else")
    assert stretto("epochs", "verify", path, "--genesis", genesis).code == Exit.DATA


def test_without_a_genesis_nothing_is_proven(stretto: Stretto, tmp_path: Path) -> None:
    assert stretto("epochs", "verify", tmp_path / "epochs.cbor").code == Exit.CONFIG


def test_verify_needs_no_network_code(genesis: Path, tmp_path: Path) -> None:
    path = tmp_path / "epochs.cbor"
    path.write_bytes(encode_epochs(GENESIS.digest, PROOFS))
    code, modules = modules_after("epochs", "verify", path, "--genesis", genesis)
    assert code == Exit.OK
    assert not modules & {"grpc", "trio", "lmdb", "google", "libp2p", "node"}
