"""`stretto evidence verify`: offline, by the genesis the verifier holds, with an exit code for each verdict."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from blake3 import blake3

from cli.output import Exit
from ledger.claim import Media
from tests.cli.commands import Stretto, modules_after
from tests.ledger.evidence_builders import make_impostors, make_parts

SONG = b"a song, byte by byte"


class Bench:
    """A court expert's bench: a bundle, the audio, the genesis the court holds."""

    def __init__(self, root: Path) -> None:
        import hashlib

        media = Media(blake3=blake3(SONG).digest(), sha256=hashlib.sha256(SONG).digest(), size=len(SONG))
        parts = make_parts(media=(media,))
        self.bundle, self.audio, self.genesis = root / "song.evidence.zip", root / "song.wav", root / "genesis.json"
        self.bundle.write_bytes(parts.build())
        self.audio.write_bytes(SONG)
        self.genesis.write_bytes(parts.consortium.genesis.raw)

    def flipped(self, at: int) -> Path:
        data = bytearray(self.bundle.read_bytes())
        data[at % len(data)] ^= 1
        path = self.bundle.with_name("flipped.zip")
        path.write_bytes(data)
        return path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_true_evidence_and_its_audio_are_verified_with_every_check_listed(stretto: Stretto, bench: Bench) -> None:
    ended = stretto("evidence", "verify", bench.bundle, bench.audio, "--genesis", bench.genesis, "--json")
    assert ended.code == Exit.OK
    assert (ended.json["ok"], ended.json["verdict"]) == (True, "VERIFIED")
    checks = {check["name"]: check for check in ended.json["checks"]}
    assert checks["audio"]["outcome"] == "PASSED"
    assert all(check["reason"] for check in checks.values())
    table = stretto("evidence", "verify", bench.bundle, bench.audio, "--genesis", bench.genesis)
    assert table.code == Exit.OK
    assert table.text.rstrip().endswith("VERIFIED")
    assert all(name in table.text for name in checks)


def test_another_audio_file_is_refused_with_the_reason(stretto: Stretto, bench: Bench) -> None:
    bench.audio.write_bytes(SONG[:-1] + b"!")
    ended = stretto("evidence", "verify", bench.bundle, bench.audio, "--genesis", bench.genesis)
    assert ended.code == Exit.REFUSED
    assert "REFUSED\n  audio: " in ended.text


@pytest.mark.parametrize("at", [0, 100, 1000, -5])
def test_evidence_with_a_flipped_bit_is_refused(stretto: Stretto, bench: Bench, at: int) -> None:
    ended = stretto("evidence", "verify", bench.flipped(at), "--genesis", bench.genesis, "--json")
    assert ended.code == Exit.REFUSED
    assert ended.json["verdict"] == "REFUSED"


def test_invented_validators_are_refused_by_the_genesis_and_incomplete_without(stretto: Stretto, bench: Bench) -> None:
    bench.bundle.write_bytes(make_parts(make_impostors()).build())
    assert stretto("evidence", "verify", bench.bundle, "--genesis", bench.genesis).code == Exit.REFUSED
    assert stretto("evidence", "verify", bench.bundle).code == Exit.INCOMPLETE


def test_without_a_genesis_true_evidence_is_incomplete_and_the_way_out_is_said(stretto: Stretto, bench: Bench) -> None:
    ended = stretto("evidence", "verify", bench.bundle)
    assert ended.code == Exit.INCOMPLETE
    assert "INCOMPLETE" in ended.text
    assert "--genesis" in ended.text


def test_the_local_trust_file_and_the_environment_are_found(
    stretto: Stretto, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Path(os.environ["XDG_CONFIG_HOME"]) / "stretto" / "genesis.json"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(bench.genesis.read_bytes())
    assert stretto("evidence", "verify", bench.bundle).code == Exit.OK
    kept.unlink()
    assert stretto("evidence", "verify", bench.bundle).code == Exit.INCOMPLETE
    monkeypatch.setenv("STRETTO_GENESIS", str(bench.genesis))
    assert stretto("evidence", "verify", bench.bundle).code == Exit.OK


def test_the_wrong_kind_of_file_is_not_evidence(stretto: Stretto, bench: Bench) -> None:
    assert stretto("evidence", "verify", bench.audio, "--genesis", bench.genesis).code == Exit.REFUSED
    assert stretto("evidence", "verify", "/nowhere", "--genesis", bench.genesis).code == Exit.NO_INPUT
    assert stretto("evidence", "verify", bench.bundle, "/nowhere").code == Exit.NO_INPUT
    assert stretto("evidence", "verify", bench.bundle, "--genesis", bench.audio).code == Exit.DATA
    assert stretto("evidence", "verify", bench.bundle, "--genesis", "/nowhere").code == Exit.NO_INPUT


def test_verification_imports_the_ledger_and_nothing_of_the_network(bench: Bench) -> None:
    code, tops = modules_after("evidence", "verify", bench.bundle, bench.audio, "--genesis", bench.genesis)
    assert code == Exit.OK
    assert "ledger" in tops
    assert tops & {"grpc", "google", "protos", "libp2p", "trio", "node", "lmdb"} == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "--out", "x"),
        ("get", "--digest", "0" * 64, "--statement", "0" * 64, "--out", "x"),
        ("get", "--digest", "0" * 64, "--position", "1", "--out", "x"),
        ("get", "--digest", "0" * 64),
    ],
)
def test_get_needs_exactly_one_thing_to_get_and_a_place_to_put_it(stretto: Stretto, arguments: tuple[str, ...]) -> None:
    assert stretto("evidence", *arguments).code == Exit.USAGE
