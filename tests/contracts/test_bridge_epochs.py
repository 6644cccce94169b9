"""From one set of validators to the next: by the old set's signatures, or by the recovery quorum."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.contracts.chain import Receipt, Reverted, reverts
from tests.contracts.deployed import EPOCH, GENESIS, NONE, Deployed
from tests.contracts.log import Log, numbered
from tests.contracts.signers import Checkpoint, Signers, make_signers, recorded, recovery_digest

NEXT = make_signers(5, "next")


def recover(world: Deployed, following: Signers, epoch: int, *, by: Signers | None = None) -> Receipt:
    signers = by or world.recovery
    digest = recovery_digest(GENESIS, epoch, following.hash(epoch))
    return world.bridge.do("recover", epoch, following.addresses, signers.addresses, signers.sign(digest))


def test_old_set_installs_the_next_with_the_boundary_checkpoint(world: Deployed) -> None:
    world.log.extend(numbered(6, "more"))
    old = world.validators
    receipt = world.rotate(NEXT)
    assert world.bridge.events(receipt, "Rotated") == [
        {"epoch": EPOCH + 1, "validatorSet": NEXT.hash(EPOCH + 1), "validators": NEXT.addresses}
    ]
    assert world.bridge.ask("size") == 7
    assert world.bridge.ask("rootAt", 7) == world.log.root()
    assert world.bridge.ask("epoch") == EPOCH + 1
    assert world.bridge.ask("previousSet") == old.hash(EPOCH)
    world.log.extend(numbered(2, "of the new epoch"))
    world.submit()
    assert world.bridge.ask("size") == 9


def test_boundary_may_be_recorded_already(world: Deployed) -> None:
    world.grow(*numbered(4, "more"))
    world.rotate(NEXT)
    assert (world.bridge.ask("size"), world.bridge.ask("epoch")) == (5, EPOCH + 1)


def test_old_set_signs_nothing_more_once_it_has_handed_over(world: Deployed) -> None:
    old = world.validators
    world.rotate(NEXT)
    world.log.extend(numbered(2, "late"))
    late = old.signed(GENESIS, world.checkpoint(epoch=EPOCH))
    with reverts("StaleEpoch", EPOCH, EPOCH + 1):
        world.bridge.do("submit", late.abi, world.log.consistency(1))
    # Nor does it in the new epoch's name.
    with reverts("ForeignSet"):
        world.bridge.do("submit", old.signed(GENESIS, world.checkpoint()).abi, world.log.consistency(1))


def test_same_rotation_again_changes_nothing(world: Deployed) -> None:
    world.log.extend(numbered(2, "more"))
    boundary, proof = world.boundary(NEXT), world.log.consistency(1)
    world.rotate(NEXT)
    assert world.bridge.ask("rotate", boundary.abi, NEXT.addresses, proof) is False
    again = world.bridge.do("rotate", boundary.abi, NEXT.addresses, proof)
    assert not again.logs
    assert world.bridge.ask("epoch") == EPOCH + 1


def test_rotation_that_the_old_set_did_not_sign_is_refused(world: Deployed) -> None:
    checkpoint = world.checkpoint(successor=NEXT.hash(EPOCH + 1))
    with reverts("ForeignSet"):
        world.bridge.do("rotate", NEXT.signed(GENESIS, checkpoint).abi, NEXT.addresses, [])
    few = world.validators.signed(GENESIS, checkpoint, which=[0, 1])
    with reverts("TooFewSignatures", 2, 3):
        world.bridge.do("rotate", few.abi, NEXT.addresses, [])
    assert world.bridge.ask("epoch") == EPOCH


def test_rotation_goes_one_epoch_on_and_no_further(world: Deployed) -> None:
    for epoch in (EPOCH, EPOCH + 2):
        signed = world.signed(successor=NEXT.hash(epoch))
        with reverts("WrongSuccessor"):
            world.bridge.do("rotate", signed.abi, NEXT.addresses, [])
    with reverts("StaleEpoch", EPOCH + 1, EPOCH):
        signed = world.signed(epoch=EPOCH + 1, successor=NEXT.hash(EPOCH + 2))
        world.bridge.do("rotate", signed.abi, NEXT.addresses, [])


def test_rotation_to_other_addresses_than_were_signed_is_refused(world: Deployed) -> None:
    with reverts("WrongSuccessor"):
        world.bridge.do("rotate", world.boundary(NEXT).abi, make_signers(5, "strangers").addresses, [])


def test_rotation_without_successor_is_refused(world: Deployed) -> None:
    with reverts("BoundaryCheckpoint"):
        world.bridge.do("rotate", world.signed().abi, NEXT.addresses, [])


@pytest.mark.parametrize("count", [3, 65])
def test_next_set_has_4_to_64_validators(world: Deployed, count: int) -> None:
    following = make_signers(count, "next")
    with reverts("SetSize", count):
        world.bridge.do("rotate", world.boundary(following).abi, following.addresses, [])
    with reverts("SetSize", count):
        recover(world, following, EPOCH + 1)


def test_next_set_must_be_ascending(world: Deployed) -> None:
    mixed = Signers(NEXT.keys[::-1])
    with reverts("SetNotAscending"):
        world.bridge.do("rotate", world.boundary(mixed).abi, mixed.addresses, [])
    with reverts("SetNotAscending"):
        recover(world, mixed, EPOCH + 1)


def test_boundary_must_extend_the_last_checkpoint(world: Deployed) -> None:
    world.grow(*numbered(9, "more"))
    other = Log([*numbered(1), *numbered(20, "forged")])
    checkpoint = Checkpoint(EPOCH, 21, other.root(), NEXT.hash(EPOCH + 1))
    with reverts("WrongRoot"):
        signed = world.validators.signed(GENESIS, checkpoint)
        world.bridge.do("rotate", signed.abi, NEXT.addresses, other.consistency(10))
    with reverts("StaleSize", 4, 10):
        earlier = world.signed(4, successor=NEXT.hash(EPOCH + 1))
        world.bridge.do("rotate", earlier.abi, NEXT.addresses, [])


def test_boundary_before_the_last_checkpoint_is_refused_though_it_is_recorded(world: Deployed) -> None:
    world.grow(*numbered(3, "more"))
    world.grow(*numbered(3, "further"))
    with reverts("StaleSize", 4, 7):
        world.bridge.do("rotate", world.signed(4, successor=NEXT.hash(EPOCH + 1)).abi, NEXT.addresses, [])


@pytest.mark.parametrize(("field", "error"), [("size", "ZeroSize"), ("root", "ZeroRoot")])
def test_boundary_of_nothing_is_refused(world: Deployed, field: str, error: str) -> None:
    values = {"size": {"size": 0}, "root": {"root": NONE}}[field]
    with reverts(error):
        signed = world.signed(successor=NEXT.hash(EPOCH + 1), **values)
        world.bridge.do("rotate", signed.abi, NEXT.addresses, [])


def test_boundary_with_another_root_at_a_recorded_size_freezes(world: Deployed) -> None:
    world.grow(*numbered(5, "more"))
    _, forged = world.fork()
    signed = world.validators.signed(GENESIS, replace(forged, successor=NEXT.hash(EPOCH + 1)))
    assert world.bridge.ask("rotate", signed.abi, NEXT.addresses, []) is False
    world.bridge.do("rotate", signed.abi, NEXT.addresses, [])
    assert world.bridge.ask("frozen")
    assert world.bridge.ask("epoch") == EPOCH


def test_frozen_bridge_does_not_rotate(world: Deployed) -> None:
    world.grow(*numbered(3, "more"))
    world.freeze()
    with reverts("Frozen"):
        world.bridge.do("rotate", world.boundary(NEXT).abi, NEXT.addresses, [])


def test_recovery_quorum_installs_a_set_and_keeps_the_log(world: Deployed) -> None:
    world.grow(*numbered(7, "more"))
    world.freeze()
    root = world.log.root()
    receipt = recover(world, NEXT, EPOCH + 1)
    (event,) = world.bridge.events(receipt, "Recovered")
    assert (event["epoch"], event["size"], event["root"]) == (EPOCH + 1, 8, root)
    assert not world.bridge.ask("frozen")
    assert (world.bridge.ask("size"), world.bridge.ask("rootAt", 8)) == (8, root)
    world.epoch, world.validators = EPOCH + 1, NEXT
    world.grow(*numbered(2, "after"))
    assert world.bridge.ask("size") == 10


def test_recovered_bridge_still_refuses_another_history(world: Deployed) -> None:
    world.grow(*numbered(7, "more"))
    world.freeze()
    recover(world, NEXT, EPOCH + 1)
    other = Log([*numbered(1), *numbered(11, "forged")])
    signed = NEXT.signed(GENESIS, Checkpoint(EPOCH + 1, 12, other.root()))
    with reverts("WrongRoot"):
        world.bridge.do("submit", signed.abi, other.consistency(8))


def test_recovery_may_come_without_a_freeze(world: Deployed) -> None:
    """Validators may also have lost their keys."""
    recover(world, NEXT, EPOCH + 3)
    assert (world.bridge.ask("epoch"), world.bridge.ask("validatorSet")) == (EPOCH + 3, NEXT.hash(EPOCH + 3))


def test_validators_cannot_recover_themselves(world: Deployed) -> None:
    with reverts("ForeignSet"):
        recover(world, NEXT, EPOCH + 1, by=world.validators)


def test_recovery_needs_its_own_quorum(world: Deployed) -> None:
    digest = recovery_digest(GENESIS, EPOCH + 1, NEXT.hash(EPOCH + 1))
    arguments = (EPOCH + 1, NEXT.addresses, world.recovery.addresses)
    with reverts("TooFewSignatures", 2, 3):
        world.bridge.do("recover", *arguments, world.recovery.sign(digest, which=[0, 1]))
    with pytest.raises(Reverted, match=r"ForeignSigner|SignersNotAscending"):
        world.bridge.do("recover", *arguments, world.validators.sign(digest))
    other = recovery_digest(GENESIS, EPOCH + 2, NEXT.hash(EPOCH + 1))
    with pytest.raises(Reverted, match=r"ForeignSigner|SignersNotAscending"):  # signed for another epoch
        world.bridge.do("recover", *arguments, world.recovery.sign(other))


@pytest.mark.parametrize("epoch", [0, EPOCH])
def test_recovery_to_an_epoch_that_has_begun_is_refused(world: Deployed, epoch: int) -> None:
    with reverts("StaleEpoch", epoch, EPOCH):
        recover(world, NEXT, epoch)


def test_recovery_does_not_count_twice(world: Deployed) -> None:
    recover(world, NEXT, EPOCH + 1)
    with reverts("StaleEpoch", EPOCH + 1, EPOCH + 1):
        recover(world, NEXT, EPOCH + 1)


def test_recovery_cannot_install_itself(world: Deployed) -> None:
    mixed = Signers(
        tuple(sorted([*NEXT.keys, world.recovery.keys[2]], key=lambda k: k.public_key.to_canonical_address()))
    )
    with reverts("SharedSigner", world.recovery.addresses[2].lower()):
        recover(world, mixed, EPOCH + 1)


def test_deposed_set_cannot_freeze_the_recovered_bridge_with_its_own_fork(world: Deployed) -> None:
    """Nor one that was deposed right after a rotation, within the seven days in which its signatures still count."""
    world.grow(*numbered(3, "more"))
    first = world.validators
    _, forged = world.fork()
    proofs = [world.signed(), first.signed(GENESIS, forged)]
    world.rotate(NEXT)
    world.bridge.do("reportFork", *(each.abi for each in proofs))
    assert world.bridge.ask("frozen")
    recover(world, make_signers(4, "third"), EPOCH + 2)
    assert world.bridge.ask("previousSet") == NONE
    with reverts("StaleEpoch", EPOCH, EPOCH + 2):
        world.bridge.do("reportFork", *(each.abi for each in proofs))
    with reverts("StaleEpoch", EPOCH, EPOCH + 2):
        world.bridge.do("reportFork", recorded(proofs[0].checkpoint).abi, proofs[1].abi)
    assert not world.bridge.ask("frozen")
