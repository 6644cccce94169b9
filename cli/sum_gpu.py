"""`stretto hash` on a host with a calibrated GPU: used where there is enough to hash, in the same order and form.

With SHA-256 it stays with the processors: they read every byte for that anyway, and BLAKE3 is a sixth of the work.
"""

from __future__ import annotations

import os
from itertools import chain

from catalog.crew import Ready

TYPE_CHECKING = False  # see catalog.walk
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from catalog.content import Content
    from catalog.gpu import Made
    from kernels.dispatch import Hasher

LOOK_BYTES = 1 << 20
"""The smallest batch that a calibration measures: with less to hash, no calibration need be read."""


class Ahead:
    """Items, of which some are looked at before they are taken."""

    def __init__(self, items: Iterator[bytes | Ready]) -> None:
        self._items = items
        self._seen: list[bytes | Ready] = []
        self.seen_bytes = 0
        """Of the files looked at."""

    def look(self, size_bytes: int) -> bool:
        """Whether there is so much to hash; looks no farther than that."""
        while self.seen_bytes < size_bytes:
            item = next(self._items, None)
            if item is None:
                return False
            self._seen.append(item)
            if not isinstance(item, Ready):
                try:
                    self.seen_bytes += os.stat(item).st_size  # noqa: PTH116
                except (OSError, ValueError):
                    continue  # whoever reads it says why
        return True

    def all(self) -> Iterator[bytes | Ready]:
        return chain(self._seen, self._items)


def open_gpu(ahead: Ahead, *, threads: int, say: Callable[[str], None]) -> Hasher | None:
    """What hashes on a GPU; None where the processors do. say: told which one, or in a line why it cannot be used."""
    if not ahead.look(LOOK_BYTES):
        return None
    from kernels.dispatch import open_best, worth_from_bytes

    least = worth_from_bytes()
    if least is None or not ahead.look(least):
        return None
    hasher = open_best(threads=threads, expected_bytes=ahead.seen_bytes, say=say)
    if not hasher.uses_gpu:
        hasher.close()
        return None
    say(f"BLAKE3 by {hasher.why}")
    return hasher


def answers(
    hasher: Hasher,
    items: Iterator[bytes | Ready],
    *,
    threads: int,
    keep_bytes: int,
    make: Callable[[bytes, Content | None], bytes],
    advance: Callable[[int], None] | None,
) -> Iterator[bytes]:
    """The answers to `items`, in their order.

    keep_bytes: as `catalog.content.Reader`. make: the answer for one file; without its content it reads that itself.
    advance: told the bytes done so far.
    """
    from pathlib import Path

    from catalog.content import Content
    from catalog.gpu import GpuHashing
    from catalog.ordered import ordered_map

    def path_of(item: bytes | Ready) -> Path | None:
        return None if isinstance(item, Ready) else Path(os.fsdecode(item))

    def answer(hashed: tuple[bytes | Ready, Made | None]) -> tuple[bytes, int]:
        item, made = hashed
        if isinstance(item, Ready):
            return item.answer, 0
        if made is None:
            return make(item, None), 0
        return make(item, Content(made.state, made.digest, None)), made.state.st_size

    done = 0
    with hasher:
        hashing = GpuHashing(hasher, keep_bytes=keep_bytes)
        for found, size_bytes in ordered_map(answer, hashing.each(items, path_of), threads=threads):
            done += size_bytes
            if advance is not None:
                advance(done)
            yield found
