"""Broken engines: rules of voting, certificates, recovery, catching up and bounds, one left out at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from unittest.mock import patch

from consensus import (
    certificates,
    chain,
    engine,
    finality,
    follower,
    recovery,
    requests,
    serving,
    sync,
    types,
    votes,
    voting,
)
from consensus.engine import Engine
from consensus.events import Output
from consensus.messages import BlockReply, BlockRequest, Proposal
from consensus.pacemaker import Pacemaker
from consensus.payloads import Payloads
from consensus.recovery import Recovery
from consensus.requests import Requests
from consensus.state import Outbox, State
from consensus.tree import Tree
from consensus.types import (
    ZERO_DIGEST,
    Block,
    Certificate,
    Committee,
    Digest,
    SignedVote,
    ValidatorIndex,
    View,
    Vote,
    VoteKind,
)
from consensus.votes import Ballots, VotePool
from tests.simulation.mutation import Mutant, everywhere, instead, nothing

FAR = 2**63
CERTIFICATE_USERS = (chain, finality, sync, follower)
"""Modules that check certificates that peers send."""


def no_ancestry_check() -> AbstractContextManager[object]:
    def holds(state: State, block: Block) -> bool:
        return block.parent in state.tree.blocks

    return instead(voting, "_holds_ancestry", holds)


@contextmanager
def no_parent_check() -> Iterator[None]:
    """The views between must be nullified, but nobody asks whether the parent is notarized."""

    def holds(state: State, block: Block) -> bool:
        if block.parent not in state.tree.blocks:
            return False
        return state.tree.first_gap(block.parent_view, block.view) is None

    def on_proposal(self: Engine, sender: ValidatorIndex, proposal: Proposal) -> None:
        voting.check_header(self._state, proposal.block)
        self._on_vote(sender, proposal.vote)
        for certificate in proposal.nullifications:
            engine.accept(self._state, certificate)
        first = self._state.pool.get(proposal.block.view, VoteKind.NOTARIZE, proposal.block.proposer)
        if first is not None and first.vote.block == proposal.block.digest:
            self._state.add_block(proposal.block)

    with patch.object(voting, "_holds_ancestry", holds), patch.object(Engine, "_on_proposal", on_proposal):
        yield


def _without(kind: VoteKind, cast: VoteKind) -> AbstractContextManager[object]:
    """Allow `kind` in a view in which `cast` was cast."""
    original = Ballots.reason_against

    def reason_against(self: Ballots, asked: VoteKind, view: View) -> str | None:
        reason = original(self, asked, view)
        if asked is kind and self.get(view, cast) is not None and self.get(view, kind) is None:
            return None
        return reason

    return patch.object(Ballots, "reason_against", reason_against)


@contextmanager
def double_notarize() -> Iterator[None]:
    """Vote for the leader's second proposal too."""
    notarize, receive = voting.notarize, Engine._on_proposal

    def notarize_again(state: State) -> int | None:
        voted = state.ballots.get(state.view, VoteKind.NOTARIZE)
        if voted is not None and state.leader != state.me and not state.recovery.active:
            for block in state.tree.blocks.values():
                if block.view == state.view and block.digest > voted.block:
                    again = replace(voted, block=block.digest, height=block.height)
                    state.ballots.restore(again)
                    state.out.vote(again)
                    return None
        return notarize(state)

    def on_proposal(self: Engine, sender: ValidatorIndex, proposal: Proposal) -> None:
        receive(self, sender, proposal)
        self._state.add_block(proposal.block)

    with patch.object(engine, "notarize", notarize_again), patch.object(Engine, "_on_proposal", on_proposal):
        yield


def sign_before_persist() -> AbstractContextManager[object]:
    original = Outbox.drain

    def drain(self: Outbox) -> tuple[Output, ...]:
        return tuple(reversed(original(self)))

    return patch.object(Outbox, "drain", drain)


# ---- recovery --------------------------------------------------------------------------------------------------------


def recovery_of_one_reply() -> AbstractContextManager[object]:
    return instead(Recovery, "is_asking", property(lambda self: self.active and not self._replies))


def recovery_without_finalization() -> AbstractContextManager[object]:
    """Votes as soon as a quorum of others has answered."""

    def settle(self: Recovery, finalized_view: View) -> None:
        if self.active and not self.is_asking:
            self.active = False

    return instead(Recovery, "settle", settle)


