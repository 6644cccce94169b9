"""Nodes for the tests of this folder; each test has its own, on its own disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from node.store.chain import ChainStore
from tests.node.desk import Desk
from tests.node.nodes import GENESIS, Bench, make_folder
from tests.node.town import Town


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """Four nodes that hear each other."""
    built = Town(tmp_path)
    yield built
    built.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Bench]:
    """The court's node, started; its peers are silent."""
    bench = Bench(make_folder(tmp_path / "court", "court"))
    bench.loop.start()
    yield bench
    bench.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChainStore]:
    with ChainStore.open(make_folder(tmp_path / "court", "court").chain_path, GENESIS) as opened:
        yield opened


@pytest.fixture
def desk(store: ChainStore, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> Desk:
    async def inline(work: Callable[..., Any], *arguments: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return work(*arguments)

    # A virtual clock jumps while a thread works: here the work is done on the spot.
    monkeypatch.setattr(trio.to_thread, "run_sync", inline)
    return Desk(store, nursery)
