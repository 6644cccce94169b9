"""Claims' rights and derived leaves of a replayed chain, compared with what the store says of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

from ledger.apply import Applied
from ledger.rights import ClaimId, ClaimRights
from node.store import rights
from node.store.replay_epochs import Contradiction
from node.store.schema import key
from node.store.view import View


class ReplayedRights:
    """What follows from the log. Kept in a private temporary database: memory stays small whatever the log's size."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.derived = 0
        """Derived leaves so far."""
        self._database = sqlite3.connect("")  # a file that nobody else sees, and that goes with the connection
        self._database.execute("CREATE TABLE rights (claim BLOB PRIMARY KEY, until INTEGER, value BLOB) WITHOUT ROWID")
        self._database.execute("CREATE INDEX stays ON rights (until, claim) WHERE until > 0")

    def close(self) -> None:
        self._database.close()

    def rights_of(self, claim: ClaimId) -> ClaimRights | None:
        with closing(self._database.execute("SELECT value FROM rights WHERE claim = ?", (claim.encode(),))) as found:
            row = found.fetchone()
        return None if row is None else ClaimRights.decode(row[0])

    def stays_due(self, time_ms: int) -> Iterator[tuple[int, ClaimId]]:
        due = "SELECT until, claim FROM rights WHERE until > 0 AND until <= ? ORDER BY until, claim"
        with closing(self._database.execute(due, (time_ms,))) as found:
            for until_ms, claim in found:
                yield until_ms, ClaimId.decode(claim)

    def applied(self, applied: Applied) -> None:
        """A block was replayed. Raises: Contradiction where its derived leaves are not those stored."""
        tables, view = self._view.tables, self._view
        for leaf in applied.derived:
            what = f"derived leaf {leaf.index}"
            if tables.derived is None or tables.derived_index is None:
                raise Contradiction(what, "is missing")
            _same(what, view.get(tables.derived, key(leaf.index)), rights.derived_record(leaf).encode())
            _same(f"index of {what}", view.get(tables.derived_index, leaf.digest), key(leaf.index))
        self.derived += len(applied.derived)
        changed = [(r.claim.encode(), r.stay.until_ms if r.stay else 0, r.encode()) for r in applied.rights]
        self._database.executemany("INSERT OR REPLACE INTO rights VALUES (?, ?, ?)", changed)

    def check_end(self) -> None:
        """Raises: Contradiction where the store knows of other rights, stays or derived leaves than follow."""
        tables = self._view.tables
        claims = stays = 0
        with closing(self._database.execute("SELECT claim, until, value FROM rights")) as rows:
            for claim, until_ms, value in rows:
                claims += 1
                what = f"claim {claim[:32].hex()} at {int.from_bytes(claim[32:], 'big')}"
                stored = None if tables.rights is None else self._view.get(tables.rights, claim)
                _same(f"rights of {what}", stored, value)
                if until_ms:
                    stays += 1
                    name = key(until_ms) + claim
                    _same(f"stay of {what}", None if tables.stays is None else self._view.get(tables.stays, name), b"")
        for name, database, count in (
            ("derived leaves", tables.derived, self.derived),
            ("index of derived leaves", tables.derived_index, self.derived),
            ("rights", tables.rights, claims),
            ("stays", tables.stays, stays),
        ):
            there = 0 if database is None else self._view.entries_in(database)
            if there != count:
                raise Contradiction(name, f"{there} are there, {count} follow from the log")


def _same(what: str, stored: bytes | None, expected: bytes) -> None:
    if stored is None:
        raise Contradiction(what, "is missing")
    if stored != expected:
        raise Contradiction(what, "has other bytes than follow from the log")
