"""BLAKE3 of many files with the best backend of this host, for whoever else reads them: scans, workers, `stretto hash`.

SHA-256, samples and fingerprints stay with the processor. The digest never depends on the backend (`kernels.dispatch`):
what a GPU cannot do, or does wrong, the processor does.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from catalog.content import Reader
from kernels.dispatch import Hasher
from kernels.sources import FileSource, SourceError

Item = TypeVar("Item")

KEEP_ALL: Final = 1 << 62
"""Of the page cache: where files are read a second time, what was fetched must stay."""


@dataclass(frozen=True, slots=True)
class Made:
    """A file's BLAKE3, and the state of the file before and after it was made."""

    digest: bytes
    """32 bytes."""
    state: os.stat_result

    def is_of(self, path: Path) -> bool:
        """Whether the file is still the same. Whoever reads it once more asks afterwards."""
        now = _state(path)
        return now is not None and _identity(now) == _identity(self.state)


class GpuHashing:
    """Digests of files, as long as a GPU takes part. For one thread."""

    def __init__(self, hasher: Hasher, *, keep_bytes: int = KEEP_ALL) -> None:
        """keep_bytes: as `catalog.content.Reader`."""
        self._hasher = hasher
        self._reader = Reader(keep_bytes=keep_bytes)

    @property
    def is_on(self) -> bool:
        """False: the processor hashes as it reads, which is faster than to read twice."""
        return self._hasher.uses_gpu

    @property
    def took_part(self) -> bool:
        """Whether one was opened, be it lost by now."""
        return self._hasher.opened_gpu

    @property
    def why(self) -> str:
        """Which backend, for which reason, and what became of it."""
        return self._hasher.why

    @property
    def report(self) -> dict[str, object]:
        """For a run report."""
        return self._hasher.report()

    def digests(self, paths: Iterable[Path]) -> dict[Path, bytes]:
        """BLAKE3 of each file that can be read; the others are missing."""
        return {path: made.digest for path, made in self.each(paths, lambda path: path) if made is not None}

    def each(
        self, items: Iterable[Item], path_of: Callable[[Item], Path | None]
    ) -> Generator[tuple[Item, Made | None], None, None]:
        """Each item in its order. None: the processor must look, be it that no GPU is left, or to say what is wrong.

        path_of: of an item's file; None where there is nothing to hash.
        """
        remaining = iter(items)
        waiting: deque[tuple[Item, _File | None]] = deque()

        def files() -> Iterator[_File]:
            while self.is_on:  # when the last GPU is lost, the rest is read once, by the processor
                try:
                    item = next(remaining)
                except StopIteration:
                    return
                path = path_of(item)
                file = _File.of(path, self._reader) if path is not None else None
                waiting.append((item, file))
                if file is not None:
                    yield file

        with closing(self._hasher.hash(files())) as results:
            for result in results:
                item, file = waiting.popleft()
                while file is None:
                    yield item, None
                    item, file = waiting.popleft()
                yield item, file.made(result.digest)
        yield from ((item, None) for item, _ in waiting)
        yield from ((item, None) for item in remaining)


class _File:
    """A `kernels.sources.Source`, opened for each piece: a batch has more files than a process may hold open."""

    __slots__ = ("_path", "_reader", "_state")

    def __init__(self, path: Path, state: os.stat_result, reader: Reader) -> None:
        self._path, self._state, self._reader = path, state, reader

    @classmethod
    def of(cls, path: Path, reader: Reader) -> _File | None:
        state = _state(path)
        return cls(path, state, reader) if state is not None and stat.S_ISREG(state.st_mode) else None

    @property
    def size(self) -> int:
        return self._state.st_size

    def whole(self) -> memoryview | None:
        return None

    def read_into(self, offset: int, into: memoryview) -> None:
        try:
            descriptor = self._reader.open(os.fsencode(self._path))
        except OSError as error:
            raise SourceError(error.strerror or str(error)) from error
        try:
            was_there = self._reader.is_there(descriptor, offset, offset + len(into))
            FileSource(descriptor, self.size).read_into(offset, into)
            if not was_there:
                self._reader.leave(descriptor, offset, len(into))
        finally:
            os.close(descriptor)

    def made(self, digest: bytes | None) -> Made | None:
        """None where there is none, or it may be of half the old and half the new content."""
        made = Made(digest, self._state) if digest is not None else None
        return made if made is not None and made.is_of(self._path) else None


def _state(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None


def _identity(state: os.stat_result) -> tuple[int, ...]:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
