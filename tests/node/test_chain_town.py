"""Whole loops sign for public chains: the newest checkpoint and every end, also after all were killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus.types import Epoch
from node import chain_signing as module
from node.chain_signing import ChainSigning
from node.store.check import Outcome, check_store
from node.wire import ChainSignature, ChainSignatureRequest, encode
from tests.ledger.builders import chain_key, make_claim
from tests.node.nodes import CONSORTIUM, GENESIS, MEMBERS
from tests.node.test_epochs import admit, pass_change, policy, reach, remove, vote
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


def grown(tmp_path: Path, *, validator: bool) -> Town:
    """A town whose fifth member is admitted by the end of epoch 0; its node was there before."""
    town = Town(tmp_path, (*MEMBERS, "fifth"))
    for voter in MEMBERS[:3]:
        town.submit(voter, vote(admit("fifth", validator=validator), voter))
    reach(town, 1, *MEMBERS)
    town.connect("fifth")
    reach(town, 1, "fifth")
    return town


def test_an_observer_has_the_ends_and_the_newest_checkpoint_too(tmp_path: Path) -> None:
    """Whoever follows the log can serve relayers: it asks for what was signed before it came."""
    town = grown(tmp_path, validator=False)
    results = town.submit("court", CONSORTIUM.statement(make_claim(1), ref="r1"))
    town.run(lambda: results.last.ends)
    end, newest = town["court"].store.rosters.end_of(0), town["court"].store.size
    assert end is not None
    town.run(lambda: chain_complete(town, end) and chain_complete(town, newest), for_ms=60_000)
    assert "fifth" not in {member for member, _ in town["court"].store.chain_signatures(newest)}
    town.close()


def test_a_removed_member_signs_the_end_of_its_last_epoch_and_is_heard(tmp_path: Path) -> None:
    """With one of the others away no quorum of the old set would be left without it."""
    town = grown(tmp_path, validator=True)
    for voter in MEMBERS:
        town.submit(voter, vote(remove("fifth", 1), voter))
    reach(town, 2, *MEMBERS)
    court, end = town["court"], town["court"].store.rosters.end_of(1)
    assert end is not None
    checkpoint = court.store.chain_checkpoint_at(end)
    assert checkpoint is not None
    message = ChainSignature(
        checkpoint=checkpoint, member="fifth", signature=checkpoint.sign(chain_key("fifth").secret, GENESIS.digest)
    )
    court.loop.frame("fifth", encode(message, Epoch(2)))
    said = len(court.said.consensus)
    court.loop.frame("fifth", encode(ChainSignatureRequest(size=end), Epoch(2)))
    assert len(court.said.consensus) == said, "nothing else it says is listened to"
    town.run(for_ms=1_000)
    assert "fifth" in {member for member, _ in court.store.chain_signatures(end)}
    assert "fifth" not in court.loop.rejected
    town.close()
