"""Which files a set of paths names, in an order that depends on names alone, so that every run sees the same."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from catalog.walk import Unusable, explain, walk
from consensus.errors import RequestError

__all__ = ["LeftOut", "explain", "scan"]


class LeftOut(RequestError):
    """A file (or folder) that was named or found but could not be used; the rest goes on without it.

    path: as named or found. reason: what is wrong with it, in words that fit after its name.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


def scan(paths: Iterable[Path]) -> Iterator[Path | LeftOut]:
    """`catalog.walk.walk` in paths: the same files, in the same order."""
    for found in walk(map(os.fsencode, paths)):
        if isinstance(found, Unusable):
            yield LeftOut(Path(os.fsdecode(found.path)), found.reason)
        else:
            yield Path(os.fsdecode(found))
