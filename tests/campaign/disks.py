"""A small disk for one node: a file system in memory. It needs the right to mount one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

DISK_BYTES = 96 * 2**20
ROOM_BYTES = 192 * 1024
"""What a filled disk still has: the load uses it up, so that the end comes in the middle of work."""


class Disk(Protocol):
    """A disk that can be filled and freed again. The node on it is down when `free` is called."""

    kind: str

    def fill(self) -> None: ...
    def free(self) -> None: ...


class MountedDisk:
    """A tmpfs under data/, filled by a file beside the node's own."""

    kind = "tmpfs"

    def __init__(self, data: Path) -> None:
        self._filler = data / "filler"

    def fill(self) -> None:
        room = shutil.disk_usage(self._filler.parent).free - ROOM_BYTES
        with self._filler.open("wb") as file:
            while room > 0:
                room -= file.write(bytes(min(room, 2**20)))

    def free(self) -> None:
        self._filler.unlink()


@contextmanager
def small_disk(node: Path) -> Iterator[Disk]:
    """Puts the data of a node that is down on a disk of its own. Raises: OSError where that is not possible here."""
    data, aside = node / "data", node / "data-aside"
    data.rename(aside)
    data.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "stretto-campaign", str(data)]
    mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    if not mounted:
        data.rmdir()
        aside.rename(data)
        raise OSError("no file system can be mounted here: run as root, or skip this fault")
    try:
        shutil.copytree(aside, data, dirs_exist_ok=True)
        yield MountedDisk(data)
    finally:
        # Lazily: a process that is just ending may still hold a file of it.
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(data, aside, ignore=shutil.ignore_patterns("filler", "lock.mdb"))
        subprocess.run(["umount", "-l", str(data)], check=False, capture_output=True)
        shutil.rmtree(data, ignore_errors=True)
        aside.rename(data)
