"""`stretto query`: who claims this audio, this recording, this work; what does that statement say."""

from __future__ import annotations

from itertools import islice
from typing import Any

import click

from cli.client import NodeClient
from cli.connect import connected
from cli.digest import media_digest, statement_digest
from cli.output import Exit, complain, deadline_option, json_option, node_option, print_json, printable, say
from cli.submit import block_time
from ledger.claim import Claim, Commitment, parse_claim
from ledger.claim_json import claim_to_json
from ledger.errors import InvalidIdentifier
from node.rpc.answers import RecordedClaim


@click.command("query")
@click.option("--digest", metavar="HEX|AUDIO", help="BLAKE3 or SHA-256 of a file; or the file itself.")
@click.option("--isrc", metavar="ISRC", help="Recording, with or without hyphens.")
@click.option("--iswc", metavar="ISWC", help="Work, with or without dots and hyphens.")
@click.option("--statement", metavar="HEX|FILE.stretto", help="SHA-256 of a statement; or the file that holds it.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Claims at most.")
@node_option
@deadline_option(30)
@json_option
def query_command(
    *,
    digest: str | None,
    isrc: str | None,
    iswc: str | None,
    statement: str | None,
    limit: int,
    node: str,
    deadline_s: float,
    as_json: bool,
) -> int:
    """Every claim on an audio file, a recording, a work, or of a statement; oldest first.

    Claims may contradict each other: Stretto records who said what when, and never decides who is right.
    Nothing on record ends with exit code 1.

    \b
    Example:
      stretto query --digest song.flac
      stretto query --isrc ZZ-STR-26-00001 --json
    """
    if sum(key is not None for key in (digest, isrc, iswc, statement)) != 1:
        raise click.UsageError("exactly one of --digest, --isrc, --iswc, --statement is needed")
    try:
        by = _by(digest, isrc, iswc, statement)
    except InvalidIdentifier as error:
        raise click.UsageError(f"{error.field}: expected {error.expected}, got {error.value!r}") from error
    with connected(node, deadline_s) as client:
        # Asked first: the answer below is then at least this fresh.
        status = client.status()
        claims = list(islice(client.claims(**by), limit + 1))
        cut = len(claims) > limit
        envelope = _statement(client, by["statement"]) if statement else None
    claims = claims[:limit]
    as_of = {"size": status.size, "height": status.height, "block_time_ms": status.block_time_ms}
    if as_json:
        document: dict[str, Any] = {"ok": bool(claims or envelope), "claims": [_as_json(found) for found in claims]}
        document |= {"truncated": cut, "as_of": as_of}
        print_json(document | ({"statement": envelope} if envelope else {}))
    else:
        for found in claims:
            _print(found)
        if envelope and not claims:
            say(f"{envelope['kind']} by {envelope['issuer']}, index {envelope['index']},"
                f" {block_time(envelope['block_time_ms'])}: {printable(envelope['about'])}")  # fmt: skip
        say(f"{len(claims)}{'+' if cut else ''} on record as of {status.size} leaves, height {status.height},"
            f" {block_time(status.block_time_ms)}")  # fmt: skip
    if not claims and not envelope:
        complain("nothing on record")
        return Exit.REFUSED
    return Exit.OK


def _by(digest: str | None, isrc: str | None, iswc: str | None, statement: str | None) -> dict[str, Any]:
    """Arguments for NodeClient.claims. Raises: InvalidIdentifier before anything is sent; CliError."""
    from ledger.identifiers import ISRC, ISWC

    if digest is not None:
        return {"media_digest": media_digest(digest)}
    if isrc is not None:
        return {"isrc": ISRC.parse(isrc, "--isrc")}
    if iswc is not None:
        return {"iswc": ISWC.parse(iswc, "--iswc")}
    assert statement is not None, "one of the four was given"
    return {"statement": statement_digest(statement)}


def _statement(client: NodeClient, digest: bytes) -> dict[str, Any]:
    from cli.watch import told
    from ledger.statement import parse_statement

    recorded = client.statement(digest=digest)
    parsed = parse_statement(recorded.raw)
    return {
        "digest": parsed.digest.hex(),
        "kind": str(parsed.kind),
        "issuer": parsed.issuer,
        "client_ref": parsed.client_ref,
        "about": told(parsed.content)[0],
        "index": recorded.index,
        "height": recorded.height,
        "block_time_ms": recorded.block_time_ms,
        "cose": recorded.raw.hex(),
    }


def _as_json(found: RecordedClaim) -> dict[str, Any]:
    return {
        "issuer": found.issuer,
        "statement": found.statement.hex(),
        "index": found.index,
        "position": found.position if found.catalogue else None,
        "height": found.height,
        "block_time_ms": found.block_time_ms,
        "claim": claim_to_json(parse_claim(found.claim)),
    }


def _print(found: RecordedClaim) -> None:
    claim = parse_claim(found.claim)
    place = f"index {found.index}" + (f", track {found.position}" if found.catalogue else "")
    say(f"{claim.title}  —  claimed by {found.issuer}, {place}, {block_time(found.block_time_ms)}")
    for label, value in _lines(claim):
        say(f"  {label:<18} {value}")
    say(f"  {'statement':<18} {found.statement.hex()}")
    say()


def _lines(claim: Claim) -> list[tuple[str, str]]:
    lines = [(name.upper(), value) for name in ("isrc", "iswc", "upc") if (value := getattr(claim, name))]
    for party in claim.parties:
        hidden = isinstance(party.name, Commitment)
        name = "(name committed)" if hidden else party.name or (f"member {party.member}" if party.member else "")
        lines.append((str(party.role), str(name)))
    lines += [
        ("share", f"party {share.party}: {share.bps / 100:g} % of {share.right}, {share.territory}")
        for share in claim.shares
    ]
    for media in claim.media:
        lines += [("BLAKE3", media.blake3.hex()), ("SHA-256", media.sha256.hex())]
    return [*lines, ("AI", str(claim.contains_ai))]
