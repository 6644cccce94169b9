"""What statements about rights do, and the leaves that the log gets in consequence: right after their cause.

A MINT statement at index i has its MINT leaf at i + 1. Every accepted change appends one STATUS leaf for each live mint
of the claim, in the order of the mints, also where the state stays what it is: contracts see every transition. Stays
whose time has come lapse before the first statement of a block (design D12).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol, assert_never

from consensus.types import Digest
from ledger import rights as rules
from ledger.derived import DerivedKind, StatusLeaf, derived_entry, mint_preimage, status_preimage
from ledger.receipt import Reason
from ledger.rights import MINTS_MAX, Act, ClaimId, ClaimRights, LiveMint, RightsRefused
from ledger.rights_content import (
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
from ledger.roster import Roster
from ledger.statement import Content, Statement

LEAVES_PER_BLOCK_MAX: Final = 16_384
"""Derived leaves of one block: what would go beyond is refused, and may be sent again."""
COURT_LEAVES: Final = 4_096
"""So many of them are left to courts, whose orders nobody shall crowd out."""
LAPSE_LEAVES_MAX: Final = 8_192
"""No further stay lapses in a block that has so many leaves of lapses: it does in the next one."""
LAPSES_PER_BLOCK_MAX: Final = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedEntry:
    """A leaf that follows from a statement, or from a stay's end."""

    index: int
    kind: DerivedKind
    preimage: bytes
    digest: Digest
    """What the log hashes into the leaf: SHA-256 of `preimage`."""
    cause: Digest
    """SHA-256 of the statement that caused it."""
    height: int
    block_time_ms: int


class RightsState(Protocol):
    """The ledger as rights see it, and take part in it."""

    @property
    def size(self) -> int:
        """Leaves."""

    @property
    def roster(self) -> Roster: ...

    @property
    def is_ending(self) -> bool:
        """Whether a change of the roster has passed in an earlier block and awaits the next epoch."""

    def issuer_of(self, claim: ClaimId) -> str | None:
        """Who made the claim; None where there is none."""

    def rights_of(self, claim: ClaimId) -> ClaimRights | None:
        """None where nothing has happened to the claim since it was recorded."""

    def stays_due(self, time_ms: int) -> Iterator[tuple[int, ClaimId]]:
        """(until_ms, claim) of every stay that lapses at `time_ms` or before, ascending."""

    def add(self, statement: Statement) -> int:
        """The statement becomes a leaf; its index."""

    def add_derived(self) -> int:
        """A derived leaf; its index."""

    def set_rights(self, rights: ClaimRights) -> None: ...


