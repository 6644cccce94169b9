"""The gRPC client behind the verbs: connects, keeps deadlines, tries again where that helps, says errors plainly."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from consensus.errors import LocalError, RequestError
from node.rpc import answers
from node.rpc.answers import (
    ClaimsPage,
    ConsistencyProof,
    EvidenceReport,
    NodeStatus,
    RecordedClaim,
    RecordedMisbehaviour,
    RecordedStatement,
    SignedCheckpoint,
)
from node.rpc.claim_rights import RecordedRights, rights_from_wire
from node.rpc.membership import EPOCHS_PER_PAGE, OpenVotes, RecordedEpoch, epochs_from_wire, votes_from_wire
from node.rpc.types import Refusal, SubmissionResult
from node.rpc.wire import result_from_wire
from protos import stretto_pb2 as pb
from protos.stretto_pb2_grpc import StrettoStub

DEADLINE_S: Final = 30.0
UNREACHABLE_S: Final = 5.0
"""How long a node that cannot be reached at all is tried."""
BACKOFF_S: Final = 0.1
BACKOFF_S_MAX: Final = 2.0
MESSAGE_BYTES_MAX: Final = 4 * 2**20
EVIDENCE_PIECE_BYTES: Final = 2**20
UNARY_CHUNK_BYTES_MAX: Final = 3 * 2**20
"""Larger catalogues go by stream."""
SUBMIT_STATEMENTS: Final = 64
SUBMIT_BYTES: Final = 2**20
"""Statements, and bytes of statements or of chunks, in one message of a stream."""

_RETRYABLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.keepalive_time_ms", 30_000),
)
_T = TypeVar("_T")


class NodeError(RequestError):
    """An error that a node answered. code: such as INVALID_SIGNATURE; field, value, expected: what to mend, or empty.

    status: gRPC's word, such as INVALID_ARGUMENT. retry_after_ms: when the same request may succeed, or None.
    """

    def __init__(
        self, message: str, *, status: str, code: str, field: str, value: str, expected: str, retry_after_ms: int | None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field
        self.value = value
        self.expected = expected
        self.retry_after_ms = retry_after_ms


class NodeUnreachable(LocalError):
    """No node answers at `address`. reason: gRPC's sentence."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"no node answers at {address}: {reason}; is it running, and is this its rpc address?")
        self.address = address
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files. ca: who signed the node's certificate. cert, key: of this client, where the node wants mTLS."""

    ca: Path
    cert: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        cert, key = (None if path is None else path.read_bytes() for path in (self.cert, self.key))
        return grpc.ssl_channel_credentials(self.ca.read_bytes(), key, cert)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A signed statement; chunks: a catalogue's manifest and chunks, in any order."""

    statement: bytes
    chunks: tuple[bytes, ...] = ()


def error_of(error: grpc.RpcError) -> NodeError:
    """A gRPC error with the details our nodes send, or with gRPC's own words where there are none."""
    assert isinstance(error, grpc.Call), "errors of calls are calls themselves"
    info, retry_after_ms = error_details_pb2.ErrorInfo(reason=error.code().name), None
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            retry_after_ms = retry.retry_delay.ToMilliseconds()
    field, value, expected = (info.metadata.get(name, "") for name in ("field", "value", "expected"))
    return NodeError(
        error.details() or error.code().name,
        status=error.code().name,
        code=info.reason,
        field=field,
        value=value,
        expected=expected,
        retry_after_ms=retry_after_ms,
    )


