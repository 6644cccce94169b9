"""The loop: the one place where the node's state changes. Events go into the engine; its outputs are obeyed in order.

Everything here is synchronous and runs on trio's thread, so nothing can come between a step and its outputs.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import assert_never

from consensus.errors import InvalidSignature, PeerError
from consensus.events import (
    Alarm,
    Broadcast,
    Commit,
    Connected,
    Event,
    Executed,
    FetchPayloads,
    Misbehaviour,
    Output,
    PayloadsHeld,
    Persist,
    Received,
    Rejected,
    Restored,
    Send,
    SendChain,
    Sign,
    Signed,
    Tick,
)
from consensus.messages import Chain, ChainRequest
from consensus.types import Certificate, Digest, ValidatorIndex
from ledger.statement import Statement, check_authority
from node.author import Author
from node.checkpoints import Checkpoints
from node.courier import Courier
from node.epoch import Core, EpochRun, MakeCore, Part
from node.evidence import keep_evidence
from node.execution import Execution, execute
from node.greetings import Greetings
from node.holdings import Holdings
from node.outside import Clock, Outbox
from node.refusals import NotAValidator
from node.rejections import Rejections
from node.removal import Removal
from node.rpc.types import OnResult, SubmissionResult, SubmissionState
from node.signer import KeyRing, Signer
from node.start import restored_state
from node.store.chain import ChainStore
from node.store.voting import VotingStore
from node.submissions import Submissions
from node.timer import Timer
from node.trust import Trust
from node.validation import HeldPayload
from node.voice import Voice
from node.wire import ChainSignature, Envelope, Hello, Signing, decode_envelope

log = logging.getLogger(__name__)

EVENTS_WAITING_MAX = 1024
"""Before consensus starts; peers repeat what is dropped."""


class Loop:
    """Owns the epoch's engine or follower, stores' writes, mempool and cosigning of one member's node."""

    def __init__(
        self,
        *,
        store: ChainStore,
        voting: VotingStore,
        restored: Restored,
        keys: KeyRing,
        make_core: MakeCore,
        outbox: Outbox,
        clock: Clock,
        boot_generation: int,
        fetch: Callable[[Iterable[Digest], Sequence[str]], None],
        publish: Callable[[bytes], None],
        version: str,
        hear_first: int = 0,
    ) -> None:
        """restored: where the last run stopped. make_core: makes the engine or follower of this and of later epochs.
        hear_first: how many others must have greeted before consensus starts; see `start`.
        """
        self.rosters = store.rosters
        self.store = store
        self.voting = voting
        self.member = keys.member
        """Whose node this is."""
        self._keys = keys
        self._make_core = make_core
        self.epoch = self._make_epoch(restored)
        self.removal = Removal(self.rosters, self.member)
        self._begun: list[Event] | None = None
        """Of an epoch that has just begun: what its core is to be told first."""
        self.submissions = Submissions()
        self._outbox = outbox
        self._clock = clock
        self._fetch = fetch
        self._publish = publish
        self.holdings = Holdings(store)
        self.trust = Trust(voting, self.core, restored)
        self._timer = Timer(self.due_ms, clock.monotonic_ms)
        self._hear_first = hear_first
        self._greeted_by: set[str] = set()
        self._waiting: list[Event] | None = [] if hear_first else None
        """Events since the start of a node that has not heard from enough others; None once consensus runs."""
        self._paused = False
        self.on_greeting: Callable[[str, int], None] = lambda _member, _height: None
        """Told of every greeting of a validator, and of the height it names, before consensus may start by it."""
        self.on_epoch: Callable[[], None] = lambda: None
        """Told when an epoch has begun."""
        self.stands_still: Callable[[], str] = lambda: ""
        """In words, why consensus was paused, for the status."""
        rejections = Rejections(self.member)
        self.reject = rejections.reject
        self.rejected, self.alarms = rejections.rejected, rejections.alarms
        self._voice = Voice(outbox, lambda: self.epoch)
        self.courier = Courier(store, outbox.send_consensus, clock.monotonic_ms)
        self.greetings = Greetings(
            roster=self.epoch.roster,
            signer=self.signer,
            voting=voting,
            boot_generation=boot_generation,
            version=version,
            send=self._voice.send,
            is_doubting=lambda: self.trust.recovering,
        )
        self.generations = self.greetings.generations
        self.author = Author(
            rosters=self.rosters,
            member=self.member,
            store=store,
            signer=self.signer,
            generation=lambda: self.greetings.generation,
            wall_ms=clock.wall_ms,
        )
        self.mempool = self.author.mempool
        self.checkpoints = Checkpoints(
            rosters=self.rosters,
            store=store,
            keys=keys,
            broadcast=self._voice.to_all,
            reject=self.reject,
            wall_ms=clock.wall_ms,
        )

    def told(self, sender: str, frame: bytes) -> None:
        """A node proves to this one that epochs have begun without it. Never raises on what a peer sent."""
        try:
            proof = self.removal.told(frame)
        except PeerError as error:
            self.reject(sender, error)
            return
        if proof is not None and proof.boundary.parent == self.store.head().block.digest and self.running:
            # All that lacked here was to know that it is final.
            chain = Chain(blocks=(proof.boundary, *proof.headers), finalization=proof.finalization)
            self.step(Received(sender=ValidatorIndex(proof.boundary.proposer), message=chain))
        elif self.removal.removed_in is not None and self.epoch.part is not Part.OUTSIDE:
            log.error("epoch %d has begun without this node, which stops voting", self.removal.removed_in)
            self.submissions.refuse_all(NotAValidator(self.member, self.removal.validators))
            core = self._make_core(self.epoch.roster, None, restored_state(self.store, self.voting))
            self._go_on(EpochRun(self.epoch.roster, self.member, core, None, is_over=True))
            self._hear_first = 0  # nobody greets it
            self.step() if self.running else self.start()

    @property
    def core(self) -> Core:
        """The current epoch's engine, or its follower."""
        return self.epoch.core

    @property
    def signer(self) -> Signer | None:
        """None while this node has no seat."""
        return self.epoch.signer

    def _make_epoch(self, restored: Restored) -> EpochRun:
        roster = self.rosters.current
        self._keys.renew()
        signer = self._keys.signer(roster)
        epoch = EpochRun(roster, self.member, self._make_core(roster, signer, restored), signer)
        epoch.log_part(self._keys.missing(roster))
        return epoch

    # ---- what comes in -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Takes up where the last run stopped: payloads stored and not ordered, checkpoints not complete.

        Not before `hear_first` others have greeted, each having said before what is final: alone it could make nothing
        final anyway, and a node whose folder was put back to an older state without anybody's knowledge would give up
        views in which it voted before. So it first hears that they are over.
        """
        if self._paused or (self._waiting is not None and len(self._greeted_by) < self._hear_first):
            return
        waiting, self._waiting = self._waiting or [], None
        # In one step, and what peers said first: as leader of a view that they have left this node would propose again.
        self.step(*waiting, *self._take_up_payloads())
        self._resume_signing()
        self._timer.rouse()

    @property
    def running(self) -> bool:
        """Whether consensus has started, and stands not still."""
        return self._waiting is None

    def pause(self) -> None:
        """Consensus stands still: another writes the store. All that it knew and has to keep is on disk."""
        self._paused = True
        self._waiting = self._waiting or []

    def resume(self) -> None:
        """Takes up where the store is now, as a restart would, in whatever epoch that is."""
        self._paused = False
        if self.rosters.epoch != self.epoch.epoch:
            self._waiting = []
            self._begin_epoch()
            self._begun = None
        else:
            self.epoch = self._make_epoch(restored_state(self.store, self.voting))
            self.holdings.clear()
            self.trust.begin(self.core)
        self.start()

    def frame(self, sender: str, frame: bytes) -> None:
        """As `frames`, for one."""
        self.frames([(sender, frame)])

    def frames(self, frames: Iterable[tuple[str, bytes]]) -> None:
        """(sender, consensus frame) from members, as the transport proved. Never raises on what a peer sent."""
        received: list[Event] = []
        for sender, frame in frames:
            try:
                envelope = decode_envelope(frame)
                if self.epoch.roster.member(sender) is None and not isinstance(envelope.message, ChainSignature):
                    continue  # it has just been removed: its streams end any moment; its last epoch's end it may sign
                if envelope.epoch > self.epoch.epoch:
                    self.courier.heard(sender, envelope.epoch)
                received += self._hear(sender, envelope)
                self.courier.ask(sender, self.epoch.epoch)
            except PeerError as error:
                self.reject(sender, error)
        if received:
            self.step(*received)

    def _hear(self, sender: str, envelope: Envelope) -> Sequence[Received]:
        """What the core is to be told of it. Raises: PeerError."""
        message, index = envelope.message, self.epoch.index(sender)
        match message:
            case _ if isinstance(message, Signing):
                self._hear_signing(sender, message)
            case Hello():
                if index is None:
                    return ()
                # An epoch apart, its key may be one that is not in the roster here.
                with suppress(*(() if envelope.epoch == self.epoch.epoch else (InvalidSignature,))):
                    self.greetings.received(sender, message)
                self._greeted_by.add(sender)
                self.on_greeting(sender, message.height)
                if self._waiting is not None:
                    self.start()
            case ChainRequest() if index is None or envelope.epoch != self.epoch.epoch or not self._votes:
                self.courier.answer(sender, message)
            case _ if envelope.epoch < self.epoch.epoch:
                if self.courier.may_tell(sender):
                    self._greet(sender)
            case _ if envelope.epoch == self.epoch.epoch and index is not None:
                if self._votes or isinstance(message, Chain | Certificate):
                    return (Received(sender=index, message=message),)
            case _:
                pass  # of a later epoch: it is asked for the way there; or of an observer, who has nothing to say
        return ()

    @property
    def _votes(self) -> bool:
        return self.epoch.part is Part.VALIDATOR

    @property
    def _may_cosign(self) -> bool:
        """In doubt about its votes, it is in doubt about its watermark too: both lived on the same disk."""
        return self._votes and not self.trust.recovering

    def _hear_signing(self, sender: str, message: Signing) -> None:
        self.checkpoints.tick(self._clock.monotonic_ms())
        try:
            for answer in self.checkpoints.hear(sender, message):
                self._voice.send(sender, answer)
        finally:
            self._timer.rouse()

    def _resume_signing(self) -> None:
        # Whose seat is gone still signs the end of the epoch in which it had it.
        self.checkpoints.resume(cosign=self._may_cosign, sign_for_chains=not self.trust.recovering)

    def connected(self, member: str) -> None:
        """A peer can be reached (again): says who we are and where we stand, so that whoever is behind finds out."""
        head = self.store.head()
        if head.finalization is not None and head.block.epoch == self.epoch.epoch:
            self._voice.send(member, head.finalization)
        # After it: who was greeted knows what is final here (see `start`).
        self._greet(member)
        index = self.epoch.index(member)
        if index is not None:
            self.step(Connected(peer=index))

    def _greet(self, member: str) -> None:
        greeting = self.greetings.own(self.store.head().block.height)
        if greeting is not None:
            self._voice.send(member, greeting)

    def held(self, payload: HeldPayload, *, order: bool = True) -> None:
        """A payload is valid and durably stored. One whose epoch ended while it was verified is dropped again."""
        if payload.payload.header.epoch != self.epoch.epoch:
            self.store.replace_payloads(drop=[payload.payload.digest])
            return
        self.holdings.keep(payload)
        self.step(PayloadsHeld(digests=(payload.payload.digest,), order=order, ending=payload.ending))

    def tick(self) -> None:
        """Time may have made something due: the engine's timers, a payload to cut, a signature to repeat."""
        now = self._clock.monotonic_ms()
        self._cut(now)
        self.checkpoints.tick(now)
        due_ms = self._engine_due_ms()
        if due_ms is not None and now >= due_ms:
            self.step()

    def accept(self, statement: Statement, body: tuple[bytes, ...], on_result: OnResult) -> None:
        """A valid statement submitted here and not recorded yet. body: a catalogue's claims, stored by the caller.

        Raises: Overloaded; NotAValidator; as `check_authority`, where the epoch has changed since it was checked.
        """
        if not self._votes:
            raise NotAValidator(self.member, self.epoch.members)
        check_authority(statement, self.epoch.roster)
        self.submissions.check_room(statement.digest)
        pending = self.mempool.holds(statement.digest)
        if not pending:
            self.author.add(statement, body, self._clock.monotonic_ms())
        on_result(SubmissionResult(digest=statement.digest, state=SubmissionState.ACCEPTED))
        self.submissions.wait(statement.digest, on_result)
        if not pending:
            self._cut(self._clock.monotonic_ms())
            self._timer.rouse()

    def due_ms(self) -> int | None:
        """Monotonic time at which `tick` is wanted next."""
        dues = (self._engine_due_ms(), self.mempool.cut_due_ms(), self.checkpoints.due_ms())
        return min((due for due in dues if due is not None), default=None)

    def _engine_due_ms(self) -> int | None:
        return self.core.deadline_ms if self._waiting is None else None

    async def run_timers(self) -> None:
        """Calls `tick` when due, for ever."""
        await self._timer.run(self.tick)

    # ---- the engine --------------------------------------------------------------------------------------------------

    def step(self, *events: Event) -> None:
        """Events that happen now, and everything that follows from them."""
        if self._waiting is not None:
            for event in events:
                if len(self._waiting) < EVENTS_WAITING_MAX or not isinstance(event, Received):
                    self._waiting.append(event)
            return
        # Timers and block times are measured from the newest Tick: every event happens at a known time.
        queue: deque[Event] = deque([self._tick_event(), *events])
        commits: deque[Commit] = deque()
        while queue or commits:
            if queue:
                told, queue = queue, deque()
                for output in self.core.step(*told):
                    self._obey(output, queue, commits)
                continue
            # Votes first: the others wait for them, and only clients for what is committed.
            self._commit(commits.popleft(), queue)
            if self._begun is not None:
                # The commit ended the epoch: what else its core wanted is void.
                queue = deque([self._tick_event(), *self._begun])
                commits.clear()
                self._begun = None
        self._note_trust()
        self._timer.rouse()

    def _note_trust(self) -> None:
        if self._votes and self.trust.note(self.core, lambda: self.store.head().block.view):
            self._resume_signing()

    def _obey(self, output: Output, events: deque[Event], commits: deque[Commit]) -> None:
        match output:
            case Persist():
                self.voting.persist(output)
            case Sign():
                assert self.signer is not None, "only who has a seat runs an engine"
                events.append(Signed(vote=self.signer.vote(output.vote)))
            case Send():
                self._voice.send(self.epoch.member(output.to), output.message)
            case Broadcast():
                self._voice.broadcast(output.message)
            case FetchPayloads():
                self._get_payloads(output, events)
            case SendChain():
                self.courier.send_chain(self.epoch.member(output.to), output.from_height)
            case Commit():
                commits.append(output)
            case Misbehaviour():
                keep_evidence(output, self.store, self.epoch)
            case Rejected():
                self.reject(self.epoch.member(output.sender), output.error)
            case Alarm():
                self.reject(self.member, output.error)
            case _:
                assert_never(output)

    def _tick_event(self) -> Tick:
        return Tick(monotonic_ms=self._clock.monotonic_ms(), wall_ms=self._clock.wall_ms())

    def _get_payloads(self, wanted: FetchPayloads, events: deque[Event]) -> None:
        here, missing = self.holdings.find(wanted.digests, self.epoch.epoch)
        events.extend(self.holdings.report(here, order=False))
        if missing:
            self._fetch(missing, self.epoch.names(wanted.holders))

    # ---- payloads ----------------------------------------------------------------------------------------------------

    def _cut(self, now_ms: int) -> None:
        held = self.author.cut(now_ms)
        if held is None:
            return
        self._push_payload(held)
        self.held(held)

    def _push_payload(self, held: HeldPayload) -> None:
        frame = held.payload.encode()
        self._outbox.broadcast_payload(frame)
        self._publish(frame)

    def _take_up_payloads(self) -> list[Event]:
        """At the start of the node or of an epoch: what waits to be ordered, and what to tell the core of it.

        This node's own payloads of an earlier epoch are cut again, others' dropped: their authors do the same.
        """
        again, refused = self.author.cut_again()
        for digest, error in refused:
            self.submissions.refuse(digest, error)
        for held in again:
            self.holdings.keep(held)
            self._push_payload(held)
        return list(self.holdings.report(self.store.pending_payloads(), order=True))

    # ---- finality ----------------------------------------------------------------------------------------------------

    def _commit(self, commit: Commit, events: deque[Event]) -> None:
        cosignatures, chain_signatures = self.checkpoints.take_unwritten()
        executed = execute(
            commit, self.store, self.holdings.take, cosign=self._may_cosign, cosignatures=cosignatures,
            chain_signatures=chain_signatures,
        )  # fmt: skip
        self.voting.prune(commit.blocks[-1].view)
        for block in commit.blocks:
            self.author.settled(block.payloads)
        self._tell(executed)
        self.checkpoints.tick(self._clock.monotonic_ms())
        self.checkpoints.reached(executed.checkpoints, ended=commit.ends_epoch, sign=self._may_cosign)
        if self._votes:
            self.courier.push(commit, self.epoch.observers)
        if commit.ends_epoch:
            self._begin_epoch()
        elif commit.awaits_execution:
            following = None if executed.next_roster is None else executed.next_roster.digest
            events.append(Executed(height=commit.blocks[-1].height, next_committee=following))

    def _begin_epoch(self) -> None:
        """The last block of the epoch is stored, and with it the roster of the next: this node goes on under that."""
        self.voting.begin_epoch(self.rosters.epoch)
        if self.core.clears_doubt:
            self.voting.set_trusted(True)
        self._go_on(self._make_epoch(restored_state(self.store, self.voting)))
        self.holdings.clear()
        self._begun = self._take_up_payloads()

    def _go_on(self, epoch: EpochRun) -> None:
        self.epoch = epoch
        self.greetings.begin(epoch.roster, epoch.signer)
        for digest, error in self.author.begin(epoch.signer):
            self.submissions.refuse(digest, error)
        self.trust.begin(epoch.core)

    def _tell(self, executed: Execution) -> None:
        for applied in executed.applied:
            for receipt in applied.receipts:
                self.author.forget(receipt.statement)
                self.submissions.executed(receipt, self.store)
