"""Anchors: that a contract on a public chain recorded the log's root, shown by the chain's own block (design D10, D12).

An anchor carries a block's header, the receipt of one transaction under its `receiptsRoot`, and in that receipt the
event in which a CheckpointBridge accepted a checkpoint. All of it follows from the block's hash, by hashing alone; so
what remains is one question, for whoever has a connection: is that block in the chain? A consistency proof leads from
the recorded root to the checkpoint of the evidence that the anchor is for.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from consensus.errors import PeerError
from consensus.types import Digest
from ledger.chain_block import ADDRESS_BYTES, Header, Log, Receipt, parse_header, parse_receipt
from ledger.errors import StatementError
from ledger.json_values import JsonValues, hex_text
from ledger.keccak import keccak256
from ledger.merkle import HASH_BYTES, PROOF_HASHES_MAX, verify_consistency
from ledger.strict_json import load_json
from ledger.trie import ITEMS_MAX, PROOF_NODES_MAX, ListTrie, item_at

FORMAT: Final = "stretto/anchor/v1"
ANCHOR_BYTES_MAX: Final = 1 << 18
CHAIN_ID_MAX: Final = 2**53 - 1
"""EIP-2294 allows more; no chain has more, and JSON's readers agree up to here."""
SIZE_MAX: Final = 2**53 - 1
EVENT: Final = "CheckpointAccepted(uint64,bytes32,uint64)"
"""size (a topic), root and epoch (data). See contracts/src/CheckpointBridge.sol."""
EVENT_TOPIC: Final = keccak256(EVENT.encode())

_KEYS: Final = (
    "format", "chain", "contract", "size", "root", "block", "transaction", "log", "header", "proof", "consistency",
)  # fmt: skip


class MalformedAnchor(StatementError):
    """Not an anchor: the bytes break a rule of its form."""

    code = "MALFORMED_ANCHOR"


class InvalidAnchor(PeerError):
    """An anchor does not show what it says. reason: one clause that says which part does not hold."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"invalid anchor: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchored:
    """What an anchor shows, if its block is in the chain."""

    header: Header
    epoch: int
    """Of the committee whose quorum signed the checkpoint, as the contract says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """That the CheckpointBridge at `contract` recorded `root` at `size` in the block `block`.

    Invariants: lengths and bounds as below. Whether it holds is for `check` to say.
    """

    chain: int
    """EIP-155 id, 1 to CHAIN_ID_MAX. No header names its chain: it says where to look for the block."""
    contract: bytes
    """20 bytes. Whose contract it is does not follow from anything here."""
    size: int
    root: Digest
    block: Digest
    """Hash of the header."""
    transaction: int
    """Position in the block, from 0."""
    log: int
    """Position of the event among the receipt's, from 0."""
    header: bytes
    """RLP."""
    proof: tuple[bytes, ...]
    """Nodes of the trie of receipts, from its root to the receipt."""
    consistency: tuple[Digest, ...] = ()
    """RFC 9162 proof between `size` and the size of a checkpoint that the reader knows. Empty where they are equal."""

    def encode(self) -> bytes:
        """JSON in one fixed layout."""
        document = {
            "format": FORMAT,
            "chain": self.chain,
            "contract": hex_text(self.contract),
            "size": self.size,
            "root": hex_text(self.root),
            "block": hex_text(self.block),
            "transaction": self.transaction,
            "log": self.log,
            "header": hex_text(self.header),
            "proof": [hex_text(node) for node in self.proof],
            "consistency": [hex_text(digest) for digest in self.consistency],
        }
        return (json.dumps(document, indent=2) + "\n").encode("ascii")

    def check(self) -> Anchored:
        """Everything that follows from the block's hash. Raises: InvalidAnchor, InvalidTrieProof, MalformedMessage."""
        header = parse_header(self.header)
        if header.hash != self.block:
            raise InvalidAnchor(f"the header is of block {hex_text(header.hash)}, not {hex_text(self.block)}")
        receipt = parse_receipt(item_at(self.transaction, header.receipts_root, self.proof))
        if not receipt.succeeded:
            raise InvalidAnchor(f"transaction {self.transaction} of the block failed")
        if self.log >= len(receipt.logs):
            raise InvalidAnchor(f"the receipt has {len(receipt.logs)} events, none at {self.log}")
        accepted = read_event(receipt.logs[self.log], self.contract)
        if accepted is None:
            raise InvalidAnchor(f"event {self.log} is none in which {hex_text(self.contract)} accepts a checkpoint")
        size, root, epoch = accepted
        if (size, root) != (self.size, self.root):
            raise InvalidAnchor(
                f"recorded is the root {hex_text(root)} at size {size}, not {hex_text(self.root)} at {self.size}"
            )
        return Anchored(header=header, epoch=epoch)

    def check_agrees(self, size: int, root: bytes) -> None:
        """That the checkpoint (size, root) is of the same log: one tree is the beginning of the other.

        Raises: InvalidProof.
        """
        ours, theirs = (self.size, bytes(self.root)), (size, root)
        (size1, root1), (size2, root2) = (ours, theirs) if self.size <= size else (theirs, ours)
        verify_consistency(size1=size1, size2=size2, root1=root1, root2=root2, proof=self.consistency)

    def for_checkpoint(self, consistency: Sequence[bytes]) -> Anchor:
        """The same with a proof that leads to a checkpoint of evidence."""
        return dataclasses.replace(self, consistency=tuple(map(Digest, consistency)))


