"""An LMDB environment with what every store here needs: a writer's lock, growth, and errors in our words.

Durable: LMDB runs with its default synchronous commits, never MDB_NOSYNC, MDB_NOMETASYNC or MDB_WRITEMAP.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeAlias, TypeVar

import lmdb

from node.store.errors import DiskFailed, StoreCorrupt, StoreFull, StoreLocked, StoreMisused, StoreNotReady

if TYPE_CHECKING:
    Database: TypeAlias = lmdb._Database
else:
    Database = object

T = TypeVar("T")

MAP_BYTES: Final = 2**28
"""First size of the map; address space, not disk. It doubles as the store grows."""
MAP_BYTES_MAX: Final = 2**40
READERS_MAX: Final = 1024
"""Concurrent read transactions of all processes together; a slot costs 64 bytes."""
_HEADROOM: Final = 0.75
"""The map grows before a write once the file fills more of it than this."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
PROBE_BYTES: Final = 2**26
"""More than any one transaction writes; with less room than this a disk counts as full."""
LIB_VERSION: Final = 0
"""LMDB 0.9 and its data format 1, whatever LMDB_DEFAULTLIB_VERSION says."""


class WriterLock:
    """Held as long as a process may write a store: flock on `writer.lock` beside it, which dies with the process.

    flock and not fcntl locks: those vanish when any descriptor of the file is closed in the process.
    """

    def __init__(self, path: Path) -> None:
        """path: the environment's folder, which exists. Raises: StoreLocked."""
        self._descriptor = os.open(path / "writer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(self._descriptor, 32, 0).strip()
            os.close(self._descriptor)
            raise StoreLocked(path, int(text) if text.isdigit() else None) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._descriptor)


class WriterEnvironment:
    """The writing side of an environment. One per process and path; safe to use from several threads."""

    def __init__(
        self,
        path: Path,
        databases: tuple[bytes, ...],
        *,
        map_bytes_max: int = MAP_BYTES_MAX,
    ) -> None:
        """Opens or creates. Raises: StoreLocked, StoreFull, StoreCorrupt."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self._map_bytes_max = map_bytes_max
        self._lock = WriterLock(path)
        # Growing the map needs a moment without any transaction in this process; one lock around all gives it.
        self._turn = threading.RLock()
        try:
            with translated(path):
                self._env = lmdb.open(
                    str(path), map_size=min(MAP_BYTES, map_bytes_max), max_dbs=len(databases), max_readers=READERS_MAX,
                    mode=0o600, max_spare_txns=4, lib_version=LIB_VERSION,
                )  # fmt: skip
                self._env.reader_check()  # slots of readers that were killed would keep their pages from reuse
                self.databases = {name: self._env.open_db(name) for name in databases}
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        with self._turn:
            self._env.close()
            self._lock.release()

    def read(self) -> Snapshot:
        """A snapshot, to be used in a `with`; keep it short. Values are memoryviews that die with it."""
        return Snapshot(self._env, self._turn, self.path)

    def write(self, work: Callable[[lmdb.Transaction], T]) -> T:
        """Runs `work` in one transaction and commits it durably.

        `work` may run again after the map grew, so it changes nothing but the transaction.
        Raises: StoreFull (nothing was written), StoreCorrupt, and what `work` raises (nothing was written).
        """
        with self._turn, translated(self.path):
            if self.used_bytes() > self._env.info()["map_size"] * _HEADROOM:
                self._grow(required=False)
            while True:
                txn = self._env.begin(write=True, buffers=True)
                try:
                    result = work(txn)
                    txn.commit()
                except lmdb.MapFullError:
                    txn.abort()
                    self._grow(required=True)
                except BaseException:
                    txn.abort()
                    raise
                else:
                    return result

    def used_bytes(self) -> int:
        """Bytes of the file up to its last page ever used."""
        return int((self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"])

    def _grow(self, *, required: bool) -> None:
        self._env.reader_check()  # slots of readers that were killed would keep their pages from reuse
        now = self._env.info()["map_size"]
        if now >= self._map_bytes_max:
            if required:
                raise StoreFull(self.path, f"the store has reached its limit of {self._map_bytes_max} bytes")
            return
        self._env.set_mapsize(min(now * 2, self._map_bytes_max))


class Snapshot:
    """A read transaction, as long as its `with` lasts; a class since execution takes several for every statement."""

    __slots__ = ("_env", "_path", "_turn", "_txn")

    def __init__(self, env: lmdb.Environment, turn: threading.RLock, path: Path) -> None:
        self._env = env
        self._turn = turn
        self._path = path

    def __enter__(self) -> lmdb.Transaction:
        self._turn.acquire()
        try:
            self._txn = self._env.begin(buffers=True)
        except BaseException as error:
            self._turn.release()
            raise_translated(self._path, error)
            raise
        return self._txn

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._txn.abort()
        self._turn.release()
        if error is not None:
            raise_translated(self._path, error)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns LMDB's and the system's errors into ours. Raises: StoreFull, StoreNotReady, StoreCorrupt, StoreMisused."""
    try:
        yield
    except (lmdb.Error, OSError) as error:
        raise_translated(path, error)
        raise


def raise_translated(path: Path, error: BaseException) -> None:
    """Raises ours for an error of LMDB or the system; returns where it is another's."""
    match error:
        case lmdb.DiskError():
            raise StoreFull(path, str(error)) from error
        case (
            lmdb.CorruptedError()
            | lmdb.InvalidError()
            | lmdb.PageNotFoundError()
            | lmdb.VersionMismatchError()
            | lmdb.PanicError()
        ):
            raise StoreCorrupt(path, "LMDB environment", str(error)) from error
        case lmdb.ReadonlyError():
            raise StoreMisused(path, f"no permission to write ({error})") from error
        case lmdb.Error() | OSError():
            code = getattr(error, "code", None) or getattr(error, "errno", None)
            if code in _FULL:
                raise StoreFull(path, os.strerror(code)) from error
            if code == errno.ENOENT:
                raise StoreNotReady(path) from error
            if code == errno.EIO:
                # What LMDB makes of a write that came out short: the disk may be full, or broken.
                raise (StoreFull(path, "a write came out short") if _is_full(path) else DiskFailed(path)) from error
        case _:
            pass


def _is_full(path: Path) -> bool:
    """Whether less than PROBE_BYTES can be written beside the store, for whatever reason (disk, quota, limit)."""
    probe = path / "probe.tmp"
    try:
        with probe.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, PROBE_BYTES)
    except OSError as error:
        return error.errno in _FULL
    finally:
        probe.unlink(missing_ok=True)
    return False
