"""What a node's reader says once epochs have passed: rosters and their proofs, open votes, evidence of later epochs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ledger.epochs import EpochProof, verify_epochs
from ledger.evidence import Verdict, verify_bundle
from ledger.governance import proposal_id
from ledger.roster import parse_roster
from node.rpc.epochs import EpochService
from node.rpc.errors import InvalidRequest
from node.rpc.evidence import EvidenceService, _Wanted
from node.signer import load_keys
from node.store.reader import StoreReader
from protos import stretto_pb2 as pb
from tests.node.nodes import GENESIS, MEMBERS
from tests.node.test_epochs import pass_change, policy, record, vote
from tests.node.town import Town


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    """Two epochs have ended, and in the third one member has voted for a change and two for another; not running."""
    made = Town(tmp_path_factory.mktemp("town"))
    for epoch in range(2):
        pass_change(made, policy(epoch, 160 + epoch))
        record(made, epoch)
    for change, voters in ((policy(2, 300), MEMBERS[:1]), (policy(2, 400), MEMBERS[1:3])):
        for voter in voters:
            results = made.submit(voter, vote(change, voter, f"for {change.parameters.delta_ms}"))
            made.run(lambda r=results: r.last.ends, for_ms=60_000)
    made.run(lambda: made.is_complete(11), for_ms=60_000)
    made.close()
    return made


@pytest.fixture
def reader(town: Town) -> Iterator[StoreReader]:
    opened = StoreReader(town.configs["court"].chain_path, GENESIS)
    yield opened
    opened.close()


def listed(reader: StoreReader, **request: int) -> pb.ListEpochsResponse:
    answer = asyncio.run(EpochService(reader).list_epochs(pb.ListEpochsRequest(**request), None))  # type: ignore[arg-type]
    assert isinstance(answer, pb.ListEpochsResponse)
    return answer


def test_epochs_are_listed_with_what_proves_them(reader: StoreReader) -> None:
    answer = listed(reader)
    assert answer.current == 2
    assert [epoch.epoch for epoch in answer.epochs] == [0, 1, 2]
    rosters = verify_epochs(GENESIS, [EpochProof.decode(epoch.proof) for epoch in answer.epochs[1:]])
    assert [parse_roster(epoch.roster) for epoch in answer.epochs] == list(rosters)
    assert answer.epochs[0].proof == b""
    heights = [epoch.start_height for epoch in answer.epochs]
    assert heights == sorted(set(heights))
    assert heights[0] == 0
    assert all(epoch.start_time_ms > 0 for epoch in answer.epochs[1:])


def test_epochs_are_listed_from_one_on_and_in_pages(reader: StoreReader) -> None:
    assert [epoch.epoch for epoch in listed(reader, from_epoch=1, limit=1).epochs] == [1]
    assert [epoch.epoch for epoch in listed(reader, from_epoch=2).epochs] == [2]
    assert list(listed(reader, from_epoch=3).epochs) == []
    assert list(listed(reader, from_epoch=2**63).epochs) == []
    with pytest.raises(InvalidRequest, match="limit"):
        listed(reader, limit=1001)


def test_open_votes_are_those_of_the_current_epoch(reader: StoreReader) -> None:
    answer = asyncio.run(EpochService(reader).get_governance(pb.GetGovernanceRequest(), None))  # type: ignore[arg-type]
    assert isinstance(answer, pb.GetGovernanceResponse)
    assert (answer.epoch, list(answer.seats), answer.quorum, answer.seats_max) == (2, list(MEMBERS), 3, 1)
    assert not answer.ending
    assert [(p.kind, list(p.voters), p.passed) for p in answer.proposals] == [
        ("SET_POLICY", ["label"], False),
        ("SET_POLICY", ["court", "society"], False),
    ]
    assert [p.proposal for p in answer.proposals] == [proposal_id(policy(2, delta)) for delta in (300, 400)]
    assert [p.change for p in answer.proposals] == [policy(2, delta).encode() for delta in (300, 400)]


@pytest.mark.parametrize("index", [3, 7], ids=["epoch 1", "epoch 2"])
def test_evidence_of_a_later_epoch_is_proven_from_the_genesis(
    town: Town, reader: StoreReader, index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = SimpleNamespace(time_ns=lambda: (town.clock.wall_ms() + 1_000) * 1_000_000)
    monkeypatch.setattr("node.rpc.evidence.time", later)
    config = town.configs["court"]
    service = EvidenceService(reader, None, GENESIS, "court", load_keys(config, "export"))  # type: ignore[arg-type]
    try:
        bundle = service._build(_Wanted(index=index, position=None))
    finally:
        service.close()
    with reader.snapshot() as snapshot:
        known = tuple(start.roster for start in snapshot.rosters().starts)
    assert verify_bundle(bundle, GENESIS, None, known=known).verdict is Verdict.VERIFIED
    assert verify_bundle(bundle, GENESIS, None).verdict is Verdict.INCOMPLETE, (
        "retired keys could forge another history"
    )


def test_reader_that_was_open_before_sees_epochs_that_begin(tmp_path: Path) -> None:
    town = Town(tmp_path)
    record(town, 1)
    town.close()
    reader = StoreReader(town.configs["court"].chain_path, GENESIS)
    assert listed(reader).current == 0
    reader.close()  # in one process an environment is opened once
    for member in MEMBERS:
        town.start(member)
    pass_change(town, policy())
    town.close()
    with reader.snapshot() as snapshot:
        assert snapshot.rosters().epoch == 1
    reader.close()
