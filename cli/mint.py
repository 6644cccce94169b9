"""`stretto mint`: from a claim on record to a token on a public chain, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.bridge_ends import ends
from cli.mint_terms import make_terms, read_terms_file, terms_options
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
from cli.rights_act import Act, claim_argument, digest_of, position_option
from cli.trust import epochs_option, genesis_option

if TYPE_CHECKING:
    from bridge.config import BridgeConfig, ChainConfig
    from bridge.minting import Done
    from consensus.types import Digest
    from ledger.mint_terms import MintTerms
    from ledger.statement import Statement

PURPOSES = ("deposit", "trade", "high_value")


@click.group("mint")
def mint_group() -> None:
    """Turn a claim on record into a token on a public chain.

    Prepare writes the terms and the signed MINT statement; submit makes the statement final, waits for a checkpoint on
    the chain that covers it, and mints; status shows both sides. Nothing is paid before every reason against it was
    looked for; every step can be repeated.

    \b
    Example:
      stretto mint prepare autumn.stretto --minter 0x5290… --purpose trade --key statement.pem --genesis G --out autumn
      stretto mint submit autumn.mint.stretto --keystore minter.json --password-file minter.pass
      stretto mint status autumn.mint.stretto --json
    """


def config_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--config bridge.toml."""
    return click.option(
        "--config", "config_path", metavar="FILE", type=PathArgument, default="bridge.toml", show_default=True,
        envvar="STRETTO_BRIDGE", show_envvar=True, help="Chains, their endpoints and contracts (docs/bridge.md).",
    )(function)  # fmt: skip


