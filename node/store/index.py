"""Index on disk: sorted runs as commits make them, folded slice by slice into one packed sorted table.

Random keys put into a B-tree in every commit rewrite a page or more per key (design D6). Here a commit appends ONE
sorted run; small runs merge into larger ones. A cursor sweeps the key space: now and then the rows of all runs within
its next slice are merged with the table's blocks there, which are rewritten packed. The more rows wait in runs, the
more fall into each block; a quarter of the table waits, so that a row costs some hundred bytes of writing. A run
whose every row the cursor has passed is deleted. Readers look at the table and at every run, and drop what is in both.
"""

from __future__ import annotations

import heapq
import struct
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Final

import lmdb
import numpy as np

from node.store.environment import Database
from node.store.records import (
    FIRST_ROW,
    KEY_BYTES,
    ROW_BYTES,
    Rows,
    between,
    distinct,
    merge_rows,
    rows_from,
    sort_rows,
)

BLOCK_ROWS: Final = 682
"""Rows of a block: 16,368 bytes, which with LMDB's header are four pages."""
RUN_ROWS_MAX: Final = 131_072
"""Runs merge up to this size: 3 MiB, some 20 ms."""
BACKLOG_MIN: Final = 65_536
BACKLOG_MAX: Final = 2_097_152
"""Rows that wait in runs: a quarter of the table's, within these bounds. 48 MiB at most, twice that before deletion."""
FOLD_ROWS_MIN: Final = 2_048
"""Folding waits until this many rows are due: a fold costs a look into every run."""
FOLD_ROWS_MAX: Final = 131_072

NEAR_ROWS: Final = 48
"""How far from where it should be a key is looked for first: three times as far as evenly spread keys stray."""

