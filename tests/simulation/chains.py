"""Signing for public chains in the simulation: the node's real part on a disk that survives, with real keys.

A network of its own, as bad as the run's, with dice of its own: the runs themselves go on as they would without it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, cast

from consensus.errors import PeerError
from consensus.events import Commit
from consensus.types import Digest
from ledger.chain_checkpoint import ChainCheckpoint
from ledger.checkpoint import Checkpoint
from ledger.misbehaviour import Evidence
from ledger.roster import Roster
from node.chain_signing import ChainSigning
from node.signer import KeyRing
from node.store.chain import ChainStore
from node.store.chain_signatures import ChainSigned, derive
from node.wire import ChainSignature, ChainSignatureRequest
from tests.ledger.builders import chain_key
from tests.ledger.keys import TestChainKey
from tests.simulation.checks import Violation
from tests.simulation.consortium import machine_of, member_id
from tests.simulation.shelf import Shelf

if TYPE_CHECKING:
    from tests.simulation.machine import Machine
    from tests.simulation.world import World

LIES = 0.2
"""How often a Byzantine validator answers an honest signature with two of its own that exclude each other."""
FALSE_ROOT, FALSE_END = bytes(range(32)), Digest(bytes(range(1, 33)))

_key = cache(chain_key)


class ShelfStore:
    """As much of a ChainStore as signing for chains needs, on a simulated disk."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.rosters = machine.disk.shelf.rosters()

    @property
    def _shelf(self) -> Shelf:
        return self._machine.disk.shelf

    @property
    def size(self) -> int:
        return self._machine.disk.books.size

    @property
    def next_roster(self) -> Roster | None:
        return self._machine.disk.next_roster

    def checkpoint_time_ms(self, size: int) -> int | None:
        return self._shelf.times_ms.get(size)

    def chain_checkpoint_at(self, size: int) -> ChainCheckpoint | None:
        root = self._shelf.roots.get(size)
        is_open = size == self.size and self.next_roster is not None
        return None if root is None else derive(self.rosters, size, root, is_open=is_open)

    def chain_signatures(self, size: int) -> tuple[tuple[str, bytes], ...]:
        return tuple(sorted(self._shelf.signatures.get(size, {}).items()))

    def open_chain_ends(self, limit: int) -> tuple[int, ...]:
        ends = [start.size for start in self.rosters.starts[1:]]
        return tuple(size for size in ends if size not in self._shelf.complete)[:limit]

    def put_chain_signatures(self, signed: Iterable[ChainSigned]) -> None:
        for one in signed:
            size = one.checkpoint.size
            if one.checkpoint != self.chain_checkpoint_at(size):
                raise Violation(f"node {self._machine.number} keeps a signature over what is not its log: {one}")
            held = self._shelf.signatures.setdefault(size, {})
            held.setdefault(one.member, one.signature)
            if len(held) >= self.rosters.of_size(size).quorum:
                self._shelf.complete.add(size)

    def cover_cosigned(self, size: int, root: bytes) -> None:
        if self._shelf.roots.get(size) != root:
            raise Violation(f"node {self._machine.number} would cosign what is not its log at size {size}")
        self._shelf.watermark = max(self._shelf.watermark, size)

    def record_chain_end(self, checkpoint: ChainCheckpoint) -> None:
        if self._shelf.ends.setdefault(checkpoint.epoch, checkpoint) != checkpoint:
            raise Violation(f"node {self._machine.number} would sign another end of epoch {checkpoint.epoch}")

    def put_misbehaviour(self, evidence: Evidence) -> bool:
        roster = self.rosters.of_epoch(evidence.epoch)
        assert roster is not None, "evidence is of an epoch that began here"
        accused = machine_of(roster.validator_members()[evidence.voter].id)
        self._machine.world.chains.convicted(self._machine.number, accused, evidence)
        return False


@dataclass(frozen=True)
class Keys:
    """The seat of one machine; its key is the one the roster names."""

    machine: int

    def signer(self, roster: Roster) -> SeatSigner | None:
        member = roster.member(member_id(self.machine))
        return None if member is None or not member.validator else SeatSigner(roster, self.machine)


@dataclass(frozen=True)
class SeatSigner:
    roster: Roster
    machine: int

    @property
    def member(self) -> object:
        return self.roster.member(member_id(self.machine))

    def chain_checkpoint(self, checkpoint: ChainCheckpoint) -> ChainSignature:
        return signed(checkpoint, self.machine, self.roster.consortium)


def signed(checkpoint: ChainCheckpoint, machine: int, consortium: bytes) -> ChainSignature:
    key: TestChainKey = _key(member_id(machine))
    return ChainSignature(
        checkpoint=checkpoint, member=member_id(machine), signature=checkpoint.sign(key.secret, consortium)
    )


