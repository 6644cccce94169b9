"""`stretto catalog sign`: a checked catalogue becomes signed statements, the same bytes at every run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from catalog.checking import REPORT_CSV, REPORT_JSON, CheckRun, Inputs, inputs_of_report
from catalog.claims import Names, Terms, derived_salts
from catalog.manifest import MANIFEST_NAME, Manifest
from catalog.metadata.check import Unlisted
from catalog.signing import SIGNED_BYTES_MAX, SIGNED_NAME, Part, Signed, cut, make_claims, parse_signed, sign_part
from catalog.submitted import Fate, read_journal
from cli.catalog_check import checked_run, metadata_options
from cli.catalog_progress import progress_of
from cli.claim import claimant
from cli.files import load_key, read_file, write_file
from cli.output import CliError, Exit, PathArgument, complain, json_option, print_json, print_table, printable, say
from cli.trust import epochs_option, find_rosters, genesis_option, require_genesis
from ledger.catalogue import CLAIMS_MAX
from ledger.member import key_id
from ledger.statement import CLIENT_REF_CHARACTERS_MAX
from node.keys import public_bytes, seed_bytes

REPORT_BYTES_MAX = 256 << 20
CHANGED_SHOWN = 10
"""Files named that changed since the scan."""


@click.command("sign")
@click.argument("folder", metavar="OUT", type=PathArgument)
@click.option("--key", "key_path", metavar="FILE", required=True, type=PathArgument, help="Your statement key (PEM).")
@genesis_option
@epochs_option
@click.option("--member", metavar="ID", help="Who claims. Default: the member the key belongs to.")
@metadata_options
@click.option(
    "--names",
    type=click.Choice([str(name) for name in Names]),
    default=str(Names.COMMITTED),
    show_default=True,
    help="People's names in the record: hidden by commitments, artists' open, all open.",
)
@click.option("--ref", metavar="TEXT", help="Start of each statement's reference. Default: made of the files' digests.")
@click.option(
    "--per-statement",
    type=click.IntRange(1, CLAIMS_MAX),
    default=CLAIMS_MAX,
    show_default=True,
    help="Claims in one statement at most.",
)
@click.option(
    "--music", "music", metavar="DIR", type=PathArgument, help="Warn of files under DIR changed since the scan."
)
@click.option("--replace", is_flag=True, help="Sign anew what was signed from other inputs.")
@json_option
def sign_command(
    *,
    folder: Path,
    key_path: Path,
    genesis_path: Path | None,
    epochs_path: Path | None,
    member: str | None,
    metadata: tuple[Path, ...],
    sheet: str | None,
    unlisted: str | None,
    names: str,
    ref: str | None,
    per_statement: int,
    music: Path | None,
    replace: bool,
    as_json: bool,
) -> int:
    """Sign the checked catalogue in OUT: statements of up to 16,384 claims each, ready to submit.

    Checks once more what the last check was given, and refuses (exit code 65) while errors stand. Writes
    OUT/001.stretto and so on; what opens the hidden names goes into 001.stretto.openings.json, for you alone. The same
    inputs give the same bytes, so signing and submitting twice records once; inputs that changed are named.

    \b
    Example:
      stretto catalog sign autumn/ --key keys/statement.pem --genesis genesis.json
      stretto catalog submit autumn/ --node 127.0.0.1:5101
    """
    genesis = require_genesis(genesis_path)
    roster = find_rosters(genesis, epochs_path)[-1]
    key = load_key(key_path)
    member = claimant(roster, public_bytes(key), member, key_path)
    if ref is not None and len(ref) > CLIENT_REF_CHARACTERS_MAX - 5:
        raise click.UsageError(f"--ref: expected at most {CLIENT_REF_CHARACTERS_MAX - 5} characters, got {len(ref)}")
    inputs = _inputs(folder, metadata, sheet, unlisted)
    run = checked_run(dataclasses.replace(inputs, names=Names(names)))
    if run.head["errors"]:
        count = run.head["errors"]
        message = (
            f"{count} error{'' if count == 1 else 's'} in the metadata: nothing was signed; see "
            f"{printable(folder / REPORT_CSV)}, mend them, and check again"
        )
        raise CliError(message, Exit.DATA, errors=str(count), report=str(folder / REPORT_CSV))
    if not run.head["to_claim"]:
        raise CliError(f"{folder}: no track to claim: nothing was written", Exit.NO_INPUT)
    if music is not None:
        _warn_of_changes(folder, music)
    now = _dependencies(run) | {
        "member": member,
        "key": key_id(public_bytes(key)).hex(),
        "consortium": roster.consortium.hex(),
        "names": names,
        "ref": ref,
        "per_statement": per_statement,
    }
    before = _before(folder)
    changed = before.changed_inputs(now) if before else []
    if before and changed and not replace:
        raise CliError(_changed(folder, before, changed), Exit.CANNOT_CREATE)
    claims = make_claims(run.checked, Terms(member=member, names=Names(names)), derived_salts(seed_bytes(key)))
    parts: list[Part] = []
    try:
        with progress_of("signing", run.head["to_claim"], "claims") as advance:
            for number, part_claims in enumerate(cut(claims, per_statement), 1):
                part, signed, openings = sign_part(
                    part_claims,
                    number,
                    roster=roster,
                    member=member,
                    public_key=public_bytes(key),
                    sign=key.sign,
                    ref=ref,
                )
                if changed and before:
                    _refuse_recorded(folder, before, part)
                parts.append(part)
                _write_drafts(folder, part, signed.submission.encode(), openings)
                advance(part.claims)
    except BaseException:
        # A later part that may not be signed must not leave half of another catalogue behind.
        for part in parts:
            for name in (part.openings, part.file):
                if name:
                    _draft(folder, name).unlink(missing_ok=True)
        raise
    # Openings first: a statement whose openings are lost names nobody any more.
    names_written = [part.openings for part in parts if part.openings] + [part.file for part in parts]
    for name in names_written:
        _settle(folder, name, replace=replace)
    _remove_left_over(folder, before, parts)
    write_file(folder / SIGNED_NAME, Signed(inputs=now, parts=tuple(parts)).encode(), replace=True)
    (_print_json if as_json else _print)(folder, parts, run, again=before is not None and not changed)
    return Exit.OK


def _inputs(folder: Path, metadata: tuple[Path, ...], sheet: str | None, unlisted: str | None) -> Inputs:
    """What was given, or what the last check was given."""
    if metadata:
        choice = Unlisted(unlisted) if unlisted else Unlisted.ERROR
        return Inputs(folder=folder, metadata=metadata, sheet=sheet, unlisted=choice)
    report = folder / REPORT_JSON
    if not report.is_file():
        message = f"{folder} was never checked: 'stretto catalog check {folder} --metadata FILE' first"
        raise CliError(message, Exit.NO_INPUT)
    try:
        last = inputs_of_report(folder, read_file(report, REPORT_BYTES_MAX, "the report"))
    except ValueError as error:
        raise CliError(f"{report} is no report of a check: check again", Exit.DATA) from error
    return Inputs(
        folder=folder,
        metadata=last.metadata,
        sheet=sheet or last.sheet,
        unlisted=Unlisted(unlisted) if unlisted else last.unlisted,
    )


def _dependencies(run: CheckRun) -> dict[str, Any]:
    """Of the report's head, what the claims depend on: where the metadata lies is not part of it."""
    return {name: run.head[name] for name in ("manifest_sha256", "metadata_sha256", "sheet", "unlisted")}


