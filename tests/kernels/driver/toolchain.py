"""Builds what verification needs, from public registries: CUDA's compiler, the stand-in driver, and the real pycuda.

Everything lies in one folder and is built once: `python -m tests.kernels.driver.toolchain`, which says how far it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
FOLDER = ROOT / ".stretto" / "gpu"
LOCK = HERE / "requirements.lock"
PYCUDA = "pycuda==2026.1"
PTX_TARGET = "compute_75"
"""The oldest that is supported: newer devices compile its PTX for themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """Where everything lies. Nothing is taken from a CUDA that this machine may have."""

    folder: Path

    @property
    def site(self) -> Path:
        return self.folder / "site"

    @property
    def cuda(self) -> Path:
        return self.site / "nvidia" / "cu13"

    @property
    def driver(self) -> Path:
        """Folder of libcuda.so.1."""
        return self.folder / "driver"

    def tool(self, name: str) -> Path:
        return self.cuda / "bin" / name

    def environment(self, **settings: str) -> dict[str, str]:
        """For a process in which `pycuda` is real and the device is not. settings: STANDIN_…, see device.h."""
        paths = os.pathsep.join([str(ROOT), str(self.site)])
        return os.environ | {"PYTHONPATH": paths, "LD_LIBRARY_PATH": str(self.driver)} | settings

    def ptx(self, source: Path) -> bytes:
        """PTX of a CUDA source, for PTX_TARGET."""
        out = self.folder / "built.ptx"
        command = [str(self.tool("nvcc")), "-O3", f"-arch={PTX_TARGET}", "-ptx", "-o", str(out), source.name]
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=source.parent)
        return out.read_bytes()


def build_driver(chain: Toolchain) -> None:
    """The stand-in, under the name that pycuda links to and loads."""
    chain.driver.mkdir(parents=True, exist_ok=True)
    include, stubs, library = chain.cuda / "include", chain.folder / "stubs.c", chain.driver / "libcuda.so.1"
    _run([sys.executable, str(HERE / "stubs.py"), str(include), str(HERE / "libcuda.cpp"), str(stubs)])
    _run(["cc", "-c", "-fPIC", "-w", "-o", str(chain.folder / "stubs.o"), str(stubs)])
    sources = [str(path) for path in sorted(HERE.glob("*.cpp"))]
    command = ["c++", "-std=c++20", "-O2", "-Wall", "-Wextra", "-fPIC", "-I", str(include), "-shared"]
    command += ["-Wl,-soname,libcuda.so.1", "-o", str(library), *sources, str(chain.folder / "stubs.o")]
    _run(command)
    link = chain.driver / "libcuda.so"
    link.unlink(missing_ok=True)
    link.symlink_to(library.name)


def build_pycuda(chain: Toolchain) -> None:
    """pycuda from its source distribution, with the headers of PyPI's packages: a minute or two of compiling."""
    sources = chain.folder / "pycuda"
    sources.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    environment = chain.environment()
    _run(
        [*pip, "download", "--no-deps", "--no-binary", "pycuda", "--no-build-isolation", "-d", str(sources), PYCUDA],
        environment,
    )
    (archive,) = sources.glob("pycuda-*.tar.gz")
    _run(["tar", "xzf", str(archive), "-C", str(sources)])
    tree = sources / archive.name.removesuffix(".tar.gz")
    options = [f"--cuda-root={chain.cuda}", f"--cuda-inc-dir={chain.cuda / 'include'}", "--no-cuda-enable-curand"]
    options += [f"--cudadrv-lib-dir={chain.driver}", f"--cudart-lib-dir={chain.cuda / 'lib'}", "--ldflags="]
    _run([sys.executable, "configure.py", *options], environment, cwd=tree)
    install = [
        *pip,
        "install",
        "--no-build-isolation",
        "--no-deps",
        "--upgrade",
        "--target",
        str(chain.site),
        str(tree),
    ]
    _run(install, environment)


def build(folder: Path = FOLDER) -> Toolchain:
    """Everything, or what of it is missing. Raises: subprocess.CalledProcessError."""
    chain = Toolchain(folder=folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not chain.tool("ptxas").exists():
        _say("installing CUDA's compiler from PyPI")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "install", "--target", str(chain.site)]
        _run([*pip, "--require-hashes", "-r", str(LOCK)])
    _say("building the stand-in driver")
    build_driver(chain)
    if not (chain.site / "pycuda" / "driver.py").exists():
        _say("building pycuda against it (a minute or two)")
        build_pycuda(chain)
    return chain


def _say(what: str) -> None:
    print(f"gpu-verify: {what}", file=sys.stderr, flush=True)


def _run(command: list[str], environment: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=cwd)
    if done.returncode != 0:
        raise SystemExit(f"gpu-verify: {' '.join(command[:6])} … failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


if __name__ == "__main__":
    build()
