"""The loop: the one place where the node's state changes. Events go into the engine; its outputs are obeyed in order.

Everything here is synchronous and runs on trio's thread, so nothing can come between a step and its outputs.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, assert_never

import trio

from consensus.engine import Engine
from consensus.errors import ConflictingCertificates, ForeignOwnVote, PeerError
from consensus.events import (
    Alarm,
    Broadcast,
    Commit,
    Connected,
    Event,
    FetchPayloads,
    Misbehaviour,
    Output,
    PayloadsHeld,
    Persist,
    Received,
    Rejected,
    Send,
    SendChain,
    Sign,
    Signed,
    Tick,
)
from consensus.messages import BLOCKS_MAX, Message
from consensus.sync import CHAIN_BLOCKS_MAX
from consensus.types import Digest
from ledger.genesis import Genesis
from ledger.misbehaviour import MisbehaviourEvidence
from ledger.statement import Statement
from node.author import Author
from node.cosigning import Cosigning
from node.epoch import EpochRun
from node.execution import Executed, execute
from node.greetings import Greetings
from node.holdings import Holdings
from node.network.values import FRAME_BYTES_MAX, StreamClass
from node.rpc.types import OnResult, SubmissionResult, SubmissionState
from node.signer import Signer
from node.store.chain import ChainStore
from node.store.voting import VotingStore
from node.submissions import Submissions
from node.validation import HeldPayload
from node.wire import Cosignature, CosignatureRequest, Hello, NodeMessage, decode, encode, encode_within

log = logging.getLogger(__name__)

CONSENSUS_BYTES_MAX = FRAME_BYTES_MAX[StreamClass.CONSENSUS]
CHAIN_BYTES_MAX = 192 * 1024
"""A Chain answer fits one consensus frame with room to spare."""
REJECTIONS_LOGGED_PER_PEER = 20
"""Rejected messages logged per peer and start; the rest is only counted, so that a peer cannot fill the disk."""


EVENTS_WAITING_MAX = 1024
"""Before consensus starts; peers repeat what is dropped."""


class Outbox(Protocol):
    """What the loop needs of the network. Both never block; a full queue drops, and consensus repeats itself."""

    def send_consensus(self, member_id: str, frame: bytes) -> None: ...
    def broadcast_consensus(self, frame: bytes) -> None: ...
    def broadcast_payload(self, frame: bytes) -> None: ...


class Clock:
    """The node's two clocks; the core gets both as Tick."""

    def monotonic_ms(self) -> int:
        return int(trio.current_time() * 1000)

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000


