"""Golden vectors of what is hashed and signed for public chains, from the reference encoder.

python -m tests.contracts.vectors --write
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ledger.merkle import leaf_hash
from tests.contracts.leaves import (
    MINT_KIND,
    MINT_TYPE,
    STATUS_KIND,
    STATUS_TYPE,
    MintTerms,
    Status,
)
from tests.contracts.signers import Checkpoint, make_signers, recovery_digest

VECTORS = Path(__file__).parents[2] / "contracts" / "vectors"
GENESIS = hashlib.sha256(b"a consortium").digest()


def address(number: int) -> str:
    """A checksummed address of nobody."""
    from web3 import Web3

    return Web3.to_checksum_address(number.to_bytes(20, "big"))


TERMS = {
    "shares by default, one payee": MintTerms(
        chain_id=32769, nft=address(1), minter=address(2), payees=((address(3), 10_000),), curator=address(4),
        platform=address(5), royalty_to=address(3),
    ),
    "three payees, an edition, a token as the price, the gross as the basis": MintTerms(
        chain_id=137, nft=address(2**160 - 1), minter=address(2**159), claim=hashlib.sha256(b"a catalogue").digest(),
        position=16_383, edition=7, editions=100, title="Für Elise 致爱丽丝",
        payees=((address(10), 5_000), (address(11), 3_000), (address(12), 2_000)),
        creator_share=6_000, curator_share=2_500, collector_share=1_000, platform_share=500,
        sale_asset=address(2**80), sale_floor=2**255, royalty_to=address(13), royalty=2_500, resale_share=3_000,
        resale_basis=1, co_creation_share=1_000,
    ),
    "neither curator nor platform, a title of 128 bytes": MintTerms(
        chain_id=1, nft=address(1), minter=address(2), title="x" * 128,
        payees=tuple((address(20 + i), 312 + (i < 16)) for i in range(32)),
        royalty_to=address(3), royalty=1_500, sale_floor=0,
    ),
}  # fmt: skip
STATUSES = {
    "first dispute": Status(mint=TERMS["shares by default, one payee"].entry(GENESIS), seq=1, state=1),
    "active again": Status(mint=TERMS["shares by default, one payee"].entry(GENESIS), seq=2, state=0),
    "revoked, largest seq": Status(mint=b"\xff" * 32, seq=2**64 - 1, state=2),
}


def plain(value: Any) -> Any:
    """Bytes as hex; numbers as strings where JSON readers would round them."""
    match value:
        case bytes():
            return value.hex()
        case int() if value >= 2**53:
            return str(value)
        case dict():
            return {key: plain(each) for key, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
        case _:
            return value


def leaves() -> dict[str, Any]:
    def vector(of: MintTerms | Status) -> dict[str, Any]:
        entry = of.entry(GENESIS)
        return {"fields": asdict(of), "preimage": of.preimage(GENESIS), "entry": entry, "leaf_hash": leaf_hash(entry)}

    return {
        "genesis": GENESIS,
        "mint": {
            "kind": MINT_KIND,
            "abi": f"(bytes32,{MINT_TYPE})",
            "vectors": [{"name": name, **vector(each)} for name, each in TERMS.items()],
        },
        "status": {
            "kind": STATUS_KIND,
            "abi": f"(bytes32,{STATUS_TYPE})",
            "vectors": [{"name": name, **vector(each)} for name, each in STATUSES.items()],
        },
    }


def signatures() -> dict[str, Any]:
    """Deterministic too: eth-keys signs with the nonce of RFC 6979."""
    signers = make_signers(4)
    found = []
    for name, checkpoint in {
        "plain": Checkpoint(1, 4_096, hashlib.sha256(b"root").digest()),
        "boundary": Checkpoint(1, 4_097, hashlib.sha256(b"next").digest(), signers.hash(2)),
        "largest": Checkpoint(2**64 - 1, 2**63 - 1, b"\xff" * 32),
    }.items():
        digest = checkpoint.digest(GENESIS)
        made = [{"r": r, "vs": vs} for r, vs in signers.sign(digest)]
        found.append({"name": name, "fields": asdict(checkpoint), "digest": digest, "signatures": made})
    return {
        "genesis": GENESIS,
        "set": {
            "addresses": signers.addresses,
            "quorum": signers.quorum,
            "private_keys_of_nobody": [key.to_bytes() for key in signers.keys],
            "hash_in_epoch_1": signers.hash(1),
        },
        "checkpoints": found,
        "recovery": {"epoch": 2, "successor": signers.hash(2), "digest": recovery_digest(GENESIS, 2, signers.hash(2))},
    }


def files() -> dict[Path, str]:
    made = {"leaves.json": leaves(), "signatures.json": signatures()}
    return {
        VECTORS / name: json.dumps(plain(content), indent=1, ensure_ascii=False) + "\n"
        for name, content in made.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.contracts.vectors", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write contracts/vectors instead of comparing")
    if parser.parse_args().write:
        VECTORS.mkdir(exist_ok=True)
        for path, text in files().items():
            path.write_text(text)
        return 0
    return int(any(not path.exists() or path.read_text() != text for path, text in files().items()))


if __name__ == "__main__":
    sys.exit(main())
