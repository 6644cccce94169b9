"""Whether the index holds exactly the rows it should: part of `stretto store check`."""

from __future__ import annotations

import numpy as np

from node.store.records import Rows, as_keys, rows_from
from node.store.replay_epochs import Contradiction
from node.store.tally import RowTally
from node.store.view import View


def check_rows(view: View, expected: RowTally) -> str:
    """Table and unfolded rows together are the expected ones, each in order; rows left in runs are in the table.

    Raises: Contradiction.
    """
    index, txn, state = view.tables.index, view.txn, view.index_state()
    stored = RowTally(expected.keys)
    table_rows = _check_blocks(view, stored)
    if table_rows != state.table_rows:
        raise Contradiction("index table", f"{table_rows} rows are there, {state.table_rows} were folded")
    folded: list[Rows] = []
    for number, count, rows, waiting in index.audit(txn, state):
        if len(rows) != count:
            raise Contradiction(f"index run {number}", f"has {len(rows)} rows, {count} were written")
        if number >= state.next_run:
            raise Contradiction(f"index run {number}", f"exists, though {state.next_run} is to be the next")
        _check_sorted(f"index run {number}", rows)
        stored.add(waiting)
        folded.append(rows[~np.isin(as_keys(rows), as_keys(waiting), assume_unique=True)])
    if stored.count - table_rows != state.backlog_rows:
        raise Contradiction("index runs", f"{stored.count - table_rows} rows wait, {state.backlog_rows} should")
    if stored != expected:
        raise Contradiction(
            "index", f"{stored.count} rows are there, {expected.count} follow from the log, and they are not the same"
        )
    _check_within_table(view, np.concatenate([rows_from(()), *folded]))
    return f"{stored.count} rows, {state.backlog_rows} of them in runs"


def _check_blocks(view: View, stored: RowTally) -> int:
    previous = b""
    for key, block in view.items(view.tables.index.table_database):
        rows = rows_from((block,))
        if not len(rows) or block[:24] != key or key <= previous:
            raise Contradiction(f"index block {key.hex()}", "does not begin with its key, or is out of order")
        _check_sorted(f"index block {key.hex()}", rows)
        previous = bytes(rows[-1])
        stored.add(rows)
    return stored.count


def _check_sorted(what: str, rows: Rows) -> None:
    keys = as_keys(rows)
    if (keys[1:] <= keys[:-1]).any():
        raise Contradiction(what, "has rows out of order")


def _check_within_table(view: View, folded: Rows) -> None:
    """folded: rows that runs still hold though they were folded; readers see them, so they must be right too."""
    if not len(folded):
        return
    wanted = np.unique(as_keys(folded))
    found = 0
    for _, block in view.items(view.tables.index.table_database):
        keys = as_keys(rows_from((block,)))
        low, high = np.searchsorted(wanted, keys[0]), np.searchsorted(wanted, keys[-1], side="right")
        found += int(np.isin(wanted[low:high], keys, assume_unique=True).sum())
    if found != len(wanted):
        raise Contradiction("index runs", f"{len(wanted) - found} rows that were folded are not in the table")
