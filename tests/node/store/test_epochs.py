"""Epochs in the store: what a commit that ends one must say, what is dropped, and what the check finds spoilt."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from consensus.events import Commit
from consensus.types import Digest, Epoch, EpochParameters, Height
from ledger.epochs import EpochProof
from ledger.roster import parse_roster
from node.rosters import EpochStart, Rosters
from node.store import schema
from node.store.chain import ChainStore, Cosigned
from node.store.check import Outcome, check_store
from node.store.environment import LIB_VERSION
from node.store.epochs import BoundaryDiffers, check_boundary
from node.store.errors import StoreMisused
from node.store.schema import key
from tests.node.nodes import GENESIS
from tests.node.test_epochs import pass_change, policy, record, vote
from tests.node.town import Town


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The court's chain after one epoch, with a vote in the second and a payload that the first one left unordered."""
    town = Town(tmp_path_factory.mktemp("town"))
    pass_change(town, policy())
    record(town, 1)
    results = town.submit("label", vote(policy(1, 300), "label"))
    town.run(lambda: results.last.ends, for_ms=60_000)
    town.run(lambda: town.is_complete(5), for_ms=60_000)
    town.close()
    return town.configs["court"].chain_path


@pytest.fixture
def path(tmp_path: Path, folder: Path) -> Path:
    shutil.copytree(folder, tmp_path / "chain")
    return tmp_path / "chain"


def spoil(path: Path, database: bytes, change: Callable[[lmdb.Transaction, object], None]) -> None:
    env = lmdb.open(str(path), max_dbs=32, map_size=2**30, lib_version=LIB_VERSION)
    db = env.open_db(database)
    with env.begin(write=True) as txn:
        change(txn, db)
    env.close()


def failures(path: Path) -> str:
    return "; ".join(f"{f.name}: {f.reason}" for f in check_store(path, GENESIS) if f.outcome is Outcome.FAILED)


def test_store_of_two_epochs_passes(path: Path) -> None:
    assert failures(path) == ""


def other_roster(data: bytes) -> bytes:
    proof = EpochProof.decode(data)
    return replace(proof, roster=replace(proof.roster, parameters=EpochParameters(delta_ms=999))).encode()


def few_signers(data: bytes) -> bytes:
    proof = EpochProof.decode(data)
    votes = proof.finalization
    few = replace(votes, signers=votes.signers[:2], signatures=votes.signatures[:2])
    return replace(proof, finalization=few).encode()


@pytest.mark.parametrize(
    ("database", "change", "found"),
    [
        (schema.ROSTERS, lambda t, d: t.put(key(1), other_roster(t.get(key(1), db=d)), db=d), "roster of epoch 1"),
        (schema.ROSTERS, lambda t, d: t.put(key(1), few_signers(t.get(key(1), db=d)), db=d), "roster of epoch 1"),
        (schema.VOTES, lambda t, d: t.drop(d, delete=False), "votes on changes"),
        (schema.VOTES, lambda t, d: t.put(b"p" * 32 + b"court", key(0), db=d), "votes on changes"),
        (schema.META, lambda t, d: t.put(schema.META_NEXT_ROSTER, GENESIS.roster.encode(), db=d), "next epoch"),
        (schema.DROPPED, lambda t, d: t.put(key(0), key(0), db=d), "payload 0"),
    ],
    ids=["another roster", "too few signers", "votes lost", "vote invented", "change invented", "payload both ways"],
)
def test_what_is_spoilt_is_found(
    path: Path, database: bytes, change: Callable[[lmdb.Transaction, object], None], found: str
) -> None:
    spoil(path, database, change)
    assert found in failures(path)


def test_proof_of_more_epochs_than_the_log_has_is_found(path: Path) -> None:
    spoil(path, schema.ROSTERS, lambda t, d: t.put(key(2), t.get(key(1), db=d), db=d))  # type: ignore[call-overload]
    assert "rosters" in failures(path)


def test_boundary_that_names_what_execution_did_not_give_stops_the_node(path: Path) -> None:
    with ChainStore.open(path, GENESIS) as store:
        (proof,) = store.epoch_proofs(1, 1)
        assert parse_roster(proof.roster.encode()) == store.rosters.current
    commit = Commit(blocks=(proof.boundary,), finalization=proof.finalization)
    assert check_boundary(commit, (), proof.roster) == proof.roster
    for pending in (None, GENESIS.roster):
        with pytest.raises(BoundaryDiffers, match="this node has stopped"):
            check_boundary(commit, (), pending)


def test_payloads_are_dropped_only_while_no_block_has_them(path: Path) -> None:
    with ChainStore.open(path, GENESIS) as store:
        ordered = list(store.head().block.payloads)
        store.replace_payloads(drop=[*ordered, Digest(b"n" * 32)])
        assert all(store.has_payload(digest) for digest in ordered)
    assert failures(path) == ""


def test_cosignature_of_who_had_no_seat_then_is_refused(path: Path) -> None:
    with ChainStore.open(path, GENESIS) as store:
        size = store.latest_complete()
        assert size is not None
        checkpoint = store.checkpoint_at(size)
        assert checkpoint is not None
        (log, line), *_ = store.cosignatures(size)
        with pytest.raises(StoreMisused, match="no validator"):
            store.put_cosignatures([Cosigned(checkpoint=checkpoint, member="stranger", log=log, cosignature=line)])


# ---- which roster for what -------------------------------------------------------------------------------------------


def test_rosters_by_epoch_height_and_size() -> None:
    rosters = Rosters(GENESIS)
    first = GENESIS.roster
    second = replace(first, epoch=Epoch(1))
    rosters.add(EpochStart(roster=second, height=Height(10), size=7))
    assert [rosters.of_height(height) for height in (0, 1, 10, 11)] == [first, first, first, second]
    assert [rosters.of_size(size) for size in (0, 1, 7, 8)] == [first, first, first, second]
    assert [rosters.of_epoch(epoch) for epoch in (-1, 0, 1, 2)] == [None, first, second, None]
    assert (rosters.current, rosters.epoch) == (second, 1)
    with pytest.raises(AssertionError, match="follows"):
        rosters.add(EpochStart(roster=second, height=Height(20), size=9))
