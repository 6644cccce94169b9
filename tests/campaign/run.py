"""python -m tests.campaign.run [--only NAME]... [--json]: real nodes, real faults, and what holds after each.

Takes about fifteen minutes on two cores. Ends only processes it started; everything listens on loopback.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from consensus.errors import StrettoError
from tests.campaign.audit import Witness, audit
from tests.campaign.faults import FAULTS, Scene, Seen
from tests.campaign.field import Expectation, Field
from tests.campaign.load import Load

SCENE_S_MAX = 150
"""No fault and its audit take longer, but for those that repeat themselves."""
SCENE_S_MAX_OF = {"4-leader-killed-20-times": 500}
WARM_UP = 30
"""Acknowledged statements before a fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One row. faults: what did not hold; empty is a pass."""

    name: str
    what: str
    gap_s: float | None
    gaps_s: tuple[float, ...]
    faults: tuple[str, ...]
    acknowledged: int
    leaves: int
    votes: int
    catch_up_s: float
    seconds: float
    load_average: float

    @property
    def passed(self) -> bool:
        return not self.faults


class TookTooLong(Exception):
    """A scene did not end in time."""


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raises: TookTooLong in the middle of whatever the main thread does."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TookTooLong(f"it did not end within {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def play(name: str, field: Field, load: Load, witness: Witness) -> Result:
    """One fault under load, and the audit after it."""
    begun = time.monotonic()
    seen = Seen(what="")
    faults: list[str] = []
    found = None
    with ExitStack() as stack:
        try:
            with time_limit(SCENE_S_MAX_OF.get(name, SCENE_S_MAX)):
                absent = [member for member in field.members if member not in field.running]
                if absent:
                    field.start(*absent)
                load.go()
                load.until_more(WARM_UP, 30)
                seen = FAULTS[name][2](Scene(field=field, load=load, witness=witness, stack=stack))
                load.pause()
                found = audit(field, load, witness, silent=seen.silent)
                faults += found.faults
        except (Expectation, TookTooLong, StrettoError, click.ClickException, OSError) as error:
            faults.append(f"{type(error).__name__}: {error}")
    return Result(
        name=name,
        what=seen.what,
        gap_s=seen.gap_s,
        gaps_s=seen.gaps_s,
        faults=tuple(faults),
        acknowledged=found.acknowledged if found else 0,
        leaves=found.leaves if found else 0,
        votes=found.votes if found else 0,
        catch_up_s=found.catch_up_s if found else 0.0,
        seconds=time.monotonic() - begun,
        load_average=os.getloadavg()[0],
    )


def play_group(names: list[str], count: int, *, proxied: bool, keep: bool) -> Iterator[Result]:
    """Faults one after the other on the same nodes; on fresh ones after a failure: none may hide behind another."""
    waiting = list(names)
    while waiting:
        with ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="stretto-campaign-"))
            if not keep:
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
            field = Field(folder / "net", count, proxied=proxied)
            stack.callback(field.close)
            field.up()
            witness = Witness(field)
            stack.callback(witness.close)
            load = Load(field)
            stack.callback(load.close)
            while waiting:
                result = play(waiting.pop(0), field, load, witness)
                yield result
                if not result.passed:
                    break


def document(result: Result) -> dict[str, Any]:
    """Times in milliseconds, whole."""
    return {
        "name": result.name,
        "passed": result.passed,
        "what": result.what,
        "gap_ms": None if result.gap_s is None else round(result.gap_s * 1000),
        "gaps_ms": [round(gap * 1000) for gap in result.gaps_s],
        "faults": list(result.faults),
        "acknowledged": result.acknowledged,
        "leaves": result.leaves,
        "votes_compared": result.votes,
        "logs_equal_after_ms": round(result.catch_up_s * 1000),
        "seconds": round(result.seconds, 1),
        "load_average": round(result.load_average, 2),
    }


def table_of(results: list[Result]) -> Table:
    table = Table("fault", "result", "what happened", "gap", "statements", "votes", "s")
    for one in results:
        table.add_row(
            one.name,
            "[green]holds[/]" if one.passed else "[red]FAILS[/]",
            "\n".join(filter(None, (one.what, *(f"[red]{fault[:600]}[/]" for fault in one.faults[:8])))),
            "" if one.gap_s is None else f"{one.gap_s * 1000:.0f} ms",
            str(one.acknowledged),
            str(one.votes),
            f"{one.seconds:.0f}",
        )
    return table


def main() -> int:
    """0: everything held; 1: something did not; 130: interrupted, and cleaned up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", choices=list(FAULTS), help="may be repeated")
    parser.add_argument("--list", action="store_true", help="name the faults and end")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--keep", action="store_true", help="leave the nodes' folders, with their logs")
    given = parser.parse_args()
    if given.list:
        sys.stdout.write("".join(f"{name}\n" for name in FAULTS))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(stderr=True)
    names = [name for name in FAULTS if not given.only or name in given.only]
    results: list[Result] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    try:
        with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
            task = progress.add_task(names[0], total=len(names))
            for (count, proxied), group in groupby(names, lambda name: FAULTS[name][:2]):
                members = list(group)
                progress.update(task, description=f"starting {count} nodes")
                for result in play_group(members, count, proxied=proxied, keep=given.keep):
                    results.append(result)
                    words = "holds" if result.passed else "FAILS"
                    console.print(f"{result.name}: {words} ({result.seconds:.0f} s) {result.what}", highlight=False)
                    for fault in result.faults[:12]:
                        console.print(f"  {fault[:600]}", style="red", highlight=False, markup=False)
                    progress.update(task, advance=1, description=result.name)
    except KeyboardInterrupt:
        console.print("interrupted: every node was ended and every folder removed")
        return 130
    if given.json:
        sys.stdout.write(json.dumps({"faults": [document(result) for result in results]}, indent=2) + "\n")
    else:
        Console().print(table_of(results))
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
