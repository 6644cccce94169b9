"""Which backend hashes: the CPU, unless a GPU was measured to be faster on this host and proves itself at every start.

The digest never depends on it. `open_best` decides and says why; what was used, and why, is for a run report.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kernels import calibration
from kernels.calibration import BATCH_SIZES, ROUNDS, Calibration, Row, WrongDigest
from kernels.devices import DeviceError, DeviceInfo, devices, driver_version, ptx_digest
from kernels.pipeline import UNTIL_CALIBRATED, Gpu, Hashed, Pipeline

if TYPE_CHECKING:
    from types import TracebackType

    from kernels.cuda import CudaDevice
    from kernels.sources import Source

Say = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Choice:
    """What may be used, and why not more. An empty `gpus` means the CPU."""

    gpus: list[tuple[DeviceInfo, Calibration]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    """One line a GPU that is left out, or one in all."""


class Hasher:
    """Hashes many sources with the best backend. A context manager, for one thread."""

    def __init__(self, pipeline: Pipeline, reasons: list[str], used: Sequence[Calibration] = ()) -> None:
        """used: the calibrations of those GPUs."""
        self._pipeline = pipeline
        self._reasons = reasons
        self._used = used
        self._opened = pipeline.gpus

    @property
    def uses_gpu(self) -> bool:
        """False: whoever has a faster way of its own on the CPU may go it."""
        return bool(self._pipeline.gpus)

    @property
    def opened_gpu(self) -> bool:
        """Whether one was ready at the start."""
        return bool(self._opened)

    @property
    def why(self) -> str:
        """One line: which backend was chosen, for which reason, and what became of it."""
        which = f"GPU {', '.join(self._opened)}" if self._opened else "CPU"
        return "; ".join([f"{which}: {self._reasons[0]}", *self._reasons[1:], *self._pipeline.events])

    def hash(self, sources: Iterable[Source]) -> Generator[Hashed, None, None]:
        """One result for each source, in their order; a source that cannot be read has its error in its place."""
        return self._pipeline.hash(sources)

    def report(self) -> dict[str, object]:
        """For a run report: what each backend hashed, and why."""
        pipeline = self._pipeline
        return {
            "why": self.why,
            "backends": {
                name: {"files": pipeline.messages_by[name], "bytes": pipeline.bytes_by[name]}
                for name in sorted(pipeline.messages_by)
            },
            "gpu_digests_compared": pipeline.compared,
            "calibrations": [known.summary() for known in self._used],
            "events": list(pipeline.events),
        }

    def close(self) -> None:
        self._pipeline.close()

    def __enter__(self) -> Hasher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_best(
    *, threads: int, expected_bytes: int | None = None, folder: Path | None = None, say: Say = lambda _: None,
    batch_bytes: int | None = None,
) -> Hasher:  # fmt: skip
    """The best backend of this host, ready. Never fails for want of a GPU.

    threads: of the CPU. expected_bytes: how much there is to hash, where known: a GPU needs time to start. folder: of
    the calibrations. say: told in a line when a GPU that was meant to be used cannot be. batch_bytes: the largest that
    was measured, unless given.
    """
    folder = folder or calibration.state_folder()
    choice = choose(folder, threads=threads, expected_bytes=expected_bytes)
    disable = _disabler(folder, say)
    gpus: list[Gpu] = []
    used: list[Calibration] = []
    reasons: list[str] = []
    for info, known in choice.gpus:
        assert known.crossover_bytes is not None, "chosen because it wins"
        try:
            gpus.append(Gpu(device=_proven(info, disable, batch_bytes or known.batch_bytes_max), uuid=info.uuid))
        except (DeviceError, WrongDigest) as error:
            is_liar = isinstance(error, WrongDigest)
            line = f"{info.uuid}: {f'WRONG DIGEST: {error.reason}. {UNTIL_CALIBRATED}' if is_liar else error.reason}"
            say(f"{line}; hashing without it")
            choice.reasons.append(line)
        else:
            used.append(known)
            reasons.append(f"faster here for batches from {known.crossover_bytes} bytes on ({known.measured_at})")
    crossover = max((known.crossover_bytes or 0 for _, known in choice.gpus), default=0)
    pipeline = Pipeline(gpus, threads=threads, crossover_bytes=crossover, say=say, distrust=disable)
    return Hasher(pipeline, [*dict.fromkeys(reasons), *choice.reasons], used)


def worth_from_bytes(folder: Path | None = None) -> int | None:
    """How much there must be to hash before any GPU is worth its start. None: no GPU was found to be faster."""
    known = calibration.load(folder or calibration.state_folder()).values()
    return min((c.worth_from_bytes for c in known if c.worth_from_bytes is not None), default=None)


def choose(folder: Path, *, threads: int, expected_bytes: int | None = None) -> Choice:
    """Which GPUs may be used. Asks no driver where none was ever calibrated."""
    known = calibration.load(folder)
    if not known:
        return Choice(reasons=["no GPU was calibrated here (stretto gpu calibrate)"])
    least = worth_from_bytes(folder)
    if least is None:
        return Choice(reasons=["faster here than every GPU that was calibrated"])
    if expected_bytes is not None and expected_bytes < least:
        return Choice(reasons=[f"{expected_bytes} bytes to hash, a GPU is worth its start from {least} on"])
    try:
        found, driver = devices(), driver_version()
    except DeviceError as error:
        return Choice(reasons=[error.reason])
    choice = Choice()
    for info in found:
        reason = _unfit(info, known.get(info.uuid), folder, driver, threads)
        if reason is None:
            choice.gpus.append((info, known[info.uuid]))
        else:
            choice.reasons.append(f"{info.uuid}: {reason}")
    return choice


def _unfit(info: DeviceInfo, known: Calibration | None, folder: Path, driver: str, threads: int) -> str | None:
    """Why a GPU is not used; None where it is."""
    if known is None:
        return "not calibrated (stretto gpu calibrate)"
    disabled = calibration.disabled_because(folder, info.uuid)
    if disabled is not None:
        return f"disabled {disabled}"
    invalid = known.invalid_because(driver=driver, ptx_sha256=ptx_digest(), threads=threads)
    if invalid is not None:
        return invalid
    return "slower here than the CPU" if known.crossover_bytes is None else None


def calibrate(
    info: DeviceInfo, *, threads: int, folder: Path | None = None, batch_sizes: Sequence[int] = BATCH_SIZES,
    rounds: int = ROUNDS, advance: Callable[[Row], None] = lambda _: None, say: Say = lambda _: None,
) -> Calibration:  # fmt: skip
    """Measures a GPU against this host's CPU and remembers it; one that gives a wrong digest is disabled.

    Raises: DeviceError, WrongDigest, OSError where it cannot be remembered.
    """
    folder = folder or calibration.state_folder()
    disable = _disabler(folder, say)
    start = time.perf_counter()
    device = _proven(info, disable, max(batch_sizes))
    open_s = time.perf_counter() - start
    try:
        rows = calibration.measure(device, threads=threads, batch_sizes=batch_sizes, rounds=rounds, advance=advance)
    except WrongDigest as error:
        disable(info.uuid, error.reason)
        raise
    finally:
        device.close()
    found = Calibration(
        uuid=info.uuid, name=info.name, driver=driver_version(), ptx_sha256=ptx_digest(), threads=threads,
        measured_at=calibration.now(), load_average=os.getloadavg()[0], open_s=open_s, rows=rows,
    )  # fmt: skip
    calibration.save(found, folder)
    return found


def _proven(info: DeviceInfo, disable: Callable[[str, str], None], batch_bytes: int) -> CudaDevice:
    """The device, once it has given every known answer. Raises: DeviceError, WrongDigest; one that lies is disabled."""
    from kernels import known_answers  # noqa: PLC0415  numpy and more, for those who have a GPU
    from kernels.cuda import CudaDevice  # noqa: PLC0415

    device = CudaDevice(info.ordinal, batch_bytes=batch_bytes)
    try:
        right = known_answers.passed(device)
    except BaseException:
        device.close()
        raise
    if right == known_answers.count():
        return device
    device.close()
    reason = f"only {right} of {known_answers.count()} known answers are right"
    disable(info.uuid, reason)
    raise WrongDigest(reason)


def _disabler(folder: Path, say: Say) -> Callable[[str, str], None]:
    def disable(uuid: str, reason: str) -> None:
        try:
            calibration.disable(folder, uuid, reason)
        except OSError as error:
            # It is out for this run in any case.
            say(f"{uuid}: cannot remember that it gave a wrong digest ({error}): do not use it")

    return disable
