"""Execution: what a final block adds to the log. Pure and deterministic: every validator computes the same leaves.

Validity of form and signature was checked before anybody voted; here is decided what depends on state, and that is
only whether something is on record already. A statement refused here leaves a receipt, never a leaf (design D4, D7).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

from consensus.errors import MalformedMessage
from consensus.types import Digest
from ledger.catalogue import CatalogueHeader
from ledger.claim import Claim, ClaimKeys, claim_keys, read_claim_keys
from ledger.statement import Statement


class LedgerView(Protocol):
    """The state that execution depends on: what is on record below `size`."""

    @property
    def size(self) -> int:
        """Leaves."""

    def index_of_statement(self, digest: Digest) -> int | None:
        """Leaf index of the statement with these very bytes."""

    def index_of_signed(self, signed_digest: Digest) -> int | None:
        """Leaf index of the statement whose Sig_structure has this SHA-256."""

    def index_of_client_ref(self, issuer: str, client_ref: str) -> int | None: ...

    def index_of_catalogue(self, issuer: str, root: Digest) -> int | None: ...


class Outcome(IntEnum):
    RECORDED = 1
    DUPLICATE = 2


class Reason(IntEnum):
    """By what a duplicate is the same as the earlier statement."""

    NONE = 0
    """No duplicate."""
    STATEMENT = 1
    """The same bytes."""
    SIGNED = 2
    """The same signed content under another envelope or signature."""
    CLIENT_REF = 3
    """Another statement under a client reference that the issuer has used."""
    CATALOGUE = 4
    """A catalogue of the issuer's with the same root: a re-run."""


_REASON_TEXT: Final = {
    Reason.STATEMENT: ("statement", "a statement not on record"),
    Reason.SIGNED: ("signature", "content not signed and recorded before"),
    Reason.CLIENT_REF: ("content.ref", "a client reference this issuer has not used"),
    Reason.CATALOGUE: ("catalogue.root", "a set of claims this issuer has not recorded"),
}
_RECEIPT: Final = struct.Struct(">BB32sQQQ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of one statement of one block. Stays outside the log: it is this node's answer, not a record."""

    statement: Digest
    outcome: Outcome
    index: int
    """Leaf index: its own where RECORDED, the earlier statement's where DUPLICATE."""
    height: int
    """Of the block that ordered it."""
    block_time_ms: int
    reason: Reason = Reason.NONE

    @property
    def code(self) -> str:
        """Refusal code; empty where recorded."""
        return "" if self.outcome is Outcome.RECORDED else "DUPLICATE_STATEMENT"

    @property
    def field(self) -> str:
        """What of the statement is on record already; empty where recorded."""
        return _REASON_TEXT[self.reason][0] if self.reason else ""

    @property
    def expected(self) -> str:
        return f"{_REASON_TEXT[self.reason][1]}; it is leaf {self.index}" if self.reason else ""

    def encode(self) -> bytes:
        """Fixed layout for the store."""
        return _RECEIPT.pack(
            self.outcome, self.reason, self.statement, self.index, self.height, self.block_time_ms
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> Receipt:
        """Inverse of `encode`. Raises: MalformedMessage."""
        if len(data) != _RECEIPT.size or data[0] not in set(Outcome) or data[1] not in set(Reason):
            raise MalformedMessage("receipt", "layout", f"{_RECEIPT.size} bytes with a known outcome and reason")
        outcome, reason, statement, index, height, block_time_ms = _RECEIPT.unpack(data)
        return cls(
            statement=Digest(statement), outcome=Outcome(outcome), index=index, height=height,
            block_time_ms=block_time_ms, reason=Reason(reason),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryClaim:
    """A claim as recorded, and by what it is found."""

    data: bytes
    keys: ClaimKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One new leaf of the log: the statement's digest at `index`."""

    index: int
    statement: Statement
    height: int
    block_time_ms: int
    claims: tuple[EntryClaim, ...]
    """In order of their position: one of a CLAIM, all of a CATALOGUE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What one block adds: leaves in order, and a receipt for every statement it ordered, in order."""

    height: int
    block_time_ms: int
    entries: tuple[Entry, ...]
    receipts: tuple[Receipt, ...]

    @property
    def claim_count(self) -> int:
        return sum(len(entry.claims) for entry in self.entries)


class Overlay:
    """A LedgerView of a base and entries not yet stored: blocks that are committed together are executed one by one."""

    def __init__(self, base: LedgerView) -> None:
        self._base = base
        self._size = base.size
        self._statements: dict[Digest, int] = {}
        self._signed: dict[Digest, int] = {}
        self._client_refs: dict[tuple[str, str], int] = {}
        self._catalogues: dict[tuple[str, Digest], int] = {}

    @property
    def size(self) -> int:
        return self._size

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
        self._signed[statement.signed_digest] = index
        self._client_refs[statement.issuer, statement.client_ref] = index
        if isinstance(statement.content, CatalogueHeader):
            self._catalogues[statement.issuer, statement.content.root] = index
        return index

    def extend(self, applied: Applied) -> None:
        """Takes over what a block added, for the next block."""
        for entry in applied.entries:
            index = self.add(entry.statement)
            assert index == entry.index, f"block {applied.height} was executed on another state: leaf {entry.index}"


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
    entries: list[Entry] = []
    receipts: list[Receipt] = []
    for _payload_digest, statements in payloads:
        for statement in statements:
            earlier = _earlier(state, statement)
            if earlier is None:
                outcome, reason, index = Outcome.RECORDED, Reason.NONE, state.add(statement)
                entries.append(
                    Entry(
                        index=index,
                        statement=statement,
                        height=height,
                        block_time_ms=block_time_ms,
                        claims=_claims(statement, bodies),
                    )
                )
            else:
                outcome, (reason, index) = Outcome.DUPLICATE, earlier
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
    return Applied(height=height, block_time_ms=block_time_ms, entries=tuple(entries), receipts=tuple(receipts))


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


def _claims(statement: Statement, bodies: Mapping[Digest, Sequence[bytes]]) -> tuple[EntryClaim, ...]:
    content = statement.content
    if isinstance(content, Claim):
        return (EntryClaim(data=statement.body, keys=claim_keys(content)),)
    assert statement.digest in bodies, f"catalogue {statement.digest.hex()} was voted for without its body"
    body = bodies[statement.digest]
    assert len(body) == content.count, f"catalogue {statement.digest.hex()}: {len(body)} claims, {content.count} signed"
    return tuple(EntryClaim(data=data, keys=read_claim_keys(data)) for data in body)