class NodeClient:
    """One node's service. Every method is safe to call again: reads change nothing, and a statement is recorded once.

    Raises in every method: NodeError, NodeUnreachable.
    """

    def __init__(self, address: str, *, tls: TlsFiles | None = None, deadline_s: float = DEADLINE_S) -> None:
        """address: host:port. deadline_s: for each unary call, tries included."""
        self.address = address
        self.deadline_s = deadline_s
        self._channel = (
            grpc.insecure_channel(address, _OPTIONS)
            if tls is None
            else grpc.secure_channel(address, tls.credentials(), _OPTIONS)
        )
        self.stub = StrettoStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def wait_until_reachable(self, seconds: float) -> None:
        """Returns once the node accepts connections. Raises: NodeUnreachable."""
        try:
            grpc.channel_ready_future(self._channel).result(seconds)
        except grpc.FutureTimeoutError:
            raise NodeUnreachable(self.address, f"nothing within {seconds:g} s") from None

    # ---- submitting ----

    def submit(self, statement: bytes, chunks: Sequence[bytes] = (), *, wait: bool = True) -> SubmissionResult:
        """One statement, with its manifest and chunks where it is a catalogue. wait: until it is final or refused."""
        if sum(map(len, chunks)) <= UNARY_CHUNK_BYTES_MAX:
            request = pb.SubmitStatementRequest(statement=statement, chunks=chunks, wait=wait)
            return result_from_wire(self._call(self.stub.SubmitStatement, request).result)
        results = self.submit_many((Submission(statement=statement, chunks=tuple(chunks)),), deadline_s=self.deadline_s)
        return next(result for result in results if result.ends or not wait)

    def submit_many(
        self, submissions: Iterable[Submission], *, deadline_s: float | None = None
    ) -> Iterator[SubmissionResult]:
        """Each statement's results as they come: ACCEPTED, then FINAL, DUPLICATE or REFUSED; or only one of the last.

        After a broken connection, and for what the node had no room for, it sends again what is not settled.
        deadline_s: for all together; none by default.
        """
        outbox = _Outbox(submissions)
        trying = _Trying(self.address, deadline_s)
        while True:
            call = self.stub.SubmitStatements(_messages(outbox.attempt()), timeout=trying.remaining_s())
            refused: NodeError | None = None
            try:
                for response in call:
                    for result in map(result_from_wire, response.results):
                        if result.refusal is not None and result.refusal.retry_after_ms is not None:
                            refused = _refused(result.refusal)
                            continue
                        if outbox.settle(result):
                            trying.progress()
                            yield result
            except grpc.RpcError as error:
                refused = error_of(error)
            finally:
                call.cancel()
            if refused is None:
                return
            trying.wait(refused)

    # ---- reading ----

    def statement(
        self, *, digest: bytes | None = None, index: int | None = None, min_size: int = 0
    ) -> RecordedStatement:
        """By digest or by leaf index. Raises also: NodeError with code NOT_RECORDED.

        min_size: here and below, waits until this node's log has so many leaves: what was final at leaf i at another
        node is here from size i + 1 on.
        """
        assert (digest is None) != (index is None), "a statement is asked for by one of the two"
        request = pb.GetStatementRequest(min_size=min_size)
        if digest is not None:
            request.digest = digest
        else:
            request.index = index or 0
        return answers.statement_from_wire(self._call(self.stub.GetStatement, request))

    def claims_page(self, request: pb.QueryClaimsRequest) -> ClaimsPage:
        return answers.claims_from_wire(self._call(self.stub.QueryClaims, request))

    def claims(
        self,
        *,
        media_digest: bytes | None = None,
        isrc: str | None = None,
        iswc: str | None = None,
        statement: bytes | None = None,
        page_size: int = 1000,
        min_size: int = 0,
    ) -> Iterator[RecordedClaim]:
        """Every claim on an audio file, a recording, a work, or of a statement; oldest first, page after page."""
        request = pb.QueryClaimsRequest(limit=page_size, min_size=min_size)
        if media_digest is not None:
            request.media_digest = media_digest
        elif isrc is not None:
            request.isrc = isrc
        elif iswc is not None:
            request.iswc = iswc
        elif statement is not None:
            request.statement_digest = statement
        while True:
            page = self.claims_page(request)
            yield from page.claims
            if not page.next_page:
                return
            request.page = page.next_page

    def watch(self, from_index: int = 0) -> Iterator[RecordedStatement]:
        """Every statement from `from_index` on, then new ones as they become final; survives a node's restart."""
        next_index = from_index
        trying = _Trying(self.address, None)
        while True:
            call = self.stub.WatchStatements(pb.WatchStatementsRequest(from_index=next_index))
            try:
                for message in call:
                    trying.progress()
                    yield answers.watched_from_wire(message)
                    next_index = message.index + 1
            except grpc.RpcError as error:
                trying.wait(error_of(error))
            finally:
                call.cancel()

    def checkpoint(self, size: int | None = None) -> SignedCheckpoint:
        """The latest complete one, or the first of at least `size` leaves."""
        return answers.checkpoint_from_wire(self._call(self.stub.GetCheckpoint, pb.GetCheckpointRequest(size=size)))

    def consistency_proof(self, from_size: int, to_size: int) -> ConsistencyProof:
        request = pb.GetConsistencyProofRequest(from_size=from_size, to_size=to_size)
        return answers.proof_from_wire(self._call(self.stub.GetConsistencyProof, request))

    def status(self) -> NodeStatus:
        return answers.status_from_wire(self._call(self.stub.NodeStatus, pb.NodeStatusRequest()))

    def misbehaviours(self, *, page_size: int = 1000) -> Iterator[RecordedMisbehaviour]:
        """Evidence of misbehaviour the node holds, by validator and view, page after page."""
        request = pb.ListMisbehaviourRequest(limit=page_size)
        while True:
            page = answers.misbehaviour_from_wire(self._call(self.stub.ListMisbehaviour, request))
            yield from page.records
            if not page.next_page:
                return
            request.page = page.next_page

    # ---- membership ----

    def epochs(self) -> Iterator[RecordedEpoch]:
        """Every epoch from 0 to the node's newest, by its word; ends early where the node skips one."""
        request = pb.ListEpochsRequest(limit=EPOCHS_PER_PAGE)
        while True:
            page = epochs_from_wire(self._call(self.stub.ListEpochs, request))
            for record in page.epochs:
                if record.epoch != request.from_epoch:
                    return
                yield record
                request.from_epoch += 1
            if not page.epochs or request.from_epoch > page.current:
                return

    def governance(self) -> OpenVotes:
        """What is voted on in the node's current epoch."""
        return votes_from_wire(self._call(self.stub.GetGovernance, pb.GetGovernanceRequest()))

    # ---- rights ----

    def rights(self, statement: bytes, position: int = 0) -> RecordedRights:
        """Where one claim's rights stand. Raises besides: ValueError for an answer that is none."""
        request = pb.GetClaimRightsRequest(statement_digest=statement, position=position)
        return rights_from_wire(self._call(self.stub.GetClaimRights, request))

    # ---- evidence ----

    def evidence(
        self,
        *,
        statement: bytes | None = None,
        media_digest: bytes | None = None,
        position: int | None = None,
        min_size: int = 0,
    ) -> bytes:
        """The bundle that proves one claim. position: which claim of a catalogue, where `statement` names one."""
        request = pb.GetEvidenceRequest(position=position, min_size=min_size)
        if statement is not None:
            request.statement_digest = statement
        elif media_digest is not None:
            request.media_digest = media_digest

        def fetch(request: pb.GetEvidenceRequest, timeout: float) -> bytes:
            return b"".join(piece.chunk for piece in self.stub.GetEvidence(request, timeout=timeout))

        return self._call(fetch, request)

    def verify_evidence(self, bundle: bytes, *, blake3: bytes = b"", sha256: bytes = b"") -> EvidenceReport:
        """The node's opinion of a bundle, against its own genesis. blake3, sha256: of the audio in question."""

        def messages() -> Iterator[pb.VerifyEvidenceRequest]:
            if blake3 or sha256:
                yield pb.VerifyEvidenceRequest(media=pb.MediaDigests(blake3=blake3, sha256=sha256))
            for start in range(0, len(bundle), EVIDENCE_PIECE_BYTES):
                yield pb.VerifyEvidenceRequest(bundle=bundle[start : start + EVIDENCE_PIECE_BYTES])

        def verify(_request: None, timeout: float) -> pb.VerifyEvidenceResponse:
            return self.stub.VerifyEvidence(messages(), timeout=timeout)

        return answers.report_from_wire(self._call(verify, None))

    # ---- trying ----

    def _call(self, method: Callable[..., _T], request: object) -> _T:
        trying = _Trying(self.address, self.deadline_s)
        while True:
            try:
                return method(request, timeout=trying.remaining_s())
            except grpc.RpcError as error:
                trying.wait(error_of(error))


