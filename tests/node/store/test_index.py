"""The index: whatever runs and folds do, every row is found once, in order, and the counters tell the truth."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.store import index as index_module
from node.store.index import Index, IndexState, RecentKeys
from node.store.records import ONCE_KINDS_MAX, KeyKind, RowBatch, Rows, as_keys, between, row, row_key, sort_rows


class Bench:
    """An index in an environment of its own."""

    def __init__(self, path: Path) -> None:
        # Not durable: that is the environment's part, and these tests commit thousands of times.
        self.environment = lmdb.open(str(path), max_dbs=3, map_size=2**28, sync=False)
        self.index = Index(*(self.environment.open_db(name) for name in (b"table", b"runs", b"heads")))
        self.state = IndexState()
        self.recent = RecentKeys()

    def commit(self, rows: Rows) -> None:
        before = self.state.sweep
        with self.environment.begin(write=True, buffers=True) as txn:
            state, run = self.index.add(txn, self.state, rows)
            self.state = self.index.fold(txn, state)
        self.recent.add(before, [run], ONCE_KINDS_MAX)
        self.recent.advance(self.state.sweep)

    def find(self, key: bytes, start: tuple[int, int] = (0, 0)) -> list[tuple[int, int]]:
        with self.environment.begin(buffers=True) as txn:
            return list(self.index.find(txn, key, start=start))

    def run_sizes(self) -> list[int]:
        with self.environment.begin(buffers=True) as txn:
            return [len(rows) for _, _, rows, _ in self.index.audit(txn, self.state)]

    def check_counters(self) -> None:
        with self.environment.begin(buffers=True) as txn:
            blocks = list(txn.cursor(db=self.index.table_database).iternext(keys=False))
            table = np.frombuffer(b"".join(blocks), np.uint8).reshape(-1, 24)
            waiting = np.concatenate([*self.index.unfolded(txn, self.state), np.empty((0, 24), np.uint8)])
        assert len(table) == self.state.table_rows
        assert len(waiting) == self.state.backlog_rows
        assert (np.sort(as_keys(table)) == as_keys(table)).all()
        both = np.concatenate([as_keys(table), as_keys(waiting)])
        assert len(np.unique(both)) == len(both)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.environment.close()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds so small that merges, folds, wraps and deletions all happen within a few hundred rows."""
    for name, value in {
        "BLOCK_ROWS": 7, "RUN_ROWS_MAX": 64, "BACKLOG_MIN": 60, "BACKLOG_MAX": 120, "FOLD_ROWS_MIN": 10,
        "FOLD_ROWS_MAX": 50, "NEAR_ROWS": 1,
    }.items():  # fmt: skip
        monkeypatch.setattr(index_module, name, value)


def rows_of(kind: KeyKind, keys: list[bytes], leaf: int, positions: Iterable[int]) -> Rows:
    batch = RowBatch()
    for key, position in zip(keys, positions, strict=True):
        batch.add(kind, key, leaf, position)
    return batch.rows()


