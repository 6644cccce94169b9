"""Rights and derived leaves in the store: written with their commit, kept over restarts, proven by the check."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from ledger.apply import Overlay
from ledger.rights import ClaimId, ClaimState
from ledger.rights_content import CourtAction
from node.store import schema
from node.store.chain import ChainStore
from node.store.check import Outcome, check_store
from node.store.errors import StoreCorrupt, StoreMisused
from node.store.reader import ReadSnapshot, StoreReader
from tests.node.store.chains import GENESIS, ChainMaker, claim, statement
from tests.node.store.rights_chains import Story, block_time, claim_of, dispute, mint, order, tell
from tests.node.store.test_check import failed, records, some, spoil

TABLES = (schema.DERIVED, schema.DERIVED_INDEX, schema.RIGHTS, schema.STAYS)
BY_TABLE = pytest.mark.parametrize("database", TABLES, ids=bytes.decode)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Story]:
    folder = tmp_path_factory.mktemp("store") / "chain"
    with ChainStore.open(folder, GENESIS) as store:
        return folder, tell(ChainMaker(store))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChainStore]:
    with ChainStore.open(tmp_path / "chain", GENESIS) as made:
        yield made


def state(snapshot: ReadSnapshot, of: ClaimId) -> tuple[ClaimState, str, int]:
    """State, holder, live mints."""
    rights = snapshot.rights(of)
    assert rights is not None
    return rights.state, rights.holder, len(rights.mints)


def test_the_store_tells_where_every_claim_stands(told: tuple[Path, Story]) -> None:
    path, story = told
    reader = StoreReader(path, GENESIS)
    with reader.snapshot() as snapshot:
        assert {name: state(snapshot, getattr(story, name)) for name in Story.__dataclass_fields__} == {
            "disputed": (ClaimState.ACTIVE, "label", 3),
            "stayed": (ClaimState.ACTIVE, "label", 1),
            "replaced": (ClaimState.SUPERSEDED, "label", 0),
            "replacement": (ClaimState.DISPUTED, "label", 2),
            "transferred": (ClaimState.ACTIVE, "society", 1),
            "withdrawn": (ClaimState.REVOKED, "label", 0),
            "plain": (ClaimState.ACTIVE, "label", 0),
            "minted": (ClaimState.DISPUTED, "label", 1),
        }
        derived = [index for index in range(snapshot.size) if snapshot.derived(index) is not None]
        assert snapshot.statements == snapshot.size - len(derived)
        for index in range(snapshot.size):
            leaf, entry = snapshot.derived(index), snapshot.entry(index)
            assert (leaf is None) == (index not in derived) == (entry is not None)
            assert snapshot.leaf_entry(index) == (leaf.entry if leaf is not None else entry.digest)  # type: ignore
            if leaf is not None:
                assert snapshot.index_of_derived(leaf.entry) == index
                cause = snapshot.statement(leaf.cause)
                assert cause is not None
                assert cause.index < index
            assert snapshot.statement_from(index) == min(
                (at for at in range(index, snapshot.size) if at not in derived), default=snapshot.size
            )
    reader.close()


def test_a_plain_claim_costs_no_record(told: tuple[Path, Story]) -> None:
    path, story = told
    claims = {key for key, _ in records(path, schema.RIGHTS)}
    assert story.plain.encode() not in claims
    assert story.disputed.encode() in claims
    assert len(claims) == len(Story.__dataclass_fields__) - 1


def test_blocks_committed_at_once_leave_the_same_store_as_one_by_one(tmp_path: Path) -> None:
    raws = [statement(n) for n in range(2)]
    a, b = map(claim_of, raws)
    first = dispute(a)
    blocks = [
        [[raws[0], mint(a, 1)]],
        [[raws[1], mint(a, 2)], [first, mint(b, 1)]],
        [[order(b, raws[1], CourtAction.STAY, "stay", until_ms=block_time(5))]],
        [],
        [],
        [[mint(b, 2), mint(a, 3)]],
    ]
    tables = {}
    for name, batches in (("one", [[block] for block in blocks]), ("all", [blocks]), ("two", [blocks[:3], blocks[3:]])):
        with ChainStore.open(tmp_path / name, GENESIS) as store:
            maker = ChainMaker(store)
            for batch in batches:
                maker.commit(*batch)
        assert failed(check_store(tmp_path / name, GENESIS)) == []
        kinds = (*TABLES, schema.ENTRIES, schema.HASHES, schema.BOUNDARIES, schema.BLOCKS, schema.RECEIPTS)
        tables[name] = [records(tmp_path / name, kind) for kind in kinds]
    assert tables["one"] == tables["all"] == tables["two"]
    assert records(tmp_path / "all", schema.STAYS) == []


def test_what_is_open_outlasts_a_restart_and_lapses_after_it(tmp_path: Path) -> None:
    raw = statement(1)
    of = claim_of(raw)
    stay = order(of, raw, CourtAction.STAY, "stay", until_ms=block_time(4))
    with ChainStore.open(tmp_path, GENESIS) as store:
        ChainMaker(store).commit([[raw, mint(of, 1)]], [[stay]])
        assert store.open_stays() == 1
    with ChainStore.open(tmp_path, GENESIS) as store:
        (early,) = ChainMaker(store, sequence=50).commit([])
        (due,) = ChainMaker(store, sequence=60).commit([])
        assert (early.leaf_count, due.leaf_count, due.entries) == (0, 1, ())
        assert store.open_stays() == 0
        checkpoint = store.checkpoint_at(store.size)
        assert checkpoint is not None
        assert checkpoint.root == store.frontier().root()
    assert failed(check_store(tmp_path, GENESIS)) == []


def test_a_block_that_only_lets_a_stay_lapse_is_cosigned(store: ChainStore) -> None:
    maker, raw = ChainMaker(store), statement(1)
    of = claim_of(raw)
    maker.commit([[raw, mint(of, 1), order(of, raw, CourtAction.STAY, "stay", until_ms=block_time(2))]])
    prepared = maker.prepare([])
    store.commit(prepared.commit, prepared.applied, prepared.frontier, cosign=True)
    assert store.cosigned_watermark() == (store.size, store.frontier().root())


def test_a_commit_that_fails_leaves_rights_as_they_were(store: ChainStore, tmp_path: Path) -> None:
    maker, raw = ChainMaker(store), statement(1)
    of = claim_of(raw)
    maker.commit([[raw, mint(of, 1)]])
    good = maker.prepare([[dispute(of)]], [[mint(of, 2)]])
    store.put_payloads(good.payloads)
    before = [records_of(store, table) for table in TABLES]
    wrong = good.frontier.append(bytes(32))
    with pytest.raises(StoreMisused, match="frontier"):
        store.commit(good.commit, good.applied, wrong)
    assert [records_of(store, table) for table in TABLES] == before
    store.commit(good.commit, good.applied, good.frontier)
    assert [records_of(store, table) for table in TABLES] != before


def records_of(store: ChainStore, table: bytes) -> list[tuple[bytes, bytes]]:
    with store._env.read() as txn:
        database = store._env.databases[table]
        with txn.cursor(db=database) as cursor:
            return [(bytes(key), bytes(value)) for key, value in cursor]


def test_leaves_that_do_not_follow_each_other_are_refused(store: ChainStore) -> None:
    maker, raw = ChainMaker(store), statement(1)
    of = claim_of(raw)
    good = maker.prepare([[raw, mint(of, 1), mint(of, 2)]])
    store.put_payloads(good.payloads)
    (applied,) = good.applied
    for derived in (applied.derived[:1], applied.derived[1:], (), applied.derived[::-1]):
        with pytest.raises(StoreMisused, match=r"continue the log|frontier"):
            store.commit(good.commit, [replace(applied, derived=derived)], good.frontier)
    store.commit(good.commit, good.applied, good.frontier)


def test_execution_sees_what_earlier_blocks_of_the_same_commit_did(store: ChainStore) -> None:
    maker, raw = ChainMaker(store), statement(1)
    of = claim_of(raw)
    with store.recorded() as recorded:
        assert recorded.issuer_of(of) is None
        overlay = Overlay(recorded)
        prepared = maker._prepare(overlay, [[[raw, mint(of, 1)]], [[dispute(of)]]])
        assert overlay.issuer_of(of) == "label"
        assert overlay.issuer_of(ClaimId(of.statement, 1)) is None
        rights = overlay.rights_of(of)
        assert rights is not None
        assert rights.state is ClaimState.DISPUTED
        assert recorded.rights_of(of) is None
    maker.write(prepared)
    with store.recorded() as recorded:
        assert (recorded.issuer_of(of), recorded.rights_of(of)) == ("label", rights)


# ---- the check -------------------------------------------------------------------------------------------------------


def test_a_store_with_rights_passes_every_check(told: tuple[Path, Story]) -> None:
    results = check_store(told[0], GENESIS)
    assert {result.outcome for result in results} == {Outcome.PASSED}
    (replayed,) = [result.reason for result in results if result.name == "replay from genesis"]
    count = len(records(told[0], schema.DERIVED))
    assert f"{count} leaves that follow from them" in replayed


@BY_TABLE
def test_a_flipped_byte_of_rights_is_found(told: tuple[Path, Story], database: bytes) -> None:
    path = told[0]
    for key, value in some(records(path, database)):
        for at in sorted({0, len(value) // 2, len(value) - 1}) if value else ():
            spoilt = value[:at] + bytes([value[at] ^ 0x10]) + value[at + 1 :]
            spoil(path, database, lambda txn, k=key, v=spoilt: txn.put(k, v))  # type: ignore[misc]
            found = failed(check_store(path, GENESIS))
            spoil(path, database, lambda txn, k=key, v=value: txn.put(k, v))  # type: ignore[misc]
            assert found, f"{database.decode()} {key.hex()} byte {at} of {len(value)}"
    assert failed(check_store(path, GENESIS)) == []


@BY_TABLE
def test_a_missing_record_of_rights_is_found(told: tuple[Path, Story], database: bytes) -> None:
    path = told[0]
    for key, value in some(records(path, database)):
        spoil(path, database, lambda txn, k=key: txn.delete(k))  # type: ignore[misc]
        found = failed(check_store(path, GENESIS))
        spoil(path, database, lambda txn, k=key, v=value: txn.put(k, v))  # type: ignore[misc]
        assert found, f"{database.decode()} {key.hex()}"


@BY_TABLE
def test_a_record_of_rights_too_many_is_found(told: tuple[Path, Story], database: bytes) -> None:
    path = told[0]
    key, value = records(path, database)[-1]
    other = key[:-1] + bytes([key[-1] ^ 0xFF])
    spoil(path, database, lambda txn: txn.put(other, value))
    found = failed(check_store(path, GENESIS))
    spoil(path, database, lambda txn: txn.delete(other))
    assert found


def test_spoilt_rights_are_said_to_be_so_when_they_are_asked_for(told: tuple[Path, Story]) -> None:
    path, story = told
    key = story.disputed.encode()
    value = dict(records(path, schema.RIGHTS))[key]
    spoil(path, schema.RIGHTS, lambda txn: txn.put(key, value[:-1]))
    reader = StoreReader(path, GENESIS)
    with reader.snapshot() as snapshot, pytest.raises(StoreCorrupt, match="rights of claim"):
        snapshot.rights(story.disputed)
    reader.close()
    spoil(path, schema.RIGHTS, lambda txn: txn.put(key, value))


# ---- a store of before -----------------------------------------------------------------------------------------------


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A store as the version before made it: without these tables."""
    with ChainStore.open(tmp_path / "chain", GENESIS) as store:
        ChainMaker(store).commit([[statement(1), statement(2)]])
    for table in TABLES:
        with lmdb.open(str(tmp_path / "chain"), max_dbs=1, map_size=2**28) as env:
            handle = env.open_db(table, create=False)
            with env.begin(write=True) as txn:
                txn.drop(handle, delete=True)
    return tmp_path / "chain"


