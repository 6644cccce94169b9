"""`stretto store check`: a good store passes every check, and no spoilt record passes all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest

from node.store import index as index_module
from node.store import schema
from node.store.chain import ChainStore
from node.store.check import Outcome, StoreCheck, check_store
from node.store.errors import StoreNotReady
from tests.node.store.chains import GENESIS, ChainMaker, claim, finalization, payload, sign, statement

SMALL = {
    "BLOCK_ROWS": 7, "RUN_ROWS_MAX": 64, "BACKLOG_MIN": 60, "BACKLOG_MAX": 120, "FOLD_ROWS_MIN": 10,
    "FOLD_ROWS_MAX": 50,
}  # fmt: skip
"""Bounds under which a small store has table blocks, runs, folded rows in runs, and a sweep that came round."""


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL.items():
            patch.setattr(index_module, name, value)
        yield


@pytest.fixture(scope="module")
def path(small: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with something of everything in it."""
    folder = tmp_path_factory.mktemp("store") / "chain"
    with ChainStore.open(folder, GENESIS) as store:
        maker = ChainMaker(store)
        for turn in range(6):
            singles = [statement(1_000 * turn + n) for n in range(3)]
            maker.commit([singles[:1]], [], [[maker.catalogue(1_000 * turn + 100, 12)], singles[1:]])
        maker.commit([[sign(claim(5), "ref-1000"), singles[0]]])  # one refused for its reference, one for itself
        store.put_payloads([payload([statement(77)], 1_000_000)])
        store.put_blobs([b"an upload that nothing needs"])
        maker.cosign(4)
        maker.cosign(store.size, ["label"])
        store.record_cosigned(store.size, store.frontier().root())
    return folder


def failed(results: tuple[StoreCheck, ...]) -> list[StoreCheck]:
    return [result for result in results if result.outcome is Outcome.FAILED]


def spoil(path: Path, database: bytes, change: Callable[[lmdb.Transaction], None]) -> None:
    with lmdb.open(str(path), max_dbs=len(schema.DATABASES), map_size=2**28, sync=False) as env:
        handle = env.open_db(database, create=False)
        with env.begin(write=True, db=handle) as txn:
            change(txn)


def records(path: Path, database: bytes) -> list[tuple[bytes, bytes]]:
    with lmdb.open(str(path), max_dbs=len(schema.DATABASES), map_size=2**28) as env:
        handle = env.open_db(database, create=False)
        with env.begin(db=handle) as txn, txn.cursor() as cursor:
            return list(cursor)


