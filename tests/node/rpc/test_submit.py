"""The node process's half, over its unix socket: what is accepted, what is refused and how, and when a stream ends."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from consensus.types import Digest
from ledger.catalogue import CHUNK_BYTES
from node.rosters import Rosters
from node.rpc import submission
from node.rpc.server import CannotListen
from node.rpc.submission import SubmissionService, SubmissionStream
from node.rpc.submit import SubmitServer
from node.rpc.types import Refusal, SubmissionResult, SubmissionState
from protos import stretto_pb2 as pb
from protos.stretto_pb2_grpc import StrettoStub
from tests.node.rpc.consortium import GENESIS, blobs, catalogue, claim, sign, statement
from tests.node.rpc.intakes import LIVE, FinalIntake, HeldIntake, final

ACCEPTED, FINAL, DUPLICATE, REFUSED = 1, 2, 3, 4


class Served:
    """A SubmitServer with a client on its socket."""

    def __init__(self, folder: Path, intake: HeldIntake) -> None:
        self.intake = intake
        self.socket = folder / "submit.sock"
        self.server = SubmitServer(socket=self.socket, rosters=Rosters(GENESIS), intake=intake)
        self.server.start()
        options = (("grpc.default_authority", "node"), ("grpc.max_send_message_length", -1))
        self._channel = grpc.insecure_channel(f"unix:{self.socket}", options)
        self.stub = StrettoStub(self._channel)

    def submit(self, raw: bytes, *chunks: bytes, wait: bool = True, timeout: float = 10) -> pb.SubmissionResult:
        request = pb.SubmitStatementRequest(statement=raw, chunks=chunks, wait=wait)
        return self.stub.SubmitStatement(request, timeout=timeout).result

    def refused(self, raw: bytes, *chunks: bytes, timeout: float = 10) -> tuple[str, str, str]:
        """(status, reason, field) of the error that submitting gives."""
        with pytest.raises(grpc.RpcError) as caught:
            self.submit(raw, *chunks, timeout=timeout)
        return explained(caught.value)

    def stop(self) -> None:
        self._channel.close()
        self.server.stop()


def explained(error: grpc.RpcError) -> tuple[str, str, str]:
    status = rpc_status.from_call(error)
    assert status is not None, error
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "stretto"
    return error.code().name, info.reason, info.metadata.get("field", "")


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path, HeldIntake())
    yield served
    served.stop()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path, FinalIntake())
    yield served
    served.stop()


def states(results: list[pb.SubmissionResult]) -> dict[bytes, list[int]]:
    """Digest -> the states heard of it, in order."""
    heard: dict[bytes, list[int]] = {}
    for result in results:
        heard.setdefault(result.statement_digest, []).append(result.state)
    return heard


def digest(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


# ---- one statement ----


def test_waiting_submission_answers_when_final(served: Served) -> None:
    raw = statement(1)
    result = served.submit(raw)
    assert (result.state, result.index, result.height, result.block_time_ms) == (FINAL, 0, 9, 1234)
    assert result.statement_digest == digest(raw)
    assert [s.statement.raw for s in served.intake.taken] == [raw]


def test_submission_that_does_not_wait_answers_when_accepted(held: Served) -> None:
    assert held.submit(statement(1), wait=False).state == ACCEPTED


def test_deadline_before_finality_says_that_it_may_still_be_recorded(held: Served) -> None:
    assert held.refused(statement(1), timeout=0.5) == ("DEADLINE_EXCEEDED", "NOT_YET_FINAL", "statement")
    held.intake.settle(lambda d: final(d, 0))  # nobody listens any more, and nothing breaks


def test_statement_refused_by_the_loop_is_a_result_with_its_reason(held: Served) -> None:
    refusal = Refusal(code="DUPLICATE_CLIENT_REF", field="content.ref", value="a", expected="a new one")
    call = held.stub.SubmitStatement.future(pb.SubmitStatementRequest(statement=statement(1), wait=True), timeout=10)
    held.intake.wait_for(1)
    held.intake.settle(lambda d: SubmissionResult(digest=d, state=SubmissionState.REFUSED, refusal=refusal))
    result = call.result().result
    assert result.state == REFUSED
    assert (result.refusal.code, result.refusal.field) == ("DUPLICATE_CLIENT_REF", "content.ref")


def test_bad_statements_get_distinct_errors_that_name_the_field(served: Served) -> None:
    good = statement(1)
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    with_chunk = (good, b"a chunk nobody names")
    refusals = {
        "garbage": served.refused(b"garbage"),
        "signature": served.refused(flipped),
        "member": served.refused(sign(claim(1), "r", issuer="stranger", signer="label")),
        "role": served.refused(sign(claim(1), "r", issuer="platform")),
        "consortium": served.refused(sign(claim(1), "r", consortium=bytes(32))),
        "oversized": served.refused(bytes(65537)),
        "chunk": served.refused(*with_chunk),
    }
    assert refusals == {
        "garbage": ("INVALID_ARGUMENT", "MALFORMED_STATEMENT", "statement"),
        "signature": ("UNAUTHENTICATED", "INVALID_SIGNATURE", "signature"),
        "member": ("PERMISSION_DENIED", "UNKNOWN_MEMBER", "protected.issuer"),
        "role": ("PERMISSION_DENIED", "ROLE_FORBIDS", "protected.issuer"),
        "consortium": ("FAILED_PRECONDITION", "WRONG_CONSORTIUM", "protected.stretto-consortium"),
        "oversized": ("INVALID_ARGUMENT", "STATEMENT_TOO_LARGE", "statement"),
        "chunk": ("INVALID_ARGUMENT", "INVALID_REQUEST", "chunks"),
    }
    assert served.intake.taken == []


def test_bytes_that_are_no_message_are_refused(served: Served) -> None:
    call = grpc.insecure_channel(f"unix:{served.socket}", (("grpc.default_authority", "node"),)).unary_unary(
        "/stretto.v1.Stretto/SubmitStatement"
    )
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\xff\xff\xff", timeout=10)
    assert explained(caught.value) == ("INVALID_ARGUMENT", "MALFORMED_REQUEST", "request")


def test_full_queue_is_resource_exhausted_and_says_when_to_retry(held: Served) -> None:
    held.intake.refusals_left = 1
    with pytest.raises(grpc.RpcError) as caught:
        held.submit(statement(1))
    assert explained(caught.value) == ("RESOURCE_EXHAUSTED", "OVERLOADED", "statements")
    status = rpc_status.from_call(caught.value)
    assert status is not None
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.ToMilliseconds() == 10


def test_error_of_ours_tells_no_internals(held: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(held.intake, "submit", broken)
    with pytest.raises(grpc.RpcError) as caught:
        held.submit(statement(1))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in f"{caught.value.details()} {caught.value.trailing_metadata()}"


# ---- catalogues ----


def test_catalogue_comes_with_its_manifest_and_chunks_in_order(served: Served) -> None:
    raw, built = catalogue(0, 600)
    assert len(built.chunks) > 1
    assert served.submit(raw, *reversed(blobs(built))).state == FINAL
    (taken,) = served.intake.taken
    assert (taken.manifest, taken.chunks) == (built.manifest, built.chunks)


def test_catalogue_without_all_its_chunks_is_refused(served: Served) -> None:
    raw, built = catalogue(0, 600)
    expected = ("FAILED_PRECONDITION", "MISSING_CHUNKS", "chunks")
    assert served.refused(raw) == expected
    assert served.refused(raw, built.manifest, *built.chunks[1:]) == expected
    assert served.refused(raw, *built.chunks) == expected


def test_oversized_chunk_is_refused(served: Served) -> None:
    raw, built = catalogue(0, 3)
    assert served.refused(raw, *blobs(built), bytes(CHUNK_BYTES + 1)) == ("INVALID_ARGUMENT", "TOO_LARGE", "chunks[2]")


# ---- streams ----


def stream(served: Served, *messages: pb.SubmitStatementsRequest) -> list[pb.SubmissionResult]:
    return [r for answer in served.stub.SubmitStatements(iter(messages), timeout=20) for r in answer.results]


def test_every_statement_of_a_stream_is_accepted_and_then_final(served: Served) -> None:
    raws = [statement(n) for n in range(100)]
    messages = [pb.SubmitStatementsRequest(statements=raws[i : i + 50]) for i in (0, 50)]
    heard = states(stream(served, *messages))
    assert heard == {digest(raw): [ACCEPTED, FINAL] for raw in raws}
    assert served.intake.batches == [50, 50]


def test_stream_waits_for_results_after_its_last_message(held: Served) -> None:
    call = held.stub.SubmitStatements(iter([pb.SubmitStatementsRequest(statements=[statement(1)])]), timeout=20)
    assert next(call).results[0].state == ACCEPTED
    held.intake.settle(lambda d: final(d, 5))
    assert [(r.state, r.index) for answer in call for r in answer.results] == [(FINAL, 5)]


def test_results_that_are_ready_together_travel_together(held: Served) -> None:
    raws = [statement(n) for n in range(64)]
    call = held.stub.SubmitStatements(iter([pb.SubmitStatementsRequest(statements=raws)]), timeout=20)
    assert len(next(call).results) == 64
    held.intake.settle(lambda d: final(d, 0))
    assert sum(1 for _ in call) <= 2  # the first wake-up may catch the burst in its middle


def test_bad_statement_in_a_stream_is_refused_alone(served: Served) -> None:
    good, bad = statement(1), b"garbage"
    results = stream(served, pb.SubmitStatementsRequest(statements=[good, bad]))
    assert states(results) == {digest(good): [ACCEPTED, FINAL], digest(bad): [REFUSED]}
    (refusal,) = (r.refusal for r in results if r.state == REFUSED)
    assert (refusal.code, refusal.field) == ("MALFORMED_STATEMENT", "statement")


def test_statement_sent_twice_in_a_stream_is_recorded_once_and_says_so(served: Served) -> None:
    raw = statement(1)
    heard = states(stream(served, pb.SubmitStatementsRequest(statements=[raw, raw])))
    assert sorted(heard[digest(raw)]) == [ACCEPTED, ACCEPTED, FINAL, DUPLICATE]
    assert len(served.intake.taken) == 1


def test_chunks_may_come_before_their_statement(served: Served) -> None:
    raw, built = catalogue(0, 600)
    messages = [pb.SubmitStatementsRequest(chunks=[blob]) for blob in blobs(built)]
    heard = states(stream(served, *messages, pb.SubmitStatementsRequest(statements=[raw])))
    assert heard == {digest(raw): [ACCEPTED, FINAL]}


def test_chunks_after_their_statement_are_too_late(served: Served) -> None:
    raw, built = catalogue(0, 3)
    messages = (pb.SubmitStatementsRequest(statements=[raw]), pb.SubmitStatementsRequest(chunks=blobs(built)))
    results = stream(served, *messages)
    assert [(r.state, r.refusal.code) for r in results] == [(REFUSED, "MISSING_CHUNKS")]


def test_full_loop_slows_a_stream_down_and_loses_nothing(held: Served) -> None:
    held.intake.refusals_left = 5
    call = held.stub.SubmitStatements(iter([pb.SubmitStatementsRequest(statements=[statement(1)])]), timeout=20)
    assert next(call).results[0].state == ACCEPTED
    assert held.intake.refusals_left == 0
    held.intake.settle(lambda d: final(d, 0))
    assert [r.state for answer in call for r in answer.results] == [FINAL]


def test_loop_that_stays_full_refuses_with_a_time_to_retry(held: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "OVERLOAD_SECONDS_MAX", 0.0)
    held.intake.refusals_left = 10**9
    (result,) = stream(held, pb.SubmitStatementsRequest(statements=[statement(1)]))
    assert (result.state, result.refusal.code, result.refusal.retry_after_ms) == (REFUSED, "OVERLOADED", 10)


class Writes:
    """The part of a gRPC context that a stream writes to."""

    def __init__(self) -> None:
        self.results: list[pb.SubmissionResult] = []

    def time_remaining(self) -> float | None:
        return None

    def auth_context(self) -> dict[str, list[bytes]]:
        return {}

    def peer(self) -> str:
        return "unix:"

    async def write(self, data: bytes) -> None:
        self.results.extend(pb.SubmitStatementsResponse.FromString(data).results)


def test_stream_is_not_read_beyond_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "STREAM_STATEMENTS_MAX", 2)
    raws = [statement(n) for n in range(6)]
    read = 0

    async def requests() -> AsyncIterator[bytes]:
        nonlocal read
        for i in range(0, 6, 2):
            read += 1
            yield pb.SubmitStatementsRequest(statements=raws[i : i + 2]).SerializeToString()

    async def main() -> None:
        intake, writes = HeldIntake(), Writes()
        stream = SubmissionStream(SubmissionService(Rosters(GENESIS), intake), writes)  # type: ignore[arg-type]
        running = asyncio.create_task(stream.run(requests()))
        for part in (1, 2, 3):
            for _ in range(100):
                await asyncio.sleep(0)
            assert (len(intake.taken), read) == (2 * part, min(part + 1, 3))
            intake.settle(lambda d: final(d, 0))
        await asyncio.wait_for(running, 5)
        assert states(writes.results) == {digest(raw): [ACCEPTED, FINAL] for raw in raws}

    asyncio.run(main())


def refused_stream(served: Served, *messages: pb.SubmitStatementsRequest) -> tuple[str, str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        stream(served, *messages)
    return explained(caught.value)


def test_too_many_statements_in_a_message_end_the_stream(served: Served) -> None:
    message = pb.SubmitStatementsRequest(statements=[b"x"] * 65)
    assert refused_stream(served, message) == ("INVALID_ARGUMENT", "TOO_LARGE", "statements")


def test_oversized_message_ends_the_stream(served: Served) -> None:
    chunks = [bytes([n]) * CHUNK_BYTES for n in range(33)]
    assert refused_stream(served, pb.SubmitStatementsRequest(chunks=chunks)) == (
        "INVALID_ARGUMENT",
        "TOO_LARGE",
        "request",
    )


def test_chunks_nobody_names_may_not_pile_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.rpc.door.STREAM_CHUNK_BYTES_MAX", 3 * CHUNK_BYTES)
    messages = [pb.SubmitStatementsRequest(chunks=[bytes([n]) * CHUNK_BYTES]) for n in range(4)]
    assert len(stream(served, *messages[:3])) == 0
    assert refused_stream(served, *messages) == ("INVALID_ARGUMENT", "TOO_LARGE", "chunks")


def test_drain_that_takes_too_long_says_how_many_are_open(held: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "DRAIN_SECONDS_MAX", 0.05)
    message = pb.SubmitStatementsRequest(statements=[statement(1), statement(2)])
    assert refused_stream(held, message) == ("DEADLINE_EXCEEDED", "NOT_YET_FINAL", "statements")


def test_drain_goes_on_while_results_come(held: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "DRAIN_SECONDS_MAX", 2.0)
    held.intake.settle_one_by_one(final, pause_s=0.5)
    sent = [statement(n) for n in range(1, 7)]  # three seconds of results: longer than one may take
    results = stream(held, pb.SubmitStatementsRequest(statements=sent))
    assert [r.state for r in results].count(pb.SUBMISSION_STATE_FINAL) == len(sent)


def test_deadline_of_a_stream_says_how_many_are_open(held: Served) -> None:
    call = held.stub.SubmitStatements(iter([pb.SubmitStatementsRequest(statements=[statement(1)])]), timeout=0.7)
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    assert explained(caught.value) == ("DEADLINE_EXCEEDED", "NOT_YET_FINAL", "statements")


# ---- the server itself ----


def test_socket_is_private_to_its_owner(served: Served) -> None:
    assert stat.S_IMODE(served.socket.stat().st_mode) == 0o600


def test_live_status_is_what_the_loop_says(served: Served) -> None:
    status = served.stub.NodeStatus(pb.NodeStatusRequest(), timeout=10)
    assert (status.view, status.leader, status.consensus_running) == (LIVE.view, LIVE.leader, True)
    assert [(p.member, p.connected) for p in status.peers] == [("label", True)]


def test_stale_socket_is_replaced(tmp_path: Path) -> None:
    first = Served(tmp_path, FinalIntake())
    first.stop()
    second = Served(tmp_path, FinalIntake())
    assert second.submit(statement(1)).state == FINAL
    second.stop()


def test_path_too_long_for_a_socket_is_an_operators_error(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    server = SubmitServer(socket=folder / "submit.sock", rosters=Rosters(GENESIS), intake=FinalIntake())
    with pytest.raises(CannotListen, match="shorter path"):
        server.start()


def test_missing_folder_is_an_operators_error(tmp_path: Path) -> None:
    server = SubmitServer(socket=tmp_path / "none" / "submit.sock", rosters=Rosters(GENESIS), intake=FinalIntake())
    mask = os.umask(0o022)
    with pytest.raises(CannotListen, match="folder exists"):
        server.start()
    assert os.umask(mask) == 0o022  # the mask of the process is as it was


def test_stopped_server_ends_calls_in_progress(held: Served) -> None:
    call = held.stub.SubmitStatement.future(pb.SubmitStatementRequest(statement=statement(1), wait=True), timeout=30)
    held.intake.wait_for(1)
    held.server.stop()
    with pytest.raises(grpc.RpcError) as caught:
        call.result()
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert not held.server._thread.is_alive()
    held.intake.settle(lambda d: final(Digest(d), 0))  # a late result finds nobody, and nothing breaks
