"""`stretto submit`: send a signed statement to a node, and wait until a quorum has made it final."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from catalog.submission import SUBMISSION_BYTES_MAX, Submission, parse_submission
from cli.connect import connected
from cli.files import read_file
from cli.output import (
    CliError,
    Exit,
    PathArgument,
    deadline_option,
    json_option,
    node_option,
    print_json,
    printable,
    say,
)
from node.rpc.types import SubmissionResult, SubmissionState


@click.command("submit")
@click.argument("file", metavar="FILE.stretto", type=PathArgument)
@node_option
@click.option("--wait/--no-wait", default=True, show_default=True, help="Answer when it is final, or when accepted.")
@deadline_option(30)
@json_option
def submit_command(file: Path, node: str, wait: bool, deadline_s: float, as_json: bool) -> int:
    """Send the statement in FILE.stretto to a node.

    Sending it twice records it once: the second time says where it was recorded. Out of time (exit code 2 or 75), it
    may still be recorded: send it again to find out.

    \b
    Example:
      stretto submit autumn.stretto --node 127.0.0.1:5101 --wait
    """
    submission = parse_submission(read_file(file, SUBMISSION_BYTES_MAX, "the statement"))
    result, took_ms = send(submission, node, deadline_s, wait=wait, name=file)
    if as_json:
        print_json(result_json(result, took_ms))
    else:
        print_result(result, took_ms)
    return Exit.OK


def send(
    submission: Submission, node: str, deadline_s: float, *, wait: bool, name: object
) -> tuple[SubmissionResult, float]:
    """What became of it, and milliseconds that took. name: of what is sent, in errors. Raises: CliError if refused."""
    began = time.monotonic()
    with connected(node, deadline_s) as client:
        result = client.submit(submission.statement, submission.blobs, wait=wait)
    took_ms = (time.monotonic() - began) * 1000
    if result.state is SubmissionState.REFUSED:
        assert result.refusal is not None, "a refusal says why"
        refusal = result.refusal
        raise CliError(
            f"{printable(name)} was refused: {refusal.code}: {refusal.field}: expected {refusal.expected}, "
            f"got {refusal.value or 'nothing'}; nothing was recorded",
            Exit.REFUSED if refusal.retry_after_ms is None else Exit.RETRY,
            code=refusal.code,
            field=refusal.field,
            value=refusal.value,
            expected=refusal.expected,
        )
    return result, took_ms


def result_json(result: SubmissionResult, took_ms: float) -> dict[str, Any]:
    document: dict[str, Any] = {"ok": True, "state": result.state.name, "statement": result.digest.hex()}
    if result.state is not SubmissionState.ACCEPTED:
        document |= {"index": result.index, "height": result.height, "block_time_ms": result.block_time_ms}
    return document | {"took_ms": round(took_ms, 1)}


def print_result(result: SubmissionResult, took_ms: float) -> None:
    say(f"statement  {result.digest.hex()}")
    match result.state:
        case SubmissionState.FINAL:
            say(f"final      index {result.index}, height {result.height}, {block_time(result.block_time_ms)}")
            say(f"took       {took_ms:.0f} ms")
        case SubmissionState.DUPLICATE:
            say(f"on record  since index {result.index}, height {result.height}, {block_time(result.block_time_ms)}")
            say("           nothing was added")
        case _:
            say("accepted   not yet on record: `stretto query --statement` with this digest tells")


def block_time(milliseconds: int) -> str:
    """UTC to the millisecond. Block time is order, not legal time."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(" ", "milliseconds").replace("+00:00", "Z")
