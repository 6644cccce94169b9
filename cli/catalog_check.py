"""`stretto catalog check` and `template`: metadata in, every fault by line and column out, before a signature."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from catalog.checking import REPORT_CSV, REPORT_JSON, CheckRun, Inputs, run_check
from catalog.manifest import MANIFEST_NAME, MalformedManifest
from catalog.metadata.check import Unlisted
from catalog.metadata.findings import Finding, Severity, report_csv, report_json
from catalog.metadata.rows import MalformedMetadata
from catalog.metadata.table_csv import template
from cli.catalog_progress import count_lines, progress_of
from cli.files import write_file
from cli.output import CliError, Exit, PathArgument, json_option, print_json, print_table, printable, say, write_bytes

ROWS_SHOWN = 40
"""Findings in the table; the report has all."""
_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}


def metadata_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--metadata, --sheet, --unlisted: what a catalogue's claims say."""
    for option in reversed(
        (
            click.option(
                "--metadata",
                "metadata",
                metavar="FILE",
                multiple=True,
                type=PathArgument,
                help="CSV, Excel (.xlsx) or DDEX ERN (.xml), or a folder of them; may be given again. "
                "Without it, tags alone speak.",
            ),
            click.option("--sheet", metavar="NAME", help="Sheet of the Excel workbook. Default: the first."),
            click.option(
                "--unlisted",
                type=click.Choice([str(choice) for choice in Unlisted]),
                help="Tracks that no row is about: an error (the default), claimed by their tags, or not claimed.",
            ),
        )
    ):
        function = option(function)
    return function


@click.command("template")
@click.option("--out", "out_path", metavar="FILE", type=PathArgument, help="Written there instead of stdout.")
def template_command(*, out_path: Path | None) -> int:
    """Print the CSV to fill in: every column, and one example row to replace.

    \b
    Example:
      stretto catalog template > rows.csv
    """
    if out_path is None:
        write_bytes(template())
    else:
        write_file(out_path, template())
    return Exit.OK


@click.command("check")
@click.argument("folder", metavar="OUT", type=PathArgument)
@metadata_options
@click.option("--strict", is_flag=True, help="Warnings end with exit code 65 as well.")
@json_option
def check_command(
    *, folder: Path, metadata: tuple[Path, ...], sheet: str | None, unlisted: str | None, strict: bool, as_json: bool
) -> int:
    """Check the scanned catalogue in OUT against its metadata, row by row.

    Names every fault with line, column (or cell), value and what was expected, down to the right check digit. The whole
    report is written to OUT/report.csv and OUT/report.json. While there are errors (exit code 65) nothing can be
    signed. Warnings are for you to look at.

    \b
    Example:
      stretto catalog template > rows.csv
      stretto catalog check autumn/ --metadata rows.csv
    """
    inputs = Inputs(
        folder=folder, metadata=metadata, sheet=sheet, unlisted=Unlisted(unlisted) if unlisted else Unlisted.ERROR
    )
    run = checked_run(inputs)
    findings = run.checked.findings.listed()
    if as_json:
        print_json({"ok": not run.head["errors"], **run.head, "findings": [finding.row() for finding in findings]})
    else:
        _print(run, findings, folder)
    failed = run.head["errors"] or (strict and run.head["warnings"])
    return Exit.DATA if failed else Exit.OK


def checked_run(inputs: Inputs) -> CheckRun:
    """The check, and its report written into the folder. Raises: CliError."""
    manifest = inputs.folder / MANIFEST_NAME
    if not manifest.is_file():
        message = f"{inputs.folder} holds no {MANIFEST_NAME}: 'stretto catalog scan MUSIC --into {inputs.folder}' first"
        raise CliError(message, Exit.NO_INPUT)
    try:
        with progress_of("checking", max(0, count_lines(manifest) - 1), "rows") as advance:
            run = run_check(inputs, advance=advance)
    except (MalformedMetadata, MalformedManifest) as error:
        raise CliError(str(error), Exit.DATA) from error
    except OSError as error:
        raise CliError(f"{error.filename or inputs.folder}: {error.strerror or error}", Exit.NO_INPUT) from error
    listed = run.checked.findings.listed()
    write_file(inputs.folder / REPORT_CSV, report_csv(listed), replace=True)
    write_file(inputs.folder / REPORT_JSON, report_json(run.head, listed), replace=True)
    return run


def _print(run: CheckRun, findings: list[Finding], folder: Path) -> None:
    from rich.text import Text

    head = run.head
    if findings:
        order = list(Severity)
        shown = sorted(findings, key=lambda finding: order.index(finding.severity))[:ROWS_SHOWN]
        rows = [
            (
                Text(str(finding.severity), style=_STYLES[finding.severity]),
                str(finding.place) or finding.track,
                finding.column,
                finding.value,
                finding.expected,
            )
            for finding in shown
        ]
        print_table(("", "where", "column", "value", "expected"), rows)
    total = head["errors"] + head["warnings"] + head["notes"]
    if total > ROWS_SHOWN:
        say(f"… and {total - ROWS_SHOWN} more")
    say(f"{head['tracks']} tracks, {head['rows']} rows: {_counted(head)}")
    say(f"report     {printable(folder / REPORT_CSV)}, {REPORT_JSON}")
    if head["errors"]:
        say("nothing can be signed while errors stand: mend them and check again")
    else:
        say(f"ready      {head['to_claim']} claims: stretto catalog sign {printable(folder)} --key K --genesis G")


def _counted(head: dict[str, Any]) -> str:
    words = ((head["errors"], "error"), (head["warnings"], "warning"), (head["notes"], "note"))
    return ", ".join(f"{number} {word}{'' if number == 1 else 's'}" for number, word in words)
