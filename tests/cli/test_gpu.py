"""`stretto gpu`: end to end on the software driver, and what it says where there is no GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.output import Exit
from kernels import devices
from tests.cli.commands import Ended, Stretto
from tests.kernels.driver.running import CHAIN, SECONDS_MAX, needs_toolchain
from tests.kernels.driver.toolchain import ROOT

GPU0 = "GPU-e0e1e2e3-e4e5-e6e7-e8e9-eaebecedee00"
SMALL = ("--batch-mib", "1")


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "stretto" / "gpu"


def on_stand_in(*arguments: str, **settings: str) -> Ended:
    """A process in which there is a GPU, made of software."""
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "gpu", *arguments],
        capture_output=True, check=False, cwd=ROOT, timeout=SECONDS_MAX, env=CHAIN.environment(**settings),
    )  # fmt: skip
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return Ended(done.returncode, done.stdout, done.stderr.decode())


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    devices.driver_interface.cache_clear()


# ---- without a GPU ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("part", ["selftest", "bench", "calibrate"])
def test_without_a_gpu_that_is_said_in_one_line(stretto: Stretto, part: str, tmp_path: Path) -> None:
    ended = stretto("gpu", part)
    assert ended.code == Exit.INCOMPLETE
    assert ended.err.startswith("stretto: no GPU to try: pycuda is not installed")
    assert ended.err.count("\n") == 1
    assert ended.out == b""
    as_json = stretto("gpu", part, "--json")
    assert (as_json.json["ok"], as_json.json["exit"]) == (False, 2)
    assert list(tmp_path.glob("**/*.json")) == []


@pytest.mark.usefixtures("no_gpu")
def test_status_without_a_gpu_is_no_error(stretto: Stretto) -> None:
    ended = stretto("gpu", "status", "--json")
    assert ended.code == Exit.OK
    assert (ended.json["backend"], ended.json["devices"]) == ("cpu", [])
    assert ended.json["why"] == ["no GPU was calibrated here (stretto gpu calibrate)"]
    assert "pip install 'stretto[gpu]'" in ended.json["no_gpu"]
    assert "GPUs      none: pycuda is not installed" in stretto("gpu", "status").text


# ---- on the software driver ------------------------------------------------------------------------------------------


@needs_toolchain
def test_selftest_writes_a_report_that_can_be_sent_back(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    ended = on_stand_in("selftest", *SMALL, "--batches", "2", "--out", str(out))
    assert ended.code == Exit.OK, ended.err
    assert "passed: 126 of 126 known answers" in ended.text
    assert "no figure here is a GPU's" in ended.text
    report = json.loads(out.read_text())
    assert report["emulated"]
    assert report["device"]["uuid"] == GPU0
    assert (report["driver"][:5], report["nvml_driver"]) == ("CUDA ", "000.00")
    assert report["ptx_sha256"] == devices.ptx_digest()
    assert report["known_answers"] == {"passed": 126, "of": 126}
    assert report["digests_compared"] > 190
    assert (report["wrong"], report["passed"]) == ([], True)
    assert str(ROOT) not in out.read_text(), "a report names no folder of the sender"


@needs_toolchain
def test_selftest_of_a_gpu_that_computes_wrongly_fails_and_the_report_says_where(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    ended = on_stand_in("selftest", *SMALL, "--batches", "1", "--out", str(out), STANDIN_CORRUPTS_FROM_LAUNCH="50")
    assert ended.code == Exit.REFUSED
    assert "do not use this GPU" in ended.err
    report = json.loads(out.read_text())
    assert not report["passed"]
    assert report["known_answers"] == {"passed": 126, "of": 126}
    assert ", due " in report["wrong"][0]


@needs_toolchain
@pytest.mark.parametrize("part", ["selftest", "bench"])
def test_a_gpu_that_fails_on_the_way_is_said_in_one_line_and_no_report_is_left(part: str, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    ended = on_stand_in(part, *SMALL, "--out", str(out), STANDIN_FAILS_AT_LAUNCH="3")
    if part == "selftest":
        assert ended.code == Exit.INCOMPLETE
        assert ended.err == (
            "stretto: Stretto stand-in 0: GPU 0 failed (cuStreamQuery failed: CUDA_ERROR_LAUNCH_FAILED)\n"
        )
        assert not out.exists()
    else:  # its digests came from the CPU: that is a result too
        assert ended.code == Exit.REFUSED
        assert json.loads(out.read_text())["rows"][0]["equal"] is False


@needs_toolchain
def test_bench_reports_rates_with_and_without_transfers_beside_the_cpus(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    ended = on_stand_in("bench", *SMALL, "--rounds", "1", "--repeats", "1", "--out", str(out), "--json")
    assert ended.code == Exit.OK, ended.err
    report = json.loads(out.read_text())
    assert ended.json == {"ok": True, "out": str(out)} | report
    assert [row["message_bytes"] for row in report["rows"]] == [1 << 10, 16 << 10, 256 << 10]
    for row in report["rows"]:
        assert row["equal"]
        assert row["kernels_gb_s"] > 0 < row["end_to_end_gb_s"][0]
        assert row["cpu_gb_s"][0] > row["end_to_end_gb_s"][0], "software is no GPU"
        assert row["nvml"] == {"sm_clock_mhz": 1111, "memory_clock_mhz": 2222, "energy_mj": row["nvml"]["energy_mj"]}
        assert row["gpu_joules_end_to_end"] == 5.0


@needs_toolchain
def test_calibrate_remembers_and_status_tells(state: Path) -> None:
    assert "not measured" in on_stand_in("status").text
    ended = on_stand_in("calibrate", *SMALL, "--rounds", "1", "--threads", "2")
    assert ended.code == Exit.OK, ended.err
    assert "never used, this CPU is as fast" in ended.text
    assert [path.name for path in state.iterdir()] == [f"{GPU0}.json"]
    told = on_stand_in("status", "--threads", "2", "--json").json
    assert told["devices"][0]["crossover_bytes"] is None
    assert (told["backend"], told["why"]) == ("cpu", ["faster here than every GPU that was calibrated"])


@needs_toolchain
def test_calibrate_of_a_gpu_that_computes_wrongly_disables_it(state: Path) -> None:
    ended = on_stand_in("calibrate", *SMALL, STANDIN_CORRUPTS_FROM_LAUNCH="1")
    assert ended.code == Exit.REFUSED
    assert ended.err == (
        "stretto: Stretto stand-in 0: WRONG DIGEST: only 0 of 126 known answers are right. It is disabled\n"
    )
    assert [path.name for path in state.iterdir()] == [f"{GPU0}.disabled"]
    assert on_stand_in("status", "--json").json["devices"][0]["disabled"] is not None


@needs_toolchain
def test_a_device_that_is_not_there_is_a_usage_error() -> None:
    ended = on_stand_in("selftest", "--device", "3")
    assert ended.code == Exit.USAGE
    assert "there are 1 GPUs" in ended.err