def stale_replies() -> AbstractContextManager[object]:
    """Answers to an earlier question count."""

    def on_view_reply(state: State, sender: ValidatorIndex, message: object) -> None:
        if state.recovery.is_asking and sender != state.me:
            state.recovery.reply(sender, View(0))

    return instead(sync, "on_view_reply", on_view_reply)


# ---- certificates and signatures -------------------------------------------------------------------------------------


def unchecked_certificates() -> AbstractContextManager[object]:
    return everywhere("check_certificate", nothing, *CERTIFICATE_USERS)


def _checked_under(change: Callable[[Committee], object]) -> AbstractContextManager[object]:
    """Certificates are checked while the committee is seen through `change`, a context manager."""
    original = certificates.check_certificate

    def check(certificate: Certificate, committee: Committee, *rest: object) -> None:
        with change(committee):  # type: ignore[attr-defined]
            original(certificate, committee, *rest)  # type: ignore[arg-type]

    return everywhere("check_certificate", check, *CERTIFICATE_USERS)


def few_signers_suffice() -> AbstractContextManager[object]:
    return _checked_under(lambda _: patch.object(Committee, "quorum", property(lambda _: 1)))


def repeated_signers() -> AbstractContextManager[object]:
    """A certificate may name a signer twice."""
    return instead(Certificate, "__post_init__", nothing)


def strangers_sign() -> AbstractContextManager[object]:
    """A signer's index need not be of the committee; who has no key there is taken at his word."""
    original = certificates.check_certificate

    def check(certificate: Certificate, committee: Committee, *rest: object) -> None:
        known = [i for i in certificate.signers if i < committee.size]
        if len(known) == len(certificate.signers):
            original(certificate, committee, *rest)  # type: ignore[arg-type]

    return everywhere("check_certificate", check, *CERTIFICATE_USERS)


def _signs(fields: Callable[[Vote, Digest], Sequence[object]]) -> AbstractContextManager[object]:
    def signing_bytes(self: Vote, consortium: Digest) -> bytes:
        return types._VOTE_HEAD.pack(types._VOTE_TAG, *fields(self, consortium))

    return instead(Vote, "signing_bytes", signing_bytes)


def consortium_not_signed() -> AbstractContextManager[object]:
    return _signs(lambda v, _: (ZERO_DIGEST, v.epoch, v.kind, v.view, v.height, v.block))


def kind_not_signed() -> AbstractContextManager[object]:
    """One signature serves to notarize and to finalize."""
    return _signs(lambda v, c: (c, v.epoch, 1 if v.block != ZERO_DIGEST else 2, v.view, v.height, v.block))


def epoch_not_signed() -> AbstractContextManager[object]:
    return _signs(lambda v, c: (c, 0, v.kind, v.view, v.height, v.block))


@contextmanager
def any_epoch_counts() -> Iterator[None]:
    """Votes and certificates of other epochs are taken for this one's, where their signatures verify."""
    on_vote, take = Engine._on_vote, finality.accept

    def here(state: State, vote: Vote) -> Vote:
        return replace(vote, epoch=state.committee.epoch)

    def on_any_vote(self: Engine, sender: ValidatorIndex, signed: SignedVote) -> None:
        on_vote(self, sender, replace(signed, vote=here(self._state, signed.vote)))

    def accept(state: State, certificate: Certificate, **options: bool) -> bool:
        return take(state, replace(certificate, vote=here(state, certificate.vote)), **options)

    taken = everywhere("accept", accept, engine, finality, sync)
    with patch.object(Engine, "_on_vote", on_any_vote), taken, epoch_not_signed():
        yield


# ---- evidence --------------------------------------------------------------------------------------------------------


def accuse_of_what_is_legal() -> AbstractContextManager[object]:
    """Notarize and nullify in one view is taken for a contradiction."""

    def contradict(first: Vote, second: Vote) -> bool:
        return first.view == second.view and first != second

    return everywhere("contradict", contradict, finality, votes)


def accuse_by_kind_only() -> AbstractContextManager[object]:
    """Nullify and finalize in one view is not seen as a contradiction."""

    def contradict(first: Vote, second: Vote) -> bool:
        return first.view == second.view and first != second and first.kind is second.kind

    return everywhere("contradict", contradict, finality, votes)


