"""Evidence in the store: kept durably, once, bounded, in pages; and stores from before there was a table for it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest

from consensus.types import Digest, Epoch, Height, Signature, SignedVote, ValidatorIndex, View, Vote, VoteKind
from ledger.evidence_report import Verdict
from ledger.misbehaviour import MisbehaviourEvidence, parse_misbehaviour, verify_misbehaviour
from node.store import misbehaviour as module
from node.store import schema
from node.store.chain import ChainStore
from node.store.check import Outcome, check_store
from node.store.errors import StoreMisused
from node.store.reader import InvalidPage, ReadSnapshot, StoreReader
from tests.node.store.chains import GENESIS, key, statement
from tests.node.store.chains import ChainMaker as Maker

MEMBERS = [member.id for member in GENESIS.validator_members()]


def evidence(
    member: str, view: int, salt: str = "", *, epoch: int = 0, consortium: Digest = GENESIS.digest
) -> MisbehaviourEvidence:
    """That a member notarized two blocks in a view; other blocks for another salt."""

    def signed(block: str) -> SignedVote:
        vote = Vote(
            kind=VoteKind.NOTARIZE,
            epoch=Epoch(epoch),
            view=View(view),
            height=Height(1),
            block=Digest(hashlib.sha256((block + salt).encode()).digest()),
        )
        signature = Signature(key(member, "consensus").sign(vote.signing_bytes(consortium)))
        return SignedVote(vote=vote, voter=ValidatorIndex(MEMBERS.index(member)), signature=signature)

    return MisbehaviourEvidence.of(consortium, signed("one"), signed("other"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChainStore]:
    with ChainStore.open(tmp_path / "chain", GENESIS) as opened:
        yield opened


@contextmanager
def snapshot_of(store: ChainStore) -> Iterator[ReadSnapshot]:
    """What a reader process would see: LMDB opens an environment once in a process."""
    with store._env.read() as txn:
        yield ReadSnapshot(store._view(txn), store._env.path, lambda _view: store.rosters)


def listed(store: ChainStore, limit: int = 1_000) -> list[MisbehaviourEvidence]:
    """Page after page."""
    found: list[bytes] = []
    page = b""
    while True:
        with snapshot_of(store) as snapshot:
            more, page = snapshot.misbehaviours(limit, page)
        found += more
        if not page:
            return [parse_misbehaviour(data) for data in found]
        assert len(more) == limit
        assert len(found) <= 1_000, "pages that never end"


def count(store: ChainStore) -> int:
    with snapshot_of(store) as snapshot:
        return snapshot.misbehaviour_count()


def test_evidence_survives_a_restart_and_still_proves_itself(tmp_path: Path) -> None:
    made = evidence("court", 7)
    with ChainStore.open(tmp_path, GENESIS) as store:
        assert store.put_misbehaviour(made)
    reader = StoreReader(tmp_path, GENESIS)
    with reader.snapshot() as snapshot:
        ((data,), page) = snapshot.misbehaviours(10)
    reader.close()
    assert (data, page) == (made.encode(), b"")
    report = verify_misbehaviour(data, GENESIS)
    assert (report.verdict, report.member) == (Verdict.VERIFIED, GENESIS.member("court"))


def test_only_the_first_of_a_validator_and_view_is_kept(store: ChainStore) -> None:
    first = evidence("court", 7)
    assert store.put_misbehaviour(first)
    assert not store.put_misbehaviour(first)
    assert not store.put_misbehaviour(evidence("court", 7, "again"))
    assert listed(store) == [first]
    others = [evidence("court", 8), evidence("society", 7), evidence("court", 7, epoch=1)]
    assert [store.put_misbehaviour(other) for other in others] == [True] * 3
    assert count(store) == 4


def test_what_adds_nothing_costs_no_write(store: ChainStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put_misbehaviour(evidence("court", 7))
    monkeypatch.setattr(store._env, "write", lambda _work: pytest.fail("an fsync for nothing"))
    assert not store.put_misbehaviour(evidence("court", 7, "again"))


def test_a_validator_fills_its_own_share_and_hides_nobody(store: ChainStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CASES_MAX", 8)
    kept = [store.put_misbehaviour(evidence("label", view)) for view in range(1, 5)]
    assert kept == [True, True, False, False]
    assert store.put_misbehaviour(evidence("platform", 1)), "there is room for the others"
    assert [made.view for made in listed(store)] == [1, 2, 1]


def test_the_table_is_bounded_over_all_epochs(store: ChainStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CASES_MAX", 4)
    kept = [store.put_misbehaviour(evidence(m, 1, epoch=epoch)) for epoch in (0, 1) for m in MEMBERS]
    assert kept == [True] * 4 + [False] * 4
    assert count(store) == 4


def test_evidence_of_another_consortium_is_not_taken(store: ChainStore) -> None:
    with pytest.raises(StoreMisused, match="consortium"):
        store.put_misbehaviour(evidence("court", 7, consortium=Digest(bytes(32))))
    assert count(store) == 0


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 7])
def test_pages_give_every_piece_once_by_validator_and_view(store: ChainStore, limit: int) -> None:
    made = [evidence(member, view) for view in (300, 2) for member in ("society", "label", "court")]
    for one in made:
        store.put_misbehaviour(one)
    assert listed(store, limit) == sorted(made, key=lambda one: (one.voter, one.view))


def test_a_page_that_is_none_is_refused(store: ChainStore) -> None:
    with snapshot_of(store) as snapshot, pytest.raises(InvalidPage):
        snapshot.misbehaviours(1, b"short")


# ---- stores of before ------------------------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store whose writer did not know the table, with something in it."""
    with ChainStore.open(tmp_path, GENESIS) as store:
        Maker(store).commit([[statement(1)]])
    with lmdb.open(str(tmp_path), max_dbs=32, map_size=2**28) as env:
        handle = env.open_db(schema.MISBEHAVIOUR, create=False)
        with env.begin(write=True) as txn:
            txn.drop(handle, delete=True)
    with lmdb.open(str(tmp_path), max_dbs=32, map_size=2**28) as env, pytest.raises(lmdb.NotFoundError):
        env.open_db(schema.MISBEHAVIOUR, create=False)
    return tmp_path


