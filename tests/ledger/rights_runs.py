"""A ledger in memory with statements about rights on it: short to write, so that tests read as what happens."""

from __future__ import annotations

from typing import Any

from consensus.types import Digest
from ledger.apply import Applied, Outcome, apply_block
from ledger.derived import DerivedKind
from ledger.genesis import Role
from ledger.receipt import Reason, Receipt
from ledger.rights import ClaimId, ClaimRights, initial
from ledger.rights_content import (
    CourtAction,
    CourtOrder,
    Dispute,
    DisputeOutcome,
    Mint,
    MintsFate,
    Resolve,
    Respond,
    Supersede,
    Transfer,
    Withdraw,
)
from ledger.statement import Statement
from tests.ledger.builders import Consortium, MemoryView, make_claim, make_consortium, make_member
from tests.ledger.rights_builders import make_terms

MEMBERS = [
    make_member(name, role)
    for name, role in (
        ("label", Role.LABEL), ("court", Role.COURT), ("society", Role.SOCIETY), ("platform", Role.PLATFORM),
        ("rival", Role.LABEL),
    )
]  # fmt: skip
CONSORTIUM = make_consortium(MEMBERS)
TIME = 1_700_000_000_000
_PAYLOAD = Digest(b"\x01" * 32)


class Run:
    """Blocks of statements, one after the other, on a LedgerView in memory."""

    def __init__(self, consortium: Consortium = CONSORTIUM) -> None:
        self.consortium = consortium
        self.view = MemoryView(consortium.genesis.roster)
        self.applied: list[Applied] = []
        self.time_ms = TIME
        self._refs = 0

    def block(self, *statements: Statement, time_ms: int | None = None) -> Applied:
        self.time_ms = self.time_ms + 1 if time_ms is None else time_ms
        applied = apply_block(self.view, len(self.applied) + 1, self.time_ms, [(_PAYLOAD, statements)], {})
        self.view.record(applied)
        self.applied.append(applied)
        return applied

    def say(self, content: Any, issuer: str = "label") -> Receipt:
        """A block with one statement."""
        return self.block(self.statement(content, issuer)).receipts[0]

    def statement(self, content: Any, issuer: str = "label") -> Statement:
        self._refs += 1
        return self.consortium.statement(content, ref=f"ref-{self._refs}", issuer=issuer)

    def claim(self, seed: int = 0, issuer: str = "label") -> ClaimId:
        """A new claim."""
        receipt = self.say(make_claim(seed), issuer)
        assert receipt.outcome is Outcome.RECORDED
        return ClaimId(receipt.statement, 0)

    def rights(self, claim: ClaimId) -> ClaimRights:
        issuer = self.view.issuer_of(claim)
        assert issuer is not None
        return self.view.rights_of(claim) or initial(claim, issuer)

    def head(self, claim: ClaimId) -> Digest:
        """As it is now; where there is no such claim, what would be its first."""
        return claim.statement if self.view.issuer_of(claim) is None else self.rights(claim).head

    # ---- contents, with the head as it is now unless told otherwise --------------------------------------------------

    def _at(self, claim: ClaimId, head: Digest | None = None) -> dict[str, Any]:
        return {"claim": claim.statement, "position": claim.position, "head": head or self.head(claim)}

    def dispute(self, claim: ClaimId) -> Dispute:
        return Dispute(claim=claim.statement, position=claim.position, grounds="Ours.")

    def respond(self, claim: ClaimId, dispute: Digest, head: Digest | None = None) -> Respond:
        return Respond(**self._at(claim, head), dispute=dispute, text="No.")

    def drop(self, claim: ClaimId, dispute: Digest, head: Digest | None = None) -> Resolve:
        return Resolve(**self._at(claim, head), dispute=dispute, outcome=DisputeOutcome.DROPPED)

    def concede(self, claim: ClaimId, dispute: Digest, head: Digest | None = None) -> Resolve:
        return Resolve(**self._at(claim, head), dispute=dispute, outcome=DisputeOutcome.CONCEDED)

    def withdraw(self, claim: ClaimId, head: Digest | None = None) -> Withdraw:
        return Withdraw(**self._at(claim, head), reason="Sent by mistake.")

    def transfer(self, claim: ClaimId, to: str = "society", head: Digest | None = None) -> Transfer:
        return Transfer(**self._at(claim, head), to=to)

    def supersede(
        self, claim: ClaimId, seed: int = 900, mints: MintsFate = MintsFate.KEEP, head: Digest | None = None
    ) -> Supersede:
        return Supersede(**self._at(claim, head), replacement=make_claim(seed), mints=mints)

    def order(
        self, claim: ClaimId, action: CourtAction, until_ms: int = 0, to: str | None = None, head: Digest | None = None
    ) -> CourtOrder:
        return CourtOrder(**self._at(claim, head), order=action, reference="HK CFI 1/2026", until_ms=until_ms, to=to)

    def mint(self, claim: ClaimId, edition: int = 1, editions: int = 300, **changes: Any) -> Mint:
        terms = make_terms(
            claim=claim.statement, position=claim.position, edition=edition, editions=editions, **changes
        )  # fmt: skip
        return Mint(terms=terms)

    def mints(self, claim: ClaimId, count: int) -> None:
        """So many editions from 1 on, in one block."""
        holder = self.rights(claim).holder
        applied = self.block(*(self.statement(self.mint(claim, n), holder) for n in range(1, count + 1)))
        assert all(receipt.outcome is Outcome.RECORDED for receipt in applied.receipts)


def shown(applied: Applied) -> list[str]:
    """The block's leaves by index, as text."""
    return [
        f"{leaf.index} {leaf.kind}" if hasattr(leaf, "kind") else f"{leaf.index} {leaf.statement.kind}"
        for leaf in applied.leaves()
    ]


def statuses(applied: Applied) -> list[tuple[int, int]]:
    """(seq, state) of the block's STATUS leaves."""
    preimages = [leaf.preimage for leaf in applied.derived if leaf.kind is DerivedKind.STATUS]
    return [(int.from_bytes(p[96:128], "big"), int.from_bytes(p[128:160], "big")) for p in preimages]


def refused(receipt: Receipt, reason: Reason) -> None:
    assert (receipt.outcome, receipt.reason) == (Outcome.REFUSED, reason)
    assert receipt.code == f"RIGHTS_{reason.name}"
    assert receipt.field
    assert receipt.value
    assert receipt.expected


def accepted(receipt: Receipt) -> Digest:
    assert receipt.reason is Reason.NONE, receipt
    assert receipt.outcome is Outcome.RECORDED
    return receipt.statement
