"""`stretto bridge anchor`: the block of a public chain that recorded the log, as a file that evidence can carry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.bridge_ends import ends
from cli.mint import config_option
from cli.output import CliError, Exit, PathArgument, json_option, print_json, printable, say

if TYPE_CHECKING:
    from ledger.anchor import Anchor

BUNDLE_BYTES_MAX = 64 << 20


@click.command("anchor")
@click.argument("chain_name", metavar="CHAIN")
@click.option("--evidence", "bundle_path", metavar="FILE", type=PathArgument, help="Of what the anchor shall cover.")
@click.option("--entry", "index", type=click.IntRange(min=0), help="The log's entry that it shall cover, instead.")
@click.option(
    "--from-block", type=click.IntRange(min=0), help="Search from there. Default: where the bridge was deployed."
)
@click.option("--not-final", is_flag=True, help="Take blocks that are not final yet; a reorganisation can undo them.")
@click.option(
    "--out", "out_path", metavar="FOLDER", required=True, type=PathArgument, help="Written: CHAINID-SIZE.json in it."
)
@config_option
@json_option
@ends()
def anchor_command(
    *, chain_name: str, bundle_path: Path | None, index: int | None, from_block: int | None, not_final: bool,
    out_path: Path, config_path: Path, as_json: bool,
) -> int:  # fmt: skip
    """Fetch the earliest final block in which CHAIN's bridge recorded a checkpoint over an entry of the log.

    CHAIN is a name in bridge.toml. Block and receipts come from its endpoints; the proof is made and checked here, so
    no endpoint has to be believed. Evidence carries it: stretto evidence anchor. Not for Zilliqa 2, whose blocks are
    hashed by rules of their own.

    \b
    Example:
      stretto bridge anchor polygon --evidence song.evidence.zip --out anchors/
      stretto evidence anchor song.evidence.zip anchors/ --out song.anchored.zip
    """
    from bridge.anchoring import first_anchor
    from bridge.config import load_config
    from bridge.run import open_endpoints
    from cli.evidence_anchor import entry_of
    from cli.files import read_file, write_file

    if (bundle_path is None) == (index is None):
        raise click.UsageError("exactly one of --evidence and --entry is needed")
    chain = load_config(config_path).chain(chain_name)
    if chain.bridge is None:
        raise CliError(f"chains.{chain.name}.bridge: expected the contract's address", Exit.CONFIG)
    if bundle_path is not None:
        index = entry_of(read_file(bundle_path, BUNDLE_BYTES_MAX, "the evidence"))
    assert index is not None, "one of the two"
    endpoints = open_endpoints(chain)
    try:
        last = endpoints.common_head().number if not_final else endpoints.finalized(chain.finality_blocks).number
        first = chain.start_block if from_block is None else from_block
        with searching(first, last) as progress:
            anchor = first_anchor(endpoints, chain.id, chain.bridge, index, first=first, last=last, progress=progress)
    finally:
        endpoints.close()
    out_path.mkdir(parents=True, exist_ok=True)
    path = out_path / f"{anchor.chain}-{anchor.size}.json"
    write_file(path, anchor.encode(), replace=True)
    _report(anchor, path, as_json=as_json)
    return Exit.OK


def _report(anchor: Anchor, path: Path, *, as_json: bool) -> None:
    block = anchor.check().header
    if as_json:
        print_json({"ok": True, "file": str(path), "chain": anchor.chain, "size": anchor.size, "number": block.number,
                    "block": f"0x{anchor.block.hex()}", "time_s": block.timestamp_s})  # fmt: skip
        return
    say(f"anchor   chain {anchor.chain}, {anchor.size} entries, block {block.number}, 0x{anchor.block.hex()}")
    say(f"written  {printable(path)}")


@contextmanager
def searching(first: int, last: int) -> Iterator[Callable[[int], None]]:
    """A bar over the blocks that are searched, on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("searching blocks", total=max(1, last - first + 1))
        yield lambda block: bar.update(task, completed=block - first + 1)
