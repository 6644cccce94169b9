"""Syncing a log whose committee changed on the way: every roster comes out of what was executed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from consensus.types import Height
from node.acquire import answer_fetch
from node.epoch import Part
from node.store.chain import ChainStore
from node.store.check import Outcome, check_store
from node.sync_chain import read_chains
from node.sync_phase import SyncPhase
from node.sync_pin import Pinning
from node.wire import ChainFetch, Fetch, encode, encode_contents
from tests.node.nodes import GENESIS
from tests.node.syncing import ANSWER_BYTES, Peers, joining, same_log
from tests.node.test_epochs import pass_change, policy, record
from tests.node.town import Town

EPOCHS = 3


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Three changes passed, and statements in every epoch."""
    made = Town(tmp_path_factory.mktemp("town"))
    for epoch in range(EPOCHS):
        record(made, 10 * epoch)
        pass_change(made, policy(epoch, 160 + epoch))
        record(made, 10 * epoch + 1)
    yield made
    made.close()


async def test_epochs_are_walked_through_and_their_proofs_kept(
    tmp_path: Path, town: Town, autojump_clock: MockClock
) -> None:
    source = town["label"].store
    async with joining(tmp_path / "new", source, genesis=GENESIS) as node:
        await node.syncer.run()
        assert same_log(node.store, source)
        assert node.store.rosters.current == source.rosters.current
        assert node.store.rosters.epoch == EPOCHS
        assert node.store.epoch_proofs(1, 10) == source.epoch_proofs(1, 10)
    assert all(found.outcome is Outcome.PASSED for found in check_store(tmp_path / "new", GENESIS))


async def test_end_of_an_epoch_cannot_be_forged(tmp_path: Path, town: Town, autojump_clock: MockClock) -> None:
    """One who hides the last block of an epoch, or goes on after it in the old one, is found out."""
    source = town["label"].store
    boundary = source.rosters.starts[1].height

    def beyond(fetch: Fetch | ChainFetch, honest: bytes) -> bytes:
        if not isinstance(fetch, ChainFetch) or fetch.from_height <= boundary:
            return honest
        older = answer_fetch(source, ChainFetch(from_height=Height(boundary - 1)), ANSWER_BYTES)
        return encode_contents((encode(read_chains(encode_contents(older))[0]),))

    async with joining(tmp_path / "new", source, genesis=GENESIS) as node:
        node.peers.answers["court"] = beyond
        for provider in node.syncer.providers._all.values():
            provider.bytes_in = 0 if provider.member == "court" else 10**12
        await node.syncer.run()
        assert same_log(node.store, source)
        assert set(node.syncer.providers.dropped()) == {"court"}


async def test_node_with_an_empty_folder_syncs_and_takes_its_part_in_the_newest_epoch(
    town: Town, autojump_clock: MockClock
) -> None:
    source = town["label"].store
    town.stop("platform")
    config = town.configs["platform"]
    shutil.rmtree(config.chain_path)
    ChainStore.open(config.chain_path, GENESIS).close()
    node = town.start("platform")
    loop = node.loop
    phase = SyncPhase(
        store=node.store, network=Peers(source), pinning=Pinning(config.chain_path, node.store, None),
        reject=loop.reject, pause=loop.pause, resume=loop.resume,
    )  # fmt: skip
    assert loop.epoch.epoch == 0
    assert loop.running
    phase._begin()
    assert not loop.running
    async with trio.open_nursery() as nursery:
        nursery.start_soon(phase.run)
        for member in ("label", "court", "society"):
            phase.greeted(member, source.head().block.height)
        while not loop.running:
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert same_log(node.store, source)
    assert loop.epoch.epoch == EPOCHS
    assert loop.epoch.part is Part.VALIDATOR
    for member in town.nodes:
        if member != "platform":
            loop.connected(member)
            town[member].loop.connected("platform")
    record(town, 99, "label")
    town.run(lambda: len(town.roots()) == 1)
