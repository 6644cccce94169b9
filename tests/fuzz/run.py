"""python -m tests.fuzz.run [--seconds N] [--only TARGET]... [--plain]: fuzzes every decoder, and keeps what breaks one.

Guided by coverage where atheris can be had (`--plain` without). Finds are written to tests/fuzz/corpus, where they are
tests from then on. Exit code 0 where nothing was found.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.plain import fuzz
from tests.fuzz.target import INPUT_BYTES_MAX
from tests.fuzz.targets import CORPUS, TARGETS

KEPT = Path(".stretto/fuzz")
"""Inputs that reached new code, so that the next run goes on from there."""
MEMORY_MIB_MAX = 1024
START_S_MAX = 300
"""To import everything, instrumented, and to end: seconds, but not on a machine that does much else."""
_DONE = re.compile(r"^stat::number_of_executed_units: *([0-9]+)", re.MULTILINE)
_LAST = re.compile(r"^#([0-9]+)\t", re.MULTILINE)


def keep(name: str, data: bytes) -> Path:
    """Puts a find where it becomes a test."""
    path = CORPUS / name / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def run_guided(name: str, seconds: int, seed: int) -> tuple[int, str]:
    """(executions, what was found; empty where nothing was)."""
    with tempfile.TemporaryDirectory(prefix="stretto-fuzz-") as folder:
        command = [
            sys.executable, "-m", "tests.fuzz.guided", name, str(KEPT / name), f"-max_total_time={seconds}",
            f"-seed={seed}", f"-max_len={INPUT_BYTES_MAX}", "-timeout=10", f"-rss_limit_mb={MEMORY_MIB_MAX}",
            "-print_final_stats=1", f"-artifact_prefix={folder}/",
        ]  # fmt: skip
        try:
            # libFuzzer ends without tidying up: what a target puts on disk goes with this folder.
            ended = subprocess.run(
                command, capture_output=True, timeout=seconds + START_S_MAX, check=False,
                env={**os.environ, "TMPDIR": folder},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return 0, f"it did not end within {seconds + START_S_MAX} s: it hangs, or this machine is too busy"
        said = (ended.stdout + ended.stderr).decode(errors="replace")
        counts = _DONE.findall(said) or _LAST.findall(said) or ["0"]
        finds = [keep(name, path.read_bytes()) for path in sorted(Path(folder).iterdir()) if path.is_file()]
    if ended.returncode == 0:
        return int(counts[-1]), ""
    lines = "\n    ".join(line for line in said.splitlines() if not line.startswith(("#", "INFO", "stat::")))
    return int(counts[-1]), f"{', '.join(map(str, finds)) or 'no input kept'}\n    {lines[-3000:]}"


def run_plain(name: str, seconds: float, seed: int) -> tuple[int, str]:
    outcome = fuzz(TARGETS[name], seed=seed, executions_max=sys.maxsize, seconds_max=seconds)
    if outcome.finding is None:
        return outcome.executions, ""
    error = outcome.finding.error
    return outcome.executions, f"{keep(name, outcome.finding.data)}\n    {type(error).__name__}: {error}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3600, help="over all targets  [default: 3600]")
    parser.add_argument("--only", action="append", metavar="TARGET", choices=sorted(TARGETS), help="may be repeated")
    parser.add_argument("--plain", action="store_true", help="without coverage")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 2**31, help="the same one tries the same")
    given = parser.parse_args()
    logging.disable()  # what the guards say of hostile bytes, for each of them
    names = given.only or list(TARGETS)
    share = max(1, given.seconds // len(names))
    is_guided = not given.plain and importlib.util.find_spec("atheris") is not None
    sys.stdout.write(f"seed {given.seed}, {share} s a target, {'guided by coverage' if is_guided else 'plain'}\n")
    total, broken = 0, []
    for name in names:
        executions, found = (run_guided if is_guided else run_plain)(name, share, given.seed)
        total += executions
        if found:
            broken.append(name)
        sys.stdout.write(f"{name:<20}{executions:>12,}  {'FOUND ' + found if found else 'nothing'}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{'in all':<20}{total:>12,}  {', '.join(broken) or 'nothing'}\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
