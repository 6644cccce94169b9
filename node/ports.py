"""Free loopback ports for the devnets of one machine, so that no two of them ever meet at one.

A port that was looked at and let go is anybody's until its node listens there, and again while that node is down. So
each process takes its ports from blocks of its own, which it holds until it ends.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

LISTEN_PORT_MIN = 10_000
BLOCK_PORTS = 64
BLOCKS_MAX = 8
"""A process that asks for more (a long test run) gets ports of its own first block again, those that are free."""


class PortBlocks:
    """The blocks of this process, and where in them the next port is."""

    def __init__(self) -> None:
        self._blocks: list[int] = []
        """First port of each."""
        self._held: list[socket.socket] = []
        self._given = 0

    def next_port(self) -> int:
        """Of a block of this process; one of no block where others hold them all, or where none can be held."""
        index, place = divmod(self._given, BLOCK_PORTS)
        if index == len(self._blocks) and (index == BLOCKS_MAX or not self._take_block()):
            if not self._blocks:
                return LISTEN_PORT_MIN + secrets.randbelow(_first_outgoing_port() - LISTEN_PORT_MIN)
            self._given = index = place = 0
        self._given += 1
        return self._blocks[index] + place

    def _take_block(self) -> bool:
        count = (_first_outgoing_port() - LISTEN_PORT_MIN) // BLOCK_PORTS
        begin = secrets.randbelow(count)
        for number in range(count):
            first = LISTEN_PORT_MIN + (begin + number) % count * BLOCK_PORTS
            if (held := _hold(first)) is not None:
                self._blocks.append(first)
                self._held.append(held)
                return True
        return False


def _hold(first: int) -> socket.socket | None:
    """A name that one process can have at a time, and that the kernel frees when it ends (unix(7), abstract names)."""
    held = socket.socket(socket.AF_UNIX)
    try:
        held.bind(f"\0stretto-ports-{first}")
    except OSError:
        held.close()
        return None
    return held


_of_process: dict[int, PortBlocks] = {}
"""By process id: one that was forked must not take its parent's."""


def free_ports(count: int) -> Iterator[int]:
    """Free loopback ports, all different.

    Below those that the system deals out for outgoing connections: one of these might take a port that a stopped node
    comes back to.
    """
    blocks = _of_process.setdefault(os.getpid(), PortBlocks())
    with contextlib.ExitStack() as stack:
        while count:
            # Held while the others are chosen: a process that comes round to its first block must not give one twice.
            probe = stack.enter_context(socket.socket())
            port = blocks.next_port()
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            count -= 1
            yield port


def _first_outgoing_port() -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        if first >= LISTEN_PORT_MIN + 1_000:
            return first
    return 32_768
