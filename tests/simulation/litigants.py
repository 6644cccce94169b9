"""Those who argue about claims: holders who mint, transfer and answer, strangers who dispute, a court that orders.

They go by what some node has on record at that moment, as real ones do: meanwhile others may have changed it, and then
execution refuses what they say. Nobody expects that any of it gets on record; what must hold then is checked.
"""

from __future__ import annotations

import random
from typing import Any

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
    RightsContent,
    Supersede,
    Transfer,
    Withdraw,
)
from tests.ledger.builders import make_claim
from tests.ledger.rights_builders import make_terms
from tests.simulation import consortium as founding
from tests.simulation.consortium import COURT, ISSUER, RIVAL
from tests.simulation.machine import Machine
from tests.simulation.world import World

EDITIONS = 9
WEIGHTS = (45, 8, 12, 5, 7, 2, 21)
ARGUMENTS = 12
ARGUE_MS = 150
STAY_MS = 400
"""Stays end within so long, so that many lapse in a run, some while an epoch ends."""


class Litigants:
    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        # A source of its own: a run without litigants is what it was before there were any.
        self.random = random.Random(f"rights {seed}")
        self._said = 0

    def act(self) -> None:
        """One or a few of them say something, all by what one node knows."""
        ready = [n for n in self._world.nodes.values() if n.index is not None and n.engine is not None and n.is_honest]
        if not ready:
            return
        node = self.random.choice(ready)
        claims = node.disk.books.claims[-12:]
        minted = [claim for claim, rights in node.disk.books.rights.items() if rights.mints][-4:]
        if not claims:
            return
        statements = []
        for _ in range(self.random.choice((1, 2, 3, 4))):
            claim = self.random.choice(minted if minted and self.random.random() < 0.7 else claims)
            content, issuer = self._content(node, claim)
            self._said += 1
            raw = founding.sign(
                content, f"litigant {self._said}", node.disk.term.committee.consortium, issuer=issuer, signer=issuer
            )  # fmt: skip
            self._world.allow(raw)
            statements.append(raw)
        node.submit(statements)

    def argue(self) -> None:
        """In good weather, where what they say is seldom out of date."""
        for _ in range(ARGUMENTS):
            self.act()
            self._world.run(self._world.now_ms + self.random.randint(5, ARGUE_MS))

    def _content(self, node: Machine, claim: ClaimId) -> tuple[RightsContent, str]:
        """Something that may well be accepted, and who says it."""
        books, rng = node.disk.books, self.random
        issuer = books.issuer_of(claim)
        assert issuer is not None, "it was chosen from those on record"
        rights = books.rights_of(claim) or initial(claim, issuer)
        stranger = RIVAL if rights.holder == ISSUER else ISSUER
        on: dict[str, Any] = {"claim": claim.statement, "position": claim.position}
        at = on | {"head": rights.head}
        said: RightsContent
        match rng.choices(("mint", "dispute", "answer", "transfer", "supersede", "withdraw", "order"), WEIGHTS)[0]:
            case "mint":
                edition = rng.randint(1, EDITIONS)
                said, who = Mint(terms=make_terms(**on, edition=edition, editions=EDITIONS)), rights.holder
            case "answer" if rights.disputes:
                said, who = self._answer(rights, at)
            case "transfer":
                said, who = Transfer(**at, to=stranger), rights.holder
            case "supersede":
                replacement = make_claim(20_000 + self._said)
                said, who = Supersede(**at, replacement=replacement, mints=rng.choice(list(MintsFate))), rights.holder
            case "withdraw":
                said, who = Withdraw(**at, reason="Twice."), rights.holder
            case "order":
                said, who = self._order(node, at, stranger), COURT
            case _:
                said, who = Dispute(**on, grounds="Ours."), stranger
        return said, who

    def _answer(self, rights: ClaimRights, at: dict[str, Any]) -> tuple[RightsContent, str]:
        dispute = self.random.choice(rights.disputes)
        match self.random.randint(0, 2):
            case 0:
                return Respond(**at, dispute=dispute.statement, text="No."), rights.holder
            case 1:
                return Resolve(**at, dispute=dispute.statement, outcome=DisputeOutcome.DROPPED), dispute.disputant
            case _:
                return Resolve(**at, dispute=dispute.statement, outcome=DisputeOutcome.CONCEDED), rights.holder

    def _order(self, node: Machine, at: dict[str, Any], to: str) -> CourtOrder:
        action = self.random.choice((*[CourtAction.STAY] * 4, *[CourtAction.REINSTATE] * 3, *CourtAction))
        until_ms = node.disk.head.timestamp_ms + self.random.randint(1, STAY_MS)
        return CourtOrder(
            **at,
            order=action,
            reference="Sim 1/2026",
            until_ms=until_ms if action is CourtAction.STAY and self.random.random() < 0.9 else 0,
            to=to if action is CourtAction.ASSIGN else None,
        )