class Derivation:
    """The rights that one block changes, one statement after the other."""

    def __init__(self, state: RightsState, height: int, block_time_ms: int) -> None:
        self._state = state
        self._height = height
        self._time_ms = block_time_ms
        self.leaves: list[DerivedEntry] = []
        self._changed: dict[ClaimId, ClaimRights] = {}

    def changed(self) -> tuple[ClaimRights, ...]:
        """What every claim touched came to, by claim."""
        return tuple(self._changed[claim] for claim in sorted(self._changed))

    def lapse_due(self) -> None:
        """Ends the stays whose time has come. Comes before the block's statements.

        Not between the block that ends an epoch's log and the next epoch: the boundary adds no leaf, so that its
        checkpoint is that of the last statement. What is due there lapses in the next epoch's first block.
        """
        if self._state.is_ending:
            return
        for _, claim in list(islice(self._state.stays_due(self._time_ms), LAPSES_PER_BLOCK_MAX)):
            rights = self._state.rights_of(claim)
            assert rights is not None, "a claim whose stay lapses has rights on record"
            assert rights.stay is not None, "a claim whose stay lapses is stayed"
            self._append_status(rules.lapse(rights), rights.stay.order)
            if len(self.leaves) >= LAPSE_LEAVES_MAX:
                return

    def record(self, statement: Statement, content: RightsContent) -> int:
        """The statement becomes a leaf, followed by what it causes; its index.

        Raises: RightsRefused, with nothing changed.
        """
        before = self._rights(ClaimId(content.claim, content.position))
        if isinstance(content, Mint):
            return self._mint(statement, content, before)
        after = self._apply(statement, content, before)
        self._require_room(len(before.mints), is_order=isinstance(content, CourtOrder))
        index = self._state.add(statement)
        for each in after:
            self._append_status(each, statement.digest)
        return index

    def _rights(self, claim: ClaimId) -> ClaimRights:
        known = self._state.rights_of(claim)
        if known is not None:
            return known
        issuer = self._state.issuer_of(claim)
        if issuer is None:
            raise RightsRefused(Reason.NO_CLAIM)
        return rules.initial(claim, issuer)

    def _apply(self, statement: Statement, content: RightsChange, before: ClaimRights) -> tuple[ClaimRights, ...]:
        """What the rights become: of the claim, and of the one that a SUPERSEDE puts in its place.

        Raises: RightsRefused.
        """
        if isinstance(content, Dispute):
            return (rules.dispute(before, statement.digest, statement.issuer),)
        act = Act(statement.digest, statement.issuer, content.head)
        match content:
            case Respond():
                after = rules.respond(before, act, content.dispute)
            case Resolve():
                after = rules.resolve(before, act, content.dispute, content.outcome)
            case Withdraw():
                after = rules.withdraw(before, act)
            case Transfer():
                after = rules.transfer(before, act, content.to, self._state.roster)
            case Supersede():
                after, new = rules.supersede(before, act, content.mints)
                return (after, new) if new.mints else (after,)
            case CourtOrder():
                after = rules.order(
                    before, act, content.order, until_ms=content.until_ms, to=content.to, block_time_ms=self._time_ms,
                    roster=self._state.roster,
                )  # fmt: skip
            case _:
                assert_never(content)
        return (after,)

    def _mint(self, statement: Statement, content: Mint, before: ClaimRights) -> int:
        preimage = mint_preimage(self._state.roster.consortium, content.terms)
        digest = derived_entry(preimage)
        minted = LiveMint(digest, self._state.size + 1, content.terms.edition)
        after = rules.mint(before, statement.issuer, minted, content.terms.editions)
        self._require_room(1, is_order=False)
        index = self._state.add(statement)
        self._append(DerivedKind.MINT, preimage, digest, statement.digest)
        self._set(after)
        return index

    def _require_room(self, leaves: int, *, is_order: bool) -> None:
        room = LEAVES_PER_BLOCK_MAX if is_order else LEAVES_PER_BLOCK_MAX - COURT_LEAVES
        if leaves and len(self.leaves) + leaves > room:
            raise RightsRefused(Reason.BLOCK_FULL)

    def _append_status(self, rights: ClaimRights, cause: Digest) -> None:
        """One STATUS leaf for every live mint, and the rights that know of them."""
        first, consortium = self._state.size, self._state.roster.consortium
        for each in rights.mints:
            status = StatusLeaf(mint=each.entry, seq=each.seq + 1, state=rights.mint_state, cause=cause)
            preimage = status_preimage(consortium, status)
            self._append(DerivedKind.STATUS, preimage, derived_entry(preimage), cause)
        self._set(rules.with_status(rights, first))

    def _append(self, kind: DerivedKind, preimage: bytes, digest: Digest, cause: Digest) -> None:
        self.leaves.append(
            DerivedEntry(
                index=self._state.add_derived(),
                kind=kind,
                preimage=preimage,
                digest=digest,
                cause=cause,
                height=self._height,
                block_time_ms=self._time_ms,
            )
        )

    def _set(self, rights: ClaimRights) -> None:
        self._state.set_rights(rights)
        self._changed[rights.claim] = rights


def leaves_max(content: Content) -> int:
    """Upper bound of the leaves that a statement may ever add to the log, with what follows from it.

    A MINT has one more. A change has one for each live mint; a stay, when it lapses, as many again.
    """
    if not isinstance(content, RightsContent):
        return 1
    if isinstance(content, Mint):
        return 2
    return 1 + (2 if isinstance(content, CourtOrder) and content.until_ms else 1) * MINTS_MAX
