"""The GPU backend through the real pycuda, on a driver of our own; `make gpu-verify` builds both."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernels import devices
from kernels.devices import DeviceError
from tests.kernels.driver.running import CHAIN, needs_toolchain, run
from tests.kernels.driver.sass import COMPRESSION_MIN, compiled, listing, loop_cost
from tests.kernels.driver.toolchain import PTX_VERSION, ROOT

ORDERS = ("ascending", "descending", "mixed")
KERNELS = ("b3_chunks", "b3_tiles", "b3_level", "b3_collect")
ARCHITECTURES = ("75", "80", "86", "89", "90", "100", "120")


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
@pytest.mark.parametrize("order", ORDERS)
def test_known_answers_are_right_in_all_modes(order: str) -> None:
    assert run("known", STANDIN_ORDER=order) == {"right": 126, "of": 126}


@needs_toolchain
def test_as_many_messages_as_a_batch_may_have_are_right() -> None:
    assert run("thousands") == {"messages": 65_536, "wrong": 0}


@needs_toolchain
def test_half_of_the_devices_memory_stays_free() -> None:
    found = run("budget", STANDIN_MEMORY_BYTES=str(200 << 20))
    assert 20 << 20 < found["batch_bytes"] < 50 << 20
    assert 0.5 <= found["free_share"] < 0.6


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
def test_shipped_ptx_is_what_the_source_compiles_to(tmp_path: Path) -> None:
    made = CHAIN.ptx(devices.PTX.with_suffix(".cu"), tmp_path / "made.ptx")
    assert made == devices.PTX.read_bytes(), "renew it: make gpu-ptx"


@needs_toolchain
@pytest.mark.parametrize("architecture", [ARCHITECTURES[0], ARCHITECTURES[-1]])
def test_the_older_ptx_version_it_names_changes_no_instruction(architecture: str, tmp_path: Path) -> None:
    """So that drivers of CUDA 11.0 on load it, and not only the compiler's own."""
    listings = []
    for version in (None, PTX_VERSION):
        path = tmp_path / f"{version}.ptx"
        CHAIN.ptx(devices.PTX.with_suffix(".cu"), path, version)
        listings.append(listing(CHAIN, path, architecture, tmp_path)[1])
    assert listings[0] == listings[1]
    assert f".version {PTX_VERSION}\n" in devices.PTX.read_text()


@needs_toolchain
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_kernel_spills_and_the_documented_costs_are_the_compilers(architecture: str, tmp_path: Path) -> None:
    found = compiled(CHAIN, devices.PTX, architecture, tmp_path)
    assert {name: each.spill_bytes for name, each in found.items()} == dict.fromkeys(KERNELS, 0)
    chunks, tiles = found["b3_chunks"], found["b3_tiles"]
    assert chunks.loop is not None
    assert tiles.loop is not None
    registers = " / ".join(str(found[name].registers) for name in KERNELS[:3])
    row = f"| sm_{architecture} | {chunks.loop} | {tiles.loop} | {registers} | 0 |"
    assert row in (ROOT / "docs" / "gpu.md").read_text(), f"docs/gpu.md: the row is now {row}"
    # 672 operations and 8 xors cannot be saved; the rest is 4 loads, the loop, and what the compiler leaves.
    assert COMPRESSION_MIN + 8 <= chunks.loop <= COMPRESSION_MIN + 8 + 20
    assert tiles.loop <= COMPRESSION_MIN + 8 + 100


@needs_toolchain
def test_spills_are_noticed(tmp_path: Path) -> None:
    found = compiled(CHAIN, devices.PTX, "90", tmp_path, "--maxrregcount=24")
    assert found["b3_chunks"].spill_bytes > 0


def test_a_loop_is_counted_where_it_loads() -> None:
    """On a listing of a few lines: a loop of 700 instructions that loads, and one of 690 that does not."""
    body = "\n".join(f"        /*{16 * i:04x}*/                   IADD3 R1, R1, R2, R3 ;" for i in range(698))
    shorter = "\n".join(body.splitlines()[:689])
    listing = (
        ".text.k:\n.L_x_1:\n        /*0000*/                   LDG.E R1, [R2.64] ;\n"
        f"{body}\n        /*ffff*/              @P0 BRA `(.L_x_1) ;\n"
        f".L_x_2:\n{shorter}\n        /*ffff*/              @!P1 BRA `(.L_x_2) ;\n        /*ffff*/     EXIT ;\n"
    )
    assert loop_cost(listing, "k") == 700
    assert loop_cost(listing.replace("LDG", "LDS"), "k") is None
