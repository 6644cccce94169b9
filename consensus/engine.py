"""The engine: one deterministic step per event. Rules are in `voting` and `finality`, catching up in `sync`."""

from __future__ import annotations

from typing import assert_never

from consensus import serving, sync
from consensus.ending import Ending
from consensus.errors import ConflictingCertificates, MalformedMessage, PeerError, UnknownValidator, WrongEpoch
from consensus.events import (
    Alarm,
    Broadcast,
    Connected,
    EngineStatus,
    Event,
    Executed,
    Output,
    PayloadsHeld,
    Received,
    Rejected,
    Restored,
    Send,
    Signed,
    Tick,
)
from consensus.finality import accept, follow
from consensus.messages import (
    NULLIFICATIONS_MAX,
    BlockReply,
    BlockRequest,
    CertificateRequest,
    Certificates,
    Chain,
    ChainRequest,
    Message,
    Proposal,
    ViewReply,
    ViewRequest,
)
from consensus.pacemaker import Pacemaker
from consensus.rations import Rations
from consensus.recovery import Recovery
from consensus.report import report
from consensus.restore import check_restored, of_epoch
from consensus.state import VIEWS_AHEAD_MAX, VIEWS_BEHIND_MAX, State
from consensus.tree import Tree
from consensus.types import Certificate, Committee, SignedVote, ValidatorIndex, VerifySignature, View, VoteKind
from consensus.votes import VotePool
from consensus.voting import check_header, give_up, notarize, proposal_of, propose


