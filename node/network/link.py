"""Our side of one member's connection: three long-lived outbound streams, each with its outbox and its one writer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import trio

from node.network.frames import LENGTH, Outbox
from node.network.tally import Tally
from node.network.transport import Connection, Stream, StreamBroken
from node.network.values import DIRECT_CLASSES, OUTBOX_BYTES_MAX, OUTBOX_FRAMES_MAX, StreamClass

REOPEN_S = 0.25
"""Pause before a broken stream is opened again on the same connection."""

logger = logging.getLogger(__name__)


def protocol_of(cls: StreamClass) -> str:
    return f"/stretto/1/{cls.value}"


class Link:
    """Streams towards one member while it is connected.

    `ready(member_id)` is called when all classes have a stream, and again whenever one broke and was opened anew:
    frames were lost, resync. `lost(member_id, cls)` is called when one breaks.
    """

    def __init__(
        self,
        member_id: str,
        connection: Connection,
        tally: Tally,
        *,
        ready: Callable[[str], None],
        lost: Callable[[str, StreamClass], None],
    ) -> None:
        self.member_id = member_id
        self.connection = connection
        self._tally = tally
        self._ready = ready
        self.was_ready = False
        """Whether all streams have been open at once."""
        self._lost = lost
        self._outboxes = {
            cls: Outbox(frames_max=OUTBOX_FRAMES_MAX, bytes_max=OUTBOX_BYTES_MAX[cls]) for cls in DIRECT_CLASSES
        }

    @property
    def is_ready(self) -> bool:
        return all(outbox.is_open for outbox in self._outboxes.values())

    def offer(self, cls: StreamClass, encoded: bytes, taken: trio.Event | None = None) -> bool:
        """Queues an encoded frame; False, and counted as dropped, when there is no room or no stream."""
        if self._outboxes[cls].offer(encoded, taken):
            return True
        self._tally.drops_out += 1
        return False

    async def run(self) -> None:
        """Serves the streams until the connection ends."""
        async with trio.open_nursery() as nursery:
            for cls in DIRECT_CLASSES:
                nursery.start_soon(self._keep_open, cls)
            await self.connection.closed.wait()
            nursery.cancel_scope.cancel()
        for cls, outbox in self._outboxes.items():
            self._tally.drops_out += outbox.close()
            self._lost(self.member_id, cls)

    async def _keep_open(self, cls: StreamClass) -> None:
        outbox = self._outboxes[cls]
        while not self.connection.closed.is_set():
            try:
                stream = await self.connection.open_stream(protocol_of(cls))
            except StreamBroken as error:
                level = logging.INFO if self.was_ready else logging.DEBUG
                logger.log(level, "%s stream to %s: %s", cls.value, self.member_id, error.reason)
            else:
                outbox.open(partial(self._write_now, stream))
                if self.is_ready:
                    self._ready(self.member_id)
                await self._serve(cls, stream, outbox)
                self._tally.streams_lost += 1
                self._lost(self.member_id, cls)
            await trio.sleep(REOPEN_S)

    def _write_now(self, stream: Stream, encoded: bytes) -> bool:
        if not stream.write_now(encoded):
            return False
        self._tally.frames_out += 1
        self._tally.bytes_out += len(encoded) - LENGTH.size
        return True

    async def _serve(self, cls: StreamClass, stream: Stream, outbox: Outbox) -> None:
        """Writes until the stream breaks. Any error is fatal: an unknown part of a frame has been sent."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, stream, outbox)
            frames = 0
            try:
                while True:
                    batch, frames = await outbox.take()
                    if not frames:
                        break
                    await stream.write(batch)
                    self._tally.frames_out += frames
                    self._tally.bytes_out += len(batch) - 4 * frames
            except StreamBroken as error:
                self._tally.drops_out += frames
                logger.info("%s stream to %s: %s", cls.value, self.member_id, error.reason)
            self._tally.drops_out += outbox.close()
            await stream.reset()
            nursery.cancel_scope.cancel()

    async def _watch(self, stream: Stream, outbox: Outbox) -> None:
        """Notices a stream the peer ended, which otherwise shows at the next write only. Nothing is ever sent on it.

        It closes the outbox and leaves the writer to notice: cancelling a write tears the encrypted connection.
        """
        with suppress(StreamBroken):
            await stream.read()
        self._tally.drops_out += outbox.close()
