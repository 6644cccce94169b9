"""One engine on the bench: events go in by hand, its signing is done at once, and what comes out is kept."""

from __future__ import annotations

from typing import TypeVar

from consensus.engine import Engine
from consensus.events import (
    Alarm,
    Broadcast,
    Commit,
    Event,
    Executed,
    Output,
    PayloadsHeld,
    Received,
    Rejected,
    Restored,
    Send,
    Sign,
    Signed,
    Tick,
)
from consensus.messages import Message, Proposal
from consensus.types import (
    Block,
    Certificate,
    Committee,
    Digest,
    Height,
    ValidatorIndex,
    View,
    Vote,
    VoteKind,
    genesis_block,
    nullify,
)
from tests.consensus.toys import SEED, certify, committee_of, signed, verify, vote_for

M = TypeVar("M")
WALL_MS = 1_800_000_000_000
START_MS = 1000


class Bench:
    """Validator `me` of a committee. sign: whether Sign outputs are answered at once (else by `sign_all`)."""

    def __init__(
        self,
        me: int = 0,
        *,
        size: int = 4,
        restored: Restored | None = None,
        sign: bool = True,
        start: bool = True,
        committee: Committee | None = None,
    ) -> None:
        self.committee = committee if committee is not None else committee_of(size)
        self.genesis = genesis_block(self.committee)
        self.me = ValidatorIndex(me)
        self.outputs: list[Output] = []
        self.verified = 0
        self._sign = sign
        self.now_ms = START_MS
        self.wall_ms = WALL_MS
        self.engine = Engine(
            committee=self.committee,
            me=self.me,
            verify=self._verify,
            restored=restored if restored is not None else Restored(head=self.genesis, finalization=None),
            seed=SEED,
        )
        if start:
            self.tick(0)

    def _verify(self, key: bytes, message: bytes, signature: bytes) -> bool:
        self.verified += 1
        return verify(key, message, signature)  # type: ignore[arg-type]

    # ---- certificates by others: one with a vote we never cast would end our voting (pitfall 2) --------------

    def certify(self, vote: Vote) -> Certificate:
        return certify(self.committee, vote, self.others[: self.committee.quorum])

    def notarization(self, block: Block) -> Certificate:
        return self.certify(vote_for(VoteKind.NOTARIZE, block))

    def finalization(self, block: Block) -> Certificate:
        return self.certify(vote_for(VoteKind.FINALIZE, block))

    def nullification(self, view: int) -> Certificate:
        return self.certify(nullify(self.committee.epoch, View(view)))

    # ---- in ----------------------------------------------------------------------------------------------------------

    def step(self, event: Event) -> tuple[Output, ...]:
        outputs = self.engine.step(event)
        self.outputs += outputs
        if self._sign:
            for output in outputs:
                if isinstance(output, Sign):
                    self.step(Signed(vote=signed(self.committee, self.me, output.vote)))
        return outputs

    def tick(self, after_ms: int) -> None:
        """Let time pass, with a Tick at every deadline on the way."""
        until_ms = self.now_ms + after_ms
        while (due_ms := self.engine.deadline_ms) is not None and self.now_ms < due_ms < until_ms:
            self.jump(due_ms - self.now_ms)
        self.jump(until_ms - self.now_ms)

    def jump(self, after_ms: int) -> tuple[Output, ...]:
        """One Tick, late as it may be."""
        self.now_ms += after_ms
        self.wall_ms += after_ms
        return self.step(Tick(monotonic_ms=self.now_ms, wall_ms=self.wall_ms))

    def receive(self, sender: int, message: Message) -> tuple[Output, ...]:
        return self.step(Received(sender=ValidatorIndex(sender), message=message))

    def vote(self, voter: int, vote: Vote) -> tuple[Output, ...]:
        return self.receive(voter, signed(self.committee, voter, vote))

    def votes(self, kind: VoteKind, block: Block, voters: tuple[int, ...] | None = None) -> None:
        for voter in voters if voters is not None else self.others:
            self.vote(voter, vote_for(kind, block))

    def nullifies(self, view: int, voters: tuple[int, ...] | None = None) -> None:
        for voter in voters if voters is not None else self.others:
            self.vote(voter, nullify(self.committee.epoch, View(view)))

    def propose(
        self, block: Block, parent: Certificate | None = None, nullifications: tuple[Certificate, ...] = ()
    ) -> tuple[Output, ...]:
        """The leader of the block's view proposes it."""
        return self.receive(block.proposer, self.proposal(block, parent, nullifications))

    def proposal(
        self, block: Block, parent: Certificate | None = None, nullifications: tuple[Certificate, ...] = ()
    ) -> Proposal:
        return Proposal(
            block=block,
            vote=signed(self.committee, block.proposer, vote_for(VoteKind.NOTARIZE, block)),
            parent=parent,
            nullifications=nullifications,
        )

    def hold(self, *digests: Digest, order: bool = True, ending: bool = False) -> tuple[Output, ...]:
        return self.step(PayloadsHeld(digests=digests, order=order, ending=ending))

    def executed(self, height: int, next_committee: Digest | None = None) -> tuple[Output, ...]:
        return self.step(Executed(height=Height(height), next_committee=next_committee))

    # ---- out ---------------------------------------------------------------------------------------------------------

    @property
    def others(self) -> tuple[int, ...]:
        return tuple(i for i in range(self.committee.size) if i != self.me)

    @property
    def view(self) -> View:
        return self.engine.status().view

    def drain(self) -> list[Output]:
        outputs, self.outputs = self.outputs, []
        return outputs

    def of(self, kind: type[M]) -> list[M]:
        return [output for output in self.outputs if isinstance(output, kind)]

    @property
    def cast(self) -> list[Vote]:
        """Votes this validator decided, in order."""
        return [output.vote for output in self.of(Sign)]

    def has_cast(self, kind: VoteKind, view: int) -> bool:
        return any(vote.kind is kind and vote.view == view for vote in self.cast)

    @property
    def said(self) -> list[Message]:
        """Messages broadcast."""
        return [output.message for output in self.of(Broadcast)]

    def sent(self, kind: type[M]) -> list[tuple[int, M]]:
        return [(o.to, o.message) for o in self.of(Send) if isinstance(o.message, kind)]

    @property
    def committed(self) -> list[Block]:
        return [block for commit in self.of(Commit) for block in commit.blocks]

    @property
    def rejections(self) -> list[str]:
        return [type(rejected.error).__name__ for rejected in self.of(Rejected)]

    @property
    def alarms(self) -> list[str]:
        return [type(alarm.error).__name__ for alarm in self.of(Alarm)]


def follower_of(view: int, size: int = 4) -> int:
    """A validator that leads none of the views from 1 to `view`, nor (in few views) the next."""
    committee = committee_of(size)
    leaders = {committee.leader(View(v)) for v in range(1, max(view, 2) + 1)}
    return next(i for i in range(size) if i not in leaders)


def leader_of(view: int, size: int = 4) -> int:
    return committee_of(size).leader(View(view))
