"""The slow checks of the contracts: python -m tests.contracts.verify [anvil] [forge] [slither]

anvil: every contract test again on a real node. forge: fuzzing and invariants. slither: no finding without a reason.
Tools come from npm and PyPI, into .stretto; a machine that cannot have one hears why, and the check counts as failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contracts.toolchain import HERE, INSTALLED, Unavailable, install

TESTS = Path(__file__).parent
SLITHER = "slither-analyzer==0.11.6"
LIMIT_S = 1800
REASONS = TESTS / "slither.json"
"""Findings that are no faults: each with the detector, the place and the reason."""


def laid_out() -> Path:
    """A forge project of the committed sources and tests."""
    installed = install(tools=True)
    folder = INSTALLED / "forge"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copytree(HERE / "src", folder / "src")
    (folder / "test").mkdir()
    for path in (HERE / "forge").glob("*.sol"):
        shutil.copy(path, folder / "test")
    shutil.copy(HERE / "forge" / "foundry.toml", folder)
    shutil.copy(installed / "solc.mjs", folder)
    (folder / "solc.mjs").chmod(0o755)
    (folder / "node_modules").symlink_to(installed / "node_modules")
    return folder


def on_anvil() -> bool:
    install(tools=True)
    command = [sys.executable, "-m", "pytest", "-q", str(TESTS), "--deselect", str(TESTS / "test_artifacts.py")]
    environment = {**os.environ, "STRETTO_EVM": "anvil"}
    return subprocess.run(command, env=environment, timeout=LIMIT_S, check=False).returncode == 0


def forge() -> bool:
    folder = laid_out()
    command = [str(folder / "node_modules" / ".bin" / "forge"), "test", "--show-progress"]
    return subprocess.run(command, cwd=folder, timeout=LIMIT_S, check=False).returncode == 0


def slither() -> bool:
    """In an environment of its own: it asks for other versions of web3 than the project's."""
    folder, environment = laid_out(), INSTALLED / "slither"
    program = environment / "bin" / "slither"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], timeout=LIMIT_S, check=True)
        pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-qq", "install"]
        made = subprocess.run([*pip, SLITHER], timeout=LIMIT_S, capture_output=True, text=True, check=False)
        if made.returncode:
            raise Unavailable(f"{SLITHER} could not be installed: {made.stderr.strip()[-300:]}")
    report = folder / "slither.json"
    path = f"{folder / 'node_modules' / '.bin'}{os.pathsep}{os.environ['PATH']}"
    command = [str(program), ".", "--filter-paths", "node_modules|test/", "--json", str(report)]
    ended = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path},
        timeout=LIMIT_S,
        capture_output=True,
        text=True,
        check=False,
    )
    if not report.exists():
        print(ended.stderr[-2000:], file=sys.stderr)
        return False
    content = json.loads(report.read_text())
    if not content["success"]:
        print(content["error"], file=sys.stderr)
        return False
    return _explained([_finding(each) for each in content["results"].get("detectors", ())])


def _finding(detected: dict[str, Any]) -> tuple[str, str]:
    """Detector, and the function or variable that it is about."""
    elements = [each for each in detected["elements"] if each["type"] in ("function", "variable", "contract", "pragma")]
    first = (elements or detected["elements"] or [{"name": "", "type_specific_fields": {}}])[0]
    parent = first["type_specific_fields"].get("parent", {}).get("name", "")
    return detected["check"], f"{parent}.{first['name']}".removeprefix(".")


def _explained(found: list[tuple[str, str]]) -> bool:
    reasons = {(each["check"], each["where"]): each["reason"] for each in json.loads(REASONS.read_text())}
    for check, where in sorted({*found} - {*reasons}):
        print(f"slither: {check} in {where}: no reason is given in {REASONS.name}", file=sys.stderr)
    for check, where in sorted({*reasons} - {*found}):
        print(f"slither: {check} in {where} is explained but not found: remove it from {REASONS.name}", file=sys.stderr)
    print(f"slither: {len(found)} findings, {len({*found} & {*reasons})} places explained")
    return {*found} == {*reasons}


CHECKS: dict[str, Callable[[], bool]] = {"anvil": on_anvil, "forge": forge, "slither": slither}


def main() -> int:
    """0: all passed. 1: some did not, or could not run."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.contracts.verify",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"{', '.join(CHECKS)}; all of them unless named")
    wanted = parser.parse_args().checks or list(CHECKS)
    if unknown := {*wanted} - {*CHECKS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected {', '.join(CHECKS)}")
    failed = []
    for name in wanted:
        print(f"contracts: {name}", flush=True)
        try:
            passed = CHECKS[name]()
        except Unavailable as error:
            print(f"contracts: {name} could not run: {error}", file=sys.stderr)
            passed = False
        if not passed:
            failed.append(name)
    print(f"contracts: {', '.join(failed)} failed" if failed else f"contracts: {', '.join(wanted)} passed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
