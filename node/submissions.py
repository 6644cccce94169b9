"""Who waits for which statement, and what they are told when it is decided."""

from __future__ import annotations

import logging
from typing import Protocol

from consensus.types import Digest
from ledger.apply import Receipt
from node.rpc.types import OnResult, Refusal, SubmissionResult, SubmissionState

log = logging.getLogger(__name__)

SAME_STATEMENT_CODES = frozenset({"DUPLICATE_STATEMENT"})
"""Refusals that only say: this very statement stands in the log already."""


class StoredEntries(Protocol):
    """What is asked of the store about a recorded statement."""

    def entry_position(self, index: int) -> tuple[int, int]:
        """(height, block time in ms) of the leaf at `index`."""
        ...


class Submissions:
    """Callbacks by statement digest. Bounded by the mempool and the callers' own limits."""

    def __init__(self) -> None:
        self._waiting: dict[Digest, list[OnResult]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, statement: Digest, on_result: OnResult) -> None:
        """Has `on_result` told when the statement is final or refused at execution."""
        self._waiting.setdefault(statement, []).append(on_result)

    def recorded(self, statement: Digest, index: int, height: int, time_ms: int) -> None:
        self._tell(
            SubmissionResult(
                digest=statement, state=SubmissionState.FINAL, index=index, height=height, block_time_ms=time_ms
            )
        )

    def executed_in_vain(self, receipt: Receipt, store: StoredEntries) -> None:
        """Execution refused it: recorded before (by another way in), or in conflict with what was."""
        if receipt.statement in self._waiting:
            self._tell(result_of(receipt, store))

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
    if receipt.code in SAME_STATEMENT_CODES:
        return duplicate(receipt.statement, receipt.earlier_index, store)
    return SubmissionResult(
        digest=receipt.statement,
        state=SubmissionState.REFUSED,
        refusal=Refusal(code=receipt.code, field=receipt.field, value=receipt.value, expected=receipt.expected),
    )
