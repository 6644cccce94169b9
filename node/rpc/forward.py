"""The reader's way to the node process: requests and answers pass as the bytes they are, errors with their details."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc

from node.rpc.calls import SERVICE, UNARY_SECONDS_MAX, Call, Context, Handler, Turnstile, answering
from node.rpc.errors import DeadlinePassed, NodeNotRunning
from node.rpc.server import CHANNEL_OPTIONS
from protos import stretto_pb2 as pb

SUBMIT_STREAMS_MAX: Final = 64
SUBMIT_STREAMS_PER_CLIENT_MAX: Final = 16
LIVE_SECONDS_MAX: Final = 1.0
"""How long a status waits for the node process before it says that consensus is not running."""

if TYPE_CHECKING:  # generic only in their stubs
    _Unary = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
    _Stream = grpc.aio.StreamStreamMultiCallable[bytes, bytes]

_DETAILS: Final = "grpc-status-details-bin"


class NodeLink:
    """A channel to the node process's unix socket. It reconnects by itself, within a second of the node's return."""

    def __init__(self, socket: Path) -> None:
        # Else gRPC sends the socket's path as the HTTP/2 host, where not every path is legal.
        options = (*CHANNEL_OPTIONS, ("grpc.default_authority", "node"))
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options=options)
        self._streams = Turnstile("submission streams", SUBMIT_STREAMS_MAX, SUBMIT_STREAMS_PER_CLIENT_MAX)
        self._status: _Unary = self._channel.unary_unary(f"/{SERVICE}/NodeStatus")

    async def close(self) -> None:
        await self._channel.close()

    async def live(self) -> pb.NodeStatusResponse:
        """The node process's part of NodeStatus; where it does not answer: `consensus_running` false, and whether its
        socket is there all the same (`process_silent`: it is stopped, or so busy that it answers nobody)."""
        try:
            data = await self._status(b"", timeout=LIVE_SECONDS_MAX)
        except grpc.aio.AioRpcError as error:
            silent = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            return pb.NodeStatusResponse(consensus_running=False, process_silent=silent)
        return pb.NodeStatusResponse.FromString(data)

    def unary(self, method: str) -> Handler:
        """Forwards a unary method, with the caller's deadline. Raises: NodeNotRunning, DeadlinePassed."""
        forward: _Unary = self._channel.unary_unary(f"/{SERVICE}/{method}")

        async def handle(data: bytes, context: Context) -> bytes:
            async with answering(method, context):
                call = Call(context, UNARY_SECONDS_MAX)
                try:
                    return await forward(data, timeout=call.seconds)
                except grpc.aio.AioRpcError as error:
                    await _pass_on(method, error, call, context)
            raise AssertionError("answering() always aborts the call where it swallows an error")

        return grpc.unary_unary_rpc_method_handler(handle)

    def stream(self, method: str) -> Handler:
        """Forwards a stream both ways; each side reads as fast as the other takes. Raises: as `unary`; TooManyCalls."""
        forward: _Stream = self._channel.stream_stream(f"/{SERVICE}/{method}")

        async def handle(requests: AsyncIterator[bytes], context: Context) -> None:
            async with answering(method, context):
                call = Call(context, None)
                with self._streams.pass_through(call.client):
                    try:
                        async for answer in forward(requests, timeout=call.seconds):
                            await context.write(answer)
                    except grpc.aio.AioRpcError as error:
                        await _pass_on(method, error, call, context)

        return grpc.stream_stream_rpc_method_handler(handle)


async def _pass_on(method: str, error: grpc.aio.AioRpcError, call: Call, context: Context) -> None:
    """Gives the caller the node's status, details and all; what gRPC itself said on the way is put in our words."""
    details = [(key, value) for key, value in error.trailing_metadata() or () if key == _DETAILS]
    if not details and error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        raise NodeNotRunning from None
    if not details and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        raise DeadlinePassed(method, call.seconds or 0.0) from None
    await context.abort(error.code(), error.details() or "", tuple(details))
