"""Our errors as google.rpc.Status: the one table, and the errors that only the gRPC edge raises.

A caller reads the ErrorInfo (reason, domain "stretto"), the BadRequest (which field, what was expected) where the
request must change, and the RetryInfo where the same request may succeed later.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2

from consensus.errors import RequestError
from ledger import errors as ledger
from ledger.chain_checkpoint import SetNotBridgeable
from node.mempool import Overloaded
from node.refusals import NotAValidator, OtherEpoch
from node.store.reader import InvalidPage

DOMAIN: Final = "stretto"
VALUE_CHARS_MAX: Final = 128
"""Offending values are shortened to this: trailers travel as HTTP/2 headers, which hold 8 KiB."""
MESSAGE_CHARS_MAX: Final = 512
RETRY_NODE_MS: Final = 500
"""When to ask again while the node process is away: it restarts in about a second."""


class InvalidRequest(RequestError):
    """A request whose field `field` holds `value` where `expected` is needed."""

    code = "INVALID_REQUEST"

    def __init__(self, field: str, value: str, expected: str) -> None:
        super().__init__(f"{field}: expected {expected}, got {value}")
        self.field = field
        self.value = value
        self.expected = expected


class MalformedRequest(InvalidRequest):
    """Bytes that are not the protobuf message the method takes."""

    code = "MALFORMED_REQUEST"


class TooLarge(InvalidRequest):
    """More of something than one call, message or stream may carry."""

    code = "TOO_LARGE"


class MissingChunks(InvalidRequest):
    """A catalogue whose manifest or chunks did not come before or with its statement."""

    code = "MISSING_CHUNKS"


class NotRecorded(InvalidRequest):
    """Nothing in the log by that digest, index or identifier. Absence here is absence up to this node's tree size."""

    code = "NOT_RECORDED"


class BeyondLog(InvalidRequest):
    """A tree size or position that the log has not reached."""

    code = "BEYOND_LOG"


class NotReadyYet(InvalidRequest):
    """Something that the log will have soon. retry_after_ms: when to ask again."""

    code = "NOT_READY_YET"

    def __init__(self, field: str, value: str, expected: str, retry_after_ms: int) -> None:
        super().__init__(field, value, expected)
        self.retry_after_ms = retry_after_ms


class TooManyCalls(NotReadyYet):
    """This client, or all together, hold as many of these calls as may run at once."""

    code = "TOO_MANY_CALLS"


class NodeNotRunning(RequestError):
    """The reader answers, the node process does not: reads go on, submissions wait. Nothing was taken."""

    code = "NODE_NOT_RUNNING"
    field = "node"
    value = "not running"
    expected = "a running node process"
    retry_after_ms = RETRY_NODE_MS

    def __init__(self) -> None:
        super().__init__("the node process is not running: reads go on, submissions must wait for it")


class NotYetFinal(RequestError):
    """The deadline came before finality: the statement may still be recorded, and sending it again is safe."""

    code = "NOT_YET_FINAL"

    def __init__(self, field: str, value: str) -> None:
        self.field = field
        self.value = value
        self.expected = "finality within the deadline"
        super().__init__(
            f"{field}: {value}: accepted, not final yet; it may still be recorded, sending it again is safe"
        )


class DeadlinePassed(RequestError):
    """The call's deadline, or the cap on deadlines, came before the answer."""

    code = "DEADLINE_PASSED"

    def __init__(self, method: str, seconds: float) -> None:
        self.field = "deadline"
        self.value = f"{seconds:.1f} s"
        self.expected = "a longer deadline, or a smaller request"
        super().__init__(f"{method}: no answer within {seconds:.1f} s; give it longer, or ask for less")


_Code = grpc.StatusCode