def test_a_store_without_the_table_is_read_and_checked_as_having_no_evidence(old: Path) -> None:
    reader = StoreReader(old, GENESIS)
    with reader.snapshot() as snapshot:
        assert (snapshot.misbehaviour_count(), snapshot.misbehaviours(10)) == (0, ((), b""))
    reader.close()
    assert [r.name for r in check_store(old, GENESIS) if r.outcome is not Outcome.PASSED] == []


WRITER = """
import sys
from pathlib import Path
from ledger.misbehaviour import parse_misbehaviour
from node.store.chain import ChainStore
from tests.node.store.chains import GENESIS
with ChainStore.open(Path(sys.argv[1]), GENESIS) as store:
    assert store.size == 1
    assert store.put_misbehaviour(parse_misbehaviour(bytes.fromhex(sys.argv[2])))
"""


def test_a_store_without_the_table_gets_one_and_a_reader_that_was_there_before_sees_it(old: Path) -> None:
    made = evidence("court", 7).encode()
    reader = StoreReader(old, GENESIS)
    with reader.snapshot() as snapshot:
        assert snapshot.misbehaviours(10) == ((), b"")
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", WRITER, str(old), made.hex()], check=True, cwd=root, timeout=60)
    with reader.snapshot() as snapshot:
        assert snapshot.misbehaviours(10) == ((made,), b"")
    reader.close()


# ---- `stretto store check` -------------------------------------------------------------------------------------------


def checked(path: Path) -> tuple[Outcome, str]:
    return next((r.outcome, r.reason) for r in check_store(path, GENESIS) if r.name == "misbehaviour")


def test_evidence_on_disk_is_checked_and_damage_accuses_nobody(tmp_path: Path) -> None:
    made = evidence("court", 7)
    with ChainStore.open(tmp_path, GENESIS) as store:
        store.put_misbehaviour(made)
    assert checked(tmp_path) == (Outcome.PASSED, "1 proven")

    def put(stored_key: bytes, data: bytes) -> tuple[Outcome, str]:
        with lmdb.open(str(tmp_path), max_dbs=32, map_size=2**28) as env:
            handle = env.open_db(schema.MISBEHAVIOUR, create=False)
            with env.begin(write=True) as txn:
                txn.drop(handle, delete=False)
                txn.put(stored_key, data, db=handle)
        return checked(tmp_path)

    spoilt = bytearray(made.encode())
    spoilt[72] ^= 3  # the voter: now the society's
    outcome, reason = put(module.case_key(made), bytes(spoilt))
    assert (outcome, "society" in reason) == (Outcome.FAILED, True)
    outcome, reason = put(module.case_key(evidence("court", 8)), made.encode())
    assert (outcome, "another validator or view" in reason) == (Outcome.FAILED, True)
    assert put(module.case_key(made), made.encode())[0] is Outcome.PASSED
