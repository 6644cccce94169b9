"""What a simulated node keeps across a crash: exactly what it was told to persist or commit, nothing else."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Sequence

from consensus.events import Commit, Persist, Restored
from consensus.messages import BLOCKS_MAX, Chain
from consensus.types import (
    ZERO_DIGEST,
    Block,
    Certificate,
    Digest,
    Epoch,
    Height,
    View,
    Vote,
    VoteKind,
    genesis_block,
)
from ledger.apply import Applied
from ledger.roster import Roster
from tests.simulation.books import Books
from tests.simulation.consortium import genesis_with
from tests.simulation.shelf import Shelf
from tests.simulation.terms import Term, term_of

VotingKey = tuple[Epoch, View, VoteKind]
"""Views go on counting over epochs, and the last ones of an epoch come again: so the epoch is part of the key."""


class Disk:
    """chain: committed blocks by height, the genesis block first. finalizations: by height, where a block has one.

    proofs: headers that prove a boundary block final which has no finalization of its own, by its height.
    terms: the epochs so far; starts: height of the block each starts from. next_roster: what execution decided.
    payloads: frames of valid payloads. blobs: manifests and chunks of catalogues. books: what was executed.
    """

    def __init__(self, term: Term) -> None:
        self.chain: list[Block] = [genesis_block(term.committee)]
        self.finalizations: dict[int, Certificate] = {}
        self.proofs: dict[int, tuple[Block, ...]] = {}
        self.terms: list[Term] = [term]
        self.starts: list[int] = [0]
        self.next_roster: Roster | None = None
        self.votes: dict[VotingKey, Vote] = {}
        self.blocks: dict[Digest, Block] = {}
        self.certificates: dict[VotingKey, Certificate] = {}
        self.payloads: dict[Digest, bytes] = {}
        self.blobs: dict[Digest, bytes] = {}
        self.ordered: set[Digest] = set()
        self.books = Books(term.roster)
        self.shelf = Shelf(None if term.roster is None else genesis_with(term.roster.consortium))
        self.trusted = True

    @property
    def head(self) -> Block:
        return self.chain[-1]

    @property
    def term(self) -> Term:
        """The epoch this node is in."""
        return self.terms[-1]

    # ---- writing -----------------------------------------------------------------------------------------------------

    def persist(self, persist: Persist) -> None:
        for vote in persist.votes:
            self.votes.setdefault((vote.epoch, vote.view, vote.kind), vote)
        for block in persist.blocks:
            self.blocks[block.digest] = block
        for certificate in persist.certificates:
            vote = certificate.vote
            self.certificates[vote.epoch, vote.view, vote.kind] = certificate

    def commit(self, commit: Commit, applied: Sequence[Applied]) -> None:
        """One transaction: blocks, what they add to the log, and at an epoch's end the next roster."""
        self.books.record(applied)
        self.next_roster = next_roster(self.next_roster, applied)
        self.chain += commit.blocks
        top = commit.blocks[-1].height
        self.finalizations[top] = commit.finalization
        if commit.proof:
            self.proofs[top] = commit.proof
        self.ordered |= {digest for block in commit.blocks for digest in block.payloads}
        if commit.ends_epoch:
            assert self.next_roster is not None, "a boundary was compared with what execution gave before it was kept"
            self.terms = [*self.terms, term_of(self.next_roster)]
            self.starts = [*self.starts, top]
            self.books.begin(self.next_roster)
            self.next_roster = None

    def prune(self) -> None:
        """What the node does after a commit: voting state up to the head, and of earlier epochs, is of no more use."""
        epoch, view = self.term.epoch, self.head.view
        self.votes = {key: vote for key, vote in self.votes.items() if key[0] >= epoch and key[1] > view}
        self.certificates = {key: c for key, c in self.certificates.items() if key[0] >= epoch and key[1] > view}
        self.blocks = {digest: b for digest, b in self.blocks.items() if b.epoch >= epoch and b.view > view}

    def keep_blobs(self, blobs: Iterable[bytes]) -> None:
        for blob in blobs:
            self.blobs[Digest(hashlib.sha256(blob).digest())] = blob

    # ---- faults ------------------------------------------------------------------------------------------------------

    def lose_voting_state(self) -> None:
        """As an operator who restores an old backup; remembered until the engine says that it has recovered."""
        self.trusted = False
        self.votes.clear()
        self.certificates.clear()
        self.blocks.clear()

    def snapshot(self) -> Disk:
        """All of it, as it is now: what a backup holds."""
        taken = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (list, dict, set)):
                setattr(taken, name, copy.copy(value))
        taken.books = self.books.copy()
        taken.shelf = self.shelf.copy()
        return taken

    # ---- reading -----------------------------------------------------------------------------------------------------

    def content(self, digest: Digest) -> bytes | None:
        """What is served by hash: a payload or a blob."""
        found = self.payloads.get(digest)
        return self.blobs.get(digest) if found is None else found

    def pending(self) -> tuple[Digest, ...]:
        return tuple(digest for digest in self.payloads if digest not in self.ordered)

    def restored(self) -> Restored:
        is_start = self.head.height == self.starts[-1]
        return Restored(
            head=self.head,
            finalization=None if is_start else self.finalizations.get(self.head.height),
            votes=tuple(self.votes.values()),
            blocks=tuple(self.blocks.values()),
            certificates=tuple(self.certificates.values()),
            next_committee=ZERO_DIGEST if self.next_roster is None else self.next_roster.digest,
            trusted=self.trusted,
        )

    def chain_from(self, height: Height) -> tuple[Epoch, Chain] | None:
        """Blocks from `height`, all of one epoch, ending at the last one within BLOCKS_MAX that has a finalization.

        Past BLOCKS_MAX where so many in a row have none; the headers that prove a boundary are at the end.
        """
        if not 0 < height <= self.head.height:
            return None
        epoch = sum(start < height for start in self.starts) - 1
        end = self.starts[epoch + 1] if epoch + 1 < len(self.starts) else self.head.height
        tops = [top for top in sorted(self.finalizations) if height <= top <= end]
        near = [top for top in tops if top < height + BLOCKS_MAX]
        top = near[-1] if near else tops[0]
        blocks = (*self.chain[height : top + 1], *self.proofs.get(top, ()))
        return Epoch(epoch), Chain(blocks=blocks, finalization=self.finalizations[top])


def next_roster(decided: Roster | None, applied: Sequence[Applied]) -> Roster | None:
    """What execution has decided, after these blocks too."""
    found = [block.next_roster for block in applied if block.next_roster is not None]
    return found[-1] if found else decided
