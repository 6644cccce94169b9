"""What is to be done, what is under way, and what is done again after a worker was lost: no Ray in here, no clock.

A worker that dies takes a batch along. Its files are done again one by one, so that a file that kills whoever reads it
is found out, and left out by name, while those that merely were beside it are not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from catalog.engine import Work
from catalog.scan import LeftOut

BATCH_FILES_MAX: Final = 32
BATCH_BYTES_MAX: Final = 32 << 20
"""A batch is this many bytes at most, or one file: about a second's work, so that none waits long for the last."""
DEATHS_MAX: Final = 3
"""Workers that a file may have been read by when they died: the first in company, the others alone."""
LOSSES_MAX: Final = 20
"""Times a file is handed out anew in all, for whatever reason (nodes that come and go)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One file as the driving machine sees it: another machine must see the same."""

    work: Work
    size_bytes: int
    mtime_ns: int

    @property
    def path(self) -> Path:
        return self.work.path

    @classmethod
    def of(cls, work: Work) -> Item:
        """What cannot be seen here is handed out all the same: whoever reads it says why."""
        try:
            status = work.path.stat()
        except OSError:
            return cls(work=work, size_bytes=0, mtime_ns=0)
        return cls(work=work, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)


@dataclass(slots=True, kw_only=True)
class _History:
    """What happened to a file that was handed out more than once."""

    deaths: int = 0
    losses: int = 0


class WorkQueue:
    """Files in, batches out; each file comes back once: done, or left out.

    Invariant: a file is in one place at a time: not yet read from `work`, waiting, or in one batch under way.
    """

    def __init__(self, work: Iterable[Work]) -> None:
        self._work = iter(work)
        self._ahead: Item | None = None
        self._again: deque[tuple[Item, ...]] = deque()
        self._history: dict[Path, _History] = {}
        self._exhausted = False
        self.redone = 0
        """Files handed out again after a loss."""

    def peek(self) -> Item | None:
        """The next new file, without taking it; None where there are no more."""
        if self._ahead is None and not self._exhausted:
            work = next(self._work, None)
            if work is None:
                self._exhausted = True
            else:
                self._ahead = Item.of(work)
        return self._ahead

    def skip(self) -> None:
        """Takes the file that `peek` showed: it is decided without the queue."""
        self._ahead = None

    @property
    def waiting(self) -> bool:
        """Whether `take` has something to give."""
        return bool(self._again) or self.peek() is not None

    def take(self) -> tuple[Item, ...]:
        """The next batch, what was lost before what is new; empty where nothing waits."""
        if self._again:
            return self._again.popleft()
        batch: list[Item] = []
        size = 0
        while len(batch) < BATCH_FILES_MAX and (item := self.peek()) is not None:
            if batch and size + item.size_bytes > BATCH_BYTES_MAX:
                break
            size += item.size_bytes
            batch.append(item)
            self._ahead = None
        return tuple(batch)

    def done(self, batch: Iterable[Item]) -> None:
        """The batch came back: nothing need be remembered of its files."""
        for item in batch:
            self._history.pop(item.path, None)

    def lost(self, batch: tuple[Item, ...], *, why: str, suspect: bool) -> list[tuple[Work, LeftOut]]:
        """The batch went with its worker; its files are handed out again, but for those returned.

        why: of the last loss, for people. suspect: its files may be what killed the worker.
        """
        left_out = []
        for item in batch:
            history = self._history.setdefault(item.path, _History())
            history.losses += 1
            history.deaths += suspect
            if history.deaths >= DEATHS_MAX or history.losses >= LOSSES_MAX:
                del self._history[item.path]
                reason = f"{history.losses} workers were lost while they read it ({why})"
                left_out.append((item.work, LeftOut(item.path, reason)))
            else:
                self.redone += 1
                self._again.append((item,))
        return left_out

    def put_back(self, batch: tuple[Item, ...]) -> None:
        """The batch was not begun; it is handed out as it is."""
        self._again.appendleft(batch)
