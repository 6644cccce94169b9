"""Execution: what a final block adds to the log. Pure and deterministic: every validator computes the same leaves.

Validity of form and signature was checked before anybody voted; here is decided what depends on state: whether
something is on record already, what members' votes on governance come to, and what the rights of a claim allow
(`ledger.derive`). A statement refused here leaves a receipt, never a leaf (design D4, D7).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, Protocol

from consensus.types import Digest
from ledger.catalogue import CatalogueHeader, CheckedBody
from ledger.claim import Claim, claim_keys, read_claim_keys
from ledger.claim_check import NO_KEYS, BodyKeys, alone_keys, body_keys
from ledger.derive import Derivation, DerivedEntry
from ledger.governance import (
    VOTES_PER_EPOCH_MAX,
    Change,
    NotApplicable,
    amend,
    check_seats,
    conclude,
    proposal_id,
)
from ledger.receipt import Outcome, Reason, Receipt
from ledger.rights import ClaimId, ClaimRights, RightsRefused
from ledger.rights_content import RightsContent
from ledger.roster import Roster
from ledger.statement import Statement

__all__ = [
    "Applied",
    "CountedVote",
    "DerivedEntry",
    "Entry",
    "LedgerView",
    "Outcome",
    "Overlay",
    "Reason",
    "Receipt",
    "apply_block",
]

_PLAIN: Final = (Claim, CatalogueHeader)
"""What nearly all statements are: nothing but duplicates stands in their way."""


class LedgerView(Protocol):
    """The state that execution depends on: what is on record below `size`, rights, and the epoch's roster and votes."""

    @property
    def size(self) -> int:
        """Leaves."""

    @property
    def roster(self) -> Roster:
        """Of the epoch of the block to be executed."""

    @property
    def is_ending(self) -> bool:
        """Whether a change of the roster has passed in an earlier block and awaits the next epoch."""

    def voters_for(self, proposal: Digest) -> frozenset[str]:
        """Members whose votes for this proposal are on record. A proposal is of one epoch: so are its votes."""

    def votes_by(self, voter: str) -> int:
        """How many votes of this member are on record in the roster's epoch."""

    def index_of_statement(self, digest: Digest) -> int | None:
        """Leaf index of the statement with these very bytes."""

    def index_of_signed(self, signed_digest: Digest) -> int | None:
        """Leaf index of the statement whose Sig_structure has this SHA-256."""

    def index_of_client_ref(self, issuer: str, client_ref: str) -> int | None: ...

    def index_of_catalogue(self, issuer: str, root: Digest) -> int | None: ...

    def issuer_of(self, claim: ClaimId) -> str | None:
        """Who made the claim; None where no statement on record has one there."""

    def rights_of(self, claim: ClaimId) -> ClaimRights | None:
        """None where nothing has happened to the claim since it was recorded."""

    def stays_due(self, time_ms: int) -> Iterator[tuple[int, ClaimId]]:
        """(until_ms, claim) of every stay that lapses at `time_ms` or before, ascending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One new leaf of the log that is a statement: its digest at `index`."""

    index: int
    statement: Statement
    height: int
    block_time_ms: int
    claims: Sequence[bytes]
    """In order of their position: one of a CLAIM or SUPERSEDE, all of a CATALOGUE, none of other statements."""
    keys: BodyKeys
    """By what the claims are found."""

    @property
    def digest(self) -> Digest:
        """What the log hashes into the leaf."""
        return self.statement.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedVote:
    """A vote that counts: the leaf `index` holds it. All that the store must keep for `LedgerView.voters_for`."""

    proposal: Digest
    voter: str
    """Member id."""
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What one block adds: leaves in order, and a receipt for every statement it ordered, in order.

    Invariant: the indices of `entries` and `derived` together go up by one.
    """

    height: int
    block_time_ms: int
    entries: tuple[Entry, ...]
    """Leaves that are statements."""
    receipts: tuple[Receipt, ...]
    derived: tuple[DerivedEntry, ...] = ()
    """Leaves that follow from statements, or from the end of a stay."""
    rights: tuple[ClaimRights, ...] = ()
    """What the rights of every claim that the block touched have come to, by claim."""
    votes: tuple[CountedVote, ...] = ()
    """Governance statements among `entries`, in order."""
    passed: tuple[Digest, ...] = ()
    """Proposals that this block decided, in order."""
    next_roster: Roster | None = None
    """Of the next epoch, where something passed: this block is the last of its epoch with statements."""

    @property
    def claim_count(self) -> int:
        return sum(len(entry.claims) for entry in self.entries)

    @property
    def leaf_count(self) -> int:
        return len(self.entries) + len(self.derived)

    def leaves(self) -> Iterable[Entry | DerivedEntry]:
        """All of them, by index."""
        if not self.derived:
            return self.entries
        return heapq.merge(self.entries, self.derived, key=attrgetter("index"))


class Overlay:
    """A LedgerView of a base and entries not yet stored: blocks that are committed together are executed one by one."""

    def __init__(self, base: LedgerView) -> None:
        self._base = base
        self._size = base.size
        self._statements: dict[Digest, int] = {}
        self._added: dict[Digest, Statement] = {}
        self._signed: dict[Digest, int] = {}
        self._client_refs: dict[tuple[str, str], int] = {}
        self._catalogues: dict[tuple[str, Digest], int] = {}
        self._voters: dict[Digest, frozenset[str]] = {}
        self._votes_by: dict[str, int] = {}
        self._rights: dict[ClaimId, ClaimRights] = {}
        self._ended_at: int | None = None

    @property
    def size(self) -> int:
        return self._size

    @property
    def roster(self) -> Roster:
        """Of the base: blocks of two epochs are never committed together."""
        return self._base.roster

    @property
    def is_ending(self) -> bool:
        return self._ended_at is not None or self._base.is_ending

    def voters_for(self, proposal: Digest) -> frozenset[str]:
        return self._base.voters_for(proposal) | self._voters.get(proposal, frozenset())

    def index_of_statement(self, digest: Digest) -> int | None:
        found = self._statements.get(digest)
        return self._base.index_of_statement(digest) if found is None else found

    def index_of_signed(self, signed_digest: Digest) -> int | None:
        found = self._signed.get(signed_digest)
        return self._base.index_of_signed(signed_digest) if found is None else found

    def index_of_client_ref(self, issuer: str, client_ref: str) -> int | None:
        found = self._client_refs.get((issuer, client_ref))
        return self._base.index_of_client_ref(issuer, client_ref) if found is None else found

    def index_of_catalogue(self, issuer: str, root: Digest) -> int | None:
        found = self._catalogues.get((issuer, root))
        return self._base.index_of_catalogue(issuer, root) if found is None else found

    def add(self, statement: Statement) -> int:
        """Leaf index that the statement, not on record so far, gets."""
        index = self._size
        self._size += 1
        self._statements[statement.digest] = index
        self._added[statement.digest] = statement
        self._signed[statement.signed_digest] = index
        self._client_refs[statement.issuer, statement.client_ref] = index
        if isinstance(statement.content, CatalogueHeader):
            self._catalogues[statement.issuer, statement.content.root] = index
        return index

    def add_derived(self) -> int:
        """Leaf index of a derived leaf."""
        self._size += 1
        return self._size - 1

    def issuer_of(self, claim: ClaimId) -> str | None:
        added = self._added.get(claim.statement)
        if added is None:
            return self._base.issuer_of(claim)
        return added.issuer if claim.position < claims_in(added) else None

    def rights_of(self, claim: ClaimId) -> ClaimRights | None:
        return self._rights.get(claim) or self._base.rights_of(claim)

    def set_rights(self, rights: ClaimRights) -> None:
        self._rights[rights.claim] = rights

    def stays_due(self, time_ms: int) -> Iterator[tuple[int, ClaimId]]:
        base = (due for due in self._base.stays_due(time_ms) if due[1] not in self._rights)
        stays = ((claim, rights.stay) for claim, rights in self._rights.items())
        own = [(stay.until_ms, claim) for claim, stay in stays if stay and 0 < stay.until_ms <= time_ms]
        return heapq.merge(base, sorted(own))

    def votes_by(self, voter: str) -> int:
        if voter not in self._votes_by:
            self._votes_by[voter] = self._base.votes_by(voter)
        return self._votes_by[voter]

    def count(self, vote: CountedVote) -> None:
        """Takes a member's vote into account."""
        self._votes_by[vote.voter] = self.votes_by(vote.voter) + 1
        self._voters[vote.proposal] = self._voters.get(vote.proposal, frozenset()) | {vote.voter}

    def extend(self, applied: Applied) -> None:
        """Takes over what a block added, for the next block."""
        assert self._ended_at is None or not applied.receipts, (
            f"block {applied.height} has statements, but block {self._ended_at} ended the epoch"
        )
        for vote in applied.votes:
            self.count(vote)
        if applied.next_roster is not None:
            self._ended_at = applied.height
        for leaf in applied.leaves():
            index = self.add(leaf.statement) if isinstance(leaf, Entry) else self.add_derived()
            assert index == leaf.index, f"block {applied.height} was executed on another state: leaf {leaf.index}"
        for rights in applied.rights:
            self.set_rights(rights)


