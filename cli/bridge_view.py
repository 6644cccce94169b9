"""The running relayer on a terminal: a table that is drawn again, and log lines above it."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cli.output import printable

if TYPE_CHECKING:
    from rich.table import Table

    from bridge.metrics import Snapshot

Watch = Callable[[Mapping[str, "Snapshot"]], None]


@contextmanager
def watching(*, once: bool) -> Iterator[Watch]:
    """What `Relayer.run` calls with every chain's last round. Draws nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    with Live(console=console, refresh_per_second=4, transient=once) as live:
        handlers = logging.getLogger().handlers[:]
        logging.getLogger().handlers[:] = [_Above(console)]
        try:
            yield lambda snapshots: live.update(_drawn(snapshots))
        finally:
            logging.getLogger().handlers[:] = handlers


class _Above(logging.Handler):
    """Log lines of people's own words above the table."""

    def __init__(self, console: Any) -> None:
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        self._console.print(f"{stamp} {printable(record.getMessage())}", markup=False, highlight=False)


def _drawn(snapshots: Mapping[str, Snapshot]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("chain", "size", "node", "epoch", "block", "final", "open", "doing"):
        table.add_column(name, overflow="fold")
    for name, snapshot in sorted(snapshots.items()):
        report = snapshot.report
        table.add_row(
            name,
            "-" if report.state is None else f"{report.state.size:,}",
            "-" if report.node_size is None else f"{report.node_size:,}",
            "-" if report.state is None else str(report.state.epoch),
            "-" if report.head is None else str(report.head.number),
            "-" if report.final is None else str(report.final.number),
            str(report.open),
            printable(report.error or report.doing),
            style="bold red" if report.frozen else "red" if report.error else None,
        )
    return table
