"""`stretto evidence anchor`: puts what a public chain recorded into evidence that was exported before."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.output import (
    CliError,
    Exit,
    PathArgument,
    deadline_option,
    human_bytes,
    json_option,
    node_option,
    print_json,
    printable,
    say,
)

if TYPE_CHECKING:
    from cli.client import NodeClient
    from ledger.anchor import Anchor

BUNDLE_BYTES_MAX = 64 << 20
FOLDER_FILES_MAX = 100_000


@click.command("anchor")
@click.argument("bundle_path", metavar="FILE", type=PathArgument)
@click.argument("anchor_paths", metavar="ANCHOR...", nargs=-1, required=True, type=PathArgument)
@click.option("--out", "out_path", metavar="FILE", required=True, type=PathArgument, help="Written: the evidence.")
@click.option("--replace", is_flag=True, help="Overwrite FILE.")
@node_option
@deadline_option(30)
@json_option
def anchor_command(
    *,
    bundle_path: Path,
    anchor_paths: tuple[Path, ...],
    out_path: Path,
    replace: bool,
    node: str,
    deadline_s: float,
    as_json: bool,
) -> int:
    """Add anchors to the evidence in FILE: blocks of public chains that recorded the log.

    An ANCHOR is a file that `stretto bridge anchor` made, or a folder of them: then of each chain the earliest that
    covers the statement. Any node is asked for the proof that joins the anchor to the evidence's checkpoint; nothing is
    added that does not hold. The rest of the evidence stays as its exporter signed it.

    \b
    Example:
      stretto bridge anchor polygon --evidence song.evidence.zip --out anchors/
      stretto evidence anchor song.evidence.zip anchors/ --out song.anchored.zip
    """
    from cli.connect import connected
    from cli.files import read_file, write_file

    bundle = read_file(bundle_path, BUNDLE_BYTES_MAX, "the evidence")
    chosen = choose(bundle, read_anchors(anchor_paths))
    if not chosen:
        index = entry_of(bundle)
        raise CliError(f"no anchor given covers entry {index} of the log, which the evidence is about", Exit.REFUSED)
    with connected(node, deadline_s) as client:
        anchored = add(bundle, chosen, client)
    write_file(out_path, anchored, replace=replace)
    report(out_path, anchored, chosen, as_json=as_json)
    return Exit.OK


def report(path: Path, bundle: bytes, anchors: Sequence[Anchor], *, as_json: bool) -> None:
    """What was written, for people or programs."""
    if as_json:
        told = [{"chain": one.chain, "size": one.size, "block": f"0x{one.block.hex()}"} for one in anchors]
        print_json({"ok": True, "file": str(path), "bytes": len(bundle), "anchors": told})
        return
    say(f"written  {printable(path)}  {human_bytes(len(bundle))}")
    for one in anchors:
        say(f"anchor   chain {one.chain}, {one.size} entries, block 0x{one.block.hex()}")


def entry_of(bundle: bytes) -> int:
    """Index of the log's entry that the evidence is about. Raises: MalformedMessage."""
    from ledger.evidence_anchor import log_proof

    return log_proof(bundle).index


def read_anchors(paths: Iterable[Path]) -> list[Anchor]:
    """Of files, and of all files *.json in folders. Raises: CliError, MalformedAnchor naming the file."""
    from cli.files import read_file
    from ledger.anchor import ANCHOR_BYTES_MAX, MalformedAnchor, parse_anchor

    found = []
    for path in _files(paths):
        try:
            found.append(parse_anchor(read_file(path, ANCHOR_BYTES_MAX, "the anchor")))
        except MalformedAnchor as error:
            raise CliError(f"{path}: {error}", Exit.DATA) from error
    return found


def _files(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(".json"))
        if len(names) > FOLDER_FILES_MAX:
            raise CliError(f"{path} holds over {FOLDER_FILES_MAX} files: name the anchors", Exit.DATA)
        found += [path / name for name in names]
    return found


def choose(bundle: bytes, anchors: Iterable[Anchor]) -> list[Anchor]:
    """Of each chain the one of the smallest size over the evidence's entry: the earliest."""
    index = entry_of(bundle)
    best: dict[int, Anchor] = {}
    for anchor in sorted(anchors, key=lambda one: one.size, reverse=True):
        if anchor.size > index:
            best[anchor.chain] = anchor
    return [best[chain] for chain in sorted(best)]


def add(bundle: bytes, anchors: Sequence[Anchor], client: NodeClient) -> bytes:
    """The evidence with these, each joined to its checkpoint by the node's proof. Raises: as `add_anchors`."""
    from ledger.evidence_anchor import add_anchors, sizes_for

    joined = []
    for anchor in anchors:
        low, high = sizes_for(bundle, anchor)
        proof = client.consistency_proof(low, high).hashes if low < high else ()
        joined.append(anchor.for_checkpoint(proof))
    return add_anchors(bundle, joined)
