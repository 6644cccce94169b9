"""Every error of ours becomes one status, with what the caller must mend."""

from __future__ import annotations

import importlib
import pkgutil

import grpc
import pytest
from google.rpc import error_details_pb2

import ledger
import node
from consensus.errors import RequestError
from ledger.errors import InvalidIdentifier, MalformedStatement, UnknownMember
from node.mempool import Overloaded
from node.rpc.errors import (
    STATUSES,
    VALUE_CHARS_MAX,
    InvalidRequest,
    NodeNotRunning,
    NotRecorded,
    NotYetFinal,
    code_of,
    internal_status,
    status_of,
)


def details(error: RequestError) -> dict[str, object]:
    found: dict[str, object] = {}
    for detail in status_of(error).details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            message = kind()
            if detail.Unpack(message):
                found[kind.__name__] = message
    return found


def every_request_error() -> list[type[RequestError]]:
    """All subclasses in ledger and node that a caller may meet: all but the network's, which speaks to peers."""
    for package in (ledger, node):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".evidence_files" not in module.name:
                importlib.import_module(module.name)
    found, queue = [], [RequestError]
    while queue:
        for cls in queue.pop().__subclasses__():
            if cls.__module__.startswith(("ledger.", "node.")) and not cls.__module__.startswith("node.network."):
                found.append(cls)
            queue.append(cls)
    return found


def test_every_request_error_has_its_row_or_its_bases() -> None:
    unmapped = [cls.__qualname__ for cls in every_request_error() if not any(base in STATUSES for base in cls.__mro__)]
    assert unmapped == []


def test_every_request_error_has_a_code_of_its_own() -> None:
    codes = [cls.code for cls in every_request_error()]
    assert all(code.isupper() for code in codes)
    assert len(set(codes)) == len(codes), sorted(codes)


def test_refused_field_is_named_with_value_and_expectation() -> None:
    found = details(InvalidIdentifier("isrc", "XX", "12 characters"))
    info, request = found["ErrorInfo"], found["BadRequest"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == ("INVALID_IDENTIFIER", "stretto")
    assert dict(info.metadata) == {"field": "isrc", "value": "XX", "expected": "12 characters"}
    assert isinstance(request, error_details_pb2.BadRequest)
    (violation,) = request.field_violations
    assert (violation.field, violation.reason) == ("isrc", "INVALID_IDENTIFIER")
    assert violation.description == "expected 12 characters, got XX"
    assert "RetryInfo" not in found


@pytest.mark.parametrize(
    ("error", "retry_ms"), [(Overloaded("a", "b", "c", retry_after_ms=70), 70), (NodeNotRunning(), 500)]
)
def test_error_that_passes_says_when_and_asks_for_no_change(error: RequestError, retry_ms: int) -> None:
    found = details(error)
    retry = found["RetryInfo"]
    assert isinstance(retry, error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == retry_ms
    assert "BadRequest" not in found


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (MalformedStatement("statement", b"x", "y"), grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_STATEMENT"),
        (UnknownMember("issuer", "x", "y"), grpc.StatusCode.PERMISSION_DENIED, "UNKNOWN_MEMBER"),
        (NotRecorded("digest", "x", "y"), grpc.StatusCode.NOT_FOUND, "NOT_RECORDED"),
        (NotYetFinal("statement", "x"), grpc.StatusCode.DEADLINE_EXCEEDED, "NOT_YET_FINAL"),
        (InvalidRequest("a", "b", "c"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    ],
)
def test_status_and_code(error: RequestError, status: grpc.StatusCode, code: str) -> None:
    assert code_of(error) == (status, code)
    assert status_of(error).code == status.value[0]


def test_long_values_are_shortened_so_that_trailers_fit() -> None:
    info = details(InvalidRequest("page", "f" * 100_000, "e" * 100_000))["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert len(info.metadata["value"]) == VALUE_CHARS_MAX
    assert len(status_of(InvalidRequest("page", "f" * 100_000, "e" * 100_000)).SerializeToString()) < 4096


def test_internal_status_carries_only_a_reference() -> None:
    status = internal_status("abcd")
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert "abcd" in status.message
