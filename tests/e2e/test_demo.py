"""`make demo` is what a newcomer sees first: it must come out right, to its last line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TIMEOUT_S = 240
"""It takes ten seconds where nothing else runs."""


@pytest.mark.slow
def test_the_demonstration_comes_out_right(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    command = [sys.executable, "-P", "-m", "cli.main", "demo", "--keep", str(kept), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["ok"]
    assert (said["files"], said["claims"], said["nodes"]) == (6, 18, 4)
    assert (said["evidence_verified"], said["forgeries_refused"], said["token_checks"]) == (3, 6, 11)
    assert said["node_restarted"]
    assert said["anchored"]
    assert len(bytes.fromhex(said["token"].removeprefix("0x"))) == 32
    assert sorted(path.name for path in kept.glob("**/*.evidence.zip")) == [f"{i}.evidence.zip" for i in (1, 2, 3)]
