"""What the verbs of `stretto mint` share: the statement's terms, its chain, and the account that pays there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.output import CliError, Exit

if TYPE_CHECKING:
    from bridge.config import BridgeConfig, ChainConfig
    from bridge.mint_node import MintNode
    from bridge.minting import Minter
    from bridge.signer import Signer
    from catalog.submission import Submission
    from ledger.mint_terms import MintTerms


def read_mint(path: Path) -> tuple[Submission, MintTerms]:
    """A file that `stretto mint prepare` wrote. Raises: CliError, StatementError."""
    from catalog.submission import SUBMISSION_BYTES_MAX, parse_submission
    from cli.files import read_file
    from ledger.rights_content import Mint
    from ledger.statement import parse_statement

    submission = parse_submission(read_file(path, SUBMISSION_BYTES_MAX, "the MINT"))
    content = parse_statement(submission.statement).content
    if not isinstance(content, Mint):
        raise CliError(f"{path} is no MINT statement: `stretto mint prepare` writes one", Exit.DATA)
    return submission, content.terms


def chain_of(config: BridgeConfig, terms: MintTerms) -> ChainConfig:
    """The configured chain that the terms are for. Raises: CliError."""
    for chain in config.chains.values():
        if chain.id == terms.chain_id:
            return chain
    known = ", ".join(f"{chain.name} {chain.id}" for chain in config.chains.values())
    raise CliError(
        f"the terms are for chain {terms.chain_id}, {config.path} knows {known}; nothing was paid", Exit.CONFIG
    )


def open_mint_node(config: BridgeConfig) -> MintNode:
    from bridge.mint_node import MintNode

    return MintNode(config.node, ca=config.node_ca, cert=config.node_cert, key=config.node_key)


def _signer(config: BridgeConfig, keystore: Path | None, password_file: Path | None) -> Signer:
    from bridge.run import open_signer
    from bridge.signer import open_keystore

    if (keystore is None) != (password_file is None):
        raise CliError("--keystore and --password-file belong together", Exit.USAGE)
    if keystore is not None and password_file is not None:
        return open_keystore(keystore, password_file)
    return open_signer(config)


@contextmanager
def minting(
    config: BridgeConfig, chain: ChainConfig, journal_path: Path, keystore: Path | None, password_file: Path | None,
    *, say: Callable[[str], None],
) -> Iterator[Minter]:  # fmt: skip
    """A minter with its journal, which it holds alone. Raises: SignerError, JournalError, MintRefused."""
    from bridge.journal import Journal
    from bridge.minting import Minter
    from bridge.run import open_endpoints

    signer = _signer(config, keystore, password_file)
    endpoints = open_endpoints(chain)
    try:
        with open_mint_node(config) as node, Journal(journal_path) as journal:
            yield Minter(chain, endpoints, node, signer, journal, say=say)
    finally:
        endpoints.close()


def standing(config: BridgeConfig, chain: ChainConfig, terms: MintTerms) -> dict[str, Any]:
    """What ledger and chain have of the token now; None where they have nothing. Raises: what asking raises."""
    from bridge.contract import BridgeContract
    from bridge.run import open_endpoints
    from bridge.token import TokenContract

    assert chain.bridge is not None, "whoever has terms has contracts"
    with open_mint_node(config) as node:
        consortium = node.log().consortium
        entry = terms.entry(consortium)
        leaf = node.derived(entry=entry)
        rights = node.rights(terms.claim, terms.position)
    mint = rights.mint(entry) if rights is not None else None
    endpoints = open_endpoints(chain)
    try:
        block = endpoints.common_head().number
        bridge = BridgeContract(endpoints, chain.bridge).state(block)
        token = TokenContract(endpoints, terms.nft).state(int.from_bytes(entry, "big"), block)
    finally:
        endpoints.close()
    return {
        "chain": chain.name,
        "token": f"0x{entry.hex()}",
        "statement": None if leaf is None else leaf.cause.hex(),
        "leaf_index": None if leaf is None else leaf.index,
        "claim_state": None if rights is None else rights.state,
        "ledger_status": None if mint is None else mint.state,
        "ledger_seq": None if mint is None else mint.seq,
        "chain_size": bridge.size,
        "chain_frozen": bridge.frozen,
        "covered": leaf is not None and bridge.size > leaf.index,
        "minted": token.is_minted,
        "owner": None if token.owner is None else f"0x{token.owner.hex()}",
        "chain_status": token.state.name.lower(),
        "chain_seq": token.seq,
    }