def read_event(log: Log, contract: bytes) -> tuple[int, Digest, int] | None:
    """Size, root and epoch if `contract` accepted a checkpoint in this event."""
    if log.address != contract or len(log.topics) != 2 or log.topics[0] != EVENT_TOPIC or len(log.data) != 64:
        return None
    size, epoch = int.from_bytes(log.topics[1], "big"), int.from_bytes(log.data[32:], "big")
    return size, Digest(log.data[:32]), epoch


def make_anchor(
    *, chain: int, contract: bytes, header: bytes, receipts: Sequence[bytes], transaction: int, size: int
) -> Anchor:
    """Of a block whose transaction at this position had `contract` accept a checkpoint of this size.

    header: RLP. receipts: all of the block, as they stand in the trie (`Receipt.encode`).
    Raises: InvalidAnchor where the receipts are not the header's or hold no such event; MalformedMessage.
    """
    parsed = parse_header(header)
    if not 0 <= transaction < len(receipts):
        raise InvalidAnchor(f"the block has {len(receipts)} receipts, none at {transaction}")
    trie = ListTrie(receipts)
    if trie.root != parsed.receipts_root:
        raise InvalidAnchor(
            f"the {len(receipts)} receipts have the root {hex_text(trie.root)}, the header says"
            f" {hex_text(parsed.receipts_root)}: this chain lists receipts in another way, or the node answers wrongly"
        )
    position, root = _find(parse_receipt(receipts[transaction]), contract, size)
    anchor = Anchor(
        chain=chain, contract=contract, size=size, root=root, block=parsed.hash, transaction=transaction, log=position,
        header=header, proof=trie.proof(transaction),
    )  # fmt: skip
    anchor.check()
    return anchor


def _find(receipt: Receipt, contract: bytes, size: int) -> tuple[int, Digest]:
    for position, log in enumerate(receipt.logs):
        accepted = read_event(log, contract)
        if accepted is not None and accepted[0] == size:
            return position, accepted[1]
    raise InvalidAnchor(f"{hex_text(contract)} accepted no checkpoint of {size} leaves in that transaction")


def parse_anchor(data: bytes) -> Anchor:
    """Inverse of `Anchor.encode`: one value, one text. Raises: MalformedAnchor."""
    document = load_json(data, "anchor", ANCHOR_BYTES_MAX, MalformedAnchor)
    if not isinstance(document, dict) or tuple(document) != _KEYS:
        raise MalformedAnchor("anchor", document, f"an object of {', '.join(_KEYS)}, in this order")
    if document["format"] != FORMAT:
        raise MalformedAnchor("format", document["format"], FORMAT)
    values = JsonValues(document, MalformedAnchor)
    anchor = Anchor(
        chain=values.whole("chain", 1, CHAIN_ID_MAX),
        contract=values.octets("contract", ADDRESS_BYTES),
        size=values.whole("size", 1, SIZE_MAX),
        root=Digest(values.octets("root", HASH_BYTES)),
        block=Digest(values.octets("block", HASH_BYTES)),
        transaction=values.whole("transaction", 0, ITEMS_MAX - 1),
        log=values.whole("log", 0, ITEMS_MAX - 1),
        header=values.octets("header"),
        proof=values.octets_each("proof", PROOF_NODES_MAX),
        consistency=tuple(map(Digest, values.octets_each("consistency", PROOF_HASHES_MAX, HASH_BYTES))),
    )
    if anchor.encode() != data:
        raise MalformedAnchor("anchor", "another layout", "the one that an anchor has (indent 2)")
    return anchor
