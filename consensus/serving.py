"""What this validator gives others: answers to their requests, and help to those who show that they are behind.

Certificates are not broadcast, since everybody forms them from the votes (design D3); they go to a peer whose
messages show that it lacks them. Everything here is rationed, so that no peer can make us work or send without end.
"""

from __future__ import annotations

from consensus.errors import MalformedMessage
from consensus.events import Send, SendChain
from consensus.messages import (
    CERTIFICATES_MAX,
    BlockReply,
    BlockRequest,
    CertificateRequest,
    Certificates,
    ChainRequest,
    ViewReply,
    ViewRequest,
)
from consensus.recovery import NONCE_BYTES
from consensus.state import State
from consensus.types import Certificate, SignedVote, ValidatorIndex, View, VoteKind

HELP_MAX = 16
"""Certificates sent unasked at once; who lacks more asks."""


def on_certificate_request(state: State, sender: ValidatorIndex, message: CertificateRequest) -> None:
    found = state.tree.certificates_from(message.from_view, CERTIFICATES_MAX)
    if found and state.rations.spend(sender, 1 + len(found) // 8, state.now_ms):
        state.out.put(Send(to=sender, message=Certificates(certificates=found)))


def on_block_request(state: State, sender: ValidatorIndex, message: BlockRequest) -> None:
    """Committed blocks are to be asked for as a chain: our last finalization tells so whoever looks for one.

    Else one that missed blocks and what made them final, and nothing else, would look for them until the next block.
    """
    block, finalized = state.tree.blocks.get(message.digest), state.tree.finalized
    if (block is None and finalized is None) or not state.rations.spend(sender, 1, state.now_ms):
        return
    if block is not None:
        state.out.put(Send(to=sender, message=BlockReply(block=block)))
    elif finalized is not None:
        state.out.put(Send(to=sender, message=Certificates(certificates=(finalized,))))


def on_chain_request(state: State, sender: ValidatorIndex, message: ChainRequest) -> None:
    held = 0 < message.from_height <= state.tree.head.height
    if held and state.rations.spend(sender, 8, state.now_ms):
        state.out.put(SendChain(to=sender, from_height=message.from_height))


def on_view_request(state: State, sender: ValidatorIndex, message: ViewRequest) -> None:
    if len(message.nonce) != NONCE_BYTES:
        raise MalformedMessage("view request", "nonce", f"{NONCE_BYTES} bytes, got {len(message.nonce)}")
    if state.rations.spend(sender, 1, state.now_ms):
        state.out.put(Send(to=sender, message=ViewReply(nonce=message.nonce, highest=state.tree.top_certificate())))


def notice_old_vote(state: State, sender: ValidatorIndex, signed: SignedVote) -> None:
    """A vote for a view that ended here. Late ones are normal; long after the end they come from somebody behind.

    A nullify where we hold the notarization but no nullification is told at once: its sender may wait for ever for a
    nullification that cannot come, since some of us voted to finalize.
    """
    view, kind = signed.vote.view, signed.vote.kind
    if sender != signed.voter or view >= state.view:
        return
    tree = state.tree
    stuck = kind is VoteKind.NULLIFY and view in tree.notarizations and view not in tree.nullifications
    if stuck or state.pacemaker.left_long_ago(view, state.now_ms):
        help_along(state, sender, view)


def notice_old_certificate(state: State, sender: ValidatorIndex, certificate: Certificate) -> None:
    """A certificate that is no news comes from a peer repeating what let it into its view: it may be behind."""
    vote = certificate.vote
    behind_final = vote.view < state.finalized_view or (
        vote.view == state.finalized_view and vote.kind is not VoteKind.FINALIZE
    )
    if behind_final or vote.view + 1 < state.view:
        help_along(state, sender, vote.view)


def help_along(state: State, peer: ValidatorIndex, view: View) -> None:
    found = state.tree.certificates_from(view, HELP_MAX)
    if found and state.rations.may_help(peer, state.now_ms):
        state.out.put(Send(to=peer, message=Certificates(certificates=found)))
