"""What freezes the bridge: proof that a quorum contradicts itself. And what does not, though it looks like it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.contracts.chain import Receipt, reverts
from tests.contracts.deployed import EPOCH, GENESIS, NONE, Deployed
from tests.contracts.log import Log, numbered
from tests.contracts.signers import Checkpoint, Signed, make_signers, recorded

NEXT = make_signers(5, "next")
WEEK = 7 * 24 * 3600


def forked(world: Deployed, receipt: Receipt) -> list[Any]:
    return world.bridge.events(receipt, "Forked")


def two_roots(world: Deployed) -> tuple[Signed, Signed]:
    _, forged = world.fork()
    return world.signed(), world.validators.signed(GENESIS, forged)


def test_two_roots_of_one_size_freeze_and_are_shown(world: Deployed) -> None:
    world.log.extend(numbered(6, "more"))
    honest, forged = two_roots(world)
    receipt = world.bridge.do("reportFork", honest.abi, forged.abi)
    (event,) = forked(world, receipt)
    assert (event["a"]["root"], event["b"]["root"]) == (honest.checkpoint.root, forged.checkpoint.root)
    assert world.bridge.ask("frozen")


def test_root_other_than_the_recorded_one_freezes_and_does_not_revert(world: Deployed) -> None:
    world.grow(*numbered(6, "more"))
    honest, forged = two_roots(world)
    assert world.bridge.ask("submit", forged.abi, []) is False
    (event,) = forked(world, world.bridge.do("submit", forged.abi, []))
    assert (event["a"]["root"], event["b"]["root"]) == (honest.checkpoint.root, forged.checkpoint.root)
    assert world.bridge.ask("frozen")
    assert world.bridge.ask("rootAt", 7) == honest.checkpoint.root


def test_other_root_at_an_earlier_recorded_size_freezes(world: Deployed) -> None:
    world.grow(*numbered(6, "more"))
    _, forged = two_roots(world)
    world.grow(*numbered(6, "further"))
    world.bridge.do("submit", forged.abi, [])
    assert world.bridge.ask("frozen")


def test_other_root_without_a_quorum_freezes_nothing(world: Deployed) -> None:
    world.grow(*numbered(6, "more"))
    _, forged = world.fork()
    few = world.validators.signed(GENESIS, forged, which=[1, 2])
    with reverts("TooFewSignatures", 2, 3):
        world.bridge.do("submit", few.abi, [])
    with reverts("TooFewSignatures", 2, 3):
        world.bridge.do("reportFork", world.signed().abi, few.abi)
    with reverts("TooFewSignatures", 2, 3):
        world.bridge.do("reportFork", few.abi, world.signed().abi)
    assert not world.bridge.ask("frozen")


def test_recorded_checkpoint_needs_no_signatures_as_evidence(world: Deployed) -> None:
    world.grow(*numbered(6, "more"))
    honest, forged = two_roots(world)
    world.bridge.do("reportFork", recorded(honest.checkpoint).abi, forged.abi)
    assert world.bridge.ask("frozen")


def test_checkpoint_neither_signed_nor_recorded_is_no_evidence(world: Deployed) -> None:
    world.grow(*numbered(6, "more"))
    honest, forged = two_roots(world)
    with reverts("NotRecorded", 7):
        world.bridge.do("reportFork", honest.abi, recorded(forged.checkpoint).abi)
    with reverts("NotRecorded", 7):  # a boundary is recorded as nothing but a checkpoint
        boundary = replace(honest.checkpoint, successor=NEXT.hash(EPOCH + 1))
        world.bridge.do("reportFork", recorded(boundary).abi, forged.abi)
    with reverts("ZeroRoot"):  # an unknown size reads as zero
        unknown = replace(honest.checkpoint, size=5, root=NONE)
        world.bridge.do("reportFork", recorded(unknown).abi, replace(forged, checkpoint=unknown).abi)
    with reverts("ZeroSize"):
        world.bridge.do("reportFork", world.signed(size=0).abi, world.signed(size=0, root=b"\x01" * 32).abi)
    assert not world.bridge.ask("frozen")


def test_same_checkpoint_twice_is_no_fork(world: Deployed) -> None:
    world.log.extend(numbered(6, "more"))
    with reverts("NotAFork"):
        world.bridge.do("reportFork", world.signed().abi, world.signed().abi)
    with reverts("NotAFork"):  # once as the boundary: that is how epochs end
        world.bridge.do("reportFork", world.signed().abi, world.boundary(NEXT).abi)


def test_growth_is_no_fork(world: Deployed) -> None:
    world.log.extend(numbered(6, "more"))
    earlier = world.signed()
    world.log.extend(numbered(6, "further"))
    with reverts("NotAFork"):
        world.bridge.do("reportFork", earlier.abi, world.signed().abi)


def test_two_successors_of_one_epoch_freeze(world: Deployed) -> None:
    other = make_signers(5, "other")
    world.bridge.do("reportFork", world.boundary(NEXT).abi, world.boundary(other).abi)
    assert world.bridge.ask("frozen")


def test_two_boundaries_of_one_epoch_freeze(world: Deployed) -> None:
    first = world.boundary(NEXT)
    world.log.extend(numbered(1, "more"))
    world.bridge.do("reportFork", first.abi, world.boundary(NEXT).abi)
    assert world.bridge.ask("frozen")


def test_boundaries_of_two_epochs_are_no_fork(world: Deployed) -> None:
    first = world.boundary(NEXT)
    world.rotate(NEXT)
    world.log.extend(numbered(1, "more"))
    with reverts("NotAFork"):
        world.bridge.do("reportFork", first.abi, world.boundary(make_signers(4, "third")).abi)


def test_fork_between_two_epochs_freezes(world: Deployed) -> None:
    world.log.extend(numbered(4, "more"))
    by_old = world.signed()
    _, forged = world.fork()
    world.log = Log(numbered(1))
    world.rotate(NEXT)
    by_new = NEXT.signed(GENESIS, replace(forged, epoch=EPOCH + 1))
    world.bridge.do("reportFork", by_old.abi, by_new.abi)
    assert world.bridge.ask("frozen")


def test_previous_set_is_held_to_its_signatures_for_seven_days(world: Deployed) -> None:
    world.log.extend(numbered(4, "more"))
    honest, forged = two_roots(world)
    world.rotate(NEXT)
    until = world.bridge.ask("previousSetUntil")
    assert until == world.chain.now() + WEEK
    before = world.chain.snapshot()
    world.chain.travel(until - 2)
    world.bridge.do("reportFork", honest.abi, forged.abi)
    assert world.bridge.ask("frozen")
    world.chain.revert(before)
    world.chain.travel(until + 1)
    with reverts("StaleEpoch", EPOCH, EPOCH + 1):
        world.bridge.do("reportFork", honest.abi, forged.abi)
    assert not world.bridge.ask("frozen")


def test_set_before_the_previous_one_is_no_witness(world: Deployed) -> None:
    world.log.extend(numbered(4, "more"))
    honest, forged = two_roots(world)
    world.rotate(NEXT)
    world.rotate(make_signers(4, "third"))
    with reverts("ForeignSet"):
        world.bridge.do("reportFork", honest.abi, forged.abi)
    assert not world.bridge.ask("frozen")


def test_strangers_freeze_nothing(world: Deployed) -> None:
    strangers = make_signers(4, "strangers")
    world.log.extend(numbered(4, "more"))
    _, forged = world.fork()
    pair = [strangers.signed(GENESIS, each).abi for each in (world.checkpoint(), forged)]
    with reverts("ForeignSet"):
        world.bridge.do("reportFork", *pair)
    with reverts("ForeignSet"):
        world.bridge.do("reportForkedLeaf", *pair, 1, (NONE, []), (NONE, []))


def leaf_fork(world: Deployed, size: int = 12) -> tuple[Signed, Signed, Log, Log]:
    """Trees of other sizes that differ from leaf 1 on, both signed."""
    world.log.extend(numbered(6, "more"))
    other = Log([*numbered(1), *numbered(size - 1, "forged")])
    signed = world.validators.signed(GENESIS, Checkpoint(EPOCH, other.size, other.root()))
    return world.signed(), signed, world.log, other


def test_two_leaves_at_one_index_freeze(world: Deployed) -> None:
    a, b, first, second = leaf_fork(world)
    proofs = [(log.entries[3], log.inclusion(3)) for log in (first, second)]
    receipt = world.bridge.do("reportForkedLeaf", a.abi, b.abi, 3, *proofs)
    assert world.bridge.ask("frozen")
    assert [event["b"]["size"] for event in forked(world, receipt)] == [12]


def test_leaf_of_the_recorded_log_against_a_signed_tree_freezes(world: Deployed) -> None:
    a, b, first, second = leaf_fork(world)
    world.submit()
    proofs = [(log.entries[5], log.inclusion(5)) for log in (first, second)]
    world.bridge.do("reportForkedLeaf", recorded(a.checkpoint).abi, b.abi, 5, *proofs)
    assert world.bridge.ask("frozen")


def test_same_leaf_in_both_trees_is_no_fork(world: Deployed) -> None:
    a, b, first, second = leaf_fork(world)
    proofs = [(log.entries[0], log.inclusion(0)) for log in (first, second)]
    with reverts("NotAFork"):
        world.bridge.do("reportForkedLeaf", a.abi, b.abi, 0, *proofs)


def test_leaves_at_two_indices_are_no_fork(world: Deployed) -> None:
    a, b, first, second = leaf_fork(world)
    with reverts("WrongRoot"):
        proofs = [(first.entries[3], first.inclusion(3)), (second.entries[4], second.inclusion(4))]
        world.bridge.do("reportForkedLeaf", a.abi, b.abi, 3, *proofs)
    with reverts("WrongRoot"):
        proofs = [(first.entries[4], first.inclusion(4)), (second.entries[3], second.inclusion(3))]
        world.bridge.do("reportForkedLeaf", a.abi, b.abi, 3, *proofs)


def test_unsigned_tree_forks_no_leaf(world: Deployed) -> None:
    a, b, first, second = leaf_fork(world)
    proofs = [(log.entries[3], log.inclusion(3)) for log in (first, second)]
    few = world.validators.signed(GENESIS, b.checkpoint, which=[0, 1])
    with reverts("TooFewSignatures", 2, 3):
        world.bridge.do("reportForkedLeaf", a.abi, few.abi, 3, *proofs)
    with reverts("TooFewSignatures", 2, 3):
        world.bridge.do("reportForkedLeaf", few.abi, a.abi, 3, *proofs[::-1])


def test_frozen_bridge_records_and_proves_nothing_but_takes_further_evidence(world: Deployed) -> None:
    world.grow(*numbered(6, "more"))
    honest, forged = two_roots(world)
    world.bridge.do("reportFork", honest.abi, forged.abi)
    world.log.extend(numbered(1, "further"))
    with reverts("Frozen"):
        world.submit()
    with reverts("Frozen"):
        world.bridge.do("submit", honest.abi, [])
    with reverts("Frozen"):
        world.bridge.ask("checkIncluded", world.log.entries[2], 2, 7, world.log.inclusion(2, 7))
    again = world.bridge.do("reportFork", honest.abi, forged.abi)
    assert len(forked(world, again)) == 1
    assert world.bridge.ask("rootAt", 7) == honest.checkpoint.root, "what was recorded can still be read"
