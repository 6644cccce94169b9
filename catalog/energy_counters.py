"""The machine's own energy counters: RAPL of the processors, NVML of NVIDIA's GPUs. Read, never estimated.

A counter covers the whole processor package or GPU, whoever used it. What cannot be read is a `NotMeasured` that says
why; there is no model of power here, and no guess.
Sources: Linux, Documentation/power/powercap/powercap.rst and ABI/testing/sysfs-class-powercap; NVML API reference,
nvmlDeviceGetTotalEnergyConsumption.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

POWERCAP: Final = Path("/sys/class/powercap")
_ZONES_MAX: Final = 4096
"""Entries of the folder that are looked at: a machine of 64 packages has some 300."""
_FILE_BYTES_MAX: Final = 64
_NUMBER: Final = re.compile(r"[0-9]{1,20}")
_PACKAGE_ZONE: Final = re.compile(r"intel-rapl:[0-9]+")
"""AMD's processors have this name too. `intel-rapl-mmio:N` is not read: the same package by another way."""
_PACKAGE_NAME: Final = re.compile(r"package-[0-9]+(-die-[0-9]+)?")
_GPUS_MAX: Final = 64


class NotMeasured(Exception):
    """Energy cannot be measured here, or no longer. reason: one line, with what to do where that is known."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """One reading of one counter."""

    name: str
    """Of what part of the machine: package-0, package-0 dram, gpu-0."""
    microjoules: int
    wraps_at_uj: int | None
    """The greatest value; after it comes zero. None where it never wraps in practice (64 bits)."""


class Source(Protocol):
    """A kind of counters."""

    name: str

    def read(self) -> tuple[Counter, ...]:
        """All counters now, in a fixed order. Raises: NotMeasured."""
        ...


class Rapl:
    """Processor packages, and memory where it is counted, by Linux's powercap tree.

    Only packages and their `dram` are added up: `core` and `uncore` are parts of a package, `psys` contains it.
    """

    name = "RAPL"

    def __init__(self, root: Path = POWERCAP) -> None:
        self._root = root

    def read(self) -> tuple[Counter, ...]:
        """Raises: NotMeasured where there are none, or any one cannot be read: a part would pass for the whole."""
        packages = list(self._packages())
        if not packages:
            raise NotMeasured(
                f"no counters of processors under {self._root} (a virtual machine, or without intel_rapl)"
            )
        counters = []
        for zone, name in packages:
            counters.append(_zone(zone, name))
            # A folder of a sub-zone stands beside its package's in sysfs' class folder: intel-rapl:0, intel-rapl:0:0.
            memories = [child for child in self._children(zone) if _text(child / "name") == "dram"]
            counters += [_zone(memory, f"{name} dram") for memory in memories]
        return tuple(counters)

    def _packages(self) -> Iterator[tuple[Path, str]]:
        for zone in self._zones():
            if _PACKAGE_ZONE.fullmatch(zone.name):
                name = _text(zone / "name")
                if _PACKAGE_NAME.fullmatch(name):
                    yield zone, name

    def _children(self, package: Path) -> list[Path]:
        pattern = re.compile(re.escape(package.name) + r":[0-9]+")
        return [zone for zone in self._zones() if pattern.fullmatch(zone.name)]

    def _zones(self) -> list[Path]:
        try:
            found = sorted(self._root.iterdir())
        except OSError:
            return []
        if len(found) > _ZONES_MAX:
            raise NotMeasured(f"{self._root} holds over {_ZONES_MAX} entries: not a powercap tree")
        return found


def _zone(zone: Path, name: str) -> Counter:
    return Counter(
        name=name, microjoules=_number(zone / "energy_uj"), wraps_at_uj=_number(zone / "max_energy_range_uj")
    )


def _number(path: Path) -> int:
    text = _text(path)
    if not _NUMBER.fullmatch(text):
        raise NotMeasured(f"{path}: expected a number of microjoules, found {text[:40]!r}")
    return int(text)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_BYTES_MAX).decode("utf-8", "replace").strip()
    except PermissionError as error:
        # Since CVE-2020-8694 (power as a side channel) kernels let only root read these.
        raise NotMeasured(
            f"{path}: permission denied; since 2020 Linux lets only root read it: run as root, or let the operator "
            "grant reading (chmod a+r), knowing CVE-2020-8694"
        ) from error
    except OSError as error:
        raise NotMeasured(f"{path}: {(error.strerror or type(error).__name__).lower()}") from error


class Nvml:
    """All NVIDIA GPUs of this machine, by nvidia-ml-py (extra `gpu`), imported when first read."""

    name = "NVML"

    def __init__(self, library: Any = None) -> None:
        """library: stands in for the module `pynvml`."""
        self._library = library
        self._ready = False

    def read(self) -> tuple[Counter, ...]:
        """Raises: NotMeasured where there is no driver or GPU, or any GPU does not count (before Volta)."""
        nvml = self._import()
        try:
            if not self._ready:
                nvml.nvmlInit()
                self._ready = True
            count = nvml.nvmlDeviceGetCount()
            if not 0 < count <= _GPUS_MAX:
                raise NotMeasured("no GPU that NVML can see" if count == 0 else f"NVML tells of {count} GPUs")
            return tuple(self._device(nvml, index) for index in range(count))
        except nvml.NVMLError as error:
            raise NotMeasured(f"NVML: {error}") from error

    def _import(self) -> Any:
        if self._library is None:
            try:
                import pynvml  # noqa: PLC0415  the extra `gpu`
            except ImportError as error:
                raise NotMeasured("nvidia-ml-py is not installed: pip install 'stretto[gpu]'") from error
            self._library = pynvml
        return self._library

    @staticmethod
    def _device(nvml: Any, index: int) -> Counter:
        try:
            millijoules = nvml.nvmlDeviceGetTotalEnergyConsumption(nvml.nvmlDeviceGetHandleByIndex(index))
        except nvml.NVMLError as error:
            raise NotMeasured(f"GPU {index} does not tell its energy ({error}); Volta and later do") from error
        return Counter(name=f"gpu-{index}", microjoules=int(millijoules) * 1000, wraps_at_uj=None)
