"""What waits for a payload, when it is cut, and what happens when there is no room. Time is a number here."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consensus.types import Digest
from ledger.payload import (
    PAYLOAD_BYTES_AIM,
    PAYLOAD_BYTES_MAX,
    STATEMENT_OVERHEAD_BYTES,
    STATEMENTS_MAX,
    build_payload,
)
from ledger.statement import STATEMENT_BYTES_MAX, Statement
from node import mempool as module
from node.mempool import CUT_WAIT_MS, OUTSTANDING_PAYLOADS_MAX, PAYLOAD_BODIES_BYTES_AIM, Mempool, Overloaded


@dataclass(frozen=True)
class Sized:
    """All that the mempool looks at of a statement: a name and a length."""

    digest: Digest
    raw: bytes


_count = itertools.count(1)


def statement(size: int = 300) -> Statement:
    return Sized(Digest(next(_count).to_bytes(32, "big")), bytes(size))  # type: ignore[return-value]


def payload() -> Digest:
    return Digest(b"p" * 24 + next(_count).to_bytes(8, "big"))


def filled(*statements: Statement, now_ms: int = 0) -> Mempool:
    pool = Mempool()
    for each in statements:
        pool.add(each, now_ms)
    return pool


def send(pool: Mempool, now_ms: int) -> tuple[Digest, tuple[Statement, ...]]:
    """Cuts, as the loop does. Gives the payload's name and what is in it."""
    taken = pool.cut(now_ms)
    name = payload()
    pool.sent(name, taken)
    return name, taken


# ---- when it is cut --------------------------------------------------------------------------------------------------


def test_empty_mempool_is_never_due() -> None:
    pool = Mempool()
    assert pool.cut_due_ms() is None
    assert pool.cut(10**9) == ()


def test_first_statement_is_cut_at_once_when_nothing_is_on_its_way() -> None:
    first = statement()
    pool = filled(first, now_ms=1000)
    assert pool.cut_due_ms() == 1000
    assert pool.cut(1000) == (first,)


def test_next_one_waits_for_company_while_a_payload_is_on_its_way() -> None:
    pool = filled(statement())
    send(pool, 0)
    second, third = statement(), statement()
    pool.add(second, 100)
    pool.add(third, 115)
    assert pool.cut_due_ms() == 100 + CUT_WAIT_MS, "measured from the oldest: nobody waits longer"
    assert pool.cut(100 + CUT_WAIT_MS - 1) == ()
    assert pool.cut(100 + CUT_WAIT_MS) == (second, third)


def test_nobody_waits_for_company_once_the_payload_is_final() -> None:
    pool = filled(statement())
    name, _ = send(pool, 0)
    second = statement()
    pool.add(second, 5)
    pool.settled(name)
    assert pool.cut(5) == (second,)


