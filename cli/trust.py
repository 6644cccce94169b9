"""Which genesis to trust: the one named, else the one this person put down once. Never one that came with evidence."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cli.files import read_file
from cli.output import CliError, Exit, PathArgument
from ledger.genesis import GENESIS_BYTES_MAX, Genesis, parse_genesis

VARIABLE = "STRETTO_GENESIS"


def genesis_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--genesis",
        "genesis_path",
        metavar="FILE",
        type=PathArgument,
        help=f"The consortium's genesis file. Default: ${VARIABLE}, else ~/.config/stretto/genesis.json.",
    )(function)


def find_genesis(given: Path | None) -> Genesis | None:
    """The trusted genesis, or None where none was named and none is put down. Raises: CliError, MalformedGenesis."""
    if given is not None:
        return parse_genesis(read_file(given, GENESIS_BYTES_MAX, "the genesis"))
    if named := os.environ.get(VARIABLE):
        return parse_genesis(read_file(Path(named), GENESIS_BYTES_MAX, f"the genesis of ${VARIABLE},"))
    kept = trust_file()
    return parse_genesis(read_file(kept, GENESIS_BYTES_MAX, "the genesis")) if kept.exists() else None


def trust_file() -> Path:
    """Where a person's own trusted genesis lies, by the XDG base directory specification."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "stretto" / "genesis.json"


def require_genesis(given: Path | None) -> Genesis:
    """Raises: CliError where there is none."""
    genesis = find_genesis(given)
    if genesis is None:
        raise CliError(
            f"no genesis: name the consortium's genesis file with --genesis, or put it at {trust_file()}", Exit.CONFIG
        )
    return genesis
