"""What a worker of a cluster does: read files that it sees as the driving machine does. Imports no Ray.

A worker judges nothing alone. What it finds no sound audio, or sees otherwise than the driving machine, it names, and
the driving machine looks for itself: so a manifest does not depend on which machine read what.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from catalog.cluster.queue import Item
from catalog.energy import Energy, EnergyMeter, machine_sources
from catalog.examine import examine
from catalog.manifest import TrackRecord, encode_head
from catalog.scan import LeftOut, explain

PROBE_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A file that every worker must see as the driving machine does, before it is given work."""

    item: Item
    blake_head: bytes
    """SHA-256 of its first PROBE_BYTES."""
    head: bytes
    """First line of the manifest that the driving machine would write: algorithms, and versions of what decodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Who a worker is. blind: why it must get no work, or None."""

    host: str
    pid: int
    blind: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a batch, in its order."""

    lines: tuple[bytes | None, ...]
    """The manifest's line of each file; None where the worker cannot vouch for it."""
    cpu_s: float
    """Processor time of this process and of the programs it ran."""


def probe_of(item: Item) -> Probe:
    """Raises: OSError where the driving machine cannot read it itself."""
    return Probe(item=item, blake_head=_head_digest(item.path), head=head())


def _head_digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.sha256(file.read(PROBE_BYTES)).digest()


def record_of(path: Path, root: Path) -> TrackRecord:
    """Raises: LeftOut."""
    return TrackRecord.of(examine(path), root)


def head() -> bytes:
    return encode_head({})


class Worker:
    """One process that examines files, a batch at a time."""

    def __init__(self, root: Path) -> None:
        """root: of the paths in the manifest."""
        self._root = root
        self._meter: EnergyMeter | None = None

    def hello(self, probe: Probe, *, measure: bool, gpu: bool) -> Hello:
        """measure: this worker counts its machine's energy from now on."""
        if measure:
            self._meter = EnergyMeter(machine_sources(gpu=gpu))
            self._meter.__enter__()
        return Hello(host=platform.node(), pid=os.getpid(), blind=self._blind(probe))

    def examine(self, batch: tuple[Item, ...]) -> Answer:
        """Reads the files of a batch."""
        began_s = _cpu_s()
        lines = tuple(self._line(item) for item in batch)
        return Answer(lines=lines, cpu_s=_cpu_s() - began_s)

    def energy(self) -> tuple[Energy, ...]:
        """Of this machine since `hello`; stops measuring."""
        return self._meter.stop() if self._meter is not None else ()

    def _line(self, item: Item) -> bytes | None:
        if Item.of(item.path) != item:
            return None
        try:
            return record_of(item.path, self._root).encode()
        except LeftOut:
            return None

    @staticmethod
    def _blind(probe: Probe) -> str | None:
        path = probe.item.path
        if head() != probe.head:
            return f"it would write another manifest than this machine: {head().decode()} and not {probe.head.decode()}"
        try:
            status = path.stat()
            digest = _head_digest(path)
        except OSError as error:
            return f"it cannot read {path}: {explain(error)}; mount the same storage at the same path"
        if Item.of(path) != probe.item or digest != probe.blake_head:
            return f"it sees another {path} ({status.st_size} bytes); mount the same storage at the same path"
        return None


def _cpu_s() -> float:
    times = os.times()
    return time.process_time() + times.children_user + times.children_system