def key_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--keystore, --password-file: the account that pays; else the one of bridge.toml."""
    about = "Keystore (version 3) of the account that mints. Default: [signer] of bridge.toml."
    function = click.option("--password-file", metavar="FILE", type=PathArgument, help="Its password, mode 0600.")(
        function
    )
    return click.option("--keystore", metavar="FILE", type=PathArgument, help=about)(function)


# ---- prepare ---------------------------------------------------------------------------------------------------------


@mint_group.command("prepare")
@claim_argument
@position_option
@click.option(
    "--purpose",
    type=click.Choice(PURPOSES),
    default="trade",
    show_default=True,
    help="Picks the chain by bridge.toml's [routes].",
)
@click.option("--chain", "chain_name", metavar="NAME", help="Picks the chain by its name in bridge.toml instead.")
@terms_options
@click.option("--key", "key_path", metavar="FILE", required=True, type=PathArgument, help="Your statement key (PEM).")
@click.option(
    "--out",
    "out_path",
    metavar="NAME",
    required=True,
    type=PathArgument,
    help="Written: NAME.mint.stretto and NAME.terms.json.",
)
@click.option("--replace", is_flag=True, help="Overwrite them.")
@genesis_option
@epochs_option
@config_option
@node_option
@deadline_option(60)
@json_option
@ends()
def prepare_command(
    *, claim: str, position: int, purpose: str, chain_name: str | None, given: dict[str, Any], terms_path: Path | None,
    out_path: Path, config_path: Path, **rest: Any,
) -> int:  # fmt: skip
    """Write the terms of one token for people to read, and the MINT statement that makes them final.

    CLAIM is the statement with the claim: its SHA-256 or its .stretto file. The claim's evidence is fetched and checked
    by your genesis; you must be its holder, and nothing may stand against it. Shares are basis points of primary
    income: 7000 creator, 1500 curator, 1000 first collector, 500 platform, unless you say otherwise.

    \b
    Example:
      stretto mint prepare autumn.stretto --minter 0x5290… --curator 0x8617… --sale-floor 50000000000000000 \\
        --payee 0x5290…=6000 --payee 0xdbF0…=4000 --key statement.pem --genesis genesis.json --out autumn
    """
    from bridge.config import load_config
    from cli.rights_act import roster_for, signed, signer_in
    from ledger.address import show_address
    from ledger.rights_content import Mint

    act = Act(claim=claim, position=position, head=None, client_ref=None, out_path=None, **rest)
    config = load_config(config_path)
    chain = config.chain(chain_name) if chain_name else config.chain_for(purpose)
    if chain.nft is None:
        raise CliError(f"chains.{chain.name}.nft: expected the contract's address: deploy it first", Exit.CONFIG)
    written = read_terms_file(terms_path)
    roster = roster_for(act, offline=False, deadline_s=act.deadline_s)
    key, member = signer_in(act, roster)
    digest = digest_of(claim, "CLAIM")
    title = _checked_claim(act, digest, member.id, int((given | written).get("edition", 1)))
    nft = show_address(chain.nft)
    fixed = {"chain_id": chain.id, "nft": nft, "claim": digest.hex(), "position": position, "title": title}
    terms = make_terms(fixed, given, written)
    statement = signed(Mint(terms=terms), act, roster, key, member)
    return _write(out_path, act, terms, statement, chain.name)


def _checked_claim(act: Act, digest: Digest, member: str, edition: int) -> str:
    """The claim's title, of evidence that verified; its rights by the node's word. Raises: CliError."""
    from cli.connect import connected
    from cli.rights_act import rights_of
    from cli.trust import find_rosters, require_genesis
    from ledger.evidence import Verdict, verify_bundle
    from ledger.evidence_archive import parse_archive

    genesis = require_genesis(act.genesis_path)
    with connected(act.node, act.deadline_s) as client:
        rights = rights_of(act.node, digest, act.position, act.deadline_s)
        catalogue = _is_catalogue(client.statement(digest=digest).raw)
        bundle = client.evidence(statement=digest, position=act.position if catalogue else None)
    report = verify_bundle(bundle, genesis, None, known=find_rosters(genesis, act.epochs_path))
    if report.verdict is Verdict.REFUSED:
        why = next(check.reason for check in report.checks if check.outcome.name == "FAILED")
        raise CliError(f"the claim's evidence does not verify: {why}", Exit.REFUSED)
    if rights.holder != member:
        raise CliError(
            f"the claim's holder is {rights.holder}, the key is {member}'s: only the holder mints", Exit.FORBIDDEN
        )
    if rights.state.name != "ACTIVE":
        raise CliError(f"the claim is {rights.state.name.lower()}: nothing is minted against it", Exit.REFUSED)
    taken = [mint for mint in rights.mints if mint.edition == edition and mint.state.name != "REVOKED"]
    if taken:
        raise CliError(f"edition {edition} has a MINT already, token 0x{taken[0].entry.hex()}: --edition", Exit.REFUSED)
    told = json.loads(parse_archive(bundle)["claim.json"])
    return str(told["claim"]["title"])


def _is_catalogue(statement: bytes) -> bool:
    from ledger.catalogue import CatalogueHeader
    from ledger.statement import parse_statement

    return isinstance(parse_statement(statement).content, CatalogueHeader)


def _write(out: Path, act: Act, terms: MintTerms, statement: Statement, chain: str) -> int:
    from catalog.submission import Submission
    from cli.files import write_file

    paths = out.with_name(out.name + ".mint.stretto"), out.with_name(out.name + ".terms.json")
    token = f"0x{terms.entry(statement.consortium).hex()}"
    readable = json.dumps({"token": token, "terms": terms.to_json()}, indent=2, ensure_ascii=False) + "\n"
    write_file(paths[0], Submission(statement=statement.raw).encode(), replace=act.replace)
    write_file(paths[1], readable.encode(), replace=act.replace)
    if act.as_json:
        print_json(
            {
                "ok": True,
                "chain": chain,
                "token": token,
                "statement": statement.digest.hex(),
                "files": [*map(str, paths)],
                "terms": terms.to_json(),
            }
        )
        return Exit.OK
    print_table(
        ("", f"Terms of {terms.title!r}, edition {terms.edition} of {terms.editions}, on {chain}"), terms_rows(terms)
    )
    say(f"token    {token}")
    say(f"written  {printable(paths[0])}, {printable(paths[1])}")
    say(f"next     stretto mint submit {printable(paths[0])}")
    return Exit.OK


def terms_rows(terms: MintTerms) -> list[tuple[str, str]]:
    """Terms as a label reads them."""
    shown: dict[str, Any] = terms.to_json()

    def percent(share: int) -> str:
        return f"{share / 100:g} %"

    creator = ", ".join(f"{each['account']} {percent(each['share'])}" for each in shown["payees"])
    return [
        ("chain", f"id {terms.chain_id}, contract {shown['nft']}"),
        ("minted by, and first owned by", str(shown["minter"])),
        ("creator", f"{percent(terms.creator_share)} of primary income, to {creator}"),
        ("curator", f"{percent(terms.curator_share)}, to {shown['curator'] or 'nobody: the creator gets it'}"),
        ("first collector", f"{percent(terms.collector_share)}; before the first sale the creator gets it"),
        ("platform", f"{percent(terms.platform_share)}, to {shown['platform'] or 'nobody: the creator gets it'}"),
        ("first sale", _first_sale(terms, shown["sale_asset"] or "the chain's coin")),
        ("royalty", f"{percent(terms.royalty)} of a resale, to {shown['royalty_to']}, where a marketplace pays it"),
        ("curator, of resales", f"{percent(terms.resale_share)} of the {shown['resale_basis']}"),
        ("holders, of works made with them", percent(terms.co_creation_share)),
    ]


def _first_sale(terms: MintTerms, asset: str) -> str:
    if terms.sale_floor:
        return f"at least {terms.sale_floor} of the smallest unit of {asset}"
    # Whoever mints could sell to an account of its own for next to nothing, and collect the first collector's share.
    return f"at any price in {asset}, next to nothing too: --sale-floor sets the least"


# ---- submit ----------------------------------------------------------------------------------------------------------


@mint_group.command("submit")
@click.argument("file", metavar="FILE.mint.stretto", type=PathArgument)
@click.option("--relay", is_flag=True, help="Bring a checkpoint to the chain yourself, if none covers the statement.")
@click.option("--journal", "journal_path", metavar="FILE", type=PathArgument, help="Default: beside FILE.")
@key_options
@config_option
@deadline_option(120)
@json_option
@ends()
def submit_command(
    *, file: Path, relay: bool, journal_path: Path | None, keystore: Path | None, password_file: Path | None,
    config_path: Path, deadline_s: float, as_json: bool,
) -> int:  # fmt: skip
    """Make the statement in FILE final, wait for a checkpoint on its chain that covers it, and mint.

    Whatever step was done before is found done: the same command again goes on, and never pays twice. What was signed
    lies in the journal before it is sent. --deadline is for the statement and the checkpoint; a transaction that is not
    mined then is taken up by the next run.

    \b
    Example:
      stretto mint submit autumn.mint.stretto --keystore minter.json --password-file minter.pass --relay
    """
    from bridge.config import load_config
    from cli.mint_chain import chain_of, minting, read_mint

    submission, terms = read_mint(file)
    config = load_config(config_path)
    chain = chain_of(config, terms)
    with minting(config, chain, journal_path or file.with_name(file.name + ".journal"), keystore, password_file,
                 say=(lambda _line: None) if as_json else _tell) as minter:  # fmt: skip
        minter.check_terms(terms)
        _make_final(submission, config, deadline_s, as_json=as_json)
        done = minter.mint(terms, wait_s=deadline_s, relay=relay, evidence=config.evidence)
    return _minted(done, chain, as_json=as_json)


def _make_final(submission: Any, config: BridgeConfig, deadline_s: float, *, as_json: bool) -> None:
    from cli.submit import send

    result, _ = send(submission, config.node, deadline_s, wait=True, name="the MINT")
    if not as_json:
        _tell(f"the statement is entry {result.index} of the log")


def _tell(line: str) -> None:
    say(f"  {printable(line)}")


def _minted(done: Done, chain: ChainConfig, *, as_json: bool) -> int:
    token = f"0x{done.token:064x}"
    hash_ = None if done.hash is None else f"0x{done.hash.hex()}"
    if as_json:
        print_json({"ok": True, "chain": chain.name, "token": token, "transaction": hash_, "block": done.block,
                    "gas": done.gas, "paid_wei": str(done.gas * done.gas_price)})  # fmt: skip
        return Exit.OK
    say(f"token    {chain.name}/{token}")
    if hash_ is not None:
        say(
            f"minted   block {done.block}, transaction {hash_}, {done.gas:,} gas,"
            f" {done.gas * done.gas_price / 1e18:g} coins"
        )
    say(f"verify   stretto bridge verify {chain.name}/{token}")
    return Exit.OK


# ---- status ----------------------------------------------------------------------------------------------------------


@mint_group.command("status")
@click.argument("file", metavar="FILE.mint.stretto", type=PathArgument)
@click.option("--push", is_flag=True, help="Bring the claim's newest status to the contract; costs gas.")
@click.option("--relay", is_flag=True, help="With --push: bring a checkpoint too, if none covers the status.")
@click.option("--journal", "journal_path", metavar="FILE", type=PathArgument, help="Default: beside FILE.")
@key_options
@config_option
@deadline_option(60)
@json_option
@ends()
def status_command(
    *, file: Path, push: bool, relay: bool, journal_path: Path | None, keystore: Path | None,
    password_file: Path | None, config_path: Path, deadline_s: float, as_json: bool,
) -> int:  # fmt: skip
    """Show what ledger and chain have of a token: statement, leaf, checkpoint, owner, status.

    The chain knows of a dispute only what somebody has brought there: --push does it, from any account.

    \b
    Example:
      stretto mint status autumn.mint.stretto --json
      stretto mint status autumn.mint.stretto --push --keystore any.json --password-file any.pass
    """
    from bridge.config import load_config
    from cli.mint_chain import chain_of, minting, read_mint, standing

    _, terms = read_mint(file)
    config = load_config(config_path)
    chain = chain_of(config, terms)
    pushed: Done | None = None
    if push:
        with minting(config, chain, journal_path or file.with_name(file.name + ".journal"), keystore, password_file,
                     say=(lambda _line: None) if as_json else _tell) as minter:  # fmt: skip
            pushed = minter.push(terms, wait_s=deadline_s, relay=relay)
    found = standing(config, chain, terms)
    if as_json:
        print_json(
            {"ok": True, **found, "pushed": None if pushed is None or pushed.hash is None else f"0x{pushed.hash.hex()}"}
        )
        return Exit.OK
    print_table(
        ("", f"{terms.title!r}, edition {terms.edition} of {terms.editions}"),
        [(name.replace("_", " "), value) for name, value in found.items()],
    )
    if found["ledger_seq"] is not None and found["ledger_seq"] > found["chain_seq"]:
        say("The ledger has a later status than the chain: --push brings it there.")
    return Exit.OK
