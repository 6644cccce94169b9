"""Who waits for a statement, and what each outcome of its execution is called towards them."""

from __future__ import annotations

import pytest

from consensus.types import Digest
from ledger.apply import Outcome, Reason, Receipt
from node.mempool import Overloaded
from node.rpc.types import SubmissionState
from node.submissions import WAITERS_PER_STATEMENT_MAX, Submissions, duplicate, result_of
from tests.node.nodes import Results

ONE, TWO = (Digest(bytes([n]) * 32) for n in (1, 2))


class Entries:
    """A store in which leaf n stands at height n + 100."""

    def entry_position(self, index: int) -> tuple[int, int]:
        return index + 100, index + 1_000


def receipt(reason: Reason = Reason.NONE, *, statement: Digest = ONE, index: int = 5) -> Receipt:
    outcome = Outcome.DUPLICATE if reason else Outcome.RECORDED
    return Receipt(statement=statement, outcome=outcome, index=index, height=9, block_time_ms=99, reason=reason)


def test_recorded_statement_is_final_in_its_block() -> None:
    got = result_of(receipt(), Entries())
    assert (got.state, got.index, got.height, got.block_time_ms) == (SubmissionState.FINAL, 5, 9, 99)


@pytest.mark.parametrize("reason", [Reason.STATEMENT, Reason.SIGNED, Reason.CATALOGUE])
def test_same_thing_said_again_is_a_duplicate_of_the_earlier_leaf(reason: Reason) -> None:
    got = result_of(receipt(reason), Entries())
    assert (got.state, got.index) == (SubmissionState.DUPLICATE, 5)
    assert (got.height, got.block_time_ms) == (105, 1_005), (
        "of the earlier leaf, not of the block that refused this one"
    )
    assert got == duplicate(ONE, 5, Entries())


def test_used_reference_is_refused_with_what_to_mend() -> None:
    got = result_of(receipt(Reason.CLIENT_REF), Entries())
    assert got.state is SubmissionState.REFUSED
    assert got.refusal is not None
    assert (got.refusal.code, got.refusal.field) == ("CLIENT_REF_USED", "content.ref")
    assert "leaf 5" in got.refusal.value
    assert got.refusal.retry_after_ms is None, "trying again cannot help"


def test_every_reason_has_an_answer() -> None:
    assert {result_of(receipt(reason), Entries()).ends for reason in Reason} == {True}


def test_all_who_wait_are_told_once_and_forgotten() -> None:
    waiting, first, second, other = Submissions(), Results(), Results(), Results()
    waiting.wait(ONE, first)
    waiting.wait(ONE, second)
    waiting.wait(TWO, other)
    waiting.executed(receipt(), Entries())
    waiting.executed(receipt(Reason.STATEMENT), Entries())
    assert first.states == second.states == [SubmissionState.FINAL]
    assert other.all == []
    assert len(waiting) == 1


def test_receipt_nobody_waits_for_reads_nothing() -> None:
    class Untouched:
        def entry_position(self, index: int) -> tuple[int, int]:
            pytest.fail(f"read leaf {index} for nobody")

    Submissions().executed(receipt(Reason.STATEMENT), Untouched())


def test_room_is_per_statement() -> None:
    waiting = Submissions()
    for _ in range(WAITERS_PER_STATEMENT_MAX):
        waiting.check_room(ONE)
        waiting.wait(ONE, Results())
    with pytest.raises(Overloaded) as caught:
        waiting.check_room(ONE)
    assert caught.value.retry_after_ms > 0
    waiting.check_room(TWO)
    waiting.executed(receipt(), Entries())
    waiting.check_room(ONE)
