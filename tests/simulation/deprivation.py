"""What the network keeps from one honest validator for a while, so that it must ask for it; all other weather is good.

Each of these takes away what would help without asking: so the one rule that is left has to do it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from consensus.engine import Engine
from consensus.messages import BlockReply, Chain, Message, Proposal
from consensus.types import Block, SignedVote, VoteKind
from tests.simulation.forgetting import tells_what_is_final
from tests.simulation.machine import Hello
from tests.simulation.world import World

GAP_MS = 120
"""How long a boundary and its finality are kept back: below the time after which views are given up."""


class Deprivation(Protocol):
    """Says what the network lets pass, from the time it is made."""

    def end(self) -> None: ...


class OfCertificates:
    """An idle validator misses all that follows, but for the last votes of f + 1 others, which tell that it is behind.

    They are too few for a certificate. It has nothing to say, and the others are quiet once they have finished, so that
    nobody notices and helps: when the weather is good it is the only one that can do something about it.
    """

    def __init__(self, world: World, rng: random.Random, start_ms: int, submit: Callable[[], None]) -> None:
        self._world = world
        self._rng = rng
        self._victim: int | None = None
        self._heard: frozenset[int] = frozenset()
        self._submit = submit
        world.at(start_ms, self._begin)

    def _begin(self) -> None:
        nodes = [self._world.nodes[number] for number in sorted(self._world.honest)]
        idle = [n for n in nodes if isinstance(n.engine, Engine) and not n.disk.pending()]
        if not idle:
            return
        victim = self._rng.choice(idle)
        self._victim = victim.number
        others = [number for number in victim.seats if number != victim.number]
        self._heard = frozenset(self._rng.sample(others, victim.disk.term.committee.faults_max + 1))
        self._world.lets_pass = self._lets_pass
        self._world.lets_push = lambda _, to: to != self._victim
        self._submit()

    def end(self) -> None:
        self._world.lets_pass = lambda *_: True
        self._world.lets_push = lambda *_: True

    def _lets_pass(self, sender: int, to: int, message: Message | Hello) -> bool:
        if to != self._victim:
            return True
        is_last = isinstance(message, SignedVote) and message.vote.kind is VoteKind.FINALIZE
        return is_last and sender in self._heard


class OfBlocks:
    """A validator hears all votes, and so forms all certificates, but gets no block and hears nothing of finality.

    It looks for a block of every view, in vain, and must not look for more of them than it may.
    """

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._victim = rng.choice(sorted(world.honest & set(world.checks.top_term.seats)))
        world.lets_pass = self._lets_pass

    def end(self) -> None:
        self._world.lets_pass = lambda *_: True

    def _lets_pass(self, sender: int, to: int, message: Message | Hello) -> bool:
        # What a liar makes up gets through.
        brings_block = isinstance(message, Proposal | BlockReply | Chain) and sender in self._world.honest
        return to != self._victim or not (brings_block or tells_what_is_final(message))


class OfTheBoundary:
    """The leader of the view but one after an epoch's boundary lacks it, and holds the empty block that follows.

    Nothing above the boundary becomes final meanwhile: so it leads, and cannot know what it builds on.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._boundary: Block | None = None
        self._victim: int | None = None
        self._since_ms = 0
        world.lets_pass = self._lets_pass

    def end(self) -> None:
        self._world.lets_pass = lambda *_: True

    def _lets_pass(self, _sender: int, to: int, message: Message | Hello) -> bool:
        if isinstance(message, Proposal) and message.block.is_boundary:
            self._notice(message.block)
        if self._boundary is None or self._world.now_ms - self._since_ms > GAP_MS:
            return True
        if to == self._victim and _brings(message, self._boundary):
            return False
        return not tells_what_is_final(message)

    def _notice(self, boundary: Block) -> None:
        """The first one of its epoch."""
        if self._boundary is None or self._boundary.epoch < boundary.epoch:
            term = self._world.checks.terms[boundary.epoch]
            self._boundary, self._since_ms = boundary, self._world.now_ms
            self._victim = term.seats[term.committee.schedule[(boundary.view + 2) % term.committee.size]]


def _brings(message: Message | Hello, block: Block) -> bool:
    match message:
        case Proposal() | BlockReply():
            return message.block.digest == block.digest
        case _:
            return isinstance(message, Chain)
