"""What a file's exact bytes are, found out as fast as one process can, leaving the page cache as it was found.

A file that is in memory already is mapped: hashing it where it lies saves the copy, a quarter of the time. One that is
not is read in pieces, the kernel reading ahead, so that the disk works while the processor hashes; where all processors
hash one file it is mapped all the same, since they meet what is missing in several places at once. A mapped file that
shrinks, or whose disk fails, kills the process that looks (SIGBUS): map only in a worker whose end somebody notices
(`catalog.crew`).
"""

from __future__ import annotations

import mmap
import os
import stat

from catalog.walk import Unusable, explain
from kernels.cpu import ALL_THREADS, Stream, hash_whole

TYPE_CHECKING = False  # see catalog.walk
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READ_BYTES = 512 * 1024
"""One read. Fits the second-level cache with room to spare."""
MAP_BYTES_MIN = 64 * 1024
"""From here on mapping is faster than reading."""
WINDOW_BYTES = 4 << 30
"""What is mapped at once: bounds address space, and what a change of the file can spoil before it is noticed."""
PROBE_BYTES, PROBES_MAX = 8 << 20, 32
"""One byte in so many tells whether a window is in memory; of large windows in more, since a look takes some 10 us."""
DROP_BYTES = 16 << 20
"""What is dropped at once behind the reading, where the set is too large to be kept."""
PARALLEL_BYTES_MIN = 4 << 20
"""Smaller files are not worth waking other processors for."""
PIECE_WIDE_BYTES = 1 << 20
"""One read where all processors hash what it brings: small enough that the disk need not wait for them."""

_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # non-blocking: a pipe in the file's place must not hang us
_READ = mmap.PROT_READ
_MAPPED = mmap.MAP_SHARED
_AT_ONCE = _MAPPED | getattr(mmap, "MAP_POPULATE", 0)
_NOATIME = getattr(os, "O_NOATIME", 0)
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)


class Content:
    """What identifies a file's bytes, and the state of the file when they were read.

    blake3, sha256: 32 bytes; sha256 is None where it was not asked for.
    """

    __slots__ = ("blake3", "ctime_ns", "mtime_ns", "sha256", "size_bytes")

    def __init__(self, state: os.stat_result, blake3: bytes, sha256: bytes | None) -> None:
        self.size_bytes = state.st_size
        self.mtime_ns = state.st_mtime_ns
        self.ctime_ns = state.st_ctime_ns
        self.blake3 = blake3
        self.sha256 = sha256


