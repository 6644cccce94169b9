"""The contracts' proof verifier against ledger/merkle.py, and against pymerkle's proofs, which somebody else wrote."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Any

import pytest
from pymerkle import InmemoryTree

from ledger.merkle import InvalidProof, leaf_hash, verify_consistency, verify_inclusion
from tests.contracts.chain import Chain, Contract, deploy, reverts
from tests.contracts.log import Log, numbered

SIZES = 33 if os.environ.get("STRETTO_EVM") == "anvil" else 18
"""Every size up to this, with every index. py-evm takes half a minute for what anvil does in one second."""
CASES_AT_ONCE = 150


@pytest.fixture(scope="module")
def harness(chain: Chain) -> Contract:
    return deploy(chain, "ProofHarness")[0]


def accepted(harness: Contract, method: str, cases: Sequence[Any]) -> list[bool]:
    found: list[bool] = []
    for start in range(0, len(cases), CASES_AT_ONCE):
        found += harness.ask(method, cases[start : start + CASES_AT_ONCE])
    return found


def test_every_inclusion_proof_of_small_trees_is_accepted_and_at_other_indices_refused(harness: Contract) -> None:
    log = Log(numbered(SIZES))
    good, bad = [], []
    for size in range(1, SIZES + 1):
        root = log.root(size)
        for index in range(size):
            entry, path = log.entries[index], log.inclusion(index, size)
            good.append((entry, index, size, root, path))
            bad.append((entry, (index + 1) % (size + 1), size, root, path))
    assert all(accepted(harness, "inclusions", good))
    assert not any(accepted(harness, "inclusions", bad))


def test_every_consistency_proof_of_small_trees_is_accepted_and_no_other_root(harness: Contract) -> None:
    log = Log(numbered(SIZES))
    good, bad = [], []
    for size2 in range(2, SIZES + 1):
        for size1 in range(1, size2):
            old, new, path = log.root(size1), log.root(size2), log.consistency(size1, size2)
            good.append((size1, old, size2, new, path))
            bad.append((size1, bytes([old[0] ^ 1]) + old[1:], size2, new, path))
            bad.append((size1, old, size2, bytes([new[0] ^ 1]) + new[1:], path))
    assert all(accepted(harness, "consistencies", good))
    assert not any(accepted(harness, "consistencies", bad))


def damaged(path: list[bytes], chance: random.Random, how: int) -> list[bytes]:
    """One hash fewer, more or other; most values of `how` leave it alone."""
    match how:
        case 0:
            return path[:-1]
        case 1:
            return [*path, chance.randbytes(32)]
        case 2 if path:
            at = chance.randrange(len(path))
            return [*path[:at], chance.randbytes(32), *path[at + 1 :]]
        case _:
            return path


def test_verifier_agrees_with_the_ledger_on_damaged_inclusion_proofs(harness: Contract) -> None:
    chance = random.Random(5)
    cases, expected = [], []
    for _ in range(400):
        log = Log(numbered(chance.randint(1, 200)))
        size = chance.randint(1, log.size)
        index, how = chance.randrange(size), chance.randrange(6)
        entry, root = log.entries[index], log.root(size)
        path = damaged(log.inclusion(index, size), chance, how)
        size = chance.randint(index + 1, 250) if how == 3 else size
        index = chance.randrange(size) if how == 4 else index
        cases.append((entry, index, size, root, path))
        try:
            verify_inclusion(leaf=leaf_hash(entry), index=index, size=size, proof=path, root=root)
            expected.append(True)
        except InvalidProof:
            expected.append(False)
    assert accepted(harness, "inclusions", cases) == expected
    assert 50 < sum(expected) < 350, "the damage is neither always nor never there"


def test_verifier_agrees_with_the_ledger_on_damaged_consistency_proofs(harness: Contract) -> None:
    chance = random.Random(6)
    cases, expected = [], []
    for _ in range(400):
        log = Log(numbered(chance.randint(2, 200)))
        size2 = chance.randint(2, log.size)
        size1, how = chance.randrange(1, size2), chance.randrange(6)
        old, new = log.root(size1), log.root(size2)
        path = damaged(log.consistency(size1, size2), chance, how)
        size1 = chance.randrange(1, size2) if how == 3 else size1
        size2 = chance.randint(size1 + 1, 250) if how == 4 else size2
        cases.append((size1, old, size2, new, path))
        try:
            verify_consistency(size1=size1, size2=size2, root1=old, root2=new, proof=path)
            expected.append(True)
        except InvalidProof:
            expected.append(False)
    assert accepted(harness, "consistencies", cases) == expected
    assert 50 < sum(expected) < 350, "the damage is neither always nor never there"


def test_proofs_of_pymerkle_are_accepted(harness: Contract) -> None:
    tree = InmemoryTree(algorithm="sha256")
    entries = numbered(SIZES)
    for entry in entries:
        tree.append_entry(entry)
    good, bad = [], []
    for size in range(1, SIZES + 1):
        root = tree.get_root(size)
        for index in range(size):
            path = list(tree.prove_inclusion(index + 1, size).path)
            path.remove(leaf_hash(entries[index]))  # pymerkle counts the leaf among the hashes
            good.append((entries[index], index, size, root, path))
            bad.append((entries[index], (index + 1) % (size + 1), size, root, path))
    assert all(accepted(harness, "inclusions", good))
    assert not any(accepted(harness, "inclusions", bad))


def test_largest_trees_that_logs_can_have_are_verified(harness: Contract) -> None:
    """One leaf among 2^63 - 1, at the left edge: 63 hashes, of which only the arithmetic is checked here."""
    entry, size = numbered(1)[0], 2**63 - 1
    path = [bytes([i]) * 32 for i in range(63)]
    with reverts("WrongRoot"):
        harness.ask("checkInclusion", (entry, 0, size, bytes(32), path))
    with reverts("ProofTooShort"):
        harness.ask("checkInclusion", (entry, 0, size, bytes(32), path[:-1]))
    with reverts("ProofTooLong"):
        harness.ask("checkInclusion", (entry, 0, size, bytes(32), [*path, entry]))


def test_each_way_a_proof_can_be_wrong_has_its_name(harness: Contract) -> None:
    log = Log(numbered(7))
    entry, root, path = log.entries[2], log.root(), log.inclusion(2)
    with reverts("IndexOutOfTree", 7, 7):
        harness.ask("checkInclusion", (entry, 7, 7, root, path))
    with reverts("IndexOutOfTree", 0, 0):
        harness.ask("checkInclusion", (entry, 0, 0, root, []))
    with reverts("ProofTooShort"):
        harness.ask("checkInclusion", (entry, 2, 7, root, path[:-1]))
    with reverts("ProofTooLong"):
        harness.ask("checkInclusion", (entry, 2, 7, root, [*path, root]))
    with reverts("WrongRoot"):
        harness.ask("checkInclusion", (entry, 2, 7, bytes(32), path))
