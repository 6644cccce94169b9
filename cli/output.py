"""What every verb shares: exit codes, safe printing, JSON, tables. Imports nothing heavy (rich only where it draws)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.text import Text


class Exit(IntEnum):
    """How `stretto` ends. 64 and up are the meanings of BSD's sysexits.h."""

    OK = 0
    REFUSED = 1
    INCOMPLETE = 2
    LEFT_OUT = 3
    USAGE = 64
    DATA = 65
    NO_INPUT = 66
    UNREACHABLE = 69
    SOFTWARE = 70
    CANNOT_CREATE = 73
    IO = 74
    RETRY = 75
    FORBIDDEN = 77
    CONFIG = 78
    INTERRUPTED = 130


EXIT_MEANINGS = {
    Exit.OK: "done; evidence verified",
    Exit.REFUSED: "refused: a check failed, a statement was not recorded, a query found nothing",
    Exit.INCOMPLETE: "incomplete: nothing failed, but not everything could be checked or waited for",
    Exit.LEFT_OUT: "done, but some files were left out (named on stderr)",
    Exit.USAGE: "the command line is wrong",
    Exit.DATA: "an input file is malformed",
    Exit.NO_INPUT: "an input file is missing or unreadable",
    Exit.UNREACHABLE: "no answer from the node",
    Exit.SOFTWARE: "a fault of Stretto's own: please report it",
    Exit.CANNOT_CREATE: "the output file cannot be written",
    Exit.IO: "reading or writing failed",
    Exit.RETRY: "refused for now (busy, or out of time): the same command may succeed later",
    Exit.FORBIDDEN: "a private key others may read, or a permission the member's role lacks",
    Exit.CONFIG: "this machine's configuration is wrong",
    Exit.INTERRUPTED: "interrupted",
}


class CliError(click.ClickException):
    """Ends the command with one line on stderr and an exit code of `Exit`."""

    def __init__(self, message: str, exit_: Exit, /, **details: str) -> None:
        """details: what a program should know besides; shown by --json."""
        super().__init__(message)
        self.exit = exit_
        self.details = details


# ---- text ------------------------------------------------------------------------------------------------------------

_JOINERS = "\u200c\u200d"
"""Zero-width (non-)joiner: invisible, harmless, and needed to write Persian, Hindi and many emoji."""


def printable(text: object) -> str:
    """`text` as one line that cannot move the cursor, change colours or reverse the line: names are strangers' input.

    Control characters, bidirectional overrides and undecodable bytes come out as \\n, \\x1b, \\u202e, \\xff.
    """
    plain = str(text)
    if plain.isprintable():
        return plain
    return "".join(c if c.isprintable() or c in _JOINERS else _escaped(c) for c in plain)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode carries it
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def human_bytes(size: float) -> str:
    """1234567 -> '1.2 MB' (powers of ten, as disks and b3sum's users count)."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.95 or unit == "TB":
            break
    return f"{size:.1f} {unit}"


def say(line: str = "") -> None:
    """One line on stdout, for people."""
    write_bytes(line.encode("utf-8", "backslashreplace") + b"\n")


def complain(line: str) -> None:
    """One line on stderr: what happened, where, what to do."""
    sys.stdout.flush()
    sys.stderr.buffer.write(b"stretto: " + printable(line).encode("utf-8", "backslashreplace") + b"\n")
    sys.stderr.buffer.flush()


def write_bytes(data: bytes) -> None:
    """Verbatim to stdout."""
    sys.stdout.buffer.write(data)


# ---- machines --------------------------------------------------------------------------------------------------------


def print_json(value: object, *, indent: int | None = 2) -> None:
    """One JSON document on stdout in UTF-8; indent None puts it on one line (for streams of documents)."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if not _encodable(text):
        text = json.dumps(value, ensure_ascii=True, indent=indent)  # lone surrogates travel as \udcXX escapes
    write_bytes(text.encode() + b"\n")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# ---- tables ----------------------------------------------------------------------------------------------------------


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """A table on stdout; cells are made printable, and long cells fold instead of being cut."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    with console.capture() as drawn:
        console.print(table)
    # Like every other line: a locale that cannot write a title must not end the command.
    write_bytes(
        "\n".join(line.rstrip() for line in drawn.get().splitlines()).encode("utf-8", "backslashreplace") + b"\n"
    )


def outcome_cell(outcome: str) -> Text:
    """PASSED, FAILED or NOT_CHECKED as a coloured cell; failures stay loud without colour."""
    from rich.text import Text

    word, style = {"PASSED": ("passed", "green"), "FAILED": ("FAILED", "bold red")}.get(
        outcome, ("not checked", "yellow")
    )
    return Text(word, style=style)


# ---- shared options --------------------------------------------------------------------------------------------------


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Machine-readable output (JSON) on stdout.")(function)


def node_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--node",
        "node",
        metavar="HOST:PORT",
        envvar="STRETTO_NODE",
        default="127.0.0.1:5101",
        show_default=True,
        show_envvar=True,
        help="Any node of the consortium.",
    )(function)


def deadline_option(default_s: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """--deadline SECONDS: how long the whole call may take."""
    return click.option(
        "--deadline",
        "deadline_s",
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True),
        default=default_s,
        show_default=True,
        help="Give up after this long (exit code 75).",
    )


PathArgument = click.Path(path_type=Path)
"""A path that need not exist yet: a missing one is reported by name, not as a usage error."""