def _before(folder: Path) -> Signed | None:
    path = folder / SIGNED_NAME
    return parse_signed(read_file(path, SIGNED_BYTES_MAX, "the list of statements"), path) if path.exists() else None


_WORDS: Mapping[str, str] = {
    "manifest_sha256": "the manifest (the folder was scanned again)",
    "metadata_sha256": "the metadata",
    "key": "the key",
    "consortium": "the consortium",
    "names": "--names",
    "ref": "--ref",
    "per_statement": "--per-statement",
    "sheet": "--sheet",
    "unlisted": "--unlisted",
    "member": "the member",
}


def _changed(folder: Path, before: Signed, changed: list[str]) -> str:
    what = ", ".join(_WORDS.get(name, name) for name in changed)
    recorded = sum(sent.fate is not Fate.REFUSED for sent in read_journal(folder).values())
    sent = f"; {recorded} of its {len(before.parts)} statements were submitted" if recorded else ""
    return f"{folder} was signed from other inputs; changed: {what}{sent}. --replace signs anew"


def _refuse_recorded(folder: Path, before: Signed, part: Part) -> None:
    """Under a reference that is on record nothing new can be recorded: better said now than by every node."""
    journal = read_journal(folder)
    for old in before.parts:
        sent = journal.get(old.statement)
        if sent is None or sent.fate not in (Fate.FINAL, Fate.OTHER):
            continue
        if old.client_ref == part.client_ref and old.statement != part.statement:
            message = (
                f"another statement with the reference {part.client_ref} is on record as leaf {sent.index}: "
                "to say something new about the same files, give --ref TEXT"
            )
            raise CliError(message, Exit.REFUSED)


