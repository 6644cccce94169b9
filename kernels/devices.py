"""Which GPUs there are, through pycuda, which is imported only here and only when a GPU is asked for.

What cannot be done is a `DeviceError` that says why in one line; the caller hashes on the CPU instead.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

PTX: Final = Path(__file__).with_name("blake3.ptx")
STAND_IN: Final = "Stretto stand-in"
"""How the software driver of the tests names its devices: no figure of one is a GPU's."""
_KERNEL_MODULE: Final = Path("/proc/driver/nvidia/version")


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
    uuid: str
    """`GPU-` and 32 hexadecimal digits in groups, as nvidia-smi prints it."""
    capability: tuple[int, int]
    memory_bytes: int
    bus_id: str

    @property
    def is_emulated(self) -> bool:
        return self.name.startswith(STAND_IN)


def ptx_digest() -> str:
    """SHA-256 of the shipped kernels, hexadecimal: what a calibration is valid for."""
    return hashlib.sha256(PTX.read_bytes()).hexdigest()


@cache
def driver_interface() -> Any:
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
    driver = driver_interface()
    try:
        found = tuple(_described(driver.Device(ordinal), ordinal) for ordinal in range(driver.Device.count()))
    except driver.Error as error:
        raise DeviceError(f"the driver does not describe its GPUs ({error})") from error
    if not found:
        raise DeviceError("the driver finds no GPU")
    return found


def driver_version() -> str:
    """What a calibration is valid for: the driver's interface and, where it can be read, its kernel module.

    Raises: DeviceError where there is no driver.
    """
    number = int(driver_interface().get_driver_version())
    version = f"CUDA {number // 1000}.{number % 1000 // 10}"
    try:
        said = _KERNEL_MODULE.read_text(errors="replace")
    except OSError:
        return version
    module = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", said)
    return f"{version}, module {module[1]}" if module else version


def _described(device: Any, ordinal: int) -> DeviceInfo:
    bus_id = device.pci_bus_id()
    return DeviceInfo(
        ordinal=ordinal, name=device.name(), uuid=_uuid(ordinal) or f"bus-{bus_id}",
        capability=tuple(device.compute_capability()), memory_bytes=device.total_memory(), bus_id=bus_id,
    )  # fmt: skip


def _uuid(ordinal: int) -> str | None:
    """pycuda has no name for this call of the driver. None where the driver does not answer."""
    library = ctypes.CDLL("libcuda.so.1")
    raw, handle = (ctypes.c_ubyte * 16)(), ctypes.c_int()
    if library.cuDeviceGet(ctypes.byref(handle), ordinal) != 0:
        return None
    for call in ("cuDeviceGetUuid_v2", "cuDeviceGetUuid"):  # the newer one knows slices of a GPU (MIG)
        ask = getattr(library, call, None)
        if ask is not None and ask(raw, handle) == 0:
            return f"GPU-{uuid.UUID(bytes=bytes(raw))}"
    return None
