"""What is hashed: bytes in memory, or whatever can read itself in pieces; and the CPU's way of hashing it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Protocol

from blake3 import blake3

if TYPE_CHECKING:
    from kernels.cpu import Buffer

READ_BYTES: Final = 1 << 20
"""One read on the CPU's way."""


class SourceError(Exception):
    """One source cannot be read, or is not what it was: its place in the results says so, the others go on."""


class Source(Protocol):
    """A message. Read by several threads, never two at once for one source."""

    @property
    def size(self) -> int:
        """Bytes."""

    def whole(self) -> memoryview | None:
        """All of it, where it is in memory anyway."""

    def read_into(self, offset: int, into: memoryview) -> None:
        """Fills `into` with what stands at `offset`. Pieces are asked for in order, each once; after a device has
        failed, all again from offset 0. Raises: SourceError."""


class BytesSource:
    """A message in memory."""

    __slots__ = ("_view",)

    def __init__(self, data: Buffer) -> None:
        self._view = memoryview(data).cast("B")

    @property
    def size(self) -> int:
        return len(self._view)

    def whole(self) -> memoryview | None:
        return self._view

    def read_into(self, offset: int, into: memoryview) -> None:
        into[:] = self._view[offset : offset + len(into)]


class FileSource:
    """An open file of `size` bytes, read at positions; whoever opened it closes it, once its digest is there."""

    __slots__ = ("_descriptor", "_size")

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size

    @property
    def size(self) -> int:
        return self._size

    def whole(self) -> memoryview | None:
        return None

    def read_into(self, offset: int, into: memoryview) -> None:
        done = 0
        while done < len(into):
            try:
                count = os.preadv(self._descriptor, [into[done:]], offset + done)
            except OSError as error:
                raise SourceError(error.strerror or str(error)) from error
            if count == 0:
                raise SourceError(f"ends at byte {offset + done}, {self._size} were there at first")
            done += count


def digest_on_cpu(source: Source, *, threads: int = 1) -> bytes:
    """BLAKE3 of a source, 32 bytes, in constant memory. threads: of a large message. Raises: SourceError."""
    view = source.whole()
    if view is not None:
        return blake3(view, max_threads=threads).digest()
    hasher = blake3(max_threads=threads)
    step = READ_BYTES if threads == 1 else 8 * READ_BYTES  # more threads want more to share
    buffer = memoryview(bytearray(min(source.size, step)))
    for offset in range(0, source.size, step):
        piece = buffer[: min(step, source.size - offset)]
        source.read_into(offset, piece)
        hasher.update(piece)
    return hasher.digest()
