"""Who votes in an epoch, as the simulation numbers it: machines by validator index."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from consensus.types import Committee, Epoch, ValidatorIndex
from ledger.roster import Roster
from tests.simulation.consortium import STANDING, machine_of


@dataclass(frozen=True)
class Term:
    """One epoch. seats: machine numbers by validator index. roster: None where payloads are digests and no more."""

    committee: Committee
    seats: tuple[int, ...]
    roster: Roster | None = None

    @property
    def epoch(self) -> Epoch:
        return self.committee.epoch

    def index(self, machine: int) -> ValidatorIndex | None:
        """None for a machine without a seat."""
        return self._indices.get(machine)

    @cached_property
    def _indices(self) -> dict[int, ValidatorIndex]:
        return {machine: ValidatorIndex(index) for index, machine in enumerate(self.seats)}

    @cached_property
    def members(self) -> tuple[int, ...]:
        """Machines of all members, with a seat or without."""
        if self.roster is None:
            return self.seats
        return tuple(machine_of(member.id) for member in self.roster.members if member.id not in STANDING)


def term_of(roster: Roster) -> Term:
    seats = tuple(machine_of(member.id) for member in roster.validator_members())
    return Term(roster.committee(), seats, roster)


def plain_term(committee: Committee) -> Term:
    """Of a committee without a roster: machine i is validator i."""
    return Term(committee, tuple(range(committee.size)))
