"""The blocks and certificates between the committed chain and the current view."""

from __future__ import annotations

from dataclasses import dataclass

from consensus.errors import ConflictingCertificates
from consensus.types import Block, Certificate, Digest, View, Vote, VoteKind

BLOCKS_PENDING_MAX = 4096
"""Blocks kept above the committed chain. Beyond, new ones are dropped until chain sync has caught up."""
FINALIZATIONS_PENDING_MAX = 128
"""Finalizations kept while their payloads are fetched. Beyond, all but the lowest and the newest are spare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """Blocks that lead from the committed chain to a block, ascending; `missing`: digest of the first one lacking."""

    blocks: tuple[Block, ...]
    missing: Digest | None


class Tree:
    """Blocks by digest, and the best certificates of each view above the last finalized one.

    head: last committed block. finalized: highest finalization known, whose block may still lack payloads.
    finalized_view: its view; of the block the epoch starts from, while there is none.
    """

    def __init__(self, head: Block, finalization: Certificate | None) -> None:
        self.head = head
        self.finalized = finalization
        self.finalized_view = finalization.vote.view if finalization is not None else head.view
        self.blocks: dict[Digest, Block] = {head.digest: head}
        self.seen_ms: dict[Digest, int] = {}
        """When each block came here, by the monotonic clock: what the block interval counts from."""
        self.notarizations: dict[View, Certificate] = {}
        self.nullifications: dict[View, Certificate] = {}
        self.finalizations: dict[View, Certificate] = {}
        self._uncovered: tuple[View, View | None] | None = None

    @property
    def is_full(self) -> bool:
        return len(self.blocks) >= BLOCKS_PENDING_MAX

    def add_block(self, block: Block, now_ms: int) -> None:
        self.blocks.setdefault(block.digest, block)
        self.seen_ms.setdefault(block.digest, now_ms)

    def find(self, kind: VoteKind, view: View) -> Certificate | None:
        match kind:
            case VoteKind.NOTARIZE:
                return self.notarizations.get(view)
            case VoteKind.NULLIFY:
                return self.nullifications.get(view)
            case VoteKind.FINALIZE:
                if self.finalized is not None and self.finalized.vote.view == view:
                    return self.finalized
                return self.finalizations.get(view)

    def check_consistent(self, certificate: Certificate) -> None:
        """Raises: ConflictingCertificates where it excludes one held (lemmas of research/consensus.md section 3)."""
        vote = certificate.vote
        if vote.kind is VoteKind.NULLIFY:
            if self.find(VoteKind.FINALIZE, vote.view) is not None:
                raise ConflictingCertificates(vote.view, "its finalization", "its nullification")
            return
        certified = self.certified(vote.view)
        if certified is not None and certified != vote.block:
            raise ConflictingCertificates(vote.view, certified.hex(), vote.block.hex())
        if vote.kind is VoteKind.FINALIZE and vote.view in self.nullifications:
            raise ConflictingCertificates(vote.view, "its nullification", "its finalization")

    def add_certificate(self, certificate: Certificate) -> None:
        """Take up a checked certificate; a higher finalization makes those of lower views superfluous."""
        view = certificate.vote.view
        self._uncovered = None
        match certificate.vote.kind:
            case VoteKind.NOTARIZE:
                self.notarizations[view] = certificate
            case VoteKind.NULLIFY:
                self.nullifications[view] = certificate
            case VoteKind.FINALIZE:
                self.finalizations[view] = certificate
                if len(self.finalizations) > FINALIZATIONS_PENDING_MAX:
                    del self.finalizations[sorted(self.finalizations)[-2]]
                if view > self.finalized_view:
                    self.finalized, self.finalized_view = certificate, view
                    for certificates in (self.notarizations, self.nullifications):
                        for old in [v for v in certificates if v <= view]:
                            del certificates[old]

    def certified(self, view: View) -> Digest | None:
        """Digest of the block notarized or final in `view`. A finalization stands for the notarization: it contains the
        proof of one, since an honest validator finalizes only what it saw notarized (note [E] a of the research)."""
        if view == self.head.view:
            return self.head.digest
        certificate = self.find(VoteKind.FINALIZE, view) or self.notarizations.get(view)
        return certificate.vote.block if certificate is not None else None

    def certificate_of(self, view: View) -> Certificate | None:
        """What proves that the block of `view` may be built on; None for the block the epoch starts from."""
        return self.find(VoteKind.FINALIZE, view) or self.notarizations.get(view)

    def first_gap(self, low: View, high: View) -> View | None:
        """Lowest view strictly between `low` and `high` that has no nullification."""
        return next((View(v) for v in range(low + 1, high) if v not in self.nullifications), None)

    def parent_view(self, view: View) -> View | None:
        """Highest u < view whose certified block is held, with nullifications for every view between (rule 2).

        None while a certificate or the block lacks. Nothing below the last finalized view can be built on.
        """
        for u in range(view - 1, self.finalized_view - 1, -1):
            digest = self.certified(View(u))
            if digest is not None and digest in self.blocks:
                return View(u)
            if u not in self.nullifications:
                return None
        return None

    def uncovered_view(self, view: View) -> View | None:
        """Where to ask from if a certificate lacks between `view` and the highest certified view below it; else None.

        Takes time by the certificates held, never by the views that lack: an absence of a week may be millions.
        """
        if self._uncovered is None or self._uncovered[0] != view:
            u = view - 1
            while u > self.finalized_view and self.certified(View(u)) is None and u in self.nullifications:
                u -= 1
            is_covered = u <= self.finalized_view or self.certified(View(u)) is not None
            self._uncovered = (view, None if is_covered else self._lowest_uncovered())
        return self._uncovered[1]

    def _lowest_uncovered(self) -> View:
        u = self.finalized_view + 1
        while u in self.nullifications or self.certified(View(u)) is not None:
            u += 1
        return View(u)

    def top_certificate(self) -> Certificate | None:
        """The certificate of the highest view there is one for: a notarization before a nullification."""
        views = [*self.notarizations, *self.nullifications, self.finalized_view]
        top = max(views)
        return self.certificate_of(top) or self.nullifications.get(top)

    def certificates_from(self, view: View, limit: int) -> tuple[Certificate, ...]:
        """What moves a node in `view` on: the last finalization unless it is older, then all that follow, ascending."""
        found: list[Certificate] = []
        if self.finalized is not None and self.finalized_view >= view:
            found.append(self.finalized)
        for v in sorted({*self.notarizations, *self.nullifications}):
            if v >= view and len(found) < limit:
                found += [c[v] for c in (self.notarizations, self.nullifications) if v in c]
        return tuple(found[:limit])

    def has_unfinal_work(self) -> bool:
        """Whether a notarized block that orders payloads or ends the epoch (or one not held) waits for finality."""
        for certificate in self.notarizations.values():
            block = self.blocks.get(certificate.vote.block)
            if block is None or _is_work(block):
                return True
            # An empty block's ancestors may lack their notarizations here and still wait for finality through it.
            if any(_is_work(b) for b in self.ancestors(block)):
                return True
        return False

    def ancestors(self, block: Block) -> tuple[Block, ...]:
        """Known ancestors above the last finalized view, descending, without `block` itself."""
        found: list[Block] = []
        parent = self.blocks.get(block.parent)
        while parent is not None and parent.view > max(self.finalized_view, self.head.view):
            found.append(parent)
            parent = self.blocks.get(parent.parent)
        return tuple(found)

    def uncommitted(self, block: Block) -> Path:
        """The blocks from above the committed head up to `block`."""
        blocks: list[Block] = []
        digest = block.digest
        while digest != self.head.digest:
            above = self.blocks.get(digest)
            if above is None:
                return Path(blocks=tuple(reversed(blocks)), missing=digest)
            blocks.append(above)
            digest = above.parent
        return Path(blocks=tuple(reversed(blocks)), missing=None)

    def path(self, vote: Vote) -> Path:
        """Blocks from above the committed head up to the one a finalization's `vote` names.

        Raises: ConflictingCertificates if that block does not descend from the head, or is not of the vote's view:
        no honest validator voted so, agreement is lost.
        """
        blocks: list[Block] = []
        digest = vote.block
        final = self.blocks.get(digest)
        if final is not None and (final.view, final.height) != (vote.view, vote.height):
            raise ConflictingCertificates(vote.view, f"height {final.height} in view {final.view}", digest.hex())
        while digest != self.head.digest:
            block = self.blocks.get(digest)
            if block is None:
                return Path(blocks=tuple(reversed(blocks)), missing=digest)
            if block.height <= self.head.height:
                raise ConflictingCertificates(block.view, self.head.digest.hex(), digest.hex())
            blocks.append(block)
            digest = block.parent
        return Path(blocks=tuple(reversed(blocks)), missing=None)

    def advance(self, head: Block) -> None:
        """`head` is committed: forget what cannot matter now. Every later block has a parent of at least its view."""
        self.head = head
        self._uncovered = None
        self.blocks = {d: b for d, b in self.blocks.items() if b.view > head.view or d == head.digest}
        self.seen_ms = {d: t for d, t in self.seen_ms.items() if d in self.blocks}
        self.finalizations = {v: c for v, c in self.finalizations.items() if v > head.view}


def _is_work(block: Block) -> bool:
    return bool(block.payloads) or block.is_boundary
