"""A node that starts listens before it votes: what the others made final may be what its restored folder forgot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.types import Epoch, SignedVote, View, nullify
from ledger.statement import parse_statement
from node.wire import decode, encode
from tests.ledger.builders import make_claim
from tests.node.nodes import CONSORTIUM, Bench, Results, make_folder
from tests.node.test_greetings import hello
from tests.node.test_loop import let_pass, signed_vote

LONG_MS = 60_000
"""Many times longer than any timer of consensus."""


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Bench]:
    node = Bench(make_folder(tmp_path / "court", "court"), hear_first=2)
    node.loop.start()
    node.loop.accept(parse_statement(CONSORTIUM.sign(make_claim(1))), (), Results())
    yield node
    node.close()


def votes(node: Bench) -> list[SignedVote]:
    return [message for _, frame in node.said.consensus if isinstance(message := decode(frame), SignedVote)]


def greet(node: Bench, member: str) -> None:
    node.loop.frame(member, encode(hello(member, 1)))


def test_node_that_heard_from_too_few_casts_no_vote_and_waits_without_work(alone: Bench) -> None:
    for _ in range(3):
        greet(alone, "label")
    let_pass(alone, LONG_MS)
    assert votes(alone) == []
    head = alone.store.head()
    assert alone.voting.load(head.block, head.finalization).votes == ()
    assert alone.loop.due_ms() is None, "nothing is due: it sleeps"


def test_node_that_heard_from_enough_votes_on_what_waited(alone: Bench) -> None:
    for member in ("label", "society"):
        greet(alone, member)
    let_pass(alone, LONG_MS)
    assert votes(alone), "it gave the silent leader up, for its own payload was pending"


def test_what_was_said_before_the_greeting_is_known_before_the_first_vote(alone: Bench) -> None:
    steps: list[list[str]] = []
    step = alone.loop.core.step

    def note(*events: object) -> object:
        steps.append([type(event).__name__ for event in events])
        return step(*events)  # type: ignore[arg-type]

    alone.loop.core.step = note  # type: ignore[method-assign, assignment]
    alone.loop.frame("label", encode(signed_vote("label", nullify(Epoch(0), View(1)))))
    assert steps == []
    for member in ("label", "society"):
        greet(alone, member)
    # In one step with its own payloads: with work at hand, the leader of a view that is over would propose in it again.
    assert steps[0][0] == "Tick"
    assert {"Received", "PayloadsHeld"} <= set(steps[0])
