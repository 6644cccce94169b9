"""BLAKE3 on GPUs through pycuda: two streams with page-locked buffers, so that copies and kernels overlap.

pycuda and the driver are imported only when a GPU is asked for. Digests never depend on which backend made them; what
cannot be done here is a `DeviceError` that says why, and the caller hashes on the CPU instead.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kernels.plan import BLOCK_THREADS, Plan, plan_batch
from kernels.subtrees import BLOCK_BYTES, CHUNK_BYTES, IV, Words

PTX: Final = Path(__file__).with_name("blake3.ptx")
SLOTS: Final = 2
"""Batches under way at once on a device: one is filled or fetched while the other is copied and hashed."""
BATCH_BYTES_DEFAULT: Final = 256 << 20
PIECES_MAX: Final = 65_536
MEMORY_SHARE: Final = 0.5
"""Of the device's free memory, at most this is taken: others may live there too."""
_CV_BYTES: Final = 32
_TABLES_BYTES: Final = 16 << 20
"""Of a plan: 36 bytes a piece, and 8 for each launch it takes part in, of which there are at most 24."""

_SIGNATURES: Final = {
    "b3_chunks": "PPPPPIPIP", "b3_tiles": "PPPPPIPIP", "b3_level": "PPPPIIPIP", "b3_collect": "PIPP",
}  # fmt: skip


class DeviceError(Exception):
    """A GPU cannot be used, or failed. reason: one line, with what to do where that is known."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """A GPU as it names itself."""

    ordinal: int
    name: str
    capability: tuple[int, int]
    memory_bytes: int
    bus_id: str


def ptx_digest() -> str:
    """SHA-256 of the shipped kernels, hexadecimal: what a calibration is valid for."""
    return hashlib.sha256(PTX.read_bytes()).hexdigest()


@cache
def _driver() -> Any:
    """pycuda's driver interface, initialised. Raises: DeviceError."""
    try:
        from pycuda import driver  # noqa: PLC0415  the extra `gpu`
    except ImportError as error:
        missing = "libcuda" in str(error)
        hint = "no NVIDIA driver here" if missing else "pycuda is not installed: pip install 'stretto[gpu]'"
        raise DeviceError(f"{hint} ({error})") from error
    try:
        driver.init()
    except driver.Error as error:
        raise DeviceError(f"the driver finds no GPU ({error})") from error
    return driver


def devices() -> tuple[DeviceInfo, ...]:
    """All GPUs of this machine. Raises: DeviceError where there is none, or no driver."""
    driver = _driver()
    found = []
    for ordinal in range(driver.Device.count()):
        device = driver.Device(ordinal)
        found.append(
            DeviceInfo(
                ordinal=ordinal,
                name=device.name(),
                capability=tuple(device.compute_capability()),
                memory_bytes=device.total_memory(),
                bus_id=device.pci_bus_id(),
            )
        )
    return tuple(found)


