"""From the loop's thread to the gRPC thread: results pile up here, and one wake-up fetches all that are ready."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

from node.rpc.types import SubmissionResult


class Mailbox:
    """Results on their way to one caller. `put` from any thread; `take` on the event loop that made the mailbox.

    Its size is bounded by what the caller may have outstanding: at most two results a statement.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._lock = threading.Lock()
        self._results: deque[SubmissionResult] = deque()

    def put(self, result: SubmissionResult) -> None:
        with self._lock:
            self._results.append(result)
            # One wake-up per batch: a commit of 500 statements must not write 500 times to the loop's self-pipe.
            first = len(self._results) == 1
        if first:
            try:
                self._loop.call_soon_threadsafe(self._ready.set)
            except RuntimeError:
                return  # the server has stopped: its caller is gone, and the statement's fate does not depend on it

    async def take(self, results_max: int) -> list[SubmissionResult]:
        """Waits for a result, then gives all that are there, in order, at most `results_max`."""
        await self._ready.wait()
        with self._lock:
            taken = [self._results.popleft() for _ in range(min(results_max, len(self._results)))]
            if not self._results:
                self._ready.clear()
        return taken

    def empty(self) -> bool:
        with self._lock:
            return not self._results
