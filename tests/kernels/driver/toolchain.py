"""Builds what verification needs, from public registries: CUDA's compiler, the stand-in driver, and the real pycuda.

Everything lies in one folder and is built once for what it is made of: `python -m tests.kernels.driver.toolchain`,
which says how far it is. With --if-possible, a machine that cannot build it says why, and the tests that need it are
skipped. With --write-ptx it renews kernels/blake3.ptx.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
FOLDER = ROOT / ".stretto" / "gpu"
LOCK = HERE / "requirements.lock"
PYCUDA_LOCK = HERE / "pycuda.lock"
PTX_TARGET = "compute_75"
"""The oldest that is supported: newer devices compile its PTX for themselves."""
PTX_VERSION = "7.0"
"""What the PTX says it needs: nvcc writes its own version, which only the newest drivers load. These kernels use
nothing that CUDA 11.0 did not know; ptxas, which holds PTX to the version it names, makes the same code of both."""
SECONDS_MAX = 1200
"""For one step."""


class CannotBuild(Exception):
    """Why not, in a line or the tail of what a tool said."""


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

    @property
    def wheels(self) -> Path:
        """pycuda as it was built: it runs on a real driver too (make gpu-extra)."""
        return self.folder / "wheels"

    def tool(self, name: str) -> Path:
        return self.cuda / "bin" / name

    def environment(self, **settings: str) -> dict[str, str]:
        """For a process in which `pycuda` is real and the device is not. settings: STANDIN_…, see device.h."""
        paths = os.pathsep.join([str(ROOT), str(self.site)])
        return os.environ | {"PYTHONPATH": paths, "LD_LIBRARY_PATH": str(self.driver)} | settings

    def ptx(self, source: Path, out: Path, version: str | None = PTX_VERSION) -> bytes:
        """PTX of a CUDA source, for PTX_TARGET. version: the compiler's own where None."""
        command = [str(self.tool("nvcc")), "-O3", f"-arch={PTX_TARGET}", "-ptx", "-o", str(out), source.name]
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=source.parent)
        made = out.read_text()
        if version is not None:
            made = re.sub(r"^\.version .*$", f".version {version}", made, count=1, flags=re.MULTILINE)
        out.write_text(made)
        return made.encode()

    # ---- what it was made of: beside each part stands a key --------------------------------------------------------

    def is_made(self, part: str, key: str) -> bool:
        path = self.folder / f"{part}.key"
        return path.exists() and path.read_text() == key

    def made(self, part: str, key: str) -> None:
        (self.folder / f"{part}.key").write_text(key)

    def begin(self, part: str) -> None:
        (self.folder / f"{part}.key").unlink(missing_ok=True)


def compiler_key() -> str:
    """Of CUDA's compiler and pycuda, which are for one Python."""
    return _key([LOCK, PYCUDA_LOCK], sys.version, platform.machine())


def driver_key() -> str:
    """Of the stand-in."""
    sources = sorted(path for path in HERE.iterdir() if path.suffix in (".c", ".cpp", ".h") or path.name == "stubs.py")
    return _key([LOCK, *sources], platform.machine())


def _key(paths: list[Path], *more: str) -> str:
    parts = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    return hashlib.sha256("\n".join([*parts, *more]).encode()).hexdigest()


@cache
def missing() -> str | None:
    """Why tests that need the toolchain cannot run, and what to run; None where they can."""
    chain = Toolchain(folder=FOLDER)
    if chain.is_made("pycuda", compiler_key()) and chain.is_made("driver", driver_key()):
        return None
    reason = unable()
    return f"{reason}: no GPU toolchain here" if reason else "the GPU toolchain is not built: make gpu-verify"