class _Trying:
    """When to try again, and when to give up."""

    def __init__(self, address: str, deadline_s: float | None) -> None:
        self._address = address
        self._until = None if deadline_s is None else time.monotonic() + deadline_s
        self.progress()

    def progress(self) -> None:
        """An answer came: the next trouble is a new one."""
        self._unreachable_until: float | None = None
        self._backoff_s = BACKOFF_S

    def remaining_s(self) -> float | None:
        return None if self._until is None else max(self._until - time.monotonic(), 0.001)

    def wait(self, error: NodeError) -> None:
        """Returns when it is time to try again. Raises: `error` where that would not help; NodeUnreachable."""
        now = time.monotonic()
        if error.status not in {code.name for code in _RETRYABLE}:
            raise error
        # Without details it is not a node that speaks: nothing listens there, or it is not a node.
        silent = error.code == grpc.StatusCode.UNAVAILABLE.name
        if silent:
            # Counted from the first failure, not from the last answer: a subscriber may have had no news for hours.
            self._unreachable_until = self._unreachable_until or now + UNREACHABLE_S
            if now > self._unreachable_until:
                raise NodeUnreachable(self._address, str(error)) from error
        if not silent and error.retry_after_ms is None:
            raise error
        # Half of it by chance: clients that were refused together must not come back together.
        pause_s = max(self._backoff_s * (0.5 + random.random() / 2), (error.retry_after_ms or 0) / 1000)  # noqa: S311
        if self._until is not None and now + pause_s >= self._until:
            raise NodeUnreachable(self._address, str(error)) if silent else error
        time.sleep(pause_s)
        self._backoff_s = min(self._backoff_s * 2, BACKOFF_S_MAX)


