"""What a validator must do about a vote that contradicts another, looked at from outside, vote by vote.

That an honest validator is never accused is in `checks`. Here is the other half: who contradicts itself before an
honest one is reported, and a validator that meets a vote in its own name which it never cast stops voting.
"""

from __future__ import annotations

from collections.abc import Callable

from consensus import state as limits
from consensus.engine import Engine
from consensus.events import Received
from consensus.types import SignedVote, VerifySignature, Vote, VoteKind
from tests.simulation.checks import Violation

KINDS = tuple(VoteKind)
EXCLUSIVE = {VoteKind.NULLIFY, VoteKind.FINALIZE}


def _contradict(first: Vote, second: Vote) -> bool:
    return first != second and (first.kind is second.kind or {first.kind, second.kind} == EXCLUSIVE)


def watch(node: int, core: Engine, event: Received, verify: VerifySignature) -> Callable[[], None] | None:
    """What to check once the event is taken; None where nothing special is expected. It raises Violation."""
    signed = event.message
    if not isinstance(signed, SignedVote):
        return None
    state, vote = core._state, signed.vote
    low, high = max(state.finalized_view, state.view - limits.VIEWS_BEHIND_MAX), state.view + limits.VIEWS_AHEAD_MAX
    if vote.epoch != state.committee.epoch or not low < vote.view <= high or signed.voter >= state.committee.size:
        return None
    certificate = state.tree.find(vote.kind, vote.view)
    seen = [s.vote for kind in KINDS if (s := state.pool.get(vote.view, kind, signed.voter)) is not None]
    if vote in seen or (certificate is not None and certificate.vote == vote):
        return None
    is_own = signed.voter == state.me and not state.recovery.active and state.ballots.get(vote.view, vote.kind) != vote
    is_evidence = any(_contradict(first, vote) for first in seen) if seen else False
    if not is_own and not is_evidence:
        return None
    message = vote.signing_bytes(state.committee.consortium)
    if not verify(state.committee.validators[signed.voter], message, signed.signature):
        return None

    def check() -> None:
        if vote.view <= state.finalized_view or core.ended:
            return
        if is_own and not state.recovery.active:
            raise Violation(f"node {node} goes on voting though another votes in its name: {vote}")
        if is_evidence and (vote.view, signed.voter) not in state.accused:
            raise Violation(f"node {node} saw validator {signed.voter} contradict itself and keeps no evidence: {vote}")

    return check
