"""`stretto store`: an operator's look into a node's store."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.output import CliError, Exit, PathArgument, json_option, outcome_cell, print_json, print_table, say
from cli.trust import genesis_option, require_genesis

if TYPE_CHECKING:
    from collections.abc import Callable


@click.group("store")
def store_group() -> None:
    """Prove a node's whole store from genesis."""


@store_group.command("check")
@click.argument("directory", metavar="DIR", type=PathArgument)
@genesis_option
@json_option
def check_command(directory: Path, genesis_path: Path | None, as_json: bool) -> int:
    """Replay the store of the node in DIR from genesis: blocks, statements, signatures, log, indexes, checkpoints.

    The node may be running. The genesis is DIR/genesis.json where none is named. Exit code 1 where a check
    fails, 2 where one could not be made.

    \b
    Example:
      stretto store check /var/lib/stretto
    """
    from node.store.check import check_store

    own = directory / "genesis.json"
    genesis = require_genesis(genesis_path or (own if own.exists() else None))
    chain = directory / "data" / "chain"
    if not chain.is_dir():
        raise CliError(f"{directory} is no node's folder: it has no data/chain", Exit.NO_INPUT)
    with _progress() as progress:
        checks = check_store(chain, genesis, progress)
    outcomes = {check.outcome.name for check in checks}
    right = outcomes == {"PASSED"}
    if as_json:
        listed = [{"name": c.name, "outcome": c.outcome.name, "reason": c.reason} for c in checks]
        print_json({"ok": right, "checks": listed})
    else:
        print_table(("check", "outcome", "reason"), [(c.name, outcome_cell(c.outcome.name), c.reason) for c in checks])
        say(
            "the store is right" if right else "THE STORE IS NOT RIGHT: restore it, or sync it anew, before trusting it"
        )
    return Exit.OK if right else Exit.REFUSED


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("replaying", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
