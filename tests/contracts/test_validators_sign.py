"""What validators' nodes sign is what the contract takes: a log's checkpoints, and its change of committee."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from web3 import Web3

from ledger import secp256k1
from ledger.chain_checkpoint import ChainCheckpoint, bridge_set, check_quorum, in_order
from ledger.merkle import consistency_proof
from ledger.roster import Roster
from node.store.chain import ChainStore
from tests.contracts.chain import Chain, Contract, deploy, reverts
from tests.contracts.signers import make_signers
from tests.ledger.builders import make_claim
from tests.node.nodes import CONSORTIUM, GENESIS
from tests.node.test_epochs import admit, pass_change
from tests.node.town import Town


def checksummed(addresses: tuple[bytes, ...]) -> list[str]:
    return [Web3.to_checksum_address(address) for address in addresses]


def abi(store: ChainStore, checkpoint: ChainCheckpoint) -> Any:
    """The signed checkpoint as the contract's functions take it, of what the node has gathered."""
    roster = store.rosters.of_size(checkpoint.size)
    keys = {member.id: member.keys.chain for member in roster.validator_members()}
    held = {secp256k1.address(keys[member]): signature for member, signature in store.chain_signatures(checkpoint.size)}
    signatures = in_order(held)
    check_quorum(checkpoint, GENESIS.digest, bridge_set(roster), signatures)
    return (
        (checkpoint.epoch, checkpoint.size, checkpoint.root, checkpoint.successor),
        checksummed(bridge_set(roster)),
        [(signature[:32], signature[32:]) for signature in signatures],
    )


def proof(store: ChainStore, first: int, second: int) -> list[bytes]:
    with store._env.read() as txn:
        return list(consistency_proof(first, second, store._view(txn).tree_hash))


def record(town: Town, number: int) -> int:
    """One leaf more, whose checkpoint everybody has a quorum of signatures of. Returns the size."""
    results = town.submit("court", CONSORTIUM.statement(make_claim(number), ref=f"r{number}"))
    town.run(lambda: results.last.ends)
    size = town["court"].store.size
    town.run(lambda: all(node.store.is_chain_complete(size) for node in town.nodes.values()))
    return size


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    made = Town(tmp_path_factory.mktemp("town"))
    yield made
    made.close()


def roster(town: Town, epoch: int) -> Roster:
    found = town["court"].store.rosters.of_epoch(epoch)
    assert found is not None
    return found


def test_submit_and_rotate_take_what_the_nodes_have_signed(chain: Chain, town: Town) -> None:
    court = town["court"].store
    first = record(town, 1)
    with court.recorded() as recorded:
        entry = recorded._view.recorded(0).digest
    recovery = make_signers(4, "recovery").addresses
    bridge: Contract
    bridge, _ = deploy(
        chain, "CheckpointBridge", GENESIS.digest, entry, 0, checksummed(bridge_set(roster(town, 0))), recovery
    )  # fmt: skip

    def at(size: int) -> ChainCheckpoint:
        found = court.chain_checkpoint_at(size)
        assert found is not None
        return found

    size = record(town, 2)
    bridge.do("submit", abi(court, at(size)), proof(court, first, size))
    assert bridge.ask("size") == size

    pass_change(town, admit("indie"))
    end = court.rosters.end_of(0)
    assert end is not None
    town.run(lambda: all(node.store.is_chain_complete(end) for node in town.nodes.values()))
    following = checksummed(bridge_set(roster(town, 1)))
    assert len(following) == 5
    with reverts("WrongSuccessor"):
        bridge.do("rotate", abi(court, at(end)), following[:4], proof(court, size, end))
    bridge.do("rotate", abi(court, at(end)), following, proof(court, size, end))
    assert (bridge.ask("epoch"), bridge.ask("size")) == (1, end)

    later = record(town, 3)
    assert at(later).epoch == 1
    bridge.do("submit", abi(court, at(later)), proof(court, end, later))
    assert bridge.ask("size") == later
