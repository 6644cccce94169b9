"""`--epochs`: what a person who trusts more than the genesis can verify, and who may claim in a later epoch."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.submission import parse_submission
from cli.output import Exit
from consensus.types import Epoch
from ledger.epochs import encode_epochs
from ledger.evidence import build_bundle
from ledger.governance import RotateKey, amend, conclude
from ledger.statement import check_statement, parse_statement
from node.keys import write_key
from tests.catalog.audio_files import KINDS, encoded
from tests.cli.commands import Stretto
from tests.ledger.builders import private_key, public_key
from tests.ledger.epoch_builders import GENESIS, ROSTERS, handover, proofs
from tests.ledger.test_evidence_epochs import arguments
from tests.ledger.test_misbehaviour import in_epoch


@pytest.fixture
def genesis(tmp_path: Path) -> Path:
    path = tmp_path / "genesis.json"
    path.write_bytes(GENESIS.raw)
    return path


@pytest.fixture
def epochs(tmp_path: Path) -> Path:
    path = tmp_path / "epochs.cbor"
    path.write_bytes(encode_epochs(GENESIS.digest, proofs()))
    return path


def test_evidence_of_a_later_epoch_is_complete_for_who_trusts_the_epochs(
    stretto: Stretto, tmp_path: Path, genesis: Path, epochs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "song.evidence.zip"
    bundle.write_bytes(build_bundle(**arguments(2)))
    words = ("evidence", "verify", bundle, "--genesis", genesis)
    assert stretto(*words).code == Exit.INCOMPLETE
    assert stretto(*words, "--epochs", epochs).code == Exit.OK
    monkeypatch.setenv("STRETTO_EPOCHS", str(epochs))
    assert stretto(*words).code == Exit.OK


def test_evidence_of_another_history_is_refused_by_who_trusts_the_epochs(
    stretto: Stretto, tmp_path: Path, genesis: Path
) -> None:
    change = RotateKey(epoch=Epoch(0), member_id="court", purpose="log", key=public_key("court again", "log"))
    other = (handover(ROSTERS[0], conclude(ROSTERS[0], amend(ROSTERS[0], change))),)
    trusted, bundle = tmp_path / "other.cbor", tmp_path / "song.evidence.zip"
    trusted.write_bytes(encode_epochs(GENESIS.digest, other))
    bundle.write_bytes(build_bundle(**arguments(2)))
    ended = stretto("evidence", "verify", bundle, "--genesis", genesis, "--epochs", trusted)
    assert ended.code == Exit.REFUSED
    assert "Two histories exist" in ended.text


def test_misbehaviour_in_a_later_epoch_is_proven_with_its_roster(
    stretto: Stretto, tmp_path: Path, genesis: Path, epochs: Path
) -> None:
    path = tmp_path / "indie.misbehaviour"
    path.write_bytes(in_epoch(1, 4))
    words = ("misbehaviour", "verify", path, "--genesis", genesis, "--json")
    assert stretto(*words).code == Exit.INCOMPLETE
    ended = stretto(*words, "--epochs", epochs)
    assert (ended.code, ended.json["member"]) == (Exit.OK, "indie")


def test_an_admitted_member_claims_in_its_epoch(stretto: Stretto, tmp_path: Path, genesis: Path, epochs: Path) -> None:
    music, out = tmp_path / "song.wav", tmp_path / "song.stretto"
    music.write_bytes(encoded(KINDS[0]))
    write_key(tmp_path / "indie.pem", private_key("indie", "statement"))
    words = ("claim", music, "--key", tmp_path / "indie.pem", "--genesis", genesis, "--out", out)
    ended = stretto(*words)
    assert ended.code == Exit.FORBIDDEN
    assert "name --epochs FILE" in ended.err
    assert stretto(*words, "--epochs", epochs).code == Exit.OK
    check_statement(parse_statement(parse_submission(out.read_bytes()).statement), ROSTERS[4])
