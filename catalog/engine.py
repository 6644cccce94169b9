"""Where the work of a scan is done: in threads here. Another engine has the same two methods and any other place."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Final, Protocol

from catalog.in_hand import InHand
from catalog.isolated import record_apart
from catalog.manifest import TrackRecord
from catalog.record import record_of
from catalog.scan import LeftOut
from catalog.tools import Tools
from kernels.calibrated import is_any_calibrated

if TYPE_CHECKING:
    from concurrent.futures import Future

    from catalog.gpu import GpuHashing, Made

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

    def results(self, work: Iterable[Work], expected_bytes: int | None = None) -> Generator[Result, None, None]:
        """Each item of `work` with its result, in any order.

        expected_bytes: of all of it, where known. `work` is read in the caller's thread, and only as fast as results
        are taken. Closed early, it starts nothing more and ends what it has begun.
        """

    def describe(self) -> Mapping[str, Any]:
        """For the run report: name, workers, the backend that hashed and why."""


class LocalEngine:
    """Threads of this process: hashing, decoding and the programs asked all work outside the interpreter's lock.

    Where a GPU was calibrated on this host and is worth it, BLAKE3 comes from there (docs/gpu.md).
    """

    def __init__(
        self,
        threads: int,
        tools: Tools,
        notes: Path | None = None,
        *,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """notes: where to note which files are in hand, so that one that kills the process does so once.

        say: told in a line when a GPU that was meant to be used cannot be, or is given up.
        """
        self._threads = threads
        self._tools = tools
        self._notes = notes
        self._say = say
        self._gpu: GpuHashing | None = None

    @property
    def uses_gpu(self) -> bool:
        """Whether one took part, as far as that is known by now."""
        return self._gpu is not None and self._gpu.took_part

    def results(self, work: Iterable[Work], expected_bytes: int | None = None) -> Generator[Result, None, None]:
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  brings `logging` along
        from queue import SimpleQueue  # noqa: PLC0415

        cancel = Event()
        finished: SimpleQueue[Future[Result]] = SimpleQueue()
        in_hand = InHand(self._notes, self._threads) if self._notes is not None else None

        def read(item: Work, made: Made | None) -> TrackRecord | LeftOut:
            if made is not None:
                result = record_of(item.path, item.root, tools=self._tools, blake3=made.digest, cancel=cancel)
                if made.is_of(item.path):
                    return result
            # It changed between two readings: digests of two states identify nothing that ever existed.
            return record_of(item.path, item.root, tools=self._tools, cancel=cancel)

        def one(item: Work, made: Made | None) -> Result:
            if in_hand is None:
                return item, read(item, made)
            if in_hand.is_suspect(item.path):
                result = record_apart(item.path, item.root, tools=self._tools, cancel=cancel)
                in_hand.clear(item.path)
                return item, result
            with in_hand.hold(item.path):
                return item, read(item, made)

        pool = ThreadPoolExecutor(self._threads)
        in_flight = 0
        complete = False
        try:
            with closing(self._hashed(work, expected_bytes)) as hashed:
                for item, made in hashed:
                    pool.submit(one, item, made).add_done_callback(finished.put)
                    in_flight += 1
                    if in_flight >= self._threads * AHEAD_PER_WORKER:
                        yield finished.get().result()
                        in_flight -= 1
            while in_flight:
                yield finished.get().result()
                in_flight -= 1
            complete = True
        finally:
            cancel.set()
            pool.shutdown(wait=True, cancel_futures=True)
            if in_hand is not None:
                in_hand.close(complete=complete)

    def _hashed(
        self, work: Iterable[Work], expected_bytes: int | None
    ) -> Generator[tuple[Work, Made | None], None, None]:
        """Each item, with its BLAKE3 where a GPU takes part. Without a calibration nothing of that is imported."""
        if not is_any_calibrated():
            yield from ((item, None) for item in work)
            return
        from catalog.gpu import GpuHashing  # noqa: PLC0415
        from kernels.dispatch import open_best  # noqa: PLC0415

        with open_best(threads=self._threads, expected_bytes=expected_bytes, say=self._say) as hasher:
            self._gpu = GpuHashing(hasher)
            yield from self._gpu.each(work, lambda item: item.path)

    def describe(self) -> Mapping[str, Any]:
        row: dict[str, Any] = {"name": "local", "threads": self._threads}
        if self._gpu is None:
            return row | {"backend": "cpu", "why": "threads of this machine hash on its processors"}
        return row | {"backend": "gpu and cpu" if self.uses_gpu else "cpu"} | self._gpu.report
