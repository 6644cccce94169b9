"""The wires between nodes, as a process that can cut, stall or slow each of them: python -m tests.campaign.proxy.

First line of its input: JSON list of [from, to, port of to]. It answers with the list of ports on which it listens, in
that order. Every further line sets wires: [[[a, b], ...], mode, delay_ms], for both directions of each pair. It ends
with its input, so that it is never left behind. Nothing it carries can be read: the nodes' noise is end to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from typing import Any

CHUNK_BYTES = 64 * 1024
CHUNKS_MAX = 64
"""Chunks on a slow wire; then it pushes back, as a full pipe does."""
PASS, CUT, STALL = "pass", "cut", "stall"
"""Cut: connections are reset and refused, as by a firewall that answers. Stall: nothing arrives and nobody is told, as
when packets are lost; what was under way arrives once the wire is whole again, as TCP would send it again."""


class Wire:
    """Connections of one node to one other."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.delay_s = 0.0
        self.mode = PASS
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()

    def set(self, mode: str, delay_ms: float) -> None:
        self.mode, self.delay_s = mode, delay_ms / 1000
        if mode == STALL:
            self._open.clear()
        else:
            self._open.set()
        if mode == CUT:
            for writer in self._writers:
                writer.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection that was accepted here, until either side ends it."""
        if self.mode == CUT:
            writer.transport.abort()
            return
        self._writers.add(writer)
        far_writer: asyncio.StreamWriter | None = None
        try:
            await self._open.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
            self._writers.add(far_writer)
            ways = [asyncio.create_task(self._way(*way)) for way in ((reader, far_writer), (far_reader, writer))]
            _, rest = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in rest:
                way.cancel()
        except OSError:
            pass  # the far node does not listen: the near one is told by the end of its connection
        finally:
            for each in (writer, far_writer):
                if each is not None:
                    each.transport.abort()
                    self._writers.discard(each)

    async def _way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_MAX)
        delivery = asyncio.create_task(self._deliver(under_way, writer))
        try:
            while data := await reader.read(CHUNK_BYTES):
                await under_way.put((time.monotonic() + self.delay_s, data))
            await under_way.put((time.monotonic() + self.delay_s, b""))
            await delivery
        except OSError:
            pass
        finally:
            delivery.cancel()

    async def _deliver(self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = await under_way.get()
                if (rest := due - time.monotonic()) > 0:
                    await asyncio.sleep(rest)
                await self._open.wait()
                if not data:
                    return
                writer.write(data)
                await writer.drain()


async def main() -> None:
    """Serves until the input ends."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    wires: dict[tuple[str, str], Wire] = {}
    ports: list[int] = []
    async with contextlib.AsyncExitStack() as stack:
        for near, far, port in json.loads(await lines.readline()):
            wire = wires[near, far] = Wire(port)
            server = await asyncio.start_server(wire.carry, "127.0.0.1", 0, limit=CHUNK_BYTES)
            stack.callback(server.close)
            ports.append(server.sockets[0].getsockname()[1])
        say(ports)
        while line := await lines.readline():
            pairs, mode, delay_ms = json.loads(line)
            for a, b in pairs:
                for pair in ((a, b), (b, a)):
                    wires[pair].set(mode, delay_ms)
            say("done")
        # The wires end with the process; asyncio would complain about each that it has to cancel.
        os._exit(0)


def say(document: Any) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
