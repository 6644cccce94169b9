"""Killed at any moment, the store has what it acknowledged, opens, and passes every check."""

from __future__ import annotations

import json
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from consensus.types import Digest
from ledger.merkle import root_at
from node.store import index as index_module
from node.store.chain import ChainStore
from node.store.check import Outcome, check_store
from node.store.errors import StoreFull, StoreLocked
from node.store.voting import VotingStore
from tests.node.store.chains import GENESIS, ChainMaker, statement
from tests.node.store.crash_writer import PLACES, SMALL


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in SMALL.items():
        monkeypatch.setattr(index_module, name, value)
    VotingStore.create(tmp_path / "voting")
    return tmp_path


def writer(folder: Path, where: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.node.store.crash_writer", str(folder), where, str(count)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


def acknowledged(process: subprocess.Popen[str], *, kill_after: int | None = None) -> list[dict[str, Any]]:
    """What the writer said until it was killed; `kill_after` that many lines, where it does not kill itself."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(json.loads(line))
        if len(said) == kill_after:
            process.kill()
    assert process.wait(60) == -signal.SIGKILL
    process.stdout.close()
    return said


def verify(folder: Path, said: list[dict[str, Any]]) -> int:
    """All that was acknowledged is there, and everything checks. Returns the log's size."""
    with ChainStore.open(folder / "chain", GENESIS) as store, VotingStore.open(folder / "voting") as voting:
        with store._env.read() as txn:
            read = store._view(txn).tree_hash
            for one in said:
                if "height" in one:
                    assert store.head().block.height >= one["height"]
                    assert root_at(one["size"], read).hex() == one["root"]
        for one in said:
            for digest in one.get("statements", ()):
                assert store.index_of_statement(Digest(bytes.fromhex(digest))) is not None
            if "cosigned" in one:
                watermark = store.cosigned_watermark()
                assert watermark is not None
                assert watermark[0] >= one["cosigned"]
        restored = voting.load(store.head().block, store.head().finalization)
        views = [one["vote"] for one in said if "vote" in one and one["vote"] > store.head().block.view]
        assert set(views) <= {vote.view for vote in restored.votes}
        generations = [one["generation"] for one in said if "generation" in one]
        assert not generations or voting.next_boot_generation() > max(generations)
        size = store.size
    wrong = [c for c in check_store(folder / "chain", GENESIS) if c.outcome is not Outcome.PASSED]
    assert wrong == []
    return size


@pytest.mark.parametrize("where", PLACES)
def test_killed_within_a_transaction_the_store_is_whole(folder: Path, where: str) -> None:
    """Twice in a row on one store, so that the second run starts from what the first left behind."""
    rng = random.Random(where)
    everything: list[dict[str, Any]] = []
    for _ in range(2):
        count = rng.randint(2, 3) if where == "map growth" else rng.randint(9, 30)
        everything += acknowledged(writer(folder, where, count))
        size = verify(folder, everything)
    assert size > 0


def test_killed_at_any_moment_what_was_acknowledged_is_there(folder: Path) -> None:
    rng = random.Random(7)
    everything: list[dict[str, Any]] = []
    sizes = []
    for _ in range(4):
        everything += acknowledged(writer(folder, "never", 0), kill_after=rng.randint(1, 25))
        sizes.append(verify(folder, everything))
    assert sizes == sorted(sizes)
    assert sizes[-1] > 10


def test_while_a_writer_runs_no_second_one_opens_and_after_its_death_one_does(folder: Path) -> None:
    process = writer(folder, "never", 0)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(StoreLocked, match=f"process {process.pid} "):
        ChainStore.open(folder / "chain", GENESIS)
    with pytest.raises(StoreLocked, match=f"process {process.pid} "):
        VotingStore.open(folder / "voting")
    process.kill()
    acknowledged(process)
    ChainStore.open(folder / "chain", GENESIS).close()


def test_on_a_full_disk_the_store_says_so_and_keeps_what_it_has(folder: Path) -> None:
    """A limit on the size of files stands for the full disk: writes fail in the same places, without needing one."""
    with ChainStore.open(folder / "chain", GENESIS) as store:
        maker = ChainMaker(store)
        maker.commit([[statement(1)]])
        before = (store.head(), store.frontier())
        used = store.used_bytes()
        old, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (used + 20_000, old[1]))
            prepared = maker.prepare([[maker.catalogue(1_000, 800)]])
            with pytest.raises(StoreFull, match="Free space on that disk") as raised:
                maker.write(prepared)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
            signal.signal(signal.SIGXFSZ, handler)
        assert str(folder / "chain") in str(raised.value)
        assert (store.head(), store.frontier()) == before
        maker.write(prepared)  # there is room again: the same store goes on
        assert store.size == 2
    wrong = [c for c in check_store(folder / "chain", GENESIS) if c.outcome is not Outcome.PASSED]
    assert wrong == []
