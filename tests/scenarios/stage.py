"""Four validators with the real engine, a network that takes 10 ms, and what a script changes of both."""

from __future__ import annotations

from collections.abc import Callable

from consensus.messages import Message, Proposal
from consensus.types import (
    Block,
    Certificate,
    Digest,
    Epoch,
    Height,
    SignedVote,
    ValidatorIndex,
    View,
    Vote,
    VoteKind,
    genesis_block,
)
from tests.consensus.toys import committee_of, payload, signed, vote_for
from tests.scenarios.transcript import ARCHIVE, NAMES, Transcript
from tests.simulation.consortium import genesis_of
from tests.simulation.machine import Core
from tests.simulation.world import FIRST_EPOCH, WALL_START_MS, Weather, World

NETWORK_MS = 10
START_MS = 1000
"""The validators start, and say that they are there, before the transcript opens: time 0 on it."""
LABEL, COURT, SOCIETY, PLATFORM = NAMES
Fate = Callable[[str, str, Message], int | None]
"""What the network does to a message from one to another: so many ms later, or None: lost."""


class Stage(World):
    """puppet: the validator without an engine, which says what the script says. absent: it is not even there."""

    def __init__(self, puppet: str | None = None, absent: str | None = None, observer: int | None = None) -> None:
        """observer: number of a machine of a real consortium that follows; without one, payloads are digests alone."""
        consortium = observer is not None
        committee = committee_of(4) if not consortium else genesis_of(4).roster.committee()
        self.index = {name: committee.leader(View(view)) for view, name in enumerate(NAMES, start=1)}
        if observer is not None:
            self.index[ARCHIVE] = ValidatorIndex(observer)
        byzantine = frozenset({self.index[puppet]}) if puppet else frozenset()
        super().__init__(committee, seed=0, byzantine=byzantine, consortium=consortium)
        self.names = {index: name for name, index in self.index.items()}
        self.weather = Weather(delay_ms=(NETWORK_MS, NETWORK_MS))
        self.fate: Fate = lambda *_: 0
        self.kill_at_sign: str | None = None
        """Whoever is named here is killed when it comes to sign, once: its vote is on disk and nowhere else."""
        self.transcript = Transcript(self.names, self.genesis, self._engine)
        self.trace = self.transcript
        self.transcript.before_sign = self._before_sign
        for index, node in self.nodes.items():
            node.skew_ms = -START_MS  # so that clocks show 08:00:00 when the transcript opens
            if self.names.get(ValidatorIndex(index), absent) != absent:
                self.start(index)
        self.run(START_MS)
        self.transcript.open(START_MS)

    @property
    def genesis(self) -> Block:
        return genesis_block(self.committee)

    def _engine(self, index: int) -> Core | None:
        return self.nodes[index].engine if index in self.nodes else None

    # ---- script ------------------------------------------------------------------------------------------------------

    def then(self, time_ms: int, action: Callable[[], None]) -> None:
        self.at(START_MS + time_ms, action)

    def until(self, time_ms: int) -> None:
        self.run(START_MS + time_ms)

    def order(self, time_ms: int, author: str, number: int) -> None:
        """Payload `number` enters at `author`, who spreads it."""
        self.then(time_ms, lambda: self.submit(self.index[author], payload(number)))

    def kill(self, name: str) -> None:
        self.nodes[self.index[name]].engine = None
        self.transcript.note(self.now_ms, self.index[name], "IS KILLED")

    def _before_sign(self, index: int) -> None:
        if self.names[index] == self.kill_at_sign:
            self.kill_at_sign = None
            self.kill(self.names[index])

    def restart(self, time_ms: int, name: str) -> None:
        self.then(time_ms, lambda: self.start(self.index[name]))

    def set_clocks_back(self, back_ms: int) -> None:
        for node in self.nodes.values():
            node.skew_ms -= back_ms

    # ---- network -----------------------------------------------------------------------------------------------------

    def send(self, sender: int, to: int, message: Message, epoch: Epoch = FIRST_EPOCH) -> None:
        late_ms = self.fate(self.names[sender], self.names[to], message)
        if late_ms is None:
            self.transcript.lost(self.now_ms, sender, to, message)
        elif late_ms:
            post = super().send
            note = self.transcript.late
            arrival_ms = self.now_ms + late_ms + NETWORK_MS
            self.at(arrival_ms, lambda: note(arrival_ms, sender, to, message, late_ms))
            self.at(self.now_ms + late_ms, lambda: post(sender, to, message, epoch))
        else:
            super().send(sender, to, message, epoch)

    # ---- puppet ------------------------------------------------------------------------------------------------------

    def say(self, time_ms: int, puppet: str, to: tuple[str, ...], message: Message) -> None:
        def speak() -> None:
            sender = self.index[puppet]
            whom = ", ".join(to) if len(to) < len(NAMES) - 1 else "all"
            self.transcript.say(self.now_ms, sender, whom, message)
            for name in to:
                self.send(sender, self.index[name], message)

        self.then(time_ms, speak)

    def block(self, proposer: str, view: int, parent: Block, payloads: tuple[Digest, ...], time_ms: int) -> Block:
        return Block(
            consortium=self.committee.consortium, epoch=self.committee.epoch, view=View(view),
            height=Height(parent.height + 1), parent_view=parent.view, parent=parent.digest,
            timestamp_ms=WALL_START_MS + time_ms, proposer=self.index[proposer], payloads=payloads,
        )  # fmt: skip

    def vote(self, voter: str, vote: Vote) -> SignedVote:
        return signed(self.committee, self.index[voter], vote)

    def proposal(self, block: Block, parent: Certificate | None = None) -> Proposal:
        vote = signed(self.committee, block.proposer, vote_for(VoteKind.NOTARIZE, block))
        return Proposal(block=block, vote=vote, parent=parent, nullifications=())

    # ---- the end -----------------------------------------------------------------------------------------------------

    def close(self) -> str:
        """The transcript, and how the validators end."""
        lines = [self.transcript.text(), "", "In the end:"]
        for name, index in self.index.items():
            if index not in self.nodes:
                lines.append(f"  {name:<9} is Byzantine")
            elif (engine := self._engine(index)) is None:
                lines.append(f"  {name:<9} is down")
            else:
                status = engine.status()
                chain = self.nodes[index].disk.chain[1:]
                blocks = ", ".join(self.transcript.name_of(block) for block in chain) or "nothing"
                lines.append(f"  {name:<9} is in view {status.view}; final: {blocks}")
        return "\n".join(lines) + "\n"
