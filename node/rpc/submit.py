"""The node process's half of the service: grpc.aio on a unix socket, in a thread with its own event loop.

trio has the main thread; nothing here ever waits for it, and it never waits for anything here (research/libp2p.md 6).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import grpc

from node.rosters import Rosters
from node.rpc.calls import SERVICE, Context, Handler, answering, stop, unary
from node.rpc.server import CALLS_MAX, SERVER_OPTIONS, STOP_SECONDS, CannotListen
from node.rpc.submission import SubmissionService
from node.rpc.types import Intake
from protos import stretto_pb2 as pb

SOCKET_PATH_BYTES_MAX: Final = 107
"""What fits in sockaddr_un.sun_path with its final zero (unix(7))."""
START_SECONDS_MAX: Final = 10.0

_log = logging.getLogger(__name__)


class SubmitServer:
    """Serves submissions and live status to the reader process; the socket's mode 0600 keeps everybody else out."""

    def __init__(self, *, socket: Path, rosters: Rosters, intake: Intake) -> None:
        """socket: where to listen, DIR/submit.sock. intake: the loop's side; see `Intake` for its duties."""
        self._socket = socket
        self._rosters = rosters
        self._intake = intake
        self._started: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        # A daemon: if trio dies without `stop`, the process must be able to end.
        self._thread = threading.Thread(target=self._run, name="submit", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Returns once it accepts calls. Blocks for some milliseconds: under trio, call it in a worker thread.

        Raises: CannotListen.
        """
        self._thread.start()
        self._started.result(START_SECONDS_MAX)

    def stop(self) -> None:
        """Ends calls in progress, with STOP_SECONDS of grace; returns when the thread is gone. Blocks likewise."""
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_SECONDS + 1)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001  the top of the thread: `start` raises it, or it is logged
            if self._started.done():
                _log.exception("the submit service ended")
            else:
                self._started.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = grpc.aio.server(options=SERVER_OPTIONS, maximum_concurrent_rpcs=CALLS_MAX)
        server.add_generic_rpc_handlers((_handlers(SubmissionService(self._rosters, self._intake)),))
        bind_private(server, self._socket)
        await server.start()
        self._started.set_result(None)
        try:
            await self._stop.wait()
        finally:
            await stop(server)


def _handlers(service: SubmissionService) -> grpc.GenericRpcHandler:
    async def submit_statements(requests: AsyncIterator[bytes], context: Context) -> None:
        async with answering("SubmitStatements", context):
            await service.submit_statements(requests, context)

    stream: Handler = grpc.stream_stream_rpc_method_handler(submit_statements)
    methods = {
        "SubmitStatement": unary("SubmitStatement", pb.SubmitStatementRequest, service.submit_statement),
        "SubmitStatements": stream,
        "NodeStatus": unary("NodeStatus", pb.NodeStatusRequest, service.node_status),
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


def bind_private(server: grpc.aio.Server, path: Path) -> None:
    """Binds a unix socket that only this user can connect to. A stale one is replaced. Raises: CannotListen."""
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        expected = f"unix sockets need at most {SOCKET_PATH_BYTES_MAX} bytes: move the node's folder to a shorter path"
        raise CannotListen(str(path), f"a path of {len(os.fsencode(path))} bytes", expected)
    # Made private from its first instant; the mask is the process's, and for others it only makes files more private.
    mask = os.umask(0o077)
    try:
        server.add_insecure_port(f"unix:{path}")
        path.chmod(0o600)
    except (RuntimeError, OSError) as error:
        raise CannotListen(
            str(path), "the socket cannot be made", "check that the folder exists and is yours"
        ) from error
    finally:
        os.umask(mask)
