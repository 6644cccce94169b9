"""What must hold in every run, checked as it happens. Raises: Violation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import get_args

from consensus.certificates import check_certificate
from consensus.events import Commit, Misbehaviour, Rejected
from consensus.types import (
    ZERO_DIGEST,
    Block,
    Digest,
    Epoch,
    Height,
    PublicKey,
    VerifySignature,
    View,
    Vote,
    VoteKind,
    genesis_block,
    nullify,
)
from ledger.apply import Applied
from ledger.governance import Admit, Change, Remove, RotateKey, SetPolicy, proposal_id
from ledger.member import Member
from tests.simulation.claims import ClaimChecks
from tests.simulation.disk import Disk
from tests.simulation.terms import Term

CHANGES = get_args(Change)


def _about(change: Change) -> str:
    """Member id a change is about; none where it is about the parameters."""
    match change:
        case Admit():
            return change.member.id
        case Remove() | RotateKey():
            return change.member_id
        case SetPolicy():
            return ""


def _seat(member: Member | None) -> PublicKey | None:
    """The consensus key of who has a seat."""
    return member.keys.consensus if member is not None and member.validator else None


class Violation(AssertionError):
    """A property that a run broke."""


class Checks:
    """Knows everything about every honest node, across its crashes."""

    def __init__(self, term: Term, verify: VerifySignature, honest: frozenset[int]) -> None:
        self.terms: dict[Epoch, Term] = {term.epoch: term}
        """The epochs so far, as whoever got there first found them; everybody else must find the same."""
        self.top_term = term
        """The newest epoch that anybody reached."""
        self.starts: dict[Epoch, Block] = {term.epoch: genesis_block(term.committee)}
        self._verify = verify
        self._honest = honest
        self._signed: dict[tuple[int, int, int, VoteKind], Vote] = {}
        self.sees_all_signatures = False
        """Whether every signature of the run is told to `tally`."""
        self._signers: dict[Vote, set[PublicKey]] = {}
        """Every vote that anybody signed in this consortium, and by which keys."""
        self._over: set[Digest] = set()
        """Boundaries that an honest node voted for, and what it voted for above them in the same epoch."""
        self._voted_in: dict[int, Epoch] = {}
        self._agreed: dict[int, Digest] = {}
        self.top_height = 0
        """Of the chain that anybody honest has committed."""
        self._roots: dict[int, Digest] = {}
        self.submitted: set[Digest] = set()
        """Payloads that anybody, honest or not, gave out with good form, signatures and bodies."""
        self.latest_clock_ms: Callable[[], int] | None = None
        """The clock that is furthest ahead, of all validators; nobody's block may be much later."""
        self._ballots: dict[Digest, tuple[Change, set[str]]] = {}
        """Governance votes on the log, by proposal."""
        self.claims = ClaimChecks()
        self.legitimate: dict[Digest, tuple[bytes, ...]] = {}
        """Statements that may stand on the log, each with its claims. Others are on it by a fault."""

    # ---- votes -------------------------------------------------------------------------------------------------------

    def sign(self, node: int, vote: Vote, disk: Disk) -> None:
        """Persist before Sign, and no honest contradiction, ever: across crashes, restarts and epochs."""
        if disk.votes.get((vote.epoch, vote.view, vote.kind)) != vote:
            raise Violation(f"node {node} signs a vote that is not on its disk: {vote}")
        if vote.epoch != disk.term.epoch or disk.term.index(node) is None:
            raise Violation(f"node {node} signs a vote of epoch {vote.epoch}, in which it is no validator: {vote}")
        if vote.epoch < self._voted_in.setdefault(node, vote.epoch):
            raise Violation(f"node {node} votes in epoch {vote.epoch} after it voted in {self._voted_in[node]}")
        self._voted_in[node] = vote.epoch

        def key(kind: VoteKind) -> tuple[int, int, int, VoteKind]:
            return (node, vote.epoch, vote.view, kind)

        is_first = key(vote.kind) not in self._signed
        earlier = self._signed.setdefault(key(vote.kind), vote)
        if earlier != vote:
            raise Violation(f"node {node} signed twice in view {vote.view}: {earlier} and {vote}")
        nullified = key(VoteKind.NULLIFY) in self._signed
        if nullified and key(VoteKind.FINALIZE) in self._signed:
            raise Violation(f"node {node} both nullified and finalized view {vote.view}")
        if is_first and nullified and vote.kind is VoteKind.NOTARIZE:
            raise Violation(f"node {node} notarized in view {vote.view}, which it had nullified")
        if not is_first or not self.sees_all_signatures:
            return
        if vote.kind is VoteKind.NOTARIZE:
            self._check_ancestry(node, vote, disk)
            self._check_end(node, disk.blocks[vote.block], disk)
        if vote.kind is VoteKind.FINALIZE and not self._has_quorum(replace(vote, kind=VoteKind.NOTARIZE)):
            raise Violation(f"node {node} voted to finalize what nobody can have seen notarized: {vote}")

    def tally(self, key: PublicKey, vote: Vote) -> None:
        """Somebody, honest or not, signed this."""
        self._signers.setdefault(vote, set()).add(key)

    def _has_quorum(self, vote: Vote) -> bool:
        """Whether a certificate of this vote can exist."""
        committee = self.terms[vote.epoch].committee
        return len(self._signers.get(vote, set()).intersection(committee.validators)) >= committee.quorum

    def _check_ancestry(self, node: int, vote: Vote, disk: Disk) -> None:
        """Rule 2, by the signatures that exist in the world, whatever this node has seen of them."""
        block = disk.blocks[vote.block]
        start = self.starts[vote.epoch]
        if block.parent != start.digest:
            parent = Vote(
                kind=VoteKind.NOTARIZE, epoch=vote.epoch, view=block.parent_view, height=Height(block.height - 1),
                block=block.parent,
            )  # fmt: skip
            if not self._has_quorum(parent) and not self._has_quorum(replace(parent, kind=VoteKind.FINALIZE)):
                raise Violation(f"node {node} notarized a block of view {block.view} whose parent nobody notarized")
        for view in range(block.parent_view + 1, block.view):
            if not self._has_quorum(nullify(vote.epoch, View(view))):
                raise Violation(f"node {node} notarized a block of view {block.view} over view {view}, not nullified")

    def _check_end(self, node: int, block: Block, disk: Disk) -> None:
        """How an epoch ends, rules 2 and 3, whatever this node has seen of the blocks below."""
        decided = disk.next_roster
        if block.is_boundary and (decided is None or decided.digest != block.next_committee):
            raise Violation(f"node {node} votes for a boundary of view {block.view} that names what was not decided")
        if block.payloads and decided is not None:
            raise Violation(f"node {node} votes for payloads in view {block.view}, after a change had passed")
        is_over = block.parent in self._over and block.parent != self.starts[block.epoch].digest
        if is_over and (block.payloads or block.is_boundary):
            raise Violation(f"node {node} votes in view {block.view} for what is not empty above a boundary")
        if is_over or block.is_boundary:
            self._over.add(block.digest)

    # ---- finality ----------------------------------------------------------------------------------------------------

    def commit(self, node: int, commit: Commit, disk: Disk) -> None:
        """Order, links, payloads held, a real finalization, only submitted payloads; and agreement of all."""
        parent = disk.head
        for block in commit.blocks:
            self._check_block(node, block, parent, disk)
            agreed = self._agreed.setdefault(block.height, block.digest)
            self.top_height = max(self.top_height, block.height)
            if agreed != block.digest:
                raise Violation(f"fork at height {block.height}: node {node} committed {block.digest.hex()[:8]}")
            parent = block
        if any(block.next_committee != ZERO_DIGEST for block in commit.blocks[:-1]):
            raise Violation(f"node {node} committed blocks above a boundary")
        for block in commit.proof:
            if (block.parent, block.epoch) != (parent.digest, parent.epoch) or block.payloads or block.is_boundary:
                raise Violation(f"node {node} proves a boundary by a block that does not follow it, or is not empty")
            parent = block
        if commit.proof and not commit.ends_epoch:
            raise Violation(f"node {node} committed headers that prove no boundary")
        vote = commit.finalization.vote
        if (vote.kind, vote.view, vote.block) != (VoteKind.FINALIZE, parent.view, parent.digest):
            raise Violation(f"node {node} committed height {parent.height} with a certificate of something else")
        check_certificate(commit.finalization, disk.term.committee, self._verify)

    def _check_block(self, node: int, block: Block, parent: Block, disk: Disk) -> None:
        links = (block.height, block.parent, block.parent_view) == (parent.height + 1, parent.digest, parent.view)
        if not links:
            raise Violation(f"node {node} committed height {block.height} over height {parent.height}")
        if block.epoch != disk.term.epoch:
            raise Violation(f"node {node} committed a block of epoch {block.epoch} in epoch {disk.term.epoch}")
        if block.payloads and (block.next_committee != ZERO_DIGEST or disk.next_roster is not None):
            raise Violation(f"node {node} committed payloads at height {block.height}, after a change had passed")
        if block.timestamp_ms <= parent.timestamp_ms:
            raise Violation(f"block time went back at height {block.height}")
        if self.latest_clock_ms is not None:
            latest = self.latest_clock_ms() + disk.term.committee.parameters.precision_ms
            if block.timestamp_ms > max(latest, parent.timestamp_ms + 1):
                raise Violation(f"block time at height {block.height} is ahead of every clock")
        for digest in block.payloads:
            if digest not in disk.payloads:
                raise Violation(f"node {node} committed height {block.height} without its payloads")
            if digest not in self.submitted:
                raise Violation(f"node {node} committed payload {digest.hex()[:6]}, which is not valid")

    # ---- the log -----------------------------------------------------------------------------------------------------

    def executed(self, node: int, commit: Commit, applied: Sequence[Applied], disk: Disk) -> None:
        """Only legitimate statements, each once, with its claims; equal logs; equal rosters."""
        books = disk.books
        for entry in (entry for block in applied for entry in block.entries):
            claims = self.legitimate.get(entry.statement.digest)
            if claims is None:
                raise Violation(f"node {node} recorded a statement that nobody may have made: leaf {entry.index}")
            if tuple(getattr(claim, "data", claim) for claim in entry.claims) != claims:
                raise Violation(f"node {node} recorded other claims than were signed: leaf {entry.index}")
        digests = {statement.digest for statement in books.statements}
        references = {(statement.issuer, statement.client_ref) for statement in books.statements}
        if len(digests) < len(books.statements) or len(references) < len(books.statements):
            raise Violation(f"node {node} recorded a statement twice, within {books.size} leaves")
        root = books.frontier.root()
        height = commit.blocks[-1].height
        if self._roots.setdefault(height, root) != root:
            raise Violation(f"node {node} has another log than others at height {height}, {books.size} leaves")
        if (fault := self.claims.fault(commit, applied, books)) is not None:
            raise Violation(f"node {node}: {fault}")
        self._count_ballots(applied)
        if commit.ends_epoch:
            self._check_handover(node, disk)
            self.starts.setdefault(disk.term.epoch, commit.blocks[-1])
            term = self.terms.setdefault(disk.term.epoch, disk.term)
            if term != disk.term:
                raise Violation(f"node {node} has another roster in epoch {term.epoch} than others")
            if term.epoch > self.top_term.epoch:
                self.top_term = term

    def _count_ballots(self, applied: Sequence[Applied]) -> None:
        for entry in (entry for block in applied for entry in block.entries):
            change = entry.statement.content
            if isinstance(change, CHANGES):
                _, voters = self._ballots.setdefault(proposal_id(change), (change, set()))
                voters.add(entry.statement.issuer)

    def _check_handover(self, node: int, disk: Disk) -> None:
        """A new roster is what the old one becomes by the changes that a quorum of its validators signed, at most f."""
        new = disk.term.roster
        old = None if new is None else self.terms[Epoch(new.epoch - 1)].roster
        if old is None or new is None:
            raise Violation(f"node {node} goes on in an epoch that nothing leads to")
        seats = {member.id for member in old.validator_members()}
        passed = [
            change
            for change, voters in self._ballots.values()
            if change.epoch == old.epoch and len(voters & seats) >= old.committee().quorum
        ]
        if not passed:
            raise Violation(f"node {node} ended epoch {old.epoch} though no change had a quorum of votes")
        before, after = {m.id: m for m in old.members}, {m.id: m for m in new.members}
        touched = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        if not touched <= {_about(change) for change in passed}:
            raise Violation(f"node {node} has another roster in epoch {new.epoch} than what was voted for: {touched}")
        changed = [name for name in touched if _seat(before.get(name)) != _seat(after.get(name))]
        if len(changed) > old.committee().faults_max:
            raise Violation(f"{len(changed)} seats changed at the end of epoch {old.epoch}: {changed}")

    # ---- what is said of others --------------------------------------------------------------------------------------

    def misbehaviour(self, node: int, evidence: Misbehaviour) -> None:
        """Evidence is genuine and never names an honest validator."""
        first, second = evidence.first, evidence.second
        kinds = {first.vote.kind, second.vote.kind}
        contradicts = first.vote != second.vote and (len(kinds) == 1 or kinds == {VoteKind.NULLIFY, VoteKind.FINALIZE})
        if first.voter != second.voter or first.vote.view != second.vote.view or not contradicts:
            raise Violation(f"node {node} reports evidence that proves nothing: {evidence}")
        term = self.terms[first.vote.epoch]
        if second.vote.epoch != first.vote.epoch:
            raise Violation(f"node {node} reports two votes of different epochs: {evidence}")
        for vote in (first, second):
            message = vote.vote.signing_bytes(term.committee.consortium)
            if not self._verify(term.committee.validators[vote.voter], message, vote.signature):
                raise Violation(f"node {node} reports forged evidence: {evidence}")
        if term.seats[first.voter] in self._honest:
            raise Violation(f"node {node} accuses honest node {term.seats[first.voter]}: {evidence}")

    def rejected(self, node: int, sender: int, rejected: Rejected) -> None:
        """Nothing an honest validator says is ever refused."""
        if sender in self._honest:
            raise Violation(f"node {node} refused honest node {sender}: {rejected.error}")
