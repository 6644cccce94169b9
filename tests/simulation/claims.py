"""What must hold of claims' rights and of the leaves that follow, by a model that is not the code under test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from consensus.events import Commit
from consensus.types import ZERO_DIGEST, Block, Digest
from ledger.apply import Applied, DerivedEntry, Entry
from ledger.derived import DerivedKind
from ledger.rights import ClaimId
from ledger.rights_content import (
    CourtAction,
    CourtOrder,
    Dispute,
    Mint,
    Resolve,
    Respond,
    RightsChange,
    RightsContent,
    Supersede,
    Transfer,
    Withdraw,
)
from tests.simulation.books import Books

Key = tuple[bytes, int]
OF_HOLDERS = (Respond, Withdraw, Transfer, Supersede, Mint)
OF_UNDISPUTED = (Transfer, Supersede, Mint)


class ClaimChecks:
    """Looks at every height once, by whoever gets there first: that all logs are the same is checked elsewhere."""

    def __init__(self) -> None:
        self._top = 0
        self._is_ending = False
        self._seq: dict[bytes, int] = {}
        self._heads: dict[Key, Digest] = {}
        self._holders: dict[Key, str] = {}
        self._stays: dict[Key, Digest | None] = {}
        self._open: dict[Key, set[Digest]] = {}
        """Disputes."""
        self.minted = 0
        self.transitions = 0
        self.lapsed = 0

    def fault(self, commit: Commit, applied: Sequence[Applied], books: Books) -> str | None:
        """What is wrong, if anything is. applied: none where payloads are only digests. books: after the commit."""
        if not applied:
            return None
        for block, one in zip(commit.blocks, applied, strict=True):
            if block.height > self._top:
                self._top = block.height
                if (found := self._fault_of(block, one, books)) is not None:
                    return f"block {block.height}: {found}"
        last = commit.blocks[-1]
        if not books.is_ending and not commit.ends_epoch and next(books.stays_due(last.timestamp_ms), None):
            return f"a stay that was due has not lapsed by block {last.height}"
        return None

    def _fault_of(self, block: Block, applied: Applied, books: Books) -> str | None:
        if self._is_ending and applied.leaf_count:
            return "adds leaves after a change had passed"
        before: Entry | DerivedEntry | None = None
        for leaf in applied.leaves():
            found = (
                self._of_statement(leaf, books) if isinstance(leaf, Entry) else self._of_derived(leaf, before, books)
            )
            if found is not None:
                return f"leaf {leaf.index} {found}"
            before = leaf
        ordered = {(c.claim, c.position) for c in (e.statement.content for e in applied.entries) if _is_order(c)}
        for rights in applied.rights:
            key = (rights.claim.statement, rights.claim.position)
            stay = None if rights.stay is None else rights.stay.order
            self.lapsed += self._stays.get(key) is not None and stay is None and key not in ordered
            self._stays[key] = stay
            if rights.holder != self._holders.get(key, books.issuer_of(rights.claim)):
                return f"{rights.holder} holds a claim that nobody gave it"
        self._is_ending |= applied.next_roster is not None
        if block.next_committee != ZERO_DIGEST:
            self._is_ending = False
        return None

    def _of_statement(self, leaf: Entry, books: Books) -> str | None:
        content, digest = leaf.statement.content, leaf.digest
        if not isinstance(content, RightsContent):
            return None
        key = (content.claim, content.position)
        holder = self._holders.get(key, books.issuer_of(ClaimId(content.claim, content.position)))
        if isinstance(content, OF_HOLDERS) and leaf.statement.issuer != holder:
            return f"is of {leaf.statement.issuer}, who does not hold the claim"
        if isinstance(content, OF_UNDISPUTED) and self._open.get(key):
            return "is of a claim with a dispute open"
        if isinstance(content, Mint):
            return None
        if not isinstance(content, Dispute) and content.head != self._heads.get(key, content.claim):
            return "names a head that was another's"
        self._heads[key] = digest
        self.transitions += 1
        self._follow(content, digest, key)
        return None

    def _follow(self, content: RightsChange, digest: Digest, key: Key) -> None:
        disputes = self._open.setdefault(key, set())
        match content:
            case Dispute():
                disputes.add(digest)
            case Resolve():
                disputes.discard(content.dispute)
            case Transfer():
                self._holders[key] = content.to
            case CourtOrder() if content.to is not None:
                self._holders[key] = content.to
            case CourtOrder() if content.order is CourtAction.REINSTATE:
                disputes.clear()
            case _:
                pass

    def _of_derived(self, leaf: DerivedEntry, before: Entry | DerivedEntry | None, books: Books) -> str | None:
        if books.index_of_statement(leaf.cause) is None:
            return "is caused by what is not on record"
        if leaf.kind is DerivedKind.MINT:
            self.minted += 1
            self._seq[leaf.digest] = 0
            is_next = isinstance(before, Entry) and before.digest == leaf.cause
            return None if is_next else "is a MINT leaf that does not follow its statement"
        mint, seq = leaf.preimage[64:96], int.from_bytes(leaf.preimage[96:128], "big")
        if seq != self._seq.get(mint, -1) + 1:
            return f"is STATUS {seq} of a mint after {self._seq.get(mint)}"
        self._seq[mint] = seq
        return None


def _is_order(content: object) -> TypeGuard[CourtOrder]:
    return isinstance(content, CourtOrder)
