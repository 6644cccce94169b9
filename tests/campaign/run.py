"""python -m tests.campaign.run [--only NAME]... [--json]: real nodes, real faults, changes of members; what holds then.

Takes about twenty minutes on two cores that have little else to do. Ends only processes it started; everything listens
on loopback.
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
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

import click
import lmdb
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from consensus.errors import StrettoError
from tests.campaign.audit import Check, Witness, audit
from tests.campaign.faults import Scene, Seen
from tests.campaign.field import Field
from tests.campaign.load import Load
from tests.campaign.patience import Deadline, Expectation
from tests.campaign.scenes import SCENE_S_MAX, SCENE_S_MAX_OF, SCENES

TABLE_COLUMNS = 160
NAME_COLUMNS = max(map(len, SCENES))

WARM_UP = 30
"""Acknowledged statements before a fault."""
TICK_S = 5
"""How often a scene's time is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One row. trouble: what the scene itself missed; failed: what the audit found; both empty is a pass."""

    name: str
    what: str = ""
    gap_s: float | None = None
    gaps_s: tuple[float, ...] = ()
    trouble: tuple[str, ...] = ()
    failed: Mapping[Check, tuple[str, ...]] = dataclass_field(default_factory=dict)
    audited: bool = False
    acknowledged: int = 0
    leaves: int = 0
    votes: int = 0
    catch_up_s: float = 0.0
    seconds: float = 0.0
    load_average: float = 0.0

    @property
    def faults(self) -> tuple[str, ...]:
        return (*self.trouble, *(f"{check}: {each}" for check, told in self.failed.items() for each in told))

    @property
    def passed(self) -> bool:
        return self.audited and not self.faults


class TookTooLong(Exception):
    """A scene did not end in time."""


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raises: TookTooLong in the middle of whatever the main thread does; later on a busy machine."""
    deadline = Deadline(seconds)

    def ring(_number: int, _frame: FrameType | None) -> None:
        if deadline.is_over():
            raise TookTooLong(f"it did not end within {deadline.allowed_s():.0f} s")
        signal.alarm(TICK_S)

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(TICK_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


WRONG = (Expectation, TookTooLong, StrettoError, click.ClickException, OSError, lmdb.Error)
"""What a scene may end with: reported, and the next is played on fresh nodes."""


def play(name: str, field: Field, load: Load, witness: Witness) -> Result:
    """One scene under load, and the audit after it."""
    begun = time.monotonic()
    seen = Seen(what="")
    trouble: list[str] = []
    found = None
    with ExitStack() as stack:
        try:
            with time_limit(SCENE_S_MAX_OF.get(name, SCENE_S_MAX)):
                absent = [member for member in field.members if member not in field.running]
                if absent:
                    field.start(*absent)
                load.go()
                load.until_more(WARM_UP, 30)
                seen = SCENES[name][2](Scene(field=field, load=load, witness=witness, stack=stack))
                load.pause()
                found = audit(field, load, witness, silent=seen.silent)
        except WRONG as error:
            trouble.append(f"{type(error).__name__}: {error}")
    return Result(
        name=name,
        what=seen.what,
        gap_s=seen.gap_s,
        gaps_s=seen.gaps_s,
        trouble=tuple(trouble),
        failed=found.failed if found else {},
        audited=found is not None,
        acknowledged=found.acknowledged if found else 0,
        leaves=found.leaves if found else 0,
        votes=found.votes if found else 0,
        catch_up_s=found.catch_up_s if found else 0.0,
        seconds=time.monotonic() - begun,
        load_average=os.getloadavg()[0],
    )


def play_group(names: list[str], count: int, *, proxied: bool, keep: bool) -> Iterator[Result]:
    """Scenes one after the other on the same nodes; on fresh ones after a failure: none may hide behind another."""
    waiting = list(names)
    while waiting:
        with ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="stretto-campaign-"))
            if not keep:
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
            field = Field(folder / "net", count, proxied=proxied)
            stack.callback(field.close)
            try:
                field.up()
            except WRONG as error:
                trouble = (f"its nodes did not start: {type(error).__name__}: {error}",)
                yield Result(name=waiting.pop(0), trouble=trouble, load_average=os.getloadavg()[0])
                continue
            witness = Witness(field)
            stack.callback(witness.close)
            load = Load(field)
            stack.callback(load.close)
            while waiting:
                result = play(waiting.pop(0), field, load, witness)
                if keep and not result.passed:
                    sys.stderr.write(f"{result.name}: logs in {folder}\n")
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


def line_of(result: Result) -> str:
    """What is said when a scene has ended."""
    gap = "" if result.gap_s is None else f", gap {result.gap_s * 1000:.0f} ms"
    words = "holds" if result.passed else "FAILS"
    return f"{result.name}: {words} ({result.seconds:.0f} s, load {result.load_average:.1f}{gap}) {result.what}"


def table_of(results: list[Result]) -> Table:
    """One row a scene: what was checked after it, over all its nodes, and how it ended."""
    checked = (
        "acknowledged, none lost",
        "logs equal, prefixes",
        "store check",
        "cosigned",
        "votes compared",
        "logs clean",
    )
    table = Table(
        Column("scene", no_wrap=True, min_width=NAME_COLUMNS),
        "gap, ms",
        *checked,
        "s",
        "load",
        "exit",
        caption=f"exit code {exit_code(results)}",
    )
    for one in results:
        counts = (str(one.acknowledged), f"{one.leaves} leaves", "passed", "yes", str(one.votes), "yes")
        cells = [
            f"[red]{len(one.failed[check])} FAIL[/]" if check in one.failed else words if one.audited else "not reached"
            for check, words in zip(Check, counts, strict=True)
        ]
        gap = "" if one.gap_s is None else f"{one.gap_s * 1000:.0f}"
        end = "[green]0[/]" if one.passed else "[red]1[/]"
        table.add_row(one.name, gap, *cells, f"{one.seconds:.0f}", f"{one.load_average:.1f}", end)
    return table


def exit_code(results: list[Result]) -> int:
    """0: everything held; 1: something did not."""
    return 0 if all(result.passed for result in results) else 1


def main() -> int:
    """As `exit_code`; 130: interrupted, and cleaned up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", choices=list(SCENES), help="may be repeated")
    parser.add_argument("--list", action="store_true", help="name the faults and end")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--keep", action="store_true", help="leave the nodes' folders, with their logs")
    given = parser.parse_args()
    if given.list:
        sys.stdout.write("".join(f"{name}\n" for name in SCENES))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(stderr=True)
    names = [name for name in SCENES if not given.only or name in given.only]
    results: list[Result] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    try:
        with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
            task = progress.add_task(names[0], total=len(names))
            for (count, proxied), group in groupby(names, lambda name: SCENES[name][:2]):
                members = list(group)
                progress.update(task, description=f"starting {count} nodes")
                for result in play_group(members, count, proxied=proxied, keep=given.keep):
                    results.append(result)
                    console.print(line_of(result), highlight=False)
                    for fault in result.faults[:12]:
                        console.print(f"  {fault[:600]}", style="red", highlight=False, markup=False)
                    progress.update(task, advance=1, description=result.name)
    except KeyboardInterrupt:
        console.print("interrupted: every node was ended and every folder removed; what was played until then:")
        console.print(table_of(results))
        return 130
    if given.json:
        sys.stdout.write(json.dumps({"faults": [document(result) for result in results]}, indent=2) + "\n")
    else:
        # A file is no terminal, and has room.
        Console(width=None if sys.stdout.isatty() else TABLE_COLUMNS).print(table_of(results))
    return exit_code(results)


if __name__ == "__main__":
    sys.exit(main())
