"""What a validator must do about a vote that contradicts another, looked at from outside, vote by vote.

That an honest validator is never accused is in `checks`. Here is the other half: who contradicts itself before an
honest one is reported, and a validator that meets a vote in its own name which it never cast stops voting.
"""

from __future__ import annotations

from collections.abc import Callable

from consensus import state as limits
from consensus.certificates import check_certificate
from consensus.engine import Engine
from consensus.errors import PeerError
from consensus.events import Received
from consensus.types import Certificate, SignedVote, VerifySignature, Vote, VoteKind
from tests.simulation.checks import Violation

KINDS = tuple(VoteKind)
EXCLUSIVE = {VoteKind.NULLIFY, VoteKind.FINALIZE}


def _contradict(first: Vote, second: Vote) -> bool:
    return first != second and (first.kind is second.kind or {first.kind, second.kind} == EXCLUSIVE)


def watch(node: int, core: Engine, event: Received, verify: VerifySignature) -> Callable[[], None] | None:
    """What to check once the event is taken; None where nothing special is expected. It raises Violation."""
    if isinstance(event.message, SignedVote):
        return _watch_vote(node, core, event.message, verify)
    if isinstance(event.message, Certificate):
        return _watch_certificate(node, core, event.message, verify)
    return None


def _watch_certificate(
    node: int, core: Engine, certificate: Certificate, verify: VerifySignature
) -> Callable[[], None] | None:
    """A certificate that counts a vote of this validator which it did not cast."""
    state, vote = core._state, certificate.vote
    is_ours = vote.epoch == state.committee.epoch and vote.view > state.finalized_view and not core.ended
    is_foreign = state.me in certificate.signers and state.ballots.get(vote.view, vote.kind) != vote
    if not is_ours or not is_foreign or state.recovery.active or vote.kind is VoteKind.FINALIZE:
        return None  # what is final makes all votes up to there harmless
    if state.tree.find(vote.kind, vote.view) is not None:
        return None
    try:
        check_certificate(certificate, state.committee, verify)
    except PeerError:
        return None
    return lambda: _check_stopped(node, core, vote)


def _check_stopped(node: int, core: Engine, vote: Vote) -> None:
    state = core._state
    if vote.view > state.finalized_view and not core.ended and not state.recovery.active:
        raise Violation(f"node {node} goes on voting though another votes in its name: {vote}")


def _watch_vote(node: int, core: Engine, signed: SignedVote, verify: VerifySignature) -> Callable[[], None] | None:
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
        if is_own:
            _check_stopped(node, core, vote)
        if vote.view <= state.finalized_view or core.ended:
            return
        if is_evidence and (vote.view, signed.voter) not in state.accused:
            raise Violation(f"node {node} saw validator {signed.voter} contradict itself and keeps no evidence: {vote}")

    return check
