"""Several nodes in one thread, a network that misbehaves by seed, and disks that survive crashes."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from consensus.engine import Engine
from consensus.messages import Message
from consensus.types import (
    ZERO_DIGEST,
    Committee,
    Digest,
    Epoch,
    PublicKey,
    Signature,
    ValidatorIndex,
    VerifySignature,
    View,
    Vote,
)
from ledger.ed25519 import verify_strict
from ledger.roster import Roster
from tests.consensus import toys
from tests.simulation import consortium as founding
from tests.simulation.acquisition import TOY
from tests.simulation.chains import Chains
from tests.simulation.checks import Checks
from tests.simulation.consortium import Parcel, machine_of, parsed
from tests.simulation.disk import Disk
from tests.simulation.judge import Judge
from tests.simulation.machine import Hello, Machine
from tests.simulation.recorder import Recorder
from tests.simulation.terms import plain_term, term_of
from tests.simulation.trace import Trace

WALL_START_MS = 1_800_000_000_000
FIRST_EPOCH = Epoch(0)


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
    down_ms: tuple[int, int] = (1, 400)
    """How long a crashed node is away."""
    rollback: float = 0.0
    """A crash that also loses the voting state."""
    groups: tuple[frozenset[int], ...] = ()
    """Partition: only members of one group hear each other; empty where all do."""


class World:
    """byzantine: machines without an engine; what they do is an actor's business (`actors`).

    consortium: whether payloads are real ones of `tests.simulation.consortium`; else they are digests and no more.
    lying: machines that have an engine and are not honest all the same: their disks may be put back unnoticed.
    real_signatures: Ed25519 for votes too, in place of a hash that anybody could forge who tried.
    """

    def __init__(
        self,
        committee: Committee,
        seed: int,
        byzantine: frozenset[int] = frozenset(),
        *,
        consortium: bool = False,
        argues: bool = False,
        real_signatures: bool = False,
        lying: frozenset[int] = frozenset(),
    ) -> None:
        self.random = random.Random(seed)
        self.now_ms = 0
        self.weather = Weather()
        self.trace = Trace()
        self.recorder = Recorder()
        self.committee = committee
        self.consortium = founding.genesis_of(committee.size, argues) if consortium else None
        term = plain_term(committee) if self.consortium is None else term_of(self.consortium.roster)
        self.verify: VerifySignature = verify_strict if real_signatures else toys.verify
        self._signs_for_real = real_signatures
        self.judge = Judge()
        self.honest = frozenset(term.members) - byzantine - lying
        self.checks = Checks(term, self.verify, self.honest)
        self.checks.sees_all_signatures = consortium
        self.chains = Chains(self, seed)
        self.actors: dict[int, Callable[[int, Epoch, Message | Hello], None]] = {}
        self.larders: dict[int, Callable[[int, Digest], bytes | None]] = {}
        """What a Byzantine node gives to whom for a content asked for by hash."""
        self.cutters: dict[Digest, int] = {}
        """Which honest machine cut a payload."""
        self.twins: list[Machine] = []
        self.messages = 0
        self.polls = 0
        """Messages of observers, who ask now and then even where all is quiet."""
        self.crashes = 0
        self.commits = 0
        self.lets_pass: Callable[[int, int, Message | Hello], bool] = lambda *_: True
        self.lets_push: Callable[[int, int], bool] = lambda *_: True
        """The same of payloads that nobody asked for."""
        self.removals_proposed: Callable[[Epoch], int] = lambda _: 0
        """How many seats the committee may lose at the end of an epoch."""
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        self._backups: dict[int, Disk] = {}
        machines = [number for number in term.members if number not in byzantine]
        self.nodes = {i: Machine(self, i, Disk(term), is_honest=i in self.honest) for i in machines}

    # ---- time --------------------------------------------------------------------------------------------------------

    @property
    def wall_ms(self) -> int:
        return WALL_START_MS + self.now_ms

    def at(self, time_ms: int, action: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._queue, (time_ms, self._sequence, action))

    def after(self, node: Machine, delay_ms: int, action: Callable[[], None]) -> None:
        """Something that a node awaits: it does not happen if the node crashes before."""
        life = node.life

        def happen() -> None:
            if node.life == life and node.engine is not None:
                action()

        self.at(self.now_ms + delay_ms, happen)

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

    def start(self, number: int) -> None:
        self.nodes[number].start()

    def stop(self, number: int) -> None:
        """For good."""
        self.nodes[number].stop()

    def add_twins(self, number: int, audiences: tuple[frozenset[int], ...]) -> None:
        """Machines of one Byzantine validator, all with its key, that do not know of each other (Twins)."""
        for audience in audiences:
            disk = Disk(self.checks.terms[Epoch(0)])
            self.twins.append(Machine(self, number, disk, audience=audience, is_honest=False))
            self.twins[-1].start()

    def crash(self, node: Machine) -> None:
        """It is back after a while, perhaps without its voting state."""
        self.crashes += 1
        node.crash()
        if self.random.random() < self.weather.rollback and len(self.in_doubt()) < self.doubts_max(node):
            node.disk.lose_voting_state()
        if node.number in self._backups and self.random.random() < 0.5:
            self.trace.note(self.now_ms, node.number, "is put back to an earlier state")
            node.disk = self._backups[node.number].snapshot()
        self.at(self.now_ms + self.random.randint(*self.weather.down_ms), node.start)

    def in_doubt(self) -> frozenset[int]:
        """Machines that know that they lost their votes: until they have recovered they are among the f."""
        return frozenset(number for number, node in self.nodes.items() if not node.disk.trusted)

    def doubts_max(self, node: Machine) -> int:
        """How many may be in doubt at once, beside liars: f of this node's committee, and of the smallest to come."""
        term = self.checks.top_term
        left = len(term.seats) - self.removals_proposed(term.epoch)
        lying = sum(number not in self.honest for number in term.seats)
        return min(node.disk.term.committee.faults_max, (left - 1) // 3) - lying

    def back_up(self, numbers: Sequence[int]) -> None:
        """Copies of these machines' disks are taken, to be put back at a crash without anybody's knowledge."""
        self._backups |= {number: self.nodes[number].disk.snapshot() for number in numbers}

    def connect(self, node: Machine) -> None:
        """What the network reports when a node has come up: connections to all others that are."""
        for other in self.nodes.values():
            up = node.engine is not None and other.engine is not None
            if up and node is not other and self.is_linked(node.number, other.number):
                self._report_connection(other, node)
                self._report_connection(node, other)

    def _report_connection(self, node: Machine, peer: Machine) -> None:
        self.after(node, 1, lambda: node.connected(peer.number))

    def reconnect(self) -> None:
        """What a network reports when it has healed."""
        for node in self.nodes.values():
            for other in self.nodes.values():
                up = node.engine is not None and other.engine is not None
                if up and node.number < other.number and self.is_linked(node.number, other.number):
                    self._report_connection(other, node)
                    self._report_connection(node, other)

    # ---- signatures --------------------------------------------------------------------------------------------------

    def sign(self, key: PublicKey, vote: Vote, consortium: Digest | None = None) -> Signature:
        """By the consensus key of which this is the public half."""
        message = vote.signing_bytes(self.committee.consortium if consortium is None else consortium)
        if consortium is None:
            self.checks.tally(key, vote)
        if self._signs_for_real:
            return Signature(founding.secret_of(key).sign(message))
        half = hashlib.sha256(key + message).digest()  # what toys.verify takes
        return Signature(half + half)

    # ---- network -----------------------------------------------------------------------------------------------------

    def is_linked(self, a: int, b: int) -> bool:
        return not self.weather.groups or any(a in group and b in group for group in self.weather.groups)

    def delay(self) -> int:
        low, high = self.weather.delay_ms
        delay = low + int(self.random.random() * (high - low + 1))  # randint takes three times as long
        return delay * 20 if self.weather.straggle and self.random.random() < self.weather.straggle else delay

    def _is_lost(self, sender: int, to: int) -> bool:
        weather = self.weather
        if weather.groups and not self.is_linked(sender, to):
            return True
        return weather.drop > 0 and self.random.random() < weather.drop

    def send(self, sender: int, to: int, message: Message | Hello, epoch: Epoch = FIRST_EPOCH) -> None:
        """epoch: that its sender says it in; of a Chain, that of its blocks."""
        self.messages += 1
        if self._is_lost(sender, to) or not self.lets_pass(sender, to, message):
            return
        is_doubled = self.weather.duplicate and self.random.random() < self.weather.duplicate
        for _ in range(2 if is_doubled else 1):
            self.at(self.now_ms + self.delay(), lambda: self._deliver(sender, to, epoch, message))

    def _deliver(self, sender: int, to: int, epoch: Epoch, message: Message | Hello) -> None:
        if to in self.nodes:
            self.nodes[to].receive(sender, epoch, message)
        for twin in self.twins:
            if twin.number == to and twin.hears(sender):
                twin.receive(sender, epoch, message)
        if to in self.actors:
            self.actors[to](sender, epoch, message)

    def push(self, sender: int, to: Machine, digest: Digest, frame: bytes) -> None:
        """A payload on its way to one that did not ask for it."""
        if not self._is_lost(sender, to.number) and self.lets_push(sender, to.number):
            self.after(to, self.delay(), lambda: to.acquisition.pushed(sender, digest, frame))

    def request(self, node: Machine, holder: int, content: Digest, answered: Callable[[bytes], None]) -> None:
        """A content asked for by hash; the answer may never come."""
        if self._is_lost(node.number, holder) or self._is_lost(holder, node.number):
            return
        found = self._serve(node.number, holder, content)
        if found is not None:
            self.after(node, self.delay() + self.delay(), lambda: answered(found))

    def _serve(self, asker: int, holder: int, content: Digest) -> bytes | None:
        if holder in self.larders:
            return self.larders[holder](asker, content)
        up = [n for n in (*self.nodes.values(), *self.twins) if n.number == holder and n.engine is not None]
        return next((found for n in up if (found := n.disk.content(content)) is not None), None)

    # ---- payloads ----------------------------------------------------------------------------------------------------

    def submit(self, author: int, parcel: Parcel | Digest) -> None:
        """A payload is stored at `author` and spread; where the spreading fails, it must be fetched later."""
        digest = parcel.digest if isinstance(parcel, Parcel) else parcel
        frame = parcel.frame if isinstance(parcel, Parcel) else TOY
        self.checks.submitted.add(digest)
        for node in (*self.nodes.values(), *self.twins):
            if node.number == author:
                if isinstance(parcel, Parcel):
                    node.disk.keep_blobs(parcel.blobs)
                if node.engine is not None:
                    node.acquisition.cut(digest, frame)
            else:
                self.push(author, node, digest, frame)

    def cut(
        self,
        statements: Sequence[bytes],
        blobs: tuple[bytes, ...],
        roster: Roster,
        author: ValidatorIndex,
        sequence: int,
    ) -> Parcel:
        """A payload of good statements, signed by its author."""
        key = founding.secret_of(roster.committee().validators[author])
        parcel = founding.parcel(
            statements, consortium=roster.consortium, epoch=roster.epoch, author=author, key=key, sequence=sequence,
            blobs=blobs,
        )  # fmt: skip
        self.cutters[parcel.digest] = machine_of(roster.validator_members()[author].id)
        return parcel

    def allow(self, statement: bytes, claims: tuple[bytes, ...] | None = None) -> None:
        """This statement may stand on the log, with these claims: by default the one it is, or none."""
        read = parsed(statement)
        if claims is None:
            own = read.own_claim_bytes
            claims = () if own is None else (own,)
        self.checks.legitimate[read.digest] = claims

    def decided(self, epoch: Epoch) -> Digest:
        """The committee that execution chose in an epoch, as far as anybody knows; zero where none."""
        rosters = (n.disk.next_roster for n in self.nodes.values() if n.epoch == epoch)
        return next((roster.digest for roster in rosters if roster is not None), ZERO_DIGEST)

    def hand_out(self, *digests: Digest) -> None:
        """Payloads that are held everywhere at this moment."""
        self.checks.submitted |= set(digests)
        for node in (node for node in self.nodes.values() if node.engine is not None):
            for digest in digests:
                node.acquisition.pushed(node.number, digest, TOY)

    # ---- views on it -------------------------------------------------------------------------------------------------

    def engines(self) -> tuple[Engine, ...]:
        return tuple(node.engine for node in self.nodes.values() if node.engine is not None)

    def top_view(self) -> View:
        return max((engine.status().view for engine in self.engines()), default=View(0))

    def have_all(self, digests: set[Digest]) -> bool:
        return all(digests <= node.disk.ordered for node in self.nodes.values() if node.engine is not None)
