"""Everything an engine knows, and the outbox that puts what it wants done into the one safe order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from consensus.ending import Ending
from consensus.errors import ForeignOwnVote
from consensus.events import Alarm, Commit, Misbehaviour, Output, Persist, Sign
from consensus.pacemaker import Pacemaker
from consensus.payloads import Payloads
from consensus.rations import Rations
from consensus.recovery import Recovery
from consensus.requests import Requests
from consensus.tree import Tree
from consensus.types import (
    Block,
    Certificate,
    Committee,
    Digest,
    SignedVote,
    ValidatorIndex,
    VerifySignature,
    View,
    Vote,
    VoteKind,
)
from consensus.votes import Ballots, VotePool

VIEWS_AHEAD_MAX = 64
"""Votes and proposals further ahead of the current view are not kept: only certificates move a node (pitfall 15)."""
VIEWS_BEHIND_MAX = 256
"""Votes of views further back are forgotten, final or not: a later finalization covers them (pitfall 15)."""
NUMBER_MAX = 2**62
"""No honest view, height or time comes near; a quorum of liars must not make ours overflow."""
UNSAVED_MAX = 512
"""Certificates waiting for the next vote's Persist. Beyond, the oldest are left to be asked for again."""


class Outbox:
    """Outputs of one step, drained as: Persist, Sign, messages and requests, Commit.

    Persist first: a crash between deciding a vote and writing it would let us equivocate after the restart.
    """

    def __init__(self) -> None:
        self._votes: list[Vote] = []
        self._blocks: dict[Digest, Block] = {}
        self._certificates: dict[tuple[int, View], Certificate] = {}
        self._signs: list[Sign] = []
        self._others: list[Output] = []
        self._commits: list[Commit] = []

    def vote(self, vote: Vote) -> None:
        """Persist `vote`, with every block and certificate it may rest on, and have it signed."""
        self._votes.append(vote)
        self._signs.append(Sign(vote=vote))

    def sign_again(self, vote: Vote) -> None:
        """For a vote persisted before a restart."""
        self._signs.append(Sign(vote=vote))

    def save_block(self, block: Block) -> None:
        """Keep with the next vote: who voted for a block answers for holding it."""
        self._blocks[block.digest] = block

    def save_certificate(self, certificate: Certificate) -> None:
        """Keep with the next vote: the votes this validator casts because of it may make it the only way forward."""
        self._certificates[certificate.vote.kind, certificate.vote.view] = certificate
        while len(self._certificates) > UNSAVED_MAX:
            del self._certificates[next(iter(self._certificates))]

    def put(self, *outputs: Output) -> None:
        self._others += outputs

    def commit(self, commit: Commit) -> None:
        self._commits.append(commit)

    def forget(self, view: View) -> None:
        """Nothing below a final view needs to be kept."""
        self._certificates = {k: c for k, c in self._certificates.items() if k[1] >= view}

    def drain(self) -> tuple[Output, ...]:
        persists: list[Output] = []
        if self._votes:
            persists.append(
                Persist(
                    votes=tuple(self._votes),
                    blocks=tuple(self._blocks.values()),
                    certificates=tuple(self._certificates.values()),
                )
            )
            self._blocks.clear()
            self._certificates.clear()
        outputs = (*persists, *self._signs, *self._others, *self._commits)
        self._votes, self._signs, self._others, self._commits = [], [], [], []
        return outputs


