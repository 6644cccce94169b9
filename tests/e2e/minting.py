"""What a mint needs, of real parts: four node processes, a chain in this process with the contracts on it, and keys."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bridge.artifacts import calldata, checksummed
from bridge.config import ChainConfig
from bridge.deploy import Deployer, Genesis
from bridge.embedded import CHAIN_ID, EmbeddedChain
from bridge.fees import GWEI, FeePolicy
from bridge.journal import Journal
from bridge.mint_node import MintNode
from bridge.minting import Minter
from bridge.signer import KeySigner, sign_transaction
from bridge.token import TokenContract, TokenState
from bridge.transaction import Fees, Transaction
from consensus.types import Digest
from ledger.chain_checkpoint import ChainCheckpoint, bridge_set
from ledger.mint_terms import MintTerms, Payee
from ledger.rights_content import Mint
from node.chain_key import load_chain_key
from node.rpc.types import SubmissionResult, SubmissionState
from tests.e2e.running import RunningDevnet
from tests.ledger.builders import make_claim

MINTER = KeySigner(b"\x07" * 32)
STRANGER = KeySigner(b"\x08" * 32)
RECOVERY = tuple(sorted(KeySigner(bytes([i]) * 32).address for i in (11, 12, 13, 14)))
WAIT_S = 20.0
_claims = itertools.count(80_000)


@dataclass
class Studio:
    """A devnet, the embedded chain, and the contracts that were deployed there for its consortium."""

    running: RunningDevnet
    folder: Path

    def __post_init__(self) -> None:
        self.chain = EmbeddedChain(CHAIN_ID, funded=[MINTER.address, STRANGER.address])
        self.endpoints = self.chain.endpoints("trial")
        self.node = MintNode(self.running["label"].config.rpc)
        self._journals = itertools.count()
        if self.running.status("label").size == 0:
            self.claim()
        fees = FeePolicy(chain="trial", cap=100 * GWEI, tip_cap=2 * GWEI)
        plain = ChainConfig(name="trial", id=CHAIN_ID, rpc=("embedded",), fees=fees, poll_s=0.02, gas_max=5_000_000)
        log = self.node.log()
        assert log.first_entry is not None
        genesis = Genesis(
            consortium=log.consortium,
            first_entry=log.first_entry,
            epoch=0,
            validators=bridge_set(self.running.genesis.roster),
            recovery=RECOVERY,
        )
        with self.journal() as journal:
            deployed = Deployer(plain, self.endpoints, MINTER, journal, say=lambda _: None).deploy(genesis)
        self.config = replace(plain, bridge=deployed.bridge, nft=deployed.nft)

    def close(self) -> None:
        self.node.close()

    # ---- the ledger --------------------------------------------------------------------------------------------------

    def claim(self, issuer: str = "label") -> Digest:
        """A new claim on record: the digest of its statement."""
        content = make_claim(next(_claims))
        return self.running.record(issuer, self.running.sign(content, issuer=issuer)).digest

    def terms(self, claim: Digest, **other: Any) -> MintTerms:
        assert self.config.nft is not None
        plain = {
            "chain_id": CHAIN_ID, "nft": self.config.nft, "minter": MINTER.address, "claim": claim, "position": 0,
            "edition": 1, "editions": 1, "title": "Opus", "payees": (Payee(account=MINTER.address, share=10_000),),
            "sale_floor": 0, "royalty_to": MINTER.address, "royalty": 2_000,
        }  # fmt: skip
        return MintTerms(**(plain | other))

    def say(self, terms: MintTerms, issuer: str = "label") -> SubmissionResult:
        """The MINT statement, which must be recorded."""
        result = self.running.record("label", self.running.sign(Mint(terms=terms), issuer=issuer))
        assert result.state is SubmissionState.FINAL, result.refusal
        return result

    def agreed(self, **other: Any) -> MintTerms:
        """Final terms of a new claim, not minted yet."""
        terms = self.terms(self.claim(), **other)
        self.say(terms)
        return terms

    # ---- the chain ---------------------------------------------------------------------------------------------------

    def journal(self) -> Journal:
        return Journal(self.folder / f"journal-{next(self._journals)}")

    def minter(
        self, journal: Journal, *, node: MintNode | None = None, signer: KeySigner = MINTER, **config: Any
    ) -> Minter:
        return Minter(replace(self.config, **config), self.endpoints, node or self.node, signer, journal)

    def token_state(self, terms: MintTerms) -> TokenState:
        block = self.endpoints.common_head().number
        entry = terms.entry(self.running.genesis.digest)
        return TokenContract(self.endpoints, terms.nft).state(int.from_bytes(entry, "big"), block)

    def paid(self, who: KeySigner = MINTER) -> tuple[int, int]:
        """What changes when somebody pays: nonce and balance."""
        address = "0x" + who.address.hex()
        nonce = self.endpoints.ask("eth_getTransactionCount", address, "latest")
        return int(nonce, 16), int(self.endpoints.ask("eth_getBalance", address, "latest"), 16)

    def send(self, to: bytes, call: bytes) -> dict[str, Any]:
        """A transaction of the stranger's, past everything that would stop it."""
        made = Transaction(
            chain_id=CHAIN_ID, nonce=self.paid(STRANGER)[0], to=to, call=call, gas=1_000_000, fees=Fees(10**10, 10**9)
        )
        hash_ = self.endpoints.ask("eth_sendRawTransaction", "0x" + sign_transaction(STRANGER, made).hex())
        return dict(self.endpoints.ask("eth_getTransactionReceipt", hash_))

    def freeze(self) -> None:
        """A proof that the validators signed two roots of one size, made with their keys, shown to the bridge."""
        genesis = self.running.genesis
        keys = [load_chain_key(node.config.key_path("chain")) for node in self.running.devnet.nodes]
        validators = ["0x" + address.hex() for address in bridge_set(genesis.roster)]

        def signed(root: bytes) -> Any:
            point = ChainCheckpoint(epoch=0, size=10_000, root=root)  # type: ignore[arg-type]
            made = {key.address: key.sign(point, genesis.digest) for key in keys}
            signatures = [(made[who][:32], made[who][32:]) for who in sorted(made)]
            return ((0, 10_000, root, bytes(32)), [checksummed(one) for one in validators], signatures)

        assert self.config.bridge is not None
        call = calldata("CheckpointBridge", "reportFork", signed(b"\x01" * 32), signed(b"\x02" * 32))
        assert self.send(self.config.bridge, call)["status"] == "0x1"
