"""Scenes in processes of their own, on the stand-in driver; what is skipped where it cannot be built, and why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kernels.driver.toolchain import FOLDER, ROOT, Toolchain, missing

CHAIN = Toolchain(folder=FOLDER)
needs_toolchain = pytest.mark.skipif(missing() is not None, reason=f"{missing()}")
SECONDS_MAX = 250


def run(scene: str, *, module: str = "exercise", **settings: str) -> dict[str, Any]:
    """What a scene printed. settings: STANDIN_… (device.h) and other variables. A process that ends badly fails."""
    command = [sys.executable, "-m", f"tests.kernels.driver.{module}", scene]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=SECONDS_MAX,
        env=CHAIN.environment(**settings),
    )  # fmt: skip
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"
    assert "PyCUDA WARNING" not in done.stderr, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def launches_of(folder: Path, scene: str, *, module: str, **settings: str) -> int:
    """How many kernels a scene launches: faults are told by their number."""
    log = folder / f"{scene}.log"
    run(scene, module=module, STANDIN_LOG=str(log), **settings)
    return log.read_text().count("launch ")
