"""The journal: on disk before anything is sent, one holder, bounded, and readable beside its holder."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge import journal as module
from bridge.errors import JournalError
from bridge.journal import OPEN, Attempt, Journal, State
from bridge.transaction import Fees

ACCOUNT = b"\x01" * 20


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.sqlite") as opened:
        yield opened


def intend(journal: Journal, nonce: int = 0, *, size: int = 5, tag: bytes = b"") -> Attempt:
    raw = f"{nonce} {size} ".encode() + tag
    return journal.intend(
        chain=137, account=ACCOUNT, nonce=nonce, kind="submit", epoch=1, size=size, root=b"\x02" * 32, call=b"call",
        hash_=raw.rjust(32, b"."), raw=raw, fees=Fees(30, 2), gas=100_000,
    )  # fmt: skip


def test_what_was_intended_is_there_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    script = (
        "import os, pathlib, sys; sys.path.insert(0, os.getcwd())\n"
        "from bridge.journal import Journal; from bridge.transaction import Fees\n"
        f"j = Journal(pathlib.Path({str(path)!r}))\n"
        "j.intend(chain=137, account=bytes(20), nonce=7, kind='submit', epoch=1, size=5, root=bytes(32), call=b'',"
        " hash_=bytes(32), raw=b'raw', fees=Fees(1, 1), gas=1)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    with Journal(path) as journal:
        (attempt,) = journal.open(137, bytes(20))
    assert (attempt.nonce, attempt.raw, attempt.state) == (7, b"raw", State.INTENDED)


def test_every_commit_is_synced(journal: Journal) -> None:
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_one_process_holds_it_and_others_may_read(journal: Journal) -> None:
    intend(journal)
    with pytest.raises(JournalError, match="another relayer"):
        Journal(journal.path)
    with Journal(journal.path, read_only=True) as reader:
        assert reader.count(137, OPEN) == 1
        with pytest.raises(JournalError):
            intend(reader, 1)


def test_final_attempt_closes_the_others_of_its_nonce(journal: Journal) -> None:
    first, second, other = intend(journal), intend(journal, tag=b"dearer"), intend(journal, 1)
    journal.sent(first)
    journal.mined(second, 10, b"\x03" * 32)
    journal.close_nonce(second, State.USEFUL, gas_used=90_000, gas_price=25)
    assert [each.id for each in journal.open(137, ACCOUNT)] == [other.id]
    assert {(each.state, each.count) for each in journal.totals()} == {("useful", 1), ("replaced", 1)}


def test_taken_back_is_open_again(journal: Journal) -> None:
    attempt = intend(journal)
    journal.mined(attempt, 10, b"\x03" * 32)
    journal.unmined(attempt)
    (again,) = journal.open(137, ACCOUNT)
    assert (again.state, again.block, again.block_hash) == (State.SENT, None, None)


def test_recording_a_broadcast_does_not_undo_what_is_known_since(journal: Journal) -> None:
    attempt = intend(journal)
    journal.mined(attempt, 10, b"\x03" * 32)
    journal.sent(attempt)
    assert journal.open(137, ACCOUNT)[0].state is State.MINED


def test_old_attempts_are_folded_into_the_totals(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    for nonce in range(10):
        attempt = intend(journal, nonce)
        journal.close_nonce(attempt, State.USEFUL, gas_used=100, gas_price=10**9)
    kept = journal._db.execute("SELECT count(*) FROM attempts").fetchone()[0]
    (total,) = journal.totals()
    assert kept == 3
    assert (total.count, total.gas) == (10, 1000)
    assert total.gwei == pytest.approx(1000)


def test_open_attempts_are_never_pruned(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 0)
    waiting, done = intend(journal, 1), intend(journal, 0)
    journal.close_nonce(done, State.USEFUL, gas_used=1, gas_price=1)
    assert [each.id for each in journal.open(137, ACCOUNT)] == [waiting.id]


def test_first_sight_of_a_chain_is_as_old_as_it_is_told_and_changes_count_from_then(journal: Journal) -> None:
    first = journal.saw(137, 1, 5, new_s=1000)
    assert journal.saw(137, 1, 5, new_s=1000) == first
    assert journal.saw(137, 1, 6, new_s=1000) >= first + 1000
    assert journal.saw(137, 1, 5, new_s=1000) < first + 900, "a reorganisation: what was due is due still"


def test_withdrawn_attempt_is_not_open_and_may_be_wanted_again(journal: Journal) -> None:
    attempt = intend(journal)
    journal.withdraw(attempt)
    assert journal.open(137, ACCOUNT) == []
    again = intend(journal)
    assert (again.id, again.state) == (attempt.id, State.INTENDED)
    assert [each.id for each in journal.open(137, ACCOUNT)] == [attempt.id]


def test_foreign_or_newer_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "not.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(JournalError, match="journal of this version"):
        Journal(path)
    newer = tmp_path / "newer.sqlite"
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(JournalError, match="version 99"):
        Journal(newer)
    Journal(tmp_path / "fresh.sqlite").close()


def test_missing_journal_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="has `stretto bridge run` been started"):
        Journal(tmp_path / "none.sqlite", read_only=True)
