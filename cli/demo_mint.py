"""The demonstration's last steps: a chain in this process, a token against a claim on record, evidence anchored."""

from __future__ import annotations

import base64
import json
import secrets
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bridge.anchoring import first_anchor
from bridge.artifacts import checksummed
from bridge.config import ChainConfig
from bridge.deploy import Deployer
from bridge.deploy import Genesis as Deployment
from bridge.embedded import CHAIN_ID, EmbeddedChain
from bridge.endpoints import Endpoints
from bridge.errors import ContractRefuses
from bridge.fees import GWEI, FeePolicy
from bridge.journal import Journal
from bridge.mint_node import MintNode
from bridge.minting import Minter, MintRefused
from bridge.signer import KeySigner
from bridge.token import Place, TokenContract
from cli.bridge_verify import Named, collect, on_chain
from cli.client import NodeClient
from cli.evidence_anchor import add
from ledger.chain_checkpoint import bridge_set
from ledger.evidence import Outcome, Verdict, verify_bundle
from ledger.mint_terms import MintTerms, Payee
from ledger.rights_content import Mint
from ledger.statement import sign_statement
from ledger.token_file import verdict_of, verify_token
from node.keys import load_private_key, public_bytes
from node.rpc.types import SubmissionState

if TYPE_CHECKING:
    from cli.demo_run import Narrator, Result
    from consensus.types import Digest
    from ledger.genesis import Genesis
    from node.devnet import Devnet

