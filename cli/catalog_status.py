"""`stretto catalog status`: how far a catalogue is, from its folder, and from a node where one is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from catalog.checking import REPORT_JSON
from catalog.json_fields import load
from catalog.manifest import LEFT_OUT_NAME, MANIFEST_NAME
from catalog.signing import SIGNED_BYTES_MAX, SIGNED_NAME, Part, Signed, parse_signed
from catalog.submitted import Fate, Sent, read_journal
from cli.catalog_progress import count_lines
from cli.catalog_sign import REPORT_BYTES_MAX
from cli.connect import connected
from cli.files import read_file
from cli.output import CliError, Exit, PathArgument, deadline_option, json_option, print_json, print_table, say

LEAVES_SHOWN = 8


@click.command("status")
@click.argument("folder", metavar="OUT", type=PathArgument)
@click.option("--node", metavar="HOST:PORT", help="Ask this node what is on record. Default: the journal's word.")
@deadline_option(30)
@json_option
def status_command(*, folder: Path, node: str | None, deadline_s: float, as_json: bool) -> int:
    """Say how far the catalogue in OUT is: scanned, checked, signed, submitted, final.

    Exit code 2 while anything is still to do.

    \b
    Example:
      stretto catalog status autumn/ --node 127.0.0.1:5101
    """
    if not folder.is_dir():
        raise CliError(f"{folder} is no folder: 'stretto catalog scan MUSIC --into {folder}' makes it", Exit.NO_INPUT)
    report = _report(folder)
    signed = _signed(folder)
    fates = read_journal(folder)
    if node is not None and signed is not None:
        fates = _ask(node, signed, fates, deadline_s)
    state = _state(folder, report, signed, fates)
    if as_json:
        print_json({"ok": True, **state})
    else:
        _print(state, asked=node)
    return Exit.OK if state["signed"] and state["final"] == state["statements"] else Exit.INCOMPLETE


def _report(folder: Path) -> dict[str, Any]:
    path = folder / REPORT_JSON
    if not path.is_file():
        return {}
    try:
        head = load(read_file(path, REPORT_BYTES_MAX, "the report"))
    except ValueError as error:
        raise CliError(f"{path} is no report of a check: check again", Exit.DATA) from error
    return head if isinstance(head, dict) else {}


def _signed(folder: Path) -> Signed | None:
    path = folder / SIGNED_NAME
    return parse_signed(read_file(path, SIGNED_BYTES_MAX, "the list of statements"), path) if path.is_file() else None


def _ask(node: str, signed: Signed, known: dict[str, Sent], deadline_s: float) -> dict[str, Sent]:
    """The node's word on every statement. Raises: CliError."""
    from cli.client import NodeError

    found: dict[str, Sent] = {}
    with connected(node, deadline_s) as client:
        for part in signed.parts:
            try:
                recorded = client.statement(digest=bytes.fromhex(part.statement))
            except NodeError as error:
                if error.code != "NOT_RECORDED":
                    raise
                found |= _not_recorded(part, known)
                continue
            found[part.statement] = Sent(
                statement=part.statement,
                file=part.file,
                fate=Fate.FINAL,
                index=recorded.index,
                height=recorded.height,
                block_time_ms=recorded.block_time_ms,
            )
    return found


def _not_recorded(part: Part, known: dict[str, Sent]) -> dict[str, Sent]:
    """What the journal says, except that what this node does not have is not final here."""
    sent = known.get(part.statement)
    if sent is None:
        return {}
    if sent.fate is Fate.FINAL and sent.reason is None:
        return {part.statement: Sent(statement=part.statement, file=part.file, fate=Fate.ACCEPTED)}
    return {part.statement: sent}


def _state(folder: Path, report: dict[str, Any], signed: Signed | None, fates: dict[str, Sent]) -> dict[str, Any]:
    parts = signed.parts if signed else ()
    sent = [fates[part.statement] for part in parts if part.statement in fates]
    final = [one for one in sent if one.fate is Fate.FINAL]
    return {
        "folder": str(folder),
        "tracks": max(0, count_lines(folder / MANIFEST_NAME) - 1),
        "left_out": count_lines(folder / LEFT_OUT_NAME),
        "checked": bool(report),
        "rows": report.get("rows", 0),
        "to_claim": report.get("to_claim", 0),
        "errors": report.get("errors", 0),
        "warnings": report.get("warnings", 0),
        "signed": sum(part.claims for part in parts),
        "statements": len(parts),
        "submitted": len(sent),
        "final": len(final),
        "final_claims": sum(part.claims for part in parts if part.statement in {one.statement for one in final}),
        "leaves": [one.index for one in final],
        "refused": [one.file for one in sent if one.fate in (Fate.REFUSED, Fate.OTHER)],
    }


def _print(state: dict[str, Any], *, asked: str | None) -> None:
    leaves = ", ".join(map(str, state["leaves"][:LEAVES_SHOWN]))
    more = len(state["leaves"]) - LEAVES_SHOWN
    rows: list[tuple[str, object, str]] = [
        ("scanned", state["tracks"], f"{state['left_out']} left out"),
        ("checked", state["to_claim"] if state["checked"] else "no", f"{state['rows']} rows"),
        ("errors", state["errors"], f"{state['warnings']} warnings"),
        ("signed", state["signed"], f"{state['statements']} statements"),
        ("submitted", state["submitted"], "statements"),
        ("final", state["final"], f"leaves {leaves}{f' and {more} more' if more > 0 else ''}" if leaves else ""),
    ]
    print_table(("", "", ""), rows)
    if state["refused"]:
        say(f"refused or other: {', '.join(state['refused'])} (see submitted.jsonl)")
    say(f"on record {state['final_claims']} of {state['signed']} claims, by {asked or 'the journal'}")
