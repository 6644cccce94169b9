"""`stretto watch`: the log as it grows, in order, from any index on."""

from __future__ import annotations

import hashlib
import sys

import click

from cli.connect import OutOfTime, connected
from cli.output import Exit, json_option, node_option, print_json, printable, say
from cli.submit import block_time
from ledger.catalogue import CatalogueHeader
from ledger.claim import Claim
from ledger.governance import Admit, Remove, RotateKey, SetPolicy
from ledger.rights_content import Supersede
from ledger.statement import Content, parse_statement
from node.rpc.answers import RecordedStatement

WORDS_SHOWN = 160
"""Characters of what somebody wrote: grounds, reasons, references."""


@click.command("watch")
@click.option("--from-index", type=click.IntRange(min=0), default=0, show_default=True, help="First index to show.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many statements.")
@click.option(
    "--deadline",
    "deadline_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="Stop after this long. Default: never.",
)
@node_option
@json_option
def watch_command(from_index: int, count: int | None, deadline_s: float | None, node: str, as_json: bool) -> int:
    """Every statement on record from an index on, then new ones as they become final.

    Nothing is skipped and nothing comes twice, also when the node restarts in between. To resume later, start at the
    index after the last one you saw. `--json` prints one document a line.

    \b
    Example:
      stretto watch --from-index 0 --node 127.0.0.1:5104 --json
    """
    seen = 0
    try:
        with connected(node, deadline_s) as client:
            for recorded in client.watch(from_index):
                _show(recorded, as_json=as_json)
                sys.stdout.flush()  # whoever reads a pipe wants it now, not when a buffer is full
                seen += 1
                if count is not None and seen >= count:
                    break
    except OutOfTime:
        return Exit.OK if count is None else Exit.INCOMPLETE
    return Exit.OK


def told(content: Content) -> tuple[str, int]:
    """What it is about, in a line, and how many claims it holds."""
    match content:
        case Claim():
            return content.title, 1
        case CatalogueHeader():
            return f"{content.count} claims", content.count
        case Admit() | Remove() | RotateKey() | SetPolicy():
            return f"vote to {content.describe()}", 0
        case _:
            words = content.describe()
            cut = f"{words[:WORDS_SHOWN]}…" if len(words) > WORDS_SHOWN else words
            return cut, 1 if isinstance(content, Supersede) else 0


def _show(recorded: RecordedStatement, *, as_json: bool) -> None:
    statement = parse_statement(recorded.raw)
    what, claims = told(statement.content)
    if as_json:
        print_json(
            {
                "index": recorded.index,
                "statement": hashlib.sha256(recorded.raw).hexdigest(),
                "kind": str(statement.kind),
                "issuer": statement.issuer,
                "client_ref": statement.client_ref,
                "claims": claims,
                "height": recorded.height,
                "block_time_ms": recorded.block_time_ms,
            },
            indent=None,
        )
        return
    say(
        f"{recorded.index:>8}  {block_time(recorded.block_time_ms)}  {statement.kind:<10}  {statement.issuer:<12}  "
        f"{printable(what)}"
    )
