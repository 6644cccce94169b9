"""Which backend hashes, and what happens when it fails: every digest is right, whatever the GPU does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kernels.driver.running import launches_of, needs_toolchain, run

GPU0, GPU1 = (f"GPU-e0e1e2e3-e4e5-e6e7-e8e9-eaebecedee0{n}" for n in range(2))
FILES = 52


@pytest.fixture
def state(tmp_path: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(tmp_path / "state")}


@pytest.fixture(scope="module")
def proof_launches(tmp_path_factory: pytest.TempPathFactory) -> int:
    """Launches of the known answers, before a device is used."""
    return launches_of(tmp_path_factory.mktemp("log"), "known", module="exercise")


def scene(name: str, **settings: str) -> dict[str, Any]:
    found = run(name, module="dispatching", **settings)
    assert found["in_order"], found
    assert found["wrong"] == 0, found
    assert found["errors"] == [[3, "gone"]], "the one source that cannot be read is told, in its place"
    assert sum(backend["files"] for backend in found["backends"].values()) == FILES, "nothing is lost"
    return found


@needs_toolchain
def test_a_calibrated_gpu_hashes_large_batches_and_the_cpu_small_ones(state: dict[str, str]) -> None:
    found = scene("calibrated", **state)
    assert found["backends"][GPU0]["files"] == FILES - 1
    assert found["backends"]["cpu"] == {"files": 1, "bytes": 100_000}
    assert found["compared"] > 0
    assert found["why"].startswith(f"GPU {GPU0}: faster here for batches from 200000 bytes on")
    assert (found["said"], found["disabled"]) == ([], [])


@needs_toolchain
def test_without_a_calibration_no_driver_is_asked(state: dict[str, str]) -> None:
    found = scene("uncalibrated", **state)
    assert found["why"] == "CPU: no GPU was calibrated here (stretto gpu calibrate)"
    assert not found["asked_pycuda"]


@needs_toolchain
def test_what_is_over_before_a_gpu_has_started_is_the_cpus(state: dict[str, str]) -> None:
    assert scene("little", **state)["why"].startswith("CPU: 1000000 bytes to hash, a GPU is worth its start from")


@needs_toolchain
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"driver": "CUDA 12.0"}, "another driver (CUDA 12.0, now CUDA 13"),
        ({"ptx_sha256": "0" * 64}, "another version of the kernels"),
        ({"threads": 1}, "fewer CPU threads (1, now 2)"),
        ({"uuid": "GPU-another"}, "not calibrated"),
    ],
    ids=["driver", "kernels", "threads", "device"],
)
def test_a_calibration_is_good_for_what_was_measured_only(
    changed: dict[str, object], words: str, state: dict[str, str]
) -> None:
    found = scene("outdated", CHANGED=json.dumps(changed), **state)
    assert list(found["backends"]) == ["cpu"]
    assert words in found["why"]


@needs_toolchain
@pytest.mark.parametrize("later", [1, 60])
def test_a_wrong_digest_disables_the_gpu_for_good_and_the_cpu_gives_the_right_one(
    later: int, proof_launches: int, state: dict[str, str]
) -> None:
    found = scene("calibrated", STANDIN_CORRUPTS_FROM_LAUNCH=str(proof_launches + later), **state)
    (said,) = found["said"]
    assert "WRONG DIGEST" in said
    assert "disabled until `stretto gpu calibrate` passes" in said
    assert found["disabled"] == [f"{GPU0}.disabled"]
    assert found["backends"]["cpu"]["files"] > 1
    # Another process, a device that is right again: it stays out until it was calibrated anew.
    after = scene("again", **state)
    assert list(after["backends"]) == ["cpu"]
    assert f"{GPU0}: disabled since" in after["why"]
    assert run("measured", module="dispatching", **state)["disabled"] is None


@needs_toolchain
def test_a_gpu_that_fails_the_known_answers_is_disabled_before_it_hashes_anything(state: dict[str, str]) -> None:
    found = scene("calibrated", STANDIN_CORRUPTS_FROM_LAUNCH="1", **state)
    assert list(found["backends"]) == ["cpu"]
    assert "WRONG DIGEST: only 0 of 126 known answers are right" in found["said"][0]
    assert found["disabled"] == [f"{GPU0}.disabled"]


@needs_toolchain
@pytest.mark.parametrize("later", [1, 20, 60])
def test_a_device_lost_half_way_costs_one_line_and_no_digest(
    later: int, proof_launches: int, state: dict[str, str]
) -> None:
    found = scene("calibrated", STANDIN_FAILS_AT_LAUNCH=str(proof_launches + later), **state)
    (said,) = found["said"]
    assert "LAUNCH_FAILED" in said
    assert said.endswith("the CPU goes on, and no digest is lost")
    assert found["why"].startswith(f"GPU {GPU0}: faster here")
    assert found["why"].endswith(said), "the report says what became of it"
    assert found["disabled"] == [], "it may be well again at the next start"
    assert found["backends"]["cpu"]["files"] > 1


@needs_toolchain
def test_a_device_that_hangs_is_given_up_after_a_while(proof_launches: int, state: dict[str, str]) -> None:
    found = scene("hung", STANDIN_HANGS_AT_LAUNCH=str(proof_launches + 20), **state)
    (said,) = found["said"]
    assert "gives no answer within 120 seconds; the CPU goes on" in said


@needs_toolchain
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"STANDIN_FAILS_FROM_ALLOCATION": "6"}, "out of memory"),
        ({"STANDIN_MEMORY_BYTES": "1000000"}, "too few for a batch"),
        ({"STANDIN_PTX_MAX": "60"}, "update the NVIDIA driver"),
    ],
    ids=["out of memory", "no memory", "PTX too new"],
)
def test_a_device_that_cannot_be_opened_costs_one_line(
    fault: dict[str, str], words: str, state: dict[str, str]
) -> None:
    found = scene("calibrated", **fault, **state)
    (said,) = found["said"]
    assert words in said
    assert said.endswith("hashing without it")
    assert list(found["backends"]) == ["cpu"]


@needs_toolchain
def test_a_gpu_that_is_gone_since_its_calibration_is_told_in_the_report(state: dict[str, str]) -> None:
    scene("calibrated", **state)
    found = scene("again", STANDIN_DEVICES="0", **state)
    assert found["why"].startswith("CPU: the driver finds no GPU")


@needs_toolchain
def test_of_two_gpus_the_other_goes_on(proof_launches: int, state: dict[str, str]) -> None:
    two = {"STANDIN_DEVICES": "2", **state}
    both = scene("calibrated", **two)
    assert {GPU0, GPU1} < set(both["backends"])
    one = scene("calibrated", STANDIN_FAULTY_DEVICE="0", STANDIN_FAILS_AT_LAUNCH=str(proof_launches + 5), **two)
    assert "the other GPUs go on" in one["said"][0]
    assert one["backends"][GPU1]["files"] > both["backends"][GPU1]["files"]


@needs_toolchain
def test_a_calibration_measures_and_is_remembered(state: dict[str, str]) -> None:
    assert run("measured", module="dispatching", **state) == {
        "rows": 2, "positive": True, "opened": True, "is_stored": True, "disabled": None,
        "crossover": None,  # interpreted PTX never beats a processor
    }  # fmt: skip


@needs_toolchain
def test_a_wrong_digest_in_a_calibration_disables_and_stores_nothing(
    proof_launches: int, state: dict[str, str]
) -> None:
    found = run("measured", module="dispatching", STANDIN_CORRUPTS_FROM_LAUNCH=str(proof_launches + 1), **state)
    assert found["stored"] == 0
    assert "where the CPU gives" in found["disabled"]


@needs_toolchain
@pytest.mark.parametrize("order", ["ascending", "mixed"])
def test_counters_beyond_32_bits_go_through_chunks_and_tiles(order: str) -> None:
    assert run("far_counters", module="dispatching", STANDIN_ORDER=order) == {"right": [True] * 3}
