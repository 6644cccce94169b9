"""The rules of Simplex: when this validator proposes, notarizes, finalizes and nullifies.

Source: B. Chan and R. Pass, "Simplex Consensus: A Simple and Fast Consensus Protocol", 2023 (ePrint 2023/463), section
2.1, whose steps 1 to 5 are quoted beside the rules; an iteration is our view, the dummy block our nullification, and
2n/3 our quorum n - f. Rule numbers are those of design D4.
"""

from __future__ import annotations

from consensus.ending import Outlook
from consensus.errors import InvalidBlock, PeerError, WrongConsortium, WrongEpoch, WrongLeader
from consensus.events import Rejected
from consensus.messages import NULLIFICATIONS_MAX, Proposal
from consensus.state import NUMBER_MAX, State
from consensus.types import ZERO_DIGEST, Block, Digest, Height, SignedVote, View, Vote, VoteKind, nullify

PAYLOAD_GRACE_DIVISOR = 16
"""A proposal may overtake its payloads, which their authors spread: delta / 16 is waited before fetching them."""
FINAL_GRACE_DIVISOR = 4
"""A proposal may overtake the finalization of what it follows: delta / 4 is waited before asking for that."""
EMPTY_DIVISOR = 2
"""An empty block only helps finish what votes under way may finish anyway: delta / EMPTY_DIVISOR is waited first."""


def cast(state: State, vote: Vote) -> None:
    """Decide a vote: from here on it stands, and Persist goes before Sign. Asserts the rules once more."""
    assert not state.recovery.active, "a validator that cannot trust its voting state does not vote"
    state.ballots.cast(vote)
    state.out.vote(vote)


def _vote_for(state: State, kind: VoteKind, block: Block) -> Vote:
    return Vote(kind=kind, epoch=state.committee.epoch, view=block.view, height=block.height, block=block.digest)


# ---- rule 2: propose -------------------------------------------------------------------------------------------------


def propose(state: State) -> int | None:
    """As leader of the view, propose a block once there is something to order or to finish.

    Returns when to try again (monotonic ms), None where time alone changes nothing.
    Source: step 2, the leader "multicasts a single proposal" with "a notarized blockchain": here the parent's
    notarization or finalization, and a nullification for every view between.
    """
    view = state.view
    if state.leader != state.me or state.recovery.active or state.ballots.reason_against(VoteKind.NOTARIZE, view):
        return None
    parent_view = state.tree.parent_view(view)
    if parent_view is None:
        return None
    parent_digest = state.tree.certified(parent_view)
    assert parent_digest is not None, "parent_view returns certified views"
    parent = state.tree.blocks[parent_digest]
    if max(parent.timestamp_ms, parent.height) > NUMBER_MAX:
        return None
    if state.ending.awaited is not None:
        return None  # what execution decided is told within this turn of the loop
    outlook = state.ending.outlook(state.tree, state.payloads, parent)
    payloads: tuple[Digest, ...] = ()
    next_committee = ZERO_DIGEST
    if outlook is Outlook.OPEN:
        unfinal = [block for block in (parent, *state.tree.ancestors(parent)) if block.view > state.finalized_view]
        payloads = state.payloads.select({digest for block in unfinal for digest in block.payloads})
    elif outlook is Outlook.UNDECIDED:
        _find_out(state, parent)
    elif outlook is Outlook.DECIDED:
        assert state.ending.next_committee is not None, "that is what decided means"
        next_committee = state.ending.next_committee
    earliest = _earliest_ms(state, parent, is_empty=not payloads and next_committee == ZERO_DIGEST)
    if earliest is None or state.now_ms < earliest:
        return earliest
    block = Block(
        consortium=state.committee.consortium, epoch=state.committee.epoch, view=view,
        height=Height(parent.height + 1), parent_view=parent_view, parent=parent_digest,
        timestamp_ms=max(state.wall_ms, parent.timestamp_ms + 1), proposer=state.me, payloads=payloads,
        next_committee=next_committee,
    )  # fmt: skip
    state.add_block(block)
    state.out.save_block(block)
    cast(state, _vote_for(state, VoteKind.NOTARIZE, block))
    return None


