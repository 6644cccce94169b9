"""Compiles the kernels for this host, and runs a plan on them through ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.plan import BLOCK_THREADS, Launch, Plan, plan_batch
from kernels.subtrees import IV, Words

HERE = Path(__file__).parent
SOURCE = HERE.parent.parent.parent / "kernels" / "blake3.cu"
Argument = ctypes.c_void_p | ctypes.c_uint32
GARBAGE = 0xCD
"""What lies where nothing was written: whoever relies on zeros is found out."""


def compiler() -> str | None:
    """A C++ compiler of this machine; None where there is none."""
    return next((found for name in ("g++", "c++", "clang++") if (found := shutil.which(name))), None)


def build(folder: Path, *flags: str, source: Path = SOURCE) -> Path:
    """The shared library of `source`, built once per content and flags. Raises: subprocess.CalledProcessError."""
    return _compile(folder, "host.cpp", ("-shared", "-fPIC", *flags), source)


def build_replay(folder: Path, *flags: str, source: Path = SOURCE) -> Path:
    """The program that runs what `record` wrote."""
    return _compile(folder, "replay.cpp", flags, source)


def _compile(folder: Path, main: str, flags: Sequence[str], source: Path) -> Path:
    cxx = compiler()
    assert cxx is not None, "tests that build are skipped where there is no compiler"
    ours = [(HERE / name).read_bytes() for name in ("host.cpp", "replay.cpp", "shim.h")]
    parts = (source.read_bytes(), *ours, main.encode(), *map(str.encode, flags))
    built = folder / f"kernels-{hashlib.sha256(bytes(0).join(parts)).hexdigest()[:16]}"
    if not built.exists():
        command = [
            cxx, "-std=c++20", "-Wall", "-Wno-unknown-pragmas", f'-DBLAKE3_CU="{source}"', *flags,
            "-I", str(HERE), "-o", str(built), str(HERE / main), "-pthread",
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, text=True)
    return built


def record(path: Path, messages: Sequence[bytes], expected: Sequence[bytes], plan: Plan) -> None:
    """Writes a batch and its digests for `replay`, in hash mode."""
    kinds = {"b3_chunks": 0, "b3_tiles": 1, "b3_level": 2}
    parts = [struct.pack("<QIIII", plan.buffer_bytes, len(messages), plan.slots, 0, len(plan.launches))]
    parts += [struct.pack("<8I", *IV), _packed(messages, plan).tobytes(), plan.pieces.tobytes()]
    parts.append(plan.first_slot.tobytes())
    for launch in plan.launches:
        parts.append(struct.pack("<IIII", kinds[launch.kernel], launch.grid, launch.level or 0, launch.listed.size))
        parts += [launch.listed.tobytes(), launch.sums.tobytes()]
    path.write_bytes(b"".join([*parts, *expected]))


class HostMachine:
    """What a GPU does with a plan, done by this host. order: of threads within a block and of blocks, 0, 1 or 2."""

    def __init__(self, library: Path, *, order: int = 0) -> None:
        self._launch = ctypes.CDLL(str(library)).launch
        self._order = order

    def hash_batch(
        self, messages: Sequence[bytes], *, key: Words = IV, mode: int = 0, plan: Plan | None = None
    ) -> list[bytes]:
        """Chaining values or digests of the pieces, each 32 bytes."""
        plan = plan if plan is not None else plan_batch([len(m) for m in messages])
        count = len(messages)
        data = _packed(messages, plan)
        cvs = np.full((plan.slots, 8), 0xCDCDCDCD, dtype=np.uint32)
        out = np.full((count, 8), 0xCDCDCDCD, dtype=np.uint32)
        keys = np.array(key, dtype=np.uint32)
        for launch in plan.launches:
            self._run(launch, (data, plan.pieces, plan.first_slot, keys, cvs), mode)
        arguments = (_pointer(plan.first_slot), ctypes.c_uint32(count), _pointer(cvs), _pointer(out))
        self._call("b3_collect", -(-count * 8 // BLOCK_THREADS), arguments)
        return [row.tobytes() for row in out]

    def _run(self, launch: Launch, arrays: tuple[NDArray[np.generic], ...], mode: int) -> None:
        data, pieces, first_slot, key, cvs = map(_pointer, arrays)
        listed, sums, count = _pointer(launch.listed), _pointer(launch.sums), ctypes.c_uint32(launch.listed.size)
        if launch.level is None:
            arguments: tuple[Argument, ...] = (
                data,
                pieces,
                first_slot,
                listed,
                sums,
                count,
                key,
                ctypes.c_uint32(mode),
                cvs,
            )
        else:
            level = ctypes.c_uint32(launch.level)
            arguments = (pieces, first_slot, listed, sums, count, level, key, ctypes.c_uint32(mode), cvs)
        self._call(launch.kernel, launch.grid, arguments)

    def _call(self, kernel: str, grid: int, arguments: Sequence[Argument]) -> None:
        pointers = (ctypes.c_void_p * len(arguments))(*[ctypes.addressof(a) for a in arguments])
        code = self._launch(kernel.encode(), grid, BLOCK_THREADS, self._order, pointers)
        assert code == 0, f"no kernel {kernel}"


def _pointer(array: NDArray[np.generic]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _packed(messages: Sequence[bytes], plan: Plan) -> NDArray[np.uint8]:
    data = _aligned(plan.buffer_bytes)
    for message, offset in zip(messages, plan.pieces[:, 0], strict=True):
        data[int(offset) : int(offset) + len(message)] = np.frombuffer(message, dtype=np.uint8)
    return data


def _aligned(size: int) -> NDArray[np.uint8]:
    """A buffer at a multiple of 64, as device memory is."""
    raw = np.full(size + 64, GARBAGE, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]
