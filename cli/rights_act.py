"""Signing a statement about a claim's rights, and writing or sending it: what all of `stretto rights` share."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.gathered import gathered
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
from cli.trust import EPOCHS_VARIABLE, epochs_option, find_rosters, genesis_option, require_genesis
from consensus.types import Digest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from ledger.member import Member
    from ledger.rights_content import RightsChange, RightsContent
    from ledger.roster import Roster
    from ledger.statement import Statement
    from node.rpc.claim_rights import RecordedRights

REFERENCE_DIGITS = 16
"""Of a content's SHA-256, in client references made here."""
POSITION_MAX = 16_383
_HEX = re.compile(r"[0-9a-fA-F]{64}")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Options that every statement about rights has."""

    claim: str
    position: int
    head: str | None
    key_path: Path
    genesis_path: Path | None
    epochs_path: Path | None
    client_ref: str | None
    out_path: Path | None
    replace: bool
    node: str
    deadline_s: float
    as_json: bool


def act_options(*, head: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds them and hands them over as `act`. head: whether the statement names one."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def gather(options: dict[str, Any]) -> dict[str, Any]:
            given = {"head": None} | {name: options.pop(name) for name in Act.__dataclass_fields__ if name in options}
            return {"act": Act(**given)}

        command = gathered(function, gather)
        options: list[Callable[[Callable[..., int]], Callable[..., int]]] = [
            json_option,
            deadline_option(30),
            node_option,
            epochs_option,
            genesis_option,
            click.option("--replace", is_flag=True, help="Overwrite FILE."),
            click.option("--out", "out_path", metavar="FILE", type=PathArgument, help="Write X.stretto, send nothing."),
            click.option(
                "--ref", "client_ref", metavar="TEXT", help="Your own reference. Default: made of what is said."
            ),
            click.option(
                "--key", "key_path", metavar="FILE", required=True, type=PathArgument, help="Your statement key (PEM)."
            ),
        ]
        if head:
            what = "Statement that changed the claim last, as you saw it. Default: asked of the node."
            options.append(click.option("--head", metavar="HEX", help=what))
        for add in options:
            command = add(command)
        return claim_argument(position_option(command))

    return decorate


def claim_argument(function: Callable[..., _T]) -> Callable[..., _T]:
    """CLAIM."""
    return click.argument("claim", metavar="CLAIM")(function)


def position_option(function: Callable[..., _T]) -> Callable[..., _T]:
    """--position N."""
    return click.option(
        "--position", type=click.IntRange(0, POSITION_MAX), default=0, show_default=True, help="In a catalogue."
    )(function)


def digest_of(given: str, what: str) -> Digest:
    """Of a statement named by its SHA-256 or its file. what: names it in errors. Raises: CliError."""
    from cli.digest import statement_digest

    return Digest(statement_digest(given, what))


def rights_of(node: str, claim: Digest, position: int, deadline_s: float) -> RecordedRights:
    """As the node at HOST:PORT says. Raises: CliError."""
    from cli.connect import connected

    try:
        with connected(node, deadline_s) as client:
            return client.rights(claim, position)
    except ValueError as error:
        raise CliError(f"{node} answers with rights that are none: {error}", Exit.DATA) from error


# ---- signing and sending ---------------------------------------------------------------------------------------------


def sign_and_send(act: Act, make: Callable[[Digest, Digest], RightsChange], *, needs_head: bool = True) -> int:
    """Signs what `make` makes of the claim and its head; writes it, or sends it and waits until it is final.

    Raises: CliError, UsageError, and what the ledger refuses.
    """
    until = time.monotonic() + act.deadline_s
    claim = digest_of(act.claim, "CLAIM")
    if act.head is not None and not _HEX.fullmatch(act.head):
        raise click.UsageError(f"--head: expected a SHA-256 as 64 hexadecimal digits, got {act.head!r}")
    offline = act.out_path is not None and (act.head is not None or not needs_head)
    roster = roster_for(act, offline=offline, deadline_s=act.deadline_s)
    key, member = signer_in(act, roster)
    head = Digest(b"")
    if needs_head:
        head = _head_of(act, claim, until) if act.head is None else Digest(bytes.fromhex(act.head))
    content = _made(make, claim, head)
    statement = signed(content, act, roster, key, member)
    about = {
        "statement": statement.digest.hex(), "kind": content.kind, "issuer": member.id, "claim": claim.hex(),
        "position": act.position, "head": head.hex() or None, "client_ref": statement.client_ref,
    }  # fmt: skip
    if act.out_path is not None:
        return _write(act, act.out_path, statement, content, about)
    return _send(act, statement, content, about, until)


def _made(make: Callable[[Digest, Digest], RightsChange], claim: Digest, head: Digest) -> RightsChange:
    from ledger.errors import MalformedRights

    try:
        return make(claim, head)
    except MalformedRights as error:
        option = {"until_ms": "until"}.get(error.field, error.field)
        raise click.UsageError(f"--{option}: expected {error.expected}, got {error.value or 'nothing'}") from error


def roster_for(act: Act, *, offline: bool, deadline_s: float) -> Roster:
    """Of the newest epoch known: from the file of epochs, else proven by a node, else the genesis'.

    Raises: CliError.
    """
    import os

    genesis = require_genesis(act.genesis_path)
    if offline or act.epochs_path is not None or os.environ.get(EPOCHS_VARIABLE):
        return find_rosters(genesis, act.epochs_path)[-1]
    from cli.epochs import fetch_epochs

    return fetch_epochs(genesis, act.node, deadline_s)[1][-1]


def signer_in(act: Act, roster: Roster) -> tuple[Ed25519PrivateKey, Member]:
    """The statement key and whose it is. Raises: CliError."""
    from cli.files import load_key
    from ledger.member import key_id
    from node.keys import public_bytes

    key = load_key(act.key_path)
    member = roster.member_by_statement_key_id(key_id(public_bytes(key)))
    if member is None:
        message = (
            f"{act.key_path} is no member's statement key in epoch {roster.epoch} of {roster.origin}; "
            "of a later one? then name --epochs FILE ('stretto epochs export')"
        )
        raise CliError(message, Exit.FORBIDDEN)
    return key, member


def signed(content: RightsContent, act: Act, roster: Roster, key: Ed25519PrivateKey, member: Member) -> Statement:
    """A statement that the node will not refuse for its form or its issuer's role. Raises: CliError."""
    import hashlib

    from ledger.errors import RoleForbids
    from ledger.statement import check_statement, parse_statement, sign_statement
    from node.keys import public_bytes

    made_of = hashlib.sha256(content.encode()).hexdigest()[:REFERENCE_DIGITS]
    data = sign_statement(
        content,
        client_ref=act.client_ref or f"{content.kind.lower()}-{made_of}",
        issuer=member.id,
        public_key=public_bytes(key),
        consortium=roster.consortium,
        sign=key.sign,
    )
    statement = parse_statement(data)
    try:
        check_statement(statement, roster)
    except RoleForbids as error:
        raise CliError(f"{member.id} is a {member.role}: expected {error.expected}", Exit.FORBIDDEN) from error
    return statement


