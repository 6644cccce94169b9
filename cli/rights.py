"""`stretto rights`: what members say about a claim on record, signed here; and where the claim's rights stand."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.output import (
    CliError,
    Exit,
    PathArgument,
    deadline_option,
    json_option,
    node_option,
    print_json,
    print_table,
    printable,
    say,
)
from cli.rights_act import Act, act_options, claim_argument, digest_of, position_option, rights_of, sign_and_send

if TYPE_CHECKING:
    from consensus.types import Digest
    from ledger.claim import Claim
    from node.rpc.claim_rights import RecordedRights


@click.group("rights")
def rights_group() -> None:
    """Dispute a claim, answer, transfer, withdraw or replace it; order as a court; see where it stands.

    CLAIM is the SHA-256 of the statement with the claim, or its .stretto file; --position says which claim of a
    catalogue. Each of these is a statement, signed with your statement key. It is sent to --node and waited for; with
    --out it is only written, for 'stretto submit'.

    \b
    Example:
      stretto rights show 5f3c… --position 3 --json
      stretto rights dispute autumn.stretto --grounds "Our recording of 2019." --key statement.pem --genesis G
      stretto rights order stay 5f3c… --reference "HCA 12/2026" --until 2027-01-31T00:00:00Z --key court.pem --genesis G
    """


_dispute_option = click.option("--dispute", metavar="HEX|FILE", required=True, help="The DISPUTE's statement.")


# ---- what members say ------------------------------------------------------------------------------------------------


@rights_group.command("dispute")
@click.option("--grounds", metavar="TEXT", required=True, help="Why; on record for everybody.")
@act_options(head=False)
def dispute_command(*, grounds: str, act: Act) -> int:
    """Dispute a claim that is not yours: until you drop it, the holder concedes, or a court orders.

    By a label, a society or a court. Nothing is minted against a disputed claim, and its tokens show the dispute.

    \b
    Example:
      stretto rights dispute 5f3c… --position 3 --grounds "Our recording of 2019." --key statement.pem --genesis G
    """
    from ledger.rights_content import Dispute

    return sign_and_send(
        act, lambda claim, _: Dispute(claim=claim, position=act.position, grounds=grounds), needs_head=False
    )


@rights_group.command("respond")
@_dispute_option
@click.option("--text", metavar="TEXT", required=True, help="Your answer; on record for everybody.")
@act_options()
def respond_command(*, dispute: str, text: str, act: Act) -> int:
    """Answer a dispute of your claim, once. The claim stays disputed.

    \b
    Example:
      stretto rights respond 5f3c… --dispute 77aa… --text "Licensed on 2020-03-01." --key statement.pem --genesis G
    """
    from ledger.rights_content import Respond

    disputed = digest_of(dispute, "--dispute")
    return sign_and_send(
        act, lambda claim, head: Respond(claim=claim, position=act.position, head=head, dispute=disputed, text=text)
    )


@rights_group.command("resolve")
@_dispute_option
@click.option(
    "--outcome",
    type=click.Choice(["dropped", "conceded"]),
    required=True,
    help="dropped: by who disputes, ends that dispute; conceded: by the holder, revokes the claim.",
)
@act_options()
def resolve_command(*, dispute: str, outcome: str, act: Act) -> int:
    """End a dispute: drop your own, or concede one of your claim, which revokes it.

    \b
    Example:
      stretto rights resolve 5f3c… --dispute 77aa… --outcome dropped --key statement.pem --genesis G
    """
    from ledger.rights_content import DisputeOutcome, Resolve

    disputed, ends = digest_of(dispute, "--dispute"), DisputeOutcome(outcome)
    return sign_and_send(
        act, lambda claim, head: Resolve(claim=claim, position=act.position, head=head, dispute=disputed, outcome=ends)
    )


@rights_group.command("withdraw")
@click.option("--reason", metavar="TEXT", required=True, help="Why; on record for everybody.")
@act_options()
def withdraw_command(*, reason: str, act: Act) -> int:
    """Take your claim back. It is revoked, and so are its mints; only a court can reinstate it.

    \b
    Example:
      stretto rights withdraw autumn.stretto --reason "Sent by mistake." --key statement.pem --genesis G
    """
    from ledger.rights_content import Withdraw

    return sign_and_send(
        act, lambda claim, head: Withdraw(claim=claim, position=act.position, head=head, reason=reason)
    )


@rights_group.command("transfer")
@click.option("--to", metavar="MEMBER", required=True, help="Id of a label or society.")
@act_options()
def transfer_command(*, to: str, act: Act) -> int:
    """Make another member the holder of your claim. Not while it is disputed or revoked.

    \b
    Example:
      stretto rights transfer 5f3c… --to indie --key statement.pem --genesis G
    """
    from ledger.rights_content import Transfer

    return sign_and_send(act, lambda claim, head: Transfer(claim=claim, position=act.position, head=head, to=to))


@rights_group.command("supersede")
@click.option(
    "--replacement", "with_path", metavar="FILE.stretto", required=True, type=PathArgument,
    help="The new claim, from 'stretto claim' of one file; it is not sent by itself.",
)  # fmt: skip
@click.option(
    "--mints",
    type=click.Choice(["keep", "revoke"]),
    required=True,
    help="keep: its mints belong to the new claim from then on; revoke: they are revoked.",
)
@act_options()
def supersede_command(*, with_path: Path, mints: str, act: Act) -> int:
    """Put a corrected claim in the place of yours. Not while it is disputed or revoked.

    \b
    Example:
      stretto claim song.flac --key statement.pem --genesis G --out corrected.stretto
      stretto rights supersede 5f3c… --replacement corrected.stretto --mints keep --key statement.pem --genesis G
    """
    from ledger.rights_content import MintsFate, Supersede

    replacement, fate = _claim_of(with_path), MintsFate(mints)
    return sign_and_send(
        act,
        lambda claim, head: Supersede(
            claim=claim, position=act.position, head=head, replacement=replacement, mints=fate
        ),
    )


@rights_group.command("order")
@click.argument("order", metavar="ORDER", type=click.Choice(["stay", "lift", "revoke", "reinstate", "assign"]))
@click.option("--reference", metavar="TEXT", required=True, help="By which people find the order: court, case, date.")
@click.option(
    "--until", metavar="TIME", help="stay: when it lapses, such as 2027-01-31T00:00:00Z. Default: when lifted."
)
@click.option("--to", metavar="MEMBER", help="assign: id of the new holder.")
@act_options()
def order_command(*, order: str, reference: str, until: str | None, to: str | None, act: Act) -> int:
    """Order as a court: stay, lift, revoke, reinstate or assign. In any state of the claim.

    \b
      stay       disputed until lifted, or until --until
      lift       the stay ends
      revoke     the claim and its mints are revoked
      reinstate  active again; open disputes are closed
      assign     --to becomes the holder

    \b
    Example:
      stretto rights order stay 5f3c… --reference "HCA 12/2026" --until 2027-01-31T00:00:00Z --key court.pem --genesis G
    """
    from ledger.rights_content import CourtAction, CourtOrder

    action = CourtAction(order)
    until_ms = 0 if until is None else _milliseconds(until)
    if action is CourtAction.ASSIGN and to is None:
        raise click.UsageError("assign needs --to MEMBER, the new holder")
    return sign_and_send(
        act,
        lambda claim, head: CourtOrder(
            claim=claim, position=act.position, head=head, order=action, reference=reference, until_ms=until_ms, to=to
        ),
    )


def _claim_of(path: Path) -> Claim:
    """The claim in a .stretto file. Raises: CliError."""
    from catalog.submission import SUBMISSION_BYTES_MAX, parse_submission
    from cli.files import read_file
    from ledger.statement import StatementKind, parse_statement

    statement = parse_statement(
        parse_submission(read_file(path, SUBMISSION_BYTES_MAX, "--replacement")).statement
    )  # fmt: skip
    if statement.kind is not StatementKind.CLAIM or statement.own_claim is None:
        raise CliError(f"{path} holds a {statement.kind}: a replacement is one CLAIM, of one file", Exit.DATA)
    return statement.own_claim


def _milliseconds(given: str) -> int:
    """Unix time of an instant with its zone, in the future. Raises: UsageError."""
    try:
        instant = datetime.fromisoformat(given)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise click.UsageError(f"--until: expected a time with its zone, such as 2027-01-31T00:00:00Z, got {given!r}")
    if instant <= datetime.now(UTC):
        raise click.UsageError(f"--until: {given} has passed: the stay would lapse at once")
    return round(instant.timestamp() * 1000)


# ---- where it stands -------------------------------------------------------------------------------------------------


@rights_group.command("show")
@claim_argument
@position_option
@node_option
@deadline_option(30)
@json_option
def show_command(*, claim: str, position: int, node: str, deadline_s: float, as_json: bool) -> int:
    """Where a claim's rights stand, by a node's word: state, holder, head, open disputes, stay, mints.

    A claim that is not on record ends with exit code 1.

    \b
    Example:
      stretto rights show 5f3c… --position 3 --json
    """
    digest = digest_of(claim, "CLAIM")
    rights = rights_of(node, digest, position, deadline_s)
    if as_json:
        print_json({"ok": True, "claim": digest.hex(), "position": position} | _as_json(rights))
    else:
        _print(digest, position, rights)
    return Exit.OK


def _as_json(rights: RecordedRights) -> dict[str, Any]:
    return {
        "state": rights.state.name.lower(),
        "holder": rights.holder,
        "head": rights.head.hex(),
        "disputes": [
            {"statement": dispute.statement.hex(), "disputant": dispute.disputant, "responded": dispute.responded}
            for dispute in rights.disputes
        ],
        "stay": rights.stay.hex() if rights.stay else None,
        "stay_until_ms": rights.stay_until_ms or None,
        "superseded_by": rights.superseded_by.hex() if rights.superseded_by else None,
        "mints": [
            {
                "entry": mint.entry.hex(), "index": mint.index, "edition": mint.edition,
                "state": mint.state.name.lower(), "status_seq": mint.status_seq,
                "status_index": mint.status_index if mint.status_seq else None,
            }
            for mint in rights.mints
        ],
        "as_of": {
            "size": rights.as_of.size,
            "height": rights.as_of.height,
            "block_time_ms": rights.as_of.block_time_ms,
        },
    }  # fmt: skip


def _print(claim: Digest, position: int, rights: RecordedRights) -> None:
    from cli.submit import block_time

    say(f"claim      {claim.hex()}{f' at {position}' if position else ''}")
    say(f"state      {rights.state.name}")
    say(f"holder     {printable(rights.holder)}")
    say(f"head       {rights.head.hex()}")
    if rights.stay:
        until = block_time(rights.stay_until_ms) if rights.stay_until_ms else "it is lifted"
        say(f"stayed     until {until}, by order {rights.stay.hex()}")
    if rights.superseded_by:
        say(f"replaced   by {rights.superseded_by.hex()}")
    if rights.disputes:
        rows = [(one.disputant, "yes" if one.responded else "no", one.statement.hex()) for one in rights.disputes]
        print_table(("disputed by", "answered", "dispute"), rows)
    if rights.mints:
        print_table(
            ("edition", "state", "seq", "leaf", "token"),
            [
                (mint.edition, mint.state.name.lower(), mint.status_seq, mint.index, mint.entry.hex())
                for mint in rights.mints
            ],
        )
    as_of = rights.as_of
    say(f"{len(rights.disputes)} open disputes, {len(rights.mints)} mints as of {as_of.size} leaves, height"
        f" {as_of.height}, {block_time(as_of.block_time_ms)}")  # fmt: skip
