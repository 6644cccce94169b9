"""`stretto govern`: votes on members, keys and parameters; each is a statement, signed here and submitted as any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    print_table,
    printable,
    say,
)
from cli.trust import EPOCHS_VARIABLE, epochs_option, find_rosters, genesis_option, require_genesis

if TYPE_CHECKING:
    from consensus.types import Epoch
    from ledger.governance import Change
    from ledger.roster import Roster

PROPOSAL_DIGITS = 16
"""Of the SHA-256 that names a proposal, in client references and tables."""
_ROLES = ("label", "court", "society", "platform")
_PURPOSES = ("consensus", "log", "cosign", "export", "peer", "statement", "chain")
_TIMES = ("delta_ms", "delta_factor_max", "block_interval_ms", "precision_ms", "heartbeat_ms")


@click.group("govern")
def govern_group() -> None:
    """Vote on members, keys and parameters; see what is voted on.

    Whoever has a seat in the committee votes by signing the same change as the others. With a quorum of votes it
    passes, and the next epoch begins with it. A vote is a statement: it is sent with 'stretto submit'.

    \b
    Example:
      stretto govern member-record --id indie --name "Indie" --role label --keys keys/ --out indie.json
      stretto govern admit indie.json --key keys/statement.pem --genesis genesis.json --out vote.stretto
      stretto submit vote.stretto
      stretto govern list --json
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class _Vote:
    """Options that every vote has."""

    key_path: Path
    genesis_path: Path | None
    epochs_path: Path | None
    epoch: int | None
    node: str
    deadline_s: float
    out_path: Path
    replace: bool
    as_json: bool