# ---- time ------------------------------------------------------------------------------------------------------------


def _early(latest: Callable[[State, Block], int]) -> AbstractContextManager[object]:
    return instead(voting, "_early_by_ms", lambda state, block: block.timestamp_ms - latest(state, block))


def wall_clock_only() -> AbstractContextManager[object]:
    """A block later than the own clock is refused, also where it is only 1 ms after its parent."""
    return _early(lambda state, _: state.wall_ms + state.committee.parameters.precision_ms)


def block_time_may_go_back() -> AbstractContextManager[object]:
    original = voting._check_against_parent

    def check(state: State, block: Block) -> None:
        parent = state.tree.blocks[block.parent]
        if block.timestamp_ms > parent.timestamp_ms:
            original(state, block)

    return instead(voting, "_check_against_parent", check)


# ---- catching up -----------------------------------------------------------------------------------------------------


def proposal_stops_the_timer() -> AbstractContextManager[object]:
    original = Pacemaker.give_up_ms

    def give_up_ms(self: Pacemaker, delta_ms: int, *, proposed: bool, silent: bool) -> int | None:
        return None if proposed else original(self, delta_ms, proposed=proposed, silent=silent)

    return instead(Pacemaker, "give_up_ms", give_up_ms)


def unasked_blocks_are_kept() -> AbstractContextManager[object]:
    def on_block(state: State, message: BlockReply) -> None:
        state.add_block(message.block)

    return instead(sync, "on_block", on_block)


def committed_blocks_are_not_answered() -> AbstractContextManager[object]:
    """Who asks for a block gets it or nothing, also where it is committed."""
    original = serving.on_block_request

    def on_block_request(state: State, sender: ValidatorIndex, message: BlockRequest) -> None:
        if message.digest in state.tree.blocks:
            original(state, sender, message)

    return instead(serving, "on_block_request", on_block_request)


def pursuits_without_end() -> AbstractContextManager[object]:
    """However many blocks are sought already."""

    def want_block(
        self: Requests, digest: Digest, view: View, holders: tuple[ValidatorIndex, ...], due_ms: int
    ) -> None:
        self.blocks.setdefault(digest, requests.Pursuit(view, holders, due_ms)).hurry(due_ms)

    return instead(Requests, "want_block", want_block)


def any_order_of_hashes() -> AbstractContextManager[object]:
    """Payloads are proposed in the order of a set of digests, which differs from process to process."""

    def select(self: Payloads, excluded: object) -> tuple[Digest, ...]:
        return tuple({digest for digest in self._queue if digest not in excluded})  # type: ignore[operator]

    return instead(Payloads, "select", select)


def _advance_and_keep(self: Tree, head: Block) -> None:
    self.head = head
    self._uncovered = None


