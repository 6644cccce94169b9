"""What may be done with a claim's rights, by whom and when; and what the log gets in consequence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from consensus.types import Digest
from ledger import derive
from ledger.apply import Reason, apply_block
from ledger.catalogue import check_catalogue
from ledger.derive import leaves_max
from ledger.derived import DerivedKind, MintState, StatusLeaf, mint_preimage
from ledger.member import Role
from ledger.rights import (
    DISPUTES_MAX,
    MINTS_MAX,
    ClaimId,
    ClaimState,
    LiveMint,
    OpenDispute,
    Stay,
    Superseded,
)
from ledger.rights_content import CourtAction, MintsFate
from tests.ledger.builders import make_catalogue, make_claim, make_consortium, make_member
from tests.ledger.rights_builders import digest_of
from tests.ledger.rights_runs import CONSORTIUM, MEMBERS, TIME, Run, accepted, refused, shown, statuses

GENESIS = CONSORTIUM.genesis.digest


# ---- which claim -----------------------------------------------------------------------------------------------------


def test_only_a_claim_on_record_has_rights() -> None:
    run = Run()
    claim = run.claim()
    before = run.view.size
    refused(run.say(run.dispute(ClaimId(digest_of("nothing"), 0)), "rival"), Reason.NO_CLAIM)
    refused(run.say(run.dispute(ClaimId(claim.statement, 1)), "rival"), Reason.NO_CLAIM)
    disputed = accepted(run.say(run.dispute(claim), "rival"))
    refused(run.say(run.dispute(ClaimId(disputed, 0)), "rival"), Reason.NO_CLAIM)
    assert run.view.size == before + 1


def test_every_claim_of_a_catalogue_has_rights_of_its_own() -> None:
    run, made = Run(), make_catalogue(3)
    statement = run.statement(made.header)
    body = check_catalogue(made.header, made.manifest, made.chunks)
    run.view.record(apply_block(run.view, 1, TIME, [(Digest(bytes(32)), [statement])], {statement.digest: body}))
    accepted(run.say(run.dispute(ClaimId(statement.digest, 2)), "rival"))
    refused(run.say(run.dispute(ClaimId(statement.digest, 3)), "rival"), Reason.NO_CLAIM)
    assert run.rights(ClaimId(statement.digest, 2)).state is ClaimState.DISPUTED
    assert run.rights(ClaimId(statement.digest, 1)).state is ClaimState.ACTIVE


def test_a_claim_and_what_is_said_of_it_may_stand_in_one_block() -> None:
    run = Run()
    first = run.statement(make_claim(1))
    claim = ClaimId(first.digest, 0)
    mint = run.statement(run.mint(claim))
    applied = run.block(mint, first, run.statement(run.mint(claim, 2)), run.statement(run.dispute(claim), "rival"))
    assert [r.reason for r in applied.receipts] == [Reason.NO_CLAIM, Reason.NONE, Reason.NONE, Reason.NONE]
    assert shown(applied) == ["0 CLAIM", "1 MINT", "2 MINT", "3 DISPUTE", "4 STATUS"]
    assert run.block(mint).receipts[0].reason is Reason.DISPUTED  # a refused statement may be sent again


# ---- disputes --------------------------------------------------------------------------------------------------------


def test_a_dispute_by_anybody_but_the_holder_makes_the_claim_disputed() -> None:
    run = Run()
    claim = run.claim()
    refused(run.say(run.dispute(claim)), Reason.OWN_CLAIM)
    first = accepted(run.say(run.dispute(claim), "rival"))
    refused(run.say(run.dispute(claim), "rival"), Reason.DISPUTE_OPEN)
    second = accepted(run.say(run.dispute(claim), "court"))
    rights = run.rights(claim)
    assert (rights.state, rights.holder, rights.head) == (ClaimState.DISPUTED, "label", second)
    assert rights.disputes == (OpenDispute(first, "rival"), OpenDispute(second, "court"))


def test_the_holder_answers_each_dispute_once_and_the_claim_stays_disputed() -> None:
    run = Run()
    claim = run.claim()
    dispute = accepted(run.say(run.dispute(claim), "rival"))
    refused(run.say(run.respond(claim, dispute), "society"), Reason.NOT_HOLDER)
    refused(run.say(run.respond(claim, digest_of("another"))), Reason.NO_DISPUTE)
    accepted(run.say(run.respond(claim, dispute)))
    refused(run.say(run.respond(claim, dispute)), Reason.RESPONDED)
    assert run.rights(claim).disputes == (OpenDispute(dispute, "rival", True),)
    assert run.rights(claim).state is ClaimState.DISPUTED


def test_a_dispute_is_dropped_by_who_raised_it() -> None:
    run = Run()
    claim = run.claim()
    dispute = accepted(run.say(run.dispute(claim), "rival"))
    refused(run.say(run.drop(claim, dispute)), Reason.NOT_DISPUTANT)
    refused(run.say(run.drop(claim, dispute), "court"), Reason.NOT_DISPUTANT)
    refused(run.say(run.drop(claim, digest_of("another")), "rival"), Reason.NO_DISPUTE)
    accepted(run.say(run.drop(claim, dispute), "rival"))
    assert run.rights(claim).state is ClaimState.ACTIVE
    refused(run.say(run.drop(claim, dispute), "rival"), Reason.NO_DISPUTE)
    accepted(run.say(run.dispute(claim), "rival"))


def test_a_dispute_conceded_by_the_holder_revokes_the_claim_and_leaves_others_open() -> None:
    run = Run()
    claim = run.claim()
    dispute = accepted(run.say(run.dispute(claim), "rival"))
    other = accepted(run.say(run.dispute(claim), "society"))
    refused(run.say(run.concede(claim, dispute), "rival"), Reason.NOT_HOLDER)
    accepted(run.say(run.concede(claim, dispute)))
    assert run.rights(claim).state is ClaimState.REVOKED
    assert run.rights(claim).disputes == (OpenDispute(other, "society"),)


def test_a_claim_has_a_bounded_number_of_open_disputes() -> None:
    crowd = [make_member(f"rival-{n}", Role.LABEL, validator=False) for n in range(DISPUTES_MAX + 1)]
    run = Run(make_consortium([*MEMBERS, *crowd]))
    claim = run.claim()
    for number in range(DISPUTES_MAX):
        accepted(run.say(run.dispute(claim), f"rival-{number}"))
    refused(run.say(run.dispute(claim), f"rival-{DISPUTES_MAX}"), Reason.TOO_MANY_DISPUTES)
    first = run.rights(claim).disputes[0].statement
    accepted(run.say(run.drop(claim, first), "rival-0"))
    accepted(run.say(run.dispute(claim), f"rival-{DISPUTES_MAX}"))


# ---- holder and head -------------------------------------------------------------------------------------------------

HOLDERS: list[tuple[str, Callable[[Run, ClaimId, Digest | None], object]]] = [
    ("withdraw", lambda run, claim, head: run.withdraw(claim, head=head)),
    ("transfer", lambda run, claim, head: run.transfer(claim, head=head)),
    ("supersede", lambda run, claim, head: run.supersede(claim, head=head)),
]
HOLDER_MAKES = pytest.mark.parametrize("make", [make for _, make in HOLDERS], ids=[name for name, _ in HOLDERS])


@HOLDER_MAKES
def test_only_the_holder_disposes_of_a_claim(make: Callable[[Run, ClaimId, Digest | None], object]) -> None:
    run = Run()
    claim = run.claim()
    refused(run.say(make(run, claim, None), "rival"), Reason.NOT_HOLDER)
    accepted(run.say(make(run, claim, None)))


@HOLDER_MAKES
def test_nobody_disposes_of_what_changed_since_they_looked(
    make: Callable[[Run, ClaimId, Digest | None], object],
) -> None:
    run = Run()
    claim = run.claim()
    seen = run.head(claim)
    dispute = accepted(run.say(run.dispute(claim), "rival"))
    accepted(run.say(run.drop(claim, dispute), "rival"))
    refused(run.say(make(run, claim, seen)), Reason.STALE_HEAD)
    accepted(run.say(make(run, claim, None)))


def test_answers_ends_of_disputes_and_orders_name_the_head_too() -> None:
    run = Run()
    claim = run.claim()
    dispute = accepted(run.say(run.dispute(claim), "rival"))
    stale = claim.statement
    refused(run.say(run.respond(claim, dispute, head=stale)), Reason.STALE_HEAD)
    refused(run.say(run.drop(claim, dispute, head=stale), "rival"), Reason.STALE_HEAD)
    refused(run.say(run.concede(claim, dispute, head=stale)), Reason.STALE_HEAD)
    refused(run.say(run.order(claim, CourtAction.REVOKE, head=stale), "court"), Reason.STALE_HEAD)
    assert run.head(claim) == dispute


@pytest.mark.parametrize("to", ["court", "platform", "nobody", "label"])
def test_only_another_label_or_society_becomes_the_holder(to: str) -> None:
    run = Run()
    claim = run.claim()
    refused(run.say(run.transfer(claim, to)), Reason.NO_SUCH_HOLDER)
    refused(run.say(run.order(claim, CourtAction.ASSIGN, to=to), "court"), Reason.NO_SUCH_HOLDER)
    assert run.rights(claim).holder == "label"


def test_a_transfer_makes_another_the_holder() -> None:
    run = Run()
    claim = run.claim()
    accepted(run.say(run.transfer(claim, "society")))
    assert run.rights(claim).holder == "society"
    refused(run.say(run.withdraw(claim)), Reason.NOT_HOLDER)
    refused(run.say(run.dispute(claim), "society"), Reason.OWN_CLAIM)
    accepted(run.say(run.dispute(claim), "label"))


@pytest.mark.parametrize("what", ["transfer", "supersede", "mint"])
def test_what_is_disputed_or_revoked_is_not_passed_on_or_minted(what: str) -> None:
    run = Run()
    claim = run.claim()
    make = getattr(run, what)
    dispute = accepted(run.say(run.dispute(claim), "rival"))
    refused(run.say(make(claim)), Reason.DISPUTED)
    accepted(run.say(run.drop(claim, dispute), "rival"))
    accepted(run.say(run.order(claim, CourtAction.STAY), "court"))
    refused(run.say(make(claim)), Reason.DISPUTED)
    accepted(run.say(run.order(claim, CourtAction.REVOKE), "court"))
    refused(run.say(make(claim)), Reason.REVOKED)
    accepted(run.say(run.order(claim, CourtAction.REINSTATE), "court"))
    accepted(run.say(make(claim)))


def test_a_withdrawn_claim_is_revoked_and_is_not_withdrawn_again() -> None:
    run = Run()
    claim = run.claim()
    accepted(run.say(run.dispute(claim), "rival"))
    accepted(run.say(run.withdraw(claim)))
    assert run.rights(claim).state is ClaimState.REVOKED
    refused(run.say(run.withdraw(claim)), Reason.REVOKED)
    accepted(run.say(run.dispute(claim), "society"))
    assert run.rights(claim).state is ClaimState.REVOKED


# ---- courts ----------------------------------------------------------------------------------------------------------


def test_a_stay_makes_disputed_until_it_is_lifted() -> None:
    run = Run()
    claim = run.claim()
    order = accepted(run.say(run.order(claim, CourtAction.STAY), "court"))
    assert (run.rights(claim).state, run.rights(claim).stay) == (ClaimState.DISPUTED, Stay(order, 0))
    run.block(time_ms=run.time_ms + 10**9)
    assert run.rights(claim).stay is not None
    accepted(run.say(run.order(claim, CourtAction.LIFT), "court"))
    assert run.rights(claim).state is ClaimState.ACTIVE


def test_a_court_orders_in_any_state() -> None:
    for before in ("stand", "withdraw", "supersede"):
        for action in CourtAction:
            run = Run()
            claim = run.claim()
            if before != "stand":
                accepted(run.say(getattr(run, before)(claim)))
            to = "rival" if action is CourtAction.ASSIGN else None
            accepted(run.say(run.order(claim, action, to=to), "court"))


def test_an_assignment_makes_another_the_holder_also_while_disputed() -> None:
    run = Run()
    claim = run.claim()
    accepted(run.say(run.dispute(claim), "rival"))
    accepted(run.say(run.order(claim, CourtAction.ASSIGN, to="rival"), "court"))
    assert (run.rights(claim).holder, run.rights(claim).state) == ("rival", ClaimState.DISPUTED)


def test_a_reinstated_claim_is_active_and_without_disputes_or_stay() -> None:
    run = Run()
    claim = run.claim()
    accepted(run.say(run.dispute(claim), "rival"))
    accepted(run.say(run.order(claim, CourtAction.STAY), "court"))
    accepted(run.say(run.withdraw(claim)))
    accepted(run.say(run.order(claim, CourtAction.REINSTATE), "court"))
    rights = run.rights(claim)
    assert (rights.state, rights.disputes, rights.stay) == (ClaimState.ACTIVE, (), None)


# ---- mints -----------------------------------------------------------------------------------------------------------


def test_a_mint_has_its_leaf_right_after_it_and_no_status_yet() -> None:
    run = Run()
    claim = run.claim()
    content = run.mint(claim, 7)
    applied = run.block(run.statement(content), run.statement(make_claim(1)))
    assert shown(applied) == ["1 MINT", "2 MINT", "3 CLAIM"]
    (leaf,) = applied.derived
    assert leaf.kind is DerivedKind.MINT
    assert leaf.preimage == mint_preimage(GENESIS, content.terms)
    assert leaf.digest == hashlib.sha256(leaf.preimage).digest()
    assert leaf.cause == applied.entries[0].digest
    assert (leaf.height, leaf.block_time_ms) == (applied.height, applied.block_time_ms)
    assert run.rights(claim).mints == (LiveMint(leaf.digest, 2, 7),)
    assert run.head(claim) == claim.statement


def test_an_edition_is_minted_once_and_by_the_holder() -> None:
    run = Run()
    claim = run.claim()
    refused(run.say(run.mint(claim), "rival"), Reason.NOT_HOLDER)
    accepted(run.say(run.mint(claim, 1)))
    refused(run.say(run.mint(claim, 1, title="Other terms")), Reason.EDITION_LIVE)
    refused(run.say(run.mint(claim, 2, editions=200)), Reason.OTHER_EDITIONS)
    accepted(run.say(run.mint(claim, 2)))
    accepted(run.say(run.mint(run.claim(1), 1, editions=200)))


def test_a_claim_has_a_bounded_number_of_live_mints() -> None:
    run = Run()
    claim = run.claim()
    run.mints(claim, MINTS_MAX)
    refused(run.say(run.mint(claim, MINTS_MAX + 1)), Reason.TOO_MANY_MINTS)
    applied = run.block(run.statement(run.dispute(claim), "rival"))
    assert statuses(applied) == [(1, MintState.DISPUTED)] * MINTS_MAX


def test_every_transition_appends_a_status_for_every_mint_in_their_order() -> None:
    run = Run()
    claim = run.claim()
    run.mints(claim, 3)
    entries = [mint.entry for mint in run.rights(claim).mints]
    dispute = run.block(run.statement(run.dispute(claim), "rival"))
    answer = run.block(run.statement(run.respond(claim, run.head(claim))))
    revoked = run.block(run.statement(run.order(claim, CourtAction.REVOKE), "court"))
    assigned = run.block(run.statement(run.order(claim, CourtAction.ASSIGN, to="rival"), "court"))
    reinstated = run.block(run.statement(run.order(claim, CourtAction.REINSTATE), "court"))
    for seq, (applied, state) in enumerate(
        [(dispute, 1), (answer, 1), (revoked, 2), (assigned, 2), (reinstated, 0)], 1
    ):  # fmt: skip
        (entry,) = applied.entries
        for place, (leaf, mint) in enumerate(zip(applied.derived, entries, strict=True), 1):
            status = StatusLeaf(mint=mint, seq=seq, state=MintState(state), cause=entry.digest)
            assert (leaf.preimage, leaf.digest) == (status.preimage(GENESIS), status.entry(GENESIS))
            assert (leaf.index, leaf.cause) == (entry.index + place, entry.digest)
    assert [mint.status_index for mint in run.rights(claim).mints] == [leaf.index for leaf in reinstated.derived]


def test_what_follows_in_one_block_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run()
    claim = run.claim()
    run.mints(claim, 3)
    dispute = run.statement(run.dispute(claim), "rival")
    monkeypatch.setattr(derive, "COURT_LEAVES", 0)
    monkeypatch.setattr(derive, "LEAVES_PER_BLOCK_MAX", 2)
    refused(run.block(dispute).receipts[0], Reason.BLOCK_FULL)
    more = run.block(*(run.statement(run.mint(claim, n)) for n in (4, 5, 6)))
    assert [receipt.reason for receipt in more.receipts] == [Reason.NONE, Reason.NONE, Reason.BLOCK_FULL]
    monkeypatch.setattr(derive, "LEAVES_PER_BLOCK_MAX", 5)
    accepted(run.block(dispute).receipts[0])


def test_nobody_crowds_out_a_courts_order(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run()
    claims = [run.claim(0), run.claim(1)]
    for claim in claims:
        run.mints(claim, 2)
    monkeypatch.setattr(derive, "LEAVES_PER_BLOCK_MAX", 4)
    monkeypatch.setattr(derive, "COURT_LEAVES", 2)
    said = [run.statement(run.dispute(claim), "rival") for claim in claims]
    order = run.statement(run.order(claims[1], CourtAction.STAY), "court")
    again = run.statement(run.mint(claims[1], 3))
    applied = run.block(*said, again, order)
    full = Reason.BLOCK_FULL
    assert [receipt.reason for receipt in applied.receipts] == [Reason.NONE, full, full, Reason.NONE]
    plain = run.statement(run.dispute(run.claim(2)), "rival")
    assert run.block(*said[1:], plain).receipts[-1].reason is Reason.NONE  # what nothing follows from needs no room


# ---- superseding -----------------------------------------------------------------------------------------------------


def test_a_replacement_takes_the_mints_and_later_transitions_reach_them() -> None:
    run = Run()
    claim = run.claim()
    run.mints(claim, 2)
    mints = run.rights(claim).mints
    receipt = run.say(run.supersede(claim))
    new = ClaimId(accepted(receipt), 0)
    assert statuses(run.applied[-1]) == [(1, MintState.ACTIVE)] * 2
    old, rights = run.rights(claim), run.rights(new)
    assert (old.state, old.mints, old.superseded) == (
        ClaimState.SUPERSEDED, (), Superseded(new.statement, MintsFate.KEEP),
    )  # fmt: skip
    assert (rights.state, rights.holder, rights.head) == (ClaimState.ACTIVE, "label", new.statement)
    assert [mint.entry for mint in rights.mints] == [mint.entry for mint in mints]
    refused(run.say(run.mint(new, 1)), Reason.EDITION_LIVE)
    accepted(run.say(run.mint(new, 3)))
    assert statuses(run.block(run.statement(run.dispute(new), "rival"))) == [(2, 1), (2, 1), (1, 1)]


def test_nothing_but_orders_is_said_of_a_superseded_claim() -> None:
    run = Run()
    claim = run.claim()
    run.mints(claim, 1)
    accepted(run.say(run.supersede(claim)))
    for content, issuer in (
        (run.dispute(claim), "rival"), (run.withdraw(claim), "label"), (run.transfer(claim), "label"),
        (run.supersede(claim, 901), "label"), (run.mint(claim, 2), "label"),
        (run.respond(claim, claim.statement), "label"), (run.drop(claim, claim.statement), "rival"),
    ):  # fmt: skip
        refused(run.say(content, issuer), Reason.SUPERSEDED)
    applied = run.block(run.statement(run.order(claim, CourtAction.REINSTATE), "court"))
    assert (applied.derived, run.rights(claim).state) == ((), ClaimState.SUPERSEDED)


def test_a_replacement_may_leave_the_mints_revoked_and_mint_anew() -> None:
    run = Run()
    claim = run.claim()
    run.mints(claim, 2)
    new = ClaimId(accepted(run.say(run.supersede(claim, mints=MintsFate.REVOKE))), 0)
    assert statuses(run.applied[-1]) == [(1, MintState.REVOKED)] * 2
    assert (run.rights(claim).state, len(run.rights(claim).mints)) == (ClaimState.REVOKED, 2)
    assert run.view.rights_of(new) is None
    accepted(run.say(run.mint(new, 1, editions=5)))
    assert statuses(run.block(run.statement(run.order(claim, CourtAction.REINSTATE), "court"))) == [(2, 0)] * 2
    assert run.rights(claim).superseded is None


def test_a_bound_holds_for_what_each_statement_may_append() -> None:
    run = Run()
    claim = run.claim()
    assert leaves_max(make_claim(0)) == 1
    assert leaves_max(run.mint(claim)) == 2
    assert leaves_max(run.dispute(claim)) == 1 + MINTS_MAX
    assert leaves_max(run.order(claim, CourtAction.STAY)) == 1 + MINTS_MAX
    assert leaves_max(run.order(claim, CourtAction.STAY, until_ms=TIME)) == 1 + 2 * MINTS_MAX
