"""Which files a set of paths names, in an order that depends on names alone, so that every run sees the same."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Final

from consensus.errors import RequestError


class Cancelled(Exception):
    """The caller no longer wants the result."""


class Cause(Enum):
    """Why a file is left out, as far as it decides what to do next."""

    CONTENT = "content"
    """The bytes themselves: as long as they stay the same, so does the answer."""
    MOMENT = "moment"
    """Something that may be otherwise at the next try: it changed, it vanished, it may not be read."""
    DEVICE = "device"
    """The device or the network behind it failed: other files may fail the same way."""


_DEVICE_ERRORS: Final = frozenset(
    {errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN}
)


class LeftOut(RequestError):
    """A file (or folder) that was named or found but could not be used; the rest goes on without it.

    path: as named or found. reason: what is wrong with it, in words that fit after its name.
    """

    def __init__(self, path: Path, reason: str, cause: Cause = Cause.MOMENT) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason
        self.cause = cause

    @classmethod
    def of(cls, path: Path, error: OSError) -> LeftOut:
        """What the system said about it."""
        return cls(path, explain(error), Cause.DEVICE if error.errno in _DEVICE_ERRORS else Cause.MOMENT)

    def __reduce__(self) -> tuple[type[LeftOut], tuple[Path, str, Cause]]:
        """Errors are pickled by their message, which would not build this one again in another process."""
        return type(self), (self.path, self.reason, self.cause)


def scan(paths: Iterable[Path], visited: set[tuple[int, int]] | None = None) -> Iterator[Path | LeftOut]:
    """Regular files under `paths`: paths in the order given, folders depth first, entries by the bytes of their names.

    Symbolic links are followed. A folder is entered once however many ways lead to it, so loops end and nothing is
    listed twice through linked folders. What is neither a file nor a folder, or cannot be read, is yielded as LeftOut
    in its place, never raised.

    visited: (device, inode) of folders not to be entered; those that are entered are added.
    """
    visited = set() if visited is None else visited
    for path in paths:
        # A stack instead of recursion: depth is the file system's choice, not the interpreter's.
        stack = [path]
        while stack:
            current = stack.pop()
            try:
                status = current.stat()
                if stat.S_ISREG(status.st_mode):
                    yield current
                    continue
                if not stat.S_ISDIR(status.st_mode):
                    yield LeftOut(current, "neither a file nor a folder")
                    continue
                if (status.st_dev, status.st_ino) in visited:
                    continue
                visited.add((status.st_dev, status.st_ino))
                stack.extend(reversed(_entries(current)))
            except OSError as error:
                yield LeftOut.of(current, error)


def _entries(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [folder / name for name in sorted((entry.name for entry in entries), key=os.fsencode)]


def explain(error: OSError) -> str:
    """The system's own words for what went wrong, without the path (the caller names it)."""
    words = {FileNotFoundError: "no such file", PermissionError: "permission denied"}.get(type(error))
    return words or (error.strerror or type(error).__name__).lower()
