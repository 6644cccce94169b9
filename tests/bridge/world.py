"""A chain with the contracts on it, and relayers for it: what the tests of this folder begin with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from bridge.config import ChainConfig
from bridge.deploy import Deployed, Deployer, Genesis
from bridge.fees import GWEI, FeePolicy
from bridge.journal import Journal
from bridge.node_client import Node
from bridge.relay import ChainRelay
from bridge.run import open_endpoints
from bridge.signer import KeySigner
from tests.bridge.anvils import AnvilNode
from tests.bridge.service import Ledger
from tests.contracts.signers import Signers, make_signers

RATE = 10_000.0
"""Requests a second: an anvil of our own needs no sparing."""


def key(index: int) -> KeySigner:
    """Of relayer `index`."""
    return KeySigner(bytes([0x40 + index]) * 32)


def addresses(signers: Signers) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(each[2:]) for each in signers.addresses)


def chain_config(name: str, id_: int, *urls: str, **other: object) -> ChainConfig:
    fees = FeePolicy(chain=name, cap=500 * GWEI, tip_cap=5 * GWEI)
    made = ChainConfig(
        name=name, id=id_, rpc=urls, fees=fees, seconds_min=0, poll_s=0.2, requests_per_second=RATE,
        build_on_latest=True,  # most tests mine when they like to
    )  # fmt: skip
    return dataclasses.replace(made, **other)  # type: ignore[arg-type]


def deployed_on(node: AnvilNode, ledger: Ledger, folder: Path) -> Deployed:
    """Both contracts, by the test's own account."""
    signer = KeySigner(b"\x99" * 32)
    node.fund(signer.address)
    config = chain_config(node.name, node.id, node.url, gas_max=10**7)
    genesis = Genesis(
        consortium=ledger.consortium,
        first_entry=ledger.entries.entries[0],
        epoch=ledger.epoch,
        validators=addresses(ledger.validators),
        recovery=addresses(make_signers(4, "recovery")),
    )
    with Journal(folder / f"deploy-{node.name}.sqlite") as journal:
        return Deployer(config, open_endpoints(config), signer, journal, say=lambda _: None).deploy(genesis)


@dataclass
class Place:
    """One chain, its contracts, and the folder where relayers keep what they must."""

    node: AnvilNode
    ledger: Ledger
    deployed: Deployed
    folder: Path

    def config(self, *urls: str, **other: object) -> ChainConfig:
        return chain_config(
            self.node.name, self.node.id, *(urls or (self.node.url,)),
            **{"bridge": self.deployed.bridge, "start_block": self.deployed.start_block, **other},
        )  # fmt: skip

    def journal(self, index: int = 0) -> Journal:
        return Journal(self.folder / f"relayer-{index}.sqlite")

    def relay(
        self, journal: Journal, *urls: str, index: int = 0, relayers: int = 1, node: Node | None = None, **other: object
    ) -> ChainRelay:
        config = self.config(*urls, **other)
        return ChainRelay(
            config, open_endpoints(config), node or self.ledger, key(index), journal,
            evidence=self.folder / "contradictions", relayer=index, relayers=relayers,
        )  # fmt: skip

    def paid(self) -> list[dict[str, object]]:
        """Receipts of all transactions to the bridge."""
        return self.node.transactions_to(self.deployed.bridge, self.deployed.start_block)