class _Slot:
    """One batch: its stream, page-locked buffers, and what it has on the device."""

    def __init__(self, driver: Any, batch_bytes: int, slots_max: int) -> None:
        self.stream = driver.Stream()
        self.host: NDArray[np.uint8] = driver.pagelocked_empty(batch_bytes, np.uint8)
        self.out: NDArray[np.uint32] = driver.pagelocked_empty((PIECES_MAX, 8), np.uint32)
        self.data = driver.mem_alloc(batch_bytes)
        self.cvs = driver.mem_alloc(slots_max * _CV_BYTES)
        self.digests = driver.mem_alloc(PIECES_MAX * _CV_BYTES)
        self.host_tables: NDArray[np.uint8] = driver.pagelocked_empty(_TABLES_BYTES, np.uint8)
        self.tables = driver.mem_alloc(_TABLES_BYTES)
        self.tables_used = 0
        self.pieces = 0

    def table(self, array: NDArray[np.generic]) -> int:
        """Puts a part of the plan beside the others, which travel in one copy. Returns its address on the device."""
        start = self.tables_used
        end = start + array.nbytes
        assert end <= _TABLES_BYTES, f"a plan of {PIECES_MAX} pieces fits"
        self.host_tables[start:end] = array.reshape(-1).view(np.uint8)
        self.tables_used = -(-end // 16) * 16
        return int(self.tables) + start

    def free(self) -> None:
        """Gives the device's memory back; what is page-locked goes with its arrays."""
        for memory in (self.data, self.cvs, self.digests, self.tables):
            memory.free()


class CudaDevice:
    """One GPU, ready to hash batches. Not for several threads at once.

    Invariant: a slot is filled only while no batch is under way in it; `submit` and `digests` take turns.
    """

    def __init__(self, ordinal: int = 0, *, batch_bytes: int = BATCH_BYTES_DEFAULT) -> None:
        """batch_bytes: of one batch, shrunk to what the device's memory allows. Raises: DeviceError."""
        self._driver = driver = _driver()
        with self._errors("cannot be opened"):
            self._context = driver.Device(ordinal).make_context()
        try:
            with self._errors("cannot be prepared"):
                module = driver.module_from_buffer(PTX.read_bytes())
                self._kernels = {name: module.get_function(name).prepare(s) for name, s in _SIGNATURES.items()}
                free, _ = driver.mem_get_info()
                # A batch, its chaining values (1/32 of it, and one for each piece) and its tables, for each slot.
                affordable = int(free * MEMORY_SHARE / SLOTS) - PIECES_MAX * 2 * _CV_BYTES - _TABLES_BYTES
                self.batch_bytes = _batch_bytes(
                    batch_bytes, affordable, f"GPU {ordinal}: {free} bytes of memory are free"
                )
                slots_max = self.batch_bytes // CHUNK_BYTES + PIECES_MAX
                self._slots = [_Slot(driver, self.batch_bytes, slots_max) for _ in range(SLOTS)]
        except BaseException:
            self._context.pop()
            raise
        self._context.pop()

    def close(self) -> None:
        """Waits for what is under way, and leaves the device."""
        self._context.push()
        try:
            with contextlib.suppress(self._driver.Error):
                self._context.synchronize()
            with contextlib.suppress(self._driver.Error):
                for slot in self._slots:
                    slot.free()
            self._slots.clear()
        finally:
            self._context.pop()
            self._context.detach()

    def buffer(self, slot: int) -> memoryview:
        """Where a batch is packed: piece after piece, each at the next multiple of 64."""
        return self._slots[slot].host.data

    def submit(
        self, slot: int, sizes: Sequence[int], *, counters: Sequence[int] | None = None,
        whole: Sequence[bool] | None = None, key: Words = IV, mode: int = 0,
    ) -> None:  # fmt: skip
        """Starts to hash what was packed into the slot's buffer, and returns. Arguments as `kernels.plan.plan_batch`.

        Raises: DeviceError; ValueError where the batch does not fit.
        """
        if not 1 <= len(sizes) <= PIECES_MAX:
            raise ValueError(f"sizes: expected 1 to {PIECES_MAX} pieces, got {len(sizes)}")
        plan = plan_batch(sizes, counters=counters, whole=whole)
        if plan.buffer_bytes > self.batch_bytes:
            raise ValueError(f"sizes: {plan.buffer_bytes} bytes packed, a batch holds {self.batch_bytes}")
        with self._current():
            self._start(self._slots[slot], plan, key, mode)

    def digests(self, slot: int) -> list[bytes]:
        """Waits for the slot's batch: 32 bytes of each piece, in order. Raises: DeviceError."""
        busy = self._slots[slot]
        with self._current():
            busy.stream.synchronize()
        return [row.tobytes() for row in busy.out[: busy.pieces]]

    def _start(self, slot: _Slot, plan: Plan, key: Words, mode: int) -> None:
        driver, stream = self._driver, slot.stream
        slot.tables_used = 0
        pieces, first_slot = slot.table(plan.pieces), slot.table(plan.first_slot)
        keys = slot.table(np.array(key, dtype=np.uint32))
        lists = [(slot.table(launch.listed), slot.table(launch.sums)) for launch in plan.launches]
        # Nothing is allocated or freed from here on: both would wait for the other slot's work.
        driver.memcpy_htod_async(slot.tables, slot.host_tables[: slot.tables_used], stream)
        if plan.buffer_bytes:
            driver.memcpy_htod_async(slot.data, slot.host[: plan.buffer_bytes], stream)
        for launch, (listed, sums) in zip(plan.launches, lists, strict=True):
            count = int(launch.listed.size)
            if launch.level is None:
                arguments = (slot.data, pieces, first_slot, listed, sums, count, keys, mode, slot.cvs)
            else:
                arguments = (pieces, first_slot, listed, sums, count, launch.level, keys, mode, slot.cvs)
            self._call(launch.kernel, launch.grid, stream, *arguments)
        slot.pieces = len(plan.pieces)
        grid = -(-slot.pieces * 8 // BLOCK_THREADS)
        self._call("b3_collect", grid, stream, first_slot, slot.pieces, slot.cvs, slot.digests)
        driver.memcpy_dtoh_async(slot.out[: slot.pieces], slot.digests, stream)

    def _call(self, kernel: str, grid: int, stream: Any, *arguments: Any) -> None:
        self._kernels[kernel].prepared_async_call((grid, 1), (BLOCK_THREADS, 1, 1), stream, *arguments)

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        self._context.push()
        try:
            with self._errors("failed"):
                yield
        finally:
            self._context.pop()

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._driver.MemoryError as error:
            raise DeviceError(f"the GPU {what}: out of memory ({error}); give it smaller batches") from error
        except self._driver.Error as error:
            old = "PTX_VERSION" in str(error) or "NO_BINARY" in str(error)
            hint = "; its driver or the device is too old for these kernels: update the NVIDIA driver" if old else ""
            raise DeviceError(f"the GPU {what} ({error}){hint}") from error


def _batch_bytes(wanted: int, affordable: int, what: str) -> int:
    """Raises: DeviceError where not even two chunks fit."""
    found = min(wanted, int(affordable / 1.1)) // CHUNK_BYTES * CHUNK_BYTES
    if found < 2 * CHUNK_BYTES:
        raise DeviceError(f"{what}, too few for a batch")
    return found


def packed_bytes(size: int) -> int:
    """What a piece takes in a batch."""
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES
