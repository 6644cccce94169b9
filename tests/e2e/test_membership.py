"""Members of real processes vote: a newcomer follows, gets a seat and votes; removed, it learns so and stops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cli.client import NodeClient, NodeError, NodeUnreachable
from consensus.types import Epoch
from ledger.epochs import EpochProof, verify_epochs
from ledger.governance import Admit, Remove, Scope
from node.devnet import DevnetNode
from node.rpc.answers import NodeStatus
from node.rpc.types import SubmissionState
from node.store.check import Outcome, check_store
from tests.e2e.members import cast, newcomer
from tests.e2e.running import RunningDevnet, until
from tests.ledger.builders import make_claim

WITHIN_S = 40.0


@pytest.fixture
def devnet(tmp_path: Path) -> Iterator[RunningDevnet]:
    """A devnet of its own: the others' tests count on four members."""
    made = RunningDevnet(tmp_path / "d")
    try:
        made.up()
        yield made
    finally:
        made.close()


def status_of(node: DevnetNode) -> NodeStatus | None:
    try:
        with NodeClient(node.config.rpc, deadline_s=2.0) as client:
            return client.status()
    except (NodeError, NodeUnreachable):
        return None


def is_part(node: DevnetNode, part: str, *, size: int = 0) -> bool:
    status = status_of(node)
    return status is not None and status.live.part == part and status.size >= size


def test_observer_is_admitted_follows_gets_a_seat_and_is_removed(devnet: RunningDevnet) -> None:
    four = list(devnet.devnet.nodes)
    digest = devnet.genesis.digest
    node, record = newcomer(devnet.devnet, "publisher", validator=False)
    try:
        node.start()  # before anybody has voted: it is refused, and keeps trying
        cast(four[:3], Admit(epoch=Epoch(0), member=record), digest)
        devnet.record("court", devnet.sign(make_claim(1)))
        until(lambda: is_part(node, "observer", size=4), "the observer to follow", WITHIN_S)
        with NodeClient(node.config.rpc) as client:
            assert client.statement(index=3).raw
            refusal = client.submit(devnet.sign(make_claim(2))).refusal
            assert refusal is not None
            assert (refusal.code, refusal.field) == ("NOT_A_VALIDATOR", "node")
            assert "court" in refusal.expected, "it says whom to ask"
            until(lambda: client.checkpoint().size == 4, "a checkpoint at the observer's")
            records = list(client.epochs())
            rosters = verify_epochs(devnet.genesis, [EpochProof.decode(epoch.proof) for epoch in records[1:]])
            assert rosters[-1].member("publisher") == record

        cast(four[:3], Admit(epoch=Epoch(1), member=replace(record, validator=True)), digest)
        until(lambda: is_part(node, "validator"), "the observer to get its seat without a restart", WITHIN_S)
        with NodeClient(node.config.rpc) as client:
            assert client.submit(devnet.sign(make_claim(3))).state is SubmissionState.FINAL

        cast(four, Remove(epoch=Epoch(2), member_id="publisher", scope=Scope.CONSORTIUM), digest)
        until(lambda: is_part(node, "outside"), "the removed node to learn it", WITHIN_S)
        devnet.record("court", devnet.sign(make_claim(4)))
        with NodeClient(node.config.rpc) as client:
            assert client.statement(index=3).raw, "its reader serves on"
    finally:
        node.stop()
    for each in (*four, node):
        each.stop()
        found = check_store(each.config.chain_path, devnet.genesis)
        assert [one for one in found if one.outcome is not Outcome.PASSED] == [], each.member
