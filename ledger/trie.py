"""Merkle-Patricia tries of lists, as blocks of Ethereum commit to their receipts: proofs that are checked, and made.

Item i has the key RLP(i). Every item here is at least `ITEM_BYTES_MIN` long, so no node is short enough to stand inside
its parent, and none is a value of a branch, since no RLP is the beginning of another.
Source: Ethereum yellow paper, appendix D.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from consensus.errors import MalformedMessage, PeerError
from consensus.types import Digest
from ledger.keccak import keccak256
from ledger.rlp import RlpItem, decode_rlp, encode_number, encode_rlp

ITEM_BYTES_MIN: Final = 33
ITEMS_MAX: Final = 1 << 16
"""Transactions in a block: at 21,000 gas each, over a thousand million gas."""
PROOF_NODES_MAX: Final = 8
"""A key of three bytes is six nibbles: so many branches and a leaf at most, and the first may follow an extension."""
_HASH_BYTES: Final = 32


class InvalidTrieProof(PeerError):
    """Nodes of a trie do not lead from its root to an item. reason: one clause that says which part does not hold."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"invalid trie proof: {reason}")
        self.reason = reason


def _nibbles(data: bytes) -> tuple[int, ...]:
    return tuple(half for byte in data for half in (byte >> 4, byte & 15))


def _key(index: int) -> tuple[int, ...]:
    return _nibbles(encode_rlp(encode_number(index)))


def item_at(index: int, root: bytes, proof: Sequence[bytes]) -> bytes:
    """Item `index` of the list under `root`. proof: encoded nodes from the root down to the leaf.

    Raises: InvalidTrieProof, MalformedMessage.
    """
    if not 0 <= index < ITEMS_MAX:
        raise InvalidTrieProof(f"item {index} is not one of at most {ITEMS_MAX}")
    if len(proof) > PROOF_NODES_MAX:
        raise InvalidTrieProof(f"{len(proof)} nodes, more than any list needs")
    key, expected = _key(index), root
    for depth, node in enumerate(proof):
        if keccak256(node) != expected:
            raise InvalidTrieProof(
                f"node {depth} is not the one that {'the node above' if depth else 'the root'} names"
            )
        key, found, is_leaf = _step(node, key)
        if is_leaf:
            if depth + 1 != len(proof):
                raise InvalidTrieProof("nodes follow the leaf")
            return found
        expected = found
    raise InvalidTrieProof("it ends above the leaf")


def _step(node: bytes, key: tuple[int, ...]) -> tuple[tuple[int, ...], bytes, bool]:
    """What is left of the key, the next node's hash or the item, and whether it is the item."""
    parts = decode_rlp(node)
    if not isinstance(parts, list):
        raise MalformedMessage("trie node", "form", "a list of 2 or 17")
    if len(parts) == 17:
        if not key:
            raise InvalidTrieProof("the key ends in a branch")
        return key[1:], _hash(parts[key[0]]), False
    if len(parts) != 2 or not isinstance(parts[0], bytes):
        raise MalformedMessage("trie node", "form", "a list of 2 or 17, a path first if it is 2")
    path, is_leaf = _parse_path(parts[0])
    if key[: len(path)] != path:
        raise InvalidTrieProof("it leads to another item")
    rest = key[len(path) :]
    if not is_leaf:
        return rest, _hash(parts[1]), False
    if rest or not isinstance(parts[1], bytes) or len(parts[1]) < ITEM_BYTES_MIN:
        raise InvalidTrieProof("the leaf is of another item")
    return rest, parts[1], True


def _hash(part: RlpItem) -> bytes:
    if not isinstance(part, bytes) or len(part) != _HASH_BYTES:
        raise InvalidTrieProof("the list has no such item")
    return part


def _parse_path(data: bytes) -> tuple[tuple[int, ...], bool]:
    """Hex-prefix encoding: nibbles, and whether a leaf follows. Source: yellow paper, appendix C."""
    nibbles = _nibbles(data)
    if not nibbles or nibbles[0] > 3 or (not nibbles[0] & 1 and nibbles[1]):
        raise MalformedMessage("trie node", "path", "hex-prefix encoding")
    path = nibbles[1 if nibbles[0] & 1 else 2 :]
    is_leaf = nibbles[0] >= 2
    if not path and not is_leaf:
        raise MalformedMessage("trie node", "path", "an extension of at least one nibble")
    return path, is_leaf


def _encode_path(path: Sequence[int], *, is_leaf: bool) -> bytes:
    odd = len(path) & 1
    nibbles = [2 * is_leaf + odd, *([] if odd else [0]), *path]
    return bytes(high << 4 | low for high, low in zip(nibbles[::2], nibbles[1::2], strict=True))


class ListTrie:
    """The trie of a list: its root, and proofs of its items. Made anew from all items of a block."""

    def __init__(self, items: Sequence[bytes]) -> None:
        """Raises: ValueError for no items, too many, or one of less than ITEM_BYTES_MIN."""
        if not 1 <= len(items) <= ITEMS_MAX or any(len(item) < ITEM_BYTES_MIN for item in items):
            raise ValueError(f"1 to {ITEMS_MAX} items of at least {ITEM_BYTES_MIN} bytes")
        self._nodes: dict[Digest, bytes] = {}
        self._count = len(items)
        self.root = self._add(sorted((_key(i), item) for i, item in enumerate(items)))

    def _add(self, entries: Sequence[tuple[tuple[int, ...], bytes]]) -> Digest:
        """Hash of the node over these, by their keys' rest, ascending. At most 6 deep: keys have six nibbles."""
        first, last = entries[0][0], entries[-1][0]
        if len(entries) == 1:
            return self._keep([_encode_path(first, is_leaf=True), entries[0][1]])
        shared = next(i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
        if shared:
            below = self._add([(key[shared:], item) for key, item in entries])
            return self._keep([_encode_path(first[:shared], is_leaf=False), below])
        branches: list[RlpItem] = [b""] * 17
        for nibble in range(16):
            inside = [(key[1:], item) for key, item in entries if key[0] == nibble]
            if inside:
                branches[nibble] = self._add(inside)
        return self._keep(branches)

    def _keep(self, node: list[RlpItem]) -> Digest:
        encoded = encode_rlp(node)
        digest = keccak256(encoded)
        self._nodes[digest] = encoded
        return digest

    def proof(self, index: int) -> tuple[bytes, ...]:
        """Nodes from the root down to item `index`. Raises: IndexError."""
        if not 0 <= index < self._count:
            raise IndexError(f"item {index} of {self._count}")
        key, at, found = _key(index), bytes(self.root), list[bytes]()
        while True:
            found.append(self._nodes[Digest(at)])
            key, at, is_leaf = _step(found[-1], key)
            if is_leaf:
                return tuple(found)