def apply_block(
    view: LedgerView,
    height: int,
    block_time_ms: int,
    payloads: Iterable[tuple[Digest, Sequence[Statement]]],
    bodies: Mapping[Digest, Sequence[bytes]],
) -> Applied:
    """The leaves and receipts of one final block, executed on `view`, which is not changed.

    payloads: in the block's order, each with its digest and its valid statements. bodies: by statement digest, the
    checked claims (`check_catalogue`) of every catalogue among them: no validator votes without them.
    """
    state = Overlay(view)
    assembly = _Assembly(state)
    derivation = Derivation(state, height, block_time_ms)
    derivation.lapse_due()
    entries: list[Entry] = []
    receipts: list[Receipt] = []
    for _payload_digest, statements in payloads:
        for statement in statements:
            outcome, reason, index = _record(state, assembly, derivation, statement)
            if outcome is Outcome.RECORDED:
                claims = _claims(statement, bodies)
                entries.append(
                    Entry(
                        index=index,
                        statement=statement,
                        height=height,
                        block_time_ms=block_time_ms,
                        claims=claims,
                        keys=_keys(statement, claims),
                    )
                )
            receipts.append(
                Receipt(
                    statement=statement.digest,
                    outcome=outcome,
                    index=index,
                    height=height,
                    block_time_ms=block_time_ms,
                    reason=reason,
                )
            )
    return Applied(
        height=height,
        block_time_ms=block_time_ms,
        entries=tuple(entries),
        receipts=tuple(receipts),
        derived=tuple(derivation.leaves),
        rights=derivation.changed(),
        votes=tuple(assembly.votes),
        passed=tuple(assembly.passed),
        next_roster=assembly.next_roster(),
    )


