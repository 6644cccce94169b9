"""The inbox: frames of all peers in one bounded channel, one frame of each peer and class in turn.

A peer that floods fills its own queue and is back-pressured (its stream is read no further); the others do not notice.
"""

from __future__ import annotations

from collections import deque

import trio

from node.network.values import INBOX_BYTES_MAX, INBOX_FRAMES_MAX, Inbound, StreamClass

CHANNEL_FRAMES = 16
"""Frames ready for the consumer at once: the most one peer's flood can put before another peer's next frame."""

_Key = tuple[str, StreamClass]


class _Queue:
    def __init__(self) -> None:
        self.frames: deque[Inbound] = deque()
        self.size = 0
        self.room = trio.Event()


class Inbox:
    """`put` from the readers, `inbound` for the consumer, `run` between them."""

    def __init__(self) -> None:
        self._send, self.inbound = trio.open_memory_channel[Inbound](CHANNEL_FRAMES)
        self._queues: dict[_Key, _Queue] = {}
        self._turns: deque[_Key] = deque()
        self._wake = trio.Event()

    def offer(self, item: Inbound) -> bool:
        """Takes one frame, or says that its peer's queue is full."""
        if not self._turns:
            try:
                self._send.send_nowait(item)
            except trio.WouldBlock:
                pass
            else:
                return True
        key = (item.member_id, item.cls)
        queue = self._queues.setdefault(key, _Queue())
        if queue.frames and (
            len(queue.frames) >= INBOX_FRAMES_MAX or queue.size + len(item.frame) > INBOX_BYTES_MAX[item.cls]
        ):
            return False
        if not queue.frames:
            self._turns.append(key)
            self._wake.set()
        queue.frames.append(item)
        queue.size += len(item.frame)
        return True

    async def put(self, item: Inbound) -> None:
        """Takes one frame, waiting for room. The caller bounds the wait."""
        while not self.offer(item):
            queue = self._queues[item.member_id, item.cls]
            if queue.room.is_set():
                queue.room = trio.Event()
            await queue.room.wait()

    def held_bytes(self, member_id: str) -> int:
        return sum(queue.size for (member, _), queue in self._queues.items() if member == member_id)

    async def run(self) -> None:
        """Moves frames to the consumer in turns, for ever."""
        while True:
            while not self._turns:
                self._wake = trio.Event()
                await self._wake.wait()
            key = self._turns[0]
            queue = self._queues[key]
            await self._send.send(queue.frames[0])
            # Only now does its turn end: `offer` must not overtake what waits.
            item = queue.frames.popleft()
            queue.size -= len(item.frame)
            self._turns.popleft()
            queue.room.set()
            if queue.frames:
                self._turns.append(key)
            else:
                del self._queues[key]
