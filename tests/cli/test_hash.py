"""`stretto hash`: what it prints other tools can check, whatever files are called."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from blake3 import blake3

from cli.output import Exit
from tests.cli.commands import Stretto

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
