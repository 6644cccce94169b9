"""BLAKE3 on GPUs through pycuda: two streams with page-locked buffers, so that copies and kernels overlap.

Digests never depend on which backend made them; what cannot be done here is a `DeviceError` that says why, and the
caller hashes on the CPU instead. What was packed stays readable in `buffer` also when the device is lost.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kernels.devices import PTX, DeviceError, driver_interface
from kernels.plan import BLOCK_THREADS, Plan, plan_batch
from kernels.subtrees import BLOCK_BYTES, CHUNK_BYTES, IV, Words

SLOTS: Final = 2
"""Batches under way at once on a device: one is filled or fetched while the other is copied and hashed."""
BATCH_BYTES_DEFAULT: Final = 256 << 20
BATCH_BYTES_MIN: Final = 1 << 20
"""Holds every known answer; smaller ones are not worth a launch."""
PIECES_MAX: Final = 65_536
WAIT_SECONDS_MAX: Final = 120.0
"""For one batch: a hundred times what the slowest device needs."""
MEMORY_SHARE: Final = 0.5
"""Of the device's free memory, at most this is taken: others may live there too."""
_CV_BYTES: Final = 32
_TABLES_BYTES: Final = 16 << 20
"""Of a plan: 36 bytes a piece, and 8 for each launch it takes part in, of which there are at most 24."""

_SIGNATURES: Final = {
    "b3_chunks": "PPPPPIPIP", "b3_tiles": "PPPPPIPIP", "b3_level": "PPPPIIPIP", "b3_collect": "PIPP",
}  # fmt: skip


