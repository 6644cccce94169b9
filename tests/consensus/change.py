"""A change of the committee on the bench: a block that may end the epoch, its boundary, and how far things are."""

from __future__ import annotations

from consensus.types import Digest, VoteKind
from tests.consensus.bench import Bench, follower_of
from tests.consensus.toys import child, committee_of, payload

COMMITTEE = committee_of(4)
NEXT = committee_of(4, epoch=1)
DELTA = COMMITTEE.parameters.delta_ms
NOTARIZE, NULLIFY, FINALIZE = VoteKind.NOTARIZE, VoteKind.NULLIFY, VoteKind.FINALIZE
CHANGE, WORK, OTHER = payload(1), payload(2), payload(3)
"""A payload that may change the committee, and two that cannot."""
NEW, RIVAL = payload(100), payload(101)
"""Digests of committees."""

X = child(COMMITTEE, payloads=(CHANGE,))
"""The block that may end the epoch."""
BOUNDARY = child(COMMITTEE, X, next_committee=NEW)


def on_x(me: int) -> Bench:
    """X is notarized, its payload held; it is not final."""
    bench = Bench(me)
    bench.hold(CHANGE, ending=True)
    bench.propose(X)
    bench.votes(NOTARIZE, X)
    assert bench.view == 2
    return bench


def after_x(me: int, outcome: Digest | None) -> Bench:
    """X is final and executed. outcome: what the change made of the committee."""
    bench = on_x(me)
    bench.votes(FINALIZE, X)
    bench.executed(1, outcome)
    return bench


def follower(view: int = 2) -> int:
    return follower_of(view)
