"""What is on record, as execution asks for it: one snapshot for a whole block."""

from __future__ import annotations

from collections.abc import Iterator

from consensus.types import Digest
from ledger.rights import ClaimId, ClaimRights
from ledger.roster import Roster
from node.store import rights
from node.store.epochs import voters_for, votes_by
from node.store.index import RecentKeys
from node.store.records import KeyKind, row_key
from node.store.view import View, catalogue_key, client_ref_key


class Recorded:
    """The LedgerView that execution asks, three times for every statement: so it is one snapshot for a whole block."""

    def __init__(self, view: View, recent: RecentKeys, size: int, roster: Roster, *, is_ending: bool) -> None:
        self._view = view
        self._is_ending = is_ending
        self._in_table = view.tables.index.in_table(view.txn)
        self._recent = recent
        self._size = size
        self._roster = roster

    @property
    def size(self) -> int:
        """Leaves."""
        return self._size

    @property
    def roster(self) -> Roster:
        """Of the current epoch."""
        return self._roster

    @property
    def is_ending(self) -> bool:
        """Whether a change has passed and no block has put it into force yet."""
        return self._is_ending

    def voters_for(self, proposal: Digest) -> frozenset[str]:
        return voters_for(self._view, proposal)

    def votes_by(self, voter: str) -> int:
        return votes_by(self._view, voter)

    def index_of_statement(self, digest: Digest) -> int | None:
        key = row_key(KeyKind.STATEMENT, digest)
        runs = self._recent.may_hold(key)
        return self._view.index_of_statement(digest, runs=runs) if runs or self._in_table(key) else None

    def index_of_signed(self, signed_digest: Digest) -> int | None:
        key = row_key(KeyKind.SIGNED, signed_digest)
        runs = self._recent.may_hold(key)
        return self._view.index_of_signed(signed_digest, runs=runs) if runs or self._in_table(key) else None

    def index_of_client_ref(self, issuer: str, client_ref: str) -> int | None:
        key = row_key(KeyKind.CLIENT_REF, client_ref_key(issuer, client_ref))
        runs = self._recent.may_hold(key)
        return self._view.index_of_client_ref(issuer, client_ref, runs=runs) if runs or self._in_table(key) else None

    def index_of_catalogue(self, issuer: str, root: Digest) -> int | None:
        runs = self._recent.may_hold(row_key(KeyKind.CATALOGUE, catalogue_key(issuer, root)))
        return self._view.index_of_catalogue(issuer, root, runs=runs)

    def issuer_of(self, claim: ClaimId) -> str | None:
        return rights.issuer_of(self._view, claim, self.index_of_statement(claim.statement))

    def rights_of(self, claim: ClaimId) -> ClaimRights | None:
        return rights.rights_of(self._view, claim)

    def stays_due(self, time_ms: int) -> Iterator[tuple[int, ClaimId]]:
        return rights.stays_due(self._view, time_ms)
