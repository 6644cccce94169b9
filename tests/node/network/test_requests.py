"""Requests and answers on the SYNC stream: ids, deadlines, limits on both sides."""

import math

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from consensus.errors import MalformedMessage
from node.network.requests import (
    REQUESTS_PER_PEER_MAX,
    RESPONSES_MAX,
    RESPONSES_PER_PEER_MAX,
    Requests,
    SyncKind,
    encode_sync,
    parse_sync,
)
from node.network.values import SYNC_BODY_BYTES_MAX, FrameTooLarge, NotConnected, RequestRefused, RequestTimedOut


@given(st.sampled_from(SyncKind), st.integers(1, 2**64 - 1), st.binary(min_size=1))
def test_sync_frames_round_trip(kind: SyncKind, request_id: int, body: bytes) -> None:
    request_id = 0 if kind is SyncKind.MESSAGE else request_id
    assert parse_sync(encode_sync(kind, request_id, body)) == (kind, request_id, body)


@given(st.binary(max_size=40))
def test_sync_garbage_is_parsed_or_refused(data: bytes) -> None:
    try:
        kind, request_id, body = parse_sync(data)
    except MalformedMessage:
        return
    assert encode_sync(kind, request_id, body) == data


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        (b"", "body"),
        (encode_sync(SyncKind.REQUEST, 1, b""), "body"),
        (b"\x04" + bytes(7) + b"\x01" + b"x", "kind"),
        (encode_sync(SyncKind.MESSAGE, 1, b"x"), "id"),
        (encode_sync(SyncKind.RESPONSE, 0, b"x"), "id"),
    ],
)
def test_sync_frame_no_correct_peer_sends_names_its_field(frame: bytes, field: str) -> None:
    with pytest.raises(MalformedMessage) as error:
        parse_sync(frame)
    assert error.value.field == field


