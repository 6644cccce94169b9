"""`make bench`: every measurement of the README, one after the other."""

from __future__ import annotations

import subprocess
import sys

BENCHES = ("bench.hash", "bench.finality", "bench.committee", "bench.consensus")


def main() -> int:
    """Runs each in a process of its own, so that none warms another's caches; gives the first bad exit code."""
    for name in BENCHES:
        print(f"== {name}", flush=True)
        code = subprocess.run([sys.executable, "-m", name], check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
