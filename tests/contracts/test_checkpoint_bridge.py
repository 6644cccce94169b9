"""Which checkpoints the bridge records: signed by a quorum of the epoch, and provably an extension of the last one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger.merkle import leaf_hash
from tests.contracts.chain import Contract, Receipt, Reverted, reverts
from tests.contracts.deployed import EPOCH, GENESIS, Deployed, deploy_bridge
from tests.contracts.log import Log, numbered
from tests.contracts.signers import NONE, ORDER, Signed, Signers, compact, make_signers, recovery_digest

SIZE_MAX = 2**63 - 1


def grown(world: Deployed, count: int = 10) -> tuple[Signed, list[bytes]]:
    """The log with so many more entries, its signed checkpoint, and the proof that it extends the first one."""
    world.log.extend(numbered(count, "more"))
    return world.signed(), world.log.consistency(1)


def accepted(bridge: Contract, receipt: Receipt) -> list[int]:
    return [event["size"] for event in bridge.events(receipt, "CheckpointAccepted")]


def test_bridge_begins_with_the_first_entry_alone(world: Deployed) -> None:
    assert world.bridge.ask("size") == 1
    assert world.bridge.ask("rootAt", 1) == leaf_hash(world.log.entries[0]) == world.log.root()
    assert world.bridge.ask("epoch") == EPOCH
    assert world.bridge.ask("genesis") == GENESIS
    assert world.bridge.ask("validatorSet") == world.validators.hash(EPOCH)
    assert world.bridge.ask("recoverySet") == world.recovery.hash(0)
    assert world.bridge.ask("rootAt", 2) == NONE


def test_checkpoint_of_a_quorum_that_extends_the_last_is_recorded(world: Deployed) -> None:
    signed, proof = grown(world)
    receipt = world.bridge.do("submit", signed.abi, proof)
    assert world.bridge.events(receipt, "CheckpointAccepted") == [
        {"size": 11, "root": world.log.root(), "epoch": EPOCH}
    ]
    assert world.bridge.ask("size") == 11
    assert world.bridge.ask("rootAt", 11) == world.log.root()


def test_what_is_signed_is_the_digest_that_the_bridge_computes(world: Deployed) -> None:
    checkpoint = world.checkpoint(successor=b"\x07" * 32)
    assert world.bridge.ask("checkpointDigest", checkpoint.abi) == checkpoint.digest(GENESIS)
    assert world.bridge.ask("recoveryDigest", 9, b"\x07" * 32) == recovery_digest(GENESIS, 9, b"\x07" * 32)


def test_same_signatures_serve_another_chain_of_the_same_consortium_and_no_other_consortium(world: Deployed) -> None:
    signed, proof = grown(world)
    same, _ = deploy_bridge(world.chain, world.validators, world.recovery)
    assert accepted(same, same.do("submit", signed.abi, proof)) == [11]
    other, _ = deploy_bridge(world.chain, world.validators, world.recovery, genesis=b"\x01" * 32)
    with reverts("ForeignSigner"):  # the digest is another, so the signatures recover to nobody's addresses
        other.do("submit", world.validators.signed(b"\x02" * 32, signed.checkpoint, which=[0] * 3).abi, proof)


def test_duplicate_is_accepted_once_and_changes_nothing(world: Deployed) -> None:
    signed, proof = grown(world)
    world.bridge.do("submit", signed.abi, proof)
    assert world.bridge.ask("submit", signed.abi, proof) is False
    again = world.bridge.do("submit", signed.abi, proof)
    assert accepted(world.bridge, again) == []
    assert again.gas_used < 45_000
    assert world.bridge.ask("size") == 11
    assert not world.bridge.ask("frozen")


@pytest.mark.parametrize("count", [4, 5, 6, 7, 10, 50, 64])
def test_quorum_is_all_but_the_third_that_may_be_faulty(world: Deployed, count: int) -> None:
    validators = make_signers(count, "many")
    assert world.bridge.ask("quorumOf", count) == validators.quorum == count - (count - 1) // 3
    bridge, _ = deploy_bridge(world.chain, validators, world.recovery)
    world.log.extend(numbered(3, "more"))
    checkpoint, proof = world.checkpoint(), world.log.consistency(1)
    quorum = validators.quorum
    few = validators.signed(GENESIS, checkpoint, which=range(quorum - 1))
    with reverts("TooFewSignatures", quorum - 1, quorum):
        bridge.do("submit", few.abi, proof)
    # The last ones, so that every member of the set is looked at.
    enough = validators.signed(GENESIS, checkpoint, which=range(count - quorum, count))
    assert accepted(bridge, bridge.do("submit", enough.abi, proof)) == [4]


def test_all_signatures_are_as_good_as_a_quorum(world: Deployed) -> None:
    _, proof = grown(world)
    everybody = world.validators.signed(GENESIS, world.checkpoint(), which=range(4))
    assert accepted(world.bridge, world.bridge.do("submit", everybody.abi, proof)) == [11]


def test_signatures_out_of_order_are_refused(world: Deployed) -> None:
    signed, proof = grown(world)
    first, second, third = signed.signatures
    with reverts("SignersNotAscending"):
        world.bridge.do("submit", signed.with_signatures(second, first, third).abi, proof)


def test_duplicate_signature_is_refused(world: Deployed) -> None:
    signed, proof = grown(world)
    first, second, _ = signed.signatures
    with reverts("DuplicateSigner", world.validators.addresses[1].lower()):
        world.bridge.do("submit", signed.with_signatures(first, second, second).abi, proof)


def test_high_s_form_of_a_signature_is_refused(world: Deployed) -> None:
    """s and N - s both verify elsewhere. Here N - s has no room beside the recovery bit: it is another signature."""
    signed, proof = grown(world)
    r, vs = signed.signatures[0]
    s = int.from_bytes(vs, "big") & (1 << 255) - 1
    high = (r, (ORDER - s).to_bytes(32, "big"))
    with pytest.raises(Reverted, match=r"ForeignSigner|SignersNotAscending|InvalidSignature"):
        world.bridge.do("submit", signed.with_signatures(high, *signed.signatures[1:]).abi, proof)


def test_s_above_half_the_order_is_refused(world: Deployed) -> None:
    signed, proof = grown(world)
    r = signed.signatures[0][0]
    half = ORDER // 2
    with reverts("HighS", 0):
        bad = (r, (half + 1).to_bytes(32, "big"))
        world.bridge.do("submit", signed.with_signatures(bad, *signed.signatures[1:]).abi, proof)
    good = (r, half.to_bytes(32, "big"))
    with pytest.raises(Reverted, match=r"ForeignSigner|SignersNotAscending"):
        world.bridge.do("submit", signed.with_signatures(good, *signed.signatures[1:]).abi, proof)


def test_bytes_that_are_no_signature_are_refused(world: Deployed) -> None:
    signed, proof = grown(world)
    with reverts("InvalidSignature", 2):
        none = (bytes(32), (1).to_bytes(32, "big"))
        world.bridge.do("submit", signed.with_signatures(*signed.signatures[:2], none).abi, proof)


def test_stranger_in_the_place_of_a_validator_is_refused(world: Deployed) -> None:
    """At every place: before the first of the set, between two, and after the last."""
    _, proof = grown(world)
    digest = world.checkpoint().digest(GENESIS)
    signed = world.signed()
    for seed in range(12):
        stranger = make_signers(1, f"stranger {seed}").keys[0]
        made = [*zip(world.validators.addresses[:2], signed.signatures[:2], strict=True)]
        made.append((stranger.public_key.to_checksum_address(), compact(stranger, digest)))
        made.sort(key=lambda each: int(each[0], 16))
        with reverts("ForeignSigner", stranger.public_key.to_address()):
            world.bridge.do("submit", signed.with_signatures(*(each[1] for each in made)).abi, proof)


@pytest.mark.parametrize("field", ["epoch", "size", "root"])
def test_signatures_over_other_values_are_refused(world: Deployed, field: str) -> None:
    _, proof = grown(world)
    honest = world.checkpoint()
    other = {"epoch": 2, "size": 12, "root": b"\x05" * 32}[field]
    signed = replace(world.signed(**{field: other}), checkpoint=honest)
    with pytest.raises(Reverted, match=r"ForeignSigner|SignersNotAscending"):
        world.bridge.do("submit", signed.abi, proof)


def test_zero_root_is_refused_though_a_quorum_signed_it(world: Deployed) -> None:
    world.log.extend(numbered(3))
    with reverts("ZeroRoot"):
        world.bridge.do("submit", world.signed(root=NONE).abi, world.log.consistency(1))
    with reverts("ZeroRoot"):  # an unknown size reads as the root zero: that must not count as recorded
        world.bridge.do("submit", world.signed(root=NONE, size=999).abi, [])


def test_zero_size_is_refused(world: Deployed) -> None:
    empty = replace(world.checkpoint(), size=0)
    with reverts("ZeroSize"):
        world.bridge.do("submit", world.validators.signed(GENESIS, empty).abi, [])


def test_size_beyond_what_readers_of_logs_hold_is_refused(world: Deployed) -> None:
    def submit(size: int) -> None:
        checkpoint = replace(world.checkpoint(), size=size, root=b"\x01" * 32)
        world.bridge.do("submit", world.validators.signed(GENESIS, checkpoint).abi, [])

    with reverts("SizeTooLarge", SIZE_MAX + 1):
        submit(SIZE_MAX + 1)
    with reverts("ProofTooShort"):
        submit(SIZE_MAX)


@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH + 1])
def test_checkpoint_of_another_epoch_is_refused(world: Deployed, epoch: int) -> None:
    _, proof = grown(world)
    with reverts("StaleEpoch", epoch, EPOCH):
        world.bridge.do("submit", world.signed(epoch=epoch).abi, proof)


def test_set_other_than_the_committed_one_is_refused(world: Deployed) -> None:
    _, proof = grown(world)
    strangers = make_signers(4, "strangers")
    with reverts("ForeignSet"):
        world.bridge.do("submit", strangers.signed(GENESIS, world.checkpoint()).abi, proof)
    # Members left out, so that fewer would be a quorum.
    with reverts("ForeignSet"):
        fewer = replace(world.signed(), validators=tuple(world.validators.addresses[:3]))
        world.bridge.do("submit", fewer.abi, proof)


def test_smaller_tree_than_the_last_is_refused(world: Deployed) -> None:
    signed, _ = grown(world)
    world.submit()
    with reverts("StaleSize", 5, 11):
        world.bridge.do("submit", world.signed(5).abi, [])
    assert signed.checkpoint.size == world.bridge.ask("size")


def test_boundary_is_not_a_plain_checkpoint(world: Deployed) -> None:
    _, proof = grown(world)
    with reverts("BoundaryCheckpoint"):
        world.bridge.do("submit", world.boundary(make_signers(4, "next")).abi, proof)


def test_history_that_a_quorum_has_rewritten_is_refused(world: Deployed) -> None:
    """What no quorum can do: a root that does not extend the recorded one, with whatever proof."""
    grown(world)
    world.submit()
    other = Log([*numbered(1), *numbered(20, "forged")])
    signed = world.validators.signed(GENESIS, replace(world.checkpoint(), size=21, root=other.root()))
    with reverts("WrongRoot"):
        world.bridge.do("submit", signed.abi, other.consistency(11))
    assert world.bridge.ask("size") == 11


def test_consistency_proof_must_be_whole(world: Deployed) -> None:
    grown(world)
    world.submit()
    world.log.extend(numbered(9, "further"))
    signed, proof = world.signed(), world.log.consistency(11)
    with reverts("ProofTooShort"):
        world.bridge.do("submit", signed.abi, [])
    with reverts("ProofTooShort"):
        world.bridge.do("submit", signed.abi, proof[:-1])
    with reverts("ProofTooLong"):
        world.bridge.do("submit", signed.abi, [*proof, b"\x01" * 32])
    with reverts("WrongRoot"):
        world.bridge.do("submit", signed.abi, [b"\x01" * 32, *proof[1:]])
    assert accepted(world.bridge, world.bridge.do("submit", signed.abi, proof)) == [20]


def test_every_growth_of_a_log_is_accepted(world: Deployed) -> None:
    for count in (1, 1, 2, 3, 4, 5, 16, 31, 64):
        world.log.extend(numbered(count, f"at {world.log.size}"))
        assert accepted(world.bridge, world.submit()) == [world.log.size]


@pytest.mark.parametrize("count", [0, 3, 65])
def test_bridge_needs_4_to_64_validators(world: Deployed, count: int) -> None:
    with reverts("SetSize", count):
        deploy_bridge(world.chain, make_signers(count), world.recovery)
    with reverts("SetSize", count):
        deploy_bridge(world.chain, world.validators, make_signers(count, "recovery"))


def test_set_must_be_ascending_and_without_the_zero_address(world: Deployed) -> None:
    def deploy(first: list[str], second: list[str]) -> None:
        from tests.contracts.chain import deploy as plain

        plain(world.chain, "CheckpointBridge", GENESIS, b"\x01" * 32, EPOCH, first, second)

    zero = "0x" + "00" * 20
    good, other = world.validators.addresses, world.recovery.addresses
    for bad in ([good[1], good[0], *good[2:]], [good[0], good[0], *good[1:]], [zero, *good]):
        with reverts("SetNotAscending"):
            deploy(bad, other)
        with reverts("SetNotAscending"):
            deploy(other, bad)
    deploy(good, other)


def test_validator_in_the_recovery_set_is_refused(world: Deployed) -> None:
    for i in range(4):
        mixed = [*world.recovery.keys[:3], world.validators.keys[i]]
        ordered = Signers(tuple(sorted(mixed, key=lambda key: key.public_key.to_canonical_address())))
        with reverts("SharedSigner", world.validators.addresses[i].lower()):
            deploy_bridge(world.chain, world.validators, ordered)


def test_deployment_without_genesis_or_entry_is_refused(world: Deployed) -> None:
    from tests.contracts.chain import deploy

    sets = (world.validators.addresses, world.recovery.addresses)
    with reverts("ZeroGenesis"):
        deploy(world.chain, "CheckpointBridge", NONE, b"\x01" * 32, EPOCH, *sets)
    with reverts("ZeroEntry"):
        deploy(world.chain, "CheckpointBridge", b"\x01" * 32, NONE, EPOCH, *sets)


def test_entry_is_included_where_the_log_has_it_and_nowhere_else(world: Deployed) -> None:
    grown(world)
    world.submit()
    entry, proof = world.log.entries[7], world.log.inclusion(7)
    world.bridge.ask("checkIncluded", entry, 7, 11, proof)
    with reverts("WrongRoot"):
        world.bridge.ask("checkIncluded", entry, 6, 11, proof)
    with reverts("WrongRoot"):
        world.bridge.ask("checkIncluded", b"\x01" * 32, 7, 11, proof)
    with reverts("UnknownCheckpoint", 10):
        world.bridge.ask("checkIncluded", entry, 7, 10, world.log.inclusion(7, 10))
    with reverts("UnknownCheckpoint", 0):
        world.bridge.ask("checkIncluded", entry, 0, 0, [])
    with reverts("IndexOutOfTree", 11, 11):
        world.bridge.ask("checkIncluded", entry, 11, 11, proof)
