"""`stretto epochs`: who belonged to the consortium in every epoch, and the proof that leads there from the genesis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.output import (
    CliError,
    Exit,
    PathArgument,
    deadline_option,
    json_option,
    node_option,
    print_json,
    print_table,
    printable,
    say,
)
from cli.trust import find_rosters, genesis_option, require_genesis

if TYPE_CHECKING:
    from ledger.epochs import EpochProof
    from ledger.genesis import Genesis
    from ledger.roster import Roster

DIGEST_DIGITS = 16
"""Of a roster's SHA-256, shown in tables."""


@click.group("epochs")
def epochs_group() -> None:
    """List, export and verify the consortium's epochs.

    Members change by vote ('stretto govern'); every passed change begins a new epoch, and the validators before it sign
    the handover. So whoever has the genesis can prove the signers of any checkpoint.

    \b
    Example:
      stretto epochs list --node 127.0.0.1:5101 --genesis genesis.json --json
      stretto epochs export --out epochs.cbor --genesis genesis.json
      stretto epochs verify epochs.cbor --genesis genesis.json
    """


@epochs_group.command("list")
@genesis_option
@node_option
@deadline_option(30)
@json_option
def list_command(*, genesis_path: Path | None, node: str, deadline_s: float, as_json: bool) -> int:
    """Every epoch a node knows, each proven from your genesis.

    \b
    Example:
      stretto epochs list --node 127.0.0.1:5102 --genesis genesis.json --json
    """
    genesis = require_genesis(genesis_path)
    _, rosters = fetch_epochs(genesis, node, deadline_s)
    _show(rosters, as_json=as_json)
    return Exit.OK


@epochs_group.command("export")
@click.option("--out", "out_path", metavar="FILE", required=True, type=PathArgument, help="Written: the proofs.")
@click.option("--replace", is_flag=True, help="Overwrite FILE.")
@genesis_option
@node_option
@deadline_option(30)
@json_option
def export_command(
    *, out_path: Path, replace: bool, genesis_path: Path | None, node: str, deadline_s: float, as_json: bool
) -> int:
    """Write the proofs of all epochs into FILE, after verifying them from your genesis.

    \b
    Example:
      stretto epochs export --out epochs.cbor --genesis genesis.json
    """
    from cli.files import write_file
    from ledger.epochs import encode_epochs

    genesis = require_genesis(genesis_path)
    proofs, rosters = fetch_epochs(genesis, node, deadline_s)
    write_file(out_path, encode_epochs(genesis.digest, proofs), replace=replace)
    if as_json:
        print_json({"ok": True, "file": str(out_path), "epoch": rosters[-1].epoch, "roster": rosters[-1].digest.hex()})
    else:
        say(f"written  {printable(out_path)}  epochs 0 to {rosters[-1].epoch}")
        say(f"roster   {rosters[-1].digest.hex()}")
    return Exit.OK


@epochs_group.command("verify")
@click.argument("path", metavar="FILE", type=PathArgument)
@genesis_option
@json_option
def verify_command(*, path: Path, genesis_path: Path | None, as_json: bool) -> int:
    """Follow the proofs in FILE from your genesis to the last epoch, offline.

    Exit code 0: every handover is signed by a quorum of the validators before it; 1: refused, one is not.

    \b
    Example:
      stretto epochs verify epochs.cbor --genesis genesis.json
    """
    from ledger.epochs import EpochNotProven

    genesis = require_genesis(genesis_path)
    try:
        rosters = find_rosters(genesis, path)
    except EpochNotProven as error:
        raise CliError(f"{path}: {error}", Exit.REFUSED, epoch=str(error.epoch), reason=error.reason) from error
    _show(rosters, as_json=as_json)
    return Exit.OK


def fetch_epochs(genesis: Genesis, node: str, deadline_s: float) -> tuple[tuple[EpochProof, ...], tuple[Roster, ...]]:
    """(proofs, rosters) of every epoch of a node, verified from the genesis. Raises: CliError."""
    from cli.connect import connected
    from consensus.errors import PeerError
    from ledger.epochs import EPOCHS_MAX, EpochProof, verify_epochs

    found: list[EpochProof] = []
    with connected(node, deadline_s) as client:
        try:
            for record in client.epochs():
                if record.epoch:
                    found.append(EpochProof.decode(record.proof))
                if len(found) > EPOCHS_MAX:
                    raise CliError(f"{node} answers with over {EPOCHS_MAX} epochs", Exit.DATA)
            return tuple(found), verify_epochs(genesis, found)
        except PeerError as error:
            raise CliError(
                f"{node} answers with epochs that your genesis does not lead to: {error}", Exit.REFUSED
            ) from error


def _show(rosters: Sequence[Roster], *, as_json: bool) -> None:
    if as_json:
        print_json({"ok": True, "current": rosters[-1].epoch, "epochs": [_as_json(roster) for roster in rosters]})
        return
    rows = [
        (
            roster.epoch,
            roster.digest.hex()[:DIGEST_DIGITS],
            roster.quorum,
            ", ".join(member.id for member in roster.validator_members()),
            ", ".join(member.id for member in roster.members if not member.validator),
        )
        for roster in rosters
    ]
    print_table(("epoch", "roster", "quorum", "validators", "other members"), rows)
    say(f"every epoch up to {rosters[-1].epoch} follows from the genesis; roster {rosters[-1].digest.hex()}")


def _as_json(roster: Roster) -> dict[str, Any]:
    from ledger.member import CHAIN_PROOF, KEY_PURPOSES, parameter_values

    return {
        "epoch": roster.epoch,
        "roster": roster.digest.hex(),
        "quorum": roster.quorum,
        "parameters": dict(parameter_values(roster.parameters)),
        "members": [
            {
                "id": member.id,
                "name": member.name,
                "role": str(member.role),
                "validator": roster.validator_index(member.id),
                "keys": {purpose: getattr(member.keys, purpose).hex() for purpose in (*KEY_PURPOSES, CHAIN_PROOF)},
            }
            for member in roster.members
        ],
    }
