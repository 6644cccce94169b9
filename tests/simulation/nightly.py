"""python -m tests.simulation.nightly: many thousands of seeds, resumable, with a report at the end.

It goes on where the last one stopped: every night other seeds. Failures are kept with their traces, and the campaign
goes on after them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.simulation.run import NOTHING, Tally, run_parallel

FOLDER = Path(".stretto/nightly")
FIRST_SEED = 1_000_000
"""Above what the tests and `make sim` run."""


def _resume(path: Path) -> tuple[int, Tally]:
    """The seed to go on from, and what earlier nights came to."""
    if not path.exists():
        return FIRST_SEED, NOTHING
    kept = json.loads(path.read_text())
    failures = tuple((int(seed), str(text)) for seed, text in kept["total"].pop("failures"))
    kept["total"].pop("lines")
    return int(kept["next"]), Tally(**kept["total"], failures=failures)


def _keep(path: Path, next_seed: int, total: Tally) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps({"next": next_seed, "total": asdict(total)}, indent=1))
    draft.replace(path)


def _report(path: Path, tonight: Tally, total: Tally, first: int, seconds: float) -> None:
    lines = [
        "# Simulation, last night",
        "",
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, load average {os.getloadavg()[0]:.1f}",
        "",
        "| | tonight | all nights |",
        "|---|---|---|",
    ]
    figures = ("seeds", "blocks", "leaves", "epochs", "heal_views_max")
    pace = tonight.seeds * 60 / max(seconds, 0.001)
    lines += [
        f"| {name.replace('_', ' ')} | {getattr(tonight, name):,} | {getattr(total, name):,} |" for name in figures
    ]
    lines += [
        f"| CPU seconds | {tonight.cpu_s:,.0f} | {total.cpu_s:,.0f} |",
        f"| failures | {len(tonight.failures)} | {len(total.failures)} |",
        "",
        f"Seeds {first} to {first + tonight.seeds - 1} in {seconds:,.0f} s, {pace:,.0f} a minute.",
    ]
    for seed, text in total.failures:
        lines += ["", f"## Seed {seed}", "", "```", text, "```"]
    path.write_text("\n".join(lines) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20_000, help="how many seeds tonight")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the state and the report are kept")
    options = parser.parse_args()
    first, before = _resume(options.folder / "state.json")
    started, tonight = time.monotonic(), NOTHING
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("simulating", total=options.seeds)
        try:
            for tally in run_parallel(range(first, first + options.seeds), options.jobs):
                tonight = tonight.plus(tally)
                progress.advance(task, tally.seeds)
                for seed, text in tally.failures:
                    console.print(f"seed {seed} failed: {text.splitlines()[0][:200]}", markup=False)
                # Chunks may come out of order: a night that is cut short runs a few seeds again.
                _keep(options.folder / "state.json", first + tonight.seeds, before.plus(tonight))
        except KeyboardInterrupt:
            console.print("stopped; the next night goes on from here")
    report = options.folder / "report.md"
    _report(report, tonight, before.plus(tonight), first, time.monotonic() - started)
    console.print(f"{tonight.seeds} seeds, {len(tonight.failures)} failures; the report is {report}")
    return 1 if tonight.failures else 0


if __name__ == "__main__":
    sys.exit(main())