def _record(
    state: Overlay, assembly: _Assembly, derivation: Derivation, statement: Statement
) -> tuple[Outcome, Reason, int]:
    """Decides on one statement and takes it into `state` where it becomes a leaf."""
    if (earlier := _earlier(state, statement)) is not None:
        return Outcome.DUPLICATE, *earlier
    content = statement.content
    if isinstance(content, _PLAIN):
        return Outcome.RECORDED, Reason.NONE, state.add(statement)
    if isinstance(content, RightsContent):
        try:
            return Outcome.RECORDED, Reason.NONE, derivation.record(statement, content)
        except RightsRefused as refused:
            return Outcome.REFUSED, refused.reason, 0
    if isinstance(content, Change):
        proposal = proposal_id(content)
        try:
            assembly.cast(statement.issuer, proposal, content, state.size)
        except NotApplicable as refused:
            return Outcome.REFUSED, refused.reason, 0
    return Outcome.RECORDED, Reason.NONE, state.add(statement)


class _Assembly:
    """The votes of one block, one after the other."""

    def __init__(self, state: Overlay) -> None:
        self._state = state
        self._epoch = state.roster
        self._amended = state.roster
        self.votes: list[CountedVote] = []
        self.passed: list[Digest] = []

    def cast(self, voter: str, proposal: Digest, change: Change, index: int) -> None:
        """Counts a vote that is to be the leaf `index`; with a quorum of them the change passes.

        Raises: NotApplicable, with nothing counted.
        """
        assert self._epoch.validator_index(voter) is not None, f"{voter} has no seat: who votes is checked before"
        if change.epoch != self._epoch.epoch:
            raise NotApplicable(Reason.OTHER_EPOCH)
        if proposal in self.passed:
            raise NotApplicable(Reason.PASSED)
        voters = self._state.voters_for(proposal)
        if voter in voters:
            raise NotApplicable(Reason.VOTED)
        if self._state.votes_by(voter) >= VOTES_PER_EPOCH_MAX:
            raise NotApplicable(Reason.TOO_MANY_VOTES)
        amended = amend(self._amended, change)
        if len(voters) + 1 >= self._epoch.quorum:
            check_seats(self._epoch, amended)
            self._amended = amended
            self.passed.append(proposal)
        vote = CountedVote(proposal=proposal, voter=voter, index=index)
        self._state.count(vote)
        self.votes.append(vote)

    def next_roster(self) -> Roster | None:
        return conclude(self._epoch, self._amended) if self.passed else None


def _earlier(state: LedgerView, statement: Statement) -> tuple[Reason, int] | None:
    """The strongest sense in which this is on record already, and where."""
    if (index := state.index_of_statement(statement.digest)) is not None:
        return Reason.STATEMENT, index
    if (index := state.index_of_signed(statement.signed_digest)) is not None:
        return Reason.SIGNED, index
    if (index := state.index_of_client_ref(statement.issuer, statement.client_ref)) is not None:
        return Reason.CLIENT_REF, index
    if isinstance(statement.content, CatalogueHeader):
        index = state.index_of_catalogue(statement.issuer, statement.content.root)
        if index is not None:
            return Reason.CATALOGUE, index
    return None


def claims_in(statement: Statement) -> int:
    """How many claims a statement makes."""
    if isinstance(statement.content, CatalogueHeader):
        return statement.content.count
    return int(statement.own_claim is not None)


def _claims(statement: Statement, bodies: Mapping[Digest, Sequence[bytes]]) -> Sequence[bytes]:
    content = statement.content
    if (own := statement.own_claim_bytes) is not None:
        return (own,)
    if not isinstance(content, CatalogueHeader):
        return ()
    assert statement.digest in bodies, f"catalogue {statement.digest.hex()} was voted for without its body"
    body = bodies[statement.digest]
    assert len(body) == content.count, f"catalogue {statement.digest.hex()}: {len(body)} claims, {content.count} signed"
    return body


def _keys(statement: Statement, claims: Sequence[bytes]) -> BodyKeys:
    if (own := statement.own_claim) is not None:
        return alone_keys(claim_keys(own))
    if isinstance(claims, CheckedBody):
        return claims.keys
    return body_keys(map(read_claim_keys, claims)) if claims else NO_KEYS
