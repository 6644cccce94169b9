"""What an owner of a GPU can run and send back: whether its digests are right, and how fast it is, as one document.

No figure of it is a promise: it is what this machine did in these minutes, with its load beside it.
"""

from __future__ import annotations

import os
import platform
import random
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from statistics import median
from typing import Any, Final

from blake3 import blake3

from kernels import known_answers
from kernels.cuda import CudaDevice, packed_bytes
from kernels.devices import DeviceInfo, driver_version, ptx_digest
from kernels.nvml import Nvml
from kernels.pipeline import Gpu, Lent, Pipeline
from kernels.sources import BytesSource
from kernels.subtrees import DERIVE_KEY_MATERIAL, IV, KEYED_HASH, Words, context_key, key_words

FORMAT: Final = 1
BATCH_BYTES: Final = 256 << 20
RANDOM_BATCHES: Final = 20
MESSAGE_SIZES: Final = (1 << 10, 16 << 10, 256 << 10, 4 << 20)
KERNEL_REPEATS: Final = 20
ROUNDS: Final = 5
_EDGES: Final = (0, 64, 1024, 2048, 127 << 10, 128 << 10, 129 << 10, 256 << 10)
_CONTEXT: Final = "Stretto 2026-11 selftest of derive-key mode"

Advance = Callable[[str], None]


def describe(info: DeviceInfo) -> dict[str, Any]:
    """Machine, device, driver and kernels: what a report is about."""
    nvml = Nvml(info.uuid)
    return {
        "format": FORMAT,
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "emulated": info.is_emulated,
        "device": {
            "name": info.name, "uuid": info.uuid, "bus_id": info.bus_id, "memory_bytes": info.memory_bytes,
            "capability": f"{info.capability[0]}.{info.capability[1]}",
        },
        "driver": driver_version(),
        "nvml_driver": nvml.driver_version(),
        "ptx_sha256": ptx_digest(),
        "host": {
            "processor": _processor(), "threads": len(os.sched_getaffinity(0)), "system": platform.platform(),
            "python": platform.python_version(), "pycuda": _version("pycuda"), "blake3": _version("blake3"),
            "stretto": _version("stretto"), "load_average": list(os.getloadavg()),
        },
    }  # fmt: skip


def selftest(
    info: DeviceInfo,
    *,
    batch_bytes: int = BATCH_BYTES,
    batches: int = RANDOM_BATCHES,
    advance: Advance = lambda _: None,
) -> dict[str, Any]:
    """Compares digests of every kind with the CPU's. Returns a report; `passed` says whether all are equal.

    batches: random ones, of batch_bytes at most. advance: told in a line how far it is. Raises: DeviceError.
    """
    report = describe(info)
    device = CudaDevice(info.ordinal, batch_bytes=batch_bytes)
    try:
        right = known_answers.passed(device)
        advance(f"known answers: {right} of {known_answers.count()}")
        seed = int.from_bytes(os.urandom(8))
        tried = _Comparison(device, random.Random(seed))  # noqa: S311  to be repeated from the report
        tried.edges()
        advance(f"sizes around edges: {tried.compared} digests, {len(tried.wrong)} wrong")
        tried.batches(batches)
        advance(f"random batches: {tried.compared} digests, {len(tried.wrong)} wrong")
        tried.in_pieces()
        advance(f"a message of several batches: {tried.compared} digests, {len(tried.wrong)} wrong")
    finally:
        device.close()
    return report | {
        "test": "selftest", "batch_bytes": device.batch_bytes, "seed": seed,
        "known_answers": {"passed": right, "of": known_answers.count()},
        "digests_compared": tried.compared, "bytes_compared": tried.bytes, "wrong": tried.wrong,
        "passed": right == known_answers.count() and not tried.wrong,
    }  # fmt: skip


