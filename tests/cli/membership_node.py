"""A node as far as epochs and open votes go: a real gRPC server that answers what a test gives it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import grpc

from protos import stretto_pb2 as pb


class MembershipNode:
    """Answers ListEpochs in pages of `page` and GetGovernance with `votes`; anything else is unimplemented."""

    def __init__(self, epochs: Sequence[pb.EpochRecord], votes: pb.GetGovernanceResponse, *, page: int = 2) -> None:
        self._epochs = list(epochs)
        self._votes = votes
        self._page = page
        self._server = grpc.server(ThreadPoolExecutor(2))
        methods = {
            "ListEpochs": grpc.unary_unary_rpc_method_handler(
                self._list, pb.ListEpochsRequest.FromString, pb.ListEpochsResponse.SerializeToString
            ),
            "GetGovernance": grpc.unary_unary_rpc_method_handler(
                lambda _request, _context: self._votes,
                pb.GetGovernanceRequest.FromString,
                pb.GetGovernanceResponse.SerializeToString,
            ),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("stretto.v1.Stretto", methods),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def _list(self, request: pb.ListEpochsRequest, _context: grpc.ServicerContext) -> pb.ListEpochsResponse:
        wanted = [record for record in self._epochs if record.epoch >= request.from_epoch]
        return pb.ListEpochsResponse(epochs=wanted[: self._page], current=self._epochs[-1].epoch)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(None)
