"""Evidence as a stranger checks it: unpacked, with the commands of its own VERIFY.md, without Stretto.

`verify.py` travels in the archive and uses OpenSSL where Stretto uses libsodium: a second opinion on every signature.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.types import Block, Certificate, Epoch
from ledger.epochs import EpochProof, encode_epochs
from ledger.evidence import Outcome, build_bundle, verify_bundle
from tests.ledger.builders import Consortium, make_consortium
from tests.ledger.epoch_builders import GENESIS, ROSTERS, boundary_of, certify, proofs
from tests.ledger.evidence_builders import cosign, finalize, make_checkpoint, make_impostors, make_parts, reseal
from tests.ledger.test_evidence_epochs import arguments, note_by

CONSORTIUM = make_consortium()
GENESIS_DIGEST = CONSORTIUM.genesis.digest.hex()
PARTS = make_parts(CONSORTIUM, position=3, children=2)
BUNDLE = PARTS.build()
GO_SOURCES = Path("/usr/share/gocode/src/golang.org/x/mod")


def need(there: object, package: str) -> None:
    """Skips visibly where a foreign tool is missing; fails where the build is meant to have it."""
    if there:
        return
    missing = f"evidence is checked with foreign tools: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(autouse=True)
def _openssl() -> None:
    need(shutil.which("openssl"), "openssl")


def unpack(data: bytes, folder: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(folder)
    return folder


def run_verify(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "verify.py", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def shell_commands() -> list[str]:
    """The lines of VERIFY.md that promise to run as they stand."""
    with zipfile.ZipFile(io.BytesIO(BUNDLE)) as archive:
        text = archive.read("VERIFY.md").decode()
    return re.findall(r"^```sh\n(.+?)\n```$", text, re.MULTILINE | re.DOTALL)


def test_every_command_of_verify_md_works(tmp_path: Path) -> None:
    commands = shell_commands()
    assert len(commands) == 5
    need(shutil.which("go") and GO_SOURCES.is_dir(), "golang-go golang-golang-x-mod-dev")
    folder = unpack(BUNDLE, tmp_path / "evidence")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(sys.executable)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "GOCACHE": str(tmp_path / "go")}
    said = ""
    for command in commands:
        done = subprocess.run(
            ["bash", "-euc", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        said += done.stdout
    assert f"{GENESIS_DIGEST}  genesis.json" in said
    assert said.count("Signature Verified Successfully") == 2
    assert "the statement is entry 4 of 11 in the log test.stretto.example/log" in said


def test_commands_with_a_place_holder_name_files_that_verify_py_writes(tmp_path: Path) -> None:
    folder = unpack(BUNDLE, tmp_path)
    assert run_verify(folder).returncode == 0
    lines = re.findall(r"^    (openssl .*ID.*)$", (folder / "VERIFY.md").read_text(), re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        for member in ("label", "court", "society", "platform"):
            command = re.sub(r"\bID\b", member, line).split()
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("parts", [PARTS, make_parts(CONSORTIUM)], ids=["claim of a catalogue", "claim"])
def test_second_verifier_agrees_and_names_the_institutions(parts: object, tmp_path: Path) -> None:
    done = run_verify(unpack(parts.build(), tmp_path), GENESIS_DIGEST)  # type: ignore[attr-defined]
    assert (done.returncode, done.stderr) == (0, "")
    assert "cosigned by The Label, The Court, The Society, The Platform: 4, needed 3" in done.stdout
    assert "finalized by The Court, The Label, The Platform, The Society: 4, needed 3" in done.stdout
    assert done.stdout.endswith("All of this holds, under the genesis you trust.\n")


def test_second_verifier_without_a_trusted_genesis_says_if(tmp_path: Path) -> None:
    impostors = make_impostors()
    folder = unpack(make_parts(impostors).build(), tmp_path)
    done = run_verify(folder)
    assert "All of this holds, IF the genesis is genuine." in done.stdout
    assert done.stdout.endswith(f"{impostors.genesis.digest.hex()}\n")
    assert "not so: the genesis is the one you trust" in run_verify(folder, GENESIS_DIGEST).stderr


def test_second_verifier_refuses_a_change_in_any_file(tmp_path: Path) -> None:
    names = sorted(path.name for path in unpack(BUNDLE, tmp_path / "whole").iterdir())
    for name in names:
        folder = tmp_path / name
        unpack(BUNDLE, folder)
        data = (folder / name).read_bytes()
        # In a comment of the program that is running, in the middle of everything else.
        at = data.index(b"standard library") if name == "verify.py" else len(data) // 2
        (folder / name).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        done = run_verify(folder, GENESIS_DIGEST)
        assert done.returncode == 1, name
        assert "REFUSED" in done.stderr, name


def test_second_verifier_refuses_what_the_first_refuses(tmp_path: Path) -> None:
    """A dishonest exporter's files: the manifest covers them, and still."""
    statement, blocks = PARTS.arguments["statement"], PARTS.arguments["blocks"]
    checkpoint = make_checkpoint(CONSORTIUM, statement)
    with zipfile.ZipFile(io.BytesIO(BUNDLE)) as archive:
        proof = archive.read("catalogue-proof.txt")
        claim = archive.read("claim.cbor")
        header = archive.read("payload-header.bin")
    flipped = bytes([header[-5] ^ 1])
    cases = {
        "index": PARTS.but(index=5).build(),
        "cosigners": PARTS.but(note=cosign(CONSORTIUM, checkpoint, ["label", "court"]).encode()).build(),
        "votes": PARTS.but(finalization=finalize(CONSORTIUM, blocks[-1], (0, 1))).build(),
        "position": reseal(BUNDLE, {"catalogue-proof.txt": proof.replace(b"index 3", b"index 2")}, CONSORTIUM),
        "claim": reseal(BUNDLE, {"claim.cbor": claim[:-1] + b"?"}, CONSORTIUM),
        "payload": reseal(BUNDLE, {"payload-header.bin": header[:-5] + flipped + header[-4:]}, CONSORTIUM),
        "exporter": PARTS.but(sign=CONSORTIUM.key("label", "export").sign).build(),
    }
    for name, data in cases.items():
        assert any(check.outcome is Outcome.FAILED for check in verify_bundle(data, CONSORTIUM.genesis, None).checks)
        done = run_verify(unpack(data, tmp_path / name), GENESIS_DIGEST)
        assert done.returncode == 1, name
        assert "REFUSED: not so:" in done.stderr, name


