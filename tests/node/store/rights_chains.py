"""A chain with all that can happen to claims' rights: mints, disputes, orders, a stay that lapses, superseding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ledger.mint_terms import MintTerms
from ledger.rights import ClaimId
from ledger.rights_content import (
    CourtAction,
    CourtOrder,
    Dispute,
    DisputeOutcome,
    Mint,
    MintsFate,
    Resolve,
    Supersede,
    Transfer,
    Withdraw,
)
from ledger.statement import parse_statement
from tests.ledger.rights_builders import make_terms
from tests.node.store.chains import ChainMaker, claim, sign, statement

BLOCK_MS = 100
START_MS = 1_700_000_000_000


def block_time(height: int) -> int:
    """Of ChainMaker's blocks."""
    return START_MS + (height - 1) * BLOCK_MS


def claim_of(raw: bytes) -> ClaimId:
    return ClaimId(parse_statement(raw).digest, 0)


def terms(of: ClaimId, edition: int, editions: int = 300) -> MintTerms:
    return make_terms(claim=of.statement, position=of.position, edition=edition, editions=editions)


def mint(of: ClaimId, edition: int, ref: str = "", issuer: str = "label") -> bytes:
    return sign(Mint(terms=terms(of, edition)), ref or f"mint {of.statement.hex()[:8]} {edition}", issuer)


def dispute(of: ClaimId, issuer: str = "society", ref: str = "dispute") -> bytes:
    said = Dispute(claim=of.statement, position=of.position, grounds="Ours.")
    return sign(said, f"{ref} {of.statement.hex()[:8]}", issuer)


def order(of: ClaimId, head: bytes, action: CourtAction, ref: str, **more: Any) -> bytes:
    said = CourtOrder(
        claim=of.statement, position=of.position, head=parse_statement(head).digest, order=action,
        reference="HK CFI 1/2026", **more,
    )  # fmt: skip
    return sign(said, ref, "court")


@dataclass
class Story:
    """Which claims it is about."""

    disputed: ClaimId
    stayed: ClaimId
    replaced: ClaimId
    replacement: ClaimId
    transferred: ClaimId
    withdrawn: ClaimId
    plain: ClaimId
    minted: ClaimId
    """Of a catalogue, at position 2."""


def tell(maker: ChainMaker, first: int = 5_000, *, until: int = 0) -> Story:
    """Fifteen blocks. until: height of the block in which a second stay, still open at the end, would lapse."""
    raws = [statement(first + n) for n in range(6)]
    a, b, c, d, e, f = (claim_of(raw) for raw in raws)
    base = maker.store.head().block.height
    maker.commit([raws[:3]], [raws[3:]])
    catalogue = maker.catalogue(first + 100, 5)
    third = ClaimId(parse_statement(catalogue).digest, 2)
    maker.commit([[catalogue, mint(third, 1)]])
    maker.commit([[mint(a, 1), mint(a, 2), statement(first + 6)], [mint(b, 1)]], [[mint(c, 3), mint(c, 2)]])
    first_dispute = dispute(a)
    stay = order(b, raws[1], CourtAction.STAY, f"stay {first}", until_ms=block_time(base + 9))
    maker.commit([[first_dispute, mint(a, 3)]], [[stay]])
    maker.commit([], [], [])  # the stay lapses in the second of these
    drop = Resolve(
        claim=a.statement, position=0, head=parse_statement(first_dispute).digest,
        dispute=parse_statement(first_dispute).digest, outcome=DisputeOutcome.DROPPED,
    )  # fmt: skip
    supersede = sign(
        Supersede(
            claim=c.statement, position=0, head=c.statement, replacement=claim(first + 50), mints=MintsFate.KEEP
        ),
        f"supersede {first}",
    )  # fmt: skip
    new = claim_of(supersede)
    maker.commit(
        [[sign(drop, f"drop {first}", "society"), supersede]],
        [[dispute(new), mint(c, 9), mint(a, 4)]],  # the second is refused: another claim has its place
    )  # fmt: skip
    transfer = sign(
        Transfer(claim=d.statement, position=0, head=d.statement, to="society"), f"transfer {first}"
    )  # fmt: skip
    withdraw = sign(Withdraw(claim=e.statement, position=0, head=e.statement, reason="Twice."), f"withdraw {first}")
    maker.commit([[transfer, withdraw, mint(d, 1, issuer="society")]])
    later = block_time(until) if until else START_MS + 10**12
    stay_again = order(third, catalogue, CourtAction.STAY, f"stay again {first}", until_ms=later)
    maker.commit([[stay_again]])
    return Story(
        disputed=a, stayed=b, replaced=c, replacement=new, transferred=d, withdrawn=e, plain=f, minted=third
    )  # fmt: skip
