"""Several engines in one thread, a network that misbehaves by seed, and disks that survive crashes."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from consensus.engine import Engine
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
from consensus.messages import Message
from consensus.types import Committee, Digest, SignedVote, ValidatorIndex, View, genesis_block
from tests.consensus.toys import sign, verify
from tests.simulation.checks import Checks, Violation
from tests.simulation.disk import Disk
from tests.simulation.trace import Trace

WALL_START_MS = 1_800_000_000_000
TICKS_PER_INSTANT_MAX = 20


@dataclass
class Weather:
    """How bad the network and the machines are. Probabilities are per message or per output."""

    delay_ms: tuple[int, int] = (1, 5)
    drop: float = 0.0
    duplicate: float = 0.0
    straggle: float = 0.0
    """A message that takes twenty times as long, and so is overtaken by others."""
    sign_ms: int = 0
    """Up to how long a signature takes; what else happens meanwhile comes before it."""
    crash: float = 0.0
    rollback: float = 0.0
    """A crash that also loses the voting state."""
    groups: tuple[frozenset[int], ...] = ()
    """Partition: only members of one group hear each other; empty where all do."""


@dataclass
class Node:
    """One validator's machine. life: counts its starts, so that what an earlier life awaited is dropped.

    audience: whom it hears and speaks to; set for Twins, two machines with one key, which need not be honest.
    """

    index: ValidatorIndex
    disk: Disk
    skew_ms: int
    engine: Engine | None = None
    life: int = 0
    wake_ms: int | None = None
    ticks: tuple[int, int] = (0, 0)
    audience: frozenset[int] | None = None
    is_honest: bool = True

    def hears(self, other: int) -> bool:
        return self.audience is None or other in self.audience


class World:
    """byzantine: indices without an engine; what they do is an actor's business (`actors`)."""

    def __init__(self, committee: Committee, seed: int, byzantine: frozenset[int] = frozenset()) -> None:
        self.committee = committee
        self.random = random.Random(seed)
        self.now_ms = 0
        self.weather = Weather()
        self.trace = Trace()
        self.honest = frozenset(range(committee.size)) - byzantine
        self.checks = Checks(committee, self.honest)
        self.actors: dict[int, Callable[[int, Message], None]] = {}
        self.twins: list[Node] = []
        self.messages = 0
        self.lets_pass: Callable[[int, int, Message], bool] = lambda *_: True
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        self.nodes = {
            i: Node(ValidatorIndex(i), Disk(genesis_block(committee)), skew_ms=0) for i in sorted(self.honest)
        }

    # ---- time --------------------------------------------------------------------------------------------------------

    def at(self, time_ms: int, action: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._queue, (time_ms, self._sequence, action))

    def run(self, until_ms: int, done: Callable[[], bool] | None = None) -> bool:
        """Let time pass to `until_ms`, or until `done`; returns whether it was."""
        while self._queue and self._queue[0][0] <= until_ms:
            time_ms, _, action = heapq.heappop(self._queue)
            self.now_ms = max(self.now_ms, time_ms)
            action()
            if done is not None and done():
                return True
        self.now_ms = until_ms
        return done is not None and done()

    # ---- machines ----------------------------------------------------------------------------------------------------

    def start(self, index: int) -> None:
        self._start(self.nodes[index])

    def add_twins(self, index: int, audiences: tuple[frozenset[int], ...]) -> None:
        """Machines of one Byzantine validator, all with its key, that do not know of each other (Twins)."""
        for audience in audiences:
            disk = Disk(genesis_block(self.committee))
            self.twins.append(Node(ValidatorIndex(index), disk, skew_ms=0, audience=audience, is_honest=False))
            self._start(self.twins[-1])

    def _start(self, node: Node) -> None:
        if node.engine is not None:
            return
        index = node.index
        node.life += 1
        self.trace.note(self.now_ms, index, "starts" if node.disk.trusted else "starts untrusted")
        node.engine = Engine(
            committee=self.committee, me=node.index, verify=verify, restored=node.disk.restored(),
            seed=bytes([index, node.life % 256]),
        )  # fmt: skip
        pending = node.disk.pending()
        self.feed(node, self._tick(node))
        if node.engine is not None and pending:
            self.feed(node, PayloadsHeld(digests=pending, order=True))
        for other in self.nodes.values():
            self._connect(node, other)

    def _connect(self, node: Node, other: Node) -> None:
        up = node.engine is not None and other.engine is not None
        if up and node is not other and self._is_linked(node.index, other.index):
            self._later(other, 1, Connected(peer=node.index))
            self._later(node, 1, Connected(peer=other.index))

    def reconnect(self) -> None:
        """What a network reports when it has healed."""
        for node in self.nodes.values():
            for other in self.nodes.values():
                if node.index < other.index:
                    self._connect(node, other)

    def crash(self, node: Node) -> None:
        node.engine = None
        node.wake_ms = None
        lost = sum(not other.disk.trusted for other in self.nodes.values())
        if self.random.random() < self.weather.rollback and lost < self.committee.faults_max:
            node.disk.lose_voting_state()
        self.trace.note(self.now_ms, node.index, "crashes")
        delay = self.random.randint(1, 400)
        self.at(self.now_ms + delay, lambda: self._start(node))

    def stop(self, index: int) -> None:
        """For good."""
        self.nodes[index].engine = None
        self.trace.note(self.now_ms, index, "stops")

    def _tick(self, node: Node) -> Tick:
        return Tick(monotonic_ms=self.now_ms, wall_ms=WALL_START_MS + self.now_ms + node.skew_ms)

    def feed(self, node: Node, event: Event) -> None:
        """One event and the obedience to what follows; a crash may come between any two outputs."""
        if node.engine is None:
            return
        if not isinstance(event, Tick):
            self._obey(node, node.engine.step(self._tick(node)))
            if node.engine is None:
                return
        self.trace.event(self.now_ms, node.index, event)
        self._obey(node, node.engine.step(event))
        if node.engine is not None and not node.disk.trusted:
            node.disk.trusted = not node.engine.status().recovering
        self._schedule(node)

    def _schedule(self, node: Node) -> None:
        if node.engine is None or node.engine.deadline_ms is None:
            return
        due_ms = max(node.engine.deadline_ms, self.now_ms)
        if node.wake_ms is not None and node.wake_ms <= due_ms:
            return
        node.wake_ms = due_ms
        life = node.life
        self.at(due_ms, lambda: self._wake(node, life))

    def _wake(self, node: Node, life: int) -> None:
        if node.engine is None or node.life != life:
            return
        node.wake_ms = None
        count = node.ticks[1] + 1 if node.ticks[0] == self.now_ms else 1
        node.ticks = (self.now_ms, count)
        if count > TICKS_PER_INSTANT_MAX:
            raise Violation(f"validator {node.index} wants to be woken again and again at {self.now_ms} ms")
        if node.engine.deadline_ms is not None and node.engine.deadline_ms <= self.now_ms:
            self.feed(node, self._tick(node))
        else:
            self._schedule(node)

    # ---- outputs -----------------------------------------------------------------------------------------------------

    def _obey(self, node: Node, outputs: tuple[Output, ...]) -> None:
        for output in outputs:
            if self.weather.crash and self.random.random() < self.weather.crash:
                self.crash(node)
                return
            self.trace.output(self.now_ms, node.index, output)
            self._do(node, output)

    def _do(self, node: Node, output: Output) -> None:  # noqa: PLR0912 - one arm per output
        match output:
            case Persist():
                node.disk.persist(output)
            case Sign():
                if node.is_honest:
                    self.checks.sign(node.index, output.vote, node.disk)
                signature = sign(node.index, output.vote.signing_bytes(self.committee.consortium))
                vote = SignedVote(vote=output.vote, voter=node.index, signature=signature)
                self._later(node, self.random.randint(0, self.weather.sign_ms), Signed(vote=vote))
            case Send():
                self._send(node, output.to, output.message)
            case Broadcast():
                for other in range(self.committee.size):
                    if other != node.index:
                        self._send(node, other, output.message)
            case FetchPayloads():
                self._fetch(node, output)
            case SendChain():
                chain = node.disk.chain_from(output.from_height)
                if chain is not None:
                    self._send(node, output.to, chain)
            case Commit():
                if node.is_honest:
                    self.checks.commit(node.index, output, node.disk)
                node.disk.commit(output)
                if self.random.random() < 0.5:
                    node.disk.prune()
            case Misbehaviour() if node.is_honest:
                self.checks.misbehaviour(node.index, output)
            case Rejected() if node.is_honest:
                self.checks.rejected(node.index, output)
            case Alarm() if node.is_honest:
                raise Violation(f"validator {node.index} sounds an alarm: {output.error}")
            case Misbehaviour() | Rejected() | Alarm():
                pass
            case _:
                assert_never(output)

    def _later(self, node: Node, delay_ms: int, event: Event) -> None:
        life = node.life

        def arrive() -> None:
            if node.life == life:
                self.feed(node, event)

        self.at(self.now_ms + delay_ms, arrive)

    # ---- network -----------------------------------------------------------------------------------------------------

    def _is_linked(self, a: int, b: int) -> bool:
        return not self.weather.groups or any(a in group and b in group for group in self.weather.groups)

    def _delay(self) -> int:
        delay = self.random.randint(*self.weather.delay_ms)
        return delay * 20 if self.random.random() < self.weather.straggle else delay

    def _send(self, node: Node, to: int, message: Message) -> None:
        if node.hears(to):
            self.send(node.index, to, message)

    def send(self, sender: int, to: int, message: Message) -> None:
        self.messages += 1
        if not self._is_linked(sender, to) or self.random.random() < self.weather.drop:
            return
        if not self.lets_pass(sender, to, message):
            return
        copies = 2 if self.random.random() < self.weather.duplicate else 1
        for _ in range(copies):
            self.at(self.now_ms + self._delay(), lambda: self._deliver(sender, to, message))

    def _deliver(self, sender: int, to: int, message: Message) -> None:
        if to in self.nodes:
            self.feed(self.nodes[to], Received(sender=ValidatorIndex(sender), message=message))
        for twin in self.twins:
            if twin.index == to and twin.hears(sender):
                self.feed(twin, Received(sender=ValidatorIndex(sender), message=message))
        if to in self.actors:
            self.actors[to](sender, message)

    def submit(self, author: int, digest: Digest) -> None:
        """A payload enters at `author` and is spread; where the spreading fails, it must be fetched later."""
        self.checks.submitted.add(digest)
        for node in (*self.nodes.values(), *self.twins):
            index = node.index
            lost = index != author and (not self._is_linked(author, index) or self.random.random() < self.weather.drop)
            if not lost:
                delay = 0 if index == author else self._delay()
                self.at(self.now_ms + delay, lambda node=node: self._hold(node, digest, order=True))

    def _hold(self, node: Node, digest: Digest, *, order: bool) -> None:
        if node.engine is None:
            return
        node.disk.payloads[digest] = None
        if not order or digest not in node.disk.ordered:
            self.feed(node, PayloadsHeld(digests=(digest,), order=order))

    def _fetch(self, node: Node, fetch: FetchPayloads) -> None:
        for digest in fetch.digests:
            if digest in node.disk.payloads:
                self.at(self.now_ms, lambda d=digest: self._hold(node, d, order=False))
                continue
            holder = fetch.holders[0]
            has = holder in self.nodes and digest in self.nodes[holder].disk.payloads
            up = has and self.nodes[holder].engine is not None and self._is_linked(node.index, holder)
            if up and self.random.random() >= self.weather.drop:
                delay = self._delay() + self._delay()
                self.at(self.now_ms + delay, lambda d=digest: self._hold(node, d, order=False))

    def hand_out(self, *digests: Digest) -> None:
        """Payloads that are held everywhere at this moment."""
        self.checks.submitted |= set(digests)
        for node in self.nodes.values():
            for digest in digests:
                self._hold(node, digest, order=True)

    # ---- views on it -------------------------------------------------------------------------------------------------

    def engines(self) -> tuple[Engine, ...]:
        return tuple(node.engine for node in self.nodes.values() if node.engine is not None)

    def top_view(self) -> View:
        return max((engine.status().view for engine in self.engines()), default=View(0))

    def have_all(self, digests: set[Digest]) -> bool:
        return all(digests <= node.disk.ordered for node in self.nodes.values() if node.engine is not None)
