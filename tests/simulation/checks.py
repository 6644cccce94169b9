"""What must hold in every run, checked as it happens. Raises: Violation."""

from __future__ import annotations

from consensus.certificates import check_certificate
from consensus.events import Commit, Misbehaviour, Rejected
from consensus.types import Block, Committee, Digest, Vote, VoteKind
from tests.consensus.toys import verify
from tests.simulation.disk import Disk


class Violation(AssertionError):
    """A property that a run broke."""


class Checks:
    """Knows everything about every honest validator, across its crashes."""

    def __init__(self, committee: Committee, honest: frozenset[int]) -> None:
        self._committee = committee
        self._honest = honest
        self._signed: dict[tuple[int, int, VoteKind], Vote] = {}
        self._agreed: dict[int, Digest] = {}
        self.submitted: set[Digest] = set()

    def sign(self, node: int, vote: Vote, disk: Disk) -> None:
        """Persist before Sign, and no honest contradiction, ever: across crashes and restarts."""
        if disk.votes.get((vote.view, vote.kind)) != vote:
            raise Violation(f"validator {node} signs a vote that is not on its disk: {vote}")
        earlier = self._signed.setdefault((node, vote.view, vote.kind), vote)
        if earlier != vote:
            raise Violation(f"validator {node} signed twice in view {vote.view}: {earlier} and {vote}")
        if (node, vote.view, VoteKind.NULLIFY) in self._signed and (node, vote.view, VoteKind.FINALIZE) in self._signed:
            raise Violation(f"validator {node} both nullified and finalized view {vote.view}")

    def commit(self, node: int, commit: Commit, disk: Disk) -> None:
        """Order, links, payloads held, a real finalization, only submitted payloads; and agreement of all."""
        parent = disk.head
        for block in commit.blocks:
            self._check_block(node, block, parent, disk)
            agreed = self._agreed.setdefault(block.height, block.digest)
            if agreed != block.digest:
                raise Violation(f"fork at height {block.height}: validator {node} committed {block.digest.hex()[:8]}")
            parent = block
        last, vote = commit.blocks[-1], commit.finalization.vote
        if (vote.kind, vote.view, vote.block) != (VoteKind.FINALIZE, last.view, last.digest):
            raise Violation(f"validator {node} committed height {last.height} with a certificate of something else")
        check_certificate(commit.finalization, self._committee, verify)

    def _check_block(self, node: int, block: Block, parent: Block, disk: Disk) -> None:
        links = (block.height, block.parent, block.parent_view) == (parent.height + 1, parent.digest, parent.view)
        if not links:
            raise Violation(f"validator {node} committed height {block.height} over height {parent.height}")
        if block.timestamp_ms <= parent.timestamp_ms:
            raise Violation(f"block time went back at height {block.height}")
        for digest in block.payloads:
            if digest not in disk.payloads:
                raise Violation(f"validator {node} committed height {block.height} without its payloads")
            if digest not in self.submitted:
                raise Violation(f"validator {node} committed a payload that nobody submitted")

    def misbehaviour(self, node: int, evidence: Misbehaviour) -> None:
        """Evidence is genuine and never names an honest validator."""
        first, second = evidence.first, evidence.second
        kinds = {first.vote.kind, second.vote.kind}
        contradicts = first.vote != second.vote and (len(kinds) == 1 or kinds == {VoteKind.NULLIFY, VoteKind.FINALIZE})
        if first.voter != second.voter or first.vote.view != second.vote.view or not contradicts:
            raise Violation(f"validator {node} reports evidence that proves nothing: {evidence}")
        for vote in (first, second):
            message = vote.vote.signing_bytes(self._committee.consortium)
            if not verify(self._committee.validators[vote.voter], message, vote.signature):
                raise Violation(f"validator {node} reports forged evidence: {evidence}")
        if first.voter in self._honest:
            raise Violation(f"validator {node} accuses honest validator {first.voter}: {evidence}")

    def rejected(self, node: int, rejected: Rejected) -> None:
        """Nothing an honest validator says is ever refused."""
        if rejected.sender in self._honest:
            raise Violation(f"validator {node} refused honest validator {rejected.sender}: {rejected.error}")
