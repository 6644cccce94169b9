"""Our notes and proofs before a verifier that shares no code with us: golang.org/x/mod/sumdb, as Debian packages it.

The program is the one that travels in every evidence archive.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ledger.checkpoint import Checkpoint, checkpoint_note, cosignature, log_signature
from ledger.merkle import Frontier, inclusion_proof
from ledger.note import Note
from ledger.policy import Policy, consortium_policy
from ledger.tlog_proof import TlogProof
from tests.ledger.keys import TestKey

PROGRAM = Path(__file__).parents[2] / "ledger" / "evidence_files" / "verify.go"
GOPATH = Path("/usr/share/gocode")
PACKAGES = "golang-go golang-golang-x-mod-dev"

ORIGIN = "log.example/music"
MEMBERS = ("court", "label", "platform", "society")
STATEMENTS = [b"statement %d" % i for i in range(1, 1001)]
INDEX, SIZE = 617, 1000
FRONTIER, _FULL = Frontier().extend(hashlib.sha256(statement).digest() for statement in STATEMENTS)
NODES = {(node.level, node.index): node.hash for node in _FULL}


@pytest.fixture(scope="session")
def go_verify(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled program."""
    go = shutil.which("go")
    if go is None or not (GOPATH / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        missing = f"the foreign verifier needs Go and x/mod: apt-get install {PACKAGES}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("go")
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": str(GOPATH), "GOCACHE": str(folder / "cache")}
    binary = folder / "verify"
    built = subprocess.run(
        [go, "build", "-o", binary, PROGRAM], env=environment, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return binary


@dataclasses.dataclass(frozen=True)
class Case:
    """What the program reads."""

    policy: bytes
    proof: bytes
    statement: bytes


def consortium(members: tuple[str, ...] = MEMBERS) -> Policy:
    validators = [(m, TestKey(f"{m}/log").public, TestKey(f"{m}/cosign").public) for m in members]
    return consortium_policy(origin=ORIGIN, validators=validators, quorum=len(members) - (len(members) - 1) // 3)


def signed(size: int, cosigners: tuple[str, ...], logs: tuple[str, ...]) -> Note:
    root = Frontier().extend(hashlib.sha256(s).digest() for s in STATEMENTS[:size])[0].root()
    checkpoint = Checkpoint(origin=ORIGIN, size=size, root=root)
    log_lines = [
        log_signature(checkpoint, public_key=TestKey(f"{m}/log").public, sign=TestKey(f"{m}/log").sign) for m in logs
    ]
    lines = [
        cosignature(
            checkpoint,
            member_id=m,
            timestamp_s=1_790_000_000,
            public_key=TestKey(f"{m}/cosign").public,
            sign=TestKey(f"{m}/cosign").sign,
        )
        for m in cosigners
    ]
    return checkpoint_note(checkpoint, log_lines, lines)


def prove(index: int = INDEX, size: int = SIZE) -> TlogProof:
    path = inclusion_proof(index, size, lambda level, i: NODES[level, i])
    return TlogProof(index=index, path=path, note=signed(size, MEMBERS, MEMBERS))


GOOD = Case(policy=consortium().encode(), proof=prove().encode(), statement=STATEMENTS[INDEX])


def run(binary: Path, case: Case, folder: Path) -> subprocess.CompletedProcess[str]:
    names = ("policy", "proof.tlog-proof", "statement")
    for name, data in zip(names, (case.policy, case.proof, case.statement), strict=True):
        (folder / name).write_bytes(data)
    return subprocess.run([binary, *names], cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def refused(binary: Path, case: Case, folder: Path) -> str:
    done = run(binary, case, folder)
    assert done.returncode == 1, f"accepted: {done.stdout}"
    assert done.stdout == ""
    return done.stderr


def test_go_accepts_our_checkpoint_and_proof(go_verify: Path, tmp_path: Path) -> None:
    done = run(go_verify, GOOD, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "the statement is entry 617 of 1000 in the log log.example/music\n"
        "vouched for by 4 institutions (3 needed): court label platform society\n"
    )


@pytest.mark.parametrize("index", [0, 1, 511, 512, 999])
def test_go_accepts_proofs_at_the_edges_of_the_tree(go_verify: Path, tmp_path: Path, index: int) -> None:
    case = dataclasses.replace(GOOD, proof=prove(index).encode(), statement=STATEMENTS[index])
    assert run(go_verify, case, tmp_path).returncode == 0


@pytest.mark.parametrize("step", [-1, 1])
def test_go_refuses_a_neighbouring_index(go_verify: Path, tmp_path: Path, step: int) -> None:
    proof = dataclasses.replace(prove(), index=INDEX + step)
    assert "invalid transparency proof" in refused(go_verify, dataclasses.replace(GOOD, proof=proof.encode()), tmp_path)


def test_go_refuses_a_flipped_hash(go_verify: Path, tmp_path: Path) -> None:
    path = list(prove().path)
    path[3] = type(path[3])(bytes([path[3][0] ^ 1]) + path[3][1:])
    proof = dataclasses.replace(prove(), path=tuple(path))
    assert "invalid transparency proof" in refused(go_verify, dataclasses.replace(GOOD, proof=proof.encode()), tmp_path)


@pytest.mark.parametrize("line", range(8))
def test_go_refuses_a_flipped_signature(go_verify: Path, tmp_path: Path, line: int) -> None:
    """Any of the eight: log signatures first, then cosignatures."""
    note = prove().note
    last = note.signatures[line].signature[-1] ^ 1
    flipped = dataclasses.replace(note.signatures[line], signature=note.signatures[line].signature[:-1] + bytes([last]))
    signatures = (*note.signatures[:line], flipped, *note.signatures[line + 1 :])
    proof = dataclasses.replace(prove(), note=Note(text=note.text, signatures=signatures))
    assert "invalid signature" in refused(go_verify, dataclasses.replace(GOOD, proof=proof.encode()), tmp_path)


def test_go_refuses_another_statement(go_verify: Path, tmp_path: Path) -> None:
    case = dataclasses.replace(GOOD, statement=STATEMENTS[INDEX] + b".")
    assert "invalid transparency proof" in refused(go_verify, case, tmp_path)


def test_go_refuses_a_path_from_a_larger_tree(go_verify: Path, tmp_path: Path) -> None:
    proof = dataclasses.replace(prove(511, 512), path=prove(511, 1000).path)
    case = dataclasses.replace(GOOD, proof=proof.encode(), statement=STATEMENTS[511])
    assert "invalid transparency proof" in refused(go_verify, case, tmp_path)


def test_go_refuses_one_cosigner_too_few(go_verify: Path, tmp_path: Path) -> None:
    for cosigners, accepted in ((MEMBERS[:3], True), (MEMBERS[:2], False)):
        proof = dataclasses.replace(prove(), note=signed(SIZE, cosigners, MEMBERS[:1]))
        done = run(go_verify, dataclasses.replace(GOOD, proof=proof.encode()), tmp_path)
        assert (done.returncode == 0) is accepted, done.stderr
    assert "1 log signatures and 2 cosigners, want 1 and 3" in done.stderr


def test_go_refuses_strangers(go_verify: Path, tmp_path: Path) -> None:
    """A flawless proof by a consortium the reader does not know."""
    strangers = dataclasses.replace(GOOD, policy=consortium(("one", "two", "three", "four")).encode())
    assert "no verifiable signatures" in refused(go_verify, strangers, tmp_path)
