"""What a simulated validator keeps across a crash: exactly what it was told to persist or commit, nothing else."""

from __future__ import annotations

from consensus.events import Commit, Persist, Restored
from consensus.messages import BLOCKS_MAX, Chain
from consensus.types import Block, Certificate, Digest, Height, View, Vote, VoteKind


class Disk:
    """chain: committed blocks by height, the genesis block first. finalizations: by height, where a block has one."""

    def __init__(self, genesis: Block) -> None:
        self.chain: list[Block] = [genesis]
        self.finalizations: dict[int, Certificate] = {}
        self.votes: dict[tuple[View, VoteKind], Vote] = {}
        self.blocks: dict[Digest, Block] = {}
        self.certificates: dict[tuple[View, VoteKind], Certificate] = {}
        self.payloads: dict[Digest, None] = {}
        self.ordered: set[Digest] = set()
        self.trusted = True

    @property
    def head(self) -> Block:
        return self.chain[-1]

    def persist(self, persist: Persist) -> None:
        for vote in persist.votes:
            self.votes.setdefault((vote.view, vote.kind), vote)
        for block in persist.blocks:
            self.blocks[block.digest] = block
        for certificate in persist.certificates:
            self.certificates[certificate.vote.view, certificate.vote.kind] = certificate

    def commit(self, commit: Commit) -> None:
        self.chain += commit.blocks
        self.finalizations[commit.blocks[-1].height] = commit.finalization
        self.ordered |= {digest for block in commit.blocks for digest in block.payloads}

    def prune(self) -> None:
        """What the node does after a commit: voting state up to the head is of no more use."""
        view = self.head.view
        self.votes = {key: vote for key, vote in self.votes.items() if key[0] > view}
        self.certificates = {key: c for key, c in self.certificates.items() if key[0] > view}
        self.blocks = {digest: b for digest, b in self.blocks.items() if b.view > view}

    def lose_voting_state(self) -> None:
        """As an operator who restores an old backup; remembered until the engine says that it has recovered."""
        self.trusted = False
        self.votes.clear()
        self.certificates.clear()
        self.blocks.clear()

    def pending(self) -> tuple[Digest, ...]:
        return tuple(digest for digest in self.payloads if digest not in self.ordered)

    def restored(self) -> Restored:
        return Restored(
            head=self.head,
            finalization=self.finalizations.get(self.head.height),
            votes=tuple(self.votes.values()),
            blocks=tuple(self.blocks.values()),
            certificates=tuple(self.certificates.values()),
            trusted=self.trusted,
        )

    def chain_from(self, height: Height) -> Chain | None:
        """Blocks from `height`, ending at the last one within BLOCKS_MAX with its own finalization, or the first."""
        tops = [top for top in sorted(self.finalizations) if top >= height]
        near = [top for top in tops if top < height + BLOCKS_MAX]
        if not tops or height < 1:
            return None
        top = near[-1] if near else tops[0]
        return Chain(blocks=tuple(self.chain[height : top + 1]), finalization=self.finalizations[top])
