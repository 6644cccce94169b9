"""`stretto hash`: what exactly are these files? BLAKE3 and SHA-256 of each, read once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalog.digests import FileDigests, hash_files
from catalog.scan import LeftOut, scan
from cli.output import (
    Exit,
    PathArgument,
    complain,
    human_bytes,
    json_option,
    print_json,
    printable,
    say,
    write_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@click.command("hash")
@click.argument("paths", metavar="PATH…", nargs=-1, required=True, type=PathArgument)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["table", "b3sum", "sha256sum"]),
    help="Default: table on a terminal, else b3sum.",
)
@click.option("--threads", type=click.IntRange(1, 256), help="Files read at once. Default: the processors available.")
@json_option
def hash_command(paths: tuple[Path, ...], layout: str | None, threads: int | None, as_json: bool) -> int:
    """BLAKE3 and SHA-256 of every file under PATH…, in one pass.

    Folders are entered in the order of names. What cannot be read, or changes while it is read, is named on stderr
    and left out (exit code 3). `--json` prints one document a line, with both digests.

    \b
    Example:
      stretto hash music/ > music.b3 && b3sum --check music.b3
      stretto hash --format sha256sum music/ | sha256sum --check
    """
    form = "json" if as_json else layout or ("table" if sys.stdout.isatty() else "b3sum")
    show = _FORMS[form]
    left_out = 0
    with _progress() as advance:
        for result in hash_files(scan(paths), threads=threads, advance=advance):
            if isinstance(result, LeftOut):
                left_out += 1
                complain(f"{result.path}: {result.reason}; left out")
            else:
                show(result)
    return Exit.LEFT_OUT if left_out else Exit.OK


def _show_table(digests: FileDigests) -> None:
    say(f"{printable(digests.path)}  {human_bytes(digests.size_bytes)}")
    say(f"  BLAKE3   {digests.blake3.hex()}")
    say(f"  SHA-256  {digests.sha256.hex()}")


def _show_b3sum(digests: FileDigests) -> None:
    # b3sum's check files are UTF-8 throughout, and one bad byte stops it reading the whole file. So, like b3sum,
    # write U+FFFD for bytes that are not UTF-8; b3sum then refuses that one line and checks the others.
    name = os.fsencode(digests.path).decode("utf-8", "replace")
    if "\ufffd" in name:
        complain(f"{digests.path}: b3sum cannot check a name that is not UTF-8; sha256sum can (--format sha256sum)")
    write_bytes(sum_line(digests.blake3, name.encode(), escaped=((b"\\", b"\\\\"), (b"\n", b"\\n"))))


def _show_sha256sum(digests: FileDigests) -> None:
    escaped = ((b"\\", b"\\\\"), (b"\n", b"\\n"), (b"\r", b"\\r"))
    write_bytes(sum_line(digests.sha256, os.fsencode(digests.path), escaped=escaped))


def sum_line(digest: bytes, name: bytes, *, escaped: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """One line of a check file: digest, two spaces, name; a leading backslash says that the name is escaped.

    escaped: (raw, written) in the order of replacement, the backslash first. Source: b3sum 1.2.0, coreutils 9.1.
    """
    mark = b""
    if any(raw in name for raw, _ in escaped):
        mark = b"\\"
        for raw, written in escaped:
            name = name.replace(raw, written)
    return mark + digest.hex().encode() + b"  " + name + b"\n"


def _show_json(digests: FileDigests) -> None:
    document: dict[str, Any] = {
        "path": str(digests.path),
        "bytes": digests.size_bytes,
        "blake3": digests.blake3.hex(),
        "sha256": digests.sha256.hex(),
    }
    raw = os.fsencode(digests.path)
    if raw.decode("utf-8", "replace").encode() != raw:
        document["path_hex"] = raw.hex()  # the only exact way to name it in JSON
    print_json(document, indent=None)


_FORMS: dict[str, Callable[[FileDigests], None]] = {
    "table": _show_table,
    "b3sum": _show_b3sum,
    "sha256sum": _show_sha256sum,
    "json": _show_json,
}


@contextmanager
def _progress() -> Iterator[Callable[[int], None] | None]:
    """Bytes and rate on stderr while it works, on a terminal only. The total is unknown: the scan is still running."""
    if not sys.stderr.isatty() or sys.stdout.isatty():  # a table on the same terminal is progress enough
        yield None
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

    columns = (SpinnerColumn(), TextColumn("hashing"), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("hashing", total=None)
        yield lambda count: progress.advance(task, count)
