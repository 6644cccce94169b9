"""A label's catalogue from a folder and a spreadsheet onto the record of real nodes, through mistakes and crashes."""

from __future__ import annotations

import io
import json
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from catalog.submitted import JOURNAL_NAME
from catalog.tracks import with_comments
from cli.output import Exit
from tests.catalog.metadata.catalogues import table
from tests.e2e.running import RunningDevnet, until

TRACKS = 40


def music(folder: Path) -> list[dict[str, str]]:
    """Tracks of a second each, and a row for each."""
    folder.mkdir()
    rng = random.Random(7)
    rows = []
    for i in range(TRACKS):
        samples = np.frombuffer(rng.randbytes(2 * 8000), np.int16)
        encoded = io.BytesIO()
        soundfile.write(encoded, samples, 8000, format="FLAC", subtype="PCM_16")
        (folder / f"{i:02} Nächte.flac").write_bytes(with_comments(encoded.getvalue(), [f"TITLE=Nacht {i}"]))
        rows.append(
            {
                "file": f"{i:02} Nächte.flac",
                "title": f"Nacht {i}",
                "isrc": f"DE-A12-26-{i:05}",
                "artists": "Ana Sol; Bo",
                "composers": "Jane Doe",
                "ipi": "00014107338",
                "shares": "Jane Doe: Mechanical: Worldwide: 50%; claimant: Mechanical: Worldwide: 50%",
                "client_reference": f"AUR-{i:04}",
            }
        )
    return rows


def stretto(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)


class Label:
    """Whoever works at the command line for the label."""

    def __init__(self, running: RunningDevnet, folder: Path) -> None:
        self.out = folder / "autumn"
        self.key = running["label"].config.key_path("statement")
        self.genesis = running["label"].config.directory.parent / "genesis.json"

    def sign(self, out: Path, *more: object) -> subprocess.CompletedProcess[str]:
        return stretto("catalog", "sign", out, "--key", self.key, "--genesis", self.genesis, *more)

    @property
    def journal(self) -> list[dict[str, Any]]:
        path = self.out / JOURNAL_NAME
        whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
        return [json.loads(line) for line in whole.splitlines()]


@pytest.mark.slow
def test_a_catalogue_goes_on_record_once_through_mistakes_and_crashes(running: RunningDevnet, tmp_path: Path) -> None:
    label, rows = Label(running, tmp_path), music(tmp_path / "music")
    before = running.status("label").size
    _sign_after_mending(label, rows, tmp_path)
    done = _submit_until_killed(label, running)
    _go_on(label, running, done)
    running.agree(before + TRACKS)

    asked = stretto("catalog", "status", label.out, "--node", running["society"].config.rpc, "--json")
    assert (asked.returncode, json.loads(asked.stdout)["final_claims"]) == (Exit.OK, TRACKS)
    track = tmp_path / "music" / "17 Nächte.flac"
    got = stretto("evidence", "get", "--digest", track, "--node", running["court"].config.rpc,
                  "--out", tmp_path / "17.zip")  # fmt: skip
    assert got.returncode == Exit.OK, got.stderr
    verified = stretto("evidence", "verify", tmp_path / "17.zip", track, "--genesis", label.genesis)
    assert verified.returncode == Exit.OK, verified.stdout
    assert "Nacht 17" in verified.stdout

    _say_something_else(label, running, track, rows[17], tmp_path)
    running.agree(before + TRACKS + 1)


def _sign_after_mending(label: Label, rows: list[dict[str, str]], folder: Path) -> None:
    assert stretto("catalog", "scan", folder / "music", "--into", label.out).returncode == Exit.OK
    wrong = table(folder / "rows.csv", rows[0] | {"ipi": "00014107339"}, *rows[1:])
    checked = stretto("catalog", "check", label.out, "--metadata", wrong)
    assert checked.returncode == Exit.DATA
    assert "check digits 38" in " ".join(checked.stdout.split())
    refused = label.sign(label.out, "--per-statement", 1)
    assert refused.returncode == Exit.DATA
    assert "1 error in the metadata" in refused.stderr
    mended = table(folder / "rows.csv", *rows)
    assert stretto("catalog", "check", label.out, "--metadata", mended).returncode == Exit.OK
    signed = label.sign(label.out, "--per-statement", 1)
    assert signed.returncode == Exit.OK, signed.stderr


def _submit_until_killed(label: Label, running: RunningDevnet) -> int:
    """Kills the submitting process half-way, then the node it talked to. Returns how many statements are on record."""
    submit = ("catalog", "submit", label.out, "--node", running["platform"].config.rpc)
    process = subprocess.Popen([sys.executable, "-m", "cli.main", *map(str, submit)], stdout=subprocess.DEVNULL)
    until(lambda: len(label.journal) >= 3, "three statements on record")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = len(label.journal)
    assert 3 <= done < TRACKS
    running["platform"].stop(kill=True)
    try:
        gone = stretto(*submit)
        assert gone.returncode == Exit.UNREACHABLE, gone.stderr
        assert f"{done} of {TRACKS} statements are sent: run it again" in gone.stderr
    finally:
        running.start("platform")
    status = stretto("catalog", "status", label.out, "--json")
    assert (status.returncode, json.loads(status.stdout)["final"]) == (Exit.INCOMPLETE, done)
    return done


def _go_on(label: Label, running: RunningDevnet, done: int) -> None:
    """The rest goes on record; once more, and from nothing but the statements, adds nothing."""
    submit = ("catalog", "submit", label.out, "--json", "--node")
    resumed = stretto(*submit, running["platform"].config.rpc)
    assert resumed.returncode == Exit.OK, resumed.stderr
    said = json.loads(resumed.stdout)
    assert (said["final"], said["sent_now"]) == (TRACKS, TRACKS - done)
    again = json.loads(stretto(*submit, running["platform"].config.rpc).stdout)
    assert (again["final"], again["sent_now"]) == (TRACKS, 0)
    (label.out / JOURNAL_NAME).unlink()
    anew = json.loads(stretto(*submit, running["court"].config.rpc).stdout)
    assert [one["index"] for one in anew["results"]] == [one["index"] for one in said["results"]]


def _say_something_else(label: Label, running: RunningDevnet, track: Path, row: dict[str, str], folder: Path) -> None:
    """The same file with another title, from a folder that knows of no journal: refused under the same reference."""
    (folder / "copy").mkdir()
    shutil.copy(track, folder / "copy")
    other = table(folder / "other.csv", row | {"title": "Tag"})
    second = folder / "second"
    submit = ("catalog", "submit", second, "--node", running["platform"].config.rpc)
    assert stretto("catalog", "scan", folder / "copy", "--into", second).returncode == Exit.OK
    assert label.sign(second, "--metadata", other).returncode == Exit.OK
    told = stretto(*submit)
    assert told.returncode == Exit.REFUSED
    assert "sign with --ref TEXT --replace" in told.stderr
    assert label.sign(second, "--metadata", other, "--ref", "tag", "--replace").returncode == Exit.OK
    assert stretto(*submit).returncode == Exit.OK
