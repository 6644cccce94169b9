"""Programs for tests: the real ones where they are installed, and small ones made on the spot that misbehave."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from catalog.tools import NO_TOOLS, Tools, find_tools

PACKAGES = {"ffmpeg": "ffmpeg", "flac": "flac", "fpcalc": "libchromaprint-tools"}


def need(*names: str) -> Tools:
    """This machine's tools; skips where one of them is not installed."""
    for name in names:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed: apt-get install {PACKAGES[name]}")
    return find_tools()


def script(path: Path, body: str) -> str:
    """A shell script of that body, as a program. Returns its path."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def ffmpeg(*arguments: object) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, arguments)], check=True, timeout=60)


def with_fpcalc(path: str) -> Tools:
    return Tools(fpcalc=path, versions=(*NO_TOOLS.versions, ("fpcalc", "fpcalc of this test")))
