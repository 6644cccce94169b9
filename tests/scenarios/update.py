"""python -m tests.scenarios.update: write the transcripts anew. Read the difference before you commit it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.scenarios.scenes import SCENES, play

FOLDER = Path(__file__).parent


def main() -> int:
    for name in SCENES:
        path = FOLDER / f"{name}.txt"
        text = play(name)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            sys.stdout.write(f"wrote {path.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
