"""Where the work of a scan is done: in threads here. Another engine has the same two methods and any other place."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Final, Protocol

from catalog.manifest import TrackRecord
from catalog.record import record_of
from catalog.scan import LeftOut
from catalog.tools import Tools

if TYPE_CHECKING:
    from concurrent.futures import Future

AHEAD_PER_WORKER: Final = 4
"""Files handed out before a result is taken: workers never wait for the journal, and memory stays bounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One file to look at."""

    path: Path
    root: Path
    """The folder that the manifest's paths are relative to."""
    size_bytes: int
    """When it was listed."""


Result = tuple[Work, TrackRecord | LeftOut]


class Engine(Protocol):
    """Does the work of `record_of`. The manifest must not depend on which engine did it, or in which order."""

    def results(self, work: Iterable[Work]) -> Generator[Result, None, None]:
        """Each item of `work` with its result, in any order.

        `work` is read in the caller's thread, and only as fast as results are taken. Closed early, it starts nothing
        more and ends what it has begun.
        """

    def describe(self) -> Mapping[str, Any]:
        """For the run report: name, workers, the backend that hashed and why."""


class LocalEngine:
    """Threads of this process: hashing, decoding and the programs asked all work outside the interpreter's lock."""

    def __init__(self, threads: int, tools: Tools) -> None:
        self._threads = threads
        self._tools = tools

    def results(self, work: Iterable[Work]) -> Generator[Result, None, None]:
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  brings `logging` along
        from queue import SimpleQueue  # noqa: PLC0415

        cancel = Event()
        finished: SimpleQueue[Future[Result]] = SimpleQueue()

        def one(item: Work) -> Result:
            return item, record_of(item.path, item.root, tools=self._tools, cancel=cancel)

        pool = ThreadPoolExecutor(self._threads)
        in_flight = 0
        try:
            for item in work:
                pool.submit(one, item).add_done_callback(finished.put)
                in_flight += 1
                if in_flight >= self._threads * AHEAD_PER_WORKER:
                    yield finished.get().result()
                    in_flight -= 1
            while in_flight:
                yield finished.get().result()
                in_flight -= 1
        finally:
            cancel.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def describe(self) -> Mapping[str, Any]:
        return {
            "name": "local",
            "threads": self._threads,
            "backend": "cpu",
            "why": "threads of this machine hash on its processors",
        }
