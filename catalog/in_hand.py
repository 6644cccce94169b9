"""Which files are being read at this moment, on disk: what a process died over, the next one knows.

One slot a file, written in place and never synced: it survives the process, which is all that is asked of it. Who comes
after the power failed may trust nothing here and loses nothing by that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Final

IN_HAND_NAME: Final = "in_hand.bin"
SLOT_BYTES: Final = 4096
"""No path that a system call takes is longer."""
SUSPECTS_MAX: Final = 1024
_LENGTH: Final = 2


def parse_in_hand(data: bytes) -> tuple[bytes, ...]:
    """The paths in the slots that are taken, each once; what is no slot is passed over. Raises nothing."""
    found: dict[bytes, None] = {}
    for at in range(0, min(len(data), SLOT_BYTES * SUSPECTS_MAX), SLOT_BYTES):
        slot = data[at : at + SLOT_BYTES]
        length = int.from_bytes(slot[:_LENGTH], "little")
        if 0 < length <= len(slot) - _LENGTH and b"\0" not in (path := slot[_LENGTH : _LENGTH + length]):
            found[path] = None
    return tuple(found)


class InHand:
    """The slots of a scan under way. `hold` may be called in any of up to `threads` threads at once.

    Where its file cannot be written, nothing is noted: whatever ails the disk, the journal beside it says so better.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        earlier: tuple[bytes, ...] = ()
        with suppress(OSError), path.open("rb") as file:
            earlier = parse_in_hand(file.read(SLOT_BYTES * SUSPECTS_MAX))
        self._suspects = {os.fsdecode(name): threads + number for number, name in enumerate(earlier)}
        self._free: SimpleQueue[int] = SimpleQueue()
        for number in range(threads):
            self._free.put(number)
        self._file = -1
        draft = path.with_name(f".{path.name}.draft")
        with suppress(OSError):
            # All of it now: no room must be found for a note later. And whole or not at all: nobody is forgotten.
            draft.write_bytes(bytes(SLOT_BYTES * threads) + b"".join(map(_slot, earlier)))
            draft.replace(path)
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def is_suspect(self, path: Path) -> bool:
        """Whether a process died with this file in its hands, and nobody has read it since."""
        return str(path) in self._suspects

    @contextmanager
    def hold(self, path: Path) -> Iterator[None]:
        """Notes that the file is being read, for as long as that lasts."""
        slot = self._free.get()
        self._write(slot, os.fsencode(path))
        try:
            yield
        finally:
            self._write(slot, b"")
            self._free.put(slot)

    def clear(self, path: Path) -> None:
        """A suspect was read, whatever came of it."""
        self._write(self._suspects[str(path)], b"")

    def close(self, *, complete: bool) -> None:
        """complete: nothing is left that would have to be known."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if complete:
            with suppress(OSError):
                self._path.unlink()

    def _write(self, slot: int, path: bytes) -> None:
        if self._file >= 0 and len(path) <= SLOT_BYTES - _LENGTH:
            with suppress(OSError):
                os.pwrite(self._file, len(path).to_bytes(_LENGTH, "little") + path, slot * SLOT_BYTES)


def _slot(path: bytes) -> bytes:
    return (len(path).to_bytes(_LENGTH, "little") + path).ljust(SLOT_BYTES, b"\0")
