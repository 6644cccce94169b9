"""`stretto evidence`: get one file that proves one claim; verify it with no node and no network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.evidence_anchor import add, anchor_command, choose, read_anchors, report
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
    from ledger.evidence import Report

BUNDLE_BYTES_MAX = 64 << 20


@click.group("evidence")
def evidence_group() -> None:
    """Get one file that proves one claim; verify it with no node and no network.

    \b
    Example:
      stretto evidence get --digest song.flac --out song.evidence.zip
      stretto evidence verify song.evidence.zip song.flac --genesis genesis.json
    """


evidence_group.add_command(anchor_command)


@evidence_group.command("get")
@click.option("--digest", metavar="HEX|AUDIO", help="The earliest claim on this audio: its digest, or the file.")
@click.option("--statement", metavar="HEX|FILE.stretto", help="A statement: its SHA-256, or the file that holds it.")
@click.option("--position", type=click.IntRange(min=0), help="Which claim of a catalogue; with --statement.")
@click.option("--out", "out_path", metavar="FILE", required=True, type=PathArgument, help="Written: the evidence.")
@click.option(
    "--anchors", metavar="FOLDER", type=PathArgument, help="Add what fits of these (`stretto bridge anchor`)."
)
@click.option("--replace", is_flag=True, help="Overwrite FILE.")
@node_option
@deadline_option(60)
@json_option
def get_command(
    *,
    digest: str | None,
    statement: str | None,
    position: int | None,
    out_path: Path,
    anchors: Path | None,
    replace: bool,
    node: str,
    deadline_s: float,
    as_json: bool,
) -> int:
    """Fetch the evidence for one claim from any node, into one file.

    Any node will do: what it hands out proves itself, or does not. The node answers when a quorum has signed a
    checkpoint that covers the claim.

    \b
    Example:
      stretto evidence get --digest song.flac --out song.evidence.zip --node 127.0.0.1:5102
      stretto evidence get --statement autumn.stretto --position 3 --out track3.evidence.zip
    """
    if (digest is None) == (statement is None):
        raise click.UsageError("exactly one of --digest and --statement is needed")
    if position is not None and statement is None:
        raise click.UsageError("--position is a place in a catalogue: it needs --statement")
    from cli.connect import connected
    from cli.digest import media_digest, statement_digest
    from cli.files import write_file

    by: dict[str, Any] = {"media_digest": media_digest(digest)} if digest else {}
    by |= {"statement": statement_digest(statement), "position": position} if statement else {}
    with connected(node, deadline_s) as client:
        bundle = client.evidence(**by)
        chosen = choose(bundle, read_anchors([anchors])) if anchors is not None else []
        if chosen:
            bundle = add(bundle, chosen, client)
    write_file(out_path, bundle, replace=replace)
    report(out_path, bundle, chosen, as_json=as_json)
    if not as_json:
        if anchors is not None and not chosen:
            say(f"anchor   none in {printable(anchors)} covers it yet: `stretto evidence anchor` adds one later")
        say(f"verify   stretto evidence verify {printable(out_path)} AUDIO --genesis GENESIS")
    return Exit.OK


@evidence_group.command("verify")
@click.argument("bundle_path", metavar="FILE", type=PathArgument)
@click.argument("audio_path", metavar="[AUDIO]", required=False, type=PathArgument)
@genesis_option
@epochs_option
@json_option
def verify_command(
    *, bundle_path: Path, audio_path: Path | None, genesis_path: Path | None, epochs_path: Path | None, as_json: bool
) -> int:
    """Check the evidence in FILE, offline: every check with its reason.

    It trusts only the genesis you name, or have put down before: never the list of validators that came in FILE,
    since anybody can invent validators. Without a genesis the answer is "incomplete". With AUDIO, also whether that
    file is the one the claim is about.

    Anchors in it are checked from their block's hash on. Whether the chain has that block is not looked up here: it is
    listed as not checked, with what to look up.

    Evidence of epoch 1 or later brings the handovers that lead there. Retired keys could sign another history, so it
    is "incomplete" until you also name epochs you trust.

    Exit code 0: verified; 1: refused, a check failed; 2: incomplete, nothing failed but not all could be checked.

    \b
    Example:
      stretto evidence verify song.evidence.zip song.flac --genesis genesis.json
    """
    from cli.files import read_file
    from ledger.evidence import MediaDigests, verify_bundle

    genesis = find_genesis(genesis_path)
    bundle = read_file(bundle_path, BUNDLE_BYTES_MAX, "the evidence")
    media: MediaDigests | None = None
    if audio_path is not None:
        from catalog.digests import hash_file
        from catalog.scan import LeftOut

        try:
            digests = hash_file(audio_path)
        except LeftOut as error:
            raise CliError(f"the audio {audio_path} cannot be read: {error.reason}", Exit.NO_INPUT) from error
        media = MediaDigests(blake3=digests.blake3, sha256=digests.sha256)
    known = () if genesis is None else find_rosters(genesis, epochs_path)
    report = verify_bundle(bundle, genesis, media, known=known)
    if as_json:
        _print_json(report)
    else:
        _print(report)
        if genesis is None:
            say(f"No genesis to trust: name one with --genesis, or put it at {printable(trust_file())}.")
    return _exit(report)


def _exit(report: Report) -> Exit:
    from ledger.evidence import Verdict

    return {Verdict.VERIFIED: Exit.OK, Verdict.REFUSED: Exit.REFUSED, Verdict.INCOMPLETE: Exit.INCOMPLETE}[
        report.verdict
    ]


def _print_json(report: Report) -> None:
    print_json(
        {
            "ok": _exit(report) is Exit.OK,
            "verdict": report.verdict.name,
            "checks": [
                {"name": check.name, "outcome": check.outcome.name, "reason": check.reason} for check in report.checks
            ],
        }
    )


def _print(report: Report) -> None:
    rows = [(check.name, outcome_cell(check.outcome.name), check.reason) for check in report.checks]
    print_table(("check", "outcome", "reason"), rows)
    failed = [f"{check.name}: {check.reason}" for check in report.checks if check.outcome.name == "FAILED"]
    say("\n  ".join([report.verdict.name, *map(printable, failed)]))
