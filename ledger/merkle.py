"""The log's Merkle tree: RFC 6962 and RFC 9162 with SHA-256, apart from where its nodes are stored.

A tree is named by its size (leaves) and root. Nodes of perfect subtrees never change once full, so storage is a map
(level, index) -> hash: node (level, index) covers the leaves index * 2^level up to, not with, (index + 1) * 2^level;
level 0 are the leaf hashes. Proofs are read from that map; a `Frontier` is all that appending needs.
Model: transparency-dev/merkle keeps proof arithmetic apart from storage in the same way.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from consensus.errors import MalformedMessage, PeerError
from consensus.types import Digest

ReadNode = Callable[[int, int], bytes]
"""(level, index) -> the 32-byte hash of that perfect subtree. Raises what the storage raises when it is absent."""

HASH_BYTES: Final = 32
SIZE_MAX: Final = 2**63 - 1
"""Leaves. C2SP tlog-tiles and Go's sumdb/tlog hold sizes in a signed 64-bit integer."""
PROOF_HASHES_MAX: Final = 128
"""Hashes in any proof of a tree of SIZE_MAX leaves: 63 for inclusion, at most twice that for consistency."""

_LEAF_PREFIX: Final = b"\x00"
_NODE_PREFIX: Final = b"\x01"

EMPTY_ROOT: Final = Digest(hashlib.sha256(b"").digest())
"""RFC 6962, section 2.1: the root of no leaves is the hash of the empty string."""


class InvalidProof(PeerError):
    """A Merkle proof does not prove what it was offered for.

    proof: "inclusion" or "consistency". reason: one clause that says which part does not hold.
    """

    def __init__(self, proof: str, reason: str) -> None:
        super().__init__(f"invalid {proof} proof: {reason}")
        self.proof = proof
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Node:
    """A perfect subtree that has become full: what storage keeps."""

    level: int
    """0 for a leaf; the subtree has 2^level leaves."""
    index: int
    """0-based among the subtrees of its level."""
    hash: bytes


def leaf_hash(entry: bytes) -> Digest:
    """RFC 6962, section 2.1: SHA-256(0x00 || entry). The log's entry is the SHA-256 of a statement's bytes."""
    return Digest(hashlib.sha256(_LEAF_PREFIX + entry).digest())


def node_hash(left: bytes, right: bytes) -> Digest:
    """RFC 6962, section 2.1: SHA-256(0x01 || left || right)."""
    return Digest(hashlib.sha256(_NODE_PREFIX + left + right).digest())


def root(entries: Iterable[bytes]) -> Digest:
    """Root of the tree over `entries`, in order. Level by level: 16,384 claims take about 20 ms."""
    sha256 = hashlib.sha256
    level = [sha256(_LEAF_PREFIX + entry).digest() for entry in entries]
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        pairs = [
            sha256(_NODE_PREFIX + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)
        ]
        # An odd node rises unchanged: that is how RFC 6962's split at the largest power of two reads from below.
        level = [*pairs, level[-1]] if len(level) % 2 else pairs
    return Digest(level[0])


