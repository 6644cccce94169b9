"""The entries of derived leaves, not encoded by the contracts: the reference for what ledger/ is to append."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

from eth_abi.abi import encode

MINT_KIND = b"stretto/mint/v1".ljust(32, b"\x00")
STATUS_KIND = b"stretto/status/v1".ljust(32, b"\x00")
ACTIVE, DISPUTED, REVOKED = range(3)
NOBODY = "0x" + "00" * 20
MINT_TYPE = (
    "(uint256,address,address,bytes32,uint32,uint32,uint32,string,(address,uint16)[],address,address,"
    "uint16,uint16,uint16,uint16,address,uint256,address,uint16,uint16,uint8,uint16)"
)
STATUS_TYPE = "(bytes32,uint64,uint8,bytes32)"


@dataclass(frozen=True, kw_only=True)
class MintTerms:
    """MintTermsV1 of contracts/src/Terms.sol, in its order. The defaults are the shares that design D13 names."""

    chain_id: int
    nft: str
    minter: str
    claim: bytes = hashlib.sha256(b"a claim").digest()
    position: int = 0
    edition: int = 1
    editions: int = 1
    title: str = "Opus 1"
    payees: tuple[tuple[str, int], ...]
    curator: str = NOBODY
    platform: str = NOBODY
    creator_share: int = 7_000
    curator_share: int = 1_500
    collector_share: int = 1_000
    platform_share: int = 500
    sale_asset: str = NOBODY
    sale_floor: int = 1_000
    royalty_to: str
    royalty: int = 2_000
    resale_share: int = 3_000
    resale_basis: int = 0
    co_creation_share: int = 0

    @property
    def abi(self) -> tuple[Any, ...]:
        return (
            self.chain_id, self.nft, self.minter, self.claim, self.position, self.edition, self.editions, self.title,
            list(self.payees), self.curator, self.platform, self.creator_share, self.curator_share,
            self.collector_share, self.platform_share, self.sale_asset, self.sale_floor, self.royalty_to, self.royalty,
            self.resale_share, self.resale_basis, self.co_creation_share,
        )  # fmt: skip

    def entry(self, genesis: bytes) -> bytes:
        return hashlib.sha256(self.preimage(genesis)).digest()

    def preimage(self, genesis: bytes) -> bytes:
        return MINT_KIND + encode(["bytes32", MINT_TYPE], [genesis, self.abi])

    def token_id(self, genesis: bytes) -> int:
        return int.from_bytes(self.entry(genesis), "big")

    def but(self, **other: Any) -> MintTerms:
        return replace(self, **other)


@dataclass(frozen=True, kw_only=True)
class Status:
    """StatusV1 of contracts/src/Terms.sol."""

    mint: bytes
    seq: int
    state: int
    cause: bytes = hashlib.sha256(b"a cause").digest()

    @property
    def abi(self) -> tuple[bytes, int, int, bytes]:
        return (self.mint, self.seq, self.state, self.cause)

    def entry(self, genesis: bytes) -> bytes:
        return hashlib.sha256(self.preimage(genesis)).digest()

    def preimage(self, genesis: bytes) -> bytes:
        return STATUS_KIND + encode(["bytes32", STATUS_TYPE], [genesis, self.abi])
