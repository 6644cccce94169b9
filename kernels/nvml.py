"""Clocks, power, temperature and energy of an NVIDIA GPU, where the driver's management library (NVML) tells them.

Through ctypes, so that nothing has to be installed. What is not told is left out; nothing here raises.
"""

from __future__ import annotations

import ctypes
from typing import Final

_LIBRARY: Final = "libnvidia-ml.so.1"
_TEXT_BYTES: Final = 96
_READINGS: Final = {
    "sm_clock_mhz": ("nvmlDeviceGetClockInfo", (1,)),
    "memory_clock_mhz": ("nvmlDeviceGetClockInfo", (2,)),
    "power_mw": ("nvmlDeviceGetPowerUsage", ()),
    "temperature_c": ("nvmlDeviceGetTemperature", (0,)),
}
"""name -> (call, arguments between the device and the place for the answer). Source: NVML's API reference."""


class Nvml:
    """One GPU, by its UUID. Where NVML is missing or does not know it, `readings` is empty."""

    def __init__(self, uuid: str) -> None:
        self._library: ctypes.CDLL | None = None
        self._device = ctypes.c_void_p()
        try:
            library = ctypes.CDLL(_LIBRARY)
            if library.nvmlInit_v2() != 0:
                return
            if library.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(self._device)) == 0:
                self._library = library
        except (OSError, AttributeError):
            return

    def readings(self) -> dict[str, int]:
        """What is told now: MHz, mW, °C, and `energy_mj` since the driver was loaded."""
        found = {}
        for name, (call, arguments) in _READINGS.items():
            value = ctypes.c_uint()
            if self._ask(call, *arguments, ctypes.byref(value)):
                found[name] = value.value
        energy = ctypes.c_ulonglong()
        if self._ask("nvmlDeviceGetTotalEnergyConsumption", ctypes.byref(energy)):
            found["energy_mj"] = energy.value
        return found

    def driver_version(self) -> str | None:
        text = ctypes.create_string_buffer(_TEXT_BYTES)
        if self._library is None or self._library.nvmlSystemGetDriverVersion(text, _TEXT_BYTES) != 0:
            return None
        return text.value.decode(errors="replace")

    def _ask(self, call: str, *arguments: object) -> bool:
        if self._library is None:
            return False
        function = getattr(self._library, call, None)
        return function is not None and function(self._device, *arguments) == 0