_HEAD = struct.Struct(">IQ24s")
_STATE = struct.Struct(">QQQQQ24s")
_RUN = struct.Struct(">Q")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexState:
    """Where the index stands; a few bytes in the meta database, written with every commit."""

    table_rows: int = 0
    backlog_rows: int = 0
    """Rows in runs that are not in the table yet."""
    due_rows: int = 0
    """Rows committed since the last fold."""
    next_run: int = 0
    sweep: int = 0
    cursor: bytes = FIRST_ROW
    """Rows below it are folded in this sweep, where their run is older than the cursor's passing."""

    def encode(self) -> bytes:
        return _STATE.pack(
            self.table_rows, self.backlog_rows, self.due_rows, self.next_run, self.sweep, self.cursor
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes | memoryview) -> IndexState:
        table, backlog, due, run, sweep, cursor = _STATE.unpack(data)
        return cls(
            table_rows=table, backlog_rows=backlog, due_rows=due, next_run=run, sweep=sweep, cursor=cursor
        )  # fmt: skip

    @property
    def backlog_target(self) -> int:
        return min(max(self.table_rows // 4, BACKLOG_MIN), BACKLOG_MAX)


@dataclass(frozen=True, slots=True)
class _RunHead:
    number: int
    rows: int
    """As written; some may be folded since."""
    sweep: int
    cursor: bytes
    """Where the sweep stood when the run was written."""

    def encode(self) -> bytes:
        return _HEAD.pack(self.rows, self.sweep, self.cursor)


class Index:
    """The index's databases; every method works within the caller's transaction."""

    def __init__(self, table: Database, runs: Database, heads: Database) -> None:
        self.table_database = table
        self._table = table
        self._runs = runs
        self._heads = heads

    # ---- reading -----------------------------------------------------------------------------------------------------

    def find(
        self, txn: lmdb.Transaction, key: bytes, *, start: tuple[int, int] = (0, 0), runs: bool = True
    ) -> Iterator[tuple[int, int]]:
        """(leaf index, position) under a 16-byte key, ascending, from `start` on.

        runs: False where the caller knows that no run holds the key.
        """
        assert len(key) == KEY_BYTES, "a row key is 16 bytes"
        low = key + start[0].to_bytes(6, "big") + start[1].to_bytes(2, "big")
        rows = self._scan(txn, self._table, b"", low)
        if runs:
            sources = [rows, *(self._scan(txn, self._runs, number, low) for number in self._run_numbers(txn))]
            rows = (found for found, _ in groupby(heapq.merge(*sources)))  # in a run and in the table, it is one row
        for found in rows:
            yield int.from_bytes(found[16:22], "big"), int.from_bytes(found[22:], "big")

    def in_table(self, txn: lmdb.Transaction) -> Callable[[bytes], bool]:
        """Whether the table has a row with a 16-byte key: what execution asks for every statement, so made to be quick.

        Good for as long as the transaction is.
        """
        cursor = txn.cursor(db=self._table)

        def holds(key: bytes) -> bool:
            found = cursor.set_range(key)
            if found and bytes(cursor.key()[:KEY_BYTES]) == key:
                return True
            if not (cursor.prev() if found else cursor.last()):
                return False
            rows = _near(memoryview(cursor.value()), key)
            at = rows.find(key)
            while at % ROW_BYTES and at >= 0:
                at = rows.find(key, at + 1)
            return at >= 0

        return holds

    def _run_numbers(self, txn: lmdb.Transaction) -> list[bytes]:
        with txn.cursor(db=self._heads) as cursor:
            return [bytes(key) for key in cursor.iternext(keys=True, values=False)]

    def _scan(self, txn: lmdb.Transaction, database: Database, prefix: bytes, low: bytes) -> Iterator[bytes]:
        """Rows of one run (or the table) with the key of `low`, from `low` on."""
        key = low[:KEY_BYTES]
        with txn.cursor(db=database) as cursor:
            if not _seek(cursor, prefix, low):
                return
            while True:
                block = _Block(bytes(cursor.value()))
                for i in range(bisect_left(block, low), len(block)):
                    found = block[i]
                    if found[:KEY_BYTES] != key:
                        return
                    yield found
                if not cursor.next() or bytes(cursor.key()[: len(prefix)]) != prefix:
                    return

    def unfolded(self, txn: lmdb.Transaction, state: IndexState) -> Iterator[Rows]:
        """Rows of every run that are not in the table yet, run by run."""
        for head in self._run_heads(txn):
            yield self._unfolded(txn, head, state)

    def audit(self, txn: lmdb.Transaction, state: IndexState) -> Iterator[tuple[int, int, Rows, Rows]]:
        """Every run: its number, how many rows it should have, those it has, and of these those not in the table."""
        for head in self._run_heads(txn):
            rows = rows_from(self._blocks(txn, self._runs, _RUN.pack(head.number), FIRST_ROW, None))
            yield head.number, head.rows, rows, self._unfolded(txn, head, state)

    # ---- writing -----------------------------------------------------------------------------------------------------

    def add(self, txn: lmdb.Transaction, state: IndexState, rows: Rows) -> tuple[IndexState, Rows]:
        """Appends rows as one sorted run, merged with the small runs before it.

        rows: in any order. Returns the new state and the run's rows, sorted.
        """
        if not len(rows):
            return state, rows
        rows = distinct(sort_rows(rows))
        parts, count = [rows], len(rows)
        for head in reversed(self._run_heads(txn)):
            # Sizes fall by half from run to run: few runs to look into, and a row is rewritten log(RUN_ROWS_MAX) times.
            if head.rows >= 2 * count or head.rows + count > RUN_ROWS_MAX:
                break
            parts.append(self._unfolded(txn, head, state))
            count += len(parts[-1])
            self._delete_run(txn, head.number)
        run = merge_rows(parts)
        head = _RunHead(state.next_run, len(run), state.sweep, state.cursor)
        number = _RUN.pack(head.number)
        with txn.cursor(db=self._runs) as cursor:
            cursor.putmulti([(number + block[:ROW_BYTES], block) for block in _packed(run)], append=True)
        txn.put(number, head.encode(), append=True, db=self._heads)
        return (
            replace(
                state,
                backlog_rows=state.backlog_rows + len(rows),
                due_rows=state.due_rows + len(rows),
                next_run=state.next_run + 1,
            ),
            run,
        )

    def fold(self, txn: lmdb.Transaction, state: IndexState) -> IndexState:
        """Moves the next slice of waiting rows into the table, if it is time; bounded work.

        A row waits half a sweep on average, so a slice of due / (2 target) of the key space per commit keeps the
        backlog at its target; twice that where it is well above.
        """
        target = state.backlog_target
        if state.due_rows < FOLD_ROWS_MIN:
            return state
        if state.backlog_rows < target:
            return replace(state, due_rows=0)
        due = min(state.due_rows, FOLD_ROWS_MAX)
        haste = 2 if state.backlog_rows > target + target // 4 else 1
        low = state.cursor
        width = max(1, due * haste * 2**64 // (2 * target))
        end = int.from_bytes(low[:8], "big") + width
        high = end.to_bytes(8, "big").ljust(ROW_BYTES, b"\0") if end < 2**64 else None
        parts, high = self._slice(txn, state, high, 4 * due)
        new = merge_rows(parts) if parts else rows_from(())
        if len(new):
            self._merge(txn, new)
        moved = replace(
            state,
            table_rows=state.table_rows + len(new),
            backlog_rows=state.backlog_rows - len(new),
            due_rows=0,
            sweep=state.sweep + (high is None),
            cursor=FIRST_ROW if high is None else high,
        )
        for head in self._run_heads(txn):
            if (head.sweep + 1, head.cursor) <= (moved.sweep, moved.cursor):
                self._delete_run(txn, head.number)
        return moved

    def _slice(
        self, txn: lmdb.Transaction, state: IndexState, high: bytes | None, rows_max: int
    ) -> tuple[list[Rows], bytes | None]:
        """Waiting rows of every run from the cursor up to `high`, and how far that went.

        No run gives more than `rows_max`: where keys crowd (anybody may claim one key a million times) the slice ends
        earlier instead of growing.
        """
        low = state.cursor
        parts: list[Rows] = []
        for head in self._run_heads(txn):
            end = high
            if head.sweep < state.sweep:  # its rows from head.cursor up were folded in the sweep it was written in
                end = head.cursor if high is None else min(high, head.cursor)
            part, cut = self._range(txn, _RUN.pack(head.number), low, end, rows_max)
            parts.append(part)
            if cut is not None:
                high = cut if high is None else min(high, cut)
        return [between(part, low, high) for part in parts if len(part)], high

    def _range(
        self, txn: lmdb.Transaction, prefix: bytes, low: bytes, high: bytes | None, rows_max: int
    ) -> tuple[Rows, bytes | None]:
        """Rows in [low, high) of a run; with the row to stop before, where there are more than `rows_max`."""
        if high is not None and high <= low:
            return rows_from(()), None
        blocks: list[bytes] = []
        count = 0
        for block in self._blocks(txn, self._runs, prefix, low, high):
            blocks.append(block)
            count += len(block) // ROW_BYTES
            if count > rows_max + BLOCK_ROWS:
                break
        rows = between(rows_from(blocks), low, high)
        return (rows, bytes(rows[rows_max])) if len(rows) > rows_max else (rows, None)

    def _blocks(
        self, txn: lmdb.Transaction, database: Database, prefix: bytes, low: bytes, high: bytes | None
    ) -> Iterator[bytes]:
        """Blocks that may hold rows in [low, high)."""
        with txn.cursor(db=database) as cursor:
            found = _seek(cursor, prefix, low)
            while found:
                key = bytes(cursor.key())
                if key[: len(prefix)] != prefix or (high is not None and key[len(prefix) :] >= high):
                    return
                yield bytes(cursor.value())
                found = cursor.next()

    def _merge(self, txn: lmdb.Transaction, new: Rows) -> None:
        """Rewrites the table's blocks from the first to the last row of `new`, packed, with `new` among them."""
        first, last = bytes(new[0]), bytes(new[-1])
        old = list(self._blocks(txn, self._table, b"", first, last))
        rows = merge_rows([rows_from(old), new])
        with txn.cursor(db=self._table) as cursor:
            for block in old:
                assert cursor.set_key(block[:ROW_BYTES]), "a block's key is its first row"
                cursor.delete()
            cursor.putmulti([(block[:ROW_BYTES], block) for block in _packed(rows)])

    def _unfolded(self, txn: lmdb.Transaction, head: _RunHead, state: IndexState) -> Rows:
        rows = rows_from(self._blocks(txn, self._runs, _RUN.pack(head.number), FIRST_ROW, None))
        if head.sweep == state.sweep:
            if head.cursor == state.cursor:
                return rows
            return np.concatenate([between(rows, FIRST_ROW, head.cursor), between(rows, state.cursor, None)])
        assert head.sweep + 1 == state.sweep, (
            "an older run is deleted when the sweep comes round to where it was written"
        )
        return between(rows, state.cursor, head.cursor)

    def _run_heads(self, txn: lmdb.Transaction) -> list[_RunHead]:
        with txn.cursor(db=self._heads) as cursor:
            return [
                _RunHead(_RUN.unpack(key)[0], *_HEAD.unpack(value))
                for key, value in cursor.iternext(keys=True, values=True)
            ]

    def _delete_run(self, txn: lmdb.Transaction, number: int) -> None:
        prefix = _RUN.pack(number)
        with txn.cursor(db=self._runs) as cursor:
            found = cursor.set_range(prefix)
            while found and bytes(cursor.key()[:8]) == prefix:
                found = cursor.delete() and bool(cursor.key())
        txn.delete(prefix, db=self._heads)


def _seek(cursor: lmdb.Cursor, prefix: bytes, low: bytes) -> bool:
    """Puts the cursor on the block under `prefix` that may hold `low` or is the first after it."""
    target = prefix + low
    found = cursor.set_range(target)
    if found and cursor.key() == target:
        return True
    # The block before may reach over `low`.
    if (cursor.prev() if found else cursor.last()) and bytes(cursor.key()[: len(prefix)]) == prefix:
        return True
    return bool(cursor.set_range(target)) and bytes(cursor.key()[: len(prefix)]) == prefix


def _packed(rows: Rows) -> list[bytes]:
    """Blocks of equal size, as few as hold the rows."""
    count = -(-len(rows) // BLOCK_ROWS)
    bounds = [len(rows) * i // count for i in range(count + 1)]
    data = rows.tobytes()
    return [data[start * ROW_BYTES : end * ROW_BYTES] for start, end in pairwise(bounds)]


def _near(block: memoryview, key: bytes) -> bytes:
    """The rows of a block among which those with `key` are: keys are spread evenly, so that is told from the ends."""
    count, lead = len(block) // ROW_BYTES, key[:8]
    first, last = int.from_bytes(block[:8], "big"), int.from_bytes(block[-ROW_BYTES : 8 - ROW_BYTES], "big")
    guess = (int.from_bytes(lead, "big") - first) * count // (last - first + 1)
    low, high = max(0, min(guess, count) - NEAR_ROWS), min(count, guess + NEAR_ROWS)
    rows = bytes(block[low * ROW_BYTES : high * ROW_BYTES])
    if (low and rows[:8] >= lead) or (high < count and rows[-ROW_BYTES : 8 - ROW_BYTES] <= lead):
        return bytes(block)  # keys that crowd: whoever chooses identifiers can make them
    return rows


class _Block(Sequence[bytes]):
    """A block's rows, cut out as they are asked for."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data) // ROW_BYTES

    def __getitem__(self, at: int) -> bytes:  # type: ignore[override]  # no slices: bisect and counting only
        return self._data[at * ROW_BYTES : (at + 1) * ROW_BYTES]


class RecentKeys:
    """Which keys may be waiting in runs: a filter without misses, so that most lookups read the table alone.

    Two generations, by sweep: what was written in a sweep is folded before the next one ends.
    """

    _BITS: Final = 23
    _MASK: Final = 2**_BITS - 1

    def __init__(self) -> None:
        self._sweep = -1
        self._generations = [self._empty(), self._empty()]

    def add(self, sweep: int, runs: Sequence[Rows], kinds_max: int) -> None:
        """Remembers the keys with a kind up to `kinds_max` of runs written in `sweep`."""
        self.advance(sweep)
        marks = np.frombuffer(self._generations[sweep % 2], dtype=np.uint8)
        for rows in runs:
            lead = np.ascontiguousarray(rows[rows[:, 15] <= kinds_max, :8]).view(">u4").reshape(-1, 2)
            marks[lead[:, 0] & self._MASK] = 1
            marks[lead[:, 1] & self._MASK] = 1

    def advance(self, sweep: int) -> None:
        if sweep > self._sweep:
            for generation in {(sweep - i) % 2 for i in range(min(2, sweep - self._sweep))}:
                self._generations[generation] = self._empty()
            self._sweep = sweep

    @classmethod
    def _empty(cls) -> memoryview:
        """Zeroes that take no memory until they are written to."""
        return np.zeros(2**cls._BITS, dtype=np.uint8).data

    def may_hold(self, key: bytes) -> bool:
        one = int.from_bytes(key[:4], "big") & self._MASK
        two = int.from_bytes(key[4:8], "big") & self._MASK
        newer, older = self._generations
        return bool((newer[one] and newer[two]) or (older[one] and older[two]))