class _Comparison:
    """Digests of a device beside the CPU's. wrong: what differed, in words; the first hundred."""

    _WRONG_MAX = 100

    def __init__(self, device: CudaDevice, rng: random.Random) -> None:
        self._device, self._rng = device, rng
        self._noise = rng.randbytes(min(device.batch_bytes, 16 << 20))
        self.compared = self.bytes = 0
        self.wrong: list[str] = []

    def edges(self) -> None:
        """Lengths around the limits of blocks, chunks and tiles, in all three modes."""
        sizes = sorted({max(0, edge + by) for edge in _EDGES for by in (-65, -64, -3, -1, 0, 1, 3, 64, 65)})
        key = self._rng.randbytes(32)
        modes: tuple[tuple[str, Words, int, Callable[[memoryview], bytes]], ...] = (
            ("hash", IV, 0, lambda m: blake3(m).digest()),
            ("keyed", key_words(key), KEYED_HASH, lambda m: blake3(m, key=key).digest()),
            ("derive-key", context_key(_CONTEXT), DERIVE_KEY_MATERIAL,
             lambda m: blake3(m, derive_key_context=_CONTEXT).digest()),
        )  # fmt: skip
        for name, words, mode, digest in modes:
            messages = [self._message(size) for size in sizes]
            for some in self._that_fit(messages):
                found = self._hash(0, some, key=words, mode=mode)
                self._compare(name, some, found, [digest(m) for m in some])

    def batches(self, count: int) -> None:
        """Two slots by turns, one under way while the other is filled."""
        waiting: tuple[int, list[memoryview]] | None = None
        for i in range(count + 1):
            fresh = None
            if i < count:
                fresh = (i % 2, self._that_fit([self._message(self._size()) for _ in range(2000)])[0])
                self._submit(*fresh)
            if waiting is not None:
                slot, messages = waiting
                due = [blake3(m).digest() for m in messages]
                self._compare("random batch", messages, self._device.digests(slot), due)
            waiting = fresh

    def in_pieces(self) -> None:
        """A message of two batches and a bit, the way files go."""
        size = 2 * self._device.batch_bytes + self._rng.randrange(5000)
        message = bytearray(self._noise * (size // len(self._noise) + 1))[:size]
        lent = Gpu(device=Lent(self._device), uuid="gpu")
        pipeline = Pipeline([lent], threads=1, sample_share=0)
        lent.batches = 1  # not in the sample: it is compared here
        (found,) = pipeline.hash([BytesSource(message)])
        pipeline.close()
        assert found.digest is not None, "memory can be read"
        if lent.is_out:
            self.wrong += pipeline.events
        self._compare("in pieces", [memoryview(message)], [found.digest], [blake3(message).digest()])

    def _size(self) -> int:
        return self._rng.choice((self._rng.randrange(3000), self._rng.randrange(400_000), self._rng.randrange(2 << 20)))

    def _message(self, size: int) -> memoryview:
        size = min(size, len(self._noise))
        start = self._rng.randrange(len(self._noise) - size + 1)
        return memoryview(self._noise)[start : start + size]

    def _that_fit(self, messages: Sequence[memoryview]) -> list[list[memoryview]]:
        batches: list[list[memoryview]] = [[]]
        filled = 0
        for message in messages:
            if filled + packed_bytes(len(message)) > self._device.batch_bytes:
                batches.append([])
                filled = 0
            batches[-1].append(message)
            filled += packed_bytes(len(message))
        return batches

    def _submit(self, slot: int, messages: Sequence[memoryview], key: Words = IV, mode: int = 0) -> None:
        buffer, at = self._device.buffer(slot), 0
        for message in messages:
            buffer[at : at + len(message)] = message
            at += packed_bytes(len(message))
        self._device.submit(slot, [len(m) for m in messages], key=key, mode=mode)

    def _hash(self, slot: int, messages: Sequence[memoryview], *, key: Words, mode: int) -> list[bytes]:
        self._submit(slot, messages, key, mode)
        return self._device.digests(slot)

    def _compare(self, what: str, messages: Sequence[memoryview], found: Sequence[bytes], due: Sequence[bytes]) -> None:
        for message, one, other in zip(messages, found, due, strict=True):
            self.compared += 1
            self.bytes += len(message)
            if one != other and len(self.wrong) < self._WRONG_MAX:
                self.wrong.append(f"{what}, {len(message)} bytes: {one.hex()}, due {other.hex()}")


# ---- speed -----------------------------------------------------------------------------------------------------------


def bench(
    info: DeviceInfo, *, threads: int, batch_bytes: int = BATCH_BYTES, rounds: int = ROUNDS,
    repeats: int = KERNEL_REPEATS, advance: Advance = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """GB/s end to end, of the kernels alone, and of this host's CPU on the same bytes, by turns. Returns a report.

    Raises: DeviceError. Every digest is compared too; `passed` says whether all are equal.
    """
    report = describe(info)
    nvml = Nvml(info.uuid)
    device = CudaDevice(info.ordinal, batch_bytes=batch_bytes)
    rows, passed = [], True
    try:
        noise = memoryview(os.urandom(device.batch_bytes))
        for size in MESSAGE_SIZES:
            if size > device.batch_bytes:
                continue
            row = _row(device, nvml, noise, size=size, threads=threads, rounds=rounds, repeats=repeats)
            rows.append(row)
            passed = passed and row["equal"]
            advance(_told(row))
    finally:
        device.close()
    return report | {
        "test": "bench", "batch_bytes": device.batch_bytes, "cpu_threads": threads, "rounds": rounds, "rows": rows,
        "passed": passed, "load_average_after": list(os.getloadavg()),
    }  # fmt: skip


def _row(
    device: CudaDevice, nvml: Nvml, noise: memoryview, *, size: int, threads: int, rounds: int, repeats: int
) -> dict[str, Any]:
    count = len(noise) // packed_bytes(size)
    messages = [BytesSource(noise[i * size : (i + 1) * size]) for i in range(count)] * 2  # two batches: both slots
    gpu = Gpu(device=Lent(device), uuid="gpu")
    on_gpu, on_cpu = Pipeline([gpu], threads=threads), Pipeline(threads=threads)
    gpu_s: list[float] = []
    cpu_s: list[float] = []
    equal, energy_mj, readings = True, 0, {}
    try:
        for _ in range(rounds):
            before, start = nvml.readings(), time.perf_counter()
            found = [result.digest for result in on_gpu.hash(messages)]
            gpu_s.append(time.perf_counter() - start)
            readings = nvml.readings()
            energy_mj += readings.get("energy_mj", 0) - before.get("energy_mj", 0)
            start = time.perf_counter()
            due = [result.digest for result in on_cpu.hash(messages)]
            cpu_s.append(time.perf_counter() - start)
            equal = equal and found == due and not gpu.is_out
        seconds = device.kernel_seconds(0, [size] * count, repeats=repeats) if equal else None
    finally:
        on_gpu.close()
        on_cpu.close()
    total = len(messages) * size
    return {
        "message_bytes": size, "bytes": total, "equal": equal,
        "end_to_end_gb_s": [total / s / 1e9 for s in gpu_s],
        "cpu_gb_s": [total / s / 1e9 for s in cpu_s],
        "kernels_gb_s": count * size / seconds / 1e9 if seconds else None,
        "nvml": readings,
        "gpu_joules_end_to_end": energy_mj / 1000 if "energy_mj" in readings else None,
    }  # fmt: skip


def _told(row: dict[str, Any]) -> str:
    kernels = row["kernels_gb_s"]
    return (
        f"{row['message_bytes']:>9,} bytes a message: end to end {median(row['end_to_end_gb_s']):.3f} GB/s, "
        f"kernels alone {f'{kernels:.3f} GB/s' if kernels else 'not measured'}, CPU {median(row['cpu_gb_s']):.3f} GB/s"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")
    except OSError:
        return "unknown"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
