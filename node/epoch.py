"""One epoch as this node runs it: its engine, and the names of those that the engine knows by number."""

from __future__ import annotations

from collections.abc import Iterable

from consensus.engine import Engine
from consensus.types import ValidatorIndex
from ledger.genesis import Genesis


class EpochRun:
    """The engine of one epoch, with its committee's members in the order of their index."""

    def __init__(self, genesis: Genesis, engine: Engine) -> None:
        self.engine = engine
        self.members = tuple(member.id for member in genesis.validator_members())
        self._index = {member: ValidatorIndex(i) for i, member in enumerate(self.members)}

    def member(self, index: ValidatorIndex) -> str:
        """Member id of a validator."""
        return self.members[index]

    def index(self, member: str) -> ValidatorIndex:
        """A validator's number."""
        return self._index[member]

    def names(self, indices: Iterable[ValidatorIndex]) -> list[str]:
        return [self.members[i] for i in indices]
