"""`stretto hash`: what exactly are these files? BLAKE3 of each, and SHA-256 where it is asked for."""

from __future__ import annotations

import click

from cli import sums
from cli.output import json_option


@click.command("hash")
@click.argument("paths", metavar="PATH…", nargs=-1, required=True)
@click.option(
    "--format",
    "layout",
    type=click.Choice(sums.LAYOUTS),
    help="Default: table on a terminal, else b3sum.",
)
@click.option("--sha256", is_flag=True, help="SHA-256 too (in table and JSON): one reading, three times the work.")
@click.option(
    "--threads",
    type=click.IntRange(1, sums.PROCESSES_MAX),
    help="Files read at once. Default: the processors available.",
)
@click.option(
    "--resume",
    "journal",
    metavar="FILE",
    help="Remember digests in FILE, and do not read again what it has with the same size and times.",
)
@json_option
def hash_command(
    paths: tuple[str, ...], layout: str | None, sha256: bool, threads: int | None, journal: str | None, as_json: bool
) -> int:
    """BLAKE3 of every file under PATH…, as b3sum prints it.

    Folders are entered in the order of names. What cannot be read, or changes while it is read, is named on stderr
    and left out (exit code 3). `--json` prints one document a line. What was not in memory before stays there only
    up to half of it, so that a large set does not push out what other programs use.

    \b
    Example:
      stretto hash music/ > music.b3 && b3sum --check music.b3
      stretto hash --format sha256sum music/ | sha256sum --check
      stretto hash --resume music.journal music/ > music.b3      interrupted? the same again
    """
    wanted = sums.Wanted(layout="json" if as_json else layout, sha256=sha256, threads=threads, journal=journal)
    return sums.run(wanted, paths)
