"""What a scan has found so far, on disk: an interrupted scan goes on from it, and a later one reads only what changed.

One SQLite file, written by one process at a time. Its rows come out in the byte order of paths however they went in, so
a manifest of any length is written without ever standing in memory.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from catalog.manifest import TrackRecord, encode_left_out, path_bytes
from catalog.scan import Cause, LeftOut
from consensus.errors import LocalError, RequestError

JOURNAL_NAME: Final = "progress.sqlite"
_VERSION: Final = 1
_PAGE_ROWS: Final = 512
_COMMIT_S: Final = 1.0
_COMMIT_ROWS: Final = 512
RACY_NS: Final = 50_000_000
"""A file system's clock ticks this often at worst: what changes twice in one tick looks as if it changed once."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, root INTEGER NOT NULL, run INTEGER NOT NULL, identity TEXT NOT NULL, size INTEGER NOT NULL,
    state INTEGER NOT NULL, line BLOB, raw BLOB
);
"""

_LIST: Final = """
INSERT INTO files (path, root, run, identity, size, state, line) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (path) DO UPDATE SET
    state = iif(identity = excluded.identity AND identity != '' AND state IN (1, 2), state, excluded.state),
    line = iif(identity = excluded.identity AND identity != '' AND state IN (1, 2), line, excluded.line),
    raw = iif(identity = excluded.identity AND identity != '' AND state IN (1, 2), raw, NULL),
    root = excluded.root, run = excluded.run, identity = excluded.identity, size = excluded.size
"""
"""Every expression sees the row as it was. 1 and 2 are TRACK and UNUSABLE."""


class State(IntEnum):
    """What is known of a listed file."""

    TO_DO = 0
    TRACK = 1
    UNUSABLE = 2
    """By its content: unchanged, it stays so."""
    FAILED = 3
    """For now: the next run tries again."""


class JournalUnusable(LocalError):
    """The journal cannot be opened or written. path: the journal."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


class OtherFolders(RequestError):
    """The output folder holds a scan of something else. path: the journal."""

    def __init__(self, path: Path, held: str) -> None:
        super().__init__(f"{path} is of a scan of {held}: choose another folder to write into, or delete that file")
        self.path = path


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as `os.stat` saw it when the folder was listed."""

    path: str
    """Relative, as in TrackRecord."""
    root: int
    """Which of the scanned folders: 0-based."""
    identity: str
    """Equal as long as nobody wrote to the file; empty where that cannot be told."""
    size_bytes: int
    problem: LeftOut | None = None
    """Why there is nothing to read."""


def identity_of(status: os.stat_result, now_ns: int) -> str:
    """Size, time of change, inode, and the time of the inode's own change, which no program can set back."""
    if max(status.st_mtime_ns, status.st_ctime_ns) > now_ns - RACY_NS:
        return ""
    return f"{status.st_size}.{status.st_mtime_ns}.{status.st_ino}.{status.st_ctime_ns}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Files and bytes by what is known of them."""

    tracks: int
    left_out: int
    to_do: int
    to_do_bytes: int
    bytes: int
    """Of all tracks."""