def test_full_payload_does_not_wait_for_company() -> None:
    pool = filled(statement())
    send(pool, 0)
    for _ in range(PAYLOAD_BYTES_AIM // 1000 + 1):
        pool.add(statement(1000), 7)
    assert pool.cut_due_ms() == 7
    many = filled(statement())
    send(many, 0)
    for _ in range(STATEMENTS_MAX):
        many.add(statement(20), 7)
    assert many.cut_due_ms() == 7


def test_bodies_beyond_the_aim_wait_for_the_next_payload() -> None:
    pool = Mempool()
    several = [statement() for _ in range(5)]
    for each in several:
        pool.add(each, 0, PAYLOAD_BODIES_BYTES_AIM // 2)
    assert send(pool, 0)[1] == tuple(several[:2])
    assert pool.cut_due_ms() == 0, "enough for a payload need not wait for company"
    assert send(pool, 0)[1] == tuple(several[2:4])
    assert pool.cut_due_ms() == CUT_WAIT_MS
    assert send(pool, CUT_WAIT_MS)[1] == (several[4],)


def test_a_body_over_the_aim_goes_alone() -> None:
    pool = Mempool()
    several = [statement() for _ in range(3)]
    for each in several:
        pool.add(each, 0, 4 * PAYLOAD_BODIES_BYTES_AIM)
    for each in several:
        assert send(pool, 0)[1] == (each,)


def test_nothing_is_cut_while_too_much_is_on_its_way() -> None:
    pool = Mempool()
    sent = []
    for _ in range(OUTSTANDING_PAYLOADS_MAX):
        pool.add(statement(), 0)
        sent.append(send(pool, CUT_WAIT_MS)[0])
    waiting = statement()
    pool.add(waiting, 50)
    assert pool.cut_due_ms() is None, "a due time would make the loop spin"
    assert pool.cut(10_000) == ()
    pool.settled(sent[3])
    assert pool.cut(10_000) == (waiting,)


# ---- what is cut -----------------------------------------------------------------------------------------------------


def test_payload_holds_the_oldest_in_order_up_to_its_aim() -> None:
    statements = [statement(10_000) for _ in range(20)]
    pool = filled(*statements)
    taken = pool.cut(0)
    assert taken == tuple(statements[: len(taken)])
    assert sum(len(s.raw) for s in taken) <= PAYLOAD_BYTES_AIM
    assert len(taken) == PAYLOAD_BYTES_AIM // (10_000 + STATEMENT_OVERHEAD_BYTES)
    assert pool.cut(CUT_WAIT_MS) == tuple(statements[len(taken) : 2 * len(taken)][:13])


def test_payload_holds_at_most_as_many_statements_as_it_may() -> None:
    pool = filled(*(statement(20) for _ in range(STATEMENTS_MAX + 1)))
    assert len(pool.cut(0)) == STATEMENTS_MAX


def test_whatever_is_cut_fits_a_payload() -> None:
    """The largest statements there are, and as many of the smallest as there may be."""
    for size in (STATEMENT_BYTES_MAX, 200, 1):
        pool = filled(*(statement(size) for _ in range(STATEMENTS_MAX)))
        taken = pool.cut(0)
        unsigned = build_payload(
            [s.raw for s in taken],
            consortium=Digest(bytes(32)),
            epoch=0,  # type: ignore[arg-type]
            author=0,  # type: ignore[arg-type]
            sequence=1,
            created_ms=0,
        )
        assert len(unsigned.signed(bytes(64)).encode()) <= PAYLOAD_BYTES_MAX


# ---- what is held ----------------------------------------------------------------------------------------------------


def test_statement_is_held_until_its_payload_is_final() -> None:
    one = statement()
    pool = filled(one)
    assert pool.holds(one.digest)
    name, _ = send(pool, 0)
    assert pool.holds(one.digest)
    assert len(pool) == 1
    pool.settled(name)
    assert not pool.holds(one.digest)
    assert len(pool) == 0


def test_statement_that_another_node_got_recorded_is_not_sent() -> None:
    one, two = statement(), statement()
    pool = filled(one, two)
    pool.drop(one.digest)
    assert pool.cut(0) == (two,)
    pool.drop(one.digest)


def test_foreign_payload_settles_nothing() -> None:
    one = statement()
    pool = filled(one)
    send(pool, 0)
    pool.settled(payload())
    assert pool.holds(one.digest)


# ---- no room ---------------------------------------------------------------------------------------------------------


def state_of(pool: Mempool) -> tuple[object, ...]:
    return len(pool), pool.cut_due_ms(), pool._queued_bytes, pool._body_bytes, tuple(pool._queue)


def test_statement_over_the_count_is_refused_and_leaves_all_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PENDING_STATEMENTS_MAX", 3)
    pool = filled(statement())
    name, _ = send(pool, 0)  # what is on its way counts: it is pending as well
    pool.add(statement(), 1)
    pool.add(statement(), 2)
    before = state_of(pool)
    late = statement()
    with pytest.raises(Overloaded) as caught:
        pool.add(late, 3)
    assert caught.value.retry_after_ms > 0
    assert "nothing was taken" in str(caught.value)
    assert state_of(pool) == before
    assert not pool.holds(late.digest)
    pool.settled(name)
    pool.add(late, 4)


def test_statement_over_the_bytes_is_refused_and_leaves_all_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PENDING_BYTES_MAX", 1000)
    pool = filled(statement(400))
    before = state_of(pool)
    with pytest.raises(Overloaded):
        pool.add(statement(601), 1)
    assert state_of(pool) == before
    pool.add(statement(600), 1)


def test_catalogue_counts_with_its_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PENDING_BYTES_MAX", 1000)
    pool = Mempool()
    catalogue = statement(100)
    pool.add(catalogue, 0, body_bytes=800)
    with pytest.raises(Overloaded):
        pool.add(statement(101), 0)
    pool.drop(catalogue.digest)
    pool.add(statement(900), 0)


def test_body_does_not_make_a_payload_full() -> None:
    """Only statements travel in a payload: a large body is no reason to cut early."""
    pool = filled(statement())
    send(pool, 0)
    pool.add(statement(), 0, body_bytes=2 * PAYLOAD_BYTES_AIM)
    assert pool.cut_due_ms() == CUT_WAIT_MS


class AnyOrder(RuleBasedStateMachine):
    """Whatever the order of things: nothing is lost, nothing is sent twice, and the books balance."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = Mempool()
        self.queued: list[Statement] = []
        self.sent: dict[Digest, tuple[Statement, ...]] = {}
        self.now_ms = 0

    @initialize()
    def begin(self) -> None:
        self.now_ms = 0

    @rule(size=st.integers(1, 40_000), body=st.sampled_from([0, 0, 5000]))
    def add(self, size: int, body: int) -> None:
        one = statement(size)
        self.pool.add(one, self.now_ms, body)
        self.queued.append(one)

    @rule(passed_ms=st.integers(0, 30))
    def cut(self, passed_ms: int) -> None:
        self.now_ms += passed_ms
        due = self.pool.cut_due_ms()
        name, taken = send(self.pool, self.now_ms) if due is not None and due <= self.now_ms else (None, ())
        assert bool(taken) == (name is not None), "what is due gives something: else the loop would spin"
        assert list(taken) == self.queued[: len(taken)]
        del self.queued[: len(taken)]
        if name is not None:
            self.sent[name] = taken

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        if self.sent:
            name = data.draw(st.sampled_from(sorted(self.sent)))
            self.pool.settled(name)
            del self.sent[name]

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        if self.queued:
            one = self.queued.pop(data.draw(st.integers(0, len(self.queued) - 1)))
            self.pool.drop(one.digest)

    @invariant()
    def books_balance(self) -> None:
        on_their_way = [s for taken in self.sent.values() for s in taken]
        assert len(self.pool) == len(self.queued) + len(on_their_way)
        assert all(self.pool.holds(s.digest) for s in (*self.queued, *on_their_way))
        assert self.pool._queued_bytes == sum(len(s.raw) for s in self.queued)
        assert len(self.sent) <= OUTSTANDING_PAYLOADS_MAX
        if not self.queued:
            assert self.pool._body_bytes == 0


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
