"""How a scan went on this machine, for its operator: time, rates, tools, energy. Never part of what is signed."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from catalog.crew import processors
from catalog.tools import Tools

RUN_NAME: Final = "run.json"
NOT_MEASURED: Final = "not measured"
NOT_COMPUTED: Final = {
    "ffmpeg": "not found: m4a is judged by its structure alone, and wma, WavPack, CAF and others are left out",
    "flac": "not found: FLAC of 32 bits is left out",
    "fpcalc": "not found: Chromaprint fingerprints are not computed (Debian: libchromaprint-tools)",
}


class EnergyMeter(Protocol):
    """Reads what the machine used between `start` and `stop`."""

    def start(self) -> None: ...

    def stop(self, tracks: int) -> Mapping[str, Any] | str:
        """What run.json says under "energy". tracks: how many were read in between."""


class NoMeter:
    """Where nothing can be read: an estimate would look like a measurement."""

    def start(self) -> None:
        """Nothing to start."""

    def stop(self, tracks: int) -> Mapping[str, Any] | str:  # noqa: ARG002  an EnergyMeter
        return NOT_MEASURED


class Stopwatch:
    """Wall and processor time of this process and of the programs it ran, from its making on."""

    def __init__(self) -> None:
        self._started_at = datetime.now(UTC)
        self._wall, self._cpu = time.monotonic(), _cpu_seconds()

    def read(self) -> dict[str, Any]:
        own, children = (after - before for after, before in zip(_cpu_seconds(), self._cpu, strict=True))
        return {
            "started_at": self._started_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "wall_s": round(time.monotonic() - self._wall, 3),
            "cpu_s": round(own, 3),
            "cpu_programs_s": round(children, 3),
        }


def _cpu_seconds() -> tuple[float, float]:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own, children = (one.ru_utime + one.ru_stime for one in used)
    return own, children


def run_report(
    *,
    engine: Mapping[str, Any],
    times: Mapping[str, Any],
    tools: Tools,
    energy: Mapping[str, Any] | str,
    files: Mapping[str, int],
    bytes_read: int,
    complete: bool,
) -> dict[str, Any]:
    """The document of run.json. files: counts by what became of them; `read` among them."""
    wall_s, read = times["wall_s"], files["read"]
    found = {name: tools.version(name) or absent for name, absent in NOT_COMPUTED.items()}
    return {
        "stretto_run": 1,
        "complete": complete,
        "engine": dict(engine),
        **times,
        "files": dict(files),
        "bytes_read": bytes_read,
        "bytes_per_s": round(bytes_read / wall_s) if wall_s else None,
        "seconds_per_file": round(wall_s / read, 6) if read else None,
        "energy": energy,
        "tools": found,
        "host": {
            "system": f"{platform.system()} {platform.release()}",
            "machine": platform.machine(),
            "processors": processors(),
            "python": ".".join(map(str, sys.version_info[:3])),
            "load_average": [round(load, 2) for load in os.getloadavg()],
        },
    }
