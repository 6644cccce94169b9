"""Between epochs and to observers: rationed, from the store, and each chain said in its own epoch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.messages import Chain, ChainRequest
from consensus.types import Epoch, Height
from node.courier import ASK_MS, CHAINS_PER_PERIOD_MAX, PERIOD_MS, Courier, Rations
from node.former import FormerMembers, left_in
from node.network.peer_id import peer_id_of
from node.peers import PeerIds
from node.rosters import Rosters
from node.wire import decode_envelope
from tests.ledger.builders import public_key
from tests.node.nodes import GENESIS, MEMBERS
from tests.node.test_epochs import admit, pass_change, policy, record, remove
from tests.node.town import Town


class Sent:
    """Where a courier's frames go, and its clock."""

    def __init__(self, town: Town) -> None:
        self.frames: list[tuple[str, bytes]] = []
        self.now_ms = 0
        self.courier = Courier(
            town["court"].store, lambda to, frame: self.frames.append((to, frame)), lambda: self.now_ms
        )

    def said(self) -> list[tuple[str, int, object]]:
        """(to, epoch, message)"""
        opened = [(to, decode_envelope(frame)) for to, frame in self.frames]
        self.frames.clear()
        return [(to, envelope.epoch, envelope.message) for to, envelope in opened]


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """Three epochs: one without a change of members, one that admitted an observer, one that removed it."""
    made = Town(tmp_path)
    pass_change(made, policy())
    pass_change(made, admit("indie", 1, validator=False))
    pass_change(made, remove("indie", 2))
    record(made, 1)
    yield made
    made.close()


def test_turns_are_counted_for_each_member_and_not_saved_up() -> None:
    rations = Rations(2, 100)
    assert [rations.take("label", now) for now in (0, 1, 2, 99)] == [True, True, False, False]
    assert rations.take("court", 2), "another's turns are its own"
    assert [rations.take("label", now) for now in (100, 1000, 1001, 1002)] == [True, True, True, False]


def test_chains_end_with_their_epoch_and_are_said_in_it(town: Town) -> None:
    sent = Sent(town)
    height, head, seen = 1, town["court"].store.head().block.height, []
    while height <= head:
        sent.courier.send_chain("label", Height(height))
        ((to, epoch, chain),) = sent.said()
        assert isinstance(chain, Chain)
        assert to == "label"
        blocks = [block for block in chain.blocks if town["court"].store.blocks_from(block.height, 1) is not None]
        assert {block.epoch for block in chain.blocks} == {epoch}
        seen.append(epoch)
        height = blocks[-1].height + 1
    assert seen == sorted(seen)
    assert set(seen) == {0, 1, 2, 3}
    sent.courier.send_chain("label", Height(head + 1))
    assert sent.said() == []


def test_whoever_asks_for_chains_without_end_is_answered_so_often_and_no_more(town: Town) -> None:
    sent = Sent(town)
    for _ in range(3 * CHAINS_PER_PERIOD_MAX):
        sent.courier.answer("label", ChainRequest(from_height=Height(1)))
    assert len(sent.said()) == CHAINS_PER_PERIOD_MAX
    sent.courier.answer("court", ChainRequest(from_height=Height(1)))
    sent.now_ms = PERIOD_MS
    sent.courier.answer("label", ChainRequest(from_height=Height(1)))
    assert [to for to, _, _ in sent.said()] == ["court", "label"]


def test_only_who_is_ahead_is_asked_for_the_way_there(town: Town) -> None:
    sent = Sent(town)
    sent.courier.ask("label", Epoch(3))
    sent.courier.heard("label", Epoch(5))
    for _ in range(3):
        sent.courier.ask("label", Epoch(3))
        sent.courier.ask("society", Epoch(3))
    above = Height(town["court"].store.head().block.height + 1)
    assert sent.said() == [("label", 3, ChainRequest(from_height=above))]
    sent.now_ms = ASK_MS
    sent.courier.ask("label", Epoch(3))
    assert len(sent.said()) == 1
    sent.now_ms = 2 * ASK_MS
    sent.courier.ask("label", Epoch(5))
    assert sent.said() == [], "it is there"


def test_former_member_is_known_by_the_epoch_that_began_without_it(town: Town) -> None:
    store = town["court"].store
    gone = peer_id_of(public_key("indie", "peer"))
    assert left_in(store.rosters) == {gone: 3}
    former = FormerMembers(store)
    assert len(former(gone)) == 3, "up to the one that removed it, for whoever is further behind"
    assert former(peer_id_of(public_key("label", "peer"))) == ()
    assert former("a stranger") == ()


def test_peer_ids_follow_the_roster_and_leave_out_this_node(town: Town) -> None:
    rosters = town["court"].store.rosters
    ids = PeerIds(rosters, "court")
    assert set(ids().values()) == set(MEMBERS) - {"court"}
    assert ids() is ids(), "made once in an epoch"
    live = Rosters(GENESIS)
    ids = PeerIds(live, "court")
    assert "indie" not in ids().values()
    live.add(rosters.starts[1])
    live.add(rosters.starts[2])
    assert ids()[peer_id_of(public_key("indie", "peer"))] == "indie"
