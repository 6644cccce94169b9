"""`stretto bridge verify`: a token's claim, signers, checkpoint and chain, each checked and told with its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.bridge_ends import ends
from cli.mint import config_option
from cli.output import (
    CliError,
    Exit,
    PathArgument,
    deadline_option,
    json_option,
    outcome_cell,
    print_json,
    print_table,
    printable,
    say,
)
from cli.trust import epochs_option, find_genesis, find_rosters, genesis_option, trust_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.config import BridgeConfig, ChainConfig
    from bridge.endpoints import Endpoints
    from bridge.mint_node import LedgerMint, MintNode
    from cli.client import NodeClient
    from ledger.evidence_report import Check
    from ledger.genesis import Genesis
    from ledger.token_file import TokenFile

TOKEN_FILE_BYTES_MAX = 64 << 20
_CAIP_19 = re.compile(r"eip155:([1-9][0-9]{0,15})/erc721:(0x[0-9a-fA-F]{40})/(0x[0-9a-fA-F]{1,64}|[0-9]{1,78})")
_SHORT = re.compile(r"([a-z][a-z0-9-]{0,31})/(0x[0-9a-fA-F]{1,64}|[0-9]{1,78})")


@dataclass(frozen=True, slots=True)
class Named:
    """A token as somebody names it. chain: the configured one."""

    chain: ChainConfig
    contract: bytes
    token: bytes


def read_name(config: BridgeConfig, text: str) -> Named:
    """CHAIN/ID with a chain's name, or CAIP-19. Raises: CliError."""
    if match := _CAIP_19.fullmatch(text):
        chain = next((one for one in config.chains.values() if one.id == int(match[1])), None)
        if chain is None:
            raise CliError(f"{config.path} has no chain of id {match[1]}", Exit.CONFIG)
        contract, id_ = bytes.fromhex(match[2][2:]), match[3]
    elif match := _SHORT.fullmatch(text):
        chain, id_ = config.chain(match[1]), match[2]
        if chain.nft is None:
            raise CliError(f"{config.path}: chains.{chain.name}.nft: expected the contract's address", Exit.CONFIG)
        contract = chain.nft
    else:
        expected = "CHAIN/ID with a name of bridge.toml, or eip155:137/erc721:0x…/ID"
        raise CliError(f"TOKEN {text!r}: expected {expected}", Exit.USAGE)
    number = int(id_, 16) if id_.startswith("0x") else int(id_)
    if number >= 2**256:
        raise CliError(f"TOKEN {text!r}: an id is below 2^256", Exit.USAGE)
    return Named(chain, contract, number.to_bytes(32, "big"))


@click.command("verify")
@click.argument("token", metavar="[TOKEN]", required=False)
@click.option(
    "--file", "file_path", metavar="FILE", type=PathArgument, help="Check a token's file instead, made by --out."
)
@click.option(
    "--out", "out_path", metavar="FILE", type=PathArgument, help="Written: all that was checked, to check it later."
)
@click.option("--replace", is_flag=True, help="Overwrite FILE.")
@click.option("--offline", is_flag=True, help="With --file: ask nobody; what the chain has stays unchecked.")
@genesis_option
@epochs_option
@config_option
@deadline_option(60)
@json_option
@ends()
def verify_command(
    *, token: str | None, file_path: Path | None, out_path: Path | None, replace: bool, offline: bool,
    genesis_path: Path | None, epochs_path: Path | None, config_path: Path, deadline_s: float, as_json: bool,
) -> int:  # fmt: skip
    """Check a token from the claim to the chain: every check with its reason.

    Terms, claim, proofs and the validators' signatures are checked here, by the genesis you name; a node only delivers
    them. What the chain has is asked from the endpoints in bridge.toml. TOKEN is CHAIN/ID, with the chain's name in
    bridge.toml, or eip155:137/erc721:0x…/ID.

    Exit code 0: verified; 1: refused, a check failed, or the claim is disputed or revoked, or the bridge frozen;
    2: incomplete, not everything could be checked.

    \b
    Example:
      stretto bridge verify polygon/0x627c… --genesis genesis.json --out autumn.token.zip
      stretto bridge verify --file autumn.token.zip --offline --genesis genesis.json
    """
    from bridge.config import load_config
    from bridge.token_check import unasked
    from cli.files import read_file, write_file
    from ledger.token_file import verify_token

    if (token is None) == (file_path is None):
        raise click.UsageError("exactly one of TOKEN and --file is needed")
    if offline and file_path is None:
        raise click.UsageError("--offline checks a file: it needs --file")
    genesis = find_genesis(genesis_path)
    known = () if genesis is None else find_rosters(genesis, epochs_path)
    chain_checks: Sequence[Check]
    if file_path is not None:
        data = read_file(file_path, TOKEN_FILE_BYTES_MAX, "the token's file")
        checks = verify_token(data, genesis, known=known)
        chain_checks = (
            unasked("Nobody was asked what the chain has.") if offline else _ask_of(data, load_config(config_path))
        )
    else:
        assert token is not None, "one of the two"
        config = load_config(config_path)
        file, chain_checks = _collect(config, read_name(config, token), deadline_s)
        data = file.encode()
        checks = verify_token(data, genesis, known=known)
    if out_path is not None:
        write_file(out_path, data, replace=replace)
    return report((*checks, *chain_checks), genesis, out_path, as_json=as_json)


def _ask_of(data: bytes, config: BridgeConfig) -> Sequence[Check]:
    from bridge.run import open_endpoints
    from bridge.token_check import unasked
    from cli.mint_chain import open_mint_node
    from consensus.errors import StrettoError
    from ledger.token_file import parse_token

    try:
        file = parse_token(data)
    except StrettoError:
        return unasked("The file could not be read as a token's.")
    chain = next((one for one in config.chains.values() if one.id == file.chain), None)
    if chain is None:
        return unasked(f"{config.path} has no chain of id {file.chain}.")
    endpoints = open_endpoints(chain)
    try:
        with open_mint_node(config) as node:
            return on_chain(endpoints, node, file, chain)
    finally:
        endpoints.close()


