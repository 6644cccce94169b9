"""A bridge with four validators, the token contract over it, and the log that they sign."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

from tests.contracts.chain import Chain, Contract, Receipt, deploy
from tests.contracts.log import Log, numbered
from tests.contracts.signers import NONE, Checkpoint, Signed, Signers, make_signers

GENESIS = hashlib.sha256(b"a consortium").digest()
EPOCH = 1
VALIDATORS = 4


@dataclass
class Deployed:
    chain: Chain
    bridge: Contract
    nft: Contract
    validators: Signers
    recovery: Signers
    epoch: int = EPOCH
    log: Log = field(default_factory=lambda: Log(numbered(1)))

    def fresh(self) -> Deployed:
        return replace(self, log=Log(numbered(1)))

    def checkpoint(self, leaves: int | None = None, /, **other: Any) -> Checkpoint:
        """Of the log as it is, or of its first `leaves`; with `other` values than the honest ones."""
        size = self.log.size if leaves is None else leaves
        return replace(Checkpoint(self.epoch, size, self.log.root(size)), **other)

    def signed(self, leaves: int | None = None, /, **other: Any) -> Signed:
        return self.validators.signed(GENESIS, self.checkpoint(leaves, **other))

    def submit(self, size: int | None = None) -> Receipt:
        """Brings the bridge to the log as it is."""
        signed = self.signed(size)
        proof = self.log.consistency(self.bridge.ask("size"), signed.checkpoint.size)
        return self.bridge.do("submit", signed.abi, proof)

    def grow(self, *entries: bytes) -> int:
        """Appends the entries and has the new size recorded. Returns the first one's index."""
        index = self.log.extend(entries)
        self.submit()
        return index

    def boundary(self, following: Signers) -> Signed:
        return self.signed(successor=following.hash(self.epoch + 1))

    def rotate(self, following: Signers) -> Receipt:
        """To the next epoch, with the log as it is."""
        size = self.bridge.ask("size")
        proof = self.log.consistency(size) if size < self.log.size else []
        receipt = self.bridge.do("rotate", self.boundary(following).abi, following.addresses, proof)
        self.epoch, self.validators = self.epoch + 1, following
        return receipt

    def fork(self) -> tuple[Log, Checkpoint]:
        """Another log with other entries after the first, as long as the true one, and its checkpoint."""
        other = Log([*numbered(1), *numbered(self.log.size - 1, "forged")])
        return other, replace(self.checkpoint(), root=other.root())

    def freeze(self) -> None:
        _, forged = self.fork()
        self.bridge.do("reportFork", self.signed().abi, self.validators.signed(GENESIS, forged).abi)
        assert self.bridge.ask("frozen")

    def place(self, index: int, size: int | None = None) -> tuple[int, int, list[bytes]]:
        size = self.log.size if size is None else size
        return (size, index, self.log.inclusion(index, size))


def deploy_bridge(
    chain: Chain, validators: Signers, recovery: Signers, *, epoch: int = EPOCH, genesis: bytes = GENESIS
) -> tuple[Contract, Receipt]:
    entry = numbered(1)[0]
    return deploy(chain, "CheckpointBridge", genesis, entry, epoch, validators.addresses, recovery.addresses)


def deploy_all(chain: Chain, count: int = VALIDATORS) -> Deployed:
    validators, recovery = make_signers(count), make_signers(4, "recovery")
    bridge, _ = deploy_bridge(chain, validators, recovery)
    nft, _ = deploy(chain, "MusicNFT", bridge.address)
    return Deployed(chain, bridge, nft, validators, recovery)


__all__ = ["EPOCH", "GENESIS", "NONE", "Deployed", "deploy_all", "deploy_bridge"]
