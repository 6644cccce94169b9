"""`stretto hash` beside Debian's b3sum on the same files: alternating runs, each a fresh process from exec to exit.

Three corpora, made the same each time and removed afterwards: 10,000 files of 40 to 400 kB, 200 files of 4 to 40 MB,
one of 4 GB. b3sum gets the files by name; `stretto hash` gets the folder and has to find them. A round is one run of
each, in turning order, and one of `cat` into the void, which is what merely reading the same bytes costs.

Warm: `cat` reads everything before each run, since what a rival left in memory is not what one finds oneself.
Cold: before each run every file is taken out of memory (posix_fadvise(DONTNEED), which needs no root; names and inodes
stay), and that it is out is checked with preadv2(RWF_NOWAIT). Cold runs read a part of a corpus, as much as the disk
gives in two seconds. Writes bench/out/hash.json and bench/out/hash.md.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog.crew import processors

ROOT = Path(__file__).resolve().parent.parent
STRETTO = Path(sys.executable).parent / "stretto"
CORPORA = {
    "small": ("files of 40 to 400 kB", 10_000, 40_000, 400_000),
    "middle": ("files of 4 to 40 MB", 200, 4_000_000, 40_000_000),
    "large": ("file of 4 GB", 1, 4_000_000_000, 4_000_000_000),
}
BLOCK_BYTES = 64 << 20
COLD_S = 2.0
COLD_BYTES_MIN = 64_000_000
RUN_S_MAX = 120.0


@dataclass
class Runs:
    """What one command needed, round by round, in seconds."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


# ---- the files -------------------------------------------------------------------------------------------------------