NAME: Final = "embedded"
COVER_S: Final = 60.0
SETTLE_S: Final = 20.0
TITLE_BYTES_MAX: Final = 128
Expect = Callable[[bool, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Who takes part, and what is on record before."""

    devnet: Devnet
    genesis: Genesis
    catalogue: Digest
    """The label's CATALOGUE statement."""
    title: str
    """Of its first claim."""
    bundle: Path
    """Evidence of that claim: gets the anchor."""


class DemoMint:
    """Deploy, mint, verify, cheat, anchor. expect: notes what is not as it should be."""

    def __init__(self, scene: Scene, narrator: Narrator, result: Result, expect: Expect) -> None:
        self._scene, self._say, self._result, self._expect = scene, narrator, result, expect
        self._minter, *self._others = (KeySigner(secrets.token_bytes(32)) for _ in range(8))
        self._folder = tempfile.TemporaryDirectory(prefix="stretto-mint-")

    def run(self) -> None:
        """Raises: what the bridge and the nodes raise where a step cannot be done at all."""
        label = self._scene.devnet.node("label").config.rpc
        try:
            with (
                MintNode(label) as node,
                NodeClient(label, deadline_s=COVER_S) as client,
                Journal(Path(self._folder.name) / "journal") as journal,
            ):
                endpoints, config = self._deploy(node, journal)
                token = self._mint(node, client, endpoints, config, journal)
                self._verify(node, client, endpoints, Named(config, config.nft or b"", token))
                self._anchor(client, endpoints, config)
            self._settle()
        finally:
            self._folder.cleanup()

    def _deploy(self, node: MintNode, journal: Journal) -> tuple[Endpoints, ChainConfig]:
        with self._say.step("Start a chain in this process, put the two contracts on it") as said:
            chain = EmbeddedChain(CHAIN_ID, funded=[self._minter.address])
            endpoints = chain.endpoints(NAME)
            fees = FeePolicy(chain=NAME, cap=100 * GWEI, tip_cap=2 * GWEI)
            config = ChainConfig(name=NAME, id=CHAIN_ID, rpc=(NAME,), fees=fees, poll_s=0.05)
            log = node.log()
            assert log.first_entry is not None, "claims are on record"
            told: list[str] = []
            deployed = Deployer(replace(config, poll_s=0.01), endpoints, self._minter, journal, say=told.append).deploy(
                Deployment(
                    consortium=log.consortium,
                    first_entry=log.first_entry,
                    epoch=0,
                    validators=bridge_set(self._scene.genesis.roster),
                    recovery=tuple(sorted(other.address for other in self._others[:4])),
                )
            )
            said.append(f"py-evm with chain id {CHAIN_ID}; nothing of it is kept when this ends")
            said.append(f"CheckpointBridge {checksummed(deployed.bridge)}, four validators' keys in it, no owner")
            said.append(f"MusicNFT {checksummed(deployed.nft)}, {deployed.gas:,} gas for both")
        return endpoints, replace(config, bridge=deployed.bridge, nft=deployed.nft)

    def _terms(self, nft: bytes) -> MintTerms:
        composer, curator, platform = (other.address for other in self._others[4:7])
        title = self._scene.title.encode()[:TITLE_BYTES_MAX].decode(errors="ignore")
        return MintTerms(
            chain_id=CHAIN_ID, nft=nft, minter=self._minter.address, claim=self._scene.catalogue, position=0, edition=1,
            editions=10, title=title, curator=curator, platform=platform, sale_floor=10**15,
            payees=(Payee(account=self._minter.address, share=6_000), Payee(account=composer, share=4_000)),
            royalty_to=self._minter.address, royalty=2_000,
        )  # fmt: skip

    # ---- the token ---------------------------------------------------------------------------------------------------

    def _mint(
        self, node: MintNode, client: NodeClient, endpoints: Endpoints, config: ChainConfig, journal: Journal
    ) -> bytes:
        terms = self._terms(config.nft or b"")
        with self._say.step("The label signs terms for a token of its first track: final") as said:
            result = client.submit(self._signed(terms))
            self._expect(result.state is SubmissionState.FINAL, f"the MINT statement is final, not {result.state.name}")
            said.append(
                f"{terms.title!r}, edition 1 of 10: 70 % creator, 15 % curator, 10 % first collector, 5 % platform"
            )
            said.append(f"statement at leaf {result.index}, the terms' own leaf right after it, for contracts to read")
        with self._say.step("A quorum signs the log for chains; relay it, and mint the token") as said:
            minter = Minter(config, endpoints, node, self._minter, journal)
            done = minter.mint(terms, wait_s=COVER_S, relay=True)
            block = endpoints.common_head().number
            state = minter.bridge.state(block)
            said.append(
                f"the contract took {state.size} leaves, root {state.root.hex()[:32]}…, and a consistency proof"
            )
            said.append(f"token 0x{done.token:064x}, {done.gas:,} gas")
            page = json.loads(base64.b64decode(minter.nft.uri(done.token, block).partition(",")[2]))
            traits = {each["trait_type"]: each["value"] for each in page.get("attributes", ())}
            said.append(f"tokenURI: {page['name']}; " + ", ".join(f"{name} {value}" for name, value in traits.items()))
            self._cheat(said, minter, terms, node, state.size)
            self._result.token, self._result.mint_gas = f"0x{done.token:064x}", done.gas
        return done.token.to_bytes(32, "big")

    def _signed(self, terms: MintTerms) -> bytes:
        key = load_private_key(self._scene.devnet.node("label").config.key_path("statement"))
        return sign_statement(
            Mint(terms=terms), client_ref="mint-1", issuer="label", public_key=public_bytes(key),
            consortium=self._scene.genesis.digest, sign=key.sign,
        )  # fmt: skip

    def _cheat(self, said: list[str], minter: Minter, terms: MintTerms, node: MintNode, size: int) -> None:
        """What others would try: each must be refused, and nothing is sent."""
        leaf = node.derived(entry=terms.entry(self._scene.genesis.digest))
        assert leaf is not None, "it was minted"
        place = Place(size=size, index=leaf.index, path=node.inclusion(leaf.index, size).path)
        block = minter.endpoints.common_head().number
        stranger = self._others[6].address
        greedy = replace(terms, curator_share=0, creator_share=8_500)
        attempts = (
            ("the same token once more", self._minter.address, terms),
            ("a stranger mints it", stranger, terms),
            ("terms that nobody signed", self._minter.address, greedy),
        )
        for what, sender, offered in attempts:
            refused = ""
            try:
                minter.nft.simulate(sender, TokenContract.mint_call(offered, place), block)
            except ContractRefuses as error:
                refused = error.name.partition("(")[0]
            self._result.forgeries += 1
            self._result.forgeries_refused += bool(refused)
            self._expect(bool(refused), f"{what} is refused")
            said.append(f"{what}: refused by the contract: {refused}")
        try:
            minter.mint(greedy)
            self._expect(False, "no transaction is made of terms that nobody signed")
        except MintRefused as error:
            said.append(f"and before anything is paid: {error.rule}: {error.reason}")

    def _verify(self, node: MintNode, client: NodeClient, endpoints: Endpoints, named: Named) -> None:
        with self._say.step("Verify the token: all but the chain's own state offline") as said:
            file = collect(client, node, endpoints, named)
            data = file.encode()
            checks = (*verify_token(data, self._scene.genesis), *on_chain(endpoints, node, file, named.chain))
            passed = [check for check in checks if check.outcome is Outcome.PASSED]
            other = [f"{check.name}: {check.reason}" for check in checks if check.outcome is not Outcome.PASSED]
            self._expect(verdict_of(checks) is Verdict.VERIFIED, f"the token is verified: {'; '.join(other)}")
            self._result.token_checks = len(passed)
            said.append(f"{len(passed)} checks; {next(check for check in checks if check.name == 'signers').reason}")
            self._scene.bundle.with_name("1.token.zip").write_bytes(data)
            flipped = bytearray(data)
            flipped[len(data) // 2] ^= 1
            refused = verdict_of(verify_token(bytes(flipped), self._scene.genesis)) is Verdict.REFUSED
            self._expect(refused, "a token's file with a flipped byte is refused")

    # ---- the evidence ------------------------------------------------------------------------------------------------

    def _anchor(self, client: NodeClient, endpoints: Endpoints, config: ChainConfig) -> None:
        with self._say.step("Put the chain's block into the track's evidence: an anchor") as said:
            data = self._scene.bundle.read_bytes()
            last = endpoints.common_head().number
            # Of the second entry, to have one that was relayed: the first is what the deployer told the constructor.
            anchor = first_anchor(endpoints, CHAIN_ID, config.bridge or b"", 1, first=0, last=last)
            anchored = add(data, [anchor], client)
            report = verify_bundle(anchored, self._scene.genesis, None)
            holds = report.verdict is Verdict.VERIFIED and report.check("anchor").outcome is Outcome.PASSED
            self._expect(holds, f"the anchored evidence is verified: {report.check('anchor').reason}")
            self._scene.bundle.write_bytes(anchored)
            self._result.anchored = holds
            said.append(f"{self._scene.bundle.name}: {report.check('anchor').reason}")
            said.append("that the chain has this block is not checked offline, and said so")

    def _settle(self) -> None:
        """All nodes have what the label's has: what follows compares them."""
        devnet = self._scene.devnet
        with NodeClient(devnet.node("label").config.rpc, deadline_s=COVER_S) as client:
            size = client.status().size
        until = time.monotonic() + SETTLE_S
        for node in devnet.nodes:
            with NodeClient(node.config.rpc, deadline_s=COVER_S) as client:
                while client.status().size < size and time.monotonic() < until:
                    time.sleep(0.02)
