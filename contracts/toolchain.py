"""The contracts' compiler and test tools from npm, installed once for each lock file."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
INSTALLED: Final = HERE.parent / ".stretto" / "contracts"
NODE_MAJOR_MIN: Final = 20
INSTALL_S: Final = 240
COMPILE_S: Final = 240

PASSED_OVER: Final = {
    "2394",  # "Transient storage ... can break composability": the reentrancy guard clears it, as the warning asks
}
"""Warnings of the compiler."""


class Unavailable(Exception):
    """This machine cannot have the tools. The sentence says why."""


class CompilationFailed(Exception):
    """The compiler refused the sources. The text is its own."""


def install(*, tools: bool = False) -> Path:
    """A folder with solc.mjs and node_modules: compiler and library; with `tools` anvil and forge too (125 MB more).

    Raises: Unavailable.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise Unavailable("Node.js with npm is not installed")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").partition(".")[0]) < NODE_MAJOR_MIN:
        raise Unavailable(f"Node.js is {version}: expected {NODE_MAJOR_MIN} or newer")
    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = INSTALLED / f"{lock}{'-tools' if tools else ''}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "solc.mjs"):
        shutil.copy(HERE / name, folder)
    if not (folder / "installed").exists():
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", *([] if tools else ["--omit=dev"])]
        try:
            ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"npm ci did not end within {INSTALL_S} s") from None
        if ended.returncode:
            raise Unavailable(f"npm ci failed: {ended.stderr.strip()[-300:]}")
        (folder / "installed").touch()
    return folder


def solc(folder: Path, request: dict[str, Any], *, warnings: bool = False) -> dict[str, Any]:
    """The compiler's standard JSON output. Raises: CompilationFailed; warnings are errors unless allowed."""
    ended = subprocess.run(
        ["node", str(folder / "solc.mjs")],
        input=json.dumps(request), capture_output=True, text=True, timeout=COMPILE_S, check=False,
    )  # fmt: skip
    if ended.returncode:
        raise CompilationFailed(ended.stderr[-2000:])
    output: dict[str, Any] = json.loads(ended.stdout)
    found = [
        error["formattedMessage"]
        for error in output.get("errors", ())
        if error["severity"] == "error" or (not warnings and error["errorCode"] not in PASSED_OVER)
    ]
    if found:
        raise CompilationFailed("\n".join(found))
    return output


def solc_version(folder: Path) -> str:
    """Such as 0.8.37+commit.0a1b2c3d."""
    ended = subprocess.run(
        ["node", str(folder / "solc.mjs"), "--version"], capture_output=True, text=True, timeout=COMPILE_S, check=True
    )
    return ended.stdout.rpartition("Version: ")[2].strip().partition(".Linux")[0]
