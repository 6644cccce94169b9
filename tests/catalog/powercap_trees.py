"""Powercap trees as Linux documents them, written to a folder, so that readers meet every kind of machine.

Source: Linux, Documentation/power/powercap/powercap.rst (names, files) and drivers/powercap/intel_rapl_common.c (the
names of zones: package-N, package-N-die-M, core, uncore, dram, psys).
"""

from __future__ import annotations

from pathlib import Path

RANGE_UJ = 262_143_328_850
"""2^32 - 1 counts of 61 uJ: the usual one."""
SMALL_RANGE_UJ = 65_532_610_987
"""2^32 - 1 counts of 15.3 uJ: AMD's, and memory of some servers."""


def write_zone(root: Path, zone: str, name: str, energy_uj: int, range_uj: int = RANGE_UJ) -> Path:
    """One zone of the class folder; `intel-rapl:0:1` is a part of `intel-rapl:0`."""
    folder = root / zone
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    (folder / "enabled").write_text("1\n")
    return folder


def write_control_type(root: Path, name: str = "intel-rapl") -> None:
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / "enabled").write_text("1\n")


def laptop(root: Path) -> None:
    """One package with its parts, the platform that contains it, and the same package again by MMIO."""
    write_control_type(root)
    write_zone(root, "intel-rapl:0", "package-0", 50_000_000)
    write_zone(root, "intel-rapl:0:0", "core", 30_000_000)
    write_zone(root, "intel-rapl:0:1", "uncore", 5_000_000)
    write_zone(root, "intel-rapl:0:2", "dram", 7_000_000)
    write_zone(root, "intel-rapl:1", "psys", 90_000_000)
    write_control_type(root, "intel-rapl-mmio")
    write_zone(root, "intel-rapl-mmio:0", "package-0", 50_000_000)


def two_sockets(root: Path) -> None:
    """A server: two packages, each with memory that is counted apart."""
    write_control_type(root)
    for socket in (0, 1):
        write_zone(root, f"intel-rapl:{socket}", f"package-{socket}", 1_000_000 * (socket + 1))
        write_zone(root, f"intel-rapl:{socket}:0", "dram", 500_000 * (socket + 1), SMALL_RANGE_UJ)


def amd(root: Path) -> None:
    """AMD since family 17h: the same driver's name, a core zone, no memory."""
    write_control_type(root)
    write_zone(root, "intel-rapl:0", "package-0", 123_000_000, SMALL_RANGE_UJ)
    write_zone(root, "intel-rapl:0:0", "core", 45_000_000, SMALL_RANGE_UJ)


def advance(root: Path, zone: str, microjoules: int) -> None:
    """The counter moves on, and starts at zero after its greatest value."""
    path = root / zone / "energy_uj"
    greatest = int((root / zone / "max_energy_range_uj").read_text())
    path.write_text(f"{(int(path.read_text()) + microjoules) % greatest}\n")
