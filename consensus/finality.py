"""Certificates taken up, and what follows: the next view, a finalize vote, committed blocks."""

from __future__ import annotations

from consensus.certificates import check_certificate, votes_of
from consensus.errors import ConflictingCertificates, MalformedMessage, WrongEpoch
from consensus.events import Alarm, Commit
from consensus.state import NUMBER_MAX, VIEWS_AHEAD_MAX, State
from consensus.types import Block, Certificate, View, VoteKind
from consensus.votes import contradict
from consensus.voting import finalize

BLOCK_GRACE_DIVISOR = 4
"""Votes may overtake the proposal: a notarized block is asked for only after delta / BLOCK_GRACE_DIVISOR."""


def accept(state: State, certificate: Certificate, *, is_verified: bool = False, for_chain: bool = False) -> bool:
    """Take up a certificate. Returns False where it is no news.

    is_verified: its signatures are known to be good. for_chain: an older finalization serves, to commit up to it.
    Raises: WrongEpoch, TooFewSigners, InvalidSignature, ConflictingCertificates.
    Source: Simplex, section 2.1, step 4, "on seeing a notarized blockchain of height h, enter iteration h + 1" (a
    nullification is their notarized dummy block), and step 5, "on seeing a finalized blockchain, output" it.
    """
    vote = certificate.vote
    if vote.epoch != state.committee.epoch:
        raise WrongEpoch("certificate", state.committee.epoch, vote.epoch)
    if vote.view > NUMBER_MAX:
        raise MalformedMessage("certificate", "view", f"at most {NUMBER_MAX}, got {vote.view}")
    floor = state.tree.head.view if for_chain else state.finalized_view
    held = state.tree.find(vote.kind, vote.view)
    if vote.view <= floor or (held is not None and held.vote == vote):
        return False
    if not is_verified:
        check_certificate(certificate, state.committee, state.verify, state.pool.is_verified)
    _check_consistent(state, certificate)
    state.tree.add_certificate(certificate)
    state.out.save_certificate(certificate)
    state.pacemaker.close(vote.view, vote.kind)
    _absorb_votes(state, certificate)
    if vote.kind is VoteKind.FINALIZE:
        state.stale_finality = True
        if vote.view == state.finalized_view:
            state.pacemaker.final_ms = state.now_ms
            state.prune(vote.view)
    elif vote.kind is VoteKind.NOTARIZE and vote.block not in state.tree.blocks:
        due_ms = state.now_ms + state.committee.parameters.delta_ms // BLOCK_GRACE_DIVISOR
        state.requests.want_block(vote.block, vote.view, state.ask_order(certificate.signers), due_ms)
    state.enter(View(vote.view + 1))
    if vote.kind is VoteKind.NOTARIZE:
        finalize(state, vote.view)
    return True


def _check_consistent(state: State, certificate: Certificate) -> None:
    """Raises: ConflictingCertificates; whoever signed both is reported first, as evidence of who broke agreement."""
    try:
        state.tree.check_consistent(certificate)
    except ConflictingCertificates:
        theirs = {signed.voter: signed for signed in votes_of(certificate)}
        held = [state.tree.find(kind, certificate.vote.view) for kind in VoteKind]
        for signed in (signed for other in held if other is not None for signed in votes_of(other)):
            if signed.voter in theirs and contradict(signed.vote, theirs[signed.voter].vote):
                state.accuse(signed, theirs[signed.voter])
        raise


def _absorb_votes(state: State, certificate: Certificate) -> None:
    """Its votes are verified votes like any other: they count, need no second check, and may contradict."""
    vote = certificate.vote
    for signed in votes_of(certificate):
        state.pacemaker.hear(signed.voter, vote.view, vote.kind)
        if state.finalized_view < vote.view <= state.view + VIEWS_AHEAD_MAX:
            conflicting = state.pool.put(signed)
            if conflicting is not None:
                state.accuse(conflicting, signed)
        state.check_own(signed)


def follow(state: State) -> None:
    """Commit what is final, in order of height, as far as blocks and payloads are held; ask for the rest.

    Source: Simplex, section 2.1, step 5; design D4 rule 6: a finalization finalizes "b and all its ancestors".
    """
    if not state.stale_finality:
        return
    state.stale_finality = False
    state.missing_final = None
    may_commit = True
    for view in sorted(state.tree.finalizations):
        certificate = state.tree.finalizations[view]
        try:
            path = state.tree.path(certificate.vote)
        except ConflictingCertificates as error:
            del state.tree.finalizations[view]
            state.out.put(Alarm(error=error))
            continue
        if path.missing is not None:
            state.missing_final = path.missing
            _ask_for_path(state, certificate)
            return
        blocks, proof = _split_at_boundary(path.blocks)
        for block in blocks:
            if block.view > state.settled_view:
                state.payloads.settle(block)
                state.settled_view = block.view
        lacking = [block for block in blocks if state.payloads.missing(block)]
        for block in lacking:
            holders = state.ask_order(certificate.signers)
            state.requests.want_payloads(block.digest, block.view, holders, state.now_ms)
        may_commit = may_commit and not lacking
        if may_commit:
            awaits = state.ending.commit(blocks, state.payloads)
            state.out.commit(Commit(blocks=blocks, finalization=certificate, proof=proof, awaits_execution=awaits))
            state.tree.advance(blocks[-1])
            state.payloads.release(blocks, state.tree.blocks.values())
            if state.ending.ended:
                return


def _split_at_boundary(blocks: tuple[Block, ...]) -> tuple[tuple[Block, ...], tuple[Block, ...]]:
    """What enters the ledger, up to a boundary if there is one; and what follows it, which only proves it final."""
    count = next((i for i, block in enumerate(blocks, start=1) if block.is_boundary), len(blocks))
    return blocks[:count], blocks[count:]


def _ask_for_path(state: State, certificate: Certificate) -> None:
    """One block is asked for by digest; a longer gap also as a chain, which only those answer who committed it."""
    assert state.missing_final is not None, "asked only where a block lacks"
    delta_ms = state.committee.parameters.delta_ms
    holders = state.ask_order(certificate.signers)
    is_long = certificate.vote.height > state.tree.head.height + 1
    grace_ms = state.now_ms + delta_ms // BLOCK_GRACE_DIVISOR
    state.requests.want_block(state.missing_final, certificate.vote.view, holders, grace_ms)
    state.requests.want_chain(certificate.vote.view, holders, state.now_ms if is_long else grace_ms + delta_ms)