class Journal:
    """Used in one thread, as a context manager. All methods raise JournalUnusable where the disk lets them down."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pending = 0
        self._committed_at = time.monotonic()
        try:
            self._db = sqlite3.connect(path, timeout=0, isolation_level="DEFERRED")
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise self._problem(error) from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._db.commit()
        except sqlite3.Error:
            pass  # what made the caller leave is the better message; the last second of work is done again
        finally:
            self._db.close()

    def begin(self, folders: Iterable[Path], algorithms: Mapping[str, Any]) -> bool:
        """Starts a run. Returns whether all earlier results are void, because they were made with other algorithms.

        Raises: OtherFolders.
        """
        wanted = {"version": str(_VERSION), "algorithms": json.dumps(algorithms, sort_keys=True)}
        held = json.dumps([os.fsencode(folder).decode("utf-8", "backslashreplace") for folder in folders])
        try:
            meta = dict(self._db.execute("SELECT key, value FROM meta"))
            if meta.get("folders", held) != held:
                raise OtherFolders(self.path, ", ".join(json.loads(meta["folders"])))
            void = bool(meta) and any(meta.get(key) != value for key, value in wanted.items())
            if void:
                self._db.execute("DELETE FROM files")
            self._run = int(meta.get("run", 0)) + 1
            rows = {**wanted, "folders": held, "run": str(self._run)}
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows.items())
            self._db.commit()
        except (sqlite3.Error, ValueError) as error:
            raise self._problem(error) from error
        return void

    def list(self, files: Iterable[Listed]) -> Counts:
        """Takes the whole listing: keeps what is known of unchanged files, forgets files that are gone."""

        def rows() -> Iterator[tuple[object, ...]]:
            for one in files:
                line = None
                if one.problem is not None:
                    line = encode_left_out(one.path, one.problem.reason)
                state = State.TO_DO if one.problem is None else State.FAILED
                yield path_bytes(one.path), one.root, self._run, one.identity, one.size_bytes, state, line

        try:
            self._db.executemany(_LIST, rows())
            self._db.execute("DELETE FROM files WHERE run != ?", (self._run,))
            self._db.commit()
        except sqlite3.Error as error:
            raise self._problem(error) from error
        return self.counts()

    def counts(self) -> Counts:
        try:
            found = {
                state: (files, size)
                for state, files, size in self._db.execute(
                    "SELECT state, count(*), sum(size) FROM files GROUP BY state"
                )
            }
        except sqlite3.Error as error:
            raise self._problem(error) from error
        tracks, size = found.get(State.TRACK, (0, 0))
        to_do, to_do_bytes = found.get(State.TO_DO, (0, 0))
        left_out = sum(found.get(state, (0, 0))[0] for state in (State.UNUSABLE, State.FAILED))
        return Counts(tracks=tracks, left_out=left_out, to_do=to_do, to_do_bytes=to_do_bytes, bytes=size)

    def to_do(self) -> Iterator[tuple[str, int, int]]:
        """(path, root, bytes) of every file still to be read, in the order of paths; results may be added meanwhile."""
        after = b""
        while True:
            try:
                page = self._db.execute(
                    "SELECT path, root, size FROM files WHERE path > ? AND state = ? ORDER BY path LIMIT ?",
                    (after, State.TO_DO, _PAGE_ROWS),
                ).fetchall()
            except sqlite3.Error as error:
                raise self._problem(error) from error
            if not page:
                return
            after = page[-1][0]
            for path, root, size in page:
                yield path.decode("utf-8", "surrogateescape"), root, size

    def add(self, path: str, result: TrackRecord | LeftOut) -> None:
        """What became of a listed file. On disk within a second or so."""
        raw = None
        if isinstance(result, TrackRecord):
            state, line = State.TRACK, result.encode()
            raw = result.chromaprint.raw if result.chromaprint else None
        else:
            state = State.UNUSABLE if result.cause is Cause.CONTENT else State.FAILED
            line = encode_left_out(path, result.reason)
        try:
            self._db.execute(
                "UPDATE files SET state = ?, line = ?, raw = ? WHERE path = ?", (state, line, raw, path_bytes(path))
            )
            self._pending += 1
            if self._pending >= _COMMIT_ROWS or time.monotonic() - self._committed_at > _COMMIT_S:
                self._db.commit()
                self._pending, self._committed_at = 0, time.monotonic()
        except sqlite3.Error as error:
            raise self._problem(error) from error

    def tracks(self) -> Iterator[tuple[bytes, bytes | None]]:
        """(line of the manifest, raw fingerprint) of every track, in the byte order of paths."""
        return self._select("SELECT line, raw FROM files WHERE state = 1 ORDER BY path")

    def left_out(self) -> Iterator[tuple[bytes]]:
        """(line of left_out.jsonl,) of every file that was not usable, in the byte order of paths."""
        return self._select("SELECT line FROM files WHERE state IN (2, 3) ORDER BY path")

    def _select(self, query: str) -> Iterator[Any]:
        try:
            self._db.commit()
            yield from self._db.execute(query)
        except sqlite3.Error as error:
            raise self._problem(error) from error

    def _problem(self, error: Exception) -> JournalUnusable:
        text = str(error)
        if "locked" in text:
            text = "another scan is writing into this folder: wait for it, or choose another one"
        elif "not a database" in text or "malformed" in text or isinstance(error, ValueError):
            text = "not a journal of this program's, or a damaged one: delete it and scan again"
        elif "full" in text:
            text = "no space left on the disk: make room, then run the same command again; it goes on where it stopped"
        else:
            text = f"{text}; run the same command again when that is mended"
        return JournalUnusable(self.path, text)