class Reader:
    """Reads files one after the other; one a process."""

    def __init__(
        self,
        *,
        with_sha256: bool = False,
        mapped: bool = False,
        keep_bytes: int | None = None,
        parallel: Callable[[], bool] = lambda: False,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        """mapped: files may be mapped (see above). parallel: may one file have all processors now?

        advance: told the number of bytes after each part.

        keep_bytes: how much of what was not in memory before may stay there; what is read beyond it is dropped again,
        or a set larger than memory would push out everything that others use. None: half of this machine's memory.
        """
        self.from_disk = False
        """Was the last file, or its last part, not in memory when it was looked at?"""
        self._new_sha256 = None
        if with_sha256:
            from hashlib import sha256  # noqa: PLC0415  OpenSSL takes 3 ms to load

            self._new_sha256 = sha256
        self._mapped = mapped and not with_sha256  # SHA-256 wants each piece again while it is in the cache
        self._parallel, self._advance = parallel, advance
        self._keep_bytes = memory_bytes() // 2 if keep_bytes is None else keep_bytes
        self._fetched_bytes = 0
        self._buffer = bytearray(READ_BYTES)
        self._view = memoryview(self._buffer)
        self._probe = [bytearray(1)]
        self._flags = _OPEN | _NOATIME
        self._nowait = _NOWAIT

    def content(self, path: bytes) -> Content:
        """One regular file's. Raises: Unusable where it cannot be read, is none, or changed while it was read."""
        try:
            descriptor = self.open(path)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise Unusable(path, explain(error) if isinstance(error, OSError) else str(error)) from error
        try:
            return self._content(path, descriptor)
        except OSError as error:
            raise Unusable(path, explain(error)) from error
        finally:
            os.close(descriptor)

    def open(self, path: bytes) -> int:
        """Leaves no trace where it may. Raises: OSError; ValueError for a NUL in the name."""
        try:
            return os.open(path, self._flags)
        except PermissionError:
            if not self._flags & _NOATIME:
                raise
            # Only a file's owner may read it without leaving a trace. Where one is not ours, others will not be.
            descriptor = os.open(path, _OPEN)
            self._flags = _OPEN
            return descriptor

    def _content(self, path: bytes, descriptor: int) -> Content:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise Unusable(path, "neither a file nor a folder")
        size, sha256 = before.st_size, None
        count = self._read_if_there(descriptor) if size < MAP_BYTES_MIN and self._new_sha256 is None else -1
        if count == size:
            blake3 = hash_whole(self._view[:count])
            self._advance(count)
            self.from_disk = False
        elif count <= size:
            count, blake3, sha256 = self._long(descriptor, size)
        after = os.fstat(descriptor)
        # A digest of half the old and half the new content identifies nothing that ever existed.
        if count != size or (before.st_mtime_ns, size) != (after.st_mtime_ns, after.st_size):
            raise Unusable(path, "changed while it was being read: try again when it is finished")
        return Content(after, blake3, sha256)

    def _read_if_there(self, descriptor: int) -> int:
        """Bytes read into the buffer from what is in memory; 0 where nothing is."""
        try:
            if self._nowait:
                return os.preadv(descriptor, [self._buffer], 0, self._nowait)
        except BlockingIOError:
            return 0
        except OSError:  # a file system that cannot tell; or an error that the next read meets again
            self._nowait = 0
        return os.readv(descriptor, [self._buffer])

    def _long(self, descriptor: int, size: int) -> tuple[int, bytes, bytes | None]:
        """(bytes, BLAKE3, SHA-256), window by window, mapped or in pieces; fewer bytes than `size` if it shrank."""
        parallel = size >= PARALLEL_BYTES_MIN and self._parallel()
        blake3 = Stream(threads=ALL_THREADS if parallel else 1)
        sha256 = self._new_sha256() if self._new_sha256 is not None else None
        start = 0
        while True:
            end = min(size, start + WINDOW_BYTES)
            self.from_disk = not self.is_there(descriptor, start, end)
            # From disk too where all processors hash: each meets missing pages of its own, so the disk serves several.
            # And each maps what it meets: mapped in advance, it would be by one processor while the others wait.
            if self._mapped and (parallel or not self.from_disk) and end > start:
                flags = _MAPPED if parallel or self.from_disk else _AT_ONCE
                try:
                    pages = mmap.mmap(descriptor, end - start, flags, _READ, offset=start)
                except ValueError:  # it is shorter by now
                    break
                blake3.update(pages)
                pages.close()
                self._advance(end - start)
                if self.from_disk:
                    self.leave(descriptor, start, end - start)
                start = end
            else:
                for piece in self._pieces(descriptor, start, end, wide=parallel):
                    blake3.update(piece)
                    if sha256 is not None:
                        sha256.update(piece)
                    start += len(piece)
                    self._advance(len(piece))
            if start < end or start == size:
                break
        return start, blake3.digest(), sha256.digest() if sha256 is not None else None

    def is_there(self, descriptor: int, start: int, end: int) -> bool:
        """Is this part of the file in memory? True where the system cannot tell: its pages are then left alone."""
        try:
            step = max(PROBE_BYTES, (end - start) // PROBES_MAX)
            for offset in (*range(start + step, end, step), max(start, end - 1)):
                if not self._nowait:
                    break
                os.preadv(descriptor, self._probe, offset, self._nowait)
        except BlockingIOError:
            return False
        except OSError:
            self._nowait = 0
        return True

    def _pieces(self, descriptor: int, start: int, end: int, *, wide: bool) -> Iterator[memoryview]:
        """The bytes from `start` to `end`, or to where the file ends now; each piece is overwritten by the next."""
        view = memoryview(bytearray(PIECE_WIDE_BYTES)) if wide else self._view
        kept = offset = start
        if self.from_disk:  # the kernel's own reading ahead, doubled; asking for ranges costs it twice the time
            _advise(descriptor, start, end - start, "POSIX_FADV_SEQUENTIAL")
        while offset < end:
            count = os.preadv(descriptor, [view[: end - offset]], offset)
            if count == 0:
                return
            yield view[:count]
            offset += count
            if self.from_disk and (offset == end or offset - kept >= DROP_BYTES):
                self.leave(descriptor, kept, offset - kept)
                kept = offset

    def leave(self, descriptor: int, offset: int, length: int) -> None:
        """What was fetched from disk is done with: it goes where more was fetched than may stay."""
        self._fetched_bytes += length
        if self._fetched_bytes > self._keep_bytes:
            _advise(descriptor, offset, length, "POSIX_FADV_DONTNEED")

    def tell_ahead(self, path: bytes) -> None:
        """Has the kernel fetch the beginning of a file that will be read soon. What is wrong with it shows then."""
        try:
            descriptor = self.open(path)
        except (OSError, ValueError):
            return
        try:
            _advise(descriptor, 0, READ_BYTES, "POSIX_FADV_WILLNEED")
        finally:
            os.close(descriptor)


def _advise(descriptor: int, offset: int, length: int, advice: str) -> None:
    """posix_fadvise where there is one. Advice only: where it is refused, nothing is lost but time."""
    try:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, offset, length, getattr(os, advice))
    except OSError:
        return


def memory_bytes() -> int:
    """This machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