class ChainDesk:
    """One life of a machine's signing."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.store = ShelfStore(machine)
        self.signing = ChainSigning(
            rosters=self.store.rosters,
            store=cast(ChainStore, self.store),
            keys=cast(KeyRing, Keys(machine.number)),
            broadcast=self._broadcast,
            reject=self._reject,
        )
        self._wake_ms: int | None = None

    def begin(self) -> None:
        self._tick()
        self.signing.resume(sign=self._machine.disk.trusted)
        self.schedule()

    def committed(self, sizes: Sequence[int], commit: Commit, *, sign: bool) -> None:
        shelf = self._machine.disk.shelf
        for start in shelf.starts[len(self.store.rosters.starts) - 1 :]:
            self.store.rosters.add(start)
        self._tick()
        origin = self.store.rosters.origin
        checkpoints = [Checkpoint(origin=origin, size=size, root=shelf.roots[size]) for size in sizes]
        self.signing.reached(checkpoints, ended=commit.ends_epoch, sign=sign)
        self.schedule()

    def receive(self, sender: int, message: ChainSignature | ChainSignatureRequest) -> None:
        self._tick()
        if isinstance(message, ChainSignatureRequest):
            for answer in self.signing.answer(message):
                self._machine.world.chains.send(self._machine.number, sender, answer)
        else:
            try:
                self.signing.received(member_id(sender), message)
            except PeerError as error:
                self._reject(member_id(sender), error)
        self.schedule()

    def schedule(self) -> None:
        due_ms, now_ms = self.signing.due_ms(), self._machine.world.now_ms
        if due_ms is None or (self._wake_ms is not None and self._wake_ms <= due_ms):
            return
        self._wake_ms = due_ms
        self._machine.world.after(self._machine, max(due_ms - now_ms, 1), self._wake)

    def _wake(self) -> None:
        self._wake_ms = None
        self._tick()
        self.schedule()

    def _tick(self) -> None:
        self.signing.tick(self._machine.world.now_ms)

    def _broadcast(self, message: ChainSignature | ChainSignatureRequest) -> None:
        machine = self._machine
        if isinstance(message, ChainSignature):
            machine.world.chains.says(machine, message)
        for other in machine.disk.term.members:
            if other != machine.number:
                machine.world.chains.send(machine.number, other, message)

    def _reject(self, sender: str, error: PeerError) -> None:
        if machine_of(sender) in self._machine.world.honest:
            raise Violation(f"node {self._machine.number} refuses what {sender} signed for chains: {error}")


class Chains:
    """The network between desks, and what must hold of all that honest nodes sign for chains."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._random = random.Random(f"chains {seed}")
        self.are_signed = seed % 4 == 0
        """In a quarter of the runs: the real curve takes a seventh of the time, and nothing else depends on it."""
        self._by_size: dict[int, ChainCheckpoint] = {}
        """What any honest node signed first, for every size."""
        self._signed: dict[int, set[ChainCheckpoint]] = {}
        """By machine, across its crashes."""
        self.signatures = 0
        self.convictions = 0

    def says(self, machine: Machine, message: ChainSignature) -> None:
        """Persist before send; no two that exclude each other, ever; and all honest nodes sign the same."""
        checkpoint, shelf = message.checkpoint, machine.disk.shelf
        if shelf.watermark < checkpoint.size:
            raise Violation(f"node {machine.number} signs size {checkpoint.size} for chains before it is covered")
        if checkpoint.ends_epoch and shelf.ends.get(checkpoint.epoch) != checkpoint:
            raise Violation(f"node {machine.number} signs an end for chains that is not on its disk")
        before = self._signed.setdefault(machine.number, set())
        other = next((each for each in sorted(before, key=lambda c: c.size) if each.contradicts(checkpoint)), None)
        if other is not None:
            raise Violation(f"node {machine.number} equivocates for chains: {other} and {checkpoint}")
        before.add(checkpoint)
        if self._by_size.setdefault(checkpoint.size, checkpoint) != checkpoint:
            raise Violation(f"honest nodes sign two checkpoints of size {checkpoint.size} for chains")
        self.signatures += 1
        self._provoke(checkpoint)

    def _provoke(self, checkpoint: ChainCheckpoint) -> None:
        """Byzantine validators contradict themselves, towards whoever it is."""
        world = self._world
        liars = sorted(set(world.checks.top_term.seats) - set(world.nodes))
        if not liars or self._random.random() >= LIES or world.consortium is None:
            return
        liar = self._random.choice(liars)
        lie = ChainCheckpoint(
            epoch=checkpoint.epoch,
            size=checkpoint.size + self._random.choice((0, 0, 7)),
            root=FALSE_ROOT,
            successor=FALSE_END if checkpoint.ends_epoch else checkpoint.successor,
        )
        for each in (checkpoint, lie):
            message = signed(each, liar, world.consortium.digest)
            for number in world.nodes:
                self.send(liar, number, message)

    def convicted(self, by: int, accused: int, evidence: Evidence) -> None:
        if accused in self._world.honest:
            raise Violation(f"node {by} holds evidence against honest node {accused}: {evidence.sentence()}")
        self.convictions += 1

    def send(self, sender: int, to: int, message: ChainSignature | ChainSignatureRequest) -> None:
        world, weather = self._world, self._world.weather
        if (weather.groups and not world.is_linked(sender, to)) or self._random.random() < weather.drop:
            return
        world.at(world.now_ms + self._random.randint(1, 40), lambda: self._deliver(sender, to, message))

    def _deliver(self, sender: int, to: int, message: ChainSignature | ChainSignatureRequest) -> None:
        node = self._world.nodes.get(to)
        if node is None or node.engine is None or node.desk is None:
            return
        known = any(sender in term.members for term in node.disk.terms)
        if known and (sender in node.disk.term.members or isinstance(message, ChainSignature)):
            node.desk.receive(sender, message)
