"""Whoever starts nodes and is killed leaves none behind, but for nodes that are meant to stay."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from node.devnet import init_devnet, load_devnet
from tests.e2e.running import processes_of, until

PATIENCE_S = 40.0
STARTER = """
import sys, time
from pathlib import Path
from node.devnet import load_devnet
load_devnet(Path(sys.argv[1])).node("court").start(outlives=sys.argv[2] == "outlives")
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
@pytest.mark.parametrize("stays", [False, True], ids=["tied", "outlives"])
def test_node_and_reader_end_with_whoever_started_them_unless_they_are_to_stay(tmp_path: Path, stays: bool) -> None:
    init_devnet(tmp_path / "net")
    court = load_devnet(tmp_path / "net").node("court")
    folder = court.config.directory
    command = [sys.executable, "-c", STARTER, str(tmp_path / "net"), "outlives" if stays else "tied"]
    with subprocess.Popen(command) as starter:
        try:
            until(lambda: len(processes_of(folder)) == 2, "node and reader", PATIENCE_S)
        finally:
            starter.kill()
    if stays:
        court.check_running()
        assert len(processes_of(folder)) == 2
        court.stop()
    until(lambda: not processes_of(folder), "both to be gone", PATIENCE_S)
