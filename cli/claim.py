"""`stretto claim`: audio files and their tags become one signed statement, ready to submit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalog.claims import Names, Terms, TrackClaim, derived_salts, random_salts
from catalog.gather import Gathered, gather
from catalog.scan import LeftOut, scan
from catalog.statements import SignedClaims, check_claimant, encode_openings, sign_claims
from catalog.submission import SUBMISSION_BYTES_MAX, MalformedSubmission, parse_submission
from cli.files import load_key, read_file, write_file
from cli.output import CliError, Exit, PathArgument, complain, json_option, print_json, print_table, printable, say
from cli.trust import epochs_option, find_rosters, genesis_option, require_genesis
from consensus.types import PublicKey
from ledger.claim import AiDisclosure, ContainsAI, Licence, MalformedClaim, TrainingUse
from ledger.errors import RoleForbids
from ledger.member import key_id
from ledger.roster import Roster
from node.keys import public_bytes, seed_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS_MAX = 30
"""Tracks shown in the table; --json lists all."""


@click.command("claim")
@click.argument("paths", metavar="PATH…", nargs=-1, required=True, type=PathArgument)
@click.option("--key", "key_path", metavar="FILE", required=True, type=PathArgument, help="Your statement key (PEM).")
@genesis_option
@epochs_option
@click.option("--member", metavar="ID", help="Who claims. Default: the member the key belongs to.")
@click.option("--out", "out_path", metavar="FILE", required=True, type=PathArgument, help="Written: X.stretto.")
@click.option("--replace", is_flag=True, help="Overwrite FILE and its openings.")
@click.option("--catalogue", "as_catalogue", is_flag=True, help="A catalogue even for a single file.")
@click.option("--ref", "client_ref", metavar="TEXT", help="Your own reference. Default: made of the files' digests.")
@click.option(
    "--names",
    type=click.Choice([str(name) for name in Names]),
    default=str(Names.COMMITTED),
    show_default=True,
    help="People's names in the record: hidden by commitments, artists' open, all open.",
)
@click.option("--fresh-salts", is_flag=True, help="Random salts: erasable for good, but every run differs.")
@click.option(
    "--ai",
    type=click.Choice(["all", "partly", "none"], case_sensitive=False),
    help="Generative AI in the recordings. Default: undeclared.",
)
@click.option(
    "--training-use",
    type=click.Choice(["allowed", "reserved"], case_sensitive=False),
    help="Use for training generative AI. Default: unstated.",
)
@click.option("--licence", metavar="SPDX", help="Licence of the recordings, such as CC-BY-4.0.")
@click.option("--declared-created-at", "created", metavar="YYYY-MM-DD", help="Date of creation you declare.")
@click.option("--threads", type=click.IntRange(1, 256), help="Files read at once. Default: the processors available.")
@json_option
def claim_command(
    *,
    paths: tuple[Path, ...],
    key_path: Path,
    genesis_path: Path | None,
    epochs_path: Path | None,
    member: str | None,
    out_path: Path,
    replace: bool,
    as_catalogue: bool,
    client_ref: str | None,
    names: str,
    fresh_salts: bool,
    ai: str | None,
    training_use: str | None,
    licence: str | None,
    created: str | None,
    threads: int | None,
    as_json: bool,
) -> int:
    """Make one signed statement from the audio under PATH…

    One file makes a claim, several make one catalogue: one signature, every track provable alone. Tags give title,
    names, label and ISRC. People's names are hidden by salted commitments; what opens them is written beside FILE as
    FILE.openings.json, for you alone. Files that are empty, truncated, damaged or no audio are named and left out
    (exit code 3). The same files give the same statement, so claiming twice records once.

    \b
    Example:
      stretto claim music/ --key keys/statement.pem --genesis genesis.json --member label --out autumn.stretto
      stretto submit autumn.stretto --wait
    """
    roster = find_rosters(require_genesis(genesis_path), epochs_path)[-1]
    key = load_key(key_path)
    member = claimant(roster, public_bytes(key), member, key_path)
    _check_out(out_path)
    try:
        terms = Terms(
            member=member,
            names=Names(names),
            ai=AiDisclosure(contains=ContainsAI(ai.capitalize())) if ai else None,
            training_use=TrainingUse(training_use.capitalize()) if training_use else TrainingUse.UNSTATED,
            licence=Licence(spdx=licence) if licence else None,
            created=created,
        )
    except MalformedClaim as error:
        raise click.UsageError(f"{error.field}: expected {error.expected}, got {error.value}") from error
    salts = random_salts if fresh_salts else derived_salts(seed_bytes(key))
    own = {out_path.resolve(), _openings_path(out_path).resolve()}
    # What an earlier run wrote into the folder it claims is no failed recording.
    found = [item for item in scan(paths) if isinstance(item, LeftOut) or item.resolve() not in own]
    with _progress(len(found)) as done:
        gathered = gather(found, terms, salts, threads=threads, done=done)
    for path, note in gathered.notes:
        complain(f"{path}: {note}")
    if not gathered.claims:
        raise CliError("no audio to claim: nothing was written", Exit.NO_INPUT)
    signed = sign_claims(
        gathered.claims,
        roster=roster,
        member=member,
        public_key=public_bytes(key),
        sign=key.sign,
        client_ref=client_ref,
        as_catalogue=as_catalogue,
    )
    openings_path = _write(signed, out_path, replace=replace)
    (_print_json if as_json else _print)(signed, out_path, openings_path, gathered)
    return Exit.LEFT_OUT if gathered.left_out else Exit.OK


def claimant(roster: Roster, public_key: PublicKey, member: str | None, key_path: Path) -> str:
    """Who signs, checked before any file is read: a wrong key should not cost an hour of hashing."""
    owner = roster.member_by_statement_key_id(key_id(public_key))
    if owner is None:
        message = (
            f"{key_path} is no member's statement key in epoch {roster.epoch} of {roster.origin}; "
            "of a later one? then name --epochs FILE ('stretto epochs export')"
        )
        raise CliError(message, Exit.FORBIDDEN)
    if member is not None and member != owner.id:
        raise CliError(f"{key_path} is the statement key of {owner.id}, not of {member}", Exit.FORBIDDEN)
    try:
        check_claimant(roster, owner.id, public_key, as_catalogue=False)
    except RoleForbids as error:
        raise CliError(f"{owner.id} is a {owner.role}: claims are made by {error.expected}", Exit.FORBIDDEN) from error
    return owner.id


def _check_out(path: Path) -> None:
    """A slip of the hand must not write a statement over a master recording, not even with --replace."""
    if path.exists() and not path.is_file():
        raise CliError(f"--out {path} is not a file", Exit.CANNOT_CREATE)
    if path.exists():
        try:
            parse_submission(read_file(path, SUBMISSION_BYTES_MAX, "--out"))
        except (MalformedSubmission, CliError) as error:
            message = f"--out {path} exists and is not a statement of Stretto's: choose another name"
            raise CliError(message, Exit.CANNOT_CREATE) from error


def _write(signed: SignedClaims, path: Path, *, replace: bool) -> Path | None:
    """The statement, and first its openings: a statement whose openings are lost names nobody any more."""
    openings = _openings_path(path)
    if not any(claim.openings for claim in signed.claims):
        write_file(path, signed.submission.encode(), replace=replace)
        return None
    write_file(openings, encode_openings(signed), mode=0o600, replace=replace)
    write_file(path, signed.submission.encode(), replace=replace)
    return openings


def _openings_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.openings.json")


def _print_json(
    signed: SignedClaims,
    path: Path,
    openings_path: Path | None,
    gathered: Gathered,
) -> None:
    print_json(
        {
            "ok": True,
            "file": str(path),
            "openings": str(openings_path) if openings_path else None,
            "statement": signed.statement.digest.hex(),
            "kind": str(signed.statement.kind),
            "issuer": signed.statement.issuer,
            "client_ref": signed.statement.client_ref,
            "claims": [_track_json(position, claim) for position, claim in enumerate(signed.claims)],
            "left_out": [{"path": str(one.path), "reason": one.reason} for one in gathered.left_out],
            "warnings": [{"path": str(where), "warning": note} for where, note in gathered.notes],
        }
    )


def _track_json(position: int, built: TrackClaim) -> dict[str, Any]:
    media = built.claim.media[0]
    return {
        "position": position,
        "path": str(built.path),
        "title": built.claim.title,
        "isrc": built.claim.isrc,
        "duration_ms": built.claim.duration_ms,
        "bytes": media.size,
        "blake3": media.blake3.hex(),
        "sha256": media.sha256.hex(),
    }


def _print(
    signed: SignedClaims,
    path: Path,
    openings_path: Path | None,
    gathered: Gathered,
) -> None:
    rows = [
        (position, built.claim.title, built.claim.isrc or "", _clock(built.claim.duration_ms), built.path)
        for position, built in enumerate(signed.claims[:ROWS_MAX])
    ]
    print_table(("#", "title", "ISRC", "length", "file"), rows)
    if len(signed.claims) > ROWS_MAX:
        say(f"… and {len(signed.claims) - ROWS_MAX} more (--json lists all)")
    statement = signed.statement
    say(f"{statement.kind} of {len(signed.claims)} by {statement.issuer}, ref {statement.client_ref}")
    say(f"statement  {statement.digest.hex()}")
    say(f"written    {printable(path)}")
    if openings_path:
        say(f"openings   {printable(openings_path)}  (keep it; it is never submitted)")
    if gathered.left_out or gathered.notes:
        say(f"{len(gathered.left_out)} left out, {len(gathered.notes)} warnings (see stderr)")


def _clock(duration_ms: int | None) -> str:
    if duration_ms is None:
        return ""
    minutes, seconds = divmod(round(duration_ms / 1000), 60)
    return f"{minutes}:{seconds:02}"


@contextmanager
def _progress(total: int) -> Iterator[Callable[[LeftOut | None], None]]:
    """Names what is left out on stderr as it happens; on a terminal also how far the work is."""

    def name(problem: LeftOut | None) -> None:
        if problem is not None:
            complain(f"{problem.path}: {problem.reason}; left out")

    if not sys.stderr.isatty():
        yield name
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=total)

        def done(problem: LeftOut | None) -> None:
            name(problem)
            progress.advance(task)

        yield done