def _earliest_ms(state: State, parent: Block, *, is_empty: bool) -> int | None:
    """When the next block may be proposed; None where there is no reason to."""
    seen_ms = state.tree.seen_ms.get(parent.digest)
    paced_ms = seen_ms + state.committee.parameters.block_interval_ms if seen_ms is not None else state.now_ms
    if not is_empty or state.now_ms >= state.pacemaker.heartbeat_ms:
        return paced_ms
    # Payloads that wait, and may not be ordered on this parent: an empty block ends the view sooner than a timer.
    if state.tree.has_unfinal_work() or state.payloads.pending > 0:
        return max(paced_ms, state.pacemaker.entered_ms + state.committee.parameters.delta_ms // EMPTY_DIVISOR)
    return None


def proposal_of(state: State, signed: SignedVote) -> Proposal | None:
    """The message for our own signed notarize vote as leader: the block, and what justifies its parent."""
    block = state.tree.blocks.get(signed.vote.block)
    if block is None or block.proposer != state.me or signed.vote.kind is not VoteKind.NOTARIZE:
        return None
    views = range(block.parent_view + 1, block.view)[-NULLIFICATIONS_MAX:]
    found = (state.tree.nullifications.get(View(view)) for view in views)
    parent = state.tree.certificate_of(block.parent_view)
    starts_epoch = state.tree.finalized is None and block.parent == state.tree.head.digest
    if parent is None and not starts_epoch:
        return None  # overtaken by a finalization: nobody needs it any more
    return Proposal(block=block, vote=signed, parent=parent, nullifications=tuple(c for c in found if c is not None))


# ---- rule 3: notarize ------------------------------------------------------------------------------------------------


def candidate(state: State) -> Block | None:
    """The first block the view's leader voted for, as far as it is here and was not refused."""
    first = state.pool.get(state.view, VoteKind.NOTARIZE, state.leader)
    if first is None or state.refused.get(state.view) == first.vote.block:
        return None
    return state.tree.blocks.get(first.vote.block)


def notarize(state: State) -> int | None:  # noqa: PLR0911 - one return for each thing that may lack
    """Vote for the leader's first proposal, once everything it rests on is here.

    Returns when to try again (monotonic ms), None where time alone changes nothing.
    Source: step 3, "on seeing the first proposal" of the leader, check that it extends a notarized chain, and vote.
    """
    if state.recovery.active or state.ballots.reason_against(VoteKind.NOTARIZE, state.view):
        return None
    block = candidate(state)
    if block is None:
        return None
    try:
        check_header(state, block)
        if not _holds_ancestry(state, block):
            return None
        _check_against_parent(state, block)
        if not _epoch_permits(state, block):
            return None
    except PeerError as error:
        state.refused[state.view] = block.digest
        state.out.put(Rejected(sender=state.leader, error=error))
        return None
    if state.payloads.missing(block):
        # Fetch, then vote: a notarization is also the promise that f + 1 honest validators hold the payloads.
        voters = state.pool.voters(_vote_for(state, VoteKind.NOTARIZE, block))
        holders = state.ask_order(voters, first=block.proposer)
        grace_ms = state.committee.parameters.delta_ms // PAYLOAD_GRACE_DIVISOR
        state.requests.want_payloads(block.digest, block.view, holders, state.now_ms + grace_ms)
        return None
    wait_ms = _early_by_ms(state, block)
    if wait_ms > 0:
        return state.now_ms + wait_ms
    state.out.save_block(block)
    cast(state, _vote_for(state, VoteKind.NOTARIZE, block))
    return None


def check_header(state: State, block: Block) -> None:
    """What can be judged from the block alone. Raises: WrongConsortium, WrongEpoch, WrongLeader, InvalidBlock."""
    committee = state.committee
    if block.consortium != committee.consortium:
        raise WrongConsortium(committee.consortium, block.consortium)
    if block.epoch != committee.epoch:
        raise WrongEpoch("block", committee.epoch, block.epoch)
    if block.proposer != committee.leader(block.view):
        raise WrongLeader(block.view, committee.leader(block.view), block.proposer)
    if block.payloads and block.is_boundary:
        raise InvalidBlock(block.view, "payloads", "none expected in a block that names the next committee")


def _holds_ancestry(state: State, block: Block) -> bool:
    """The ancestry check: its parent is notarized or final, and every view between is nullified. False: not known yet.

    This, with one notarize per view and nullify XOR finalize, is all of safety: it makes every block notarized above a
    finalized one its descendant (research/consensus.md section 3; Simplex, section 3.1). A finalization of the parent
    stands for its notarization. Raises: InvalidBlock where it can never hold.
    """
    tree = state.tree
    if block.parent_view < tree.finalized_view:
        raise InvalidBlock(block.view, "parent_view", f"{block.parent_view} is below finalized {tree.finalized_view}")
    certified = tree.certified(block.parent_view)
    if certified is not None and certified != block.parent:
        raise InvalidBlock(block.view, "parent", f"{block.parent.hex()} is not the block of view {block.parent_view}")
    if certified is None or tree.first_gap(block.parent_view, block.view) is not None:
        # Pitfall 11: who lacks a nullification cannot vote. The leader claims to have them all.
        state.requests.want_certificates(state.view, state.ask_order((), first=state.leader), state.now_ms)
        return False
    if block.parent not in tree.blocks:
        state.requests.want_block(block.parent, block.view, state.ask_order((), first=state.leader), state.now_ms)
        return False
    return True


def _check_against_parent(state: State, block: Block) -> None:
    parent = state.tree.blocks[block.parent]
    if block.height != parent.height + 1:
        raise InvalidBlock(block.view, "height", f"expected {parent.height + 1}, got {block.height}")
    if block.timestamp_ms <= parent.timestamp_ms:
        raise InvalidBlock(block.view, "timestamp_ms", f"expected over {parent.timestamp_ms}, got {block.timestamp_ms}")


def _epoch_permits(state: State, block: Block) -> bool:
    """Whether the epoch's end permits `block` where it stands. False: not known yet (`consensus.ending`).

    An empty block is always permitted: it decides nothing, and makes final what is undecided.
    Raises: InvalidBlock where it can never be permitted.
    """
    if not block.payloads and not block.is_boundary:
        return True
    match state.ending.outlook(state.tree, state.payloads, state.tree.blocks[block.parent]):
        case Outlook.OPEN:
            if block.is_boundary:
                raise InvalidBlock(block.view, "next_committee", "zero expected: no change of the committee has passed")
            return True
        case Outlook.UNDECIDED:
            _find_out(state, state.tree.blocks[block.parent])
            return False
        case Outlook.DECIDED:
            expected = state.ending.next_committee
            if block.next_committee != expected:
                named = f"{expected.hex() if expected else None}, got {block.next_committee.hex()}"
                raise InvalidBlock(block.view, "next_committee", f"a change has passed: expected {named}")
            return True
        case Outlook.OVER:
            raise InvalidBlock(block.view, "parent", "the epoch's boundary, after which nothing is ordered")


def _find_out(state: State, parent: Block) -> None:
    """Ask for what lacks to know what may follow `parent`: blocks, payloads, or finality of what may end the epoch."""
    path = state.tree.uncommitted(parent)
    if path.missing is not None:
        state.requests.want_block(path.missing, parent.view, state.ask_order((), first=state.leader), state.now_ms)
    lacking = [block for block in path.blocks if state.payloads.missing(block)]
    grace_ms = state.committee.parameters.delta_ms // PAYLOAD_GRACE_DIVISOR
    for block in lacking:
        holders = state.ask_order((), first=block.proposer)
        state.requests.want_payloads(block.digest, block.view, holders, state.now_ms + grace_ms)
    state.undecided = frozenset(block.digest for block in lacking)
    views = [block.view for block in path.blocks if state.payloads.may_end(block)]
    state.undecided_view = min(views, default=None)
    if views:
        # A finalization is mostly on its way. Who proposes what needs it has it.
        due_ms = state.now_ms + state.committee.parameters.delta_ms // FINAL_GRACE_DIVISOR
        state.requests.want_certificates(state.view, state.ask_order((), first=state.leader), due_ms)


def _early_by_ms(state: State, block: Block) -> int:
    """How long until the block's time is acceptable: t <= max(now + precision, parent + 1 ms) (design D4).

    The second bound keeps a clock that was set back from halting the chain: time then creeps 1 ms a block.
    """
    parent = state.tree.blocks[block.parent]
    latest = max(state.wall_ms + state.committee.parameters.precision_ms, parent.timestamp_ms + 1)
    return block.timestamp_ms - latest


# ---- rule 5: finalize ------------------------------------------------------------------------------------------------


def finalize(state: State, view: View) -> None:
    """On a notarization, vote to finalize it, unless this validator ever nullified the view.

    Source: step 4, "if the timer T_h did not fire yet: cancel T_h (so it never fires) and multicast finalize(h)". That
    the timer fired is that a nullify was cast: Ballots.reason_against keeps the two apart for ever.
    """
    notarization = state.tree.notarizations.get(view)
    if notarization is None or state.recovery.active or view <= state.finalized_view:
        return
    if view in state.equivocated or view in state.tree.nullifications:
        return  # pitfall 6: a view whose leader equivocated; and a nullified view can never be final
    if state.ballots.reason_against(VoteKind.FINALIZE, view) is None:
        vote = notarization.vote
        cast(state, Vote(kind=VoteKind.FINALIZE, epoch=vote.epoch, view=view, height=vote.height, block=vote.block))


# ---- rule 4: nullify -------------------------------------------------------------------------------------------------


def _give_up_ms(state: State, delta_ms: int) -> int | None:
    """When this validator nullifies its view, None if it will not."""
    view = state.view
    if state.recovery.active or state.ballots.reason_against(VoteKind.NULLIFY, view):
        return None
    if state.pacemaker.started_ms is None:
        return None
    proposed = candidate(state) is not None
    silent = not proposed and state.leader != state.me and state.pacemaker.is_silent(state.leader, view)
    return state.pacemaker.give_up_ms(delta_ms, proposed=proposed, silent=silent)


def give_up(state: State, delta_ms: int) -> int | None:
    """Nullify the view once its timer runs out. Returns when it will (monotonic ms), None if it will not, or did now.

    delta_ms: of the view. Source: step 1, if the timer T_h fires without a notarized block seen, vote for the dummy
    block.
    """
    due_ms = _give_up_ms(state, delta_ms)
    if due_ms is None or state.now_ms < due_ms:
        return due_ms
    cast(state, nullify(state.committee.epoch, state.view))
    return None
