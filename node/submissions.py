"""Who waits for which statement, and what they are told when it is decided."""

from __future__ import annotations

from typing import Protocol

from consensus.errors import RequestError
from consensus.types import Digest
from ledger.apply import Reason, Receipt
from node.mempool import Overloaded
from node.rpc.door import refusal_of
from node.rpc.types import OnResult, Refusal, SubmissionResult, SubmissionState

WAITERS_PER_STATEMENT_MAX = 64
"""Callers told about one statement. Who gave up waiting counts until it is decided: nobody says that they left."""


class StoredEntries(Protocol):
    """What is asked of the store about a recorded statement."""

    def entry_position(self, index: int) -> tuple[int, int]:
        """(height, block time in ms) of the leaf at `index`."""
        ...


class Submissions:
    """Callbacks by statement digest: as many statements as the mempool holds, WAITERS_PER_STATEMENT_MAX for each."""

    def __init__(self) -> None:
        self._waiting: dict[Digest, list[OnResult]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def check_room(self, statement: Digest) -> None:
        """Raises: Overloaded where no more may wait for this statement."""
        waiting = len(self._waiting.get(statement, ()))
        if waiting >= WAITERS_PER_STATEMENT_MAX:
            raise Overloaded("statement", f"{waiting} waiting for it", f"fewer than {WAITERS_PER_STATEMENT_MAX}")

    def wait(self, statement: Digest, on_result: OnResult) -> None:
        """Has `on_result` told when the statement is final or refused at execution."""
        self._waiting.setdefault(statement, []).append(on_result)

    def executed(self, receipt: Receipt, store: StoredEntries) -> None:
        """A final block ordered the statement: it stands in the log, or the log refused it."""
        if receipt.statement in self._waiting:
            self._tell(result_of(receipt, store))

    def refuse(self, statement: Digest, error: RequestError) -> None:
        """The statement was accepted, and cannot be ordered any more."""
        if statement in self._waiting:
            self._tell(
                SubmissionResult(digest=statement, state=SubmissionState.REFUSED, refusal=refusal_of(error))
            )  # fmt: skip

    def refuse_all(self, error: RequestError) -> None:
        """As `refuse`, of every statement that somebody waits for."""
        for statement in list(self._waiting):
            self.refuse(statement, error)

    def _tell(self, result: SubmissionResult) -> None:
        for on_result in self._waiting.pop(result.digest, ()):
            on_result(result)


def duplicate(statement: Digest, index: int, store: StoredEntries) -> SubmissionResult:
    """Says that this statement stands in the log already, and where."""
    height, time_ms = store.entry_position(index)
    return SubmissionResult(
        digest=statement, state=SubmissionState.DUPLICATE, index=index, height=height, block_time_ms=time_ms
    )


def result_of(receipt: Receipt, store: StoredEntries) -> SubmissionResult:
    """A receipt as an answer to whoever submitted."""
    match receipt.reason:
        case Reason.NONE:
            return SubmissionResult(
                digest=receipt.statement,
                state=SubmissionState.FINAL,
                index=receipt.index,
                height=receipt.height,
                block_time_ms=receipt.block_time_ms,
            )
        case Reason.STATEMENT | Reason.SIGNED | Reason.CATALOGUE:
            # The same thing said again: what the caller wants is on record, and this says where.
            return duplicate(receipt.statement, receipt.index, store)
        case Reason.CLIENT_REF:
            refusal = Refusal(
                code="CLIENT_REF_USED",
                field=receipt.field,
                value=f"used by leaf {receipt.index}",
                expected=receipt.expected,
            )
            return SubmissionResult(digest=receipt.statement, state=SubmissionState.REFUSED, refusal=refusal)
        case _:
            refusal = Refusal(code=receipt.code, field=receipt.field, value=receipt.value, expected=receipt.expected)
            return SubmissionResult(digest=receipt.statement, state=SubmissionState.REFUSED, refusal=refusal)
