"""Members vote on members: which changes are proposed in a run, and who signs for them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from consensus.types import VALIDATORS_MIN, Digest, Epoch
from ledger.governance import Admit, Change, Remove, RotateKey, Scope, SetPolicy, proposal_id
from ledger.statement import sign_statement
from tests.ledger.builders import public_key
from tests.simulation.consortium import EPOCHS_MAX, STANDING, machine_of, member_id, secret
from tests.simulation.terms import Term
from tests.simulation.world import World

VOTE_WITHIN_MS = 120


@cache
def vote_statement(change: Change, voter: str, consortium: Digest, number: int = 1) -> bytes:
    """A member's vote for a change. number: its first, or a later one for the same, which counts no more."""
    return sign_statement(
        change,
        client_ref=f"vote {number} for {proposal_id(change).hex()[:16]}",
        issuer=voter,
        public_key=public_key(voter, "statement"),
        consortium=consortium,
        sign=secret(voter, "statement").sign,
    )


class Politics:
    """faulty: machines that are not honest. At most f of every committee may be."""

    def __init__(self, world: World, faulty: frozenset[int]) -> None:
        self._world = world
        self._faulty = faulty
        self.proposed: list[Change] = []
        world.removals_proposed = self._removals

    def propose(self) -> bool:
        """All honest validators vote for one change, each when it gets to it. False where no change may be made now."""
        term = self._world.checks.top_term
        changes = self._changes(term)
        if not changes or term.epoch + 1 >= EPOCHS_MAX:
            return False
        change = self._world.random.choice(changes)
        self.proposed.append(change)
        self._world.trace.note(self._world.now_ms, -1, f"proposed in epoch {term.epoch}: {change.describe()}")
        for number in term.seats:
            if number in self._world.honest:
                self._vote(number, change)
        return True

    def propose_in_vain(self) -> None:
        """Some sign for a change, one vote less than it takes, and some of them again and again: it must not pass."""
        term, world = self._world.checks.top_term, self._world
        changes = self._changes(term)
        voters = [number for number in term.seats if number in world.honest][: term.committee.quorum - 1]
        if changes:
            change = world.random.choice(changes)
            self.proposed.append(change)
            world.trace.note(world.now_ms, -1, f"proposed in vain in epoch {term.epoch}: {change.describe()}")
            for number in voters:
                for time in range(1, world.random.choice((1, 3)) + 1):
                    self._vote(number, change, time)

    def _vote(self, number: int, change: Change, time: int = 1) -> None:
        statement = vote_statement(change, member_id(number), self._world.committee.consortium, time)
        self._world.allow(statement)
        delay_ms = self._world.random.randint(0, VOTE_WITHIN_MS)
        node = self._world.nodes[number]
        self._world.at(self._world.now_ms + delay_ms, lambda: node.submit([statement]))

    def _removals(self, epoch: Epoch) -> int:
        return sum(isinstance(change, Remove) and change.epoch == epoch for change in self.proposed)

    def _changes(self, term: Term) -> list[Change]:
        """What may be proposed without more than f faulty validators in what comes of it."""
        roster = term.roster
        assert roster is not None, "only a consortium has politics"
        found: list[Change] = []
        # As if all removals passed that were proposed in this epoch, and none of them of a faulty one.
        removed = self._removals(term.epoch)
        size = len(term.seats) - removed
        # Who is in doubt of its votes casts none: a committee that shrinks must be able to spare it too.
        lame = self._faulty | self._world.in_doubt()
        for member in roster.members:
            if member.id in STANDING:
                continue
            machine = machine_of(member.id)
            if not member.validator:
                found.append(Admit(epoch=term.epoch, member=replace(member, validator=True)))
                continue
            faulty = sum(other in lame for other in term.seats if other != machine or removed)
            if size > VALIDATORS_MIN and faulty <= (size - 2) // 3:
                found += [Remove(epoch=term.epoch, member_id=member.id, scope=scope) for scope in Scope]
            key = public_key(member.id, f"consensus of epoch {term.epoch}")
            found.append(RotateKey(epoch=term.epoch, member_id=member.id, purpose="consensus", key=key))
        delta_ms = self._world.random.choice((30, 35, 45, 50))
        if delta_ms != roster.parameters.delta_ms:
            found.append(SetPolicy(epoch=term.epoch, parameters=replace(roster.parameters, delta_ms=delta_ms)))
        return found
