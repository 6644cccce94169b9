"""Stand-ins for the loop behind the submit service, driven by the test: what it says and when is decided there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from consensus.types import Digest
from node.mempool import Overloaded
from node.rpc.types import NodeLive, OnResult, PeerLive, SubmissionResult, SubmissionState, SubmittedStatement

LIVE = NodeLive(
    consensus_running=True,
    view=7,
    leader="court",
    finalized_view=6,
    recovering=False,
    pending_statements=3,
    pending_payloads=2,
    missing_payloads=1,
    peers=(PeerLive(member="label", connected=True, last_view=7),),
)


def accepted(digest: Digest) -> SubmissionResult:
    return SubmissionResult(digest=digest, state=SubmissionState.ACCEPTED)


def final(digest: Digest, index: int) -> SubmissionResult:
    return SubmissionResult(digest=digest, state=SubmissionState.FINAL, index=index, height=9, block_time_ms=1234)


class HeldIntake:
    """Accepts, and keeps what it was given; `settle` says what became of it. May be told to be full."""

    def __init__(self) -> None:
        self.taken: list[SubmittedStatement] = []
        self.batches: list[int] = []
        self.refusals_left = 0
        self._arrived = threading.Condition()
        self._waiting: list[tuple[SubmittedStatement, OnResult]] = []

    def submit(self, batch: Sequence[SubmittedStatement], on_result: OnResult) -> None:
        with self._arrived:
            if self.refusals_left:
                self.refusals_left -= 1
                raise Overloaded("statements", "full", "room", retry_after_ms=10)
            self.batches.append(len(batch))
            for submitted in batch:
                on_result(accepted(submitted.statement.digest))
                self.taken.append(submitted)
                self._waiting.append((submitted, on_result))
            self._arrived.notify_all()

    def status(self) -> NodeLive:
        return LIVE

    def wait_for(self, count: int) -> None:
        """Until `count` statements have come in all."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.taken) >= count, timeout=10), f"{len(self.taken)} came"

    def settle(self, result: Callable[[Digest], SubmissionResult]) -> None:
        """Ends everything that waits, with what `result` says of each, from this (another) thread."""
        with self._arrived:
            waiting, self._waiting = self._waiting, []
        for submitted, on_result in waiting:
            on_result(result(submitted.statement.digest))

    def settle_one_by_one(self, result: Callable[[Digest, int], SubmissionResult], *, pause_s: float) -> None:
        """From another thread, ends one of those that wait after every `pause_s`, until none has come for ten."""

        def run() -> None:
            for index in range(1_000):
                time.sleep(pause_s)
                with self._arrived:
                    if not self._arrived.wait_for(lambda: self._waiting, timeout=10):
                        return
                    submitted, on_result = self._waiting.pop(0)
                on_result(result(submitted.statement.digest, index))

        threading.Thread(target=run, daemon=True).start()


class FinalIntake(HeldIntake):
    """Everything becomes final at once, at the next index."""

    def submit(self, batch: Sequence[SubmittedStatement], on_result: OnResult) -> None:
        first = len(self.taken)
        super().submit(batch, on_result)
        for offset, submitted in enumerate(batch):
            on_result(final(submitted.statement.digest, first + offset))
