"""What an operator is told of an engine: where it is, whom it hears, and what it waits for."""

from __future__ import annotations

from consensus.ending import Outlook
from consensus.events import EngineStatus
from consensus.recovery import MARGIN_VIEWS
from consensus.state import State
from consensus.types import Block, Digest, Vote, VoteKind, nullify
from consensus.voting import candidate


def report(state: State) -> EngineStatus:
    lacking = _lacking_payloads(state)
    gap = state.tree.uncovered_view(state.view)
    return EngineStatus(
        view=state.view, height=state.tree.head.height, finalized_view=state.finalized_view, leader=state.leader,
        delta_ms=state.delta_ms, pending_payloads=state.payloads.pending, missing_payloads=len(lacking),
        recovering=state.recovery.active, last_heard=tuple(state.pacemaker.heard),
        last_votes=tuple(state.pacemaker.last_votes), timeouts=tuple(state.pacemaker.timeouts),
        timeouts_in_row=state.pacemaker.timeouts_in_row,
        missing_certificate=gap if gap is not None else state.proposal_gap(),
        missing_block=_missing_block(state), waits_for=_waits_for(state),
        next_committee=state.ending.next_committee, ended=state.ending.ended,
    )  # fmt: skip


def _lacking_payloads(state: State) -> frozenset[Digest]:
    waiting = [state.tree.blocks[d] for d in state.requests.payloads if d in state.tree.blocks]
    block = candidate(state)
    blocks = (*waiting, *((block,) if block is not None else ()))
    return frozenset(digest for block in blocks for digest in state.payloads.missing(block))


def _missing_block(state: State) -> Digest | None:
    if state.missing_final is not None:
        return state.missing_final
    return next((digest for digest in state.requests.blocks if digest not in state.tree.blocks), None)


def _waits_for(state: State) -> str | None:  # noqa: PLR0911 - one return for each thing that may lack
    """In the order in which a view goes on: what comes first is what holds up the rest."""
    if state.ending.ended or state.pacemaker.started_ms is None:
        return None
    if state.recovery.is_asking:
        return "answers of a quorum of others about their views: this validator does not trust its own votes"
    if state.recovery.active:
        return (
            f"a final block more than {MARGIN_VIEWS} views above all it may have voted in: it does not trust its votes"
        )
    view = state.view
    if state.ballots.get(view, VoteKind.NULLIFY) is not None:
        return f"the end of view {view}: {_quorum(state, nullify(state.committee.epoch, view))} nullify votes are here"
    mine = state.ballots.get(view, VoteKind.NOTARIZE)
    if mine is not None:
        return f"the notarization of view {view}: {_quorum(state, mine)} notarize votes are here"
    block = candidate(state)
    if block is None:
        refused = view in state.refused
        return f"the end of view {view}: its proposal was refused" if refused else f"a proposal for view {view}"
    return _lacks_for(state, block)


def _lacks_for(state: State, block: Block) -> str | None:
    """What lacks to vote for the proposal."""
    gap = state.proposal_gap()
    if gap is not None and gap != state.undecided_view:
        return f"the certificate of view {gap}, on which the proposal of view {block.view} rests"
    parent = state.tree.blocks.get(block.parent)
    if parent is None:
        return f"block {block.parent.hex()}, the parent of the proposal of view {block.view}"
    orders = bool(block.payloads) or block.is_boundary
    if orders and state.ending.outlook(state.tree, state.payloads, parent) is Outlook.UNDECIDED:
        return "what blocks below the proposal decide about the committee"
    missing = state.payloads.missing(block)
    if missing:
        return f"{len(missing)} payloads of the proposal of view {block.view}"
    return f"the time of the proposal of view {block.view}"


def _quorum(state: State, vote: Vote) -> str:
    return f"{state.pool.count(vote)} of {state.committee.quorum}"