STATUSES: Final[Mapping[type[RequestError], grpc.StatusCode]] = MappingProxyType(
    {
        # The request must change.
        InvalidRequest: _Code.INVALID_ARGUMENT,
        MalformedRequest: _Code.INVALID_ARGUMENT,
        InvalidPage: _Code.INVALID_ARGUMENT,
        TooLarge: _Code.INVALID_ARGUMENT,
        NotRecorded: _Code.NOT_FOUND,
        BeyondLog: _Code.OUT_OF_RANGE,
        # The statement must change, or come from somebody else.
        ledger.StatementError: _Code.INVALID_ARGUMENT,
        ledger.MalformedStatement: _Code.INVALID_ARGUMENT,
        ledger.MalformedClaim: _Code.INVALID_ARGUMENT,
        ledger.MalformedCatalogue: _Code.INVALID_ARGUMENT,
        ledger.MalformedCbor: _Code.INVALID_ARGUMENT,
        ledger.MalformedGenesis: _Code.INVALID_ARGUMENT,
        SetNotBridgeable: _Code.FAILED_PRECONDITION,
        ledger.WrongConsortium: _Code.FAILED_PRECONDITION,
        ledger.InvalidStatementSignature: _Code.UNAUTHENTICATED,
        ledger.UnknownMember: _Code.PERMISSION_DENIED,
        ledger.RoleForbids: _Code.PERMISSION_DENIED,
        MissingChunks: _Code.FAILED_PRECONDITION,
        NotAValidator: _Code.FAILED_PRECONDITION,
        OtherEpoch: _Code.FAILED_PRECONDITION,
        # The moment must change: each of these is worth another try.
        Overloaded: _Code.RESOURCE_EXHAUSTED,
        TooManyCalls: _Code.RESOURCE_EXHAUSTED,
        NotReadyYet: _Code.UNAVAILABLE,
        NodeNotRunning: _Code.UNAVAILABLE,
        NotYetFinal: _Code.DEADLINE_EXCEEDED,
        DeadlinePassed: _Code.DEADLINE_EXCEEDED,
    }
)
"""The one table: by the error's class, or its nearest base listed here. The reason is the error's own `code`."""

_MENDABLE = frozenset(
    {
        _Code.INVALID_ARGUMENT,
        _Code.FAILED_PRECONDITION,
        _Code.OUT_OF_RANGE,
        _Code.UNAUTHENTICATED,
        _Code.PERMISSION_DENIED,
    }
)
"""Statuses for which another request may succeed: these carry a BadRequest."""


def shorten(text: str, chars_max: int = VALUE_CHARS_MAX) -> str:
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


def code_of(error: RequestError) -> tuple[grpc.StatusCode, str]:
    """Status and reason of an error: of its class, or of the nearest base class in the table."""
    status = next((STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES), _Code.INVALID_ARGUMENT)
    return status, str(getattr(error, "code", InvalidRequest.code))


def fields_of(error: RequestError) -> tuple[str, str, str]:
    """(field, value, expected) of an error, shortened, as text; empty where it has none."""
    field, value, expected = (getattr(error, name, "") for name in ("field", "value", "expected"))
    return str(field), shorten(value.hex() if isinstance(value, bytes) else str(value)), shorten(str(expected), 256)


def status_of(error: RequestError) -> status_pb2.Status:
    """The google.rpc.Status a caller gets for `error`."""
    code, reason = code_of(error)
    field, value, expected = fields_of(error)
    status = status_pb2.Status(code=code.value[0], message=shorten(str(error), MESSAGE_CHARS_MAX))
    metadata = {name: text for name, text in (("field", field), ("value", value), ("expected", expected)) if text}
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata))
    if field and code in _MENDABLE:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=field, reason=reason, description=f"expected {expected}, got {value}"
        )
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    retry_after_ms = getattr(error, "retry_after_ms", None)
    if retry_after_ms is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(retry_after_ms)
        status.details.add().Pack(retry)
    return status


def internal_status(reference: str) -> status_pb2.Status:
    """What a caller gets for an error that is ours: no internals, only the word by which the operator finds it."""
    status = status_pb2.Status(
        code=code_pb2.INTERNAL,
        message=f"internal error; the node's operator finds it in the log as {reference}",
    )
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"reference": reference})
    status.details.add().Pack(info)
    return status