@dataclass(frozen=True, slots=True)
class Frontier:
    """What must be known of a tree to append to it: the roots of its maximal perfect subtrees, largest first.

    Invariants: (1) 0 <= size <= SIZE_MAX; (2) one 32-byte node per 1-bit of `size`.
    """

    size: int = 0
    nodes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= SIZE_MAX:
            raise MalformedMessage("frontier", "size", f"0 to {SIZE_MAX}, got {self.size}")
        if len(self.nodes) != self.size.bit_count():
            raise MalformedMessage(
                "frontier", "nodes", f"{self.size.bit_count()} for {self.size} leaves, got {len(self.nodes)}"
            )
        if any(len(node) != HASH_BYTES for node in self.nodes):
            raise MalformedMessage("frontier", "nodes", f"{HASH_BYTES} bytes each")

    def root(self) -> Digest:
        """Root of the tree: the perfect subtrees joined from the right."""
        if not self.nodes:
            return EMPTY_ROOT
        joined = self.nodes[-1]
        for node in self.nodes[-2::-1]:
            joined = node_hash(node, joined)
        return Digest(joined)

    def extend(self, entries: Iterable[bytes]) -> tuple[Frontier, tuple[Node, ...]]:
        """The frontier after `entries` were appended, and every node that became full, in the order it did.

        About two nodes an entry; a store that keeps them can answer any proof of any later tree.
        """
        size, nodes = self.size, list(self.nodes)
        full: list[Node] = []
        for entry in entries:
            level, current = 0, leaf_hash(entry)
            full.append(Node(0, size, current))
            while size >> level & 1:  # a left sibling waits at this level: join, as in binary addition with carry
                current = node_hash(nodes.pop(), current)
                level += 1
                full.append(Node(level, size >> level, current))
            nodes.append(current)
            size += 1
        return Frontier(size, tuple(nodes)), tuple(full)

    def append(self, entry: bytes) -> Frontier:
        """The frontier after one more entry."""
        return self.extend((entry,))[0]

    def encode(self) -> bytes:
        """u64 big-endian size, then the nodes."""
        return struct.pack(">Q", self.size) + b"".join(self.nodes)


def parse_frontier(data: bytes) -> Frontier:
    """Inverse of `Frontier.encode`. Raises: MalformedMessage."""
    if len(data) < 8 or (len(data) - 8) % HASH_BYTES:
        raise MalformedMessage("frontier", "length", f"8 + 32 k bytes, got {len(data)}")
    (size,) = struct.unpack_from(">Q", data)
    return Frontier(size, tuple(data[i : i + HASH_BYTES] for i in range(8, len(data), HASH_BYTES)))


def _split(size: int) -> int:
    """k of RFC 6962, section 2.1: the largest power of two smaller than `size` (size > 1)."""
    return 1 << (size - 1).bit_length() - 1


def _range_root(start: int, end: int, read: ReadNode) -> bytes:
    """Root of the leaves start .. end - 1, where start is a multiple of the range's first perfect subtree."""
    joined: bytes | None = None
    remaining = end - start
    while remaining:  # right to left: the lowest 1-bit is the rightmost perfect subtree
        level = (remaining & -remaining).bit_length() - 1
        remaining &= remaining - 1
        node = read(level, start + remaining >> level)
        joined = node if joined is None else node_hash(node, joined)
    assert joined is not None, "a range root is never asked for no leaves"
    return joined


def root_at(size: int, read: ReadNode) -> Digest:
    """Root of the tree of the first `size` leaves, read from stored nodes."""
    return Digest(_range_root(0, size, read)) if size else EMPTY_ROOT


def frontier_at(size: int, read: ReadNode) -> Frontier:
    """Frontier of the first `size` leaves, read from stored nodes."""
    nodes: list[bytes] = []
    start = 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            nodes.append(read(level, start >> level))
            start += 1 << level
    return Frontier(size, tuple(nodes))


def inclusion_proof(index: int, size: int, read: ReadNode) -> tuple[Digest, ...]:
    """Audit path of leaf `index` in the tree of `size` leaves, the leaf's sibling first.

    Raises: ValueError unless 0 <= index < size (a caller's mistake; requests are checked before).
    Source: RFC 6962, section 2.1.1.
    """
    if not 0 <= index < size <= SIZE_MAX:
        raise ValueError(f"index {index} is not in a tree of {size} leaves")
    path: list[Digest] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(Digest(_range_root(middle, end, read)))
            end = middle
        else:
            path.append(Digest(_range_root(start, middle, read)))
            start = middle
    return tuple(reversed(path))