class Engine:
    """Simplex consensus of one epoch, as one validator of its committee.

    committee: of the epoch. me: our index in it. verify: strict Ed25519. restored: what the store kept.
    seed: fresh random bytes per start; only nonces come of it.
    deadline_ms: monotonic time at which the next Tick is wanted, None if only events can move the engine.
    Raises: RestoredStateInvalid if what the store kept contradicts itself or the committee.
    """

    def __init__(
        self, *, committee: Committee, me: ValidatorIndex, verify: VerifySignature, restored: Restored, seed: bytes
    ) -> None:
        assert 0 <= me < committee.size, "an engine is for a member of the committee"
        self._state = State(
            committee=committee, me=me, verify=verify, tree=Tree(restored.head, restored.finalization),
            pool=VotePool(committee, verify), pacemaker=Pacemaker(committee, since=restored.head.view),
            recovery=Recovery(committee, seed), rations=Rations(committee.parameters.delta_ms),
            ending=Ending(restored.next_committee), view=View(restored.head.view + 1), settled_view=restored.head.view,
        )  # fmt: skip
        self._started = False
        self.deadline_ms: int | None = 0
        self._restore(restored)

    @property
    def ended(self) -> bool:
        """Whether this epoch is over. From then on every step is empty: the next epoch has an engine of its own."""
        return self._state.ending.ended

    @property
    def clears_doubt(self) -> bool:
        """Whether this validator doubted its votes in this epoch, now over, and need not in the next one.

        Then, and only then, is the voting state to be marked as trusted when an epoch ends.
        """
        return self.ended and self._state.recovery.ends_with_epoch(self._state.tree.head.view)

    @property
    def recovering(self) -> bool:
        """Whether this validator follows without voting: as its status says, which costs more to ask."""
        return self._state.recovery.active

    @property
    def finalized_view(self) -> View:
        """As its status says."""
        return self._state.finalized_view

    # ---- start -------------------------------------------------------------------------------------------------------

    def _restore(self, restored: Restored) -> None:
        state = self._state
        restored = of_epoch(restored, state.committee.epoch)
        check_restored(restored, state.committee, state.verify)
        for block in restored.blocks:
            if block.view > restored.head.view:
                state.add_block(block)
        if not restored.trusted:
            # Old votes in an old store say nothing about what was voted since: follow, ask, and stay above.
            state.recovery.begin(max([state.view, *(vote.view for vote in restored.votes)]))
        for vote in restored.votes:
            if vote.view > restored.head.view and restored.trusted:
                state.ballots.restore(vote)
                state.enter(vote.view)
        for certificate in sorted(restored.certificates, key=lambda c: (c.vote.view, c.vote.kind)):
            accept(state, certificate)

    def _start(self) -> None:
        """First Tick: say again what was said before the stop, and ask what happened since.

        The same stored votes are signed again, never other ones: that is what makes a restart harmless (pitfall 1).
        """
        self._started = True
        state = self._state
        state.pacemaker.start(state.now_ms)
        for vote in state.ballots.stored():
            state.out.sign_again(vote)
        sync.ask_at_start(state)

    # ---- step --------------------------------------------------------------------------------------------------------

    def step(self, *events: Event) -> tuple[Output, ...]:
        """Take events, in order; returns what is to be done, to be obeyed strictly in this order.

        What follows is decided once, after the last of them: give as many as are there. Never raises on what a peer
        sent: a refused message gives a `Rejected` and changes nothing else.
        """
        moved = False
        for event in events:
            moved = (not self.ended and self._take(event)) or moved
        if moved and self._started:
            self._settle()
        return self._state.out.drain()

    def _take(self, event: Event) -> bool:
        """Whether anything may follow from it."""
        match event:
            case Tick():
                return self._tick(event)
            case Received():
                try:
                    return self._receive(event.sender, event.message)
                except ConflictingCertificates as error:
                    self._state.out.put(Alarm(error=error))
                except PeerError as error:
                    self._state.out.put(Rejected(sender=event.sender, error=error))
            case Signed():
                self._signed(event.vote)
            case PayloadsHeld():
                self._state.payloads.hold(event.digests, order=event.order, ending=event.ending)
                self._state.stale_finality = True
            case Connected():
                self._connected(event.peer)
            case Executed():
                self._state.ending.executed(event.height, event.next_committee)
            case _:
                assert_never(event)
        return True

    def _tick(self, tick: Tick) -> bool:
        """Whether anything can be due: `deadline_ms` covers all that time alone moves."""
        state = self._state
        assert tick.monotonic_ms >= state.now_ms or not self._started, "a monotonic clock does not go back"
        if self.deadline_ms is not None and self._started:
            state.pacemaker.forgive_stall(tick.monotonic_ms - max(self.deadline_ms, state.now_ms), tick.monotonic_ms)
        state.now_ms, state.wall_ms = tick.monotonic_ms, tick.wall_ms
        if not self._started:
            self._start()
            return True
        return self.deadline_ms is not None and self.deadline_ms <= state.now_ms

    def _settle(self) -> None:
        """Do all that the rules allow now, in an order that needs only one pass: own votes count once signed."""
        state = self._state
        follow(state)
        if state.ending.ended:
            self.deadline_ms = None
            return
        state.recovery.settle(state.finalized_view)
        state.pacemaker.set_active(self._is_active(), state.now_ms)
        retry_notarize_ms = notarize(state)
        delta_ms = state.delta_ms
        give_up_ms = give_up(state, delta_ms)
        retry_propose_ms = propose(state)
        resend_ms = self._resend(delta_ms)
        sync.check_behind(state)
        sync.poll(state)
        heartbeat_ms = state.pacemaker.heartbeat_ms
        candidates = (
            retry_notarize_ms, retry_propose_ms, give_up_ms, resend_ms, state.requests.due_ms(),
            heartbeat_ms if heartbeat_ms > state.now_ms else None,
        )  # fmt: skip
        self.deadline_ms = min([at for at in candidates if at is not None], default=None)

    def _is_active(self) -> bool:
        """Whether something is at stake (design D4): else no timer runs, and an idle chain is quiet."""
        state = self._state
        return (
            state.payloads.pending > 0
            or state.pool.has_view(state.view)
            or state.now_ms >= state.pacemaker.heartbeat_ms
            or state.tree.has_unfinal_work()
            or state.ending.is_pending
        )

    # ---- own votes ---------------------------------------------------------------------------------------------------

    def _signed(self, signed: SignedVote) -> None:
        """Our vote has its signature, so it is on disk: now it counts and may leave."""
        state = self._state
        if signed.voter != state.me or not state.ballots.add_signature(signed):
            return  # of a view that has become final meanwhile
        proposal = proposal_of(state, signed)
        state.out.put(Broadcast(message=signed if proposal is None else proposal))
        self._count(signed)

    def _count(self, signed: SignedVote) -> None:
        state = self._state
        if signed.vote.view <= state.finalized_view:
            return
        state.pacemaker.hear(signed.voter, signed.vote.view, signed.vote.kind)
        conflicting = state.pool.put(signed)
        if conflicting is not None:
            state.accuse(conflicting, signed)
        certificate = state.pool.certificate(signed.vote)
        if certificate is not None:
            accept(state, certificate, is_verified=True)

    def _own_messages(self) -> tuple[Message, ...]:
        """What to repeat: what let us into this view, then our votes of it and of the one before."""
        state = self._state
        entry = state.entry_certificate()
        votes = (*state.ballots.signed(View(state.view - 1)), *state.ballots.signed(state.view))
        said = (proposal_of(state, signed) or signed for signed in votes)
        return (*((entry,) if entry is not None else ()), *said)

    def _resend(self, delta_ms: int) -> int | None:
        """Returns when to do it next (monotonic ms), None while no timer runs."""
        state = self._state
        due_ms = state.pacemaker.resend_ms(delta_ms)
        if due_ms is None or state.now_ms < due_ms:
            return due_ms
        state.pacemaker.resent(state.now_ms)
        state.out.put(*(Broadcast(message=message) for message in self._own_messages()))
        return state.pacemaker.resend_ms(delta_ms)

    def _connected(self, peer: ValidatorIndex) -> None:
        state = self._state
        if not self._started or peer == state.me or not 0 <= peer < state.committee.size:
            return
        state.out.put(Send(to=peer, message=CertificateRequest(from_view=state.view)))
        if state.pacemaker.started_ms is not None:
            state.out.put(*(Send(to=peer, message=message) for message in self._own_messages()))

    # ---- messages ----------------------------------------------------------------------------------------------------

    def _receive(self, sender: ValidatorIndex, message: Message) -> bool:  # noqa: PLR0911, PLR0912 - one arm per message
        """Whether anything may follow from it, beside an answer. Raises: PeerError for what no correct peer sends."""
        state = self._state
        if not 0 <= sender < state.committee.size:
            raise UnknownValidator(sender, state.committee.size)
        match message:
            case SignedVote():
                return self._on_vote(sender, message)
            case Proposal():
                self._on_proposal(sender, message)
            case Certificate():
                is_news = accept(state, message)
                if not is_news:
                    serving.notice_old_certificate(state, sender, message)
                return is_news
            case Certificates():
                return sync.on_certificates(state, message)
            case BlockReply():
                sync.on_block(state, message)
            case Chain():
                sync.on_chain(state, message)
            case ViewReply():
                sync.on_view_reply(state, sender, message)
            case CertificateRequest():
                serving.on_certificate_request(state, sender, message)
                return False
            case BlockRequest():
                serving.on_block_request(state, sender, message)
                return False
            case ChainRequest():
                serving.on_chain_request(state, sender, message)
                return False
            case ViewRequest():
                serving.on_view_request(state, sender, message)
                return False
            case _:
                assert_never(message)
        return True

    def _on_vote(self, sender: ValidatorIndex, signed: SignedVote) -> bool:
        """Whether it is news of any kind."""
        state, vote = self._state, signed.vote
        if vote.epoch != state.committee.epoch:
            raise WrongEpoch("vote", state.committee.epoch, vote.epoch)
        if signed.voter >= state.committee.size:
            raise UnknownValidator(signed.voter, state.committee.size)
        serving.notice_old_vote(state, sender, signed)
        first = state.pool.get(vote.view, vote.kind, signed.voter)
        certificate = state.tree.find(vote.kind, vote.view)
        is_known = (first is not None and first.vote == vote) or (certificate is not None and certificate.vote == vote)
        if vote.view <= max(state.finalized_view, state.view - VIEWS_BEHIND_MAX) or is_known:
            # The transport proves who speaks: no signature needs checking for that.
            return sender == signed.voter and state.pacemaker.hear(sender, min(vote.view, state.view), vote.kind)
        if vote.view > state.view + VIEWS_AHEAD_MAX:
            if vote.view > state.pacemaker.heard[signed.voter]:
                state.pool.check(signed)
                state.pacemaker.hear(signed.voter, vote.view, vote.kind)
            return True
        state.pool.check(signed)
        state.check_own(signed)
        self._count(signed)
        return True

    def _on_proposal(self, sender: ValidatorIndex, proposal: Proposal) -> None:
        state, block = self._state, proposal.block
        check_header(state, block)
        _check_proposal_shape(proposal, state.finalized_view)
        self._on_vote(sender, proposal.vote)  # the leader's signature first: nothing else is worth checking without it
        for certificate in (*((proposal.parent,) if proposal.parent else ()), *proposal.nullifications):
            accept(state, certificate)
        first = state.pool.get(block.view, VoteKind.NOTARIZE, block.proposer)
        if first is None:  # its view was too far ahead, until perhaps the certificates moved us
            self._on_vote(sender, proposal.vote)
            first = state.pool.get(block.view, VoteKind.NOTARIZE, block.proposer)
        if first is not None and first.vote.block == block.digest and not state.tree.is_full:
            state.add_block(block)

    # ---- status ------------------------------------------------------------------------------------------------------

    def status(self) -> EngineStatus:
        return report(self._state)


