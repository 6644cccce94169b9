"""`stretto demo`: the main job end to end on this machine, with forgeries that must be refused."""

from __future__ import annotations

import signal
import sys
import threading
import types
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.output import Exit, human_bytes, json_option, print_json, print_table, say

if TYPE_CHECKING:
    from cli.demo_run import Result


@click.command("demo")
@click.option(
    "--audio",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Your own folder: any mix of wav, flac, ogg, mp3, m4a, aiff, nested. Default: a few tracks rendered here.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="Leave evidence, genesis and logs in this folder, to look at. Default: everything is removed.",
)
@json_option
def demo_command(audio: Path | None, keep: Path | None, *, as_json: bool) -> int:
    """Run the whole journey on four local nodes: claim, sign, order, prove, verify offline, refuse forgeries, mint.

    Takes less than half a minute. The last line is JSON for programs; exit code 0 only if every check came out right,
    3 if some of your files were left out.

    \b
    Example: stretto demo --audio ~/Music/masters --keep demo-results
    """
    from cli.demo_run import Demo, Narrator

    narrator = Narrator(quiet=as_json)
    # `kill` and a closed terminal must leave no node behind either: both end the run as Ctrl-C does.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupt)
        signal.signal(signal.SIGTERM, _interrupt)
        signal.signal(signal.SIGHUP, _interrupt)
    result = Demo(audio=audio, keep=keep, narrator=narrator).run()
    if not as_json:
        _print_report(result)
    print_json(result.document(), indent=None)
    if not result.ok:
        return Exit.REFUSED
    return Exit.LEFT_OUT if result.left_out else Exit.OK


def _interrupt(_number: int, _frame: types.FrameType | None) -> None:
    raise KeyboardInterrupt


def _print_report(result: Result) -> None:
    say()
    finality = sorted(result.finality_ms)
    left_out = f", {result.left_out} left out" if result.left_out else ""
    rate = human_bytes(result.hashed_bytes / result.hash_s)
    refused = f"{result.forgeries_refused} of {result.forgeries} refused"
    rows = [
        ("files", f"{result.files}, {human_bytes(result.audio_bytes)}{left_out}"),
        ("hash rate", f"{rate}/s, BLAKE3 and SHA-256 in one pass"),
        ("claims on record", f"{result.claims}, in {len(finality)} statements"),
        ("time to finality", f"p50 {result.finality_ms_p50:.0f} ms, max {finality[-1]:.0f} ms"),
        ("nodes that signed", ", ".join(result.signers)),
        ("log", f"{result.size} leaves, root {result.root.hex()[:32]}…, block {result.height}"),
        ("checks", f"{result.checks_passed} passed on {result.evidence_verified} evidence files, offline"),
        ("forgeries", f"{refused}; with no genesis to trust: {result.without_genesis}"),
        ("token", f"{result.token[:18]}…, {result.token_checks} checks passed, {result.mint_gas:,} gas"),
        ("node killed", f"caught up {result.catch_up_s:.1f} s after its restart, the same root"),
    ]
    print_table(("", "The whole journey, on this machine"), rows)
    if result.kept is not None:
        say(f"kept in {result.kept}; for example:")
        say(f"  stretto evidence verify {result.kept}/1.evidence.zip --genesis {result.kept}/genesis.json")
        say(f"  stretto bridge verify --offline --file {result.kept}/1.token.zip --genesis {result.kept}/genesis.json")
    sys.stdout.flush()
