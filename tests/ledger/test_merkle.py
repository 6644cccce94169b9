"""The log's tree against its definition, the published vectors, and every near miss."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.errors import MalformedMessage
from ledger.merkle import (
    EMPTY_ROOT,
    SIZE_MAX,
    Frontier,
    InvalidProof,
    consistency_proof,
    frontier_at,
    inclusion_proof,
    leaf_hash,
    node_hash,
    parse_frontier,
    root,
    root_at,
    verify_consistency,
    verify_inclusion,
)

VECTORS = Path(__file__).parent.parent / "vectors"
ENTRIES = [bytes([i]) * (i % 5) for i in range(70)]


def naive_root(entries: Sequence[bytes]) -> bytes:
    """MTH, RFC 6962 section 2.1, as it is written."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = split(len(entries))
    return hashlib.sha256(b"\x01" + naive_root(entries[:k]) + naive_root(entries[k:])).digest()


def split(n: int) -> int:
    """The largest power of two smaller than n, by trying."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def naive_path(m: int, entries: Sequence[bytes]) -> list[bytes]:
    """PATH, RFC 6962 section 2.1.1, as it is written."""
    if len(entries) <= 1:
        return []
    k = split(len(entries))
    if m < k:
        return [*naive_path(m, entries[:k]), naive_root(entries[k:])]
    return [*naive_path(m - k, entries[k:]), naive_root(entries[:k])]


def naive_subproof(m: int, entries: Sequence[bytes], b: bool) -> list[bytes]:
    """SUBPROOF, RFC 6962 section 2.1.2, as it is written."""
    n = len(entries)
    if m == n:
        return [] if b else [naive_root(entries)]
    k = split(n)
    if m <= k:
        return [*naive_subproof(m, entries[:k], b), naive_root(entries[k:])]
    return [*naive_subproof(m - k, entries[k:], False), naive_root(entries[:k])]


class Nodes:
    """The nodes a store would keep; refuses to read one that is not full yet, as a store would."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.frontier, nodes = Frontier().extend(entries)
        self.nodes = {(node.level, node.index): node.hash for node in nodes}
        assert len(self.nodes) == len(nodes), "a node becomes full once"

    def read(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]


NODES = Nodes(ENTRIES)


