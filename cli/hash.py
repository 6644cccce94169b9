"""`stretto hash`: what exactly are these files? BLAKE3 of each, and SHA-256 where it is asked for."""

from __future__ import annotations

import click

from catalog.crew import PROCESSES_MAX
from cli import sums
from cli.output import json_option


@click.command("hash")
@click.argument("paths", metavar="PATH…", nargs=-1, required=True)
@click.option(
    "--format",
    "layout",
    type=click.Choice(sums.LAYOUTS),
    help="Default: BLAKE3 alone, as a table on a terminal, else as b3sum. All but b3sum have SHA-256.",
)
@click.option("--sha256", is_flag=True, help="SHA-256: sha256sum's format, or in the table too. Five times the work.")
@click.option(
    "--threads",
    type=click.IntRange(1, PROCESSES_MAX),
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
    *,
    paths: tuple[str, ...],
    layout: str | None,
    sha256: bool,
    threads: int | None,
    journal: str | None,
    as_json: bool,
) -> int:
    """BLAKE3 of every file under PATH…, as b3sum prints it; SHA-256 where it is asked for.

    Folders are entered in the order of names. What cannot be read, or changes while it is read, is named on stderr
    and left out (exit code 3). `--json` prints one document a line, with both digests. Of what was not in memory
    before, half of memory's worth stays there: a large set does not push out what other programs use.

    \b
    Example:
      stretto hash music/ > music.b3 && b3sum --check music.b3
      stretto hash --format sha256sum music/ | sha256sum --check
      stretto hash --resume music.journal music/ > music.b3      interrupted? the same again
    """
    if sha256 and layout == "b3sum" and not as_json:
        raise click.UsageError("--sha256: b3sum's format has no room for it; use --format sha256sum, table or json")
    wanted = sums.Wanted(layout="json" if as_json else layout, sha256=sha256, threads=threads, journal=journal)
    return sums.run(wanted, paths)
