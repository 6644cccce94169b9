"""How far a catalogue's work is: counted, with rate and time left, on a terminal alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

REFRESH = 256
"""Steps between two looks at the terminal: drawing must not cost more than working."""


@contextmanager
def progress_of(what: str, total: int | None, unit: str = "tracks") -> Iterator[Callable[[int], None]]:
    """A function to call with each number of finished steps. Draws nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total, rate="")
        waiting = 0

        def advance(steps: int) -> None:
            nonlocal waiting
            waiting += steps
            if waiting >= REFRESH or (total is not None and total <= REFRESH):
                progress.advance(task, waiting)
                waiting = 0
                speed = progress.tasks[0].finished_speed or progress.tasks[0].speed
                progress.update(task, rate=f"{speed:,.0f} {unit}/s" if speed else "")

        yield advance
        progress.advance(task, waiting)


def count_lines(path: Path) -> int:
    """Lines of a file, 0 where there is none: how much work there is."""
    try:
        with path.open("rb") as file:
            return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
    except OSError:
        return 0
