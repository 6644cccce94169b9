"""`stretto node`: run one member's node in the foreground, or have a new one join."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.output import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress

    from node.sync_phase import SyncPhase


_parent_option = click.option(
    "--parent", type=click.IntRange(min=1), hidden=True, help="End with this process, which started this one (Linux)."
)


@contextmanager
def _begun(parent: int | None) -> Iterator[None]:
    """Round everything that a node does, its imports first."""
    if parent is not None:
        from node.parent import end_with_parent

        end_with_parent(parent)
    # Nothing that importing makes is garbage; looking for it costs an eighth of a start. `node.process` turns it on.
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@click.group("node")
def node_group() -> None:
    """Run a member's node."""


@node_group.command("run")
@click.option(
    "--config",
    "config_path",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The node's config.toml; its keys, genesis and data lie beside it.",
)
@click.option("--verbose", is_flag=True, help="Log at DEBUG level.")
@_parent_option
def run(config_path: Path, *, verbose: bool, parent: int | None) -> None:
    """Run a node in the foreground until SIGTERM or Ctrl-C; logs are JSON lines on stderr.

    \b
    Example: stretto node run --config /etc/stretto/config.toml
    """
    with _begun(parent):
        from node.process import main

        main(config_path, verbose=verbose)


@node_group.command("join")
@click.option(
    "--config",
    "config_path",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The node's config.toml; its keys and the consortium's genesis lie beside it.",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A recent checkpoint that a quorum cosigned: statements below it are then not checked one by one.",
)
@click.option("--exit", "ends", is_flag=True, help="End once the log is here, to be run as a service then.")
@_parent_option
def join(config_path: Path, checkpoint: Path | None, *, ends: bool, parent: int | None) -> None:
    """Bring a new node up to date and show how far it is, then go on running it; its log goes to log/node.log.

    What was fetched stays: after an interruption, the same command goes on where it was.

    \b
    Example: stretto node join --config /etc/stretto/config.toml --checkpoint checkpoint.txt
    """
    with _begun(parent):
        _join(config_path, checkpoint, ends=ends)


def _join(config_path: Path, checkpoint: Path | None, *, ends: bool) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from node.process import main

    log_path = config_path.resolve().parent / "log" / "node.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        show = _Shown(bar, ends=ends)
        main(
            config_path, checkpoint=None if checkpoint is None else checkpoint.resolve(), log_path=log_path, watch=show
        )


class _Shown:
    """Draws where a sync is."""

    def __init__(self, bar: Progress, *, ends: bool) -> None:
        self._bar = bar
        self._ends = ends
        self._task = bar.add_task("looking for the other members' nodes", total=None)
        self._said: dict[str, str] = {}
        self._joined = False

    def __call__(self, phase: SyncPhase) -> bool:
        """Whether the node is to end."""
        progress = phase.progress()
        if progress is not None:
            self._bar.update(self._task, description=progress.line(), total=progress.target, completed=progress.height)
            for member, why in progress.dropped:
                if self._said.get(member) != why:
                    self._said[member] = why
                    self._bar.console.print(f"dropped {member}: {why}", markup=False, highlight=False)
        elif phase.has_joined and not self._joined:
            self._joined = True
            self._bar.stop()
            say(f"joined: {phase.size} leaves" + ("" if self._ends else "; the node runs until Ctrl-C"))
        return self._joined and self._ends
