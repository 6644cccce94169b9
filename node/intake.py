"""The bridge between the gRPC thread and the loop: submissions in, results and status out, neither ever waiting."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import trio

from consensus.errors import ConflictingCertificates, ForeignOwnVote, RequestError
from consensus.events import EngineStatus
from consensus.pacemaker import LEADER_DELTAS, VIEW_DELTAS
from ledger.catalogue import CatalogueHeader
from node.bodies import check_body
from node.fetching import BLOB_BATCH
from node.latency import Stillness, Stopwatch
from node.loop import Loop
from node.mempool import Overloaded
from node.rpc.door import refusal_of
from node.rpc.types import (
    NodeLive,
    OnResult,
    PeerLive,
    SubmissionResult,
    SubmissionState,
    SubmittedStatement,
)
from node.submissions import duplicate

log = logging.getLogger(__name__)

HANDED_OVER_MAX = 4_096
"""Statements between the gRPC thread and the loop."""
BODY_BYTES_MAX = 128 * 2**20
"""Catalogue bodies being checked at once."""


_Batch = tuple[tuple[SubmittedStatement, ...], OnResult]


class Door:
    """Implements node.rpc.types.Intake. `submit` and `status` run on the gRPC thread, everything else on trio's."""

    def __init__(
        self,
        loop: Loop,
        nursery: trio.Nursery,
        connected: Callable[[], frozenset[str]],
        counters: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """connected: members that can be reached now. counters: of the network, by name (see `NodeLive.counters`)."""
        self._loop = loop
        self._nursery = nursery
        self._connected = connected
        self._counters = counters
        self._stopwatch = Stopwatch(trio.current_time)
        self._refused_busy = 0
        self._stillness = Stillness()
        self._token = trio.lowlevel.current_trio_token()
        # At most one item for each statement handed over: it cannot be full.
        self._send, self._receive = trio.open_memory_channel[_Batch](HANDED_OVER_MAX)
        self._lock = threading.Lock()  # for the two counters, which both threads change
        self._handed_over = 0
        self._body_bytes = 0
        now = trio.current_time()
        self._view_seen = self._final_seen = (-1, now)  # a view, and since when; the latter while work waits for more
        self._status = self._snapshot()

    # ---- on the gRPC thread ------------------------------------------------------------------------------------------

    def submit(self, batch: Sequence[SubmittedStatement], on_result: OnResult) -> None:
        """Takes the whole batch or nothing of it. batch: one statement or more. Raises: Overloaded."""
        assert batch, "an empty batch has nobody to answer to"
        body_bytes = sum(s.blob_bytes for s in batch)
        with self._lock:
            if self._handed_over + len(batch) > HANDED_OVER_MAX:
                self._refused_busy += len(batch)
                raise Overloaded("statements", f"{self._handed_over} being taken in", f"at most {HANDED_OVER_MAX}")
            if body_bytes and self._body_bytes + body_bytes > BODY_BYTES_MAX:
                self._refused_busy += len(batch)
                raise Overloaded("chunks", f"{self._body_bytes} bytes being checked", f"at most {BODY_BYTES_MAX} bytes")
            self._handed_over += len(batch)
            self._body_bytes += body_bytes
        try:
            # Only into the channel: what a callback of trio's own raises cannot be caught anywhere.
            self._token.run_sync_soon(self._send.send_nowait, (tuple(batch), on_result))
        except trio.RunFinishedError:
            for submitted in batch:
                self._taken(submitted)
            raise Overloaded("node", "stopping", "a running node") from None

    def status(self) -> NodeLive:
        """The snapshot of the last `refresh`."""
        return self._status

    # ---- on trio's thread --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Takes in what is handed over, in order, for ever. Raises: LocalError, where the store cannot go on."""
        async for batch, on_result in self._receive:
            self._take(batch, on_result)

    def _take(self, batch: tuple[SubmittedStatement, ...], on_result: OnResult) -> None:
        for submitted in batch:
            if submitted.blob_bytes:
                self._nursery.start_soon(self._take_catalogue, submitted, on_result)
            else:
                self._taken(submitted)
                self._enter(submitted, (), on_result)

    async def _take_catalogue(self, submitted: SubmittedStatement, on_result: OnResult) -> None:
        """A catalogue's claims are checked beside the loop, and its body is on disk before it is accepted."""
        statement = submitted.statement
        assert isinstance(statement.content, CatalogueHeader), "only a catalogue comes with a body"
        try:
            if self._recorded(submitted, on_result):
                return
            claims = await check_body(statement.content, submitted.manifest, submitted.chunks)
            blobs = (submitted.manifest, *submitted.chunks)
            for start in range(0, len(blobs), BLOB_BATCH):  # a commit must not wait until 32 MiB are on disk
                await trio.to_thread.run_sync(self._loop.store.put_blobs, blobs[start : start + BLOB_BATCH])
            self._enter(submitted, claims, on_result)
        except RequestError as error:
            on_result(_refused(submitted, error))
        finally:
            self._taken(submitted)

    def _taken(self, submitted: SubmittedStatement) -> None:
        with self._lock:
            self._handed_over -= 1
            self._body_bytes -= submitted.blob_bytes

    def _enter(self, submitted: SubmittedStatement, claims: tuple[bytes, ...], on_result: OnResult) -> None:
        if self._recorded(submitted, on_result):
            return
        try:
            self._loop.accept(submitted.statement, claims, self._stopwatch.timed(on_result))
        except RequestError as error:
            if isinstance(error, Overloaded):
                with self._lock:
                    self._refused_busy += 1
            on_result(_refused(submitted, error))

    def _recorded(self, submitted: SubmittedStatement, on_result: OnResult) -> bool:
        index = self._loop.store.index_of_statement(submitted.statement.digest)
        if index is None:
            return False
        on_result(duplicate(submitted.statement.digest, index, self._loop.store))
        return True

    def refresh(self) -> None:
        """Renews what `status` answers; called now and then by the node."""
        self._stillness.look(trio.current_time())
        self._status = self._snapshot()

    def _snapshot(self) -> NodeLive:
        loop = self._loop
        status = loop.core.status()
        connected = self._connected()
        validators = loop.epoch.roster.validator_members()
        index = loop.epoch.index(loop.member)
        now = trio.current_time()
        if status.view != self._view_seen[0]:
            self._view_seen = (status.view, now)
        waits = bool(len(loop.mempool) or status.pending_payloads or status.missing_payloads)
        if status.finalized_view != self._final_seen[0] or not waits:
            self._final_seen = (status.finalized_view, now)
        return NodeLive(
            consensus_running=True,
            view=status.view,
            leader=validators[status.leader].id,
            finalized_view=status.finalized_view,
            recovering=status.recovering,
            pending_statements=len(loop.mempool),
            pending_payloads=status.pending_payloads,
            missing_payloads=status.missing_payloads,
            peers=tuple(
                PeerLive(
                    member=m.id,
                    connected=m.id in connected,
                    last_view=status.last_heard[i],
                    boot_generation=loop.generations.get(m.id, 0),
                    rejected=loop.rejected[m.id],
                    last_vote=_vote_name(status, i),
                    timeouts=_timeouts(status, i),
                )
                for i, m in enumerate(validators)
                if m.id != loop.member
            ),
            quorum=loop.epoch.roster.quorum,
            delta_ms=status.delta_ms,
            leader_timeout_ms=LEADER_DELTAS * status.delta_ms,
            view_timeout_ms=VIEW_DELTAS * status.delta_ms,
            view_age_ms=round((now - self._view_seen[1]) * 1000),
            waiting_ms=round((now - self._final_seen[1]) * 1000),
            boot_generation=loop.greetings.generation,
            epoch=loop.epoch.epoch,
            last_vote=_vote_name(status, index),
            timeouts=_timeouts(status, index),
            timeouts_in_row=status.timeouts_in_row,
            missing_certificate=status.missing_certificate or 0,
            missing_block=status.missing_block.hex() if status.missing_block else "",
            waits_for=loop.stands_still() or loop.epoch.why_it_follows() or status.waits_for or "",
            part=loop.epoch.part.value,
            clock_behind_ms=max(0, loop.store.head().block.timestamp_ms - time.time_ns() // 1_000_000),
            stood_still_ms=self._stillness.longest_ms(),
            counters=self._counts(),
            finality=self._stopwatch.latencies(),
        )

    def _counts(self) -> dict[str, int]:
        alarms = self._loop.alarms
        return {
            **self._counters(),
            "refused_busy": self._refused_busy,
            "conflicting_certificates": alarms[ConflictingCertificates],
            "foreign_own_votes": alarms[ForeignOwnVote],
        }


def _vote_name(status: EngineStatus, validator: int | None) -> str:
    known = validator is not None and validator < len(status.last_votes)
    kind = status.last_votes[validator] if validator is not None and known else None
    return "" if kind is None else kind.name.lower()


def _timeouts(status: EngineStatus, validator: int | None) -> int:
    return status.timeouts[validator] if validator is not None and validator < len(status.timeouts) else 0


def _refused(submitted: SubmittedStatement, error: RequestError) -> SubmissionResult:
    return SubmissionResult(digest=submitted.statement.digest, state=SubmissionState.REFUSED, refusal=refusal_of(error))
