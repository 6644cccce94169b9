"""From which batch size on a GPU beats this host's CPU, measured end to end here, and what is remembered of it.

One file a GPU in the user's state folder, and another beside it where the GPU gave a wrong digest: that one stays until
a calibration has passed. Both are for one driver and one version of the kernels.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, cast

from kernels.calibrated import state_path
from kernels.pipeline import Device, Gpu, Lent, Pipeline
from kernels.sources import BytesSource

FORMAT: Final = 1
MARGIN: Final = 1.2
"""A GPU is used only where it needs less than 1/1.2 of the CPU's time."""
BATCH_SIZES: Final = (1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20)
MESSAGE_SIZES: Final = (16 << 10, 1 << 20)
"""Short ones and long ones; a GPU must win with both."""
BATCHES: Final = 4
"""One after the other in a run, so that copies and kernels overlap as they do in use."""
ROUNDS: Final = 3
STATE_BYTES_MAX: Final = 1 << 20
_SAFE: Final = re.compile(r"[0-9A-Za-z.:-]{1,80}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement: seconds for the same bytes, the best of some rounds."""

    batch_bytes: int
    message_bytes: int
    bytes: int
    cpu_s: float
    gpu_s: float

    @property
    def gpu_wins(self) -> bool:
        return self.gpu_s * MARGIN <= self.cpu_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What was measured of a GPU on this host."""

    uuid: str
    name: str
    driver: str
    ptx_sha256: str
    threads: int
    """The CPU's, in the comparison."""
    measured_at: str
    """ISO 8601, UTC."""
    load_average: float
    open_s: float
    """What it takes until the GPU is ready, known answers included."""
    rows: tuple[Row, ...]

    @property
    def crossover_bytes(self) -> int | None:
        """The smallest batch from which on the GPU won at every size and with every kind of message. None: never."""
        found = None
        for size in sorted({row.batch_bytes for row in self.rows}, reverse=True):
            if not all(row.gpu_wins for row in self.rows if row.batch_bytes == size):
                break
            found = size
        return found

    @property
    def batch_bytes_max(self) -> int:
        """The largest batch that was measured: no larger one is used."""
        return max(row.batch_bytes for row in self.rows)

    @property
    def worth_from_bytes(self) -> int | None:
        """Bytes after which the time that the GPU saves is more than it needs to start. None: never."""
        crossover = self.crossover_bytes
        if crossover is None:
            return None
        saved = min((r.cpu_s - r.gpu_s) / r.bytes for r in self.rows if r.batch_bytes >= crossover)
        return max(crossover, int(self.open_s / saved))

    def summary(self) -> dict[str, object]:
        """For a run report."""
        return {
            "gpu": self.uuid, "name": self.name, "driver": self.driver, "ptx_sha256": self.ptx_sha256,
            "measured_at": self.measured_at, "threads": self.threads, "crossover_bytes": self.crossover_bytes,
            "worth_from_bytes": self.worth_from_bytes,
        }  # fmt: skip

    def invalid_because(self, *, driver: str, ptx_sha256: str, threads: int) -> str | None:
        """Why it says nothing about now; None where it does."""
        for what, then, now in (
            ("driver", self.driver, driver),
            ("version of the kernels", self.ptx_sha256[:16], ptx_sha256[:16]),
        ):
            if then != now:
                return f"calibrated with another {what} ({then}, now {now}): run `stretto gpu calibrate`"
        # A GPU that beats many threads beats few.
        if threads > self.threads:
            return f"calibrated against fewer CPU threads ({self.threads}, now {threads}): run `stretto gpu calibrate`"
        return None


# ---- measuring -------------------------------------------------------------------------------------------------------


class WrongDigest(Exception):
    """A GPU gave another digest than the CPU. reason: one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def measure(
    device: Device, *, threads: int, batch_sizes: Sequence[int] = BATCH_SIZES, rounds: int = ROUNDS,
    advance: Callable[[Row], None] = lambda _: None,
) -> tuple[Row, ...]:  # fmt: skip
    """GPU and CPU by turns on the same bytes in memory: staging, copy, kernels, copy back, and what is hashed again.

    Every digest is compared. advance: told each row. Raises: DeviceError, WrongDigest.
    """
    sizes = [size for size in batch_sizes if size <= device.batch_bytes] or [device.batch_bytes]
    noise = memoryview(os.urandom(max(sizes)))
    rows = []
    for batch_bytes in sizes:
        for message_bytes in MESSAGE_SIZES:
            messages = [
                BytesSource(noise[at : at + message_bytes])
                for at in range(0, batch_bytes - message_bytes + 1, message_bytes)
            ] * BATCHES
            cpu_s, gpu_s = _by_turns(device, messages, batch_bytes, threads, rounds)
            total = len(messages) * message_bytes
            row = Row(batch_bytes=batch_bytes, message_bytes=message_bytes, bytes=total, cpu_s=cpu_s, gpu_s=gpu_s)
            rows.append(row)
            advance(row)
    return tuple(rows)


def _by_turns(
    device: Device, messages: Sequence[BytesSource], batch_bytes: int, threads: int, rounds: int
) -> tuple[float, float]:
    """Best seconds of the CPU and of the GPU."""
    cpu_s = gpu_s = float("inf")
    told: list[str] = []
    gpu = Gpu(device=Lent(device), uuid="gpu")
    on_gpu = Pipeline(
        [gpu], threads=threads, batch_bytes=batch_bytes, say=told.append,
        distrust=lambda _uuid, reason: told.append(reason),
    )  # fmt: skip
    on_cpu = Pipeline(threads=threads, batch_bytes=batch_bytes)
    try:
        for _ in range(rounds):
            start = time.perf_counter()
            due = [result.digest for result in on_cpu.hash(messages)]
            middle = time.perf_counter()
            found = [result.digest for result in on_gpu.hash(messages)]
            end = time.perf_counter()
            if gpu.is_out or found != due:
                raise WrongDigest(told[0] if told else "a digest differs from the CPU's")
            cpu_s, gpu_s = min(cpu_s, middle - start), min(gpu_s, end - middle)
    finally:
        on_gpu.close()
        on_cpu.close()
    return cpu_s, gpu_s


# ---- remembering -----------------------------------------------------------------------------------------------------


def state_folder() -> Path:
    """Where calibrations are remembered."""
    return Path(state_path())


def save(calibration: Calibration, folder: Path) -> Path:
    """Remembers it, and that the GPU is trusted again. Raises: OSError."""
    path = _path(folder, calibration.uuid, "json")
    _write(path, {"format": FORMAT, **asdict(calibration)})
    _path(folder, calibration.uuid, "disabled").unlink(missing_ok=True)
    return path


def load(folder: Path) -> dict[str, Calibration]:
    """All that are remembered, by UUID; what cannot be read counts as none."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        calibration = _load(path)
        if calibration is not None:
            found[calibration.uuid] = calibration
    return found


def disable(folder: Path, uuid: str, reason: str) -> None:
    """For good, until `save`. Raises: OSError."""
    _write(_path(folder, uuid, "disabled"), {"format": FORMAT, "since": now(), "reason": reason})


def disabled_because(folder: Path, uuid: str) -> str | None:
    """None where the GPU may be used."""
    path = _path(folder, uuid, "disabled")
    if not path.exists():
        return None
    try:
        told = json.loads(path.read_bytes()[:STATE_BYTES_MAX])
        return f"since {told['since']}: {told['reason']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return f"{path} says so, but cannot be read"


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _path(folder: Path, uuid: str, ending: str) -> Path:
    assert _SAFE.fullmatch(uuid), f"a UUID as drivers give them: {uuid!r}"
    return folder / f"{uuid.replace(':', '-')}.{ending}"


def _write(path: Path, document: dict[str, object]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(document, indent=1) + "\n")
    fresh.replace(path)


def _load(path: Path) -> Calibration | None:
    try:
        if path.stat().st_size > STATE_BYTES_MAX:
            return None
        return parse(path.read_bytes())
    except (OSError, ValueError):
        return None


def parse(data: bytes) -> Calibration:
    """What `save` writes. Raises: ValueError."""
    try:
        document = json.loads(data)
        if document.pop("format") != FORMAT:
            raise ValueError(f"expected format {FORMAT}")
        found = Calibration(rows=tuple(Row(**row) for row in document.pop("rows")), **document)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"expected a calibration ({error})") from error
    texts = (found.uuid, found.name, found.driver, found.ptx_sha256, found.measured_at)
    if not all(isinstance(text, str) for text in texts) or not _SAFE.fullmatch(found.uuid):
        raise ValueError("expected texts, and a UUID as drivers give them")
    if not (found.rows and _is_count(found.threads) and _is_time(found.open_s) and _is_number(found.load_average)):
        raise ValueError("expected measurements")
    for row in found.rows:
        counts = (row.batch_bytes, row.message_bytes, row.bytes)
        if not (all(map(_is_count, counts)) and _is_time(row.cpu_s) and _is_time(row.gpu_s)):
            raise ValueError("expected measurements of bytes and seconds")
    return found


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 50


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9


def _is_time(value: object) -> bool:
    """Seconds that a clock could have measured: what is computed from them stays finite."""
    return _is_number(value) and cast(float, value) >= 1e-9
