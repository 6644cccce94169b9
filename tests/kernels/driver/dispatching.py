"""Run in a process of its own, where `pycuda` is real and the device is the stand-in: the dispatcher's scenes."""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from collections.abc import Callable

from blake3 import blake3

from kernels import calibration, cuda, dispatch
from kernels.calibration import Calibration, Row, WrongDigest
from kernels.devices import DeviceError, devices, driver_version, ptx_digest
from kernels.sources import BytesSource, FileSource, Source, SourceError
from kernels.subtrees import IV, chunk_value, join

THREADS = 2
BATCH_BYTES = 1 << 20
CROSSOVER = 200_000


class Unreadable(BytesSource):
    """Long, and gone when it is read. In memory only for its length."""

    def whole(self) -> memoryview | None:
        return None

    def read_into(self, offset: int, into: memoryview) -> None:  # noqa: ARG002  the protocol's
        raise SourceError("gone")


def remember(**changed: object) -> None:
    """A calibration of every device, as if each had won from CROSSOVER on."""
    won = tuple(
        Row(batch_bytes=size, message_bytes=1024, bytes=10**9, cpu_s=2.0, gpu_s=1.0)
        for size in (CROSSOVER, BATCH_BYTES)
    )
    for info in devices():
        values: dict[str, object] = {
            "uuid": info.uuid, "name": info.name, "driver": driver_version(), "ptx_sha256": ptx_digest(),
            "threads": THREADS, "measured_at": calibration.now(), "load_average": 0.0, "open_s": 1e-9, "rows": won,
        }  # fmt: skip
        calibration.save(Calibration(**(values | changed)), calibration.state_folder())  # type: ignore[arg-type]


def messages(seed: int = 8) -> list[bytes]:
    """Some 8 MB: small ones, one of three batches and a bit, small ones; at the end fewer than the crossover."""
    rng = random.Random(seed)
    sizes = [0, 1, 1024, 1025, *(rng.randrange(200_000) for _ in range(20))]
    return [rng.randbytes(n) for n in (*sizes, 3 * BATCH_BYTES + 777, *sizes, 1_000_000, 100_000)]


def hashed(expected_bytes: int | None = None) -> dict[str, object]:
    """Hashes with what the environment has, and tells what came of it."""
    said: list[str] = []
    data = messages()
    sources: list[Source] = [*map(BytesSource, data[:3]), Unreadable(bytes(5000)), *map(BytesSource, data[3:])]
    files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115  open while they are hashed
    for file, place in zip(files, (10, 25), strict=True):  # one of the small ones, and the large one
        message = sources[place].whole()
        assert message is not None
        file.write(message)
        file.flush()
        sources[place] = FileSource(file.fileno(), len(message))
    with dispatch.open_best(
        threads=THREADS, expected_bytes=expected_bytes, say=said.append, batch_bytes=BATCH_BYTES
    ) as hasher:
        results = list(hasher.hash(sources))
        report, why, uses_gpu = hasher.report(), hasher.why, hasher.uses_gpu
    due = [blake3(d).digest() for d in data]
    found = [r.digest for r in results if not r.error]
    return {
        "in_order": [r.index for r in results] == list(range(len(sources))),
        "wrong": sum(digest != right for digest, right in zip(found, due, strict=True)),
        "errors": [(r.index, str(r.error)) for r in results if r.error],
        "said": said, "why": why, "uses_gpu": uses_gpu, "backends": report["backends"],
        "compared": report["gpu_digests_compared"],
        "disabled": sorted(path.name for path in calibration.state_folder().glob("*.disabled")),
        "asked_pycuda": "pycuda" in sys.modules,
    }  # fmt: skip


def calibrated() -> dict[str, object]:
    remember()
    return hashed()


def remembered() -> dict[str, object]:
    """For other processes with the same state folder."""
    remember()
    return {"crossover": CROSSOVER, "threads": THREADS}


def uncalibrated() -> dict[str, object]:
    return hashed()


def again() -> dict[str, object]:
    """With what an earlier process left in the state folder."""
    return hashed()


def little() -> dict[str, object]:
    remember(open_s=10.0)
    return hashed(expected_bytes=10**6)


def outdated() -> dict[str, object]:
    remember(**json.loads(os.environ["CHANGED"]))
    return hashed()


class SlowClock:
    """A second passes with each pause, and none while the stand-in works, however loaded this machine is."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        return self._now

    def sleep(self, _: float) -> None:
        self._now += 1.0


def hung() -> dict[str, object]:
    cuda.time = SlowClock()  # type: ignore[assignment]
    remember()
    return hashed()


def measured() -> dict[str, object]:
    """A real calibration, of little."""
    said: list[str] = []
    (info, *_) = devices()
    try:
        found = dispatch.calibrate(info, threads=THREADS, batch_sizes=(BATCH_BYTES,), rounds=1, say=said.append)
    except WrongDigest as error:
        stored = calibration.load(calibration.state_folder())
        return {"wrong": error.reason, "disabled": calibration.disabled_because(calibration.state_folder(), info.uuid),
                "stored": len(stored)}  # fmt: skip
    stored = calibration.load(calibration.state_folder())
    return {
        "rows": len(found.rows), "positive": all(r.cpu_s > 0 < r.gpu_s for r in found.rows), "opened": found.open_s > 0,
        "is_stored": stored == {info.uuid: found}, "crossover": found.crossover_bytes,
        "disabled": calibration.disabled_because(calibration.state_folder(), info.uuid),
    }  # fmt: skip


def far_counters() -> dict[str, object]:
    """Chunks beyond 2^32, alone and in tiles: by the kernels as PTX, and by the same ones in plain Python."""
    device, right = cuda.CudaDevice(batch_bytes=BATCH_BYTES), []
    data = random.Random(9).randbytes(256 * 1024)
    for counter in (2**32 - 1, 2**32, 2**40 + 128):
        device.buffer(0)[: len(data)] = data
        device.submit(0, [len(data)], counters=[counter], whole=[False])
        values = [chunk_value(data[at : at + 1024], counter + at // 1024, IV, 0, 0) for at in range(0, len(data), 1024)]
        right.append(device.digests(0)[0] == join(values, is_root=False))
    device.close()
    return {"right": right}


SCENES: dict[str, Callable[[], dict[str, object]]] = {
    scene.__name__: scene
    for scene in (calibrated, remembered, uncalibrated, again, little, outdated, hung, measured, far_counters)
}


if __name__ == "__main__":
    try:
        print(json.dumps(SCENES[sys.argv[1]]()))
    except DeviceError as error:
        print(json.dumps({"refused": error.reason}))
