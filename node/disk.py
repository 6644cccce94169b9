"""How much room the chain store takes and has left; read by the reader process, which has no writer to wait for."""

from __future__ import annotations

import os
from dataclasses import dataclass

from node.config import NodeConfig

ROOM_BYTES_MIN = 64 * 2**20
"""With less free than this a commit may fail at any time: LMDB grows its file by pages as they are needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """store_bytes: taken by the chain store's file. store_bytes_max: its limit. free_bytes: on its file system."""

    store_bytes: int
    store_bytes_max: int
    free_bytes: int

    @property
    def is_full(self) -> bool:
        return self.free_bytes < ROOM_BYTES_MIN or self.store_bytes + ROOM_BYTES_MIN > self.store_bytes_max


def disk_of(config: NodeConfig) -> Disk | None:
    """None where it cannot be looked at, such as before the store is made."""
    try:
        file, system = (config.chain_path / "data.mdb").stat(), os.statvfs(config.chain_path)
    except OSError:
        return None
    return Disk(
        # LMDB's file may be sparse: what it takes is its blocks, not its length (stat(2): units of 512 bytes).
        store_bytes=file.st_blocks * 512,
        store_bytes_max=config.store_bytes_max,
        free_bytes=system.f_bavail * system.f_frsize,
    )
