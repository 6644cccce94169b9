"""`stretto node`: run one member's node in the foreground."""

from __future__ import annotations

from pathlib import Path

import click


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
def run(config_path: Path, *, verbose: bool) -> None:
    """Run a node in the foreground until SIGTERM or Ctrl-C; logs are JSON lines on stderr.

    \b
    Example: stretto node run --config /etc/stretto/config.toml
    """
    from node.process import main

    main(config_path, verbose=verbose)
