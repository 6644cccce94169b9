"""When a GPU is worth using, and what is remembered of it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kernels import calibration, devices, dispatch
from kernels.calibration import Calibration, Row

MIB = 1 << 20


def row(batch_mib: int, cpu_s: float, gpu_s: float, message_bytes: int = 1024) -> Row:
    return Row(
        batch_bytes=batch_mib * MIB, message_bytes=message_bytes, bytes=4 * batch_mib * MIB, cpu_s=cpu_s, gpu_s=gpu_s
    )


def calibrated(*rows: Row) -> Calibration:
    return Calibration(
        uuid="GPU-1", name="a GPU", driver="CUDA 13.0", ptx_sha256="ab" * 32, threads=8,
        measured_at="2026-11-30T00:00:00Z", load_average=0.1, open_s=0.5, rows=rows,
    )  # fmt: skip


def test_a_gpu_is_used_from_the_size_on_where_it_wins_by_the_margin() -> None:
    found = calibrated(row(1, 1.0, 2.0), row(4, 1.0, 0.9), row(16, 1.0, 0.8), row(64, 1.0, 0.5))
    assert found.crossover_bytes == 16 * MIB, "at 4 MiB it is faster, but not by a fifth"


def test_a_gpu_that_loses_at_the_largest_size_is_never_used() -> None:
    found = calibrated(row(1, 1.0, 0.1), row(64, 1.0, 0.9))
    assert (found.crossover_bytes, found.worth_from_bytes) == (None, None)


def test_it_must_win_with_short_and_with_long_messages() -> None:
    assert calibrated(row(64, 1.0, 0.1), row(64, 1.0, 0.9, MIB)).crossover_bytes is None
    assert calibrated(row(64, 1.0, 0.1), row(64, 1.0, 0.8, MIB)).crossover_bytes == 64 * MIB


def test_no_larger_batch_is_used_than_was_measured() -> None:
    assert calibrated(row(4, 2.0, 1.0), row(1, 2.0, 1.0)).batch_bytes_max == 4 * MIB


def test_it_holds_against_as_many_threads_or_fewer() -> None:
    """A worker of a cluster has one thread: what beats eight beats that."""
    found = calibrated(row(4, 2.0, 1.0))
    for threads, valid in ((1, True), (8, True), (9, False)):
        reason = found.invalid_because(driver="CUDA 13.0", ptx_sha256="ab" * 32, threads=threads)
        assert (reason is None) is valid, reason


def test_its_start_must_be_earned() -> None:
    found = calibrated(row(1, 2.0, 1.0))  # saves a second in 4 MiB, and needs half a second to start
    assert found.worth_from_bytes == 2 * MIB
    assert replace(found, open_s=0.0).worth_from_bytes == 1 * MIB


def test_what_was_saved_is_loaded_and_trust_comes_back_with_it(tmp_path: Path) -> None:
    found = calibrated(row(1, 2.0, 1.0))
    calibration.disable(tmp_path, "GPU-1", "it lied")
    assert (calibration.disabled_because(tmp_path, "GPU-1") or "").endswith(": it lied")
    assert calibration.disabled_because(tmp_path, "GPU-2") is None
    calibration.save(found, tmp_path)
    assert calibration.load(tmp_path) == {"GPU-1": found}
    assert calibration.disabled_because(tmp_path, "GPU-1") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["GPU-1.json"], "no draft is left"


@pytest.mark.parametrize(
    "change",
    [{"format": 2}, {"rows": []}, {"rows": [{"batch_bytes": 1}]}, {"threads": None, "more": 1}, {"rows": 7},
     {"uuid": "../../x"}, {"ptx_sha256": 7}, {"threads": True}, {"threads": 0}, {"open_s": float("inf")},
     {"open_s": "1"},
     {"rows": [{"batch_bytes": 1, "message_bytes": 1, "bytes": 1, "cpu_s": 1e-320, "gpu_s": 0.0}]},
     {"rows": [{"batch_bytes": 1.5, "message_bytes": 1, "bytes": 1, "cpu_s": 2.0, "gpu_s": 1.0}]},
     {"rows": [{"batch_bytes": 1, "message_bytes": 1, "bytes": 1, "cpu_s": "x", "gpu_s": 1}]}],
)  # fmt: skip
def test_a_file_that_is_no_calibration_counts_as_none(change: dict[str, object], tmp_path: Path) -> None:
    path = calibration.save(calibrated(row(1, 2.0, 1.0)), tmp_path)
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | change))
    assert calibration.load(tmp_path) == {}
    for text in ("{", "[" * 100_000):
        path.write_text(text)
        assert calibration.load(tmp_path) == {}
    path.write_text(json.dumps(document))
    assert len(calibration.load(tmp_path)) == 1


def test_a_marker_that_cannot_be_read_still_disables(tmp_path: Path) -> None:
    for text in ("?", "[" * 100_000, "[]"):
        (tmp_path / "GPU-1.disabled").write_text(text)
        assert "cannot be read" in (calibration.disabled_because(tmp_path, "GPU-1") or "")


def test_state_lies_where_the_xdg_specification_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert calibration.state_folder() == tmp_path / "stretto" / "gpu"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert calibration.state_folder() == Path("/home/somebody/.local/state/stretto/gpu")


# ---- without a GPU ---------------------------------------------------------------------------------------------------


def test_without_pycuda_a_calibration_of_yesterday_ends_on_the_cpu_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    devices.driver_interface.cache_clear()
    calibration.save(calibrated(row(1, 2.0, 1.0)), tmp_path)
    with dispatch.open_best(threads=1, folder=tmp_path) as hasher:
        assert hasher.why.startswith("CPU: pycuda is not installed: pip install 'stretto[gpu]'")
        assert hasher.report()["backends"] == {}


def test_one_who_never_calibrated_imports_neither_pycuda_nor_numpy(tmp_path: Path) -> None:
    import subprocess

    program = (
        "import sys\nfrom pathlib import Path\nfrom kernels import dispatch\n"
        "h = dispatch.open_best(threads=1, folder=Path(sys.argv[1]))\nh.close()\n"
        "print({'pycuda', 'numpy'} & set(sys.modules), h.why)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "set() CPU: no GPU was calibrated here (stretto gpu calibrate)"


def test_the_cpu_wins_over_every_calibrated_gpu(tmp_path: Path) -> None:
    calibration.save(calibrated(row(1, 1.0, 2.0)), tmp_path)
    assert dispatch.choose(tmp_path, threads=8).reasons == ["faster here than every GPU that was calibrated"]
