"""`stretto catalog submit`: every statement of a catalogue onto the record, once, through crashes of either side."""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from catalog.signing import SIGNED_BYTES_MAX, SIGNED_NAME, Part, Signed, parse_signed
from catalog.submission import SUBMISSION_BYTES_MAX, Submission, parse_submission
from catalog.submitted import Fate, Journal, Sent, read_journal
from cli.catalog_progress import progress_of
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
    print_table,
    say,
)
from node.rpc.types import SubmissionResult, SubmissionState

if TYPE_CHECKING:
    from cli.client import NodeClient

BUSY_PAUSE_S = 0.2
BUSY_PAUSE_S_MAX = 5.0
"""Between two tries at a node that is busy, where it does not ask for longer."""
_SETTLED = frozenset({Fate.FINAL, Fate.OTHER})


@click.command("submit")
@click.argument("folder", metavar="OUT", type=PathArgument)
@node_option
@click.option("--wait/--no-wait", default=True, show_default=True, help="Until each is final, or only accepted.")
@deadline_option(120)
@json_option
def submit_command(*, folder: Path, node: str, wait: bool, deadline_s: float, as_json: bool) -> int:
    """Send the signed catalogue in OUT to a node, statement by statement, and wait until all are final.

    What became of each is written to OUT/submitted.jsonl before the next is sent: interrupted, run it again, with any
    node, and it goes on where it stopped. What is on record already is recognised, never recorded twice. --deadline is
    for each statement.

    \b
    Example:
      stretto catalog submit autumn/ --node 127.0.0.1:5101
    """
    signed = read_signed(folder)
    journal = read_journal(folder)
    waiting = [part for part in signed.parts if not _is_settled(journal.get(part.statement))]
    began = time.monotonic()
    total = sum(part.claims for part in waiting)
    with Journal(folder) as writer, progress_of("submitting", total, "claims") as advance:
        for done, part in enumerate(waiting):
            try:
                sent = _send(folder, part, node, wait=wait, deadline_s=deadline_s)
            except CliError as error:
                on_record = len(signed.parts) - len(waiting) + done
                message = f"{error.message}; {on_record} of {len(signed.parts)} statements are sent: run it again"
                raise CliError(message, error.exit, **error.details) from error
            writer.write(sent)
            journal[part.statement] = sent
            if sent.fate is Fate.REFUSED:
                raise CliError(f"{folder / part.file} was refused: {sent.reason}", Exit.REFUSED)
            advance(part.claims)
    fates = [journal[part.statement] for part in signed.parts]
    (_print_json if as_json else _print)(signed, fates, len(waiting), time.monotonic() - began)
    if any(sent.fate is Fate.OTHER for sent in fates):
        raise CliError(
            "other statements are on record under the same references: to say something new about the same files, "
            "sign with --ref TEXT --replace",
            Exit.REFUSED,
        )
    return Exit.OK


def read_signed(folder: Path) -> Signed:
    """What `sign` left in the folder. Raises: CliError, MalformedSigned."""
    path = folder / SIGNED_NAME
    if not path.is_file():
        message = f"{folder} holds no signed catalogue: 'stretto catalog sign {folder} --key K --genesis G' first"
        raise CliError(message, Exit.NO_INPUT)
    return parse_signed(read_file(path, SIGNED_BYTES_MAX, "the list of statements"), path)


def _is_settled(sent: Sent | None) -> bool:
    return sent is not None and sent.fate in _SETTLED


def _send(folder: Path, part: Part, node: str, *, wait: bool, deadline_s: float) -> Sent:
    """What became of one statement. Raises: CliError where that cannot be known now."""
    submission = parse_submission(read_file(folder / part.file, SUBMISSION_BYTES_MAX, "the statement"))
    if hashlib.sha256(submission.statement).hexdigest() != part.statement:
        message = f"{folder / part.file} is not the statement that was signed: sign again with --replace"
        raise CliError(message, Exit.DATA)
    with connected(node, deadline_s) as client:
        result = _patiently(client, submission, wait=wait, until=time.monotonic() + deadline_s)
        return _fate(client, submission, part, result)


def _patiently(client: NodeClient, submission: Submission, *, wait: bool, until: float) -> SubmissionResult:
    """A node with no room says when to come back. Raises: CliError at the deadline."""
    pause_s = BUSY_PAUSE_S
    while True:
        result = client.submit(submission.statement, submission.blobs, wait=wait)
        if result.refusal is None or result.refusal.retry_after_ms is None:
            return result
        pause_s = max(pause_s, result.refusal.retry_after_ms / 1000)
        if time.monotonic() + pause_s > until:
            raise CliError(f"the node is busy ({result.refusal.code}): try again, or raise --deadline", Exit.RETRY)
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, BUSY_PAUSE_S_MAX)


def _fate(client: NodeClient, submission: Submission, part: Part, result: SubmissionResult) -> Sent:
    index, reason = result.index, None
    match result.state:
        case SubmissionState.ACCEPTED:
            return Sent(statement=part.statement, file=part.file, fate=Fate.ACCEPTED)
        case SubmissionState.REFUSED:
            return _refusal(part, result)
        case SubmissionState.DUPLICATE:
            recorded = client.statement(index=index, min_size=index + 1)
            if recorded.raw != submission.statement:  # signed with another reference, before
                reason = f"the same claims are on record as statement {recorded.digest.hex()}"
        case SubmissionState.FINAL:
            pass
    return Sent(
        statement=part.statement,
        file=part.file,
        fate=Fate.FINAL,
        index=index,
        height=result.height,
        block_time_ms=result.block_time_ms,
        reason=reason,
    )


def _refusal(part: Part, result: SubmissionResult) -> Sent:
    refusal = result.refusal
    assert refusal is not None, "a refusal says why"
    reason = f"{refusal.code}: {refusal.field}: expected {refusal.expected}, got {refusal.value or 'nothing'}"
    if refusal.code != "CLIENT_REF_USED":
        return Sent(statement=part.statement, file=part.file, fate=Fate.REFUSED, reason=reason)
    leaf = re.search(r"leaf ([0-9]{1,18})", refusal.value)
    index = int(leaf[1]) if leaf else None
    return Sent(statement=part.statement, file=part.file, fate=Fate.OTHER, index=index, reason=reason)


def _print_json(signed: Signed, fates: list[Sent], sent_now: int, took_s: float) -> None:
    print_json(
        {
            "ok": all(sent.fate is not Fate.OTHER for sent in fates),
            "statements": len(fates),
            "final": sum(sent.fate is Fate.FINAL for sent in fates),
            "sent_now": sent_now,
            "claims": sum(part.claims for part in signed.parts),
            "took_s": round(took_s, 3),
            "results": [
                {"file": sent.file, "statement": sent.statement, "state": str(sent.fate), "index": sent.index}
                for sent in fates
            ],
        }
    )


def _print(signed: Signed, fates: list[Sent], sent_now: int, took_s: float) -> None:
    rows = [
        (part.file, part.claims, str(sent.fate), "" if sent.index is None else sent.index, sent.reason or "")
        for part, sent in zip(signed.parts, fates, strict=True)
    ]
    print_table(("statement", "claims", "state", "leaf", ""), rows)
    final = sum(sent.fate is Fate.FINAL for sent in fates)
    claims = sum(part.claims for part in signed.parts)
    say(f"{final} of {len(fates)} statements on record, {claims} claims; {sent_now} sent now in {took_s:.1f} s")