def digest(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(8, "big")).digest()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("per_commit", [1, 3, 20, 90])
def test_every_row_is_found_in_order_through_merges_folds_and_sweeps(bench: Bench, per_commit: int) -> None:
    twin: dict[bytes, list[tuple[int, int]]] = {}
    for leaf in range(1_200 // per_commit):
        keys = [digest((leaf * 7 + i) % 611) for i in range(per_commit)]  # many keys come back
        bench.commit(rows_of(KeyKind.BLAKE3, keys, leaf, range(per_commit)))
        for position, key in enumerate(keys):
            twin.setdefault(row_key(KeyKind.BLAKE3, key), []).append((leaf, position))
    assert bench.state.sweep >= 2, "the sweep came round, so runs were folded whole and deleted"
    assert 0 < bench.state.backlog_rows < 400
    bench.check_counters()
    for key, expected in twin.items():
        assert bench.find(key) == sorted(expected)
    assert bench.find(row_key(KeyKind.BLAKE3, digest(9_999_999))) == []
    assert bench.find(row_key(KeyKind.SHA256, digest(1))) == [], "a kind never finds another kind's key"


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("per_commit", [1, 20])
def test_the_quick_look_into_the_table_agrees_with_the_slow_one(bench: Bench, per_commit: int) -> None:
    """Also where a key is first in its block, last, repeated over blocks, or stands elsewhere but on a row's border."""
    assert not _agrees(bench, [digest(1)])
    for leaf in range(600 // per_commit):
        keys = [digest((leaf * 7 + i) % 211) for i in range(per_commit)]
        bench.commit(rows_of(KeyKind.STATEMENT, keys, leaf, range(per_commit)))
    assert len(_agrees(bench, [digest(n) for n in range(400)])) > 100


def _agrees(bench: Bench, digests: list[bytes]) -> list[bytes]:
    """Those that are in the table, both ways."""
    with bench.environment.begin(buffers=True) as txn:
        holds = bench.index.in_table(txn)
        keys = [row_key(KeyKind.STATEMENT, each) for each in digests]
        found = [key for key in keys if list(bench.index.find(txn, key, runs=False))]
        assert [key for key in keys if holds(key)] == found
        blocks = list(txn.cursor(db=bench.index.table_database).iternext(keys=False))
        shifted = [bytes(block[at : at + 16]) for block in blocks for at in (3, 8, 20)]
        assert not any(holds(key) for key in shifted), "bytes of two rows are no key"
    return found


@pytest.mark.usefixtures("small")
def test_runs_stay_few_and_bounded(bench: Bench) -> None:
    for leaf in range(500):
        bench.commit(rows_of(KeyKind.BLAKE3, [digest(leaf)], leaf, (0,)))
        sizes = bench.run_sizes()
        assert max(sizes) <= 64
        assert len(sizes) <= 16, "full ones for at most twice the backlog, and one for each power of two"
    assert len(sizes) > 2


@pytest.mark.usefixtures("small")
def test_a_page_continues_where_the_last_one_ended(bench: Bench) -> None:
    key = row_key(KeyKind.ISRC, b"CNA012600001")
    for leaf in range(150):
        bench.commit(rows_of(KeyKind.ISRC, [b"CNA012600001", b"CNA012600001"], leaf, (3, 9)))
    everything = bench.find(key)
    assert everything == [(leaf, position) for leaf in range(150) for position in (3, 9)]
    assert bench.find(key, (70, 4)) == everything[141:]
    assert bench.find(key, (70, 3)) == everything[140:]
    assert bench.find(key, (150, 0)) == []


@pytest.mark.usefixtures("small")
def test_crowded_keys_do_not_make_a_fold_larger_than_its_bound(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    merge = Index._merge

    def watched(self: Index, txn: object, new: Rows) -> None:
        nonlocal largest
        largest = max(largest, len(new))
        merge(self, txn, new)  # type: ignore[arg-type]

    monkeypatch.setattr(Index, "_merge", watched)
    for leaf in range(200):
        bench.commit(rows_of(KeyKind.ISRC, [b"CNA012600001"] * 20, leaf, range(20)))
    runs_max = 12
    assert 0 < largest <= 4 * 50 * runs_max
    bench.check_counters()
    assert len(bench.find(row_key(KeyKind.ISRC, b"CNA012600001"))) == 4_000


@pytest.mark.usefixtures("small")
def test_recent_keys_never_miss_a_key_that_waits_in_a_run(bench: Bench) -> None:
    for leaf in range(400):
        bench.commit(rows_of(KeyKind.STATEMENT, [digest(leaf)], leaf, (0,)))
        if leaf % 80 == 79:
            with bench.environment.begin(buffers=True) as txn:
                for rows in bench.index.unfolded(txn, bench.state):
                    assert all(bench.recent.may_hold(bytes(r[:16])) for r in rows)
            for old in range(leaf):
                key = row_key(KeyKind.STATEMENT, digest(old))
                with bench.environment.begin(buffers=True) as txn:
                    found = list(bench.index.find(txn, key, runs=bench.recent.may_hold(key)))
                assert found == [(old, 0)]
    assert bench.state.sweep >= 2
    assert not all(bench.recent.may_hold(row_key(KeyKind.STATEMENT, digest(n))) for n in range(10_000, 10_100))


def test_a_state_round_trips() -> None:
    state = IndexState(table_rows=1, backlog_rows=2, due_rows=3, next_run=4, sweep=5, cursor=b"c" * 24)
    assert IndexState.decode(state.encode()) == state


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"\0" * 16, b"\0" * 15 + b"\1", b"a" * 16, b"a" * 8 + b"b" * 8]), st.integers(0, 999)
        ),
        unique=True,
    )
)
def test_rows_sort_as_bytes_also_where_keys_tie(pairs: list[tuple[bytes, int]]) -> None:
    made = [row(key, index, index % 7) for key, index in pairs]
    array = np.frombuffer(b"".join(made), np.uint8).reshape(-1, 24)
    assert [bytes(r) for r in sort_rows(array)] == sorted(made)


def test_between_takes_the_low_bound_and_leaves_the_high_one() -> None:
    made = [row(bytes([i]) * 16, i, i) for i in range(5)]
    array = np.frombuffer(b"".join(made), np.uint8).reshape(-1, 24)
    assert [bytes(r) for r in between(array, made[1], made[3])] == made[1:3]
    assert [bytes(r) for r in between(array, made[1], None)] == made[1:]
    assert not len(between(array, made[3], made[1]))