class Loop:
    """Owns engine, stores' writes, mempool and cosigning of one validator."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        store: ChainStore,
        voting: VotingStore,
        engine: Engine,
        signer: Signer,
        outbox: Outbox,
        clock: Clock,
        boot_generation: int,
        fetch: Callable[[Iterable[Digest], Sequence[str]], None],
        publish: Callable[[bytes], None],
        version: str,
        hear_first: int = 0,
    ) -> None:
        """hear_first: how many others must have greeted before consensus starts; see `start`."""
        self.genesis = genesis
        self.store = store
        self.voting = voting
        self.epoch = EpochRun(genesis, engine)
        self.signer = signer
        self.submissions = Submissions()
        self._outbox = outbox
        self._clock = clock
        self._fetch = fetch
        self._publish = publish
        self.holdings = Holdings(store)
        self._recovering = engine.status().recovering
        self._doubted = self._recovering
        """Whether the voting state is marked as not to be trusted, on disk."""
        self._wake = trio.Event()
        self._hear_first = hear_first
        self._greeted_by: set[str] = set()
        self._waiting: list[Event] | None = [] if hear_first else None
        """Events since the start of a node that has not heard from enough others; None once consensus runs."""
        self.rejected: Counter[str] = Counter()
        self.alarms: Counter[type[PeerError]] = Counter()
        """What an operator must look into at once: agreement is lost, or somebody else votes with this node's key."""
        self.greetings = Greetings(
            genesis=genesis,
            signer=signer,
            voting=voting,
            boot_generation=boot_generation,
            version=version,
            send=self._send,
            is_doubting=lambda: self._recovering,
        )
        self.generations = self.greetings.generations
        self.author = Author(
            genesis=genesis,
            store=store,
            signer=signer,
            generation=lambda: self.greetings.generation,
            wall_ms=clock.wall_ms,
        )
        self.mempool = self.author.mempool
        self.cosigning = Cosigning(
            genesis=genesis,
            store=store,
            signer=signer,
            broadcast=self._broadcast,
            reject=self.reject,
            wall_ms=clock.wall_ms,
        )

    @property
    def engine(self) -> Engine:
        return self.epoch.engine

    # ---- what comes in -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Takes up where the last run stopped: payloads stored and not ordered, checkpoints not complete.

        Not before `hear_first` others have greeted, each having said before what is final: alone it could make nothing
        final anyway, and a node whose folder was put back to an older state without anybody's knowledge would give up
        views in which it voted before. So it first hears that they are over.
        """
        if self._waiting is not None and len(self._greeted_by) < self._hear_first:
            return
        waiting, self._waiting = self._waiting or [], None
        self.step(self._tick_event())
        pending = self.store.pending_payloads()
        if pending:
            self.step(PayloadsHeld(digests=tuple(pending), order=True))
        if not self._recovering:
            self.cosigning.resume()
        for event in waiting:
            self.step(event)
        self._wake.set()

    def frame(self, sender: str, frame: bytes) -> None:
        """A consensus frame from a member, identity proved by the transport. Never raises on what a peer sent."""
        try:
            message = decode(frame)
            match message:
                case Cosignature():
                    self._cosigned(sender, message)
                case CosignatureRequest():
                    for cosignature in self.cosigning.answer(message):
                        self._outbox.send_consensus(sender, encode(cosignature))
                case Hello():
                    self.greetings.received(sender, message)
                    self._greeted_by.add(sender)
                    if self._waiting is not None:
                        self.start()
                case _:
                    self.step(Received(sender=self.epoch.index(sender), message=message))
        except PeerError as error:
            self.reject(sender, error)

    def _cosigned(self, sender: str, cosignature: Cosignature) -> None:
        before = self.cosigning.due_ms()
        self.cosigning.tick(self._clock.monotonic_ms())
        try:
            self.cosigning.received(sender, cosignature)
        finally:
            if self.cosigning.due_ms() != before:
                self._wake.set()

    def connected(self, member: str) -> None:
        """A peer can be reached (again): says who we are and where we stand, so that whoever is behind finds out."""
        head = self.store.head()
        if head.finalization is not None:
            self._send(member, head.finalization)
        # After it: who was greeted knows what is final here (see `start`).
        self._send(member, self.greetings.own(head.block.height))
        self.step(Connected(peer=self.epoch.index(member)))

    def held(self, payload: HeldPayload, *, order: bool = True) -> None:
        """A payload is valid and durably stored."""
        self.holdings.keep(payload)
        self.step(PayloadsHeld(digests=(payload.payload.digest,), order=order))

    def tick(self) -> None:
        """Time may have made something due: the engine's timers, a payload to cut, a signature to repeat."""
        now = self._clock.monotonic_ms()
        self._cut(now)
        self.cosigning.tick(now)
        due_ms = self._engine_due_ms()
        if due_ms is not None and now >= due_ms:
            self.step(self._tick_event())

    def accept(self, statement: Statement, body: tuple[bytes, ...], on_result: OnResult) -> None:
        """A valid statement submitted here and not recorded yet. body: a catalogue's claims, stored by the caller.

        Raises: Overloaded.
        """
        self.submissions.check_room(statement.digest)
        pending = self.mempool.holds(statement.digest)
        if not pending:
            self.author.add(statement, body, self._clock.monotonic_ms())
        on_result(SubmissionResult(digest=statement.digest, state=SubmissionState.ACCEPTED))
        self.submissions.wait(statement.digest, on_result)
        if not pending:
            self._cut(self._clock.monotonic_ms())
            self._wake.set()

    def due_ms(self) -> int | None:
        """Monotonic time at which `tick` is wanted next."""
        dues = (self._engine_due_ms(), self.mempool.cut_due_ms(), self.cosigning.due_ms())
        return min((due for due in dues if due is not None), default=None)

    def _engine_due_ms(self) -> int | None:
        return self.engine.deadline_ms if self._waiting is None else None

    async def run_timers(self) -> None:
        """Calls `tick` when due, for ever."""
        while True:
            self._wake = trio.Event()
            due = self.due_ms()
            timeout = 3600.0 if due is None else max(0.0, (due - self._clock.monotonic_ms()) / 1000)
            with trio.move_on_after(timeout):
                await self._wake.wait()
            await trio.lowlevel.checkpoint()
            self.tick()

    # ---- the engine --------------------------------------------------------------------------------------------------

    def step(self, event: Event) -> None:
        """One event and everything that follows from it."""
        if self._waiting is not None:
            if len(self._waiting) < EVENTS_WAITING_MAX or not isinstance(event, Received):
                self._waiting.append(event)
            return
        before = self.engine.deadline_ms
        events = deque([event])
        if not isinstance(event, Tick):
            # Timers and block times are measured from the newest Tick: every event happens at a known time.
            events.appendleft(self._tick_event())
        while events:
            for output in self.engine.step(events.popleft()):
                self._obey(output, events)
        self._note_trust()
        if self.engine.deadline_ms != before:
            self._wake.set()

    def _note_trust(self) -> None:
        """Keeps on disk whether this node's voting state may be relied on, so that a restart does not forget doubts."""
        status = self.engine.status()
        if status.recovering != self._recovering:
            self._recovering = status.recovering
            log.warning("this node %s", "follows without voting" if status.recovering else "votes again")
            if status.recovering:
                self.voting.set_trusted(False)
                self._doubted = True
            else:
                self.cosigning.resume()
        # The view that ends the doubt is final, but its block may lack yet: a restart would begin below it again.
        if self._doubted and not status.recovering and self.store.head().block.view >= status.finalized_view:
            self.voting.set_trusted(True)
            self._doubted = False

    def _obey(self, output: Output, events: deque[Event]) -> None:
        match output:
            case Persist():
                self.voting.persist(output)
            case Sign():
                events.append(Signed(vote=self.signer.vote(output.vote)))
            case Send():
                self._send(self.epoch.member(output.to), output.message)
            case Broadcast():
                self._broadcast(output.message)
            case FetchPayloads():
                self._get_payloads(output, events)
            case SendChain():
                self._send_chain(output)
            case Commit():
                self._commit(output)
            case Misbehaviour():
                self._keep_evidence(output)
            case Rejected():
                self.reject(self.epoch.member(output.sender), output.error)
            case _:
                assert_never(output)

    def _tick_event(self) -> Tick:
        return Tick(monotonic_ms=self._clock.monotonic_ms(), wall_ms=self._clock.wall_ms())

    def _keep_evidence(self, misbehaviour: Misbehaviour) -> None:
        """Stores what anybody can check. Told once: the engine may report it again after a restart."""
        evidence = MisbehaviourEvidence.of(self.genesis.digest, misbehaviour.first, misbehaviour.second)
        if self.store.put_misbehaviour(evidence):
            log.error("two contradicting votes of %s %s", self.epoch.member(evidence.voter), evidence.sentence())

    def _get_payloads(self, wanted: FetchPayloads, events: deque[Event]) -> None:
        here = tuple(d for d in wanted.digests if self.store.has_payload(d))
        if here:
            events.append(PayloadsHeld(digests=here, order=False))
        missing = [d for d in wanted.digests if d not in here]
        if missing:
            self._fetch(missing, self.epoch.names(wanted.holders))

    def _send_chain(self, request: SendChain) -> None:
        # More than BLOCKS_MAX only where so many in a row became final by one descendant's finalization.
        for limit in (BLOCKS_MAX, CHAIN_BLOCKS_MAX, *(BLOCKS_MAX >> n for n in range(1, BLOCKS_MAX.bit_length()))):
            chain = self.store.blocks_from(request.from_height, limit)
            if chain is None:
                continue
            frame = encode(chain)
            if len(frame) <= CHAIN_BYTES_MAX:
                self._outbox.send_consensus(self.epoch.member(request.to), frame)
                return

    # ---- payloads ----------------------------------------------------------------------------------------------------

    def _cut(self, now_ms: int) -> None:
        held = self.author.cut(now_ms)
        if held is None:
            return
        frame = held.payload.encode()
        self._outbox.broadcast_payload(frame)
        self._publish(frame)
        self.held(held)

    # ---- finality ----------------------------------------------------------------------------------------------------

    def _commit(self, commit: Commit) -> None:
        executed = execute(
            commit,
            self.store,
            self.genesis.origin,
            self.holdings.take,
            # In doubt about its votes, it is in doubt about its watermark too: both lived on the same disk.
            cosign=not self._recovering,
            cosignatures=self.cosigning.take_unwritten(),
        )
        self.voting.prune(commit.blocks[-1].view)
        for block in commit.blocks:
            self.author.settled(block.payloads)
        self._tell(executed)
        if not self._recovering:
            self.cosigning.tick(self._clock.monotonic_ms())
            self.cosigning.sign(executed.checkpoints)
        self._wake.set()

    def _tell(self, executed: Executed) -> None:
        for applied in executed.applied:
            for receipt in applied.receipts:
                self.author.forget(receipt.statement)
                self.submissions.executed(receipt, self.store)

    # ---- what goes out -----------------------------------------------------------------------------------------------

    def _send(self, member: str, message: NodeMessage) -> None:
        for frame in encode_within(message, CONSENSUS_BYTES_MAX):
            self._outbox.send_consensus(member, frame)

    def _broadcast(self, message: Message | Cosignature | CosignatureRequest) -> None:
        for frame in encode_within(message, CONSENSUS_BYTES_MAX):
            self._outbox.broadcast_consensus(frame)

    def reject(self, sender: str, error: PeerError) -> None:
        """Counts and, within bounds, logs a message that no correct peer sends.

        Said of this node itself it is for its operator: somebody else holds its key, or agreement is lost.
        """
        self.rejected[sender] += 1
        if isinstance(error, ConflictingCertificates | ForeignOwnVote):
            self.alarms[type(error)] += 1
        if self.rejected[sender] <= REJECTIONS_LOGGED_PER_PEER:
            level = logging.ERROR if sender == self.signer.member.id else logging.WARNING
            log.log(level, "rejected from %s: %s", sender, error)
