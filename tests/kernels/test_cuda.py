"""The GPU backend through the real pycuda, on a driver of our own; `make gpu-verify` builds both."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from kernels import devices
from kernels.devices import DeviceError
from tests.kernels.driver.toolchain import FOLDER, ROOT, Toolchain

CHAIN = Toolchain(folder=FOLDER)
needs_toolchain = pytest.mark.skipif(
    not (CHAIN.site / "pycuda" / "driver.py").exists(), reason="the toolchain is not built: make gpu-verify"
)
ORDERS = ("ascending", "descending", "mixed")
ARCHITECTURES = ("75", "80", "86", "89", "90", "100", "120")


def run(scene: str, **settings: str) -> dict[str, object]:
    command = [sys.executable, "-m", "tests.kernels.driver.exercise", scene]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=250, env=CHAIN.environment(**settings)
    )
    assert done.stdout, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


@needs_toolchain
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("streams", ["lazy", "eager"])
def test_batches_by_turns_in_two_slots_are_right(streams: str, order: str) -> None:
    assert run("batches", STANDIN_STREAMS=streams, STANDIN_ORDER=order) == {"batches": 6, "wrong": 0}


@needs_toolchain
def test_streams_of_the_stand_in_really_defer() -> None:
    """Else a missing wait would stay unseen: this one is made on purpose."""
    assert run("refilled_too_early", STANDIN_STREAMS="lazy") == {"right": False}
    assert run("refilled_too_early", STANDIN_STREAMS="eager") == {"right": True}


@needs_toolchain
def test_message_larger_than_a_batch_goes_in_pieces() -> None:
    assert run("large") == {"pieces": 4, "right": True}


@needs_toolchain
def test_several_devices_are_named_and_used() -> None:
    assert run("listed", STANDIN_DEVICES="2") == {
        "names": ["Stretto stand-in 0", "Stretto stand-in 1"],
        "right": [True, True],
    }


@needs_toolchain
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"STANDIN_DEVICES": "0"}, "no GPU"),
        ({"STANDIN_PTX_MAX": "60"}, "update the NVIDIA driver"),
        ({"STANDIN_CAPABILITY": "70"}, "update the NVIDIA driver"),
        ({"STANDIN_MEMORY_BYTES": "1000000"}, "too few for a batch"),
        ({"STANDIN_FAILS_AT_LAUNCH": "4"}, "LAUNCH_FAILED"),
    ],
    ids=["no device", "PTX too new", "device too old", "no memory", "lost on the way"],
)
def test_what_a_device_cannot_do_is_said_in_one_line(settings: dict[str, str], words: str) -> None:
    refused = run("batches", **settings)["refused"]
    assert isinstance(refused, str)
    assert words in refused
    assert "\n" not in refused


def test_no_driver_or_no_pycuda_is_said_in_one_line() -> None:
    with pytest.raises(DeviceError, match=r"no NVIDIA driver|pycuda is not installed|no GPU"):
        devices.devices()


@needs_toolchain
def test_shipped_ptx_is_what_the_source_compiles_to() -> None:
    assert CHAIN.ptx(devices.PTX.with_suffix(".cu")) == devices.PTX.read_bytes(), "make gpu-verify says how to renew it"


@needs_toolchain
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_kernel_spills_registers(architecture: str) -> None:
    command = [str(CHAIN.tool("ptxas")), "-v", f"-arch=sm_{architecture}", "-o", "/dev/null", str(devices.PTX)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert said.count("0 bytes spill stores, 0 bytes spill loads") == 4, said