def _refused(refusal: Refusal) -> NodeError:
    return NodeError(
        f"{refusal.field}: expected {refusal.expected}, got {refusal.value}",
        status=grpc.StatusCode.RESOURCE_EXHAUSTED.name,
        code=refusal.code,
        field=refusal.field,
        value=refusal.value,
        expected=refusal.expected,
        retry_after_ms=refusal.retry_after_ms,
    )


class _Outbox:
    """What a stream still has to send and to hear about. gRPC takes from it on a thread of its own."""

    def __init__(self, submissions: Iterable[Submission]) -> None:
        self._source = iter(submissions)
        self._lock = threading.Lock()
        self._unsettled: dict[bytes, Submission] = {}
        self._copies: Counter[bytes] = Counter()
        self._again: deque[Submission] = deque()
        self._attempt = 0

    def attempt(self) -> Iterator[Submission]:
        """What is not settled yet, then the rest; an earlier attempt's iterator ends."""
        with self._lock:
            self._attempt += 1
            self._again = deque(self._unsettled.values())
            self._copies = Counter(self._unsettled.keys())
            attempt = self._attempt
        while (submission := self._next(attempt)) is not None:
            yield submission

    def _next(self, attempt: int) -> Submission | None:
        with self._lock:
            if attempt != self._attempt:
                return None
            if self._again:
                return self._again.popleft()
            submission = next(self._source, None)
            if submission is not None:
                digest = hashlib.sha256(submission.statement).digest()
                self._unsettled[digest] = submission
                self._copies[digest] += 1
            return submission

    def settle(self, result: SubmissionResult) -> bool:
        """Whether the result is about something still open; notes that it is settled where the result ends it."""
        with self._lock:
            known = result.digest in self._unsettled
            if known and result.ends:
                self._copies[result.digest] -= 1
                if not self._copies[result.digest]:
                    del self._unsettled[result.digest], self._copies[result.digest]
            return known


def _messages(submissions: Iterable[Submission]) -> Iterator[pb.SubmitStatementsRequest]:
    """Statements together, a catalogue's chunks in messages before it."""
    batch = pb.SubmitStatementsRequest()
    size = 0
    for submission in submissions:
        for chunk in submission.chunks:
            if size and size + len(chunk) > SUBMIT_BYTES:
                yield batch
                batch, size = pb.SubmitStatementsRequest(), 0
            batch.chunks.append(chunk)
            size += len(chunk)
        if size and size + len(submission.statement) > SUBMIT_BYTES:
            yield batch
            batch, size = pb.SubmitStatementsRequest(), 0
        batch.statements.append(submission.statement)
        size += len(submission.statement)
        if len(batch.statements) == SUBMIT_STATEMENTS:
            yield batch
            batch, size = pb.SubmitStatementsRequest(), 0
    if size:
        yield batch
