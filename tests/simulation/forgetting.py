"""A validator that loses its votes at the worst moment there is, so that recovery needs every condition it has.

The victim never hears what is final, so its chain lies far behind where it votes. It leads a view as the first to know
that the one before is notarized, and forgets as soon as it has signed its proposal. When it asks how far the others
are, they have not got there yet; or the first to answer is one that was cut off long before.
"""

from __future__ import annotations

import random

from consensus.messages import Certificates, Chain, Message, Proposal, ViewReply, ViewRequest
from consensus.types import Certificate, SignedVote, VoteKind
from tests.simulation.machine import Hello
from tests.simulation.world import World

LAG_VIEWS = 5
"""How far behind its votes the victim's chain must be."""
DOWN_MS = 2
BIASED_MS = 60
"""How long, after the loss, the laggard alone gives answers."""


class Forgetting:
    """Says what the network lets pass. Both machines are honest: one doubt and one straggler are within f."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._victim, self._laggard = rng.sample(sorted(world.honest & set(world.checks.top_term.seats)), 2)
        self._has_laggard = rng.random() < 0.5
        self._lost_ms: int | None = None
        world.lets_pass = self._lets_pass

    def end(self) -> None:
        self._world.lets_pass = lambda *_: True

    def _lets_pass(self, sender: int, to: int, message: Message | Hello) -> bool:
        if self._lost_ms is not None and self._world.now_ms > self._lost_ms + DOWN_MS + BIASED_MS:
            return True
        if self._has_laggard and to == self._laggard:
            return isinstance(message, ViewRequest)
        if self._lost_ms is not None:
            is_early = to == self._victim and sender != self._laggard and isinstance(message, ViewReply)
            return not (self._has_laggard and is_early)
        if sender == self._victim and isinstance(message, Proposal) and self._is_worst(message):
            self._lost_ms = self._world.now_ms
            self._world.at(self._lost_ms, self._forget)
            return False
        if to == self._victim:
            return not _tells_what_is_final(message)
        return not self._gives_away(message)

    def _is_worst(self, proposal: Proposal) -> bool:
        nodes, view = self._world.nodes, proposal.block.view
        return nodes[self._victim].disk.head.view + LAG_VIEWS <= view

    def _gives_away(self, message: Message | Hello) -> bool:
        """Votes that would let others than the victim see notarized what it builds on."""
        if not isinstance(message, SignedVote) or message.vote.kind is not VoteKind.NOTARIZE:
            return False
        committee = self._world.checks.top_term.committee
        return self._world.checks.top_term.seats[committee.leader(message.vote.view + 1)] == self._victim

    def _forget(self) -> None:
        node = self._world.nodes[self._victim]
        node.crash()
        node.disk.lose_voting_state()
        self._world.at(self._world.now_ms + DOWN_MS, node.start)


def _tells_what_is_final(message: Message | Hello) -> bool:
    match message:
        case SignedVote():
            return message.vote.kind is VoteKind.FINALIZE
        case Certificate():
            return message.vote.kind is VoteKind.FINALIZE
        case Certificates():
            return any(certificate.vote.kind is VoteKind.FINALIZE for certificate in message.certificates)
        case Proposal():
            return message.parent is not None and message.parent.vote.kind is VoteKind.FINALIZE
        case _:
            return isinstance(message, Chain)
