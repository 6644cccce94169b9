"""`stretto hash` without what it does not need; started by scripts/stretto as a script, with `python -SP`.

Python takes 7 ms to start this way and 10 the usual way; click takes 25 more, in which b3sum hashes 300 MB. Whatever is
not a plain `stretto hash` goes the usual way, through `cli.main`.
"""

from __future__ import annotations

import os
import sys


def find_packages() -> None:
    """Puts on the path what `site` would have, and this needs: the packages beside this Python, and our own."""
    beside = os.path.dirname(os.path.dirname(sys.executable))  # noqa: PTH120  pathlib takes 8 ms to import
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    sys.path += dict.fromkeys((f"{beside}/lib/{version}/site-packages", own))


def start(arguments: list[str]) -> None:
    """Runs `stretto ARGUMENTS…` and ends this process."""
    plain = None
    if arguments[:1] == ["hash"] and os.getpid() != 1:  # process 1 needs a handler for SIGTERM: see cli.main
        try:
            from cli import sums

            plain = sums.parse(arguments[1:])
        except ImportError:  # the packages are elsewhere: Python's own ways know
            plain = None
    if plain is None:
        os.execv(sys.executable, [sys.executable, "-P", "-m", "cli.main", *arguments])  # noqa: S606
    try:
        code = sums.run(*plain)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001  every way to end is explained in one place
        from cli.main import ended_by

        code = ended_by(error, arguments)
    os._exit(code)  # the workers are gone, stdout is written; an interpreter takes milliseconds to tidy up


if __name__ == "__main__":
    find_packages()
    start(sys.argv[1:])
