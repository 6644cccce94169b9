"""Whatever is said of claims, and whenever: what must hold of their rights, and of the leaves that follow."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from consensus.types import Digest
from ledger.apply import Applied, Outcome, apply_block
from ledger.derived import DerivedKind, MintState
from ledger.rights import DISPUTES_MAX, MINTS_MAX, ClaimId, ClaimRights, ClaimState
from ledger.rights_content import CourtAction, CourtOrder, Mint, MintsFate, Transfer
from ledger.statement import Statement
from tests.ledger.rights_runs import Run

WHO = ("label", "rival", "society", "court")
HOLDERS = frozenset({"label", "rival", "society"})
who = st.sampled_from(WHO)
SPAN_MS = 40


class RightsMachine(RuleBasedStateMachine):
    """Says anything of any claim, by anybody, with heads fresh and stale, several statements to a block."""

    claims = Bundle("claims")
    disputes = Bundle("disputes")

    def __init__(self) -> None:
        super().__init__()
        self.run = Run()
        self.known: list[ClaimId] = []
        self.waiting: list[Statement] = []
        self.seq: dict[bytes, int] = {}
        """By mint: of the last STATUS leaf."""
        self.told: dict[bytes, int] = {}
        """By mint: the last state that contracts were told."""

    # ---- saying ------------------------------------------------------------------------------------------------------

    @initialize(target=claims)
    def first_claim(self) -> ClaimId:
        return self.new_claim(0, "label")

    def new_claim(self, seed: int, issuer: str) -> ClaimId:
        self.finish()
        self.known.append(self.run.claim(seed + 1_000 * len(self.known), issuer))
        return self.known[-1]

    @rule(target=claims, seed=st.integers(0, 5), issuer=st.sampled_from(["label", "rival", "society"]))
    def claim(self, seed: int, issuer: str) -> ClaimId:
        return self.new_claim(seed, issuer)

    @rule(target=disputes, claim=claims, issuer=who)
    def dispute(self, claim: ClaimId, issuer: str) -> tuple[ClaimId, Digest]:
        return claim, self.say(self.run.dispute(claim), issuer)

    @rule(dispute=disputes, issuer=who, stale=st.booleans())
    def respond(self, dispute: tuple[ClaimId, Digest], issuer: str, stale: bool) -> None:
        self.say(self.run.respond(*dispute, head=dispute[1] if stale else None), issuer)

    @rule(dispute=consumes(disputes), issuer=who, concede=st.booleans())
    def resolve(self, dispute: tuple[ClaimId, Digest], issuer: str, concede: bool) -> None:
        self.say((self.run.concede if concede else self.run.drop)(*dispute), issuer)

    @rule(claim=claims, issuer=who, stale=st.booleans())
    def withdraw(self, claim: ClaimId, issuer: str, stale: bool) -> None:
        self.say(self.run.withdraw(claim, head=claim.statement if stale else None), issuer)

    @rule(claim=claims, issuer=who, to=st.sampled_from([*WHO, "nobody"]))
    def transfer(self, claim: ClaimId, issuer: str, to: str) -> None:
        self.say(self.run.transfer(claim, to), issuer)

    @rule(target=claims, claim=claims, issuer=who, mints=st.sampled_from(MintsFate), seed=st.integers(1, 99))
    def supersede(self, claim: ClaimId, issuer: str, mints: MintsFate, seed: int) -> ClaimId:
        """The replacement is a claim where this is accepted; else nobody can do anything with it."""
        self.known.append(ClaimId(self.say(self.run.supersede(claim, seed, mints), issuer), 0))
        return self.known[-1]

    @rule(claim=claims, action=st.sampled_from(CourtAction), wait_ms=st.integers(0, SPAN_MS), to=who)
    def order(self, claim: ClaimId, action: CourtAction, wait_ms: int, to: str) -> None:
        until = self.run.time_ms + wait_ms if wait_ms and action is CourtAction.STAY else 0
        self.say(
            self.run.order(claim, action, until_ms=until, to=to if action is CourtAction.ASSIGN else None), "court"
        )  # fmt: skip

    @rule(claim=claims, issuer=who, edition=st.integers(1, 4), editions=st.sampled_from([4, 4, 5]))
    def mint(self, claim: ClaimId, issuer: str, edition: int, editions: int) -> None:
        if issuer != "court":
            self.say(self.run.mint(claim, edition, editions), issuer)

    def say(self, content: object, issuer: str) -> Digest:
        if issuer == "court" and not isinstance(content, CourtOrder):
            issuer = "rival"  # a court's own part is to order: others' roles are checked before anybody votes
        self.waiting.append(self.run.statement(content, issuer))
        if len(self.waiting) > 2:
            self.finish()
        return self.waiting[-1].digest if self.waiting else self.last

    @rule(wait_ms=st.integers(1, SPAN_MS))
    def finish(self, wait_ms: int = 1) -> None:
        """A block of what was said, executed on the ledger, and on one whose last blocks are not stored."""
        self.last = self.waiting[-1].digest if self.waiting else Digest(bytes(32))
        statements, self.waiting = self.waiting, []
        before = {claim: self.rights(claim) for claim in self.known if self.run.view.issuer_of(claim)}
        applied = self.run.block(*statements, time_ms=self.run.time_ms + wait_ms)
        self.check(applied, statements, before)

    def rights(self, claim: ClaimId) -> ClaimRights:
        return self.run.rights(claim)

    # ---- what must hold ----------------------------------------------------------------------------------------------

    def check(self, applied: Applied, statements: list[Statement], before: dict[ClaimId, ClaimRights]) -> None:
        size = self.run.view.size - applied.leaf_count
        assert [leaf.index for leaf in applied.leaves()] == list(range(size, self.run.view.size))
        assert applied.leaf_count <= (len(statements) + len(before)) * (1 + MINTS_MAX)
        accepted = {r.statement for r in applied.receipts if r.outcome is Outcome.RECORDED}
        kinds = {s.digest: s.content for s in statements if s.digest in accepted}
        for claim, old in before.items():
            new = self.rights(claim)
            if new.holder != old.holder:
                causes = [c for c in kinds.values() if isinstance(c, Transfer | CourtOrder) and c.claim == claim[0]]
                assert causes, "a holder changes by TRANSFER or an order to assign alone"
        for leaf in applied.derived:
            if leaf.kind is DerivedKind.MINT:
                assert isinstance(kinds[leaf.cause], Mint)
                assert leaf.digest not in self.seq
                self.seq[leaf.digest], self.told[leaf.digest] = 0, MintState.ACTIVE
            else:
                mint, seq = leaf.preimage[64:96], int.from_bytes(leaf.preimage[96:128], "big")
                assert seq == self.seq[mint] + 1, "a mint's seq goes up by one with every STATUS leaf"
                self.seq[mint], self.told[mint] = seq, leaf.preimage[159]

    @invariant()
    def rights_are_within_their_bounds(self) -> None:
        everywhere: dict[bytes, ClaimId] = {}
        for claim in self.known:
            if self.run.view.issuer_of(claim) is None:
                continue
            rights = self.rights(claim)
            assert ClaimRights.decode(rights.encode()) == rights
            assert rights.holder in HOLDERS
            assert len(rights.disputes) <= DISPUTES_MAX
            assert len({dispute.disputant for dispute in rights.disputes}) == len(rights.disputes)
            assert len({mint.edition for mint in rights.mints}) == len(rights.mints) <= MINTS_MAX
            assert [mint.leaf_index for mint in rights.mints] == sorted(mint.leaf_index for mint in rights.mints)
            if rights.state is ClaimState.SUPERSEDED:
                assert not rights.mints
            for mint in rights.mints:
                assert mint.entry not in everywhere, "a mint belongs to one claim"
                everywhere[mint.entry] = claim
                assert mint.seq == self.seq[mint.entry]
                assert rights.mint_state == self.told[mint.entry], "contracts were told of the state as it is"
        assert set(everywhere) == set(self.seq), "no mint is lost"

    @invariant()
    def only_an_active_claim_can_be_minted(self) -> None:
        """Asked of execution itself, without recording the answer."""
        for claim in self.known:
            if self.run.view.issuer_of(claim) is None:
                continue
            rights = self.rights(claim)
            editions = rights.editions or 9
            free = next(n for n in range(1, 10) if n not in {mint.edition for mint in rights.mints})
            if free > editions:
                continue
            statement = self.run.statement(self.run.mint(claim, free, editions), rights.holder)
            due = apply_block(self.run.view, 0, self.run.time_ms, [(Digest(bytes(32)), [statement])], {})
            (receipt,) = due.receipts
            assert (receipt.outcome is Outcome.RECORDED) == (rights.state is ClaimState.ACTIVE)

    @invariant()
    def stays_have_a_time_to_come(self) -> None:
        for rights in self.run.view.rights.values():
            if rights.stay is not None and rights.stay.until_ms:
                assert rights.stay.until_ms > self.run.time_ms


RightsMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
test_rights_hold_whatever_is_said = RightsMachine.TestCase
