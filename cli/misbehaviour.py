"""`stretto misbehaviour`: what validators did that no honest one does; one file proves it, without any network."""

from __future__ import annotations

import re
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
    outcome_cell,
    print_json,
    print_table,
    printable,
    say,
)
from cli.trust import epochs_option, find_genesis, find_rosters, genesis_option, trust_file

if TYPE_CHECKING:
    from ledger.misbehaviour import Evidence, MisbehaviourReport

FILE_BYTES_MAX = 4096
"""Evidence is 283 or 343 bytes; a file a little larger is read, so that the form check can say what is wrong."""
ID_DIGITS = 16
"""Of the SHA-256 that names a piece of evidence, shown in lists."""
_ID = re.compile(r"[0-9a-f]{8,64}")


@click.group("misbehaviour")
def misbehaviour_group() -> None:
    """List, get and verify proof that a validator contradicted itself.

    A node keeps two signed votes of one validator that no honest validator casts together, and two signatures for
    public chains that no honest validator makes together. Anybody can check them.

    \b
    Example:
      stretto misbehaviour list --node 127.0.0.1:5101 --json
      stretto misbehaviour get 3f2a91c0 --out court.misbehaviour
      stretto misbehaviour verify court.misbehaviour --genesis genesis.json
    """


@misbehaviour_group.command("list")
@node_option
@deadline_option(30)
@json_option
def list_command(*, node: str, deadline_s: float, as_json: bool) -> int:
    """List what a node has seen. Names are its word; `get` and `verify` make sure.

    \b
    Example:
      stretto misbehaviour list --node 127.0.0.1:5102
    """
    found = _fetch(node, deadline_s)
    if as_json:
        print_json({"ok": True, "misbehaviours": [_as_json(evidence, member) for evidence, member in found]})
        return Exit.OK
    if found:
        rows = [
            (evidence.digest.hex()[:ID_DIGITS], member, evidence.epoch, evidence.sentence())
            for evidence, member in found
        ]
        print_table(("id", "validator", "epoch", "what"), rows)
    say(f"{len(found)} on record at this node")
    return Exit.OK


@misbehaviour_group.command("get")
@click.argument("id_", metavar="ID")
@click.option("--out", "out_path", metavar="FILE", required=True, type=PathArgument, help="Written: the evidence.")
@click.option("--replace", is_flag=True, help="Overwrite FILE.")
@node_option
@deadline_option(30)
@json_option
def get_command(*, id_: str, out_path: Path, replace: bool, node: str, deadline_s: float, as_json: bool) -> int:
    """Fetch one piece of evidence from a node into a file. ID: at least 8 digits of what `list` shows.

    \b
    Example:
      stretto misbehaviour get 3f2a91c0 --out court.misbehaviour
    """
    from cli.files import write_file

    if not _ID.fullmatch(id_.lower()):
        raise click.UsageError(f"ID {id_!r}: expected 8 to 64 hexadecimal digits, as 'stretto misbehaviour list' shows")
    matching = [(e, member) for e, member in _fetch(node, deadline_s) if e.digest.hex().startswith(id_.lower())]
    if not matching:
        raise CliError(f"{node} holds no evidence {id_}: see 'stretto misbehaviour list'", Exit.REFUSED)
    if len(matching) > 1:
        raise CliError(f"{id_} begins the ID of {len(matching)} pieces of evidence: give more digits", Exit.USAGE)
    ((evidence, member),) = matching
    write_file(out_path, evidence.encode(), replace=replace)
    if as_json:
        print_json({"ok": True, "file": str(out_path)} | _as_json(evidence, member))
    else:
        say(f"written  {printable(out_path)}  {member}, {evidence.sentence()}")
        say(f"verify   stretto misbehaviour verify {printable(out_path)} --genesis GENESIS")
    return Exit.OK


@misbehaviour_group.command("verify")
@click.argument("path", metavar="FILE", type=PathArgument)
@genesis_option
@epochs_option
@json_option
def verify_command(*, path: Path, genesis_path: Path | None, epochs_path: Path | None, as_json: bool) -> int:
    """Check the evidence in FILE, offline: every check with its reason, and whose validator it was.

    It trusts only the genesis you name, or have put down before. What it proves is that somebody with the validator's
    key signed both: its operator, or whoever else has the key.

    Exit code 0: misbehaviour is proven; 1: refused, this proves nothing; 2: incomplete, for want of a genesis,
    or of proof who the validators of that epoch were.

    \b
    Example:
      stretto misbehaviour verify court.misbehaviour --genesis genesis.json
    """
    from cli.files import read_file
    from ledger.evidence_report import Verdict
    from ledger.misbehaviour import verify_misbehaviour

    genesis = find_genesis(genesis_path)
    known = () if genesis is None else find_rosters(genesis, epochs_path)
    report = verify_misbehaviour(read_file(path, FILE_BYTES_MAX, "the evidence"), genesis, known=known)
    code = {Verdict.VERIFIED: Exit.OK, Verdict.REFUSED: Exit.REFUSED, Verdict.INCOMPLETE: Exit.INCOMPLETE}[
        report.verdict
    ]
    if as_json:
        _print_json(report, ok=code is Exit.OK)
    else:
        _print(report)
        if genesis is None:
            say(f"No genesis to trust: name one with --genesis, or put it at {printable(trust_file())}.")
    return code


def _fetch(node: str, deadline_s: float) -> list[tuple[Evidence, str]]:
    """(evidence, member by the node's word) of everything a node holds. Raises: CliError."""
    from cli.connect import connected
    from ledger.misbehaviour import MalformedMisbehaviour, parse_misbehaviour

    with connected(node, deadline_s) as client:
        records = list(client.misbehaviours())
    try:
        return [(parse_misbehaviour(record.evidence), record.member) for record in records]
    except MalformedMisbehaviour as error:
        raise CliError(f"{node} answers with what is no evidence: {error}", Exit.DATA) from error


def _as_json(evidence: Evidence, member: str) -> dict[str, Any]:
    from ledger.misbehaviour import MisbehaviourEvidence

    head = {"id": evidence.digest.hex(), "member": member, "validator": evidence.voter, "epoch": evidence.epoch}
    if isinstance(evidence, MisbehaviourEvidence):
        return head | {
            "view": evidence.view,
            "votes": [
                {"kind": signed.vote.kind.name, "height": signed.vote.height, "block": signed.vote.block.hex()}
                for signed in (evidence.first, evidence.second)
            ],
        }
    checkpoints = [signed.checkpoint for signed in (evidence.first, evidence.second)]
    return head | {
        "chain_checkpoints": [
            {"size": each.size, "root": each.root.hex(), "successor": each.successor.hex()} for each in checkpoints
        ]
    }


def _print_json(report: MisbehaviourReport, *, ok: bool) -> None:
    said = _as_json(report.evidence, report.member.id if report.member else "") if report.evidence else {}
    checks = [{"name": c.name, "outcome": c.outcome.name, "reason": c.reason} for c in report.checks]
    print_json({"ok": ok, "verdict": report.verdict.name, "checks": checks} | said)


def _print(report: MisbehaviourReport) -> None:
    rows = [(check.name, outcome_cell(check.outcome.name), check.reason) for check in report.checks]
    print_table(("check", "outcome", "reason"), rows)
    failed = [f"{check.name}: {check.reason}" for check in report.checks if check.outcome.name == "FAILED"]
    say("\n  ".join([report.verdict.name, *map(printable, failed)]))
    if report.member is not None and report.evidence is not None:
        say(f"{printable(report.member.name)} ({report.member.id}) contradicted itself {report.evidence.sentence()}.")
