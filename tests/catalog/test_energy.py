"""Joules come from counters or not at all."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalog.energy import SAMPLE_S, WATTS_MAX, Energy, EnergyMeter, Tally, energy_report
from catalog.energy_counters import Counter, NotMeasured, Nvml, Rapl
from tests.catalog import powercap_trees as trees

RECORDED_NVML = Path(__file__).with_name("nvml.json")


def rapl_tally(root: Path) -> Tally:
    return Tally(Rapl(root))


# ---- which counters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "names"),
    [
        (trees.laptop, ["package-0", "package-0 dram"]),
        (trees.two_sockets, ["package-0", "package-0 dram", "package-1", "package-1 dram"]),
        (trees.amd, ["package-0"]),
    ],
)
def test_packages_and_memory_count_once_and_their_parts_not_at_all(
    tmp_path: Path, write: Callable[[Path], None], names: list[str]
) -> None:
    write(tmp_path)
    assert [counter.name for counter in Rapl(tmp_path).read()] == names


def test_every_die_of_a_package_counts(tmp_path: Path) -> None:
    trees.write_zone(tmp_path, "intel-rapl:0", "package-0-die-0", 1)
    trees.write_zone(tmp_path, "intel-rapl:1", "package-0-die-1", 1)
    trees.write_zone(tmp_path, "intel-rapl:10", "package-1-die-0", 1)
    assert [c.name for c in Rapl(tmp_path).read()] == ["package-0-die-0", "package-0-die-1", "package-1-die-0"]


def test_zone_ten_is_no_part_of_zone_one(tmp_path: Path) -> None:
    trees.write_zone(tmp_path, "intel-rapl:1", "package-1", 1)
    trees.write_zone(tmp_path, "intel-rapl:10", "package-10", 1)
    trees.write_zone(tmp_path, "intel-rapl:10:0", "dram", 1)
    assert [c.name for c in Rapl(tmp_path).read()] == ["package-1", "package-10", "package-10 dram"]


# ---- sums ------------------------------------------------------------------------------------------------------------


def test_joules_of_several_sockets_are_added_up(tmp_path: Path) -> None:
    trees.two_sockets(tmp_path)
    tally = rapl_tally(tmp_path)
    tally.sample(0)
    trees.advance(tmp_path, "intel-rapl:0", 3_000_000)
    trees.advance(tmp_path, "intel-rapl:1", 4_500_000)
    trees.advance(tmp_path, "intel-rapl:1:0", 250_000)
    tally.sample(10)
    assert tally.result() == Energy(
        source="RAPL",
        joules=7.75,
        parts=(("package-0", 3.0), ("package-0 dram", 0.0), ("package-1", 4.5), ("package-1 dram", 0.25)),
    )


def test_a_counter_that_turns_over_goes_on_counting(tmp_path: Path) -> None:
    trees.write_zone(tmp_path, "intel-rapl:0", "package-0", trees.RANGE_UJ - 1_000_000)
    tally = rapl_tally(tmp_path)
    tally.sample(0)
    for turn in range(5):
        trees.advance(tmp_path, "intel-rapl:0", 600_000)
        tally.sample(10 * (turn + 1))
    assert int((tmp_path / "intel-rapl:0" / "energy_uj").read_text()) == 2_000_000
    assert tally.result().joules == pytest.approx(3.0)


def test_a_counter_that_may_have_turned_twice_unseen_is_not_measured(tmp_path: Path) -> None:
    trees.amd(tmp_path)
    tally = rapl_tally(tmp_path)
    tally.sample(0)
    trees.advance(tmp_path, "intel-rapl:0", 5_000_000)
    tally.sample(60)
    found = tally.result()
    assert found.joules is None
    assert found.reason == "package-0 was not read for 60 s: its counter may have turned more than once"
    assert trees.SMALL_RANGE_UJ / 1e6 / WATTS_MAX > 2 * SAMPLE_S, "read at the usual pace it never comes to that"


def test_a_counter_set_back_is_not_taken_for_one_that_turned(tmp_path: Path) -> None:
    trees.amd(tmp_path)
    tally = rapl_tally(tmp_path)
    tally.sample(0)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("17\n")
    tally.sample(10)
    assert tally.result().joules is None
    assert "it was reset" in str(tally.result().reason)


def test_once_missed_it_stays_not_measured(tmp_path: Path) -> None:
    trees.amd(tmp_path)
    tally = rapl_tally(tmp_path)
    tally.sample(0)
    energy = tmp_path / "intel-rapl:0" / "energy_uj"
    kept = energy.read_text()
    energy.unlink()
    tally.sample(10)
    energy.write_text(kept)
    tally.sample(20)
    assert tally.result().reason == f"{energy}: no such file or directory"


def test_a_package_that_appears_later_is_not_measured(tmp_path: Path) -> None:
    trees.amd(tmp_path)
    tally = rapl_tally(tmp_path)
    tally.sample(0)
    trees.write_zone(tmp_path, "intel-rapl:1", "package-1", 1)
    tally.sample(10)
    assert tally.result().reason == "counters came or went while it was measured (package-1)"


# ---- what cannot be read ---------------------------------------------------------------------------------------------


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotMeasured, match="no counters of processors under"):
            Rapl(root).read()


def test_platform_or_core_alone_do_not_pass_for_the_package(tmp_path: Path) -> None:
    trees.write_zone(tmp_path, "intel-rapl:0", "psys", 1)
    trees.write_zone(tmp_path, "intel-rapl:0:0", "core", 1)
    with pytest.raises(NotMeasured, match="no counters"):
        Rapl(tmp_path).read()


def test_permission_denied_names_the_file_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trees.two_sockets(tmp_path)
    refused = tmp_path / "intel-rapl:1" / "energy_uj"
    real = Path.open

    def guarded(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self == refused:  # the mode bits would not stop root, as whom tests often run
            raise PermissionError(13, "Permission denied")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", guarded)
    tally = rapl_tally(tmp_path)
    tally.sample(0)
    found = tally.result()
    assert found.joules is None, "one of two sockets must not pass for both"
    assert str(found.reason).startswith(f"{refused}: permission denied; since 2020 Linux lets only root read it")


@pytest.mark.parametrize("content", [b"", b"\n", b"-5\n", b"12.5\n", b"0x10\n", b"\xff\xfe", b"9" * 64, b"many\n"])
def test_what_is_no_number_is_not_measured(tmp_path: Path, content: bytes) -> None:
    trees.amd(tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_bytes(content)
    with pytest.raises(NotMeasured, match="expected a number of microjoules"):
        Rapl(tmp_path).read()


def test_a_missing_range_is_not_measured(tmp_path: Path) -> None:
    trees.amd(tmp_path)
    (tmp_path / "intel-rapl:0" / "max_energy_range_uj").unlink()
    with pytest.raises(NotMeasured, match="max_energy_range_uj: no such file"):
        Rapl(tmp_path).read()


# ---- GPUs ------------------------------------------------------------------------------------------------------------


class RecordedNvml:
    """Answers of nvidia-ml-py as recorded in nvml.json, in order: millijoules of each GPU, or the error it raised."""

    class NVMLError(Exception):
        pass

    def __init__(self, case: str) -> None:
        self._case = json.loads(RECORDED_NVML.read_text())[case]
        self._turn = -1

    def nvmlInit(self) -> None:  # noqa: N802  NVML's name
        if "init" in self._case:
            raise self.NVMLError(self._case["init"])

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._turn += 1
        return len(self._case["gpus"])

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        answer = self._case["gpus"][handle][self._turn]
        if isinstance(answer, str):
            raise self.NVMLError(answer)
        return int(answer)


def gpu_energy(case: str, readings: int = 2) -> Energy:
    tally = Tally(Nvml(RecordedNvml(case)))
    for turn in range(readings):
        tally.sample(10 * turn)
    return tally.result()


def test_millijoules_of_all_gpus_are_added_up() -> None:
    assert gpu_energy("two GPUs") == Energy(source="NVML", joules=1950.5, parts=(("gpu-0", 1200.0), ("gpu-1", 750.5)))


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("no driver", "NVML: NVML Shared Library Not Found"),
        ("no GPU", "no GPU that NVML can see"),
        ("one before Volta", "GPU 1 does not tell its energy (Not Supported); Volta and later do"),
        ("driver reloaded", "gpu-0 went from 5000000000 to 3000000 uJ: it was reset"),
        ("lost on the way", "GPU 0 does not tell its energy (GPU is lost); Volta and later do"),
    ],
)
def test_gpus_that_cannot_be_measured_say_why(case: str, reason: str) -> None:
    assert gpu_energy(case) == Energy(source="NVML", joules=None, reason=reason)


def test_without_nvidia_ml_py_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(NotMeasured, match=r"pip install 'stretto\[gpu\]'"):
        Nvml().read()


# ---- meter and report ------------------------------------------------------------------------------------------------


class Turning:
    """A small counter that gains `step_uj` at each reading."""

    name = "RAPL"

    def __init__(self, step_uj: int) -> None:
        self._step_uj = step_uj
        self.readings = 0

    def read(self) -> tuple[Counter, ...]:
        self.readings += 1
        return (Counter(name="package-0", microjoules=self._step_uj * self.readings, wraps_at_uj=10**12),)


def test_the_meter_reads_at_the_start_while_it_waits_and_at_the_end() -> None:
    source = Turning(1_000_000)
    meter = EnergyMeter([source], sample_s=0.001)
    meter.start()
    while source.readings < 4:
        pass
    (energy,) = meter.stop()
    assert energy.joules == source.readings - 1
    before = source.readings
    assert meter.stop() == (energy,)
    assert source.readings == before, "stopped is stopped"


def test_the_report_gives_joules_per_track_only_where_all_that_took_part_was_measured() -> None:
    rapl = Energy(source="RAPL", joules=20.0, parts=(("package-0", 20.0),))
    gpu = Energy(source="NVML", joules=12.0, parts=(("gpu-0", 12.0),))
    unknown = Energy(source="NVML", joules=None, reason="no driver")
    assert energy_report([rapl], 4)["joules_per_track"] == 5.0
    assert energy_report([rapl, gpu], 4)["joules_per_track"] == 8.0
    assert energy_report([rapl, unknown], 4)["joules_per_track"] is None
    assert energy_report([rapl], 0)["joules_per_track"] is None
    assert energy_report([], 4)["joules_per_track"] is None
    assert energy_report([rapl, unknown], 4)["sources"] == [
        {"source": "RAPL", "joules": 20.0, "parts": {"package-0": 20.0}},
        {"source": "NVML", "joules": None, "reason": "not measured: no driver"},
    ]
