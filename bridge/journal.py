"""What this relayer has signed, on disk before anybody else sees it (SQLite, synced at every commit).

An attempt is a signed transaction. All attempts of one (chain, account, nonce) exclude each other: the chain mines one.
So whatever a crash leaves behind, taking up the lowest nonce that is not mined can cost no second payment.
One process holds a journal at a time.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from bridge.errors import JournalError
from bridge.transaction import Fees

VERSION: Final = 1
KEPT: Final = 10_000
"""Closed attempts kept for each chain; older ones remain in the totals."""
BUSY_S: Final = 10.0

_SCHEMA: Final = """
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    chain INTEGER NOT NULL,          -- EIP-155 id
    account BLOB NOT NULL,           -- 20 bytes
    nonce INTEGER NOT NULL,
    kind TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    size INTEGER NOT NULL,           -- leaves of the checkpoint
    root BLOB NOT NULL,
    call BLOB NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    raw BLOB NOT NULL,               -- what is broadcast: public once it is
    max_fee INTEGER NOT NULL,
    tip INTEGER NOT NULL,
    gas INTEGER NOT NULL,
    state TEXT NOT NULL,
    made_s REAL NOT NULL,
    sent_s REAL,
    closed_s REAL,
    block INTEGER,
    block_hash BLOB,
    gas_used INTEGER,
    gas_price INTEGER
) STRICT;
CREATE INDEX attempts_open ON attempts (chain, account, nonce) WHERE state IN ('intended', 'sent', 'mined');
CREATE INDEX attempts_closed ON attempts (chain, closed_s);
CREATE TABLE totals (
    chain INTEGER NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL,
    count INTEGER NOT NULL, gas INTEGER NOT NULL, gwei REAL NOT NULL, seconds REAL NOT NULL,
    PRIMARY KEY (chain, kind, state)
) STRICT;
CREATE TABLE seen (
    chain INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, size INTEGER NOT NULL, since_s REAL NOT NULL
) STRICT;
"""


class State(StrEnum):
    """Of an attempt. Open: intended, sent, mined. Closed: the rest."""

    INTENDED = "intended"
    """On disk; whether it was sent is not known."""
    SENT = "sent"
    MINED = "mined"
    """In a block that is not final yet."""
    USEFUL = "useful"
    """Final, and it changed the contract."""
    DUPLICATE = "duplicate"
    """Final and paid, but it changed nothing."""
    REPLACED = "replaced"
    """Another attempt of its nonce is final."""
    WITHDRAWN = "withdrawn"
    """Never sent: another relayer's came first."""
    LOST = "lost"
    """Its nonce was used by a transaction that this journal does not know."""


