"""Runs the setup.py of the folder it is started in; the sources of an extension are compiled on all processors.

setuptools compiles them one after the other, and pycuda brings some forty with it.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from setuptools._distutils.ccompiler import CCompiler


def _compile(  # noqa: PLR0917  as it is called
    self: Any, sources: Sequence[str], output_dir: str | None = None, macros: Any = None, include_dirs: Any = None,
    debug: bool = False, extra_preargs: Any = None, extra_postargs: Any = None, depends: Any = None,
) -> list[str]:  # fmt: skip
    """As CCompiler.compile, which is documented to compile each source independently."""
    _, objects, extra_postargs, pp_opts, build = self._setup_compile(
        output_dir, macros, include_dirs, sources, depends, extra_postargs
    )
    cc_args = self._get_cc_args(pp_opts, debug, extra_preargs)

    def one(made: str) -> None:
        source, suffix = build[made]
        self._compile(made, source, suffix, cc_args, extra_postargs, pp_opts)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(one, build))
    return list(objects)


if __name__ == "__main__":
    CCompiler.compile = _compile
    sys.path.insert(0, ".")
    sys.argv = ["setup.py", *sys.argv[1:]]
    runpy.run_path("setup.py", run_name="__main__")