def _collect(config: BridgeConfig, named: Named, deadline_s: float) -> tuple[TokenFile, Sequence[Check]]:
    from bridge.run import open_endpoints
    from cli.connect import connected
    from cli.mint_chain import open_mint_node

    endpoints = open_endpoints(named.chain)
    try:
        with open_mint_node(config) as node, connected(config.node, deadline_s) as client:
            file = collect(client, node, endpoints, named)
            return file, on_chain(endpoints, node, file, named.chain)
    finally:
        endpoints.close()


def on_chain(endpoints: Endpoints, node: MintNode, file: TokenFile, chain: ChainConfig) -> Sequence[Check]:
    """What the endpoints say of the token, and a node of its newest status. Raises: NoEndpoint and the like."""
    from bridge.errors import NodeRefuses
    from bridge.token_check import ChainChecks

    ledger: LedgerMint | None = None
    try:
        consortium = node.log().consortium
        terms = _terms(file)
        rights = node.rights(terms.claim, terms.position)
        ledger = None if rights is None else rights.mint(file.token)
    except NodeRefuses:
        consortium = _consortium(file)
    return ChainChecks(endpoints, file, consortium, ledger, finality_blocks=chain.finality_blocks).run()


def _terms(file: TokenFile) -> Any:
    from ledger.evidence_archive import parse_archive
    from ledger.evidence_parts import STATEMENT
    from ledger.rights_content import Mint
    from ledger.statement import parse_statement

    content = parse_statement(parse_archive(file.mint_evidence)[STATEMENT]).content
    if not isinstance(content, Mint):
        raise CliError("the token's file has evidence of a statement that is no MINT", Exit.DATA)
    return content.terms


def _consortium(file: TokenFile) -> bytes:
    import hashlib

    from ledger.evidence_archive import parse_archive
    from ledger.evidence_parts import GENESIS

    return hashlib.sha256(parse_archive(file.mint_evidence)[GENESIS]).digest()


def collect(client: NodeClient, node: MintNode, endpoints: Endpoints, named: Named) -> TokenFile:
    """All that a node has of a token, under the checkpoint that it was minted against if it was. Raises: CliError."""
    from bridge.contract import BridgeContract
    from bridge.token import TokenContract
    from consensus.types import Digest
    from ledger.rights_content import Mint
    from ledger.statement import parse_statement
    from ledger.token_file import TokenFile

    token = f"0x{named.token.hex()}"
    leaf = node.derived(entry=named.token)
    statement = None if leaf is None else node.statement(leaf.cause)
    if leaf is None or statement is None:
        raise CliError(f"the ledger has no MINT leaf {token}: nobody in it stands behind such a token", Exit.REFUSED)
    content = parse_statement(statement).content
    if not isinstance(content, Mint):
        raise CliError(f"{token} is not the leaf of a MINT", Exit.REFUSED)
    nft, head = TokenContract(endpoints, named.contract), endpoints.common_head().number
    nft.check_code(head)
    size = nft.state(int.from_bytes(named.token, "big"), head).size
    if not size:
        size = max(leaf.index + 1, BridgeContract(endpoints, nft.bridge(head)).state(head).size)
    signed = node.covering(size)
    if signed is None:
        raise CliError(f"no checkpoint over the leaf {leaf.index} is signed for chains yet: try again", Exit.RETRY)
    proof = node.inclusion(leaf.index, signed.checkpoint.size)
    place = content.terms.position if _is_catalogue(client, content.terms.claim) else None
    return TokenFile(
        chain=named.chain.id,
        contract=named.contract,
        token=Digest(named.token),
        index=leaf.index,
        checkpoint=signed.checkpoint,
        signatures=signed.signatures,
        path=tuple(map(Digest, proof.path)),
        mint_evidence=client.evidence(statement=leaf.cause),
        claim_evidence=client.evidence(statement=content.terms.claim, position=place),
    )


def _is_catalogue(client: NodeClient, digest: bytes) -> bool:
    from ledger.catalogue import CatalogueHeader
    from ledger.statement import parse_statement

    return isinstance(parse_statement(client.statement(digest=digest).raw).content, CatalogueHeader)


def report(checks: Sequence[Check], genesis: Genesis | None, out: Path | None, *, as_json: bool) -> int:
    """Every check, and the verdict as an exit code."""
    from ledger.evidence_report import Verdict
    from ledger.token_file import verdict_of

    verdict = verdict_of(checks)
    code = {Verdict.VERIFIED: Exit.OK, Verdict.REFUSED: Exit.REFUSED, Verdict.INCOMPLETE: Exit.INCOMPLETE}[verdict]
    if as_json:
        listed = [{"name": each.name, "outcome": each.outcome.name, "reason": each.reason} for each in checks]
        print_json(
            {
                "ok": code is Exit.OK,
                "verdict": verdict.name,
                "checks": listed,
                "file": None if out is None else str(out),
            }
        )
        return code
    rows = [(each.name, outcome_cell(each.outcome.name), each.reason) for each in checks]
    print_table(("check", "outcome", "reason"), rows)
    failed = [f"{each.name}: {each.reason}" for each in checks if each.outcome.name == "FAILED"]
    say("\n  ".join([verdict.name, *map(printable, failed)]))
    if out is not None:
        say(f"kept     {printable(out)}")
    if genesis is None:
        say(f"No genesis to trust: name one with --genesis, or put it at {printable(trust_file())}.")
    return code
