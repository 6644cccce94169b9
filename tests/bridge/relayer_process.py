"""A relayer as its own process, which kills itself at the worst moments: python -m tests.bridge.relayer_process FILE

The environment says when. STRETTO_KILL=journalled:N ends it (SIGKILL) right after the Nth transaction was journalled
and before anybody was sent it; sent:N right after the Nth was sent and before that was recorded.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from bridge.config import load_config
from bridge.journal import Attempt, Journal
from bridge.run import Relayer, open_node, open_signer


class DyingJournal(Journal):
    """The product's journal, between whose steps the process dies."""

    def __init__(self, path: Path, when: str) -> None:
        super().__init__(path)
        self._point, _, count = when.partition(":")
        self._left = int(count or 0)

    def _pass(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def intend(self, **values: Any) -> Attempt:
        made = super().intend(**values)
        self._pass("journalled")
        return made

    def sent(self, attempt: Attempt) -> None:
        self._pass("sent")
        super().sent(attempt)


def main() -> None:
    config = load_config(Path(sys.argv[1]))
    form = f"%(asctime)s.%(msecs)03d r{config.relayer} %(levelname).1s %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, datefmt="%H:%M:%S")
    signer = open_signer(config)
    with open_node(config) as node, DyingJournal(config.journal, os.environ.get("STRETTO_KILL", "")) as journal:
        relayer = Relayer(config, node, signer, journal)
        signal.signal(signal.SIGTERM, lambda *_: relayer.stop.set())
        relayer.run()


if __name__ == "__main__":
    main()
