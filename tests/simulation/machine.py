"""One simulated node: the real engine or follower, and around it what the node's loop does (node/loop.py).

A crash may come between any two outputs. What survives it is the disk, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from consensus.engine import Engine
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
    Send,
    SendChain,
    Sign,
    Signed,
    Tick,
)
from consensus.follower import Follower
from consensus.messages import Chain, ChainRequest, Message
from consensus.types import Certificate, Digest, Epoch, Height, SignedVote, ValidatorIndex
from ledger.statement import Statement
from tests.simulation.acquisition import TOY, Acquisition
from tests.simulation.bounds import check_bounds
from tests.simulation.chains import ChainDesk
from tests.simulation.checks import Violation
from tests.simulation.consortium import Parcel, parsed
from tests.simulation.disk import Disk, next_roster
from tests.simulation.judge import bodies_of, is_ending
from tests.simulation.terms import Term
from tests.simulation.witness import watch

if TYPE_CHECKING:
    from tests.simulation.world import World

TICKS_PER_INSTANT_MAX = 20
BOUNDS_EVERY = 32
"""Events of a node between two looks at the sizes of its buffers."""
RATION_MS = 40
"""A peer in another epoch is asked for the way there, told that it lags, and helped along, each at most this often."""
Core = Engine | Follower


@dataclass(frozen=True)
class Hello:
    """A greeting: it tells the epoch its sender is in, as every message does."""


class Machine:
    """number: which machine; in the first epoch also its validator index. life: counts its starts and its epochs, so
    that what an earlier one awaited is dropped.

    audience: whom it hears and speaks to; set for Twins, two machines with one key. is_honest: False where the checks
    must not hold it to its word.
    """

    def __init__(
        self, world: World, number: int, disk: Disk, *, audience: frozenset[int] | None = None, is_honest: bool = True
    ) -> None:
        self.world = world
        self.number = number
        self.disk = disk
        self.skew_ms = 0
        self.engine: Core | None = None
        self.life = 0
        self.audience = audience
        self.is_honest = is_honest
        self.acquisition = Acquisition(self)
        self.desk: ChainDesk | None = None
        """Where it signs for public chains; None where nobody does, payloads are digests, or it keeps no promise."""
        self._payloads_cut = 0
        self._rations: dict[tuple[str, int], int] = {}
        self._ahead: set[int] = set()
        self._wake_ms: int | None = None
        self._ticks = (0, 0)
        self._events = 0

    # ---- who it is ---------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> Epoch:
        return self.disk.term.epoch

    @property
    def seats(self) -> tuple[int, ...]:
        """Machines by validator index, in the epoch this node is in."""
        return self.disk.term.seats

    @property
    def index(self) -> ValidatorIndex | None:
        return self.disk.term.index(self.number)

    def hears(self, other: int) -> bool:
        return self.audience is None or other in self.audience

    # ---- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        if self.engine is None:
            self.world.trace.note(self.world.now_ms, self.number, self._says("starts"))
            self._begin()
            self.world.connect(self)

    def _says(self, what: str) -> str:
        part = f"as validator {self.index}" if self.index is not None else "as observer"
        doubt = "" if self.disk.trusted else ", untrusted"
        return f"{what} {part} of epoch {self.epoch}{doubt}" if self.world.consortium else f"{what}{doubt}"

    def _begin(self) -> None:
        """An engine or follower of the epoch the disk is in, and what it must know."""
        self.life += 1
        self._wake_ms = None
        self._ticks = (0, 0)
        self._rations.clear()
        self._ahead.clear()
        self.acquisition = Acquisition(self)
        make = self._core_maker()
        self.engine = make()
        self.world.recorder.started(self, make)
        life = self.life
        signs_for_chains = self.is_honest and self.world.chains.are_signed and self.disk.term.roster is not None
        self.desk = ChainDesk(self) if signs_for_chains else None
        self.feed(self._tick())
        for digest in self.disk.pending():
            if self.engine is not None and self.life == life:
                self._tell(digest, order=True)
        if self.desk is not None and self.engine is not None and self.life == life:
            self.desk.begin()

    def _core_maker(self) -> Callable[[], Core]:
        committee, verify, restored, me = self.disk.term.committee, self.world.verify, self.disk.restored(), self.index
        seed = bytes([self.number, self.life % 256])
        if me is None:
            return lambda: Follower(committee=committee, verify=verify, restored=restored, seed=seed)
        return lambda: Engine(committee=committee, me=me, verify=verify, restored=restored, seed=seed)

    def crash(self) -> None:
        self.engine = None
        self.world.trace.note(self.world.now_ms, self.number, "crashes")

    def stop(self) -> None:
        """For good."""
        self.engine = None
        self.world.trace.note(self.world.now_ms, self.number, "stops")

    # ---- events ------------------------------------------------------------------------------------------------------

    def _tick(self) -> Tick:
        return Tick(monotonic_ms=self.world.now_ms, wall_ms=self.world.wall_ms + self.skew_ms)

    def feed(self, event: Event) -> None:
        """One event and the obedience to what follows."""
        life = self.life
        if self.engine is None:
            return
        self.world.trace.event(self.world.now_ms, self.number, event)
        expected = None
        if isinstance(event, Received) and isinstance(self.engine, Engine):
            expected = watch(self.number, self.engine, event, self.world.verify)
        if isinstance(event, Tick):
            self._step(event)
        else:
            self._step(self._tick(), event)  # as the loop does: every event happens at a known time
        if not self._lives(life):
            return
        if expected is not None:
            expected()
        self._note_trust()
        self._events += 1
        if self._events % BOUNDS_EVERY == 0:
            self.check_bounds()
        self._schedule()

    def check_bounds(self) -> None:
        """Of everything that its core keeps. Raises: Violation."""
        if self.engine is not None:
            final_above = max(self.world.checks.top_height - self.disk.head.height, 0)
            check_bounds(self.number, self.engine, final_above)

    def _note_trust(self) -> None:
        """A restart must not forget doubts: not before what ended them is committed here."""
        if isinstance(self.engine, Engine):
            state = self.engine._state  # its status says the same, at greater cost
            if state.recovery.active:
                self.disk.trusted = False
            elif not self.disk.trusted and self.disk.head.view >= state.finalized_view:
                self.disk.trusted = True

    def _lives(self, life: int) -> bool:
        return self.engine is not None and self.life == life

    def _step(self, *events: Event) -> None:
        assert self.engine is not None, "only a running node steps"
        world, life = self.world, self.life
        outputs = self.engine.step(*events)
        world.recorder.stepped(self, events, outputs)
        for output in outputs:
            if world.weather.crash and world.random.random() < world.weather.crash:
                world.crash(self)
            if not self._lives(life):
                return
            world.trace.output(world.now_ms, self.number, output)
            self._obey(output)

    def hold(self, digest: Digest, *, order: bool) -> None:
        """A payload is stored here and valid."""
        if self.engine is not None and not (order and digest in self.disk.ordered):
            self._tell(digest, order=order)

    def _tell(self, digest: Digest, *, order: bool) -> None:
        """To the engine, unless the payload is of another epoch: then no block of this one may order it."""
        frame = self.disk.payloads[digest]
        ending = False
        if frame != TOY:
            if self.world.judge.payload(frame).header.epoch != self.epoch:
                return
            ending = is_ending(self.statements(frame))
        self.feed(PayloadsHeld(digests=(digest,), order=order, ending=ending))

    def statements(self, frame: bytes) -> tuple[Statement, ...]:
        """Of a payload, judged in this node's epoch. Raises: PeerError, RequestError."""
        roster = self.disk.term.roster
        return self.world.judge.statements(frame, roster) if frame != TOY and roster is not None else ()

    def _schedule(self) -> None:
        if self.engine is None or self.engine.deadline_ms is None:
            return
        due_ms = max(self.engine.deadline_ms, self.world.now_ms)
        if self._wake_ms is not None and self._wake_ms <= due_ms:
            return
        self._wake_ms = due_ms
        self.world.after(self, due_ms - self.world.now_ms, lambda: self._wake(due_ms))

    def _wake(self, due_ms: int) -> None:
        assert self.engine is not None, "what a dead node awaited is dropped"
        if self._wake_ms != due_ms:
            return  # an earlier one was asked for since
        now_ms = self.world.now_ms
        self._wake_ms = None
        count = self._ticks[1] + 1 if self._ticks[0] == now_ms else 1
        self._ticks = (now_ms, count)
        if count > TICKS_PER_INSTANT_MAX:
            raise Violation(f"node {self.number} wants to be woken again and again at {now_ms} ms")
        if self.engine.deadline_ms is not None and self.engine.deadline_ms <= now_ms:
            self.feed(self._tick())
        else:
            self._schedule()

    # ---- messages ----------------------------------------------------------------------------------------------------

    def receive(self, sender: int, epoch: Epoch, message: Message | Hello) -> None:
        """As `Loop.frame`: peers may be in another epoch, or without a seat in this one, or no members any more."""
        term = self.disk.term
        if self.engine is None:
            return
        if sender not in term.members:
            self._tell_removed(sender, message)
            return
        index, own = term.index(sender), term.epoch
        if epoch > own:
            self._ahead.add(sender)
        match message:
            case Hello():
                pass
            case ChainRequest() if index is None or epoch != own or self.index is None:
                self._send_chain(sender, message.from_height)
            case _ if epoch < own:
                self._greet(sender)
            case _ if epoch == own and index is not None:
                if self.index is not None or isinstance(message, Chain | Certificate):
                    self.feed(Received(sender=index, message=message))
            case _:
                pass
        if sender in self._ahead and self.engine is not None and self._may("ask", sender):
            self._send(sender, ChainRequest(from_height=Height(self.disk.head.height + 1)))

    def _may(self, what: str, peer: int) -> bool:
        """Who is an epoch apart is asked for the way there, told that it lags, and helped along, only so often."""
        last_ms = self._rations.get((what, peer))
        if last_ms is not None and self.world.now_ms - last_ms < RATION_MS:
            return False
        self._rations[what, peer] = self.world.now_ms
        return True

    def _greet(self, peer: int) -> None:
        """Says in which epoch this node is."""
        if self._may("greet", peer):
            self._send(peer, Hello())

    def _tell_removed(self, peer: int, message: Message | Hello) -> None:
        """Who was voted out gets what proves it, now and then, and nothing else."""
        if not any(peer in term.members for term in self.disk.terms):
            return
        if not isinstance(message, ChainRequest):
            self._greet(peer)
        elif self._may("prove", peer):
            self._send_chain(peer, message.from_height)

    def connected(self, peer: int) -> None:
        """A peer can be reached (again)."""
        if self.world.consortium is not None:
            self._send(peer, Hello())
        index = self.disk.term.index(peer)
        if index is not None:
            self.feed(Connected(peer=index))

    def _send_chain(self, peer: int, height: Height) -> None:
        """Who is no member any more gets no more than what proves it."""
        found = self.disk.chain_from(height)
        if found is not None and (peer in self.disk.term.members or found[0] < self.epoch):
            self._send(peer, found[1], found[0])

    def _send(self, to: int, message: Message | Hello, epoch: Epoch | None = None) -> None:
        if self.hears(to):
            if isinstance(self.engine, Follower):
                self.world.polls += 1
            self.world.send(self.number, to, message, self.epoch if epoch is None else epoch)

    # ---- outputs -----------------------------------------------------------------------------------------------------

    def _obey(self, output: Output) -> None:  # noqa: PLR0912 - one arm per output
        checks = self.world.checks
        match output:
            case Persist():
                self.disk.persist(output)
            case Sign():
                self._sign(output)
            case Send():
                self._send(self.seats[output.to], output.message)
            case Broadcast():
                for other in self.seats:
                    if other != self.number:
                        self._send(other, output.message)
            case FetchPayloads():
                self.acquisition.fetch(output.digests, [self.seats[i] for i in output.holders])
            case SendChain():
                self._send_chain(self.seats[output.to], output.from_height)
            case Commit():
                self._commit(output)
            case Misbehaviour() if self.is_honest:
                checks.misbehaviour(self.number, output)
            case Rejected() if self.is_honest:
                checks.rejected(self.number, self.seats[output.sender], output)
            case Alarm() if self.is_honest:
                raise Violation(f"node {self.number} sounds an alarm: {output.error}")
            case Misbehaviour() | Rejected() | Alarm():
                pass
            case _:
                assert_never(output)

    def _sign(self, sign: Sign) -> None:
        world, index = self.world, self.index
        assert index is not None, "a follower signs nothing"
        if self.is_honest:
            world.checks.sign(self.number, sign.vote, self.disk)
        signature = world.sign(self.disk.term.committee.validators[index], sign.vote)
        vote = SignedVote(vote=sign.vote, voter=index, signature=signature)
        delay_ms = world.random.randint(0, world.weather.sign_ms)
        world.after(self, delay_ms, lambda: self.feed(Signed(vote=vote)))

    # ---- finality ----------------------------------------------------------------------------------------------------

    def _commit(self, commit: Commit) -> None:
        """Executes, compares, keeps; at the end of an epoch goes on in the next."""
        world, disk = self.world, self.disk
        if self.is_honest:
            world.checks.commit(self.number, commit, disk)
        statements, bodies = {}, {}
        for digest in (digest for block in commit.blocks for digest in block.payloads):
            statements[digest] = self.statements(disk.payloads[digest])
            for statement, header in bodies_of(statements[digest]):
                bodies[statement.digest] = world.judge.claims(header, disk.blobs)
        applied = disk.books.execute(commit.blocks, statements, bodies)
        decided = next_roster(disk.next_roster, applied)
        named = commit.blocks[-1].next_committee
        if commit.ends_epoch and (decided is None or decided.digest != named):
            raise Violation(f"node {self.number}: the boundary names another committee than execution gave")
        term, before, sign = disk.term, disk.books.frontier, disk.trusted and self.index is not None
        disk.commit(commit, applied)
        following = disk.term.roster if commit.ends_epoch else None
        sizes = disk.shelf.commit(commit, applied, before, following) if term.roster is not None else []
        world.commits += 1
        if self.is_honest:
            world.checks.executed(self.number, commit, applied, disk)
        if world.random.random() < 0.5:
            disk.prune()
        self._push(commit, term)
        if self.desk is not None:
            self.desk.committed(sizes, commit, sign=sign)
        height = commit.blocks[-1].height
        if commit.ends_epoch:
            self._enter_epoch()
        elif commit.awaits_execution:
            digest = None if decided is None else decided.digest
            # After the step that is being obeyed: an engine takes one event at a time.
            world.after(self, 0, lambda: self.feed(Executed(height=height, next_committee=digest)))

    def _push(self, commit: Commit, term: Term) -> None:
        """Observers hear from validators what has become final."""
        if term.index(self.number) is not None:
            chain = Chain(blocks=(*commit.blocks, *commit.proof), finalization=commit.finalization)
            for observer in (number for number in term.members if number not in term.seats):
                self._send(observer, chain, term.epoch)

    def _enter_epoch(self) -> None:
        """Once the step that ended the epoch is obeyed to its last output."""
        world = self.world
        assert self.engine is not None, "a dead node ends no epoch"
        if not self.engine.ended:
            raise Violation(f"node {self.number} committed a boundary, and its engine goes on")
        if self.engine.clears_doubt:
            self.disk.trusted = True
        self.life += 1
        life = self.life

        def begin() -> None:
            if self._lives(life):
                world.trace.note(world.now_ms, self.number, self._says("goes on"))
                self._begin()
                self._cut_again()

        world.at(world.now_ms, begin)

    # ---- payloads ----------------------------------------------------------------------------------------------------

    def submit(self, statements: Sequence[bytes], blobs: tuple[bytes, ...] = ()) -> Parcel | None:
        """Statements that came to this node: cut into a payload, stored, spread. None where it is no validator now."""
        index, roster = self.index, self.disk.term.roster
        if self.engine is None or index is None or roster is None:
            return None
        self._payloads_cut += 1
        sequence = (self.life << 32) | self._payloads_cut
        parcel = self.world.cut(statements, blobs, roster, index, sequence)
        self.world.submit(self.number, parcel)
        return parcel

    def _cut_again(self) -> None:
        """Own payloads of an epoch that is over can stand in no block: what they held goes into new ones."""
        if self.index is None:
            return
        for digest in self.disk.pending():
            frame = self.disk.payloads[digest]
            if frame == TOY or self.world.cutters.get(digest) != self.number:
                continue
            old = self.world.judge.payload(frame)
            statements = [parsed(raw) for raw in old.statements]
            waiting = [s.raw for s in statements if self.disk.books.index_of_statement(s.digest) is None]
            if old.header.epoch < self.epoch and waiting and not is_ending(statements):
                self.submit(waiting)
