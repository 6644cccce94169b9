"""The metrics page: HTTP on a loopback port of the reader process, as much of HTTP as a scraper needs, and bounded.

Here and not in the node process: a scrape, or a thousand, costs no vote. It says what the node process said last, and
goes on saying that it does not run where it does not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from node.metrics import CONTENT_TYPE, render
from node.rpc.answers import status_from_wire
from node.rpc.reads import ReadService
from node.store.errors import StoreNotReady

HEAD_BYTES_MAX: Final = 8 * 1024
CONNECTIONS_MAX: Final = 16
EXCHANGE_SECONDS_MAX: Final = 5.0
"""From the connection to the last byte of the answer."""
RETRY_SECONDS: Final = 10.0
"""Between tries to get a port that is taken: metrics are no reason to serve nothing else."""

_log = logging.getLogger(__name__)

Page = Callable[[], Awaitable[bytes]]


def page_of(reads: ReadService) -> Page:
    """The page of a node: what its status says."""

    async def page() -> bytes:
        return render(status_from_wire(await reads.status()))

    return page


class MetricsServer:
    """Answers GET /metrics with the page, one request a connection."""

    def __init__(self, host: str, port: int, page: Page) -> None:
        self._host = host
        self._port = port
        self._page = page
        self._open = 0

    async def run(self) -> None:
        """Serves until cancelled."""
        said = False
        while True:
            try:
                server = await asyncio.start_server(self._exchange, self._host, self._port, limit=HEAD_BYTES_MAX)
            except OSError as error:
                if not said:
                    _log.error("no metrics at %s:%d: %s; trying again", self._host, self._port, error.strerror)
                said = True
                await asyncio.sleep(RETRY_SECONDS)
                continue
            _log.info("metrics at http://%s:%d/metrics", self._host, self._port)
            async with server:
                await server.serve_forever()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= CONNECTIONS_MAX:
                async with asyncio.timeout(EXCHANGE_SECONDS_MAX):
                    writer.write(await self._answer(reader))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever is slow, gone or longwinded gets nothing
        finally:
            self._open -= 1
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()  # closed, it would go on trying to send what nobody reads
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        method, path = (*head.split(b"\r\n", 1)[0].split(b" "), b"", b"")[:2]
        if path.split(b"?")[0] != b"/metrics":
            return _response("404 Not Found", b"the metrics are at /metrics\n")
        if method not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", b"GET only\n")
        try:
            body = await self._page()
        except StoreNotReady:
            return _response("503 Service Unavailable", b"the store is not made yet\n")
        return _response("200 OK", body, with_body=method == b"GET")


def _response(status: str, body: bytes, *, with_body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (body if with_body else b"")
