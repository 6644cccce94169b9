"""Four real nodes sign for public chains through a change of committee, and the real contract takes it (py-evm)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from web3 import Web3

from consensus.types import Epoch
from ledger.chain_checkpoint import ChainCheckpoint, check_quorum
from ledger.governance import RotateKey
from node.chain_key import generate_chain_key
from node.devnet import DevnetNode
from node.store.check import Outcome, check_store
from protos import stretto_pb2 as pb
from tests.contracts.chain import PyEvm, deploy
from tests.contracts.signers import make_signers
from tests.e2e.members import cast
from tests.e2e.running import RunningDevnet
from tests.ledger.builders import make_claim

Answer = pb.GetChainCheckpointResponse


@pytest.fixture
def devnet(tmp_path: Path) -> Iterator[RunningDevnet]:
    """A devnet of its own: the others' tests count on the first epoch."""
    made = RunningDevnet(tmp_path / "d")
    try:
        made.up()
        yield made
    finally:
        made.close()


def served(devnet: RunningDevnet, member: str, **wanted: int) -> Answer:
    """By one node, checked as a relayer does."""
    client = devnet.client(member)
    request = pb.GetChainCheckpointRequest(**wanted, wait=True)  # type: ignore[arg-type]
    answer: Answer = client._call(client.stub.GetChainCheckpoint, request)
    checkpoint = ChainCheckpoint(
        epoch=Epoch(answer.epoch), size=answer.size, root=answer.root, successor=answer.successor  # type: ignore[arg-type]
    )  # fmt: skip
    check_quorum(checkpoint, devnet.genesis.digest, answer.validators, [each.signature for each in answer.signatures])
    return answer


def checksummed(addresses: Any) -> list[str]:
    return [Web3.to_checksum_address(address) for address in addresses]


def abi(answer: Answer) -> Any:
    return (
        (answer.epoch, answer.size, answer.root, answer.successor),
        checksummed(answer.validators),
        [(each.signature[:32], each.signature[32:]) for each in answer.signatures],
    )


def test_a_bridge_follows_the_log_through_a_new_chain_key(devnet: RunningDevnet) -> None:
    nodes: list[DevnetNode] = list(devnet.devnet.nodes)
    digest = devnet.genesis.digest
    devnet.record("court", devnet.sign(make_claim(1)))
    first = served(devnet, "label", min_size=1)
    entry = devnet.client("label").statement(index=0).digest
    recovery = make_signers(4, "recovery").addresses
    evm = PyEvm()
    bridge, _ = deploy(
        evm, "CheckpointBridge", first.consortium, entry, first.epoch, checksummed(first.validators), recovery
    )

    def proof(size: int) -> list[bytes]:
        return list(devnet.client("label").consistency_proof(bridge.ask("size"), size).hashes)

    new = generate_chain_key(devnet["court"].config.key_path("chain.next"))
    rotation = RotateKey(
        epoch=Epoch(0), member_id="court", purpose="chain", key=new.public, proof=new.prove("court")
    )  # fmt: skip
    cast(nodes[:3], rotation, digest)
    ends = [served(devnet, node.member, ends_epoch=0) for node in nodes]
    assert len({(each.size, each.root, each.successor) for each in ends}) == 1, "every node serves the same end"
    end = ends[0]
    assert new.address in end.next_validators
    assert new.address not in end.validators
    assert bridge.do("rotate", abi(end), checksummed(end.next_validators), proof(end.size))
    assert (bridge.ask("epoch"), bridge.ask("size")) == (1, end.size)

    devnet.record("label", devnet.sign(make_claim(2)))
    later = served(devnet, "platform", min_size=end.size + 1)
    assert (later.epoch, later.current_epoch) == (1, 1)
    assert bridge.do("submit", abi(later), proof(later.size))
    assert (bridge.ask("size"), bridge.ask("frozen")) == (later.size, False)
    evm.close()

    for node in nodes:
        status = devnet.status(node.member)
        assert (status.chain_ends_missing, status.misbehaviours) == (0, 0)
        assert status.chain_checkpoint_size == later.size
        node.stop()
        found = check_store(node.config.chain_path, devnet.genesis)
        assert [one for one in found if one.outcome is not Outcome.PASSED] == [], node.member