class Wire:
    """What was sent, and whether it is taken."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, SyncKind, int, bytes]] = []
        self.events: list[trio.Event] = []
        self.accepts = True
        self.holds = False

    def send(self, member_id: str, body: bytes, taken: trio.Event | None) -> bool:
        if not self.accepts:
            return False
        self.sent.append((member_id, *parse_sync(body)))
        if taken is not None:
            self.events.append(taken)
            if not self.holds:
                taken.set()
        return True


async def test_response_reaches_its_request_among_several(autojump_clock: MockClock) -> None:
    wire = Wire()
    requests = Requests(wire.send)
    answers: dict[str, bytes] = {}

    async def ask(name: str) -> None:
        answers[name] = await requests.ask("a", name.encode(), 5)

    async with trio.open_nursery() as nursery:
        for name in ("one", "two", "three"):
            nursery.start_soon(ask, name)
        await wait_all_tasks_blocked()
        for _, kind, request_id, body in reversed(wire.sent):
            assert kind is SyncKind.REQUEST
            requests.receive("a", SyncKind.RESPONSE, request_id, body.upper(), nursery)
    assert answers == {"one": b"ONE", "two": b"TWO", "three": b"THREE"}


async def test_nobody_else_can_answer_and_a_second_answer_changes_nothing(autojump_clock: MockClock) -> None:
    wire = Wire()
    requests = Requests(wire.send)
    async with trio.open_nursery() as nursery:

        async def meddle() -> None:
            await wait_all_tasks_blocked()
            request_id = wire.sent[0][2]
            requests.receive("b", SyncKind.RESPONSE, request_id, b"forged", nursery)
            requests.receive("a", SyncKind.RESPONSE, request_id, b"true", nursery)
            requests.receive("a", SyncKind.RESPONSE, request_id, b"late", nursery)
            requests.receive("a", SyncKind.RESPONSE, 999, b"unasked", nursery)

        nursery.start_soon(meddle)
        assert await requests.ask("a", b"question", 5) == b"true"


async def test_unanswered_request_ends_at_its_deadline(autojump_clock: MockClock) -> None:
    requests = Requests(Wire().send)
    started = trio.current_time()
    with pytest.raises(RequestTimedOut, match="no answer within 5 s"):
        await requests.ask("a", b"question", 5)
    assert trio.current_time() - started == pytest.approx(5)


async def test_refusal_and_loss_are_told_apart(autojump_clock: MockClock) -> None:
    wire = Wire()
    requests = Requests(wire.send)
    async with trio.open_nursery() as nursery:

        async def refuse() -> None:
            await wait_all_tasks_blocked()
            requests.receive("a", SyncKind.REFUSAL, wire.sent[-1][2], b"busy", nursery)

        async def lose() -> None:
            await wait_all_tasks_blocked()
            requests.lost("b")
            requests.lost("a")

        nursery.start_soon(refuse)
        with pytest.raises(RequestRefused, match="busy"):
            await requests.ask("a", b"question", 5)
        nursery.start_soon(lose)
        with pytest.raises(NotConnected):
            await requests.ask("a", b"question", 5)
    wire.accepts = False
    with pytest.raises(NotConnected):
        await requests.ask("a", b"question", 5)


@pytest.mark.parametrize("size", [0, SYNC_BODY_BYTES_MAX + 1])
async def test_request_that_fits_no_frame_is_refused_at_once(size: int) -> None:
    with pytest.raises(FrameTooLarge):
        await Requests(Wire().send).ask("a", bytes(size), 5)


async def test_requests_to_one_peer_are_bounded_and_the_rest_wait(autojump_clock: MockClock) -> None:
    wire = Wire()
    requests = Requests(wire.send)
    async with trio.open_nursery() as nursery:
        for _ in range(REQUESTS_PER_PEER_MAX + 3):
            nursery.start_soon(requests.ask, "a", b"question", math.inf)
        nursery.start_soon(requests.ask, "b", b"question", math.inf)
        await wait_all_tasks_blocked()
        assert [each[0] for each in wire.sent].count("a") == REQUESTS_PER_PEER_MAX
        assert [each[0] for each in wire.sent].count("b") == 1
        first = next(request_id for member_id, _, request_id, _ in wire.sent if member_id == "a")
        requests.receive("a", SyncKind.RESPONSE, first, b"answer", nursery)
        await wait_all_tasks_blocked()
        assert [each[0] for each in wire.sent].count("a") == REQUESTS_PER_PEER_MAX + 1
        nursery.cancel_scope.cancel()


async def test_answering_is_bounded_per_peer_and_in_all(autojump_clock: MockClock) -> None:
    wire = Wire()
    requests = Requests(wire.send)
    release = trio.Event()

    async def respond(member_id: str, body: bytes) -> bytes:
        await release.wait()
        return body.upper()

    requests.set_responder(respond)
    async with trio.open_nursery() as nursery:
        for number in range(1, RESPONSES_PER_PEER_MAX + 2):
            requests.receive("flooder", SyncKind.REQUEST, number, b"q", nursery)
        assert wire.sent == [("flooder", SyncKind.REFUSAL, RESPONSES_PER_PEER_MAX + 1, b"busy")]
        for number in range(1, RESPONSES_MAX - RESPONSES_PER_PEER_MAX + 1):
            requests.receive(f"honest{number}", SyncKind.REQUEST, 1, b"q", nursery)
        assert len(wire.sent) == 1
        requests.receive("late", SyncKind.REQUEST, 1, b"q", nursery)
        assert wire.sent[-1] == ("late", SyncKind.REFUSAL, 1, b"busy")
        release.set()
    assert sum(kind is SyncKind.RESPONSE for _, kind, _, _ in wire.sent) == RESPONSES_MAX


async def test_slot_is_held_until_the_response_has_left(autojump_clock: MockClock) -> None:
    wire = Wire()
    wire.holds = True
    requests = Requests(wire.send)

    async def respond(member_id: str, body: bytes) -> bytes:
        return body

    requests.set_responder(respond)
    async with trio.open_nursery() as nursery:
        for number in range(1, RESPONSES_PER_PEER_MAX + 1):
            requests.receive("a", SyncKind.REQUEST, number, b"q", nursery)
        await wait_all_tasks_blocked()
        requests.receive("a", SyncKind.REQUEST, 100, b"q", nursery)
        assert wire.sent[-1][1] is SyncKind.REFUSAL
        wire.events[0].set()
        await wait_all_tasks_blocked()
        requests.receive("a", SyncKind.REQUEST, 101, b"q", nursery)
        await wait_all_tasks_blocked()
        assert wire.sent[-1] == ("a", SyncKind.RESPONSE, 101, b"q")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("answer", [None, b"", bytes(SYNC_BODY_BYTES_MAX + 1)], ids=["raises", "empty", "too large"])
async def test_responder_that_fails_refuses_one_request_and_ends_nothing(
    autojump_clock: MockClock, answer: bytes | None
) -> None:
    wire = Wire()
    requests = Requests(wire.send)

    async def respond(member_id: str, body: bytes) -> bytes:
        if body == b"good":
            return b"fine"
        if answer is None:
            raise KeyError("what the request made it look for")
        return answer

    requests.set_responder(respond)
    async with trio.open_nursery() as nursery:
        requests.receive("a", SyncKind.REQUEST, 1, b"bad", nursery)
        await wait_all_tasks_blocked()
        requests.receive("a", SyncKind.REQUEST, 2, b"good", nursery)
    assert wire.sent == [("a", SyncKind.REFUSAL, 1, b"could not answer"), ("a", SyncKind.RESPONSE, 2, b"fine")]
