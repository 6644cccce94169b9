"""What is signed for public chains: golden vectors, the contracts' reference encoder, and what contradicts what."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import MalformedMessage
from consensus.types import Digest, Epoch
from ledger import secp256k1
from ledger.chain_checkpoint import (
    NO_SUCCESSOR,
    VALIDATORS_BRIDGED_MAX,
    ChainCheckpoint,
    InvalidChainSignatures,
    SetNotBridgeable,
    bridge_set,
    check_quorum,
    in_order,
    quorum_of,
    set_commitment,
    successor_of,
)
from ledger.genesis import Role
from tests.contracts.signers import Checkpoint as Reference
from tests.contracts.signers import make_signers
from tests.ledger.builders import chain_key, make_consortium, make_member

VECTORS: Any = json.loads((Path(__file__).parents[2] / "contracts" / "vectors" / "signatures.json").read_text())
GENESIS = bytes.fromhex(VECTORS["genesis"])
SET: Any = VECTORS["set"]
SECRETS = [bytes.fromhex(secret) for secret in SET["private_keys_of_nobody"]]
ADDRESSES = tuple(bytes.fromhex(address[2:]) for address in SET["addresses"])
ROSTER = make_consortium().genesis.roster
ROOT, OTHER_ROOT = hashlib.sha256(b"root").digest(), hashlib.sha256(b"other").digest()
NEXT, OTHER_NEXT = Digest(hashlib.sha256(b"next").digest()), Digest(hashlib.sha256(b"other next").digest())


def checkpoint(size: int = 7, root: bytes = ROOT, successor: Digest = NO_SUCCESSOR, epoch: int = 1) -> ChainCheckpoint:
    return ChainCheckpoint(epoch=Epoch(epoch), size=size, root=root, successor=successor)


def of_vector(vector: Any) -> ChainCheckpoint:
    fields = vector["fields"]
    return checkpoint(
        int(fields["size"]),
        bytes.fromhex(fields["root"]),
        Digest(bytes.fromhex(fields["successor"])),
        int(fields["epoch"]),
    )


@pytest.mark.parametrize("vector", VECTORS["checkpoints"], ids=lambda vector: vector["name"])
def test_golden_vectors(vector: Any) -> None:
    made = of_vector(vector)
    assert made.digest(GENESIS).hex() == vector["digest"]
    signatures = [bytes.fromhex(each["r"] + each["vs"]) for each in vector["signatures"]]
    assert [made.sign(secret, GENESIS) for secret in SECRETS[: len(signatures)]] == signatures
    check_quorum(made, GENESIS, ADDRESSES, signatures)


def test_golden_set() -> None:
    assert tuple(secp256k1.address(secp256k1.public_key(secret)) for secret in SECRETS) == ADDRESSES
    assert set_commitment(1, ADDRESSES).hex() == SET["hash_in_epoch_1"]
    assert quorum_of(len(ADDRESSES)) == SET["quorum"]


@given(
    epoch=st.integers(0, 2**64 - 1),
    size=st.integers(1, 2**63 - 1),
    root=st.binary(min_size=32, max_size=32).filter(any),
    successor=st.binary(min_size=32, max_size=32),
)
def test_digests_are_those_of_the_reference(epoch: int, size: int, root: bytes, successor: bytes) -> None:
    made = checkpoint(size, root, Digest(successor), epoch)
    assert made.digest(GENESIS) == Reference(epoch, size, root, successor).digest(GENESIS)


@pytest.mark.parametrize("count", [4, 7, 16, 64])
def test_commitments_are_those_of_the_reference(count: int) -> None:
    signers = make_signers(count)
    addresses = tuple(key.public_key.to_canonical_address() for key in signers.keys)
    assert set_commitment(9, addresses) == signers.hash(9)
    assert quorum_of(count) == signers.quorum


def test_another_consortium_another_digest() -> None:
    assert checkpoint().digest(GENESIS) != checkpoint().digest(OTHER_ROOT)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"size": 0}, "size"),
        ({"size": 2**63}, "size"),
        ({"epoch": -1}, "epoch"),
        ({"epoch": 2**64}, "epoch"),
        ({"root": bytes(32)}, "root"),
        ({"root": b"short"}, "root"),
        ({"successor": b""}, "successor"),
    ],
)
def test_no_checkpoint_that_contracts_refuse_is_made(values: Any, field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        replace(checkpoint(), **values)


# ---- sets of rosters -------------------------------------------------------------------------------------------------


def test_the_set_of_a_roster_is_its_validators_ascending() -> None:
    addresses = bridge_set(ROSTER)
    assert list(addresses) == sorted(secp256k1.address(chain_key(member.id).public) for member in ROSTER.members)
    assert successor_of(ROSTER) == set_commitment(0, addresses)
    watcher = make_member("watcher", Role.LABEL, validator=False)
    assert bridge_set(replace(ROSTER, members=(*ROSTER.members, watcher))) == addresses, "who has no seat signs nothing"


def test_a_set_larger_than_contracts_take_is_named() -> None:
    members = tuple(make_member(f"m{i}", Role.LABEL) for i in range(VALIDATORS_BRIDGED_MAX + 1))
    assert len(bridge_set(replace(ROSTER, members=members[:-1]))) == VALIDATORS_BRIDGED_MAX
    with pytest.raises(SetNotBridgeable, match="65 validators in epoch 0") as caught:
        successor_of(replace(ROSTER, members=members))
    assert (caught.value.code, caught.value.field) == ("SET_NOT_BRIDGEABLE", "roster")


# ---- quorums ---------------------------------------------------------------------------------------------------------

MADE = checkpoint()
BY_ADDRESS = {address: MADE.sign(secret, GENESIS) for address, secret in zip(ADDRESSES, SECRETS, strict=True)}


def test_signatures_go_in_the_order_of_addresses() -> None:
    backwards = dict(reversed(BY_ADDRESS.items()))
    assert in_order(backwards) == tuple(BY_ADDRESS[address] for address in ADDRESSES)
    check_quorum(MADE, GENESIS, ADDRESSES, in_order(backwards))
    check_quorum(MADE, GENESIS, ADDRESSES, in_order(backwards)[1:])


@pytest.mark.parametrize("broken", ["few", "order", "twice", "stranger", "another", "high", "none"])
def test_what_contracts_refuse_is_refused_by_name(broken: str) -> None:
    good = list(in_order(BY_ADDRESS))
    secrets = (hashlib.sha256(b"nobody %d" % i).digest() for i in range(1000))
    last = next(each for each in secrets if secp256k1.address(secp256k1.public_key(each)) > max(ADDRESSES))
    stranger = MADE.sign(last, GENESIS)
    signatures = {
        "few": good[:2],
        "order": good[::-1],
        "twice": [good[0], good[0], good[1]],
        "stranger": [*good[:2], stranger],
        "another": [checkpoint(8).sign(SECRETS[0], GENESIS), *good[1:3]],
        "high": [good[0][:32] + (2**255 - 1).to_bytes(32, "big"), *good[1:3]],
        "none": [bytes(64), *good[1:3]],
    }
    words = {
        "few": "3 or more of 4",
        "order": "ascending",
        "twice": "ascending",
        "stranger": "a validator of epoch 1",
        "another": "ascending|a validator",
        "high": "the lower s",
        "none": "the lower s",
    }
    with pytest.raises(InvalidChainSignatures, match=words[broken]):
        check_quorum(MADE, GENESIS, ADDRESSES, signatures[broken])


# ---- what no honest validator signs together -------------------------------------------------------------------------

END = checkpoint(9, ROOT, NEXT)


@pytest.mark.parametrize(
    ("one", "other", "contradict"),
    [
        (checkpoint(), checkpoint(), False),
        (checkpoint(7), checkpoint(8), False),
        (checkpoint(7), checkpoint(7, OTHER_ROOT), True),
        (checkpoint(7), checkpoint(7, OTHER_ROOT, epoch=2), False),
        (checkpoint(9), END, False),
        (END, checkpoint(9, OTHER_ROOT), True),
        (END, checkpoint(9, ROOT, OTHER_NEXT), True),
        (END, checkpoint(8, OTHER_ROOT, NEXT), True),
        (END, checkpoint(8, OTHER_ROOT, OTHER_NEXT, epoch=2), False),
        (END, checkpoint(8, OTHER_ROOT), False),
    ],
)
def test_two_roots_of_a_size_or_two_ends_of_an_epoch_contradict(
    one: ChainCheckpoint, other: ChainCheckpoint, contradict: bool
) -> None:
    assert one.contradicts(other) is contradict
    assert other.contradicts(one) is contradict
