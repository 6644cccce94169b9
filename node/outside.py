"""What the loop needs of the world: ways out to the peers, and clocks."""

from __future__ import annotations

import time
from typing import Protocol

import trio


class Outbox(Protocol):
    """What the loop needs of the network. None ever blocks; a full queue drops, and consensus repeats itself."""

    def send_consensus(self, member_id: str, frame: bytes) -> None: ...
    def broadcast_consensus(self, frame: bytes) -> None:
        """To every other validator of the current epoch."""
        ...

    def broadcast_payload(self, frame: bytes) -> None: ...


class Clock:
    """The node's two clocks; the core gets both as Tick."""

    def monotonic_ms(self) -> int:
        return int(trio.current_time() * 1000)

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000
