"""A file that remembers digests, so that a long reading that was cut short, or is done again, reads only what is new.

One line a file: BLAKE3, SHA-256 or `-`, size in bytes, times of the last change of content and of anything (in ns),
name. A digest is taken over only where size and both times are what they were. No program can set the second time, so
new content under an old time of modification is read again too. What nothing notices is a change by another system
that mounts the same disk with its clock set back: without the journal, everything is read.
"""

from __future__ import annotations

import os
import stat
import time

TYPE_CHECKING = False  # see catalog.walk
if TYPE_CHECKING:
    from catalog.content import Content

HEADER = b"stretto hash journal 1\n"
SETTLED_NS = 2_000_000_000
"""A file that changed less than this ago is not recorded: it may change again within the same tick of the file system's
clock, and no difference would be seen."""
LINE_BYTES_MAX = 16 * 1024
"""Far over the longest: a name of 4,095 bytes, every one of them escaped."""


class JournalDamaged(Exception):
    """The file given as a journal is none. Its message says which file, which line, what to do."""


class Journal:
    """Digests by name, in memory some 300 bytes a file, and the file that new ones are appended to."""

    def __init__(self, path: str) -> None:
        """Opens or creates it. A last line that was cut short is cut off.

        Raises: JournalDamaged; OSError where it can be neither read nor created.
        """
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._known: dict[bytes, tuple[bytes, ...]] = {}
        whole = 0
        with open(self._descriptor, "rb", closefd=False) as file:
            for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES_MAX), b""), start=1):
                if not line.endswith(b"\n") and len(line) < LINE_BYTES_MAX and (number > 1 or HEADER.startswith(line)):
                    break  # the last line of a process that was stopped
                fields = line[:-1].split(b" ", 5)
                if number == 1 and line == HEADER:
                    pass
                elif number == 1 or len(fields) != 6 or len(fields[0]) != 64 or not line.endswith(b"\n"):
                    what = "is no journal of stretto hash" if number == 1 else "is damaged"
                    raise JournalDamaged(f"{path}: line {number} {what}: give another file, or remove this one")
                else:
                    self._known[_raw(fields[5])] = tuple(fields[:5])
                whole += len(line)
        os.ftruncate(self._descriptor, whole)
        if whole == 0:
            os.write(self._descriptor, HEADER)
        status = os.fstat(self._descriptor)
        self._self = (status.st_dev, status.st_ino)

    def is_this(self, path: bytes) -> bool:
        """Is it the journal itself, which changes while we read?"""
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._self

    def known(self, path: bytes, *, with_sha256: bool) -> tuple[int, bytes, bytes | None] | None:
        """(size, BLAKE3, SHA-256) where they are on record for the file as it is now."""
        entry = self._known.get(path)
        if entry is None or (with_sha256 and entry[1] == b"-"):
            return None
        try:
            now = os.stat(path)  # noqa: PTH116
        except OSError:
            return None  # the reading will say what is wrong
        state = (b"%d" % now.st_size, b"%d" % now.st_mtime_ns, b"%d" % now.st_ctime_ns)
        if entry[2:] != state or not stat.S_ISREG(now.st_mode):
            return None
        blake3 = _digest(entry[0])
        sha256 = _digest(entry[1]) if entry[1] != b"-" else None
        if blake3 is None or (sha256 is None and entry[1] != b"-"):
            return None  # a line that somebody changed: read again, and recorded anew
        return now.st_size, blake3, sha256

    def add(self, lines: bytes) -> None:
        """Appends what `line` made."""
        while lines:
            lines = lines[os.write(self._descriptor, lines) :]


def line(path: bytes, content: Content) -> bytes:
    """One entry; nothing where the file changed too recently to be told from what it may be next."""
    if time.time_ns() - max(content.mtime_ns, content.ctime_ns) < SETTLED_NS:
        return b""
    name = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    sha256 = content.sha256.hex().encode() if content.sha256 is not None else b"-"
    times = (content.size_bytes, content.mtime_ns, content.ctime_ns)
    return b"%s %s %d %d %d %s\n" % (content.blake3.hex().encode(), sha256, *times, name)


def _digest(text: bytes) -> bytes | None:
    try:
        digest = bytes.fromhex(text.decode())
    except ValueError:
        return None
    return digest if len(digest) == 32 else None


def _raw(name: bytes) -> bytes:
    if b"\\" not in name:
        return name
    return name.replace(b"\\\\", b"\0").replace(b"\\n", b"\n").replace(b"\0", b"\\")
