"""Targets of what comes from public chains: RLP, tries, headers, receipts, anchors, and what nodes tell in JSON."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, cast

from bridge.blocks import ForeignHeader, ForeignReceipts, MalformedBlock, RawBlock, raw_block
from consensus.errors import MalformedMessage
from consensus.types import Digest, Epoch
from ledger.anchor import Anchor, InvalidAnchor, MalformedAnchor, parse_anchor
from ledger.chain_block import parse_header, parse_receipt
from ledger.chain_checkpoint import ChainCheckpoint
from ledger.evidence import Verdict, verify_bundle
from ledger.evidence_anchor import add_anchors
from ledger.evidence_archive import encode_archive, parse_archive
from ledger.keccak import keccak256
from ledger.rlp import decode_rlp, encode_rlp
from ledger.token_file import MalformedToken, TokenFile, parse_token
from ledger.trie import InvalidTrieProof, item_at
from tests.fuzz.target import Target, canonical, holds
from tests.ledger.anchors import FORKS, anvil_anchor, made_anchor, vector
from tests.ledger.evidence_builders import BLOCK_TIME_MS, SIZE, TRUSTED, make_checkpoint, make_parts

_NAME = "anchor-137.json"


@cache
def _raw(fork: str) -> RawBlock:
    return raw_block(vector(fork)["block"], vector(fork)["receipts"])


def _header(data: bytes) -> object:
    found = parse_header(data)
    holds(found.hash == keccak256(data), "a header's hash is of its bytes")
    return found


def _trie(data: bytes) -> object:
    """A proof as one list: what is proven under the root of an honest block is what stands there."""
    nodes = decode_rlp(data)
    proof = tuple(node for node in nodes if isinstance(node, bytes)) if isinstance(nodes, list) else (data,)
    honest = anvil_anchor("cancun")
    found = item_at(honest.transaction, parse_header(honest.header).receipts_root, proof)
    holds(found == _raw("cancun").receipts[honest.transaction], "another receipt was proven")
    return found


def _anchor(data: bytes) -> object:
    """What holds names the block it follows from."""
    found = parse_anchor(data)
    holds(found.encode() == data, "an anchor has one encoding")
    found.check()
    holds(keccak256(found.header) == found.block, "an anchor's block is its header's")
    return found


@cache
def _evidence() -> tuple[dict[str, bytes], Anchor]:
    parts = make_parts()
    root = make_checkpoint(parts.consortium, parts.arguments["statement"]).root
    honest = made_anchor(SIZE, root, BLOCK_TIME_MS // 1000 + 9)
    return parse_archive(add_anchors(parts.build(), [honest])), honest


def _anchored(data: bytes) -> object:
    files, honest = _evidence()
    report = verify_bundle(encode_archive(files | {_NAME: data}), TRUSTED, None)
    holds(
        report.verdict is not Verdict.VERIFIED or data == honest.encode(), "evidence with another anchor was verified"
    )
    return report


@cache
def _token() -> TokenFile:
    """Of parts that do not belong together: what its form is does not depend on that."""
    bundle = make_parts().build()
    return TokenFile(
        chain=137,
        contract=bytes(20),
        token=Digest(bytes(32)),
        index=3,
        checkpoint=ChainCheckpoint(epoch=Epoch(0), size=9, root=b"\x01" * 32),
        signatures=(b"\x02" * 64,) * 3,
        path=(Digest(b"\x03" * 32),) * 4,
        mint_evidence=bundle[:3_000],
        claim_evidence=bundle[:2_000],
    )


def _told(data: bytes) -> object:
    told: Any = json.loads(data.decode())
    if not isinstance(told, dict) or not isinstance(told.get("block"), dict):
        return None
    receipts = told.get("receipts")
    listed = receipts if isinstance(receipts, list) else []
    found = raw_block(told["block"], [receipt for receipt in listed if isinstance(receipt, dict)])
    holds("0x" + keccak256(found.header).hex() == str(told["block"]["hash"]).lower(), "a block is what its hash names")
    return found


CHAINS = (
    Target(
        name="rlp",
        run=canonical(decode_rlp, lambda item: encode_rlp(cast(Any, item))),
        seeds=lambda: [_raw(fork).header for fork in FORKS] + [bytes.fromhex("c7c0c1c0c3c0c1c0")],
        errors=(MalformedMessage,),
    ),
    Target(
        name="chain-header",
        run=_header,
        seeds=lambda: [_raw(fork).header for fork in FORKS],
        errors=(MalformedMessage,),
    ),
    Target(
        name="chain-receipt",
        run=canonical(parse_receipt, lambda value: cast(Any, value).encode()),
        seeds=lambda: [receipt for fork in ("berlin", "prague") for receipt in _raw(fork).receipts[:10]],
        errors=(MalformedMessage,),
    ),
    Target(
        name="chain-proof",
        run=_trie,
        seeds=lambda: [encode_rlp(list(anvil_anchor("cancun").proof))],
        errors=(MalformedMessage, InvalidTrieProof),
    ),
    Target(
        name="anchor",
        run=_anchor,
        seeds=lambda: [anvil_anchor(fork).encode() for fork in FORKS],
        errors=(MalformedAnchor, InvalidAnchor, InvalidTrieProof, MalformedMessage),
    ),
    Target(name="anchored-evidence", run=_anchored, seeds=lambda: [_evidence()[1].encode()]),
    Target(
        name="token-file",
        run=canonical(parse_token, lambda value: cast(Any, value).encode()),
        seeds=lambda: [_token().encode()],
        errors=(MalformedToken, MalformedMessage),
    ),
    Target(
        name="chain-block",
        run=_told,
        seeds=lambda: [
            json.dumps({name: vector(fork)[name] for name in ("block", "receipts")}).encode() for fork in FORKS[:2]
        ],
        errors=(MalformedBlock, ForeignHeader, ForeignReceipts, json.JSONDecodeError, UnicodeDecodeError),
    ),
)