def decode(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def cases(kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((VECTORS / f"rfc6962_{kind}.json").read_text())["cases"]
    return found


def all_cases(kind: str) -> list[dict[str, Any]]:
    folder = os.environ.get("STRETTO_VECTORS")
    if not folder:
        pytest.skip("the whole suite of transparency-dev/merkle: set STRETTO_VECTORS to its folder")
    found: list[dict[str, Any]] = json.loads((Path(folder) / f"rfc6962_{kind}.json").read_text())
    assert len(found) == 98
    return found


def holds_inclusion(case: dict[str, Any]) -> bool:
    try:
        verify_inclusion(
            leaf=decode(case["leafHash"]),
            index=case["leafIdx"],
            size=case["treeSize"],
            proof=[decode(item) for item in case["proof"] or ()],
            root=decode(case["root"]),
        )
    except InvalidProof:
        return False
    return True


def holds_consistency(case: dict[str, Any]) -> bool:
    try:
        verify_consistency(
            size1=case["size1"],
            size2=case["size2"],
            root1=decode(case["root1"]),
            root2=decode(case["root2"]),
            proof=[decode(item) for item in case["proof"] or ()],
        )
    except InvalidProof:
        return False
    return True


@pytest.mark.parametrize("case", cases("inclusion"), ids=lambda case: case["name"])
def test_inclusion_vector(case: dict[str, Any]) -> None:
    assert holds_inclusion(case) is not case["wantErr"], case["desc"]


@pytest.mark.parametrize("case", cases("consistency"), ids=lambda case: case["name"])
def test_consistency_vector(case: dict[str, Any]) -> None:
    assert holds_consistency(case) is not case["wantErr"], case["desc"]


def test_whole_published_inclusion_suite() -> None:
    for case in all_cases("inclusion"):
        assert holds_inclusion(case) is not case["wantErr"], case["name"]


def test_whole_published_consistency_suite() -> None:
    for case in all_cases("consistency"):
        assert holds_consistency(case) is not case["wantErr"], case["name"]


def test_committed_vectors_hold_both_outcomes() -> None:
    for kind in ("inclusion", "consistency"):
        assert {case["wantErr"] for case in cases(kind)} == {True, False}


def test_root_and_frontier_equal_the_definition_at_every_size() -> None:
    frontier = Frontier()
    for size in range(len(ENTRIES) + 1):
        expected = naive_root(ENTRIES[:size])
        assert root(ENTRIES[:size]) == frontier.root() == root_at(size, NODES.read) == expected
        assert frontier_at(size, NODES.read) == frontier
        assert parse_frontier(frontier.encode()) == frontier
        if size < len(ENTRIES):
            frontier = frontier.append(ENTRIES[size])
    assert frontier == NODES.frontier


def test_empty_tree_is_the_hash_of_nothing() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert root([]) == Frontier().root() == EMPTY_ROOT


def test_leaf_cannot_be_read_as_a_node() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert node_hash(left, right) != leaf_hash(left + right)


def test_proofs_equal_the_definition_for_every_pair() -> None:
    for size in range(1, 34):
        for index in range(size):
            assert list(inclusion_proof(index, size, NODES.read)) == naive_path(index, ENTRIES[:size])
        for size1 in range(1, size + 1):
            assert list(consistency_proof(size1, size, NODES.read)) == naive_subproof(size1, ENTRIES[:size], True)


@settings(max_examples=150)
@given(data=st.data())
def test_inclusion_verifies_iff_index_size_leaf_and_root_match(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(ENTRIES)))
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, NODES.read)
    claimed_index = data.draw(st.one_of(st.just(index), st.integers(0, len(ENTRIES))))
    claimed_size = data.draw(st.one_of(st.just(size), st.integers(0, len(ENTRIES))))
    claimed_leaf = data.draw(st.one_of(st.just(index), st.integers(0, len(ENTRIES) - 1)))
    claimed_root = naive_root(ENTRIES[: data.draw(st.one_of(st.just(size), st.integers(0, len(ENTRIES))))])

    def verify() -> None:
        verify_inclusion(
            leaf=leaf_hash(ENTRIES[claimed_leaf]),
            index=claimed_index,
            size=claimed_size,
            proof=proof,
            root=claimed_root,
        )

    same_leaf = leaf_hash(ENTRIES[claimed_leaf]) == leaf_hash(ENTRIES[index])
    if claimed_index == index and same_leaf and claimed_root == naive_root(ENTRIES[:size]) and claimed_size == size:
        verify()
    elif claimed_size == size or claimed_index != index:
        with pytest.raises(InvalidProof):
            verify()
    # else: another size alone may share the leaf's path (size 6 and 7 for leaf 0); the signed checkpoint binds it


@settings(max_examples=150)
@given(data=st.data())
def test_consistency_verifies_iff_both_roots_match(data: st.DataObject) -> None:
    size2 = data.draw(st.integers(1, len(ENTRIES)))
    size1 = data.draw(st.integers(1, size2))
    proof = consistency_proof(size1, size2, NODES.read)
    of1 = data.draw(st.one_of(st.just(size1), st.integers(0, len(ENTRIES))))
    of2 = data.draw(st.one_of(st.just(size2), st.integers(0, len(ENTRIES))))

    def verify() -> None:
        verify_consistency(
            size1=size1, size2=size2, root1=naive_root(ENTRIES[:of1]), root2=naive_root(ENTRIES[:of2]), proof=proof
        )

    if (of1, of2) == (size1, size2) or (size1 == size2 and of1 == of2):
        verify()
    else:
        with pytest.raises(InvalidProof):
            verify()


