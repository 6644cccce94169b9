"""The mailbox: last results are handed on at once and take along what waits; others wait for company, but not long."""

from __future__ import annotations

import asyncio

import pytest

from consensus.types import Digest
from node.rpc.mailbox import Mailbox
from node.rpc.types import SubmissionResult, SubmissionState

NEVER_S = 3600.0


def result(number: int, state: SubmissionState) -> SubmissionResult:
    return SubmissionResult(digest=Digest(number.to_bytes(32, "big")), state=state)


def accepted(number: int) -> SubmissionResult:
    return result(number, SubmissionState.ACCEPTED)


def final(number: int) -> SubmissionResult:
    return result(number, SubmissionState.FINAL)


def run(scenario: object) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await scenario()  # type: ignore[operator]

    asyncio.run(bounded())


def test_without_patience_every_result_is_handed_on_at_once() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        mailbox.put(accepted(1))
        assert await mailbox.take(10) == [accepted(1)]

    run(scenario)


def test_a_last_result_hurries_those_that_wait_before_it() -> None:
    async def scenario() -> None:
        mailbox = Mailbox(NEVER_S)
        for _ in range(2):  # the second round begins as patient as the first
            mailbox.put(accepted(1))
            mailbox.put(accepted(2))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(mailbox.take(10), 0.05)
            mailbox.put(final(1))
            assert await mailbox.take(10) == [accepted(1), accepted(2), final(1)]

    run(scenario)


def test_patience_ends() -> None:
    async def scenario() -> None:
        mailbox = Mailbox(0.01)
        mailbox.put(accepted(1))
        mailbox.put(accepted(2))
        assert await mailbox.take(10) == [accepted(1), accepted(2)]

    run(scenario)


def test_what_one_answer_does_not_hold_is_not_left_behind() -> None:
    async def scenario() -> None:
        mailbox = Mailbox(NEVER_S)
        for number in range(5):
            mailbox.put(final(number))
        assert [len(await mailbox.take(2)) for _ in range(3)] == [2, 2, 1]

    run(scenario)