def test_file_that_does_not_belong_is_pointed_out(tmp_path: Path) -> None:
    folder = unpack(BUNDLE, tmp_path)
    (folder / "opinion.txt").write_text("trust me")
    done = run_verify(folder, GENESIS_DIGEST)
    assert done.returncode == 0
    assert "not part of this evidence, disregard it: opinion.txt" in done.stdout


# ---- later epochs ----------------------------------------------------------------------------------------------------

LATER = build_bundle(**arguments(2))


@pytest.mark.parametrize("epoch", range(1, 5))
def test_second_verifier_follows_the_handovers(epoch: int, tmp_path: Path) -> None:
    done = run_verify(unpack(build_bundle(**arguments(epoch)), tmp_path), GENESIS.digest.hex())
    assert (done.returncode, done.stderr) == (0, "")
    assert f"names the members of epoch {epoch}" in done.stdout
    assert "it is signed by The Indie" in done.stdout
    assert f"This rests on {epoch} handovers" in done.stdout
    assert ROSTERS[epoch].digest.hex() in done.stdout


def test_second_verifier_judges_the_checkpoint_by_the_epoch_that_vouches_for_it(tmp_path: Path) -> None:
    parts = arguments(1)
    data = build_bundle(**(parts | {"note": note_by(ROSTERS[3], parts["statement"], (0, 1, 3))}))
    done = run_verify(unpack(data, tmp_path), GENESIS.digest.hex())
    assert (done.returncode, done.stderr) == (0, "")
    assert "cosigned by The Label, The Court, The Indie: 3, needed 3" in done.stdout


def test_second_verifier_refuses_forged_handovers(tmp_path: Path) -> None:
    one, two = proofs(2)
    other = replace(ROSTERS[1], parameters=replace(ROSTERS[1].parameters, delta_ms=999))
    following = replace(ROSTERS[2], epoch=Epoch(1))
    last = two.headers[-1]
    late = replace(last, epoch=Epoch(2))
    skip = replace(ROSTERS[2], epoch=Epoch(3))
    boundary = boundary_of(ROSTERS[1], skip)
    skipped = replace(two, boundary=boundary, headers=(), finalization=certify(ROSTERS[1], boundary), roster=skip)

    def with_last(header: Block, finalization: Certificate) -> EpochProof:
        return replace(two, headers=(*two.headers[:-1], header), finalization=finalization)

    cases = {
        "no quorum": (one, replace(two, finalization=certify(ROSTERS[1], last, (0, 1, 2)))),
        "another committee": (
            one,
            replace(two, finalization=certify(following, last, (1, 2))),
        ),
        "another roster": (replace(one, roster=other), two),
        "gap": (two,),
        "missing": (one,),
        "not linked": (one, replace(two, headers=two.headers[1:])),
        "another epoch": (one, with_last(late, certify(ROSTERS[1], late))),
        "an epoch misnamed": (one, with_last(late, certify(ROSTERS[1], late, epoch=Epoch(1)))),
        "another block": (one, with_last(last, certify(ROSTERS[1], last, block=two.boundary.digest))),
        "an epoch skipped": (one, skipped),
    }
    for name, given in cases.items():
        data = reseal(LATER, {"epochs.cbor": encode_epochs(GENESIS.digest, given)}, Consortium(GENESIS), "indie")
        assert any(check.outcome is Outcome.FAILED for check in verify_bundle(data, GENESIS, None).checks), name
        done = run_verify(unpack(data, tmp_path / name), GENESIS.digest.hex())
        assert done.returncode == 1, name
        assert "REFUSED: not so:" in done.stderr, (name, done.stderr)


def test_second_verifier_refuses_who_is_no_member_of_the_epoch(tmp_path: Path) -> None:
    """A claim in epoch 0 by an institution admitted in epoch 1."""
    done = run_verify(unpack(build_bundle(**arguments(0, signed=1)), tmp_path), GENESIS.digest.hex())
    assert done.returncode == 1
    assert "REFUSED" in done.stderr