def unable() -> str | None:
    """Why this machine cannot build it, as far as that can be told at once."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return f"{sys.platform} on {platform.machine()} is not x86_64 Linux"
    lacking = [name for name in ("cc", "c++", "tar") if shutil.which(name) is None]
    return f"no {lacking[0]} (apt-get install g++)" if lacking else None


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
    management = str(chain.driver / "libnvidia-ml.so.1")
    _run(["cc", "-shared", "-fPIC", "-Wall", "-Wextra", "-o", management, str(HERE / "nvml.c")])
    link = chain.driver / "libcuda.so"
    link.unlink(missing_ok=True)
    link.symlink_to(library.name)


def build_pycuda(chain: Toolchain) -> None:
    """pycuda from its source distribution, with the headers of PyPI's packages."""
    sources = chain.folder / "pycuda"
    shutil.rmtree(sources, ignore_errors=True)
    sources.mkdir(parents=True)
    environment = chain.environment()
    download = ["download", "--no-deps", "--no-binary", "pycuda", "--no-build-isolation", "--require-hashes"]
    _run([*_PIP, *download, "-d", str(sources), "-r", str(PYCUDA_LOCK)], environment)
    (archive,) = sources.glob("pycuda-*.tar.gz")
    _run(["tar", "xzf", str(archive), "-C", str(sources)])
    tree = sources / archive.name.removesuffix(".tar.gz")
    options = [f"--cuda-root={chain.cuda}", f"--cuda-inc-dir={chain.cuda / 'include'}", "--no-cuda-enable-curand"]
    options += [f"--cudadrv-lib-dir={chain.driver}", f"--cudart-lib-dir={chain.cuda / 'lib'}", "--ldflags="]
    options += ["--cxxflags=-O0"]  # what it calls is what is verified, not how fast it is
    _run([sys.executable, "configure.py", *options], environment, cwd=tree)
    _run([sys.executable, str(HERE / "parallel_setup.py"), "-q", "bdist_wheel", "-d", str(sources)], environment, tree)
    (wheel,) = sources.glob("pycuda-*.whl")
    shutil.rmtree(chain.wheels, ignore_errors=True)
    chain.wheels.mkdir()
    wheel = Path(shutil.move(wheel, chain.wheels))
    _run(
        [*_PIP, "install", "--no-deps", "--no-index", "--upgrade", "--target", str(chain.site), str(wheel)], environment
    )
    shutil.rmtree(sources)


def build(folder: Path | None = None) -> Toolchain:
    """Everything, or what of it is missing or made of something else. Raises: CannotBuild."""
    reason = unable()
    if reason is not None:
        raise CannotBuild(reason)
    folder = folder or FOLDER
    chain = Toolchain(folder=folder)
    folder.mkdir(parents=True, exist_ok=True)
    is_new = not chain.is_made("pycuda", compiler_key()) or not chain.wheels.exists()
    if is_new:
        _say("installing CUDA's compiler from PyPI (370 MB unpacked)")
        chain.begin("pycuda")
        shutil.rmtree(chain.site, ignore_errors=True)
        _run([*_PIP, "install", "--target", str(chain.site), "--require-hashes", "-r", str(LOCK)])
    if is_new or not chain.is_made("driver", driver_key()):
        _say("building the stand-in driver")
        chain.begin("driver")
        build_driver(chain)
        chain.made("driver", driver_key())
    if is_new:
        _say("building pycuda against it (a minute or two)")
        build_pycuda(chain)
        chain.made("pycuda", compiler_key())
    return chain


_PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]


def _say(what: str) -> None:
    print(f"gpu-verify: {what}", file=sys.stderr, flush=True)


def _run(command: list[str], environment: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, cwd=cwd, timeout=SECONDS_MAX
        )
    except subprocess.TimeoutExpired as error:
        raise CannotBuild(f"{' '.join(command[:6])} … took over {SECONDS_MAX} seconds") from error
    if done.returncode != 0:
        raise CannotBuild(f"{' '.join(command[:6])} … failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


def main(arguments: list[str]) -> int:
    try:
        chain = build()
    except CannotBuild as error:
        _say(str(error))
        if "--if-possible" not in arguments:
            return 1
        _say("going on without: tests of the GPU path are skipped; `make gpu-verify` tries again")
        return 0
    if "--write-ptx" in arguments:
        shipped = ROOT / "kernels" / "blake3.ptx"
        shipped.write_bytes(chain.ptx(shipped.with_suffix(".cu"), chain.folder / "made.ptx"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
