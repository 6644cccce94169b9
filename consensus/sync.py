"""Catching up: certificates, blocks, payloads and the finalized chain, fetched from those who showed they have them."""

from __future__ import annotations

from consensus.certificates import check_certificate
from consensus.chain import check_chain
from consensus.errors import MalformedMessage
from consensus.events import Broadcast, FetchPayloads, Send
from consensus.finality import accept
from consensus.messages import (
    CERTIFICATES_MAX,
    BlockReply,
    BlockRequest,
    CertificateRequest,
    Certificates,
    Chain,
    ChainRequest,
    ViewReply,
    ViewRequest,
)
from consensus.requests import PURSUIT_DELTAS, Pursuit
from consensus.state import State
from consensus.types import Digest, Height, ValidatorIndex, View

AHEAD_DIVISOR = 4
"""Others being ahead is often over in a moment: delta / AHEAD_DIVISOR is waited before asking."""


def check_behind(state: State) -> None:
    """Notice that certificates lack, and start to ask for them.

    f + 1 votes of later views prove that an honest validator got there; they make us ask, never move (rule 10).
    """
    ahead = state.pacemaker.ahead(state.view)
    if len(ahead) > state.committee.faults_max and len(ahead := state.without_me(ahead)) > state.committee.faults_max:
        far = len(state.pacemaker.ahead(View(state.view + 1))) > state.committee.faults_max
        delay = 0 if far else state.committee.parameters.delta_ms // AHEAD_DIVISOR
        state.requests.want_certificates(state.view, state.ask_order(ahead), state.now_ms + delay)
    elif state.tree.uncovered_view(state.view) is not None:
        state.requests.want_certificates(state.view, state.ask_order(()), state.now_ms)


def poll(state: State) -> None:
    """Ask for whatever is due, and drop what came or no longer matters."""
    requests = state.requests
    if requests.certificates is not None:
        _poll_certificates(state, requests.certificates)
    if requests.blocks:
        _poll_blocks(state)
    if requests.chain is not None:
        _poll_chain(state, requests.chain)
    if requests.payloads:
        _poll_payloads(state)
    if requests.views is not None or state.recovery.active:
        _poll_views(state)


def _is_due(state: State, pursuit: Pursuit) -> bool:
    return pursuit.due_ms <= state.now_ms


def _asked(state: State, pursuit: Pursuit) -> None:
    pursuit.attempts += 1
    pursuit.due_ms = state.now_ms + PURSUIT_DELTAS * state.committee.parameters.delta_ms


def _poll_certificates(state: State, pursuit: Pursuit) -> None:
    ahead = state.without_me(state.pacemaker.ahead(state.view))
    gap = state.tree.uncovered_view(state.view)
    wanted = state.proposal_gap()
    behind = len(ahead) > state.committee.faults_max
    if not behind and gap is None and wanted is None:
        state.requests.certificates = None
        return
    if _is_due(state, pursuit):
        lowest = min(view for view in (state.view, gap, wanted) if view is not None)
        state.out.put(Send(to=pursuit.holder, message=CertificateRequest(from_view=lowest)))
        _asked(state, pursuit)


def _poll_blocks(state: State) -> None:
    tree, blocks = state.tree, state.requests.blocks
    for digest in [d for d, p in blocks.items() if d in tree.blocks or p.view <= tree.head.view]:
        del blocks[digest]
    for digest, pursuit in blocks.items():
        if _is_due(state, pursuit):
            state.out.put(Send(to=pursuit.holder, message=BlockRequest(digest=digest)))
            _asked(state, pursuit)


def _poll_chain(state: State, pursuit: Pursuit) -> None:
    if state.missing_final is None:
        state.requests.chain = None
    elif _is_due(state, pursuit):
        message = ChainRequest(from_height=Height(state.tree.head.height + 1))
        state.out.put(Send(to=pursuit.holder, message=message))
        _asked(state, pursuit)


