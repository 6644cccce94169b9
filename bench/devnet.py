"""A devnet to measure on: four nodes and their readers on loopback, with the CPU time they used."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.devnet import wait_until_up
from ledger.genesis import Genesis
from node.devnet import Devnet, init_devnet, institutions, load_devnet

UP_S_EACH = 20.0
"""They start all at once, on whatever cores there are."""
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@contextmanager
def running_devnet(members: int = 4) -> Iterator[tuple[Devnet, Genesis]]:
    """So many fresh nodes, up; stopped and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="stretto-") as folder:
        genesis = init_devnet(Path(folder) / "devnet", members=institutions(members))
        devnet = load_devnet(Path(folder) / "devnet")
        try:
            for node in devnet.nodes:
                node.start()
            wait_until_up(devnet, list(devnet.nodes), UP_S_EACH * members)
            yield devnet, genesis
        finally:
            devnet.stop()


def cpu_seconds(devnet: Devnet) -> float:
    """User and system time of all node processes and their readers so far, seconds."""
    parents = {pid for node in devnet.nodes if (pid := node.pid()) is not None}
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        if int(entry.name) in parents or int(fields[1]) in parents:
            total += int(fields[11]) + int(fields[12])
    return total * _TICK_S


def load_average() -> float:
    """Of the last minute."""
    return round(os.getloadavg()[0], 2)