MUTANTS: tuple[Mutant, ...] = (
    Mutant("no_ancestry_check", "safety", no_ancestry_check, focus="byzantine"),
    Mutant("no_nullification_check", "safety", lambda: instead(Tree, "first_gap", lambda *_: None), focus="byzantine"),
    Mutant("no_parent_check", "safety", no_parent_check, focus="byzantine"),
    Mutant(
        "finalize_after_nullify", "safety", lambda: _without(VoteKind.FINALIZE, VoteKind.NULLIFY), focus="byzantine",
    ),
    Mutant(
        "nullify_after_finalize", "safety", lambda: _without(VoteKind.NULLIFY, VoteKind.FINALIZE), focus="byzantine",
        equivalent="who voted to finalize keeps the notarization with the vote on disk, and so has left the view",
    ),
    Mutant("notarize_after_nullify", "12", lambda: _without(VoteKind.NOTARIZE, VoteKind.NULLIFY), focus="byzantine"),
    Mutant("double_notarize", "safety", double_notarize, focus="byzantine"),
    Mutant("sign_before_persist", "1", sign_before_persist),
    Mutant("amnesia", "1", lambda: instead(Ballots, "restore", nothing)),
    Mutant("no_recovery", "1", lambda: instead(recovery.Recovery, "begin", nothing)),
    Mutant("recovery_of_one_reply", "1", recovery_of_one_reply, focus="doubt"),
    Mutant("recovery_without_finalization", "1", recovery_without_finalization, focus="rollback"),
    Mutant("recovery_margin_0", "1", lambda: instead(recovery, "MARGIN_VIEWS", 0), focus="doubt"),
    Mutant(
        "recovery_margin_1", "1", lambda: instead(recovery, "MARGIN_VIEWS", 1), focus="doubt",
        equivalent="a view voted in is at most 2 above the highest answered, and final above 1 more is at least that",
    ),
    Mutant("stale_replies", "1", stale_replies, focus="doubt"),
    Mutant("own_vote_from_elsewhere", "2", lambda: instead(State, "check_own", nothing), focus="undetected"),
    Mutant("any_epoch_counts", "3", any_epoch_counts, focus="replay"),
    Mutant("epoch_not_signed", "3", epoch_not_signed, focus="replay"),
    Mutant("consortium_not_signed", "3", consortium_not_signed, focus="byzantine"),
    Mutant("kind_not_signed", "3", kind_not_signed, focus="byzantine"),
    Mutant(
        "quorum_of_one_less", "4",
        lambda: instead(Committee, "quorum", property(lambda self: self.size - self.faults_max - 1)), focus="byzantine",
    ),
    Mutant(
        "quorum_of_2f_plus_1", "4",
        lambda: instead(Committee, "quorum", property(lambda self: 2 * self.faults_max + 1)), focus="n is not 3f + 1",
    ),
    Mutant("unchecked_votes", "5", lambda: instead(VotePool, "check", nothing)),
    Mutant("unchecked_certificates", "5", unchecked_certificates),
    Mutant("few_signers_suffice", "5", few_signers_suffice),
    Mutant("repeated_signers", "5", repeated_signers, focus="byzantine"),
    Mutant("strangers_sign", "5", strangers_sign, focus="byzantine"),
    Mutant("no_evidence", "6", lambda: instead(State, "accuse", nothing), focus="byzantine"),
    Mutant("accuse_of_what_is_legal", "7", accuse_of_what_is_legal),
    Mutant("accuse_by_kind_only", "7", accuse_by_kind_only, focus="byzantine"),
    Mutant("block_time_may_go_back", "9", block_time_may_go_back, focus="clocks"),
    Mutant("block_time_may_run_ahead", "9", lambda: _early(lambda _, block: block.timestamp_ms), focus="clocks"),
    Mutant("wall_clock_only", "9", wall_clock_only),
    Mutant("no_help", "11", lambda: patch("consensus.serving.help_along", nothing), focus="isolation"),
    Mutant(
        "certificates_are_never_asked_for", "11", lambda: instead(Requests, "want_certificates", nothing),
        focus="certificates",
    ),
    Mutant("no_retries", "11", lambda: instead(Pacemaker, "resend_ms", nothing)),
    Mutant("no_view_timer", "12", lambda: instead(Pacemaker, "give_up_ms", nothing)),
    Mutant("proposal_stops_the_timer", "12", proposal_stops_the_timer),
    Mutant(
        "ask_one_holder_only", "14", lambda: instead(requests.Pursuit, "holder", property(lambda p: p.holders[0])),
        focus="stonewalling",
    ),
    Mutant("blocks_are_never_asked_for", "14", lambda: instead(Requests, "want_block", nothing), focus="split"),
    Mutant("committed_blocks_are_not_answered", "14", committed_blocks_are_not_answered, focus="blocks"),
    Mutant("chains_are_never_asked_for", "14", lambda: instead(Requests, "want_chain", nothing)),
    Mutant("far_votes_are_kept", "15", lambda: instead(engine, "VIEWS_AHEAD_MAX", FAR), focus="spam"),
    Mutant("votes_are_never_forgotten", "15", lambda: instead(VotePool, "prune", nothing)),
    Mutant("unasked_blocks_are_kept", "15", unasked_blocks_are_kept, focus="flood"),
    Mutant("pursuits_without_end", "15", pursuits_without_end, focus="blocks"),
    Mutant("final_blocks_are_kept", "15", lambda: instead(Tree, "advance", _advance_and_keep)),
    Mutant("any_order_of_hashes", "16", any_order_of_hashes, focus="two processes"),
    Mutant("vote_without_payloads", "rule 3", lambda: instead(Payloads, "missing", lambda *_: ())),
)  # fmt: skip
