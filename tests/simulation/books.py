"""A simulated node's ledger: the real execution and the real tree, on dictionaries in place of the store."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

from consensus.types import Block, Digest
from ledger.apply import Applied, Entry, Overlay, apply_block, claims_in
from ledger.catalogue import CatalogueHeader
from ledger.merkle import Frontier
from ledger.rights import ClaimId, ClaimRights
from ledger.roster import Roster
from ledger.statement import Statement


class Books:
    """A LedgerView of what is on record here. Changed by `record` alone, a whole commit at a time."""

    def __init__(self, roster: Roster | None) -> None:
        self._roster = roster
        self.frontier = Frontier()
        self.statements: list[Statement] = []
        """Of the leaves that are statements, in order."""
        self.size = 0
        """Leaves."""
        self.is_ending = False
        self._rights: dict[ClaimId, ClaimRights] = {}
        self._issuers: dict[Digest, tuple[str, int]] = {}
        """Who made the claims in a statement, and how many."""
        self._by_digest: dict[Digest, int] = {}
        self._by_signed: dict[Digest, int] = {}
        self._by_ref: dict[tuple[str, str], int] = {}
        self._by_root: dict[tuple[str, Digest], int] = {}
        self._voters: dict[Digest, frozenset[str]] = {}

    def copy(self) -> Books:
        """For a backup."""
        taken = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (list, dict)):
                setattr(taken, name, copy.copy(value))
        return taken

    # ---- LedgerView --------------------------------------------------------------------------------------------------

    @property
    def roster(self) -> Roster:
        assert self._roster is not None, "payloads that are only digests have no statements to execute"
        return self._roster

    def voters_for(self, proposal: Digest) -> frozenset[str]:
        return self._voters.get(proposal, frozenset())

    def votes_by(self, voter: str) -> int:
        return sum(voter in voters for voters in self._voters.values())

    def index_of_statement(self, digest: Digest) -> int | None:
        return self._by_digest.get(digest)

    def index_of_signed(self, signed_digest: Digest) -> int | None:
        return self._by_signed.get(signed_digest)

    def index_of_client_ref(self, issuer: str, client_ref: str) -> int | None:
        return self._by_ref.get((issuer, client_ref))

    def index_of_catalogue(self, issuer: str, root: Digest) -> int | None:
        return self._by_root.get((issuer, root))

    def issuer_of(self, claim: ClaimId) -> str | None:
        issuer, count = self._issuers.get(claim.statement, ("", 0))
        return issuer if claim.position < count else None

    @property
    def claims(self) -> list[ClaimId]:
        """All on record, in order."""
        return [ClaimId(digest, at) for digest, (_, count) in self._issuers.items() for at in range(count)]

    @property
    def rights(self) -> Mapping[ClaimId, ClaimRights]:
        """Of claims that something has happened to."""
        return self._rights

    def rights_of(self, claim: ClaimId) -> ClaimRights | None:
        return self._rights.get(claim)

    def stays_due(self, time_ms: int) -> Iterator[tuple[int, ClaimId]]:
        stays = ((rights.stay, claim) for claim, rights in self._rights.items())
        yield from sorted((stay.until_ms, claim) for stay, claim in stays if stay and 0 < stay.until_ms <= time_ms)

    # ---- execution ---------------------------------------------------------------------------------------------------

    def execute(
        self,
        blocks: Sequence[Block],
        statements: Mapping[Digest, Sequence[Statement]],
        bodies: Mapping[Digest, Sequence[bytes]],
    ) -> tuple[Applied, ...]:
        """As node/execution.py does; nothing is changed here. statements: by payload. bodies: claims by statement."""
        if self._roster is None:
            return ()
        view = Overlay(self)
        applied: list[Applied] = []
        for block in blocks:
            payloads = [(digest, statements[digest]) for digest in block.payloads]
            applied.append(apply_block(view, block.height, block.timestamp_ms, payloads, bodies))
            view.extend(applied[-1])
        return tuple(applied)

    def record(self, applied: Sequence[Applied]) -> None:
        """Takes up what `execute` found: in the node one transaction, with the blocks."""
        for block in applied:
            for vote in block.votes:
                self._voters[vote.proposal] = self.voters_for(vote.proposal) | {vote.voter}
            for leaf in block.leaves():
                assert leaf.index == self.size, "leaves are appended in order"
                self.size += 1
                self.frontier, _ = self.frontier.extend([leaf.digest])
                if isinstance(leaf, Entry):
                    self._add(leaf.index, leaf.statement)
            for rights in block.rights:
                self._rights[rights.claim] = rights
            self.is_ending |= block.next_roster is not None

    def begin(self, roster: Roster) -> None:
        """The next epoch: votes of the last one have lapsed."""
        self._roster = roster
        self.is_ending = False
        self._voters.clear()

    def _add(self, index: int, statement: Statement) -> None:
        self.statements.append(statement)
        self._issuers[statement.digest] = (statement.issuer, claims_in(statement))
        self._by_digest[statement.digest] = index
        self._by_signed[statement.signed_digest] = index
        self._by_ref[statement.issuer, statement.client_ref] = index
        if isinstance(statement.content, CatalogueHeader):
            self._by_root[statement.issuer, statement.content.root] = index
