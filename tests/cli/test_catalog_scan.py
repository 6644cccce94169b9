"""`stretto catalog scan` as a command: what it prints, how it ends, and what a Ctrl-C leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from catalog.in_hand import IN_HAND_NAME
from catalog.manifest import Manifest
from catalog.tools import NO_TOOLS
from cli import catalog_scan
from cli.output import Exit
from tests.catalog.audio_files import KINDS, encoded
from tests.catalog.builders import tagged_flac
from tests.catalog.programs import script
from tests.cli.commands import Stretto


@pytest.fixture
def music(tmp_path: Path) -> Path:
    for number in range(6):
        tagged_flac(tmp_path / "music" / f"{number}.flac", f"TITLE=Song {number}")
    return tmp_path / "music"


@pytest.fixture(autouse=True)
def _no_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_scan, "find_tools", lambda: NO_TOOLS)


def test_a_clean_folder_ends_with_0_and_says_where_its_manifest_is(
    stretto: Stretto, tmp_path: Path, music: Path
) -> None:
    ended = stretto("catalog", "scan", music, "--into", tmp_path / "out")
    assert ended.code == Exit.OK
    assert "6 tracks" in ended.text
    assert f"written    {tmp_path}/out/manifest.jsonl" in ended.text
    assert len(list(Manifest.open(tmp_path / "out").records())) == 6


def test_a_file_left_out_is_named_with_its_reason_and_ends_with_3(
    stretto: Stretto, tmp_path: Path, music: Path
) -> None:
    (music / "bad.wav").write_bytes(encoded(KINDS[0])[:-1])
    ended = stretto("catalog", "scan", music, "--into", tmp_path / "out", "--json")
    assert ended.code == Exit.LEFT_OUT
    assert "bad.wav: truncated" in ended.err
    assert (ended.json["tracks"], ended.json["left_out"], ended.json["read"]) == (6, 1, 7)
    again = stretto("catalog", "scan", music, "--into", tmp_path / "out", "--json")
    assert (again.code, again.json["left_out"]) == (Exit.LEFT_OUT, 1), "known, and still left out"


def test_many_files_left_out_are_counted_and_the_first_ones_named(
    stretto: Stretto, tmp_path: Path, music: Path
) -> None:
    for number in range(30):
        (music / f"{number}.txt").write_bytes(b"x")
    ended = stretto("catalog", "scan", music, "--into", tmp_path / "out")
    assert ended.err.count("not audio") == 20
    assert "and 10 more left out" in ended.err


def test_a_tool_that_is_missing_is_said_once(stretto: Stretto, tmp_path: Path, music: Path) -> None:
    ended = stretto("catalog", "scan", music, "--into", tmp_path / "out")
    assert ended.err.count("fpcalc not found: Chromaprint fingerprints are not computed") == 1
    assert "fpcalc" not in stretto("catalog", "scan", music, "--into", tmp_path / "no", "--no-fingerprints").err
    assert "not found" in json.loads((tmp_path / "out" / "run.json").read_bytes())["tools"]["fpcalc"]


def test_what_cannot_be_scanned_or_written_is_refused_before_anything_is_read(
    stretto: Stretto, tmp_path: Path, music: Path
) -> None:
    assert stretto("catalog", "scan", tmp_path / "none", "--into", tmp_path / "out").code == Exit.NO_INPUT
    assert stretto("catalog", "scan", music / "0.flac", "--into", tmp_path / "out").code == Exit.NO_INPUT
    assert stretto("catalog", "scan", music, "--into", music / "0.flac").code == Exit.CANNOT_CREATE
    assert stretto("catalog", "scan", music, "--into", music).code == Exit.CANNOT_CREATE
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "manifest.jsonl").write_bytes(b"somebody's own\n")
    assert stretto("catalog", "scan", music, "--into", tmp_path / "foreign").code == Exit.CANNOT_CREATE
    assert (tmp_path / "foreign" / "manifest.jsonl").read_bytes() == b"somebody's own\n"
    assert not (tmp_path / "out").exists()


def test_a_folder_without_audio_ends_with_66_and_lists_what_it_holds(stretto: Stretto, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_bytes(b"x")
    ended = stretto("catalog", "scan", tmp_path / "texts", "--into", tmp_path / "out")
    assert ended.code == Exit.NO_INPUT
    assert [str(one.path) for one in Manifest.open(tmp_path / "out").left_out()] == ["a.txt"]


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_process_leaves_a_folder_from_which_the_same_command_goes_on(
    tmp_path: Path, music: Path, signal_: signal.Signals
) -> None:
    (tmp_path / "bin").mkdir()
    # The fourth file is one that fpcalc never finishes: there the signal finds the scan, whatever the machine's speed.
    script(
        tmp_path / "bin" / "fpcalc",
        'case "$*" in -version) echo "fpcalc of this test";; *3.flac) test -e "$STUCK" && exec sleep 600;; esac\n'
        "echo '{\"fingerprint\": [1, 2]}'",
    )
    (tmp_path / "stuck").touch()
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "STUCK": str(tmp_path / "stuck")}
    line = [sys.executable, "-m", "cli.main", "catalog", "scan", str(music), "--into", str(tmp_path / "out")]
    line += ["--threads", "1", "--json"]
    process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for _ in range(600):
        listed = subprocess.run(
            ["ps", "--ppid", str(process.pid), "-o", "args="], capture_output=True, text=True, check=False
        )
        if "sleep 600" in listed.stdout:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the scan never came to the fourth file")
    process.send_signal(signal_)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal_
    if signal_ is signal.SIGINT:
        assert b"the same command goes on from there" in err
    (tmp_path / "stuck").unlink()
    ended = subprocess.run(line, env=environment, capture_output=True, timeout=120, check=True)
    answer = json.loads(ended.stdout)
    assert answer["tracks"] == 6
    assert answer["read"] == 3, "the three before it were kept"


CRASHING = """
import os, signal, soundfile
class Crashing(soundfile.SoundFile):
    def __init__(self, file, *rest, **more):
        if b"CRASH" in os.pread(file, 4096, 0):
            signal.raise_signal(getattr(signal, os.environ["CRASH_BY"]))  # in this thread, as a fault is
        super().__init__(file, *rest, **more)
