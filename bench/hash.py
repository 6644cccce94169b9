"""`stretto hash` beside Debian's b3sum and sha256sum on the same files: alternating runs, ratios with their spread.

The files are the demo's tracks and, where installed, the recordings of Debian's frozen-bubble-data, copied until they
are large enough that start-up is not what is measured; start-up is measured apart, on one small file. Everything is
read once before, so that all read from memory. `stretto hash` makes two digests in one reading, b3sum one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog.digests import processors
from catalog.tracks import render_tracks

STRETTO = (sys.executable, "-m", "cli.main", "hash")
COMMANDS: dict[str, tuple[str, ...]] = {
    "b3sum": ("b3sum",),
    "b3sum, 1 thread": ("b3sum", "--num-threads", "1"),
    "sha256sum": ("sha256sum",),
    "b3sum, then sha256sum": ("sh", "-c", 'b3sum "$@" && sha256sum "$@"', "sh"),
    "stretto hash": STRETTO,
    "stretto hash, 1 thread": (*STRETTO, "--threads", "1"),
}
BASE = "b3sum"


@dataclass
class Runs:
    """What one command needed, round by round, in seconds."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def timed(command: Sequence[str], paths: Sequence[Path]) -> tuple[float, float]:
    """(wall, user + system) seconds of one run over all paths."""
    began = time.perf_counter()
    process = subprocess.Popen([*command, *map(str, paths)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return wall, usage.ru_utime + usage.ru_stime


def collect(folder: Path, bytes_min: int) -> list[Path]:
    """Copies of the tracks under `folder`, at least bytes_min in all."""
    originals = render_tracks(folder / "rendered")
    listed = subprocess.run(["dpkg", "-L", "frozen-bubble-data"], capture_output=True, text=True, check=False)
    originals += [Path(line) for line in listed.stdout.splitlines() if line.endswith(".ogg")]
    copies = list(originals)
    size = total = sum(path.stat().st_size for path in originals)
    while total < bytes_min:
        turn = folder / f"copy {len(copies) // len(originals):03}"
        turn.mkdir()
        copies += [Path(shutil.copy(path, turn / f"{i:02} {path.name}")) for i, path in enumerate(originals)]
        total += size
    return copies


def measure(commands: dict[str, tuple[str, ...]], paths: Sequence[Path], rounds: int) -> dict[str, Runs]:
    """Every command once a round; each round begins with another one, so that none always runs in another's wake."""
    runs = {name: Runs() for name in commands}
    names = list(commands)
    for name in names:
        timed(commands[name], paths)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            wall, cpu = timed(commands[name], paths)
            runs[name].wall.append(wall)
            runs[name].cpu.append(cpu)
    return runs


def summary(runs: dict[str, Runs], size: int) -> dict[str, Any]:
    """Medians, and the ratio of walls to the base's in the same round, with its least and greatest."""
    base = runs[BASE].wall
    result = {}
    for name, run in runs.items():
        ratios = sorted(mine / theirs for mine, theirs in zip(run.wall, base, strict=True))
        result[name] = {
            "wall_ms": round(statistics.median(run.wall) * 1000, 1),
            "wall_ms_min": round(min(run.wall) * 1000, 1),
            "wall_ms_max": round(max(run.wall) * 1000, 1),
            "cpu_ms": round(statistics.median(run.cpu) * 1000, 1),
            "gb_per_s": round(size / statistics.median(run.wall) / 1e9, 2),
            "gb_per_cpu_s": round(size / statistics.median(run.cpu) / 1e9, 2),
            "wall_to_b3sum": [round(r, 2) for r in (statistics.median(ratios), ratios[0], ratios[-1])],
        }
    return result


def table(title: str, result: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        title,
        "",
        "| command | wall ms (min to max) | GB/s | CPU ms | GB per CPU-s | wall / b3sum (min to max) |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in result.items():
        median, low, high = row["wall_to_b3sum"]
        lines.append(
            f"| {name} | {row['wall_ms']} ({row['wall_ms_min']} to {row['wall_ms_max']}) | {row['gb_per_s']} "
            f"| {row['cpu_ms']} | {row['gb_per_cpu_s']} | {median} ({low} to {high}) |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--megabytes", type=int, default=400, help="at least so much audio")
    parser.add_argument("--out", type=Path, default=Path("bench/out"))
    given = parser.parse_args()
    if shutil.which("b3sum") is None:
        print("bench.hash: b3sum is not installed: apt-get install b3sum", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory(prefix="stretto-") as folder:
        paths = collect(Path(folder), given.megabytes * 1_000_000)
        size = sum(path.stat().st_size for path in paths)
        load_before = os.getloadavg()[0]
        bulk = summary(measure(COMMANDS, paths, given.rounds), size)
        small = Path(folder) / "small"
        small.write_bytes(b"x" * 1000)
        start = summary(measure(COMMANDS, [small], given.rounds), 1000)
        load_after = os.getloadavg()[0]
    where = f"{processors()} processors, Python {sys.version.split()[0]}, load {load_before:.2f} to {load_after:.2f}"
    text = table(f"{len(paths)} files, {size / 1e6:.0f} MB, {given.rounds} rounds, {where}:", bulk)
    text += "\n" + table("One file of 1 kB (start-up):", start)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "hash.md").write_text(text)
    document = {
        "files": len(paths),
        "bytes": size,
        "rounds": given.rounds,
        "where": where,
        "bulk": bulk,
        "start": start,
    }
    (given.out / "hash.json").write_text(json.dumps(document, indent=1) + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
