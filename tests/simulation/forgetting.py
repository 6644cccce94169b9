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
ASKING_MS = 10
"""How long, where there is no laggard, nothing but the victim's question and the answers gets through."""
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
        after_ms = None if self._lost_ms is None else self._world.now_ms - self._lost_ms - DOWN_MS
        if after_ms is not None and after_ms > BIASED_MS:
            return True
        if self._has_laggard and to == self._laggard:
            return isinstance(message, ViewRequest)
        if after_ms is not None:
            return self._lets_answer(sender, to, message, after_ms)
        if sender == self._victim and isinstance(message, Proposal) and self._is_worst(message):
            self._lost_ms = self._world.now_ms
            self._world.at(self._lost_ms, self._forget)
            return False
        return not (tells_what_is_final(message) if to == self._victim else self._gives_away(message))

    def _lets_answer(self, sender: int, to: int, message: Message | Hello, after_ms: int) -> bool:
        """The victim asks: the laggard answers first; or all do, before they have heard more than they had."""
        if self._has_laggard:
            return to != self._victim or sender == self._laggard or not isinstance(message, ViewReply)
        return after_ms > ASKING_MS or isinstance(message, ViewRequest | ViewReply)

    def _is_worst(self, proposal: Proposal) -> bool:
        lags = self._world.nodes[self._victim].disk.head.view + LAG_VIEWS <= proposal.block.view
        return lags and (self._has_laggard or proposal.block.parent_view == proposal.block.view - 1)

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


def tells_what_is_final(message: Message | Hello) -> bool:
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
