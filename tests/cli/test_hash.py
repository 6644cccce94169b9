"""`stretto hash`: what it prints other tools can check, whatever files are called."""

from __future__ import annotations

import faulthandler
import hashlib
import json
import mmap
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from blake3 import blake3

from catalog import digest_journal as journal
from catalog.content import MAP_BYTES_MIN, READ_BYTES
from catalog.crew import processors
from cli.output import Exit
from tests.cli.commands import Stretto

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = (
    "plain.wav", "with  two spaces.wav", "back\\slash.wav", "new\nline.wav", "re\rturn.wav", "both\\\n.wav",
    "-dash.wav", "雨のあと.flac", "Früher.ogg", "e\u0301.mp3", "\U0001f3bc.m4a", " lead", "nested/deep/x.wav",
)  # fmt: skip


def folder(root: Path, names: tuple[str, ...] = NAMES) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"content of " + os.fsencode(name))
    return root


def test_b3sum_checks_what_comes_out_of_a_pipe(stretto: Stretto, tmp_path: Path) -> None:
    if shutil.which("b3sum") is None:
        pytest.skip("b3sum is not installed: apt-get install b3sum")
    ended = stretto("hash", folder(tmp_path / "music"))
    assert (ended.code, ended.err) == (Exit.OK, "")
    (tmp_path / "sums").write_bytes(ended.out)
    checked = subprocess.run(["b3sum", "--check", tmp_path / "sums"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count(": OK") == len(NAMES)
    (tmp_path / "music" / "plain.wav").write_bytes(b"changed")
    assert subprocess.run(["b3sum", "--check", tmp_path / "sums"], capture_output=True, check=False).returncode == 1


def test_sha256sum_checks_the_other_format_also_of_names_that_are_no_text(stretto: Stretto, tmp_path: Path) -> None:
    names = (*NAMES, os.fsdecode(b"caf\xe9.wav"))
    ended = stretto("hash", "--format", "sha256sum", folder(tmp_path / "music", names))
    assert (ended.code, ended.err) == (Exit.OK, "")
    (tmp_path / "sums").write_bytes(ended.out)
    checked = subprocess.run(["sha256sum", "--check", tmp_path / "sums"], capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count(b": OK") == len(names)


def test_output_equals_b3sums_own_byte_for_byte(stretto: Stretto, tmp_path: Path) -> None:
    if shutil.which("b3sum") is None:
        pytest.skip("b3sum is not installed: apt-get install b3sum")
    folder(tmp_path)
    paths = sorted((tmp_path / name for name in NAMES), key=os.fsencode)
    theirs = subprocess.run(["b3sum", *paths], capture_output=True, check=True).stdout
    assert sorted(stretto("hash", tmp_path).out.splitlines()) == sorted(theirs.splitlines())


def test_a_name_that_is_no_text_is_marked_for_b3sum_and_the_rest_stays_checkable(
    stretto: Stretto, tmp_path: Path
) -> None:
    ended = stretto("hash", folder(tmp_path, (os.fsdecode(b"caf\xe9.wav"), "b.wav")))
    assert ended.code == Exit.OK
    assert ended.out.decode().count("caf\ufffd.wav") == 1
    assert "caf\\xe9.wav: b3sum cannot check" in ended.err


def test_json_has_both_digests_and_the_exact_name(stretto: Stretto, tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.wav")
    ended = stretto("hash", "--json", folder(tmp_path, ("雨.wav", odd)))
    documents = {document["bytes"]: document for document in ended.json_lines}
    content = "content of 雨.wav".encode()
    assert documents[len(content)] == {
        "path": str(tmp_path / "雨.wav"),
        "bytes": len(content),
        "blake3": blake3(content).hexdigest(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    other = next(document for document in ended.json_lines if "path_hex" in document)
    assert bytes.fromhex(other["path_hex"]) == os.fsencode(tmp_path / odd)
    assert json.loads(json.dumps(other["path"])) == str(tmp_path / odd)


def test_blake3_alone_is_the_default_and_sha256_is_had_by_asking(stretto: Stretto, tmp_path: Path) -> None:
    (tmp_path / "song").write_bytes(b"content")
    blake, sha = blake3(b"content").hexdigest(), hashlib.sha256(b"content").hexdigest()
    assert stretto("hash", tmp_path).text == f"{blake}  {tmp_path}/song\n"
    assert stretto("hash", "--sha256", tmp_path).text == f"{sha}  {tmp_path}/song\n"
    refused = stretto("hash", "--sha256", "--format", "b3sum", tmp_path)
    assert refused.code == Exit.USAGE
    assert "--format sha256sum" in refused.err


def test_the_table_shows_both_digests_and_no_control_characters(stretto: Stretto, tmp_path: Path) -> None:
    ended = stretto("hash", "--format", "table", folder(tmp_path, ("\x1b[2Jevil",)))
    assert b"\x1b" not in ended.out
    assert "\\x1b[2Jevil  " in ended.text
    digest = blake3(b"content of \x1b[2Jevil").hexdigest()
    assert f"BLAKE3   {digest}" in ended.text
    assert "SHA-256  " in ended.text


def test_files_are_hashed_in_the_order_of_names_and_the_same_every_time(stretto: Stretto, tmp_path: Path) -> None:
    folder(tmp_path, tuple(f"{i:03}" for i in range(100)))
    first = stretto("hash", "--threads", "4", tmp_path)
    assert [line.split(b"  ", 1)[1] for line in first.out.splitlines()] == [
        os.fsencode(tmp_path / f"{i:03}") for i in range(100)
    ]
    assert stretto("hash", "--threads", "1", tmp_path).out == first.out


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(stretto: Stretto, tmp_path: Path) -> None:
    folder(tmp_path, ("a", "c"))
    (tmp_path / "b").symlink_to("nowhere")
    os.mkfifo(tmp_path / "d")
    ended = stretto("hash", tmp_path, tmp_path / "gone\x07")
    assert ended.code == Exit.LEFT_OUT
    assert ended.out.count(b"\n") == 2
    assert [line.removeprefix(f"stretto: {tmp_path}/") for line in ended.err.splitlines()] == [
        "b: no such file; left out",
        "d: neither a file nor a folder; left out",
        "gone\\x07: no such file; left out",
    ]


def test_an_empty_file_has_the_digests_of_nothing(stretto: Stretto, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (document,) = stretto("hash", "--json", tmp_path).json_lines
    assert document["blake3"].startswith("af1349b9f5f9a1a6")
    assert document["sha256"].startswith("e3b0c44298fc1c14")


# ---- many files, and files that do not behave ------------------------------------------------------------------------


def test_digests_of_all_sizes_are_b3sums_and_blake3s(stretto: Stretto, tmp_path: Path) -> None:
    edges = (0, 1, 1024, 1025, 1 << 16, READ_BYTES, 4 << 20)
    for size in {max(0, edge + off) for edge in edges for off in (-1, 0, 1)}:
        (tmp_path / f"{size:08}").write_bytes(os.urandom(size))
    ours = stretto("hash", tmp_path).out.splitlines()
    assert ours == [f"{blake3(path.read_bytes()).hexdigest()}  {path}".encode() for path in sorted(tmp_path.iterdir())]
    if shutil.which("b3sum") is not None:
        paths = sorted(tmp_path.iterdir())
        assert subprocess.run(["b3sum", *paths], capture_output=True, check=True).stdout.splitlines() == ours


def test_a_file_that_shrinks_under_its_worker_is_read_again_and_the_rest_goes_on(
    stretto: Stretto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode() * MAP_BYTES_MIN)
    real = mmap.mmap

    def shrinking(descriptor: int, *arguments: int, **more: int) -> mmap.mmap:
        if descriptor >= 0 and os.pread(descriptor, 1, 0) == b"b":
            faulthandler.disable()
            pages = real(descriptor, *arguments[:1], mmap.MAP_SHARED, mmap.PROT_READ, **more)
            os.truncate(tmp_path / "b", 1)
            return pages
        return real(descriptor, *arguments, **more)

    monkeypatch.setattr(mmap, "mmap", shrinking)
    ended = stretto("hash", tmp_path)
    assert ended.code == Exit.OK
    contents = (b"a" * MAP_BYTES_MIN, b"b", b"c" * MAP_BYTES_MIN)
    assert [line[:64].decode() for line in ended.out.splitlines()] == [blake3(c).hexdigest() for c in contents]
    assert f"a worker process ended (signal {int(signal.SIGBUS)})" in ended.err


def test_resuming_reads_only_what_is_new(stretto: Stretto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SETTLED_NS", 0)
    folder(tmp_path / "music")
    first = stretto("hash", tmp_path / "music")
    arguments = ("hash", "--resume", tmp_path / "journal", tmp_path / "music")
    assert stretto(*arguments).out == first.out
    recorded = (tmp_path / "journal").read_bytes()
    assert recorded.count(b"\n") == 1 + len(NAMES)
    (tmp_path / "music" / "new").write_bytes(b"new")

    lines = recorded.splitlines(keepends=True)
    (tmp_path / "journal").write_bytes(b"".join(lines[:5]) + lines[5][:30])  # interrupted while it wrote
    again = stretto(*arguments)
    assert (again.code, again.out) == (Exit.OK, stretto("hash", tmp_path / "music").out)
    assert (tmp_path / "journal").read_bytes().count(b"\n") == 2 + len(NAMES)

    # What is on record is believed: so it was not read.
    path = os.fsencode(tmp_path / "music" / "plain.wav")
    forged = [b"0" * 64 + line[64:] if line.endswith(path + b"\n") else line for line in lines]
    (tmp_path / "journal").write_bytes(b"".join(forged))
    assert b"0" * 64 + b"  " + path in stretto(*arguments).out


def test_a_journal_that_is_none_is_refused_before_anything_is_written_to_it(stretto: Stretto, tmp_path: Path) -> None:
    (tmp_path / "song").write_bytes(b"precious")
    ended = stretto("hash", "--resume", tmp_path / "song", tmp_path)
    assert (ended.code, ended.out) == (Exit.DATA, b"")
    assert "is no journal" in ended.err
    assert (tmp_path / "song").read_bytes() == b"precious"


def test_a_journal_among_the_files_is_not_one_of_them(stretto: Stretto, tmp_path: Path) -> None:
    (tmp_path / "song").write_bytes(b"content")
    ended = stretto("hash", "--resume", tmp_path / "journal", tmp_path)
    assert (ended.code, ended.out.count(b"\n")) == (Exit.OK, 1)


# ---- the command itself ----------------------------------------------------------------------------------------------

COMMAND = Path(sys.executable).parent / "stretto"
needs_command = pytest.mark.skipif(not COMMAND.exists(), reason="stretto is not installed beside this Python")


@needs_command
def test_the_command_prints_what_the_verb_prints(stretto: Stretto, tmp_path: Path) -> None:
    folder(tmp_path / "music")
    (tmp_path / "link").symlink_to(COMMAND)
    for arguments in ([], ["--json"], ["--sha256"], ["--format", "table"], ["--threads", "1"], ["--"]):
        for command in (COMMAND, tmp_path / "link"):
            line = [str(command), "hash", *arguments, str(tmp_path / "music")]
            ended = subprocess.run(line, capture_output=True, check=True, timeout=60)
            assert ended.stdout == stretto("hash", *arguments, tmp_path / "music").out


@needs_command
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["gone"], Exit.LEFT_OUT, "stretto: gone: no such file; left out"),
        ([], Exit.USAGE, "Missing argument"),
        (["--nonsense", "x"], Exit.USAGE, "No such option"),
        (["--threads", "0", "x"], Exit.USAGE, "--threads"),
        (["--resume", "/nowhere/journal", "x"], Exit.IO, "/nowhere/journal: No such file"),
    ],
)
def test_the_command_ends_as_every_verb_does(tmp_path: Path, arguments: list[str], code: Exit, said: str) -> None:
    ended = subprocess.run(
        [COMMAND, "hash", *arguments], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (code, "")
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1


@needs_command
def test_other_verbs_and_help_work_through_the_command() -> None:
    for arguments, said in (
        (["--version"], "stretto, version"),
        (["hash", "--help"], "--resume"),
        (["--help"], "hash"),
    ):
        ended = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=True)
        assert said in ended.stdout


@pytest.mark.parametrize("is_calibrated", [False, True], ids=["no GPU", "little to do for a GPU"])
def test_a_plain_hash_imports_nothing_that_takes_longer_than_hashing(tmp_path: Path, *, is_calibrated: bool) -> None:
    (tmp_path / "song").write_bytes(b"content")
    if is_calibrated:
        (tmp_path / "state" / "stretto" / "gpu").mkdir(parents=True)
        (tmp_path / "state" / "stretto" / "gpu" / "GPU-0.json").write_bytes(b"{}")
    command = [sys.executable, "-SP", "-X", "importtime", ROOT / "cli" / "start.py", "hash", tmp_path / "song"]
    environment = os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)
    imported = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in ended.stderr.splitlines() if "|" in line}
    assert "blake3" in imported
    assert ("cli.sum_gpu" in ended.stderr) == is_calibrated
    heavy = {
        "click",
        "rich",
        "grpc",
        "cryptography",
        "pathlib",
        "typing",
        "dataclasses",
        "re",
        "hashlib",
        "site",
        "json",
    }
    assert not imported & heavy


@needs_command
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_half_way_it_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    for name in "ab":
        with (tmp_path / name).open("wb") as file:
            file.truncate(1 << 40)  # holes: days of work, no space
    process = subprocess.Popen([COMMAND, "hash", tmp_path], stderr=subprocess.PIPE, start_new_session=True)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 30
    while len(workers.read_text().split()) < min(2, processors()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, said = process.communicate(timeout=30)
    if number == signal.SIGINT:
        assert (process.returncode, said) == (Exit.INTERRUPTED, b"stretto: interrupted\n")
    else:
        assert process.returncode == -number
    while True:  # the workers of one who was killed notice at their next piece
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        assert time.monotonic() < deadline
        time.sleep(0.01)