@settings(max_examples=100)
@given(st.data())
def test_any_change_to_a_proof_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, len(ENTRIES)))
    index = data.draw(st.integers(0, size - 1))
    proof = list(inclusion_proof(index, size, NODES.read))
    where = data.draw(st.integers(0, len(proof) - 1))
    change = data.draw(st.sampled_from(["flip", "drop", "repeat", "swap", "append"]))
    match change:
        case "flip":
            proof[where] = bytes([proof[where][0] ^ 1]) + proof[where][1:]  # type: ignore[call-overload]
        case "drop":
            del proof[where]
        case "repeat":
            proof.insert(where, proof[where])
        case "swap" if len(proof) > 1 and where:
            proof[where - 1], proof[where] = proof[where], proof[where - 1]
        case _:
            proof.append(leaf_hash(b"more"))
    with pytest.raises(InvalidProof):
        verify_inclusion(
            leaf=leaf_hash(ENTRIES[index]), index=index, size=size, proof=proof, root=naive_root(ENTRIES[:size])
        )


def test_consistency_from_the_empty_tree_is_always_refused() -> None:
    for size2 in (0, 1, 5):
        with pytest.raises(InvalidProof, match="there is none from 0"):
            verify_consistency(size1=0, size2=size2, root1=EMPTY_ROOT, root2=naive_root(ENTRIES[:size2]), proof=[])
        with pytest.raises(ValueError, match="no consistency proof from 0"):
            consistency_proof(0, size2, NODES.read)


def test_inclusion_outside_the_tree_is_refused() -> None:
    leaf = leaf_hash(ENTRIES[0])
    for index, size in ((-1, 1), (1, 1), (0, 0), (SIZE_MAX + 1, SIZE_MAX + 2)):
        with pytest.raises(InvalidProof, match="is not in a tree"):
            verify_inclusion(leaf=leaf, index=index, size=size, proof=[], root=leaf)
        with pytest.raises(ValueError, match="is not in a tree"):
            inclusion_proof(index, size, NODES.read)


def test_overlong_proof_and_short_hash_are_refused_before_hashing() -> None:
    leaf = leaf_hash(ENTRIES[0])
    with pytest.raises(InvalidProof, match="more than any tree needs"):
        verify_inclusion(leaf=leaf, index=0, size=SIZE_MAX, proof=[leaf] * 129, root=leaf)
    with pytest.raises(InvalidProof, match="32 bytes"):
        verify_inclusion(leaf=leaf, index=0, size=2, proof=[leaf[:31]], root=leaf)


def test_proof_for_the_largest_tree_stays_within_the_bound() -> None:
    levels = [leaf_hash(b"the same entry in every leaf")]
    for _ in range(63):
        levels.append(node_hash(levels[-1], levels[-1]))

    def read(level: int, index: int) -> bytes:
        assert index + 1 <= SIZE_MAX >> level, "a node that is not full yet"
        return levels[level]

    last = SIZE_MAX - 1
    proof = inclusion_proof(last, SIZE_MAX, read)
    verify_inclusion(leaf=read(0, last), index=last, size=SIZE_MAX, proof=proof, root=root_at(SIZE_MAX, read))
    size1 = SIZE_MAX // 3
    steps = consistency_proof(size1, SIZE_MAX, read)
    verify_consistency(
        size1=size1, size2=SIZE_MAX, root1=root_at(size1, read), root2=root_at(SIZE_MAX, read), proof=steps
    )


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"", "length"),
        (bytes(7), "length"),
        (bytes(9), "length"),
        (bytes(8) + bytes(32), "nodes"),
        ((3).to_bytes(8, "big") + bytes(32), "nodes"),
        (b"\xff" * 8 + bytes(64 * 32), "size"),
    ],
    ids=["empty", "short", "odd", "node of no leaves", "node missing", "size over the bound"],
)
def test_malformed_frontier_is_refused(data: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage) as refusal:
        parse_frontier(data)
    assert refusal.value.field == field