def _poll_payloads(state: State) -> None:
    tree, payloads = state.tree, state.requests.payloads
    for digest in [d for d in payloads if not _wants_payloads(state, d)]:
        del payloads[digest]
    for digest, pursuit in payloads.items():
        if _is_due(state, pursuit):
            missing = state.payloads.missing(tree.blocks[digest])
            state.out.put(FetchPayloads(digests=missing, holders=pursuit.order))
            _asked(state, pursuit)


def _wants_payloads(state: State, digest: Digest) -> bool:
    """Payloads matter of a block that may yet be voted for, that is notarized or has notarized descendants, or that
    may be final."""
    block = state.tree.blocks.get(digest)
    if block is None or block.view <= state.tree.head.view or not state.payloads.missing(block):
        return False
    view = block.view
    if view >= state.view or view <= state.finalized_view or digest in state.undecided:
        return True
    return state.tree.certified(view) == digest


def _poll_views(state: State) -> None:
    if not state.recovery.is_asking:
        state.requests.views = None
        return
    pursuit = state.requests.views
    if pursuit is None:
        pursuit = state.requests.views = Pursuit(state.view, state.others, state.now_ms)
    if _is_due(state, pursuit):
        message = ViewRequest(nonce=state.recovery.nonce)
        silent = [v for v in state.others if not state.recovery.has_reply(v)]
        state.out.put(*(Send(to=peer, message=message) for peer in silent))
        _asked(state, pursuit)


# ---- answers ---------------------------------------------------------------------------------------------------------


def on_certificates(state: State, message: Certificates) -> bool:
    """Take up one after another; the first bad one ends it, so that a bad answer costs one failed check.

    Returns whether anything may follow.
    """
    if len(message.certificates) > CERTIFICATES_MAX:
        raise MalformedMessage("certificates", "count", f"at most {CERTIFICATES_MAX}, got {len(message.certificates)}")
    news = [accept(state, certificate) for certificate in message.certificates]
    if state.requests.certificates is not None:
        # There may be more than fits one answer: what still lacks is asked for at once, of the same.
        state.requests.certificates.due_ms = min(state.requests.certificates.due_ms, state.now_ms)
        return True
    return any(news)


def on_block(state: State, message: BlockReply) -> None:
    """A block that was asked for proves itself by its digest; any other (a late answer, mostly) is left alone."""
    digest = message.block.digest
    if state.requests.blocks.pop(digest, None) is not None:
        state.add_block(message.block)


def on_chain(state: State, message: Chain) -> None:
    """Blocks that link from our head to one with a valid finalization. Raises: PeerError, keeping nothing."""
    blocks = tuple(block for block in message.blocks if block.height > state.tree.head.height)
    if not blocks:
        return
    check_chain(
        blocks, message.finalization, state.committee, state.verify,
        head=state.tree.head, is_verified=state.pool.is_verified,
    )  # fmt: skip
    for block in blocks:
        state.add_block(block)
    accept(state, message.finalization, is_verified=True, for_chain=True)
    if state.requests.chain is not None:
        state.requests.chain.due_ms = state.now_ms


def on_view_reply(state: State, sender: ValidatorIndex, message: ViewReply) -> None:
    """What a recovering validator asked for; an answer to an older nonce proves nothing and is left alone."""
    if not state.recovery.is_asking or message.nonce != state.recovery.nonce or sender == state.me:
        return
    view = View(0)
    if message.highest is not None:
        check_certificate(message.highest, state.committee, state.verify, state.pool.is_verified)
        view = message.highest.vote.view
        accept(state, message.highest, is_verified=True)
    state.recovery.reply(sender, view)


def ask_at_start(state: State) -> None:
    """Once at start: whoever has what moves us on sends it; an idle chain would not otherwise tell."""
    state.out.put(Broadcast(message=CertificateRequest(from_view=state.view)))
