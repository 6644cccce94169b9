"""The submit methods inside the node process: one statement a call, or streams of batches with batched answers."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import Message

from consensus.errors import RequestError
from consensus.types import Digest
from node.mempool import Overloaded
from node.rosters import Rosters
from node.rpc.calls import Call, Context, decode
from node.rpc.door import ChunkBudget, Chunks, admit, refusal_of
from node.rpc.errors import InvalidRequest, NotYetFinal, TooLarge
from node.rpc.mailbox import Mailbox
from node.rpc.types import Intake, SubmissionResult, SubmissionState, SubmittedStatement
from node.rpc.wire import live_to_wire, result_to_wire
from protos import stretto_pb2 as pb

MESSAGE_STATEMENTS_MAX: Final = 64
MESSAGE_BYTES_MAX: Final = 2 * 2**20
STREAM_STATEMENTS_MAX: Final = 4096
"""Statements of one stream without their last answer written; beyond it, the stream is not read (flow control)."""
RESULTS_MESSAGE_MAX: Final = 1024
"""Results in one answer: about 100 KiB."""
ACCEPTED_WAIT_S: Final = 0.025
"""How long a stream's ACCEPTED waits for results to go with: a message costs node, reader and client half a millisecond
of CPU together, and who streams volume waits for what is final."""
DRAIN_SECONDS_MAX: Final = 60.0
"""How long a half-closed stream waits for the next of its outstanding results."""
OVERLOAD_SECONDS_MAX: Final = 30.0
"""How long a stream holds a batch that the loop has no room for, before it refuses it."""


@dataclass(slots=True)
class _Outstanding:
    copies: int = 1
    """How often this stream sent the statement before it was settled."""
    accepted: bool = False


class SubmissionService:
    """What the node process answers on its unix socket. One event loop owns it."""

    def __init__(self, rosters: Rosters, intake: Intake) -> None:
        self.rosters = rosters
        self.intake = intake
        self.budget = ChunkBudget()

    async def submit_statement(self, request: pb.SubmitStatementRequest, call: Call) -> Message:
        """Raises: what `admit` raises; InvalidRequest, TooLarge; Overloaded; NotYetFinal."""
        chunks = Chunks(self.budget)
        try:
            chunks.add(request.chunks)
            submitted = admit(request.statement, chunks, self.rosters.current)
        finally:
            unused = chunks.clear()
        if unused:
            raise InvalidRequest("chunks", f"{unused} that the statement does not name", "the catalogue's own, or none")

        mailbox = Mailbox()
        self.intake.submit((submitted,), mailbox.put)
        try:
            async with asyncio.timeout(call.remaining_s()):
                result = await _next_result(mailbox, wait=request.wait)
        except TimeoutError:
            raise NotYetFinal("statement", submitted.statement.digest.hex()) from None
        refusal = result.refusal
        if refusal is not None and refusal.retry_after_ms is not None:
            raise Overloaded(refusal.field, refusal.value, refusal.expected, refusal.retry_after_ms)
        return pb.SubmitStatementResponse(result=result_to_wire(result))

    async def submit_statements(self, requests: AsyncIterator[bytes], context: Context) -> None:
        await SubmissionStream(self, context).run(requests)

    async def node_status(self, _request: pb.NodeStatusRequest, _call: Call) -> Message:
        return live_to_wire(self.intake.status())


async def _next_result(mailbox: Mailbox, *, wait: bool) -> SubmissionResult:
    while True:
        for result in await mailbox.take(2):
            if result.ends or not wait:
                return result


async def _first(writer: asyncio.Task[None], other: asyncio.Task[None], *, seconds: float | None) -> bool:
    """Waits for `other`, at most `seconds`, then ends it; whether it had ended. Raises: what ended either of them.

    The writer never ends but by an error: its client went away.
    """
    try:
        await asyncio.wait((writer, other), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in (writer, other):
            if task.done():
                task.result()
        return other.done()
    finally:
        other.cancel()


class SubmissionStream:
    """One SubmitStatements call: reads while there is room, answers what is ready, ends when all is answered."""

    def __init__(self, service: SubmissionService, context: Context) -> None:
        self._service = service
        self._context = context
        self._mailbox = Mailbox(ACCEPTED_WAIT_S)
        self._chunks = Chunks(service.budget)
        self._outstanding: dict[Digest, _Outstanding] = {}
        self._unanswered = 0
        self._room = asyncio.Event()
        self._settled = asyncio.Event()

    async def run(self, requests: AsyncIterator[bytes]) -> None:
        """Raises: MalformedRequest, TooLarge, Overloaded for a message; NotYetFinal at the deadline or a slow end."""
        call = Call(self._context, None)
        writer = asyncio.create_task(self._write_results())
        reader = asyncio.create_task(self._read(requests))
        try:
            if await _first(writer, reader, seconds=call.remaining_s()):
                while self._unanswered:
                    remaining = call.remaining_s()
                    seconds = DRAIN_SECONDS_MAX if remaining is None else min(DRAIN_SECONDS_MAX, remaining)
                    if not await _first(writer, asyncio.create_task(self._answered_some()), seconds=seconds):
                        break
            if self._unanswered or not reader.done():
                raise NotYetFinal("statements", f"{self._unanswered} without their last result")
        finally:
            writer.cancel()
            reader.cancel()
            await asyncio.gather(writer, reader, return_exceptions=True)
            self._chunks.clear()

    async def _answered_some(self) -> None:
        before = self._unanswered
        while self._unanswered >= before:
            self._settled.clear()
            await self._settled.wait()

    # ---- in ----

    async def _read(self, requests: AsyncIterator[bytes]) -> None:
        async for data in requests:
            if len(data) > MESSAGE_BYTES_MAX:
                raise TooLarge("request", f"{len(data)} bytes", f"at most {MESSAGE_BYTES_MAX} bytes in one message")
            request = decode(pb.SubmitStatementsRequest, data)
            if len(request.statements) > MESSAGE_STATEMENTS_MAX:
                expected = f"at most {MESSAGE_STATEMENTS_MAX} in one message"
                raise TooLarge("statements", str(len(request.statements)), expected)
            self._chunks.add(request.chunks)
            while self._unanswered + len(request.statements) > STREAM_STATEMENTS_MAX:
                self._room.clear()
                await self._room.wait()
            await self._hand_over(self._admit_all(request.statements))
            # The loop's other calls get their turn between two messages.
            await asyncio.sleep(0)

    def _admit_all(self, statements: Sequence[bytes]) -> list[SubmittedStatement]:
        """Those to hand over; what the door refuses and what is outstanding already is answered or counted here."""
        batch: list[SubmittedStatement] = []
        for raw in statements:
            self._unanswered += 1
            digest = Digest(hashlib.sha256(raw).digest())
            known = self._outstanding.get(digest)
            if known is not None:
                known.copies += 1
                if known.accepted:
                    self._mailbox.put(SubmissionResult(digest=digest, state=SubmissionState.ACCEPTED))
                continue
            self._outstanding[digest] = _Outstanding()
            try:
                batch.append(admit(raw, self._chunks, self._service.rosters.current))
            except RequestError as error:
                self._refuse(digest, error)
        return batch

    async def _hand_over(self, batch: list[SubmittedStatement]) -> None:
        """Waits out an overload for a while: not reading on is how a stream tells its client to slow down."""
        if not batch:
            return
        give_up = asyncio.get_running_loop().time() + OVERLOAD_SECONDS_MAX
        while True:
            try:
                self._service.intake.submit(batch, self._mailbox.put)
            except Overloaded as error:
                if asyncio.get_running_loop().time() > give_up:
                    for submitted in batch:
                        self._refuse(submitted.statement.digest, error)
                    return
                await asyncio.sleep(error.retry_after_ms / 1000)
            else:
                return

    def _refuse(self, digest: Digest, error: RequestError) -> None:
        self._mailbox.put(SubmissionResult(digest=digest, state=SubmissionState.REFUSED, refusal=refusal_of(error)))

    # ---- out ----

    async def _write_results(self) -> None:
        while True:
            results = await self._mailbox.take(RESULTS_MESSAGE_MAX)
            answer: list[pb.SubmissionResult] = []
            ended = 0
            for result in results:
                copies = self._copies(result)
                answer.extend(result_to_wire(copy) for copy in copies)
                ended += sum(copy.ends for copy in copies)
            if answer:
                await self._context.write(pb.SubmitStatementsResponse(results=answer).SerializeToString())
            # Only what is written makes room: a client that does not read its answers is not read either.
            self._unanswered -= ended
            self._room.set()
            self._settled.set()

    def _copies(self, result: SubmissionResult) -> list[SubmissionResult]:
        """`result` once for each time the statement was sent; sent twice and final once, the second is a duplicate."""
        known = self._outstanding.get(result.digest)
        if known is None:
            return []
        if not result.ends:
            first, known.accepted = not known.accepted, True
            return [result] * (known.copies if first else 1)
        del self._outstanding[result.digest]
        if result.state is not SubmissionState.FINAL:
            return [result] * known.copies
        duplicate = SubmissionResult(
            digest=result.digest,
            state=SubmissionState.DUPLICATE,
            index=result.index,
            height=result.height,
            block_time_ms=result.block_time_ms,
        )
        return [result] + [duplicate] * (known.copies - 1)