def test_a_store_of_the_version_before_is_read_and_checked(older: Path) -> None:
    with lmdb.open(str(older), max_dbs=1) as env, pytest.raises(lmdb.NotFoundError):
        env.open_db(schema.RIGHTS, create=False)
    reader = StoreReader(older, GENESIS)
    with reader.snapshot() as snapshot:
        assert state(snapshot, claim_of(statement(1))) == (ClaimState.ACTIVE, "label", 0)
        assert (snapshot.derived(0), snapshot.index_of_derived(bytes(32)), snapshot.statements) == (None, None, 2)
    reader.close()
    assert failed(check_store(older, GENESIS)) == []


def test_a_store_of_the_version_before_goes_on_with_rights(older: Path) -> None:
    of = claim_of(statement(1))
    with ChainStore.open(older, GENESIS) as store:
        ChainMaker(store, sequence=50).commit([[mint(of, 1), dispute(of)]])
    reader = StoreReader(older, GENESIS)
    with reader.snapshot() as snapshot:
        assert state(snapshot, of) == (ClaimState.DISPUTED, "label", 1)
        assert (snapshot.size, snapshot.statements) == (6, 4)
    reader.close()
    assert failed(check_store(older, GENESIS)) == []


def test_the_replacement_is_found_by_its_keys(told: tuple[Path, Story]) -> None:
    path, story = told
    reader = StoreReader(path, GENESIS)
    with reader.snapshot() as snapshot:
        found, _ = snapshot.claims_by("blake3", claim(5_050).media[0].blake3, 10)
        assert [(one.statement_digest, one.position) for one in found] == [story.replacement]
        assert found[0].claim == claim(5_050).encode()
        assert not found[0].catalogue
    reader.close()
