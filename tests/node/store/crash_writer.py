"""A writer that is made to be killed: `python -m tests.node.store.crash_writer FOLDER WHERE COUNT`.

Writes block after block and says on standard output what was acknowledged, one JSON object a line, after the method
that wrote it returned. Dies by SIGKILL in the COUNT-th call of WHERE (see PLACES), in the middle of a transaction; or
whenever its parent kills it, where WHERE is "never".
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from consensus.events import Persist
from consensus.types import View, Vote, VoteKind
from ledger.statement import parse_statement
from node.store import environment, index
from node.store.chain import ChainStore
from node.store.commitment import Commitment
from node.store.environment import WriterEnvironment
from node.store.index import Index
from node.store.voting import VotingStore
from tests.node.store.chains import GENESIS, ChainMaker, statement

PLACES: dict[str, tuple[Any, str]] = {
    "entries and hashes": (Commitment, "_append"),
    "index run": (Index, "add"),
    "index fold": (Index, "_merge"),
    "run deletion": (Index, "_delete_run"),
    "map growth": (WriterEnvironment, "_grow"),
    "before a transaction": (WriterEnvironment, "write"),
}
SMALL = {
    "BLOCK_ROWS": 7, "RUN_ROWS_MAX": 64, "BACKLOG_MIN": 60, "BACKLOG_MAX": 120, "FOLD_ROWS_MIN": 10,
    "FOLD_ROWS_MAX": 50,
}  # fmt: skip


def die_in(owner: Any, name: str, count: int) -> None:
    """Has the process killed after the count-th call of a method did its work, before anything else."""
    real: Callable[..., Any] = getattr(owner, name)
    left = count

    def fatal(*args: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        result = real(*args, **options)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, fatal)


def acknowledge(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main(folder: Path, where: str, count: int) -> None:
    for name, value in SMALL.items():
        setattr(index, name, value)
    environment.MAP_BYTES = 2**17  # type: ignore[misc]
    if where != "never":
        die_in(*PLACES[where], count)
    with ChainStore.open(folder / "chain", GENESIS) as store, VotingStore.open(folder / "voting") as voting:
        acknowledge(generation=voting.next_boot_generation())
        maker = ChainMaker(store)
        while True:
            height = store.head().block.height
            number = height * 100
            singles = [statement(number), statement(number + 1)]
            raw = maker.catalogue(number + 10, 12)
            vote = Vote(
                kind=VoteKind.NOTARIZE, epoch=GENESIS.committee().epoch, view=View(height + 1),
                height=store.head().block.height, block=store.head().block.digest,
            )  # fmt: skip
            voting.persist(Persist(votes=(vote,)))
            acknowledge(vote=height + 1)
            maker.commit([singles, [raw]], [])
            acknowledge(
                height=store.head().block.height,
                size=store.size,
                root=store.frontier().root().hex(),
                statements=[parse_statement(one).digest.hex() for one in (*singles, raw)],
            )
            if store.size % 2:
                store.record_cosigned(store.size, store.frontier().root())
                acknowledge(cosigned=store.size)
            voting.prune(View(max(0, height - 3)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
