"""When the client tries again and when it gives up, by a clock that the test moves."""

from __future__ import annotations

import pytest

from cli import client
from cli.client import NodeError, NodeUnreachable, Submission, _messages, _Trying


class Clock:
    """Stands in for the time module."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(client, "time", clock)
    return clock


def error(status: str, code: str, retry_after_ms: int | None = None) -> NodeError:
    return NodeError("x", status=status, code=code, field="", value="", expected="", retry_after_ms=retry_after_ms)


SILENCE = error("UNAVAILABLE", "UNAVAILABLE")
"""What gRPC says where nothing listens: no details."""
OVERLOADED = error("RESOURCE_EXHAUSTED", "OVERLOADED", 700)


def test_node_that_says_when_is_asked_again_then_and_not_before(clock: Clock) -> None:
    _Trying("a", 30).wait(OVERLOADED)
    assert clock.slept == [0.7]


def test_pauses_grow_while_nobody_answers_and_shrink_again_after_an_answer(clock: Clock) -> None:
    trying = _Trying("a", None)
    for _ in range(4):
        trying.wait(SILENCE)
    assert clock.slept == sorted(clock.slept)
    assert clock.slept[3] > 2 * clock.slept[0]
    trying.progress()
    trying.wait(SILENCE)
    assert clock.slept[4] <= client.BACKOFF_S


def test_silence_is_borne_from_the_first_failure_on_not_from_the_last_answer(clock: Clock) -> None:
    trying = _Trying("a", None)
    clock.now += 3600
    trying.wait(SILENCE)
    clock.now += client.UNREACHABLE_S + 1
    with pytest.raises(NodeUnreachable, match="no node answers at a"):
        trying.wait(SILENCE)


@pytest.mark.parametrize(
    "refused",
    [
        error("INVALID_ARGUMENT", "MALFORMED_STATEMENT"),
        error("DEADLINE_EXCEEDED", "NOT_YET_FINAL"),
        error("RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"),
    ],
)
def test_error_that_trying_again_does_not_mend_is_raised_at_once(clock: Clock, refused: NodeError) -> None:
    with pytest.raises(NodeError) as caught:
        _Trying("a", 30).wait(refused)
    assert caught.value is refused
    assert clock.slept == []


def test_pause_that_would_pass_the_deadline_is_not_taken(clock: Clock) -> None:
    with pytest.raises(NodeError) as caught:
        _Trying("a", 0.5).wait(OVERLOADED)
    assert caught.value is OVERLOADED
    with pytest.raises(NodeUnreachable):
        _Trying("a", 0.01).wait(SILENCE)


def test_messages_keep_to_the_streams_bounds_and_to_the_order() -> None:
    catalogue = Submission(statement=b"c" * 100, chunks=tuple(bytes([n]) * 65_536 for n in range(40)))
    singles = [Submission(statement=bytes([n]) * 20_000) for n in range(130)]
    messages = list(_messages([singles[0], catalogue, *singles[1:]]))
    assert all(m.ByteSize() <= 2 * 2**20 and len(m.statements) <= 64 for m in messages)
    assert [s for m in messages for s in m.statements] == [s.statement for s in (singles[0], catalogue, *singles[1:])]
    chunks_before = 0
    for message in messages:
        chunks_before += len(message.chunks)
        if catalogue.statement in message.statements:
            assert chunks_before == 40
