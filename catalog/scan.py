"""Which files a set of paths names, in an order that depends on names alone, so that every run sees the same."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Final

from catalog.walk import Unusable, explain, walk
from consensus.errors import RequestError

__all__ = ["Cancelled", "Cause", "LeftOut", "explain", "scan"]


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
    """`catalog.walk.walk` in paths: the same files, in the same order. visited: as there."""
    for found in walk(map(os.fsencode, paths), visited):
        if isinstance(found, Unusable):
            cause = Cause.DEVICE if found.number in _DEVICE_ERRORS else Cause.MOMENT
            yield LeftOut(Path(os.fsdecode(found.path)), found.reason, cause)
        else:
            yield Path(os.fsdecode(found))
