"""The golden vectors, the reference encoder and the contracts say the same."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from tests.contracts.chain import deploy, reverts
from tests.contracts.deployed import Deployed, deploy_bridge
from tests.contracts.log import Log
from tests.contracts.signers import Checkpoint, make_signers
from tests.contracts.vectors import GENESIS, STATUSES, TERMS, VECTORS, files


def read(name: str) -> dict[str, Any]:
    return dict(json.loads((VECTORS / name).read_text()))


def test_committed_vectors_are_what_the_reference_encoder_makes() -> None:
    for path, text in files().items():
        assert path.read_text() == text, f"{path.name}: python -m tests.contracts.vectors --write"


@pytest.mark.parametrize("number", range(len(TERMS)))
def test_contract_hashes_terms_as_the_vectors_do(world: Deployed, number: int) -> None:
    vector = read("leaves.json")["mint"]["vectors"][number]
    assert GENESIS == bytes.fromhex(read("leaves.json")["genesis"]) == world.nft.ask("genesis")
    terms = TERMS[vector["name"]]
    assert f"{world.nft.ask('idOf', terms.abi):064x}" == vector["entry"]
    assert hashlib.sha256(bytes.fromhex(vector["preimage"])).hexdigest() == vector["entry"]
    assert hashlib.sha256(b"\x00" + bytes.fromhex(vector["entry"])).hexdigest() == vector["leaf_hash"]


@pytest.mark.parametrize("number", range(len(STATUSES)))
def test_contract_hashes_status_as_the_vectors_do(world: Deployed, number: int) -> None:
    vector = read("leaves.json")["status"]["vectors"][number]
    assert world.nft.ask("statusEntry", STATUSES[vector["name"]].abi).hex() == vector["entry"]
    assert hashlib.sha256(bytes.fromhex(vector["preimage"])).hexdigest() == vector["entry"]


def test_kinds_begin_unlike_any_statement() -> None:
    """A statement begins with CBOR tag 18: so no statement hashes to a derived leaf's entry."""
    kinds = [bytes.fromhex(read("leaves.json")[kind]["kind"]) for kind in ("mint", "status")]
    assert len({*kinds}) == 2
    assert all(kind[0] != 0xD2 for kind in kinds)


@pytest.mark.parametrize("number", range(3))
def test_contract_asks_for_the_signatures_of_the_vectors(world: Deployed, number: int) -> None:
    vector = read("signatures.json")["checkpoints"][number]
    fields = {
        key: value if key in ("epoch", "size") else bytes.fromhex(value) for key, value in vector["fields"].items()
    }
    checkpoint = Checkpoint(int(fields["epoch"]), int(fields["size"]), fields["root"], fields["successor"])
    assert world.bridge.ask("checkpointDigest", checkpoint.abi).hex() == vector["digest"]


def test_bridge_accepts_the_vectors_signatures(world: Deployed) -> None:
    """Up to where the proof must follow, which is checked last."""
    given = read("signatures.json")
    signers = make_signers(4)
    assert given["set"]["addresses"] == signers.addresses
    assert given["set"]["hash_in_epoch_1"] == world.bridge.ask("validatorSet").hex()
    plain = given["checkpoints"][0]
    signed = signers.signed(GENESIS, Checkpoint(1, 4_096, bytes.fromhex(plain["fields"]["root"])))
    assert [[each.hex() for each in one] for one in signed.signatures] == [
        [each["r"], each["vs"]] for each in plain["signatures"]
    ]
    with reverts("ProofTooShort"):
        world.bridge.do("submit", signed.abi, [])


def test_recovery_digest_is_that_of_the_vectors(world: Deployed) -> None:
    vector = read("signatures.json")["recovery"]
    assert world.bridge.ask("recoveryDigest", 2, bytes.fromhex(vector["successor"])).hex() == vector["digest"]


def test_entry_of_a_vector_is_minted_from_a_log_that_has_it(world: Deployed) -> None:
    """From the preimage alone, as a ledger that knows no Solidity would append it."""
    vector = read("leaves.json")["mint"]["vectors"][0]
    entry = hashlib.sha256(bytes.fromhex(vector["preimage"])).digest()
    bridge, _ = deploy_bridge(world.chain, world.validators, world.recovery)
    world.log.extend([entry])
    proof = world.log.consistency(1)
    bridge.do("submit", world.signed().abi, proof)
    bridge.ask("checkIncluded", entry, 1, 2, world.log.inclusion(1))
    assert Log(world.log.entries).root() == bridge.ask("rootAt", 2)
    assert deploy(world.chain, "MusicNFT", bridge.address)[0].ask("idOf", TERMS[vector["name"]].abi) == int.from_bytes(
        entry, "big"
    )
