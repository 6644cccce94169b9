"""What a Ray cluster costs beside threads of one process: the same folder scanned by both in turn, on this machine.

Two folders of the same tracks, a few and many: the difference is what a file costs, the rest is what starting costs.
Processor time is that of the command, of all that it started and waited for (Ray's own processes), and of the
workers, as they say themselves: nobody waits for those.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from bench.hash import timed
from catalog.crew import processors
from catalog.run_report import RUN_NAME
from catalog.tracks import render_tracks

ENGINES = ("local", "ray")
FEW_COPIES = 1


def folder_of(parent: Path, tracks: list[Path], copies: int) -> Path:
    """`copies` of each track, hard-linked."""
    root = parent / f"{copies} copies"
    for number in range(copies):
        (root / f"{number:04}").mkdir(parents=True)
        for track in tracks:
            os.link(track, root / f"{number:04}" / track.name)
    return root


def scan(engine: str, music: Path, workers: int) -> tuple[float, float]:
    """(wall, processor) seconds of one scan into a new folder."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "cli.main", "catalog", "scan", "--into", out, "--json"]
        wall_s, cpu_s = timed([*command, "--engine", engine, "--threads", str(workers)], [music])
        report = json.loads((Path(out) / RUN_NAME).read_bytes())
        return wall_s, cpu_s + sum(node["cpu_s"] for node in report["engine"].get("nodes", ()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=60, help="of six tracks, 20 MB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=processors())
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        tracks = render_tracks(Path(name) / "rendered")
        folders = {copies: folder_of(Path(name), tracks, copies) for copies in (FEW_COPIES, arguments.copies)}
        runs: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for turn in range(arguments.rounds):
            for engine in ENGINES if turn % 2 else reversed(ENGINES):
                for copies, folder in folders.items():
                    wall_s, cpu_s = scan(engine, folder, arguments.workers)
                    print(f"{engine}, {copies} copies: {wall_s:.1f} s, {cpu_s:.2f} s of processors", file=sys.stderr)
                    runs.setdefault((engine, copies), []).append((wall_s, cpu_s))
        shutil.rmtree(Path(name) / "rendered")
    print(json.dumps(summary(runs, arguments.copies, len(tracks)), indent=2))


def summary(runs: dict[tuple[str, int], list[tuple[float, float]]], many: int, tracks: int) -> dict[str, object]:
    """Medians by engine, and the ratio of walls in the same round with its least and greatest."""
    result: dict[str, object] = {"files": many * tracks, "load_average": [round(one, 1) for one in os.getloadavg()]}
    for engine in ENGINES:
        few_wall, few_cpu = (statistics.median(column) for column in zip(*runs[engine, FEW_COPIES], strict=True))
        wall, cpu = (statistics.median(column) for column in zip(*runs[engine, many], strict=True))
        files = (many - FEW_COPIES) * tracks
        result[engine] = {
            "wall_s": round(wall, 2),
            "cpu_s": round(cpu, 2),
            "few_wall_s": round(few_wall, 2),
            "few_cpu_s": round(few_cpu, 2),
            "cpu_ms_per_file": round((cpu - few_cpu) / files * 1000, 2),
        }
    pairs = zip(runs["ray", many], runs["local", many], strict=True)
    ratios = sorted(mine[0] / theirs[0] for mine, theirs in pairs)
    result["wall_ray_to_local"] = [round(one, 2) for one in (statistics.median(ratios), ratios[0], ratios[-1])]
    return result


if __name__ == "__main__":
    main()