def consistency_proof(size1: int, size2: int, read: ReadNode) -> tuple[Digest, ...]:
    """Proof that the tree of `size1` leaves is a prefix of the tree of `size2` leaves; empty when they are equal.

    Raises: ValueError unless 0 < size1 <= size2.
    Source: RFC 6962, section 2.1.2, SUBPROOF(m, D[n], b) walked from the root down.
    """
    if not 0 < size1 <= size2 <= SIZE_MAX:
        raise ValueError(f"no consistency proof from {size1} to {size2} leaves")
    path: list[Digest] = []
    start, end = 0, size2
    while size1 != end:
        middle = start + _split(end - start)
        if size1 <= middle:
            path.append(Digest(_range_root(middle, end, read)))
            end = middle
        else:
            path.append(Digest(_range_root(start, middle, read)))
            start = middle
    if start > 0:  # b is false: the verifier does not hold this subtree's root
        path.append(Digest(_range_root(start, end, read)))
    return tuple(reversed(path))


def _check_hashes(proof: str, hashes: Sequence[bytes]) -> None:
    # Roots are compared, so their length needs no check; a proof's hashes are concatenated, so theirs does.
    if len(hashes) > PROOF_HASHES_MAX:
        raise InvalidProof(proof, f"{len(hashes)} hashes, more than any tree needs")
    if any(len(item) != HASH_BYTES for item in hashes):
        raise InvalidProof(proof, f"every hash has {HASH_BYTES} bytes")


def verify_inclusion(*, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the tree of `size` leaves with `root` has the leaf hash `leaf` (not the entry) at `index`.

    Raises: InvalidProof. Source: RFC 9162, section 2.1.3.2.
    """
    _check_hashes("inclusion", (leaf, *proof))
    if not 0 <= index < size <= SIZE_MAX:
        raise InvalidProof("inclusion", f"index {index} is not in a tree of {size} leaves")
    position, last, current = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise InvalidProof("inclusion", f"{len(proof)} hashes are too many for leaf {index} of {size}")
        if position & 1 or position == last:
            current = node_hash(sibling, current)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            current = node_hash(current, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise InvalidProof("inclusion", f"{len(proof)} hashes are too few for leaf {index} of {size}")
    if current != root:
        raise InvalidProof("inclusion", f"leaf {index} of {size} leads to root {current.hex()}, not {root.hex()}")


def verify_consistency(*, size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree (size1, root1) is a prefix of the tree (size2, root2).

    size1 == 0 is always refused: every tree extends the empty one, so such a proof would show nothing, and RFC 9162
    leaves open what it looks like (transparency-dev/merkle refuses it too).
    Raises: InvalidProof. Source: RFC 9162, section 2.1.4.2.
    """
    _check_hashes("consistency", proof)
    if not 0 < size1 <= size2 <= SIZE_MAX:
        raise InvalidProof("consistency", f"there is none from {size1} to {size2} leaves")
    if size1 == size2:
        if proof:
            raise InvalidProof("consistency", "between equal sizes it is empty")
        if root1 != root2:
            raise InvalidProof("consistency", f"two roots for {size1} leaves: {root1.hex()} and {root2.hex()}")
        return
    if not proof:
        raise InvalidProof("consistency", f"it is not empty from {size1} to {size2} leaves")
    # "If first is an exact power of 2, then prepend first_hash to the consistency_path array."
    old, new = _climb_consistency(size1, size2, proof if size1 & size1 - 1 else (root1, *proof))
    if old != root1:
        raise InvalidProof("consistency", f"it leads to the root {old.hex()} at {size1} leaves, not {root1.hex()}")
    if new != root2:
        raise InvalidProof("consistency", f"it leads to the root {new.hex()} at {size2} leaves, not {root2.hex()}")


def _climb_consistency(size1: int, size2: int, hashes: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Both roots that a consistency path leads to. Raises: InvalidProof when its length is not that of the sizes."""
    position, last = size1 - 1, size2 - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise InvalidProof("consistency", f"it has too many hashes for {size1} and {size2} leaves")
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise InvalidProof("consistency", f"it has too few hashes for {size1} and {size2} leaves")
    return old, new