soundfile.SoundFile = Crashing
"""
"""Loaded by every interpreter that is started: a decoder that one file brings down, and the process with it."""


@pytest.mark.parametrize("threads", ["1", "4"])
def test_a_file_that_crashes_the_decoder_ends_one_scan_and_is_left_out_of_the_next(
    tmp_path: Path, music: Path, threads: str
) -> None:
    tagged_flac(music / "3.flac", "TITLE=CRASH")
    (tmp_path / "injected").mkdir()
    (tmp_path / "injected" / "sitecustomize.py").write_text(CRASHING)
    environment = {**os.environ, "PATH": str(tmp_path / "none"), "PYTHONPATH": str(tmp_path / "injected")}
    line = [sys.executable, "-m", "cli.main", "catalog", "scan", str(music), "--into", str(tmp_path / "out")]
    line += ["--threads", threads, "--json"]

    def run(by: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(line, env=environment | {"CRASH_BY": by}, capture_output=True, timeout=120, check=False)

    assert run("SIGSEGV").returncode == -signal.SIGSEGV
    assert (tmp_path / "out" / IN_HAND_NAME).exists()
    second = run("SIGABRT")
    assert second.returncode == Exit.LEFT_OUT, second.stderr
    assert b"3.flac: the decoder crashed on it (Aborted)" in second.stderr
    assert json.loads(second.stdout)["tracks"] == 5
    assert [str(one.path) for one in Manifest.open(tmp_path / "out").left_out()] == ["3.flac"]
    assert not (tmp_path / "out" / IN_HAND_NAME).exists()
    third = run("SIGSEGV")
    assert third.returncode == Exit.LEFT_OUT
    assert json.loads(third.stdout)["read"] == 0, "what it is by its content, it stays"
