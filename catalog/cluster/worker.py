"""What a worker of a cluster does: read files that it sees as the driving machine does. Imports no Ray.

A worker vouches only for what the bytes themselves say. What it cannot read, or sees otherwise than the driving
machine, it names, and that machine looks for itself: so a manifest does not depend on which machine read what.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from catalog.cluster.queue import BATCH_BYTES_MAX, Item
from catalog.energy import Energy, EnergyMeter, machine_sources
from catalog.gpu import GpuHashing
from catalog.manifest import TrackRecord, encode_head
from catalog.record import algorithms_of, record_of
from catalog.scan import Cause, LeftOut, explain
from catalog.tools import Tools, find_tools
from kernels.dispatch import open_best

PROBE_BYTES: Final = 64 * 1024
GPU_BATCH_BYTES: Final = 2 * BATCH_BYTES_MAX
"""Of the GPU: a larger one would only hold memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A file that every worker must see as the driving machine does, before it is given work."""

    item: Item
    digest: bytes
    """SHA-256 of its first PROBE_BYTES."""
    head: bytes
    """First line of the manifest that the driving machine would write: with what it decodes and listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Who a worker is. blind: why it must get no work, or None."""

    host: str
    pid: int
    blind: str | None
    backend: str
    """What hashes there, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a batch, in its order."""

    results: tuple[TrackRecord | LeftOut | None, ...]
    """None where the worker cannot vouch for what it saw."""
    cpu_s: float
    """Processor time of this process, and of the programs it ran, since it began."""
    on_gpu: int = 0
    """Files whose BLAKE3 a GPU took part in."""


def probe_of(item: Item, tools: Tools) -> Probe:
    """Raises: OSError where the driving machine cannot read it itself."""
    return Probe(item=item, digest=_digest(item.path), head=encode_head(algorithms_of(tools)))


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.sha256(file.read(PROBE_BYTES)).digest()


class Worker:
    """One process that examines files, a batch at a time."""

    def __init__(self, *, fingerprints: bool) -> None:
        """fingerprints: whether they are asked for."""
        found = find_tools()
        self._tools = found if fingerprints else replace(found, fpcalc=None)
        self._meter: EnergyMeter | None = None
        self._gpu: GpuHashing | None = None

    def hello(self, probe: Probe, *, measure: bool, gpu: bool) -> Hello:
        """measure: this worker counts its machine's energy from now on. gpu: Ray gave it one."""
        backend = "CPU: the worker has no GPU"
        if gpu:
            hashing = GpuHashing(open_best(threads=1, batch_bytes=GPU_BATCH_BYTES))
            backend = hashing.why
            self._gpu = hashing if hashing.is_on else None
        if measure:
            self._meter = EnergyMeter(machine_sources(gpu=self._gpu is not None))
            self._meter.start()
        return Hello(host=platform.node(), pid=os.getpid(), blind=self._blind(probe), backend=backend)

    def examine(self, batch: tuple[Item, ...]) -> Answer:
        """Reads the files of a batch."""
        # What changes between the two readings is not what the driving machine saw: `_result` looks after both.
        known = self._gpu.digests(item.path for item in batch) if self._gpu is not None and self._gpu.is_on else {}
        results = tuple(self._result(item, known.get(item.path)) for item in batch)
        return Answer(results=results, cpu_s=_cpu_s(), on_gpu=len(known))

    def energy(self) -> tuple[Energy, ...]:
        """Of this machine since `hello`; stops measuring."""
        return self._meter.stop() if self._meter is not None else ()

    def _result(self, item: Item, blake3: bytes | None) -> TrackRecord | LeftOut | None:
        result = record_of(item.path, item.work.root, tools=self._tools, blake3=blake3)
        if Item.of(item.work) != item:
            return None
        # The content is what the driving machine would find too; that it vanished, or may not be read, may be us.
        certain = isinstance(result, TrackRecord) or result.cause is Cause.CONTENT
        return result if certain else None

    def _blind(self, probe: Probe) -> str | None:
        path, mine = probe.item.path, encode_head(algorithms_of(self._tools))
        if mine != probe.head:
            return (
                "with its programs it would write another manifest: "
                f"{mine.decode()} there, {probe.head.decode()} here; install the same ones"
            )
        try:
            digest = _digest(path)
        except OSError as error:
            return f"it cannot read {path}: {explain(error)}; mount the same storage at the same path"
        if Item.of(probe.item.work) != probe.item or digest != probe.digest:
            return f"it sees another {path} than this machine; mount the same storage at the same path"
        return None


def _cpu_s() -> float:
    times = os.times()
    return time.process_time() + times.children_user + times.children_system
