"""BLAKE3 and SHA-256 of files in one pass: each byte is read once, in constant memory, files in parallel threads."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from catalog.crew import processors
from catalog.ordered import ordered_map
from catalog.scan import Cancelled, LeftOut
from kernels.cpu import Stream

READ_BYTES = 512 * 1024
"""One read. Fits the second-level cache with room to spare: both hashes then read memory that is still warm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDigests:
    """What identifies a file's exact bytes."""

    path: Path
    size_bytes: int
    blake3: bytes
    """32 bytes."""
    sha256: bytes
    """32 bytes."""


def hash_file(
    path: Path,
    *,
    blake3: bytes | None = None,
    advance: Callable[[int], None] | None = None,
    cancel: threading.Event | None = None,
) -> FileDigests:
    """BLAKE3 and SHA-256 of one regular file.

    blake3: where another backend has made it already; who gives it sees to it that the file stayed the same.
    advance: told the number of bytes after each read. cancel: when set, Cancelled is raised at the next read.
    Raises: LeftOut where the file cannot be read, is no regular file, or changed while it was being read.
    """
    try:
        # Non-blocking, so that a pipe put in the file's place cannot hang us between scan and here.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise LeftOut.of(path, error) from error
    try:
        return _hash_open(path, descriptor, blake3, advance, cancel)
    except OSError as error:
        raise LeftOut.of(path, error) from error
    finally:
        os.close(descriptor)


def _hash_open(
    path: Path,
    descriptor: int,
    known: bytes | None,
    advance: Callable[[int], None] | None,
    cancel: threading.Event | None,
) -> FileDigests:
    before = os.fstat(descriptor)
    if not stat.S_ISREG(before.st_mode):
        raise LeftOut(path, "neither a file nor a folder")
    blake3, sha256 = Stream(), hashlib.sha256()
    buffer = bytearray(min(READ_BYTES, before.st_size + 1))
    view = memoryview(buffer)
    size = 0
    while count := os.readv(descriptor, [buffer]):
        if cancel is not None and cancel.is_set():
            raise Cancelled
        if known is None:
            blake3.update(view[:count])
        sha256.update(view[:count])
        size += count
        if advance is not None:
            advance(count)
        if size > before.st_size:  # it grows while we read: faster than we do, and this would never end
            break
    after = os.fstat(descriptor)
    # A digest of half the old and half the new content identifies nothing that ever existed.
    if size != before.st_size or (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise LeftOut(path, "changed while it was being read: try again when it is finished")
    return FileDigests(path=path, size_bytes=size, blake3=known or blake3.digest(), sha256=sha256.digest())


def hash_files(
    found: Iterable[Path | LeftOut],
    *,
    threads: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> Iterator[FileDigests | LeftOut]:
    """`hash_file` over what `scan` found, in its order; what could not be read comes out as LeftOut in its place.

    threads: 1 or more; the processors this process may use, where None. advance is called from those threads.
    """
    cancel = threading.Event()

    def work(item: Path | LeftOut) -> FileDigests | LeftOut:
        if isinstance(item, LeftOut):
            return item
        try:
            return hash_file(item, advance=advance, cancel=cancel)
        except LeftOut as left_out:
            return left_out

    try:
        yield from ordered_map(work, found, threads=threads or processors())
    finally:
        cancel.set()
