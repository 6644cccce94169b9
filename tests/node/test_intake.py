"""The door between the gRPC thread and the loop: bounded, whole batches or nothing, and nobody waits for anybody."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio

from ledger.catalogue import build_catalogue
from ledger.statement import Statement
from node import intake as module
from node.epoch import Part
from node.intake import HANDED_OVER_MAX, Door
from node.mempool import Overloaded
from node.rpc.types import SubmissionState, SubmittedStatement
from node.store.errors import StoreFull
from tests.ledger.builders import make_catalogue, make_claim
from tests.node.nodes import CONSORTIUM, MEMBERS, Bench, Results

ACCEPTED, FINAL, DUPLICATE, REFUSED = SubmissionState


@pytest.fixture
async def door(node: Bench) -> AsyncIterator[Door]:
    async with trio.open_nursery() as nursery:
        built = Door(node.loop, nursery, lambda: frozenset({"label"}))
        nursery.start_soon(built.run)
        yield built
        nursery.cancel_scope.cancel()


def single(number: int, ref: str = "") -> SubmittedStatement:
    return SubmittedStatement(statement=CONSORTIUM.statement(make_claim(number), ref=ref or f"r{number}"))


def catalogue(count: int = 3, ref: str = "c") -> SubmittedStatement:
    built = make_catalogue(count)
    statement = CONSORTIUM.statement(built.header, ref=ref)
    return SubmittedStatement(statement=statement, manifest=built.manifest, chunks=built.chunks)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not condition():
            await trio.sleep(0.001)


async def on_a_thread(work: Callable[..., Any], *arguments: Any) -> Any:
    return await trio.to_thread.run_sync(work, *arguments)


async def test_submitted_statement_reaches_the_loop_on_trios_thread(door: Door, node: Bench) -> None:
    seen: list[tuple[Statement, threading.Thread]] = []
    inner = node.loop.accept

    def accept(statement: Statement, *rest: Any) -> None:
        seen.append((statement, threading.current_thread()))
        inner(statement, *rest)

    node.loop.accept = accept  # type: ignore[method-assign]
    results = Results()
    await on_a_thread(door.submit, (single(1), single(2)), results)
    await until(lambda: len(results.all) == 2)
    assert results.states == [ACCEPTED, ACCEPTED]
    assert {thread for _, thread in seen} == {threading.current_thread()}


async def test_batches_are_taken_in_the_order_of_submission(door: Door, node: Bench) -> None:
    results = Results()
    batches = [tuple(single(10 * batch + i) for i in range(3)) for batch in range(5)]
    for batch in batches:
        door.submit(batch, results)
    assert results.all == [], "submitting only hands over"
    await until(lambda: len(results.all) == 15)
    assert [r.digest for r in results.all] == [s.statement.digest for batch in batches for s in batch]


async def test_batch_over_the_bound_is_refused_whole(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANDED_OVER_MAX", 4)
    results = Results()
    door.submit((single(1), single(2), single(3)), results)
    with pytest.raises(Overloaded) as caught:
        door.submit((single(4), single(5)), results)
    assert caught.value.retry_after_ms > 0
    await until(lambda: len(results.all) == 3)
    door.submit((single(4), single(5)), results)
    await until(lambda: len(results.all) == 5)
    assert HANDED_OVER_MAX > 64, "one message of a stream always fits an empty door"


async def test_bodies_over_the_bound_are_refused_whole(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted = catalogue()
    monkeypatch.setattr(module, "BODY_BYTES_MAX", submitted.blob_bytes + 10)
    results = Results()
    door.submit((submitted,), results)
    with pytest.raises(Overloaded):
        door.submit((single(1), catalogue(ref="d")), results)
    door.submit((single(1),), results)  # what has no body does not wait for those that have
    await until(lambda: len(results.all) == 2)
    assert (door._handed_over, door._body_bytes) == (0, 0)


async def test_count_is_right_after_submissions_from_many_threads(door: Door) -> None:
    statements = [[single(100 * thread + i) for i in range(20)] for thread in range(4)]
    results = [Results() for _ in statements]

    def submit_all(mine: list[SubmittedStatement], told: Results) -> None:
        for each in mine:
            door.submit((each,), told)

    async with trio.open_nursery() as nursery:
        for mine, told in zip(statements, results, strict=True):
            nursery.start_soon(on_a_thread, submit_all, mine, told)
    await until(lambda: all(len(told.all) == 20 for told in results))
    assert door._handed_over == 0
    assert all(set(told.states) == {ACCEPTED} for told in results)


async def test_statement_the_loop_has_no_room_for_is_refused_and_may_come_again(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.mempool.PENDING_STATEMENTS_MAX", 1)
    results = Results()
    door.submit((single(1), single(2)), results)
    await until(lambda: len(results.all) == 2)
    assert results.states == [ACCEPTED, REFUSED]
    assert results.last.refusal is not None
    assert results.last.refusal.code == "OVERLOADED"
    assert results.last.refusal.retry_after_ms


async def test_node_without_a_seat_refuses_and_says_whom_to_ask(
    door: Door, node: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.loop.epoch, "part", Part.OBSERVER)
    results = Results()
    door.submit((single(1),), results)
    await until(lambda: results.states == [REFUSED])
    assert results.last.refusal is not None
    assert (results.last.refusal.code, results.last.refusal.value) == ("NOT_A_VALIDATOR", "court")
    assert "label, court, society, platform" in results.last.refusal.expected


async def test_catalogue_is_checked_and_stored_before_it_is_accepted(door: Door, node: Bench) -> None:
    submitted, results = catalogue(5), Results()
    held: list[bool] = []

    def told(result: Any) -> None:
        held.append(node.store.blob(submitted.statement.content.manifest) is not None)  # type: ignore[union-attr]
        results(result)

    door.submit((submitted,), told)
    await until(lambda: bool(results.all))
    assert results.states == [ACCEPTED]
    assert held == [True]
    assert len(node.loop.holdings) == 1


@pytest.mark.parametrize("wrong", ["claim", "chunk"])
async def test_catalogue_with_a_wrong_body_is_refused_and_leaves_nothing(door: Door, node: Bench, wrong: str) -> None:
    built = build_catalogue([b"no claim"]) if wrong == "claim" else make_catalogue(2)
    chunks = built.chunks if wrong == "claim" else (b"x" * len(built.chunks[0]),)
    statement = CONSORTIUM.statement(built.header)
    results = Results()
    submitted = SubmittedStatement(statement=statement, manifest=built.manifest, chunks=chunks)
    door.submit((submitted,), results)
    await until(lambda: bool(results.all))
    assert results.states == [REFUSED]
    assert node.store.uploads() == ()
    assert (door._handed_over, door._body_bytes) == (0, 0)
    assert len(node.loop.mempool) == 0


async def test_recorded_statement_is_a_duplicate_at_the_door(
    door: Door, node: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.store, "index_of_statement", lambda _digest: 7)
    monkeypatch.setattr(node.store, "entry_position", lambda index: (index + 1, 99))
    results = Results()
    door.submit((single(1), catalogue()), results)
    await until(lambda: len(results.all) == 2)
    assert results.states == [DUPLICATE, DUPLICATE]
    assert (results.last.index, results.last.height, results.last.block_time_ms) == (7, 8, 99)
    assert node.store.uploads() == (), "a re-run stores nothing"
    assert len(node.loop.mempool) == 0


async def test_catalogue_recorded_while_it_was_checked_is_a_duplicate(
    door: Door, node: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([None, 7])
    monkeypatch.setattr(node.store, "index_of_statement", lambda _digest: next(answers))
    monkeypatch.setattr(node.store, "entry_position", lambda _index: (1, 1))
    results = Results()
    door.submit((catalogue(),), results)
    await until(lambda: bool(results.all))
    assert results.states == [DUPLICATE]


async def test_same_statement_twice_is_accepted_twice_and_queued_once(door: Door, node: Bench) -> None:
    first, second = Results(), Results()
    door.submit((single(1),), first)
    door.submit((single(1),), second)
    await until(lambda: bool(first.all) and bool(second.all))
    assert first.states == second.states == [ACCEPTED]
    assert len(node.loop.mempool) == 1


async def test_same_catalogue_twice_is_accepted_twice_and_queued_once(door: Door, node: Bench) -> None:
    results = Results()
    door.submit((catalogue(),), results)
    door.submit((catalogue(),), results)
    await until(lambda: len(results.all) == 2)
    assert results.states == [ACCEPTED, ACCEPTED]
    assert len(node.loop.mempool) == 1
    assert node.loop.author.bodies == {}


@pytest.mark.parametrize("submitted", [single(1), catalogue()], ids=["claim", "catalogue"])
async def test_store_without_room_goes_up_through_the_nursery(
    node: Bench, submitted: SubmittedStatement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raised in a callback of trio's own it came out as TrioInternalError, which no operator can mend."""

    def full(_items: object) -> None:
        raise StoreFull(node.config.chain_path, "the disk is full")

    monkeypatch.setattr(node.store, "put_payloads", full)
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012  the nursery is what raises
        async with trio.open_nursery() as nursery:
            door = Door(node.loop, nursery, frozenset)
            nursery.start_soon(door.run)
            await on_a_thread(door.submit, (submitted,), Results())
    assert caught.group_contains(StoreFull)


def test_submitting_to_a_node_that_has_stopped_is_refused_and_counts_nothing(node: Bench) -> None:
    async def main() -> Door:
        async with trio.open_nursery() as nursery:
            return Door(node.loop, nursery, frozenset)

    door = trio.run(main)
    for _ in range(2):
        with pytest.raises(Overloaded, match="stopping"):
            door.submit((single(1), catalogue()), Results())
    assert (door._handed_over, door._body_bytes) == (0, 0)


async def test_status_is_the_snapshot_of_the_last_refresh(door: Door, node: Bench) -> None:
    before = await on_a_thread(door.status)
    assert before.consensus_running
    assert before.pending_statements == 0
    assert {peer.member: peer.connected for peer in before.peers} == {
        "label": True,
        "society": False,
        "platform": False,
    }
    assert before.leader in MEMBERS
    node.loop.accept(single(1).statement, (), Results())
    assert door.status() is before
    door.refresh()
    assert (door.status().pending_statements, door.status().pending_payloads) == (1, 1)