def some(items: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """First, middle, last."""
    return [items[i] for i in sorted({0, len(items) // 2, len(items) - 1})]


def test_a_good_store_passes_every_check_and_says_how_much_was_checked(path: Path) -> None:
    seen: list[tuple[int, int]] = []
    results = check_store(path, GENESIS, lambda done, of: seen.append((done, of)))
    assert [(r.name, r.outcome) for r in results if r.outcome is not Outcome.PASSED] == []
    assert [r.name for r in results] == [
        "open", "replay from genesis", "state after the last block", "cosignatures", "cosigned watermark",
        "chain signatures", "index",
        "pending payloads", "blobs", "misbehaviour",
    ]  # fmt: skip
    reasons = {r.name: r.reason for r in results}
    assert "19 blocks, 7 finalizations" in reasons["replay from genesis"]
    assert "24 statements" in reasons["replay from genesis"]
    assert "90 claims" in reasons["replay from genesis"]
    assert "1 complete" in reasons["cosignatures"]
    assert seen[-1] == (19, 19)


def test_an_empty_store_passes(tmp_path: Path) -> None:
    ChainStore.open(tmp_path, GENESIS).close()
    assert failed(check_store(tmp_path, GENESIS)) == []


def test_where_there_is_no_store_there_is_nothing_to_check(tmp_path: Path) -> None:
    with pytest.raises(StoreNotReady):
        check_store(tmp_path / "nothing", GENESIS)


@pytest.mark.parametrize("database", schema.DATABASES, ids=bytes.decode)
def test_a_flipped_byte_is_found_in_every_kind_of_record(path: Path, database: bytes) -> None:
    items = records(path, database)
    assert items, "the store of this test has something of everything"
    for key, value in items if database == schema.META else some(items):
        if database == schema.UPLOADS:
            break  # the value is an order of arrival, and nothing follows from it
        # These end in what bounds nothing: uploads ever made; rows due and runs ever written; a place between rows.
        last = {schema.META_COUNTERS: 40, schema.META_INDEX: 16}.get(key, len(value))
        last = 12 if database == schema.INDEX_HEADS else last
        for at in sorted({last // 3, last * 2 // 5, last * 9 // 10}) if value else ():
            spoilt = value[:at] + bytes([value[at] ^ 0x10]) + value[at + 1 :]
            spoil(path, database, lambda txn, k=key, v=spoilt: txn.put(k, v))  # type: ignore[misc]
            found = failed(check_store(path, GENESIS))
            spoil(path, database, lambda txn, k=key, v=value: txn.put(k, v))  # type: ignore[misc]
            assert found, f"{database.decode()} {key.hex()} byte {at} of {len(value)}"
            assert all(check.reason for check in found)
    assert failed(check_store(path, GENESIS)) == []


@pytest.mark.parametrize("database", schema.DATABASES, ids=bytes.decode)
def test_a_missing_record_is_found(path: Path, database: bytes) -> None:
    for key, value in some(records(path, database)):
        if key in (schema.META_COSIGNED, schema.META_SCHEMA):
            continue  # as if nothing had been cosigned, or made, yet
        if database == schema.FINALIZATIONS and key != schema.key(19):
            continue  # the next one proves the same blocks
        if database == schema.COSIGNATURES and key.startswith(schema.key(24)):
            continue  # short of a quorum anyway
        spoil(path, database, lambda txn, k=key: txn.delete(k))  # type: ignore[misc]
        found = failed(check_store(path, GENESIS))
        spoil(path, database, lambda txn, k=key, v=value: txn.put(k, v))  # type: ignore[misc]
        assert found, f"{database.decode()} {key.hex()}"


@pytest.mark.parametrize(
    "database", [d for d in schema.DATABASES if d not in (schema.META, schema.INDEX_RUNS)], ids=bytes.decode
)
def test_a_record_too_many_is_found(path: Path, database: bytes) -> None:
    key, value = records(path, database)[-1]
    longer = key[:-1] + bytes([key[-1] ^ 0xFF])
    spoil(path, database, lambda txn: txn.put(longer, value))
    found = failed(check_store(path, GENESIS))
    spoil(path, database, lambda txn: txn.delete(longer))
    assert found


def test_a_spoilt_upload_is_found_though_nothing_needs_it(path: Path) -> None:
    ((key, _),) = records(path, schema.UPLOADS)
    value = dict(records(path, schema.BLOBS))[key]
    spoil(path, schema.BLOBS, lambda txn: txn.put(key, value + b"!"))
    found = failed(check_store(path, GENESIS))
    spoil(path, schema.BLOBS, lambda txn: txn.put(key, value))
    assert [check.name for check in found] == ["blobs"]


def test_a_forged_finalization_is_found_and_what_hangs_on_it_is_not_believed(path: Path) -> None:
    """All is consistent but signed by too few: only the signatures tell."""
    key, value = records(path, schema.FINALIZATIONS)[2]
    with ChainStore.open(path, GENESIS) as store:
        block = store.blocks_from(int.from_bytes(key, "big") - 2, 64)
    assert block is not None
    good = finalization(block.blocks[2])
    assert good.encode() == value
    few = value[:57] + (2).to_bytes(2, "big") + value[59 : 59 + 2 * 66]
    spoil(path, schema.FINALIZATIONS, lambda txn: txn.put(key, few))
    results = check_store(path, GENESIS)
    spoil(path, schema.FINALIZATIONS, lambda txn: txn.put(key, value))
    outcomes = {r.name: r.outcome for r in results}
    assert outcomes["replay from genesis"] is Outcome.FAILED
    assert outcomes["index"] is Outcome.NOT_CHECKED
