"""Statements accepted here and not yet final, and when to cut them into a payload (design D3). Time is passed in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from consensus.errors import RequestError
from consensus.types import Digest
from ledger.payload import PAYLOAD_BYTES_AIM, STATEMENT_OVERHEAD_BYTES, STATEMENTS_MAX
from ledger.statement import Statement

PENDING_STATEMENTS_MAX = 16_384
PENDING_BYTES_MAX = 128 * 2**20
"""Queued statements and the catalogue bodies kept in memory with them."""
PAYLOAD_BODIES_BYTES_AIM = 8 * 2**20
"""Catalogue bodies of one payload, where several are queued: a payload is voted on once all of its are fetched and
checked, and while others do that, the next one can be cut."""
CUT_WAIT_MS = 20
"""Longest wait for company while another payload of this node is on its way."""
OUTSTANDING_PAYLOADS_MAX = 8
"""Own payloads cut and not yet final; more would only lengthen the queue in front of everybody."""
RETRY_AFTER_MS = 250


class Overloaded(RequestError):
    """The queue is full; nothing was taken. retry_after_ms: when to come back."""

    code = "OVERLOADED"

    def __init__(self, field: str, value: str, expected: str, retry_after_ms: int = RETRY_AFTER_MS) -> None:
        super().__init__(f"{field}: {value}: expected {expected}; nothing was taken, retry in {retry_after_ms} ms")
        self.field = field
        self.value = value
        self.expected = expected
        self.retry_after_ms = retry_after_ms


@dataclass(slots=True)
class _Waiting:
    statement: Statement
    since_ms: int
    body_bytes: int


class Mempool:
    """Invariants: (1) a statement is queued or outstanding at most once; (2) both are within their bounds."""

    def __init__(self) -> None:
        self._queue: OrderedDict[Digest, _Waiting] = OrderedDict()
        self._queued_bytes = 0
        self._body_bytes = 0
        self._outstanding: dict[Digest, tuple[Digest, ...]] = {}
        self._in_payload: set[Digest] = set()

    def __len__(self) -> int:
        return len(self._queue) + len(self._in_payload)

    def holds(self, statement: Digest) -> bool:
        return statement in self._queue or statement in self._in_payload

    def queued(self) -> tuple[Statement, ...]:
        """Those that no payload carries yet, oldest first."""
        return tuple(waiting.statement for waiting in self._queue.values())

    def add(self, statement: Statement, now_ms: int, body_bytes: int = 0) -> None:
        """Queues a valid statement that is not held yet. body_bytes: what its catalogue's claims take in memory.

        Raises: Overloaded, leaving the queue as it was.
        """
        assert not self.holds(statement.digest), "the caller asks `holds` first and joins the waiters"
        if len(self) >= PENDING_STATEMENTS_MAX:
            raise Overloaded("statements", f"{len(self)} pending", f"fewer than {PENDING_STATEMENTS_MAX}")
        pending = self._queued_bytes + self._body_bytes
        if pending + len(statement.raw) + body_bytes > PENDING_BYTES_MAX:
            raise Overloaded("statements", f"{pending} bytes pending", f"at most {PENDING_BYTES_MAX} bytes")
        self._queue[statement.digest] = _Waiting(statement, now_ms, body_bytes)
        self._queued_bytes += len(statement.raw)
        self._body_bytes += body_bytes

    def cut_due_ms(self) -> int | None:
        """Monotonic time at which `cut` will have something; None where nothing waits or too much is outstanding."""
        if not self._queue or len(self._outstanding) >= OUTSTANDING_PAYLOADS_MAX:
            return None
        oldest = next(iter(self._queue.values())).since_ms
        enough = self._queued_bytes >= PAYLOAD_BYTES_AIM or self._body_bytes >= PAYLOAD_BODIES_BYTES_AIM
        if enough or not self._outstanding or len(self._queue) >= STATEMENTS_MAX:
            return oldest
        return oldest + CUT_WAIT_MS

    def cut(self, now_ms: int) -> tuple[Statement, ...]:
        """The statements for the next payload, oldest first; empty where it is not due. Follow with `sent`."""
        due = self.cut_due_ms()
        if due is None or now_ms < due:
            return ()
        taken: list[Statement] = []
        size = bodies = 0
        while self._queue and len(taken) < STATEMENTS_MAX:
            waiting = next(iter(self._queue.values()))
            head = waiting.statement
            bodies += waiting.body_bytes
            if taken and (size + len(head.raw) > PAYLOAD_BYTES_AIM or bodies > PAYLOAD_BODIES_BYTES_AIM):
                break
            self._queue.popitem(last=False)
            self._leave(waiting)
            taken.append(head)
            size += len(head.raw) + STATEMENT_OVERHEAD_BYTES
        return tuple(taken)

    def sent(self, payload: Digest, statements: Iterable[Statement]) -> None:
        """Remembers what `payload` carries until it is settled."""
        digests = tuple(s.digest for s in statements)
        self._outstanding[payload] = digests
        self._in_payload.update(digests)

    def settled(self, payload: Digest) -> None:
        """`payload` is final (whoever cut it): what it carried is no longer pending here."""
        self._in_payload.difference_update(self._outstanding.pop(payload, ()))

    def drop(self, statement: Digest) -> None:
        """`statement` became final through another node's payload: it need not be sent again."""
        waiting = self._queue.pop(statement, None)
        if waiting is not None:
            self._leave(waiting)

    def _leave(self, waiting: _Waiting) -> None:
        self._queued_bytes -= len(waiting.statement.raw)
        self._body_bytes -= waiting.body_bytes