def _vote_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds them and hands them over as `vote`."""
    names = tuple(_Vote.__dataclass_fields__)

    def gather(options: dict[str, Any]) -> dict[str, Any]:
        return {"vote": _Vote(**{name: options.pop(name) for name in names})}

    command = gathered(function, gather)
    for decorate in (
        json_option,
        deadline_option(30),
        node_option,
        click.option("--epoch", type=click.IntRange(min=0), help="In which it counts. Default: the current one."),
        epochs_option,
        genesis_option,
        click.option("--replace", is_flag=True, help="Overwrite FILE."),
        click.option("--out", "out_path", metavar="FILE", required=True, type=PathArgument, help="Written: X.stretto."),
        click.option(
            "--key", "key_path", metavar="FILE", required=True, type=PathArgument, help="Your statement key (PEM)."
        ),
    ):
        command = decorate(command)
    return command


@govern_group.command("admit")
@click.argument("record_path", metavar="MEMBER.json", type=PathArgument)
@click.option("--seat/--no-seat", default=True, show_default=True, help="Whether its node is to validate.")
@_vote_options
def admit_command(*, record_path: Path, seat: bool, vote: _Vote) -> int:
    """Vote to admit the institution whose record MEMBER.json is, or to give a member the seat it lacks.

    Make sure, in person or by telephone, that the record is that institution's: your vote vouches for its keys.

    \b
    Example:
      stretto govern admit indie.json --key statement.pem --genesis genesis.json --out vote.stretto
    """
    from cli.files import read_file
    from ledger.governance import Admit
    from ledger.member_record import MEMBER_RECORD_BYTES_MAX, parse_member_record

    member = parse_member_record(read_file(record_path, MEMBER_RECORD_BYTES_MAX, "the member record"), validator=seat)
    return _cast(vote, lambda epoch, _: Admit(epoch=epoch, member=member))


@govern_group.command("remove")
@click.argument("member_id", metavar="MEMBER")
@click.option(
    "--from",
    "scope",
    type=click.Choice(["consortium", "committee"]),
    required=True,
    help="consortium: no member any more; committee: without a seat, still a member.",
)
@_vote_options
def remove_command(*, member_id: str, scope: str, vote: _Vote) -> int:
    """Vote to remove MEMBER from the consortium, or from its committee.

    \b
    Example:
      stretto govern remove indie --from committee --key statement.pem --genesis genesis.json --out vote.stretto
    """
    from ledger.governance import Remove, Scope

    return _cast(vote, lambda epoch, _: Remove(epoch=epoch, member_id=member_id, scope=Scope(scope)))


@govern_group.command("rotate-key")
@click.argument("member_id", metavar="MEMBER")
@click.option("--purpose", type=click.Choice(_PURPOSES), required=True, help="Which of its keys.")
@click.option("--new-key", metavar="HEX", required=True, help="The new public key, as 'stretto key show' prints it.")
@click.option(
    "--proof", metavar="HEX", help="Of a chain key: that MEMBER has it ('stretto key show FILE --prove MEMBER')."
)
@_vote_options
def rotate_key_command(*, member_id: str, purpose: str, new_key: str, proof: str | None, vote: _Vote) -> int:
    """Vote to replace one of MEMBER's keys. The old one counts until the epoch ends.

    The member's node needs the new private key as keys/PURPOSE.next.pem before the last vote.

    \b
    Example:
      stretto key new keys/consensus.next.pem
      stretto govern rotate-key court --purpose consensus --new-key HEX --key statement.pem --genesis genesis.json \\
          --out vote.stretto
    """
    from ledger.errors import MalformedGovernance
    from ledger.governance import RotateKey
    from ledger.member import CHAIN, ReadKeys

    if (purpose == CHAIN) != (proof is not None):
        raise click.UsageError("--proof goes with --purpose chain, and with no other purpose")
    read = ReadKeys(MalformedGovernance, hexadecimal=True)
    shown = b""
    try:
        if proof is None:
            key = read.key(new_key.lower(), "--new-key")
        else:
            key = read.chain_key(new_key.lower(), "--new-key")
            shown = read.chain_proof(proof.lower(), "--proof", key=key, member_id=member_id)
    except MalformedGovernance as error:
        raise click.UsageError(f"{error.field}: expected {error.expected}, got {error.value}") from error
    return _cast(
        vote, lambda epoch, _: RotateKey(epoch=epoch, member_id=member_id, purpose=purpose, key=key, proof=shown)
    )


def _parameter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for name in reversed(_TIMES):
        option = f"--{name.replace('_', '-')}"
        function = click.option(option, name, type=int, help="Default: as it is.")(function)
    return function


@govern_group.command("set-policy")
@_parameter_options
@_vote_options
def set_policy_command(*, vote: _Vote, **given: int | None) -> int:
    """Vote for other parameters of the epoch: assumed network delay, block interval and so on.

    \b
    Example:
      stretto govern set-policy --delta-ms 300 --key statement.pem --genesis genesis.json --out vote.stretto
    """
    from ledger.governance import SetPolicy

    wanted = {name: value for name, value in given.items() if value is not None}
    if not wanted:
        raise click.UsageError("name at least one parameter to change, such as --delta-ms 300")
    return _cast(
        vote, lambda epoch, roster: SetPolicy(epoch=epoch, parameters=replace(roster.parameters, **wanted))
    )  # fmt: skip


def _cast(vote: _Vote, change_of: Callable[[Epoch, Roster], Change]) -> int:
    """Signs the vote for a change of the current roster, after a look at whether it could count."""
    from catalog.submission import Submission
    from cli.files import load_key, write_file
    from ledger.governance import NotApplicable, amend, proposal_id
    from ledger.member import key_id
    from ledger.receipt import refusal_words
    from ledger.statement import check_statement, parse_statement, sign_statement
    from node.keys import public_bytes

    roster = _current_roster(vote)
    key = load_key(vote.key_path)
    voter = roster.member_by_statement_key_id(key_id(public_bytes(key)))
    if voter is None:
        raise CliError(f"{vote.key_path} is no member's statement key in epoch {roster.epoch}", Exit.FORBIDDEN)
    if not voter.validator:
        raise CliError(f"{voter.id} has no seat in the committee of epoch {roster.epoch}", Exit.FORBIDDEN)
    change = change_of(roster.epoch, roster)
    try:
        amend(roster, change)
    except NotApplicable as error:
        field, value, expected = refusal_words(error.reason)
        message = f"this vote could not count: {field}: expected {expected}, got {value}; nothing was written"
        raise CliError(message, Exit.REFUSED, code=f"GOVERNANCE_{error.reason.name}", field=field) from error
    proposal = proposal_id(change)
    data = sign_statement(
        change,
        client_ref=f"vote-{roster.epoch}-{proposal.hex()[:PROPOSAL_DIGITS]}",
        issuer=voter.id,
        public_key=public_bytes(key),
        consortium=roster.consortium,
        sign=key.sign,
    )
    statement = parse_statement(data)
    check_statement(statement, roster)
    write_file(vote.out_path, Submission(statement=data).encode(), replace=vote.replace)
    if vote.as_json:
        print_json(
            {
                "ok": True, "file": str(vote.out_path), "statement": statement.digest.hex(), "kind": change.kind,
                "epoch": roster.epoch, "proposal": proposal.hex(), "voter": voter.id, "change": change.describe(),
                "quorum": roster.quorum,
            }
        )  # fmt: skip
    else:
        say(f"{voter.id} votes, in epoch {roster.epoch}, to {printable(change.describe())}")
        say(f"proposal   {proposal.hex()}  (passes with {roster.quorum} votes)")
        say(f"written    {printable(vote.out_path)}")
        say(f"send it    stretto submit {printable(vote.out_path)}")
    return Exit.OK


def _current_roster(vote: _Vote) -> Roster:
    """Of the epoch in which the vote is to count, proven from the genesis. Raises: CliError."""
    import os

    genesis = require_genesis(vote.genesis_path)
    if vote.epochs_path is not None or vote.epoch is not None or os.environ.get(EPOCHS_VARIABLE):
        rosters = find_rosters(genesis, vote.epochs_path)
    else:
        from cli.epochs import fetch_epochs

        _, rosters = fetch_epochs(genesis, vote.node, vote.deadline_s)
    epoch = len(rosters) - 1 if vote.epoch is None else vote.epoch
    if epoch >= len(rosters):
        message = f"epoch {epoch}: known are 0 to {len(rosters) - 1}: name --epochs FILE ('stretto epochs export')"
        raise CliError(message, Exit.NO_INPUT)
    return rosters[epoch]


@govern_group.command("member-record")
@click.option("--id", "member_id", metavar="SLUG", required=True, help="Its id: a-z, 0-9 and hyphens.")
@click.option("--name", required=True, help="Its name, for people.")
@click.option("--role", type=click.Choice(_ROLES), required=True)
@click.option("--keys", "keys_path", metavar="DIR", required=True, type=PathArgument, help="Folder of its seven keys.")
@click.option("--new-keys", is_flag=True, help="Make the keys that DIR lacks.")
@click.option("--out", "out_path", metavar="FILE", required=True, type=PathArgument, help="Written: the public record.")
@click.option("--replace", "replaces", is_flag=True, help="Overwrite FILE.")
@json_option
def member_record_command(
    *,
    member_id: str,
    name: str,
    role: str,
    keys_path: Path,
    new_keys: bool,
    out_path: Path,
    replaces: bool,
    as_json: bool,
) -> int:
    """Write the public record of an institution that asks to be admitted, from its folder of keys.

    DIR holds consensus.pem, log.pem, cosign.pem, export.pem, peer.pem, statement.pem and chain.pem, as in a node's
    folder. The record holds their public halves; give it to the members, who vote on it with 'stretto govern admit'.

    \b
    Example:
      stretto govern member-record --id indie --name "Indie" --role label --keys keys/ --new-keys --out indie.json
    """
    from cli.files import write_file
    from ledger.member import Member, Role
    from ledger.member_record import encode_member_record
    from node.ceremony import make_keys, read_public_keys
    from node.keys import KeyFileError

    if new_keys:
        try:
            keys_path.mkdir(mode=0o700, parents=True, exist_ok=True)
            make_keys(keys_path)
        except (OSError, KeyFileError) as error:
            raise CliError(f"keys cannot be made in {keys_path}: {error}", Exit.CANNOT_CREATE) from error
    try:
        keys = read_public_keys(keys_path, member_id)
    except KeyFileError as error:
        raise CliError(str(error), Exit.FORBIDDEN if error.path.exists() else Exit.NO_INPUT) from error
    member = Member(id=member_id, name=name, role=Role(role), validator=False, keys=keys)
    write_file(out_path, encode_member_record(member), replace=replaces)
    if as_json:
        print_json({"ok": True, "file": str(out_path), "id": member_id})
    else:
        say(f"written  {printable(out_path)}  {printable(name)} ({member_id}, {role})")
        say(f"vote     stretto govern admit {printable(out_path)}")
    return Exit.OK


@govern_group.command("list")
@node_option
@deadline_option(30)
@json_option
def list_command(*, node: str, deadline_s: float, as_json: bool) -> int:
    """What is voted on in the current epoch, and who has voted, by a node's word.

    \b
    Example:
      stretto govern list --node 127.0.0.1:5102
    """
    from cli.connect import connected
    from ledger.errors import MalformedGovernance
    from ledger.governance import parse_change

    with connected(node, deadline_s) as client:
        votes = client.governance()
    try:
        told = [(proposal, parse_change(proposal.kind, proposal.change)) for proposal in votes.proposals]
    except MalformedGovernance as error:
        raise CliError(f"{node} answers with a proposal that is none: {error}", Exit.DATA) from error
    if as_json:
        proposals = [
            {
                "proposal": proposal.proposal.hex(), "kind": proposal.kind, "change": change.describe(),
                "voters": list(proposal.voters), "index": proposal.index, "passed": proposal.passed,
            }
            for proposal, change in told
        ]  # fmt: skip
        head = {"ok": True, "epoch": votes.epoch, "quorum": votes.quorum, "seats": list(votes.seats)}
        print_json(head | {"seats_max": votes.seats_max, "ending": votes.ending, "proposals": proposals})
        return Exit.OK
    if told:
        rows = [
            (
                proposal.proposal.hex()[:PROPOSAL_DIGITS],
                "passed" if proposal.passed else f"{len(proposal.voters)} of {votes.quorum}",
                change.describe(),
                ", ".join(proposal.voters),
            )
            for proposal, change in told
        ]
        print_table(("proposal", "votes", "to", "by"), rows)
    ending = "; it has changed, the next epoch is about to begin" if votes.ending else ""
    say(f"epoch {votes.epoch}: {len(told)} open, {votes.quorum} of {len(votes.seats)} votes pass a change{ending}")
    return Exit.OK
