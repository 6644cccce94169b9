"""Memory of every process under a steady load: `python -m bench.soak` (ten minutes), `--seconds 60 --per-second 100`.

Samples the resident memory of the nodes and their readers, writes bench/out/soak.csv and, with --plot, docs/soak.svg,
and prints how much each grew from the second to the last third. The first does not count: caches fill up in it.
"""

from __future__ import annotations

import argparse
import csv
import json
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from bench.devnet import load_average, running_devnet
from bench.finality import statements
from bench.load import constant_rate, processes
from bench.plot import line_chart

SAMPLE_S = 2.0
MIB = 2**20
OUT = Path("bench/out/soak.csv")
PLOT = Path("docs/soak.svg")

Samples = dict[str, list[tuple[float, float]]]
"""By process: (seconds since the start, MiB)."""


def resident_mib(pid: int) -> tuple[float, float]:
    """(all that is resident, without the pages of files such as the store's map). Those the system takes back."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    total, file, shared = (int(lines[name].split()[0]) * 1024 / MIB for name in ("VmRSS", "RssFile", "RssShmem"))
    return total, total - file - shared


def growth(samples: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, float]:
    """MiB that the last third of each process's samples is above the middle third, on average."""
    grown = {}
    for name, points in samples.items():
        third = len(points) // 3
        values = [mib for _, mib in points]
        grown[name] = round(fmean(values[-third:]) - fmean(values[third : 2 * third]), 1)
    return grown


def soak(seconds: int, per_second: int) -> tuple[Samples, Samples, dict[str, object]]:
    total: Samples = {}
    own: Samples = {}
    with running_devnet() as (devnet, genesis):
        batch = statements(devnet, genesis, seconds * per_second, "soak")
        watched = processes(devnet)
        ended = threading.Event()
        begun = time.monotonic()

        def sample() -> None:
            while not ended.wait(SAMPLE_S):
                at = time.monotonic() - begun
                for pid, name in watched.items():
                    mib, private = resident_mib(pid)
                    total.setdefault(name, []).append((at, mib))
                    own.setdefault(name, []).append((at, private))

        sampler = threading.Thread(target=sample, name="sampler")
        sampler.start()
        try:
            result = constant_rate(devnet, batch, per_second)
        finally:
            ended.set()
            sampler.join()
    return total, own, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--per-second", type=int, default=300)
    parser.add_argument("--plot", action="store_true", help=f"write {PLOT} as well")
    given = parser.parse_args()
    before = load_average()
    total, own, result = soak(given.seconds, given.per_second)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    with OUT.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("process", "seconds", "resident_mib", "without_files_mib"))
        for name, points in total.items():
            rows.writerows(
                (name, round(at, 1), round(a, 2), round(b, 2))
                for (at, a), (_, b) in zip(points, own[name], strict=True)
            )
    if given.plot:
        line_chart(
            PLOT,
            {name: [(at / 60, mib) for at, mib in points] for name, points in sorted(own.items())},
            title=f"Memory under {given.per_second} statements a second, without pages of files",
            across="minutes", up="MiB",
        )  # fmt: skip
    print(
        json.dumps(
            {
                "growth_mib": growth(own),
                "last_mib": {name: round(points[-1][1], 1) for name, points in own.items()},
                "load_average": [before, load_average()],
                **result,
            }
        )
    )


if __name__ == "__main__":
    main()