def _head_of(act: Act, claim: Digest, until: float) -> Digest:
    return rights_of(act.node, claim, act.position, max(until - time.monotonic(), 0.001)).head


def _write(act: Act, path: Path, statement: Statement, content: RightsChange, about: dict[str, Any]) -> int:
    from catalog.submission import Submission
    from cli.files import write_file

    write_file(path, Submission(statement=statement.raw).encode(), replace=act.replace)
    if act.as_json:
        print_json({"ok": True, "file": str(path)} | about)
    else:
        say(f"{statement.issuer} signs, to {printable(content.describe())}")
        say(f"statement  {statement.digest.hex()}")
        say(f"written    {printable(path)}")
        say(f"send it    stretto submit {printable(path)}")
    return Exit.OK


def _send(act: Act, statement: Statement, content: RightsChange, about: dict[str, Any], until: float) -> int:
    from catalog.submission import Submission
    from cli.submit import print_result, result_json, send

    remaining_s = max(until - time.monotonic(), 0.001)
    name = f"the {content.kind}"
    result, took_ms = send(Submission(statement=statement.raw), act.node, remaining_s, wait=True, name=name)
    if act.as_json:
        print_json(result_json(result, took_ms) | about)
    else:
        say(f"{statement.issuer} signs, to {printable(content.describe())}")
        print_result(result, took_ms)
    return Exit.OK
