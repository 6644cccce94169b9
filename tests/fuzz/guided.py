"""python -m tests.fuzz.guided TARGET CORPUS [OPTIONS]: one target, guided by coverage (atheris, on Linux x86_64).

A process of its own: libFuzzer never returns, and the code is instrumented as it is imported.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import atheris

OURS = ["consensus", "ledger", "node", "catalog"]


def main() -> None:
    name, corpus, *options = sys.argv[1:]
    with atheris.instrument_imports(include=OURS):
        from tests.fuzz.targets import TARGETS, kept
    target = TARGETS[name]
    folder = Path(corpus)
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (folder / f"seed-{number}").write_bytes(seed)
    for path in kept(target):
        (folder / path.name).write_bytes(path.read_bytes())
    logging.disable()  # what the guards say of hostile bytes, for each of them
    atheris.Setup([sys.argv[0], *options, str(folder)], target.accepts)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
