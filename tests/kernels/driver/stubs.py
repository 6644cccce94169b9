"""Writes a C file with every function of the CUDA driver that the stand-in lacks: each answers "not supported".

A library that is loaded with all symbols resolved, as Python loads extensions, needs them all to exist.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

NOT_SUPPORTED = 801
_DECLARED = re.compile(r"CUresult CUDAAPI\s+(cu[A-Z]\w+)\s*\(")
_RENAMED = re.compile(r"^\s*#\s*define (cu[A-Z]\w+)\s+(?:__CUDA_API_\w+\()?(cu[A-Z]\w+)\)?\s*$", re.MULTILINE)
_DEFINED = re.compile(r"^CUresult (cu[A-Z]\w+)\(", re.MULTILINE)


def stubs(headers: str, ours: str) -> str:
    """C source. headers: the text of the driver's headers. ours: that of the stand-in, which includes them."""
    renamed = dict(_RENAMED.findall(headers))
    names = set(_DECLARED.findall(headers)) | set(renamed) | set(renamed.values())
    have = {renamed.get(name, name) for name in _DEFINED.findall(ours)}
    lines = [f"int {name}(void) {{ return {NOT_SUPPORTED}; }}" for name in sorted(names - have)]
    return "\n".join(["/* Made by stubs.py from cuda.h. */", *lines, ""])


if __name__ == "__main__":
    include, ours, out = map(Path, sys.argv[1:])
    found = [include / name for name in ("cuda.h", "cudaProfiler.h", "cudaGL.h")]
    out.write_text(stubs("\n".join(path.read_text() for path in found), ours.read_text()))