_Call = tuple[str, int, tuple[Any, ...]]
"""Kernel, grid, arguments."""


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
    """One GPU, ready to hash batches. For one thread: the one that opened it.

    Invariants: (1) a slot is filled only while no batch is under way in it; `submit` and `digests` take turns.
    (2) Once an error has come, `is_lost` is set and every later call is refused with the same reason.
    """

    def __init__(
        self, ordinal: int = 0, *, batch_bytes: int = BATCH_BYTES_DEFAULT, wait_seconds_max: float | None = None
    ) -> None:
        """batch_bytes: of one batch, shrunk to what the device's memory allows. wait_seconds_max: WAIT_SECONDS_MAX
        unless given. Raises: DeviceError."""
        self._driver = driver = driver_interface()
        self._wait_seconds_max = WAIT_SECONDS_MAX if wait_seconds_max is None else wait_seconds_max
        self._slots: list[_Slot] = []
        self._lost: str | None = None
        self._what = f"GPU {ordinal}"
        with self._errors("cannot be opened"):
            self._context = driver.Device(ordinal).make_context()
        try:
            with self._errors("cannot be prepared"):
                self._prepare(batch_bytes)
        except BaseException:
            # It may be short of memory only: what was taken goes back.
            self._lost = None
            self._context.pop()
            self.close()
            raise
        self._context.pop()

    def _prepare(self, batch_bytes: int) -> None:
        driver = self._driver
        module = driver.module_from_buffer(PTX.read_bytes())
        self._kernels = {name: module.get_function(name).prepare(s) for name, s in _SIGNATURES.items()}
        free, _ = driver.mem_get_info()
        # A batch, its chaining values (1/32 of it, and one for each piece) and its tables, for each slot.
        affordable = int(free * MEMORY_SHARE / SLOTS) - PIECES_MAX * 2 * _CV_BYTES - _TABLES_BYTES
        self.batch_bytes = _batch_bytes(batch_bytes, affordable, f"{self._what}: {free} bytes of memory are free")
        slots_max = self.batch_bytes // CHUNK_BYTES + PIECES_MAX
        for _ in range(SLOTS):
            self._slots.append(_Slot(driver, self.batch_bytes, slots_max))

    @property
    def is_lost(self) -> bool:
        return self._lost is not None

    def close(self) -> None:
        """Waits for what is under way, and leaves the device. Of a lost one nothing is asked any more."""
        with contextlib.suppress(DeviceError), self._current():
            for slot in self._slots:
                self._wait(slot.stream)
        if self._lost is not None:
            return
        self._context.push()
        try:
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
            busy = self._slots[slot]
            launches = self._upload(busy, plan, key, mode)
            self._launch(busy, launches)
            self._driver.memcpy_dtoh_async(busy.out[: busy.pieces], busy.digests, busy.stream)

    def digests(self, slot: int) -> list[bytes]:
        """Waits for the slot's batch: 32 bytes of each piece, in order. Raises: DeviceError."""
        busy = self._slots[slot]
        with self._current():
            self._wait(busy.stream)
        return [row.tobytes() for row in busy.out[: busy.pieces]]

    def kernel_seconds(self, slot: int, sizes: Sequence[int], *, repeats: int) -> float:
        """Seconds of one pass of the kernels over what is packed, bytes and results staying on the device.

        Raises: DeviceError.
        """
        driver, busy = self._driver, self._slots[slot]
        with self._current():
            launches = self._upload(busy, plan_batch(sizes), IV, 0)
            self._launch(busy, launches)  # once for nothing: the first is slower
            start, end = driver.Event(), driver.Event()
            start.record(busy.stream)
            for _ in range(repeats):
                self._launch(busy, launches)
            end.record(busy.stream)
            self._wait(busy.stream)
            return float(end.time_since(start)) / 1000 / repeats

    def _upload(self, slot: _Slot, plan: Plan, key: Words, mode: int) -> list[_Call]:
        """Sends the batch and its tables; the launches that hash it, in order."""
        slot.tables_used = 0
        slot.pieces = len(plan.pieces)
        pieces, first_slot = slot.table(plan.pieces), slot.table(plan.first_slot)
        keys = slot.table(np.array(key, dtype=np.uint32))
        calls: list[_Call] = []
        for launch in plan.launches:
            listed, sums, count = slot.table(launch.listed), slot.table(launch.sums), int(launch.listed.size)
            if launch.level is None:
                arguments = (slot.data, pieces, first_slot, listed, sums, count, keys, mode, slot.cvs)
            else:
                arguments = (pieces, first_slot, listed, sums, count, launch.level, keys, mode, slot.cvs)
            calls.append((launch.kernel, launch.grid, arguments))
        grid = -(-slot.pieces * 8 // BLOCK_THREADS)
        calls.append(("b3_collect", grid, (first_slot, slot.pieces, slot.cvs, slot.digests)))
        # Nothing is allocated or freed from here on: both would wait for the other slot's work.
        self._driver.memcpy_htod_async(slot.tables, slot.host_tables[: slot.tables_used], slot.stream)
        if plan.buffer_bytes:
            self._driver.memcpy_htod_async(slot.data, slot.host[: plan.buffer_bytes], slot.stream)
        return calls

    def _launch(self, slot: _Slot, calls: Sequence[_Call]) -> None:
        for kernel, grid, arguments in calls:
            self._kernels[kernel].prepared_async_call((grid, 1), (BLOCK_THREADS, 1, 1), slot.stream, *arguments)

    def _wait(self, stream: Any) -> None:
        """Asks instead of waiting in the driver, which has no deadline: a hung device must not hang us."""
        deadline, pause = time.monotonic() + self._wait_seconds_max, 20e-6
        while not stream.is_done():
            if time.monotonic() > deadline:
                raise DeviceError(f"{self._what} gives no answer within {self._wait_seconds_max:g} seconds")
            time.sleep(pause)
            pause = min(2 * pause, 1e-3)

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        if self._lost is not None:
            raise DeviceError(self._lost)
        self._context.push()
        try:
            with self._errors("failed"):
                yield
        except DeviceError:
            # Its memory cannot be given back, and trying prints warnings or waits for ever: it ends with the process.
            _keep_for_ever(self)
            raise
        finally:
            with contextlib.suppress(self._driver.Error):
                self._context.pop()

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._driver.MemoryError as error:
            self._lost = f"{self._what} {what}: out of memory ({error}); give it smaller batches"
            raise DeviceError(self._lost) from error
        except self._driver.Error as error:
            old = "PTX_VERSION" in str(error) or "NO_BINARY" in str(error)
            hint = "; its driver or the device is too old for these kernels: update the NVIDIA driver" if old else ""
            self._lost = f"{self._what} {what} ({error}){hint}"
            raise DeviceError(self._lost) from error
        except DeviceError as error:
            self._lost = error.reason
            raise


def _keep_for_ever(kept: object) -> None:
    """One reference more than anybody drops: nothing of it is destroyed before the process ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))


def _batch_bytes(wanted: int, affordable: int, what: str) -> int:
    """Raises: DeviceError where less than BATCH_BYTES_MIN fits."""
    found = min(wanted, int(affordable / 1.1)) // CHUNK_BYTES * CHUNK_BYTES
    if found < BATCH_BYTES_MIN:
        raise DeviceError(f"{what}, too few for a batch")
    return found


def packed_bytes(size: int) -> int:
    """What a piece takes in a batch."""
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES
