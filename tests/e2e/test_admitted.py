"""A member admitted by vote while the others work: its node joins from a pinned checkpoint, votes, and is removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cli.client import NodeClient
from consensus.types import Epoch
from ledger.governance import Admit, Remove, Scope
from node.rpc.types import SubmissionState
from tests.campaign.audit import Witness, audit
from tests.campaign.faults import Scene
from tests.campaign.field import Field
from tests.campaign.load import Load
from tests.campaign.membership import NEWCOMER, Membership

BEFORE = 150
"""Statements on record before it is admitted: blocks enough that it syncs, and does not just catch up."""


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Four nodes that record all the time."""
    with ExitStack() as stack:
        field = Field(tmp_path / "net", 4, proxied=False)
        stack.callback(field.close)
        field.up()
        witness = Witness(field)
        stack.callback(witness.close)
        load = Load(field)
        stack.callback(load.close)
        load.go()
        load.until_more(BEFORE, 60)
        yield Scene(field=field, load=load, witness=witness, stack=stack)


def test_member_admitted_under_load_syncs_votes_and_stands_aside_once_removed(scene: Scene) -> None:
    field, load = scene.field, scene.load
    members = Membership(scene)
    four = members.founders()
    admit = Admit(epoch=Epoch(0), member=members.record)
    members.change("ADMIT", admit, four[:3], members.newcomer_votes)
    for said in ("sync: starting at height 0,", "sync: done", "has the pinned root"):
        assert said in field.log_since(members.node, 0), "in a process of its own, in bulk, against the pin"

    # Five seats need four votes: with one founder away nothing becomes final but by the newcomer's.
    field.stop("platform")
    load.until_more(20, 40, to=("court",))
    with NodeClient(members.node.config.rpc, deadline_s=60) as client:
        assert client.submit(load.statement()).state is SubmissionState.FINAL, "it takes submissions, and orders them"
    field.start("platform")

    remove = Remove(epoch=Epoch(1), member_id=NEWCOMER, scope=Scope.CONSORTIUM)
    members.change("REMOVE", remove, four, members.learns)
    last = members.status(members.node)
    assert last is not None
    assert last.live.part == "outside"
    assert not any(peer.connected for peer in last.live.peers), "it has lost all streams"
    with NodeClient(members.node.config.rpc, deadline_s=20) as client:
        refusal = client.submit(load.statement()).refusal
        assert refusal is not None
        assert refusal.code == "NOT_A_VALIDATOR"
        assert client.statement(index=0).raw, "its reader serves on"
    load.until_more(20, 40)
    after = members.status(members.node)
    assert after is not None
    assert after.size == last.size < max(one.index for one in load.acknowledged), "nothing comes to it any more"

    load.pause()
    assert audit(field, load, scene.witness).failed == {}
    assert members.check_fifth() == []
