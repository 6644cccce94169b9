"""A node as far as claims' rights go: a real gRPC server that answers what a test gives it and keeps what it gets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import grpc

from protos import stretto_pb2 as pb


class RightsNode:
    """Answers ListEpochs, GetClaimRights and SubmitStatement; a statement is final at once, or refused as told."""

    def __init__(
        self,
        epochs: Sequence[pb.EpochRecord],
        rights: pb.GetClaimRightsResponse | None = None,
        *,
        refusal: pb.Refusal | None = None,
    ) -> None:
        """rights: None: the claim is not on record."""
        self.asked: list[tuple[bytes, int]] = []
        self.sent: list[bytes] = []
        self._epochs, self._rights, self._refusal = list(epochs), rights, refusal
        self._server = grpc.server(ThreadPoolExecutor(2))
        methods = {
            "ListEpochs": _method(self._list, pb.ListEpochsRequest),
            "GetClaimRights": _method(self._show, pb.GetClaimRightsRequest),
            "SubmitStatement": _method(self._submit, pb.SubmitStatementRequest),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("stretto.v1.Stretto", methods),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def _list(self, request: pb.ListEpochsRequest, _context: grpc.ServicerContext) -> pb.ListEpochsResponse:
        wanted = [record for record in self._epochs if record.epoch >= request.from_epoch]
        return pb.ListEpochsResponse(epochs=wanted, current=self._epochs[-1].epoch)

    def _show(self, request: pb.GetClaimRightsRequest, context: grpc.ServicerContext) -> pb.GetClaimRightsResponse:
        self.asked.append((request.statement_digest, request.position))
        if self._rights is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "statement_digest: not on record")
        assert self._rights is not None
        return self._rights

    def _submit(self, request: pb.SubmitStatementRequest, _context: grpc.ServicerContext) -> pb.SubmitStatementResponse:
        self.sent.append(request.statement)
        digest = hashlib.sha256(request.statement).digest()
        if self._refusal is not None:
            refused = pb.SubmissionResult(
                statement_digest=digest, state=pb.SUBMISSION_STATE_REFUSED, refusal=self._refusal
            )
            return pb.SubmitStatementResponse(result=refused)
        final = pb.SubmissionResult(
            statement_digest=digest, state=pb.SUBMISSION_STATE_FINAL, index=9, height=4, block_time_ms=1_800_000_000_000
        )
        return pb.SubmitStatementResponse(result=final)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(None)


def _method(answer: Callable[..., Any], request: Any) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(answer, request.FromString, lambda message: message.SerializeToString())
