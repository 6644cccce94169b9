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

    def __init__(self, patience_s: float = 0.0) -> None:
        """patience_s: how long results that are not a statement's last may wait for others to go with."""
        self._patience_s = patience_s
        self._hurried = False
        """Whether a last result is among those there."""
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._lock = threading.Lock()
        self._results: deque[SubmissionResult] = deque()

    def put(self, result: SubmissionResult) -> None:
        with self._lock:
            self._results.append(result)
            # One wake-up per batch: a commit of 500 statements must not write 500 times to the loop's self-pipe.
            hurry = result.ends or not self._patience_s
            wake = len(self._results) == 1 or (hurry and not self._hurried)
            self._hurried = self._hurried or hurry
        if wake:
            try:
                self._loop.call_soon_threadsafe(self._wake, hurry)
            except RuntimeError:
                return  # the server has stopped: its caller is gone, and the statement's fate does not depend on it

    def _wake(self, hurry: bool) -> None:
        if hurry:
            self._ready.set()
        else:
            self._loop.call_later(self._patience_s, self._ready.set)

    async def take(self, results_max: int) -> list[SubmissionResult]:
        """Waits for a result, then gives all that are there, in order, at most `results_max`; seldom none."""
        await self._ready.wait()
        with self._lock:
            taken = [self._results.popleft() for _ in range(min(results_max, len(self._results)))]
            if not self._results:
                self._ready.clear()
                self._hurried = False
        return taken

    def empty(self) -> bool:
        with self._lock:
            return not self._results