def _check_proposal_shape(proposal: Proposal, finalized_view: View) -> None:
    """Whether its parts belong together. Raises: MalformedMessage.

    Only the block that the epoch starts from has no certificate here; it is final, so nothing above final views is it.
    """
    block, vote = proposal.block, proposal.vote.vote
    if proposal.vote.voter != block.proposer:
        raise MalformedMessage("proposal", "vote", f"of its proposer {block.proposer}, got {proposal.vote.voter}")
    expected = (VoteKind.NOTARIZE, block.epoch, block.view, block.height, block.digest)
    if (vote.kind, vote.epoch, vote.view, vote.height, vote.block) != expected:
        raise MalformedMessage("proposal", "vote", "a notarize vote for its block")
    if proposal.parent is None and block.parent_view > finalized_view:
        raise MalformedMessage("proposal", "parent", "a certificate, but of the block the epoch starts from")
    if proposal.parent is not None:
        parent = proposal.parent.vote
        if parent.kind is VoteKind.NULLIFY or (parent.view, parent.block) != (block.parent_view, block.parent):
            raise MalformedMessage("proposal", "parent", "a notarization or finalization of its parent")
    views = [certificate.vote.view for certificate in proposal.nullifications]
    kinds = {certificate.vote.kind for certificate in proposal.nullifications}
    if kinds - {VoteKind.NULLIFY} or views != sorted(set(views)):
        raise MalformedMessage("proposal", "nullifications", "nullifications by ascending view")
    if len(views) > NULLIFICATIONS_MAX:
        raise MalformedMessage("proposal", "nullifications", f"at most {NULLIFICATIONS_MAX}, got {len(views)}")
    if views and not block.parent_view < views[0] <= views[-1] < block.view:
        raise MalformedMessage("proposal", "nullifications", "views between parent and block")
