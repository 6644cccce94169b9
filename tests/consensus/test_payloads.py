"""Payloads waiting to be ordered, held or missing: in order, once, within bounds."""

from __future__ import annotations

import pytest

from consensus import payloads as module
from consensus.payloads import Payloads
from consensus.requests import BLOCK_PURSUITS_MAX, PAYLOAD_PURSUITS_MAX, Requests
from consensus.types import Block, ValidatorIndex, View
from tests.consensus.toys import child, committee_of, payload

COMMITTEE = committee_of(4)


def block_of(*numbers: int, view: int = 1) -> Block:
    return child(COMMITTEE, view=view, payloads=tuple(payload(number) for number in numbers))


def test_what_waits_is_selected_in_order_of_arrival_without_the_excluded() -> None:
    held = Payloads()
    held.hold((payload(3), payload(1), payload(2)), order=True)
    held.hold((payload(1),), order=True)
    assert held.select({payload(1)}) == (payload(3), payload(2))
    assert held.pending == 3


def test_what_was_fetched_for_others_does_not_wait() -> None:
    held = Payloads()
    held.hold((payload(1),), order=False)
    assert held.pending == 0
    assert held.missing(block_of(1, 2)) == (payload(2),)
    held.hold((payload(1),), order=True)
    assert held.pending == 1


def test_what_is_final_waits_no_longer_and_is_not_queued_again() -> None:
    held = Payloads()
    held.hold((payload(1), payload(2)), order=True)
    held.settle(block_of(1, 9))
    assert held.select(()) == (payload(2),)
    held.hold((payload(1), payload(9)), order=True)
    assert held.select(()) == (payload(2),)


def test_committed_payloads_are_let_go() -> None:
    held = Payloads()
    held.hold((payload(1), payload(2)), order=True)
    held.release((block_of(1),), ())
    assert held.missing(block_of(1, 2)) == (payload(1),)


def test_spare_payloads_are_forgotten_once_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_SPARE_MAX", 3)
    held = Payloads()
    held.hold([payload(number) for number in range(10)], order=False)
    held.hold((payload(20),), order=True)
    held.release((), (block_of(1, 2),))
    assert held.missing(block_of(1, 2, 20)) == ()
    assert held.missing(block_of(3)) == (payload(3),)


def test_the_memory_of_what_was_final_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLED_MAX", 2)
    held = Payloads()
    held.settle(block_of(1, 2, 3))
    held.hold((payload(1), payload(2), payload(3)), order=True)
    assert held.select(()) == (payload(1),)


def test_pursuits_are_bounded_and_hurried_only_before_the_first_try() -> None:
    requests = Requests()
    holders = (ValidatorIndex(1), ValidatorIndex(2))
    for number in range(200):
        requests.want_block(payload(number), View(1), holders, due_ms=100)
        requests.want_payloads(payload(number), View(1), holders, due_ms=100)
    assert (len(requests.blocks), len(requests.payloads)) == (BLOCK_PURSUITS_MAX, PAYLOAD_PURSUITS_MAX)
    requests.want_block(payload(0), View(1), holders, due_ms=50)
    assert requests.due_ms() == 50
    requests.blocks[payload(0)].attempts = 1
    requests.want_block(payload(0), View(1), holders, due_ms=10)
    assert requests.due_ms() == 50
    assert requests.blocks[payload(0)].order == (2, 1)
