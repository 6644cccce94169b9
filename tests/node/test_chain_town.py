"""Whole loops sign for public chains: the newest checkpoint and every end, also after all were killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from node import chain_signing as module
from node.chain_signing import ChainSigning
from node.store.check import Outcome, check_store
from tests.ledger.builders import make_claim
from tests.node.nodes import CONSORTIUM, GENESIS, MEMBERS
from tests.node.test_epochs import pass_change, policy
from tests.node.town import Town


def chain_complete(town: Town, size: int) -> bool:
    return all(node.store.is_chain_complete(size) for node in town.nodes.values())


def test_town_completes_the_newest_checkpoint_and_every_end(tmp_path: Path) -> None:
    town = Town(tmp_path)
    for epoch in range(2):
        pass_change(town, policy(epoch, 160 + epoch))
        results = town.submit("court", CONSORTIUM.statement(make_claim(epoch), ref=f"r{epoch}"))
        town.run(lambda r=results: r.last.ends)
    ends = [town["court"].store.rosters.end_of(epoch) for epoch in range(2)]
    town.run(lambda: chain_complete(town, town["court"].store.size) and all(chain_complete(town, e or 0) for e in ends))
    town.run(for_ms=5_000)
    for node in town.nodes.values():
        assert not node.loop.rejected
        assert {len(node.store.chain_signatures(size or 0)) for size in ends} == {4}
    paths = [node.config.chain_path for node in town.nodes.values()]
    town.close()
    for path in paths:
        assert {each.outcome for each in check_store(path, GENESIS)} == {Outcome.PASSED}


def test_town_that_was_killed_before_it_signed_ends_does_so_after_the_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ENDS_OPEN_MAX", 1)
    town = Town(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(ChainSigning, "_sign", lambda *_: None)
        for epoch in range(3):
            pass_change(town, policy(epoch, 160 + epoch))
    ends = [town["court"].store.rosters.end_of(epoch) or 0 for epoch in range(3)]
    town.restart()
    town.run(lambda: all(chain_complete(town, end) for end in ends))
    assert all(town[m].store.chain_checkpoint_at(end).ends_epoch for m in MEMBERS for end in ends)  # type: ignore[union-attr]
    town.close()