@dataclass(slots=True, kw_only=True)
class State:
    """One epoch's engine. The modules of rules (voting, sync, serving) are functions of this.

    view: the view this validator is in. now_ms, wall_ms: of the last Tick.
    """

    committee: Committee
    me: ValidatorIndex
    verify: VerifySignature
    tree: Tree
    pool: VotePool
    pacemaker: Pacemaker
    recovery: Recovery
    rations: Rations
    ending: Ending
    view: View
    settled_view: View
    """View of the last block whose payloads were taken off the queue."""
    leader: ValidatorIndex = field(init=False)
    """Of the view."""
    requests: Requests = field(default_factory=Requests)
    ballots: Ballots = field(default_factory=Ballots)
    payloads: Payloads = field(default_factory=Payloads)
    out: Outbox = field(default_factory=Outbox)
    now_ms: int = 0
    wall_ms: int = 0
    refused: dict[View, Digest] = field(default_factory=dict)
    """The current view's block where it broke a rule for good: not looked at again."""
    equivocated: set[View] = field(default_factory=set)
    """Views whose leader was seen to notarize two blocks."""
    accused: set[tuple[View, ValidatorIndex]] = field(default_factory=set)
    """Whose contradictions were reported: once a view is enough."""
    stale_finality: bool = True
    """Something came that may let final blocks be committed."""
    missing_final: Digest | None = None
    """Block lacking between the committed head and a final block."""
    undecided: frozenset[Digest] = frozenset()
    """Blocks whose payloads lack to know what may follow them in the current view."""
    undecided_view: View | None = None
    """Lowest view whose block must be final before the current view's proposal can be judged."""

    def __post_init__(self) -> None:
        self.leader = self.committee.leader(self.view)

    @property
    def others(self) -> tuple[ValidatorIndex, ...]:
        return tuple(ValidatorIndex(i) for i in range(self.committee.size) if i != self.me)

    @property
    def finalized_view(self) -> View:
        return self.tree.finalized_view

    @property
    def delta_ms(self) -> int:
        return self.pacemaker.delta_ms(self.view, self.finalized_view)

    def without_me(self, validators: Iterable[ValidatorIndex]) -> tuple[ValidatorIndex, ...]:
        return tuple(v for v in validators if v != self.me)

    def ask_order(
        self, likely: Iterable[ValidatorIndex], first: ValidatorIndex | None = None
    ) -> tuple[ValidatorIndex, ...]:
        """Everybody else, in the order to ask: `first`, then the likely holders, then the rest.

        Validators start at different ones of a group, so that not all ask the same.
        """
        groups = ([] if first is None else [first], sorted(likely), self.others)
        ordered: dict[ValidatorIndex, None] = {}
        for group in groups:
            start = self.me % len(group) if group else 0
            ordered |= dict.fromkeys((*group[start:], *group[:start]))
        ordered.pop(self.me, None)
        return tuple(ordered)

    def enter(self, view: View) -> None:
        """Rule 1: enter a view on a certificate of the one before (or of any later one: rule 10 of the research)."""
        if view > self.view:
            self.pacemaker.enter(self.view, self.now_ms)
            self.view = view
            self.leader = self.committee.leader(view)
            self.pool.prune(View(view - VIEWS_BEHIND_MAX))
            self.equivocated = {v for v in self.equivocated if v > view - VIEWS_BEHIND_MAX}
            self.accused = {(v, i) for v, i in self.accused if v > view - VIEWS_BEHIND_MAX}
            self.refused.clear()
            self.undecided = frozenset()
            self.undecided_view = None

    def add_block(self, block: Block) -> None:
        self.tree.add_block(block, self.now_ms)
        self.stale_finality = True

    def proposal_gap(self) -> View | None:
        """Lowest view whose certificate lacks for judging this view's proposal (the ancestry check)."""
        first = self.pool.get(self.view, VoteKind.NOTARIZE, self.leader)
        block = self.tree.blocks.get(first.vote.block) if first is not None else None
        if block is None or block.parent_view < self.finalized_view:
            return None
        if self.tree.certified(block.parent_view) is None:
            return block.parent_view
        gap = self.tree.first_gap(block.parent_view, block.view)
        if gap is None and self.undecided_view is not None and self.undecided_view > self.finalized_view:
            return self.undecided_view
        return gap

    def check_own(self, signed: SignedVote) -> None:
        """A valid vote in our name: if we never cast it, somebody else holds our key, or our disk was rolled back.

        Then this validator stops voting and recovers (pitfall 2).
        """
        vote = signed.vote
        if signed.voter != self.me or vote.view <= self.finalized_view or self.recovery.active:
            return
        if self.ballots.get(vote.view, vote.kind) != vote:
            self.recovery.begin(max(self.view, vote.view))
            self.out.put(Alarm(error=ForeignOwnVote(vote.view, vote.kind.name)))

    def accuse(self, first: SignedVote, second: SignedVote) -> None:
        """Report two contradicting votes, once per validator and view."""
        view = first.vote.view
        if first.voter == self.committee.leader(view) and first.vote.kind is second.vote.kind:
            self.equivocated.add(view)
        if (view, first.voter) not in self.accused:
            self.accused.add((view, first.voter))
            self.out.put(Misbehaviour(first=first, second=second))

    def prune(self, view: View) -> None:
        """`view` is final: forget what was only of use below."""
        self.pool.prune(view)
        self.ballots.prune(view)
        self.out.forget(view)
        self.equivocated = {v for v in self.equivocated if v > view}
        self.accused = {(v, i) for v, i in self.accused if v > view}

    def entry_certificate(self) -> Certificate | None:
        """What let this validator into its view: F, U or N of the view before, in this order (research, rule 6)."""
        tree, before = self.tree, View(self.view - 1)
        kinds = (VoteKind.FINALIZE, VoteKind.NULLIFY, VoteKind.NOTARIZE)
        return next((found for kind in kinds if (found := tree.find(kind, before)) is not None), None)