def _draft(folder: Path, name: str) -> Path:
    return folder / f".{name}.draft"


def _write_drafts(folder: Path, part: Part, submission: bytes, openings: bytes | None) -> None:
    if openings is not None and part.openings is not None:
        write_file(_draft(folder, part.openings), openings, mode=0o600, replace=True)
    write_file(_draft(folder, part.file), submission, replace=True)


def _settle(folder: Path, name: str, *, replace: bool) -> None:
    """Puts a draft in its place. Raises: CliError where something else is there."""
    path, draft = folder / name, _draft(folder, name)
    if path.exists() and not replace and path.read_bytes() != draft.read_bytes():
        message = f"{path} exists with other content: --replace, or move it away"
        raise CliError(message, Exit.CANNOT_CREATE)
    draft.replace(path)


def _remove_left_over(folder: Path, before: Signed | None, parts: list[Part]) -> None:
    """Statements of an earlier signing that this one has no more: `submit` never sends them, people might."""
    kept = {name for part in parts for name in (part.file, part.openings) if name}
    for part in before.parts if before else ():
        for name in (part.file, part.openings):
            if name and name not in kept:
                (folder / name).unlink(missing_ok=True)


def _warn_of_changes(folder: Path, music: Path) -> None:
    """Names files that are not as they were when they were scanned, by size and time: what is signed is the scan's."""
    scanned_ns = (folder / MANIFEST_NAME).stat().st_mtime_ns
    changed = []
    for record in Manifest.open(folder).records():
        path = music / record.path
        try:
            status = path.stat()
        except OSError:
            changed.append(f"{path}: no longer there")
            continue
        if status.st_size != record.size_bytes or status.st_mtime_ns > scanned_ns:
            changed.append(f"{path}: changed since the scan")
    for line in changed[:CHANGED_SHOWN]:
        complain(f"{line}; what is signed is what was scanned")
    if len(changed) > CHANGED_SHOWN:
        complain(f"… and {len(changed) - CHANGED_SHOWN} more files: scan again?")


def _print_json(folder: Path, parts: list[Part], run: CheckRun, *, again: bool) -> None:
    print_json(
        {
            "ok": True,
            "folder": str(folder),
            "unchanged": again,
            "claims": run.head["to_claim"],
            "warnings": run.head["warnings"],
            "statements": [dataclasses.asdict(part) for part in parts],
        }
    )


def _print(folder: Path, parts: list[Part], run: CheckRun, *, again: bool) -> None:
    rows = [(part.file, part.claims, part.client_ref, part.statement[:16], part.first) for part in parts]
    print_table(("statement", "claims", "reference", "digest", "first track"), rows)
    state = "the same bytes as before" if again else "signed"
    say(f"{state}: {run.head['to_claim']} claims in {len(parts)} statements, {run.head['warnings']} warnings")
    if any(part.openings for part in parts):
        say("openings   beside each statement (keep them; they are never submitted)")
    say(f"next       stretto catalog submit {printable(folder)} --node HOST:PORT")
