"""Stays end by time: in which block, in which order, how many at once, and not while an epoch ends."""

from __future__ import annotations

import pytest

from ledger import derive
from ledger.apply import Overlay, Reason, apply_block
from ledger.derived import MintState
from ledger.rights import ClaimState
from ledger.rights_content import CourtAction
from tests.ledger.rights_runs import TIME, Run, accepted, refused, shown, statuses


def test_a_stay_lapses_in_the_first_block_at_or_after_its_time_also_an_empty_one() -> None:
    run = Run()
    claim = run.claim()
    run.mints(claim, 2)
    order = accepted(run.say(run.order(claim, CourtAction.STAY, until_ms=TIME + 1_000), "court"))
    early = run.block(time_ms=TIME + 999)
    assert (early.derived, run.rights(claim).state) == ((), ClaimState.DISPUTED)
    due = run.block(time_ms=TIME + 1_000)
    assert statuses(due) == [(2, MintState.ACTIVE), (2, MintState.ACTIVE)]
    assert {leaf.cause for leaf in due.derived} == {order}
    assert (run.rights(claim).state, run.head(claim)) == (ClaimState.ACTIVE, order)
    assert run.block(time_ms=TIME + 2_000).derived == ()


def test_a_lapse_comes_before_the_statements_of_its_block() -> None:
    run = Run()
    claim = run.claim()
    run.mints(claim, 1)
    accepted(run.say(run.order(claim, CourtAction.STAY, until_ms=TIME + 1_000), "court"))
    size = run.view.size
    applied = run.block(run.statement(run.mint(claim, 2)), time_ms=TIME + 1_500)
    assert shown(applied) == [f"{size} STATUS", f"{size + 1} MINT", f"{size + 2} MINT"]


def test_a_lapse_leaves_open_disputes_as_they_are() -> None:
    run = Run()
    claim = run.claim()
    run.mints(claim, 1)
    accepted(run.say(run.order(claim, CourtAction.STAY, until_ms=TIME + 1_000), "court"))
    accepted(run.say(run.dispute(claim), "rival"))
    assert statuses(run.block(time_ms=TIME + 1_000)) == [(3, MintState.DISPUTED)]


def test_a_later_stay_counts_and_what_ends_a_stay_ends_its_lapse() -> None:
    run = Run()
    claims = [run.claim(n) for n in range(3)]
    for claim in claims:
        accepted(run.say(run.order(claim, CourtAction.STAY, until_ms=TIME + 1_000), "court"))
    accepted(run.say(run.order(claims[0], CourtAction.STAY, until_ms=TIME + 2_000), "court"))
    accepted(run.say(run.order(claims[1], CourtAction.LIFT), "court"))
    accepted(run.say(run.order(claims[2], CourtAction.STAY), "court"))
    run.block(time_ms=TIME + 1_000)
    assert [run.rights(claim).stay is None for claim in claims] == [False, True, False]
    run.block(time_ms=TIME + 2_000)
    assert [run.rights(claim).stay is None for claim in claims] == [True, True, False]


def test_a_stay_until_a_time_that_has_come_is_refused() -> None:
    run = Run()
    claim = run.claim()
    refused(run.say(run.order(claim, CourtAction.STAY, until_ms=TIME + 2), "court"), Reason.STAY_PAST)
    accepted(run.say(run.order(claim, CourtAction.STAY, until_ms=TIME + 4), "court"))


def test_stays_lapse_in_order_of_their_time_and_claim() -> None:
    run = Run()
    claims = sorted(run.claim(n) for n in range(6))
    for claim in reversed(claims):
        run.mints(claim, 1)
    for claim in claims[3:] + claims[:3]:
        until = TIME + (5_000 if claim in claims[:2] else 4_000)
        accepted(run.say(run.order(claim, CourtAction.STAY, until_ms=until), "court"))
    due = run.block(time_ms=TIME + 6_000)
    mints = [run.rights(claim).mints[0].entry for claim in claims[2:] + claims[:2]]
    assert [leaf.preimage[64:96] for leaf in due.derived] == mints


def test_what_lapses_in_one_block_is_bounded_and_the_rest_lapses_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run()
    claims = [run.claim(n) for n in range(5)]
    for claim in claims:
        run.mints(claim, 2)
        accepted(run.say(run.order(claim, CourtAction.STAY, until_ms=TIME + 1_000), "court"))
    monkeypatch.setattr(derive, "LAPSE_LEAVES_MAX", 3)
    assert len(run.block(time_ms=TIME + 1_000).derived) == 4
    monkeypatch.setattr(derive, "LAPSES_PER_BLOCK_MAX", 1)
    assert len(run.block(time_ms=TIME + 1_001).derived) == 2
    assert sum(run.rights(claim).stay is None for claim in claims) == 3


def test_nothing_lapses_between_the_end_of_an_epoch_and_the_next() -> None:
    run = Run()
    claim = run.claim()
    run.mints(claim, 1)
    accepted(run.say(run.order(claim, CourtAction.STAY, until_ms=TIME + 1_000), "court"))
    run.view.is_ending = True
    assert run.block(time_ms=TIME + 1_000).derived == ()
    overlay = Overlay(run.view)
    assert apply_block(overlay, 9, TIME + 2_000, [], {}).derived == ()
    run.view.is_ending = False
    assert statuses(run.block(time_ms=TIME + 1_001)) == [(2, MintState.ACTIVE)]
