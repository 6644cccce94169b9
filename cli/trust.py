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
from ledger.roster import Roster

VARIABLE = "STRETTO_GENESIS"
EPOCHS_VARIABLE = "STRETTO_EPOCHS"


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


def epochs_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--epochs",
        "epochs_path",
        metavar="FILE",
        type=PathArgument,
        help=f"Proofs of later epochs from somebody you trust ('stretto epochs export'). Default: ${EPOCHS_VARIABLE}.",
    )(function)


def find_rosters(genesis: Genesis, given: Path | None) -> tuple[Roster, ...]:
    """Rosters of epochs 0 and up that the file of proofs leads to; of epoch 0 alone where none was named.

    Raises: CliError, MalformedMessage, EpochNotProven.
    """
    from ledger.epochs import EPOCHS_BYTES_MAX, parse_epochs, verify_epochs

    if given is None and (named := os.environ.get(EPOCHS_VARIABLE)):
        given = Path(named)
    if given is None:
        return (genesis.roster,)
    consortium, proofs = parse_epochs(read_file(given, EPOCHS_BYTES_MAX, "the epochs"))
    if consortium != genesis.digest:
        raise CliError(
            f"{given} has the epochs of another consortium, with genesis {consortium.hex()}; yours is "
            f"{genesis.digest.hex()}",
            Exit.DATA,
        )
    return verify_epochs(genesis, proofs)


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