def make(folder: Path, count: int, low: int, high: int, block: bytes) -> list[Path]:
    """`count` files of low to high bytes, the same each time, on disk when it returns."""
    chance = random.Random(f"{count} {low} {high}")
    folder.mkdir()
    paths = [folder / f"{i:05}.wav" for i in range(count)]
    for i, path in enumerate(paths):
        size = chance.randint(low, high)
        with path.open("wb", buffering=0) as file:
            file.write(i.to_bytes(8, "little"))
            left = size - 8
            while left:
                start = chance.randrange(len(block) // 2)
                left -= file.write(memoryview(block)[start : start + left])
    for path in paths:
        with path.open("rb") as file:
            os.fdatasync(file.fileno())  # what is not on disk yet cannot be taken out of memory
    return paths


def evict(paths: Sequence[Path]) -> float:
    """Takes files out of memory. Gives the share of bytes probed that are still there."""
    there = probed = 0
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            size = os.fstat(descriptor).st_size
            for offset in range(0, size, max(1, size // 8)):
                probed += 1
                there += _is_there(descriptor, offset)
        finally:
            os.close(descriptor)
    return there / probed


def _is_there(descriptor: int, offset: int) -> bool:
    try:
        return bool(os.preadv(descriptor, [bytearray(1)], offset, os.RWF_NOWAIT))
    except BlockingIOError:
        return False


def part_for_cold(paths: list[Path], rate: float) -> list[Path]:
    """As many of the files as the disk gives in COLD_S; of a single larger one, a copy of its beginning."""
    bytes_max = max(COLD_BYTES_MIN, int(rate * COLD_S))
    if len(paths) == 1 and paths[0].stat().st_size > bytes_max:
        copy = paths[0].with_name("beginning") / paths[0].name
        copy.parent.mkdir()
        with paths[0].open("rb") as source, copy.open("wb") as target:
            for _ in range(-(-bytes_max // BLOCK_BYTES)):
                target.write(source.read(BLOCK_BYTES))
            os.fdatasync(target.fileno())
        return [copy]
    chosen: list[Path] = []
    size = 0
    for path in paths:
        if size >= bytes_max:
            break
        chosen.append(path)
        size += path.stat().st_size
    if len(chosen) == len(paths):
        return paths
    folder = paths[0].parent / "part"
    folder.mkdir()
    return [path.rename(folder / path.name) for path in chosen]


# ---- the runs --------------------------------------------------------------------------------------------------------


def timed(command: Sequence[str], out: Path | None = None) -> tuple[float, float]:
    """(wall, user + system) seconds of one run and all processes it starts; stdout into the void or `out`."""
    with (out or Path(os.devnull)).open("wb") as sink:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=sink)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"bench.hash: {command[0]} ended with {process.returncode}")
    if wall > RUN_S_MAX:
        raise SystemExit(
            f"bench.hash: one run of {command[0]} took {wall:.0f} s: too busy a machine or too slow a disk"
        )
    return wall, usage.ru_utime + usage.ru_stime


def measure(commands: dict[str, list[str]], before_each: Callable[[], None], rounds: int) -> dict[str, Runs]:
    """Every command once a round; each round begins with another one, so that none always runs in another's wake."""
    runs = {name: Runs() for name in commands}
    names = list(commands)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            before_each()
            wall, cpu = timed(commands[name])
            runs[name].wall.append(wall)
            runs[name].cpu.append(cpu)
    return runs


def compare(what: str, paths: list[Path], *, cold: bool, rounds: int) -> dict[str, Any]:
    """One row: both programs on these files, warm or cold."""
    names = [str(path) for path in paths]
    folder = str(paths[0].parent)
    commands = {"b3sum": ["b3sum", *names], "stretto": [str(STRETTO), "hash", folder], "read": ["cat", *names]}
    same_output(commands, paths[0].parent.parent)
    still_there: list[float] = []
    if cold:
        before: Callable[[], Any] = lambda: still_there.append(evict(paths))  # noqa: E731
    else:
        before = lambda: timed(commands["read"])  # noqa: E731
    load_before = os.getloadavg()[0]
    runs = measure(commands, before, rounds)
    size = sum(path.stat().st_size for path in paths)
    ratios = [theirs / ours for theirs, ours in zip(runs["b3sum"].wall, runs["stretto"].wall, strict=True)]
    to_read = [read / ours for read, ours in zip(runs["read"].wall, runs["stretto"].wall, strict=True)]
    row: dict[str, Any] = {
        "corpus": what,
        "state": "cold" if cold else "warm",
        "files": len(paths),
        "bytes": size,
        "rounds": rounds,
        "ratio_to_b3sum": spread(ratios),
        "ratio_to_read": spread(to_read),
        "load": [round(load_before, 2), round(os.getloadavg()[0], 2)],
    }
    for name, run in runs.items():
        row[name] = {
            "gb_per_s": round(size / statistics.median(run.wall) / 1e9, 3),
            "wall_s": [round(wall, 4) for wall in run.wall],
            "cpu_s": round(statistics.median(run.cpu), 4),
            "cpu_s_each": [round(cpu, 4) for cpu in run.cpu],
        }
    if cold:
        row["still_in_memory_max"] = round(max(still_there), 4)
    return row


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def same_output(commands: dict[str, list[str]], folder: Path) -> None:
    """Both must print the same: otherwise one has won by not doing its work."""
    printed = []
    for name in ("b3sum", "stretto"):
        timed(commands[name], folder / name)
        printed.append(sorted((folder / name).read_bytes().splitlines()))
        (folder / name).unlink()
    if printed[0] != printed[1]:
        raise SystemExit("bench.hash: b3sum and stretto hash print different digests for the same files")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    columns = ("corpus", "", "GB", "b3sum GB/s", "stretto GB/s", "cat GB/s", "b3sum CPU s", "stretto CPU s")
    columns += ("wall of b3sum / stretto (min to max)", "of cat / stretto", "load")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in rows:
        ratio = row["ratio_to_b3sum"]
        ours, theirs, read = (row[name] for name in ("stretto", "b3sum", "read"))
        cells = (
            f"{row['files']:,} {row['corpus']}",
            row["state"],
            f"{row['bytes'] / 1e9:.2f}",
            *(one["gb_per_s"] for one in (theirs, ours, read)),
            *(one["cpu_s"] for one in (theirs, ours)),
            f"{ratio['median']} ({ratio['min']} to {ratio['max']})",
            row["ratio_to_read"]["median"],
            f"{row['load'][0]} to {row['load'][1]}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def bench_corpus(name: str, folder: Path, given: argparse.Namespace, block: bytes) -> list[dict[str, Any]]:
    """Warm and cold rows of one corpus, which is gone afterwards."""
    what, count, low, high = CORPORA[name]
    if name == "large":
        low = high = int(high * given.scale)
    count = count if name == "large" else max(2, int(count * given.scale))
    need = (count * (low + high) // 2) * 2
    if shutil.disk_usage(folder).free < need:
        raise SystemExit(
            f"bench.hash: {name}: {need / 1e9:.0f} GB must be free under {folder}: use --folder or --scale"
        )
    if os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < need // 4:
        print(f"bench.hash: little free memory: 'warm' may not be, for {name}", file=sys.stderr)
    place = folder / name
    place.mkdir()
    try:
        print(f"making {count:,} {what}", file=sys.stderr, flush=True)
        began = time.monotonic()
        paths = make(place / "files", count, low, high, block)
        evict(paths)
        seconds, _ = timed(["cat", *map(str, paths)])  # from disk, as files come into memory otherwise too
        size = sum(path.stat().st_size for path in paths)
        made = f"made and read back in {time.monotonic() - began:.0f} s, {size / seconds / 1e6:.0f} MB/s from disk"
        print(made, file=sys.stderr, flush=True)
        rows = []
        if given.state != "cold":
            rows.append(compare(what, paths, cold=False, rounds=given.rounds))
            print(table(rows), flush=True)
        if given.state != "warm":
            rows.append(compare(what, part_for_cold(paths, size / seconds), cold=True, rounds=given.rounds))
            print(table(rows[-1:]), flush=True)
        return rows
    finally:
        shutil.rmtree(place)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", choices=CORPORA, action="append", help="only this one; may be repeated")
    parser.add_argument("--state", choices=["warm", "cold"], help="only this")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0, help="so much of each corpus, for a quick look")
    parser.add_argument("--folder", type=Path, help="where the files are made, on a disk; default: the one of --out")
    parser.add_argument("--out", type=Path, default=Path("bench/out"))
    given = parser.parse_args()
    if shutil.which("b3sum") is None:
        print("bench.hash: b3sum is not installed: apt-get install b3sum", file=sys.stderr)
        return 0
    if not STRETTO.exists():
        print(f"bench.hash: {STRETTO} is missing: run make setup-dev", file=sys.stderr)
        return 1
    for package in ("catalog", "cli", "kernels"):  # as installing a wheel does; b3sum is compiled too
        compileall.compile_dir(ROOT / package, quiet=1)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # the files go, whatever ends this
    given.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    block = random.Random(1).randbytes(BLOCK_BYTES)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="hash-", dir=given.folder or given.out) as folder:
        for name in given.corpus or CORPORA:
            rows += bench_corpus(name, Path(folder), given, block)
    version = subprocess.run(["b3sum", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    where = f"{processors()} processors, Python {sys.version.split()[0]}, {version}, {given.rounds} rounds"
    text = f"{where}, {time.monotonic() - began:.0f} s in all:\n\n{table(rows)}"
    (given.out / "hash.md").write_text(text)
    (given.out / "hash.json").write_text(json.dumps({"where": where, "rows": rows}, indent=1) + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