OPEN: Final = (State.INTENDED, State.SENT, State.MINED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A signed transaction and what became of it."""

    id: int
    chain: int
    account: bytes
    nonce: int
    kind: str
    """submit, rotate or deploy."""
    epoch: int
    size: int
    root: bytes
    call: bytes
    hash: bytes
    raw: bytes
    fees: Fees
    gas: int
    state: State
    made_s: float
    """Unix time."""
    sent_s: float | None
    block: int | None
    block_hash: bytes | None
    gas_used: int | None
    gas_price: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Closed attempts of one chain, kind and state."""

    chain: int
    kind: str
    state: str
    count: int
    gas: int
    gwei: float
    """Paid, in 10^-9 of the chain's coin."""
    seconds: float
    """From made to final, together."""


class Journal:
    """Safe to use from several threads. Raises: JournalError."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """read_only: beside a relayer that is running with it."""
        self.path = path
        self._lock = threading.RLock()
        self._held: int | None = None
        if read_only:
            try:
                self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
                self._db.execute("SELECT count(*) FROM attempts").fetchone()
            except sqlite3.Error as error:
                raise JournalError(str(path), f"{error}; has `stretto bridge run` been started?") from error
            return
        self._acquire()
        try:
            self._db = _open(path)
            self._prepare()
        except sqlite3.Error as error:
            self._release()
            raise JournalError(str(path), f"{error}; is it a journal of this version?") from error
        except JournalError:
            self._release()
            raise

    def _acquire(self) -> None:
        path = self.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            held = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(str(path), error.strerror or "cannot be opened") from error
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(held)
            raise JournalError(str(path), "another relayer is running with it; stop that one first") from None
        self._held = held

    def _release(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._db.close()
            self._release()

    def _prepare(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
            folder = os.open(self.path.parent, os.O_RDONLY)
            os.fsync(folder)  # the file's name is as durable as what will be in it
            os.close(folder)
        elif version != VERSION:
            raise JournalError(str(self.path), f"version {version}, this program writes {VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise JournalError(str(self.path), str(error)) from error
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    # ---- writing ----

    def intend(
        self,
        *,
        chain: int,
        account: bytes,
        nonce: int,
        kind: str,
        epoch: int,
        size: int,
        root: bytes,
        call: bytes,
        hash_: bytes,
        raw: bytes,
        fees: Fees,
        gas: int,
    ) -> Attempt:
        """On disk when it returns: only then may `raw` be broadcast."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO attempts (chain, account, nonce, kind, epoch, size, root, call, hash, raw, max_fee, tip,"
                " gas, state, made_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                # The same bytes again: they were withdrawn, and are wanted after all.
                " ON CONFLICT (hash) DO UPDATE SET state = excluded.state, made_s = excluded.made_s, closed_s = NULL",
                (
                    chain, account, nonce, kind, epoch, size, root, call, hash_, raw, fees.max_fee, fees.tip, gas,
                    State.INTENDED, time.time(),
                ),
            )  # fmt: skip
            found = self._attempts("hash = ?", hash_)
        return found[0]

    def sent(self, attempt: Attempt) -> None:
        with self._transaction() as db:
            db.execute(
                "UPDATE attempts SET state = ?, sent_s = coalesce(sent_s, ?) WHERE id = ? AND state IN (?, ?)",
                (State.SENT, time.time(), attempt.id, State.INTENDED, State.SENT),
            )

    def mined(self, attempt: Attempt, block: int, block_hash: bytes) -> None:
        with self._transaction() as db:
            db.execute(
                "UPDATE attempts SET state = ?, block = ?, block_hash = ? WHERE id = ?",
                (State.MINED, block, block_hash, attempt.id),
            )

    def unmined(self, attempt: Attempt) -> None:
        """Its block was taken back."""
        with self._transaction() as db:
            db.execute(
                "UPDATE attempts SET state = ?, block = NULL, block_hash = NULL WHERE id = ?", (State.SENT, attempt.id)
            )

    def close_nonce(self, attempt: Attempt, state: State, *, gas_used: int, gas_price: int) -> None:
        """It is final; the other attempts of its nonce never will be."""
        with self._transaction() as db:
            now = time.time()
            db.execute(
                "UPDATE attempts SET state = ?, closed_s = ?, gas_used = ?, gas_price = ? WHERE id = ?",
                (state, now, gas_used, gas_price, attempt.id),
            )
            db.execute(
                "UPDATE attempts SET state = ?, closed_s = ? WHERE chain = ? AND account = ? AND nonce = ? AND id != ?"
                " AND closed_s IS NULL",
                (State.REPLACED, now, attempt.chain, attempt.account, attempt.nonce, attempt.id),
            )
            self._prune(attempt.chain)

    def withdraw(self, attempt: Attempt) -> None:
        """It was never sent and will not be: what is sent instead need not outbid it."""
        self._close(attempt, State.WITHDRAWN)

    def lost(self, attempt: Attempt) -> None:
        self._close(attempt, State.LOST)

    def _close(self, attempt: Attempt, state: State) -> None:
        with self._transaction() as db:
            db.execute("UPDATE attempts SET state = ?, closed_s = ? WHERE id = ?", (state, time.time(), attempt.id))
            self._prune(attempt.chain)

    def saw(self, chain: int, epoch: int, size: int, *, new_s: float) -> float:
        """Unix time since when the contract has been like this, as far as this relayer saw it.

        new_s: how long ago that was, where this relayer sees the chain for the first time, or a reorganisation took
        something back: what was due once is due still.
        """
        with self._transaction() as db:
            row = db.execute("SELECT epoch, size, since_s FROM seen WHERE chain = ?", (chain,)).fetchone()
            if row is not None and (row[0], row[1]) == (epoch, size):
                return float(row[2])
            advanced = row is not None and (epoch, size) > (row[0], row[1])
            since = time.time() - (0.0 if advanced else new_s)
            db.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)", (chain, epoch, size, since))
            return since

    def _prune(self, chain: int) -> None:
        old = self._attempts(
            "id IN (SELECT id FROM attempts WHERE chain = ? AND closed_s IS NOT NULL ORDER BY closed_s DESC, id DESC"
            " LIMIT -1 OFFSET ?)",
            chain,
            KEPT,
        )
        for attempt in old:
            self._db.execute(
                "INSERT INTO totals SELECT chain, kind, state, 1, coalesce(gas_used, 0),"
                " coalesce(gas_used, 0) * 1e-9 * coalesce(gas_price, 0), closed_s - made_s FROM attempts WHERE id = ?"
                " ON CONFLICT DO UPDATE SET count = count + 1, gas = gas + excluded.gas, gwei = gwei + excluded.gwei,"
                " seconds = seconds + excluded.seconds",
                (attempt.id,),
            )
            self._db.execute("DELETE FROM attempts WHERE id = ?", (attempt.id,))

    # ---- reading ----

    def open(self, chain: int, account: bytes) -> list[Attempt]:
        """By nonce, then as they were made."""
        with self._lock:
            return self._attempts(
                "chain = ? AND account = ? AND state IN ('intended', 'sent', 'mined') ORDER BY nonce, id",
                chain,
                account,
            )

    def of_call(self, chain: int, account: bytes, kind: str, call: bytes) -> list[Attempt]:
        """Attempts at exactly this, oldest first; not those that can never be mined."""
        with self._lock:
            return self._attempts(
                "chain = ? AND account = ? AND kind = ? AND call = ?"
                " AND state NOT IN ('replaced', 'withdrawn', 'lost') ORDER BY id",
                chain,
                account,
                kind,
                call,
            )

    def count(self, chain: int, states: Iterable[State]) -> int:
        """Attempts in one of these states, of any account."""
        wanted = list(states)
        marks = ", ".join("?" * len(wanted))
        with self._lock:
            row = self._db.execute(
                f"SELECT count(*) FROM attempts WHERE chain = ? AND state IN ({marks})",  # noqa: S608  marks alone
                (chain, *wanted),
            ).fetchone()
        return int(row[0])

    def totals(self) -> list[Total]:
        """Of everything that is closed, since the journal began."""
        with self._lock:
            rows = self._db.execute(
                "SELECT chain, kind, state, sum(count), sum(gas), sum(gwei), sum(seconds) FROM ("
                " SELECT chain, kind, state, count, gas, gwei, seconds FROM totals UNION ALL"
                " SELECT chain, kind, state, 1, coalesce(gas_used, 0), coalesce(gas_used, 0) * 1e-9 *"
                " coalesce(gas_price, 0), closed_s - made_s FROM attempts WHERE closed_s IS NOT NULL"
                ") GROUP BY chain, kind, state ORDER BY chain, kind, state"
            ).fetchall()
        return [Total(chain=c, kind=k, state=s, count=n, gas=g, gwei=w, seconds=t) for c, k, s, n, g, w, t in rows]

    def _attempts(self, where: str, *values: object) -> list[Attempt]:
        columns = (
            "id, chain, account, nonce, kind, epoch, size, root, call, hash, raw, max_fee, tip, gas, state, made_s,"
            " sent_s, block, block_hash, gas_used, gas_price"
        )
        rows = self._db.execute(f"SELECT {columns} FROM attempts WHERE {where}", values).fetchall()  # noqa: S608  ours
        return [
            Attempt(
                id=row[0], chain=row[1], account=row[2], nonce=row[3], kind=row[4], epoch=row[5], size=row[6],
                root=row[7], call=row[8], hash=row[9], raw=row[10], fees=Fees(row[11], row[12]), gas=row[13],
                state=State(row[14]), made_s=row[15], sent_s=row[16], block=row[17], block_hash=row[18],
                gas_used=row[19], gas_price=row[20],
            )
            for row in rows
        ]  # fmt: skip


def _open(path: Path) -> sqlite3.Connection:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.close(handle)
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # with WAL: every commit is on the disk when it returns
    return db
