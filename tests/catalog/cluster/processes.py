"""Which processes a process has started, what they are, and on which addresses they listen. Linux.

By descent, not by name: so only our own are ever looked at, or ended.
"""

from __future__ import annotations

import ipaddress
import os
import struct
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """started: in clock ticks since boot, which tells it from another one that gets its number later."""

    pid: int
    started: int
    parent: int
    command: str


def process(pid: int) -> Process | None:
    """None where there is none, or only its status is still to be fetched."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        command = (PROC / str(pid) / "cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace")
    except OSError:
        return None
    return None if fields[0] in "ZX" else Process(pid, int(fields[19]), int(fields[1]), command)


def descendants(pid: int) -> set[Process]:
    """All processes below `pid`, without it."""
    running = [one for entry in PROC.iterdir() if entry.name.isdigit() and (one := process(int(entry.name)))]
    found: set[Process] = set()
    parents = {pid}
    while parents:
        level = {one for one in running if one.parent in parents} - found
        found |= level
        parents = {one.pid for one in level}
    return found


def still_running(known: set[Process]) -> set[Process]:
    """Those of `known` that have not ended."""
    return {one for one in known if (now := process(one.pid)) is not None and now.started == one.started}


def listening(processes: set[Process]) -> set[str]:
    """Addresses on which any of them takes TCP connections."""
    inodes = {inode for one in processes for inode in _sockets(one.pid)}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in (PROC / "net" / table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                raw = bytes.fromhex(fields[1].partition(":")[0])
                words = struct.unpack(f"={len(raw) // 4}I", raw)
                address = ipaddress.ip_address(struct.pack(f">{len(words)}I", *words))
                mapped = getattr(address, "ipv4_mapped", None)
                found.add(str(mapped or address))
    return found


def _sockets(pid: int) -> set[str]:
    found = set()
    try:
        for entry in (PROC / str(pid) / "fd").iterdir():
            target = os.readlink(entry)  # noqa: PTH115  a socket is no path
            if target.startswith("socket:["):
                found.add(target[len("socket:[") : -1])
    except OSError:
        pass
    return found
