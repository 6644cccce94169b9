"""The loop with statements and payloads: recorded once, bounded while they wait, taken up again after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus.events import PayloadsHeld
from consensus.messages import Chain
from consensus.types import (
    Height,
)
from ledger.payload import parse_payload
from node import courier
from node.mempool import Overloaded
from node.rpc.types import SubmissionState
from node.submissions import WAITERS_PER_STATEMENT_MAX
from node.validation import HeldPayload, check_statements
from node.wire import decode, encode
from tests.ledger.builders import make_catalogue, make_claim
from tests.node.nodes import CONSORTIUM, GENESIS, MEMBERS, Bench, Results, make_folder
from tests.node.town import Town

ACCEPTED, FINAL, DUPLICATE, REFUSED = SubmissionState

# ---- submissions -----------------------------------------------------------------------------------------------------


def test_statement_becomes_final_and_its_submitter_learns_where(town: Town) -> None:
    results = town.submit("court", CONSORTIUM.statement(make_claim(1)))
    assert results.states == [ACCEPTED]
    town.run(lambda: town.is_complete(1))
    assert results.states == [ACCEPTED, FINAL]
    head = town["label"].store.head()
    assert (results.last.index, results.last.height) == (0, 1)
    assert (results.last.height, results.last.block_time_ms) == town["label"].store.entry_position(0)
    assert head.size == 1


def test_statement_submitted_twice_is_recorded_once_and_both_learn_where(town: Town) -> None:
    statement = CONSORTIUM.statement(make_claim(1))
    first = town.submit("court", statement)
    second = town.submit("court", statement)
    third = town.submit("label", statement)
    town.run(lambda: town.is_complete(1))
    town.run()
    assert set(town.sizes().values()) == {1}
    assert first.states == second.states == [ACCEPTED, FINAL]
    assert third.states[0] is ACCEPTED
    assert third.last.state in (FINAL, DUPLICATE)
    assert {r.last.index for r in (first, second, third)} == {0}
    assert all(len(n.loop.mempool) == 0 and len(n.loop.submissions) == 0 for n in town.nodes.values())


def test_reference_used_for_two_statements_is_refused_and_leaves_no_leaf(town: Town) -> None:
    first = town.submit("court", CONSORTIUM.statement(make_claim(1), ref="same"))
    town.run(lambda: town.is_complete(1))
    second = town.submit("court", CONSORTIUM.statement(make_claim(2), ref="same"))
    town.run(lambda: second.last.ends)
    assert first.last.state is FINAL
    assert second.states == [ACCEPTED, REFUSED]
    assert second.last.refusal is not None
    assert second.last.refusal.code == "CLIENT_REF_USED"
    assert "leaf 0" in second.last.refusal.value
    assert set(town.sizes().values()) == {1}


def test_statement_that_another_node_got_recorded_is_not_queued_any_more(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = make_catalogue(3)
    claims = tuple(make_claim(number).encode() for number in range(3))
    statement = CONSORTIUM.statement(built.header)
    court, label = town["court"], town["label"]
    with monkeypatch.context() as patch:
        patch.setattr(court.loop.mempool, "cut_due_ms", lambda: None)  # it never gets to send its own
        for node in (court, label):
            node.store.put_blobs([built.manifest, *built.chunks])
        here = town.submit("court", statement, claims)
        assert court.loop.author.bodies
        there = town.submit("label", statement, claims)
        town.run(lambda: town.is_complete(1))
    assert here.states == there.states == [ACCEPTED, FINAL]
    assert len(court.loop.mempool) == 0
    assert court.loop.author.bodies == {}
    assert court.said.payloads == []


def test_full_mempool_refuses_and_forgets(node: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.mempool.PENDING_STATEMENTS_MAX", 1)
    node.loop.accept(CONSORTIUM.statement(make_claim(1), ref="a"), (), Results())
    results = Results()
    late = CONSORTIUM.statement(make_claim(2), ref="b")
    with pytest.raises(Overloaded):
        node.loop.accept(late, (b"claim",), results)
    assert results.all == []
    assert len(node.loop.submissions) == 1
    assert late.digest not in node.loop.author.bodies


def test_waiters_for_one_statement_are_bounded(node: Bench) -> None:
    """Without finality nothing is ever told: whoever asks again and again must not grow a list for ever."""
    statement = CONSORTIUM.statement(make_claim(1))
    waiting = [Results() for _ in range(WAITERS_PER_STATEMENT_MAX)]
    for results in waiting:
        node.loop.accept(statement, (), results)
    refused = Results()
    with pytest.raises(Overloaded):
        node.loop.accept(statement, (), refused)
    assert refused.all == []
    assert all(results.states == [ACCEPTED] for results in waiting)


def test_payload_is_published_where_gossip_is_wanted(node: Bench) -> None:
    node.loop.accept(CONSORTIUM.statement(make_claim(1)), (), Results())
    assert node.published == node.said.payloads
    assert len(node.published) == 1


# ---- payloads --------------------------------------------------------------------------------------------------------


def held(number: int, *, author: int = 0, size: int = 0) -> HeldPayload:
    payload = CONSORTIUM.payload(
        [CONSORTIUM.sign(make_claim(number, title="x" * max(1, size)), ref=f"h{number}")],
        author=author,
        sequence=number + 1,
    )
    return HeldPayload(payload=payload, statements=check_statements(payload, GENESIS.roster))


def test_payload_held_twice_is_counted_once(node: Bench) -> None:
    payload = held(1)
    node.store.put_payloads([payload.payload])
    node.loop.held(payload)
    once = node.loop.holdings.memory_bytes
    node.loop.held(payload)
    assert node.loop.holdings.memory_bytes == once == payload.memory_bytes


def test_payloads_in_memory_are_bounded_and_read_back(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.holdings.HELD_BYTES_MAX", 1)
    town.lost = {(a, b) for a in MEMBERS for b in MEMBERS if a != b}  # nothing becomes final yet
    results = []
    for number in range(3):
        results.append(town.submit("court", CONSORTIUM.statement(make_claim(number), ref=f"m{number}")))
        town.clock.now_ms += 50
        town["court"].loop.tick()
    assert len(town["court"].loop.holdings) == 1
    town.lost = set()
    for other in MEMBERS:
        if other != "court":
            town["court"].loop.connected(other)
            town[other].loop.connected("court")
    town.run(lambda: all(r.last.ends for r in results), for_ms=60_000)
    assert [r.last.state for r in results] == [FINAL] * 3
    assert len(town.roots()) == 1


def test_every_payload_has_a_sequence_of_its_own_over_restarts(tmp_path: Path) -> None:
    config = make_folder(tmp_path / "court", "court")
    seen = []
    for start in range(3):
        node = Bench(config)
        node.loop.start()
        for number in range(2):
            node.loop.accept(CONSORTIUM.statement(make_claim(number), ref=f"{start} {number}"), (), Results())
            node.clock.now_ms += 1000
            node.loop.tick()
        seen += [parse_payload(frame).header.sequence for frame in node.said.payloads]
        node.close()
    assert len(seen) == 6
    assert seen == sorted(set(seen)), "strictly ascending: two payloads of one author never have the same"


def test_missing_payloads_are_fetched_from_the_holders_and_held_ones_reported(town: Town) -> None:
    """A proposal over payloads that were never pushed: everybody fetches them before voting."""
    town.payloads_pushed = False
    results = town.submit("court", CONSORTIUM.statement(make_claim(1)))
    town.run(lambda: town.is_complete(1))
    assert results.last.state is FINAL
    assert len(town.roots()) == 1


def test_payload_that_a_leader_orders_again_records_nothing_twice(town: Town) -> None:
    """A faulty leader may order what is final already: each statement in it is a duplicate then, and nothing breaks."""
    results = town.submit("court", CONSORTIUM.statement(make_claim(1)))
    town.run(lambda: town.is_complete(1))
    digest = parse_payload(town["court"].said.payloads[0]).digest
    court = town["court"].loop
    court.core._state.payloads._settled.clear()
    court.step(PayloadsHeld(digests=(digest,), order=True))
    height = town["court"].store.head().block.height
    town.run(for_ms=5_000)
    heads = [n.store.head() for n in town.nodes.values()]
    assert all(head.block.height > height for head in heads), "the block became final"
    assert {head.size for head in heads} == {1}
    assert results.states == [ACCEPTED, FINAL]


# ---- after a restart -------------------------------------------------------------------------------------------------


def test_restart_takes_up_payloads_that_were_stored_and_not_ordered(tmp_path: Path) -> None:
    town = Town(tmp_path)
    town.lost = {("court", other) for other in MEMBERS}
    accepted = town.submit("court", CONSORTIUM.statement(make_claim(1)))
    town.run(for_ms=100)
    assert accepted.states == [ACCEPTED]
    assert town["court"].store.pending_payloads()
    town.stop("court")
    town.lost = set()
    town.start("court")
    town.run(lambda: town.is_complete(1), for_ms=60_000)
    assert set(town.sizes().values()) == {1}
    assert town["court"].store.pending_payloads() == ()
    town.close()


def test_statement_sent_again_after_a_restart_is_recorded_once(tmp_path: Path) -> None:
    town = Town(tmp_path)
    town.lost = {("court", other) for other in MEMBERS}
    statement = CONSORTIUM.statement(make_claim(1))
    town.submit("court", statement)
    town.run(for_ms=100)
    town.stop("court")
    town.lost = set()
    town.start("court")
    again = town.submit("court", statement)
    town.run(lambda: again.last.ends, for_ms=60_000)
    town.run(for_ms=5_000)
    assert again.states == [ACCEPTED, FINAL]
    assert set(town.sizes().values()) == {1}
    town.close()


def test_peer_that_lags_gets_the_chain_in_frames_that_fit(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    town.stop("platform")
    for number in range(5):
        results = town.submit("court", CONSORTIUM.statement(make_claim(number), ref=f"r{number}"))
        town.run(lambda r=results: r.last.ends, for_ms=60_000)
    court = town["court"]
    height = court.store.head().block.height
    whole = court.store.blocks_from(1, 64)
    assert whole is not None
    assert len(whole.blocks) == height
    monkeypatch.setattr(courier, "CHAIN_BYTES_MAX", len(encode(whole)) // 2)
    court.said.consensus.clear()
    court.loop.courier.send_chain("platform", Height(1))
    ((to, frame),) = court.said.consensus
    chain = decode(frame)
    assert isinstance(chain, Chain)
    assert to == "platform"
    assert len(frame) <= courier.CHAIN_BYTES_MAX
    assert chain.blocks[0].height == 1
    court.said.consensus.clear()
    court.loop.courier.send_chain("platform", Height(height + 1))
    assert court.said.consensus == [], "what is not there is not answered"


def test_more_blocks_in_a_row_than_usual_are_sent_where_only_the_last_has_a_finalization(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many views may become final at once, by one descendant: a peer that lags then needs all of them together."""
    results = town.submit("court", CONSORTIUM.statement(make_claim(1)))
    town.run(lambda: results.last.ends, for_ms=60_000)
    court = town["court"]
    whole = court.store.blocks_from(1, 64)
    monkeypatch.setattr(court.store, "blocks_from", lambda _height, limit: whole if limit > 64 else None)
    court.said.consensus.clear()
    court.loop.courier.send_chain("platform", Height(1))
    assert [decode(frame) for _, frame in court.said.consensus] == [whole]


def test_idle_loop_asks_for_no_time_soon(town: Town) -> None:
    """Quiet means quiet: no timer within the minute, no frame (design D4)."""
    town.submit("court", CONSORTIUM.statement(make_claim(1)))
    town.run(lambda: town.is_complete(1))
    town.run(for_ms=3_000)
    sent = {member: len(node.said.consensus) for member, node in town.nodes.items()}
    town.run(for_ms=60_000)
    assert {member: len(node.said.consensus) for member, node in town.nodes.items()} == sent


def test_catalogue_travels_through_the_loop_with_its_claims(town: Town) -> None:
    built = make_catalogue(7)
    court = town["court"]
    court.store.put_blobs([built.manifest, *built.chunks])
    claims = tuple(make_claim(number).encode() for number in range(7))
    results = town.submit("court", CONSORTIUM.statement(built.header), claims)
    assert court.loop.author.bodies == {}, "it was cut at once: its payload holds the body now"
    town.run(lambda: town.is_complete(1))
    assert results.last.state is FINAL
    assert {node.store.head().claims for node in town.nodes.values()} == {7}
