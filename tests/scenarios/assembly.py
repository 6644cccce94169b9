"""A stage with a real consortium: four validators, an observer that may get a seat, and statements to vote by."""

from __future__ import annotations

from dataclasses import replace

from consensus.messages import Chain, Message
from consensus.types import Epoch, ValidatorIndex
from ledger.governance import Admit
from tests.scenarios.stage import Stage
from tests.simulation.consortium import claim, genesis_of, member_id
from tests.simulation.machine import Hello
from tests.simulation.politics import vote_statement
from tests.simulation.world import FIRST_EPOCH

SIZE = 4
OBSERVER = SIZE
"""Machine of the archive, a member without a seat; its validator index too, once it has one."""


class Assembly(Stage):
    """Payloads hold real statements, and are numbered in the transcript as they turn up."""

    def __init__(self) -> None:
        super().__init__(observer=OBSERVER)

    def submit_claim(self, time_ms: int, author: str, number: int) -> None:
        """A claim enters at `author`, who cuts it into a payload of its own."""
        self._submit(time_ms, author, claim(genesis_of(SIZE).digest, number))

    def vote_to_admit_the_archive(self, time_ms: int, author: str, voters: tuple[str, ...]) -> None:
        """Their votes to give the archive a seat enter at `author`, all in one payload."""
        roster = genesis_of(SIZE).roster
        archive = roster.member(member_id(OBSERVER))
        assert archive is not None, "a member from the start"
        change = Admit(epoch=FIRST_EPOCH, member=replace(archive, validator=True))
        ids = [member_id(self.index[voter]) for voter in voters]
        self._submit(time_ms, author, *(vote_statement(change, voter, roster.consortium) for voter in ids))

    def _submit(self, time_ms: int, author: str, *statements: bytes) -> None:
        def enter() -> None:
            for statement in statements:
                self.allow(statement)
            self.nodes[self.index[author]].submit(statements)

        self.then(time_ms, enter)

    def send(self, sender: int, to: int, message: Message | Hello, epoch: Epoch = FIRST_EPOCH) -> None:
        """Nobody is at the machines without a name. What validators tell an observer is said aloud."""
        if to not in self.names:
            return
        if isinstance(message, Chain):
            self.transcript.say(self.now_ms, sender, self.names[ValidatorIndex(to)], message)
        super().send(sender, to, message, epoch)  # type: ignore[arg-type]
