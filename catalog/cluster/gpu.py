"""BLAKE3 of a batch of files on the GPU that Ray gave a worker, where that was measured to be faster on its machine.

SHA-256, samples and fingerprints stay with the processor. The digest never depends on it (`kernels.dispatch`): what the
GPU cannot do, or does wrong, the processor does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from kernels.dispatch import Hasher, open_best
from kernels.sources import FileSource, Source

BATCH_BYTES = 64 << 20
"""Twice a worker's batch: a larger one would only hold memory."""


class GpuHashing:
    """Digests of batches, as long as a GPU takes part. why: which backend, and for which reason."""

    def __init__(self, hasher: Hasher | None = None) -> None:
        self._hasher = open_best(threads=1, batch_bytes=BATCH_BYTES) if hasher is None else hasher

    @property
    def is_on(self) -> bool:
        """False: the processor hashes as it reads, which is faster than to read twice."""
        return self._hasher.uses_gpu

    @property
    def why(self) -> str:
        return self._hasher.why

    def digests(self, paths: Iterable[Path]) -> dict[Path, bytes]:
        """BLAKE3 of each file that can be read; the others are missing."""
        found: dict[Path, bytes] = {}
        with ExitStack() as opened:
            files = list(_open(paths, opened))
            for (path, _), result in zip(files, self._hasher.hash([source for _, source in files]), strict=True):
                if result.digest is not None:
                    found[path] = result.digest
        return found


def _open(paths: Iterable[Path], opened: ExitStack) -> Iterator[tuple[Path, Source]]:
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            opened.callback(os.close, descriptor)
            yield path, FileSource(descriptor, os.fstat(descriptor).st_size)
        except OSError:
            continue  # whoever examines it says why
