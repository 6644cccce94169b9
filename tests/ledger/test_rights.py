"""What may be done with a claim's rights, by whom and when; and what the log gets in consequence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import MalformedMessage
from consensus.types import Digest
from ledger import derive
from ledger.apply import Outcome, Overlay, Reason, apply_block
from ledger.catalogue import check_catalogue
from ledger.derive import leaves_max
from ledger.derived import DerivedKind, MintState, StatusLeaf, mint_preimage
from ledger.member import Role
from ledger.receipt import Receipt
from ledger.rights import (
    DISPUTES_MAX,
    MINTS_MAX,
    ClaimId,
    ClaimRights,
    ClaimState,
    LiveMint,
    OpenDispute,
    Stay,
    Superseded,
)
from ledger.rights_content import CourtAction, MintsFate
from tests.ledger.builders import make_catalogue, make_claim, make_consortium, make_member
from tests.ledger.rights_builders import digest_of
from tests.ledger.rights_runs import CONSORTIUM, MEMBERS, TIME, Run, shown, statuses

GENESIS = CONSORTIUM.genesis.digest


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


# ---- lapse -----------------------------------------------------------------------------------------------------------


def test_a_stay_lapses_in_the_first_block_at_or_after_its_time_also_an_empty_one() -> None:
    run = Run()
    claim = run.claim()
    run.mints(claim, 2)
    order = accepted(run.say(run.order(claim, CourtAction.STAY, until_ms=TIME + 1_000), "court"))
    early = run.block(time_ms=TIME + 999)
    assert (early.derived, run.rights(claim).state) == ((), ClaimState.DISPUTED)
    due = run.block(time_ms=TIME + 1_000)
    assert statuses(due) == [(2, MintState.ACTIVE), (2, MintState.ACTIVE)]
    assert {leaf.cause for leaf in due.derived} == {order}
    assert (run.rights(claim).state, run.head(claim)) == (ClaimState.ACTIVE, order)
    assert run.block(time_ms=TIME + 2_000).derived == ()


def test_a_lapse_comes_before_the_statements_of_its_block() -> None:
    run = Run()
    claim = run.claim()
    run.mints(claim, 1)
    accepted(run.say(run.order(claim, CourtAction.STAY, until_ms=TIME + 1_000), "court"))
    size = run.view.size
    applied = run.block(run.statement(run.mint(claim, 2)), time_ms=TIME + 1_500)
    assert shown(applied) == [f"{size} STATUS", f"{size + 1} MINT", f"{size + 2} MINT"]


def test_a_lapse_leaves_open_disputes_as_they_are() -> None:
    run = Run()
    claim = run.claim()
    run.mints(claim, 1)
    accepted(run.say(run.order(claim, CourtAction.STAY, until_ms=TIME + 1_000), "court"))
    accepted(run.say(run.dispute(claim), "rival"))
    assert statuses(run.block(time_ms=TIME + 1_000)) == [(3, MintState.DISPUTED)]


def test_a_later_stay_counts_and_what_ends_a_stay_ends_its_lapse() -> None:
    run = Run()
    claims = [run.claim(n) for n in range(3)]
    for claim in claims:
        accepted(run.say(run.order(claim, CourtAction.STAY, until_ms=TIME + 1_000), "court"))
    accepted(run.say(run.order(claims[0], CourtAction.STAY, until_ms=TIME + 2_000), "court"))
    accepted(run.say(run.order(claims[1], CourtAction.LIFT), "court"))
    accepted(run.say(run.order(claims[2], CourtAction.STAY), "court"))
    run.block(time_ms=TIME + 1_000)
    assert [run.rights(claim).stay is None for claim in claims] == [False, True, False]
    run.block(time_ms=TIME + 2_000)
    assert [run.rights(claim).stay is None for claim in claims] == [True, True, False]


def test_a_stay_until_a_time_that_has_come_is_refused() -> None:
    run = Run()
    claim = run.claim()
    refused(run.say(run.order(claim, CourtAction.STAY, until_ms=TIME + 2), "court"), Reason.STAY_PAST)
    accepted(run.say(run.order(claim, CourtAction.STAY, until_ms=TIME + 4), "court"))


def test_stays_lapse_in_order_of_their_time_and_claim() -> None:
    run = Run()
    claims = sorted(run.claim(n) for n in range(6))
    for claim in reversed(claims):
        run.mints(claim, 1)
    for claim in claims[3:] + claims[:3]:
        until = TIME + (5_000 if claim in claims[:2] else 4_000)
        accepted(run.say(run.order(claim, CourtAction.STAY, until_ms=until), "court"))
    due = run.block(time_ms=TIME + 6_000)
    mints = [run.rights(claim).mints[0].entry for claim in claims[2:] + claims[:2]]
    assert [leaf.preimage[64:96] for leaf in due.derived] == mints


def test_what_lapses_in_one_block_is_bounded_and_the_rest_lapses_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run()
    claims = [run.claim(n) for n in range(5)]
    for claim in claims:
        run.mints(claim, 2)
        accepted(run.say(run.order(claim, CourtAction.STAY, until_ms=TIME + 1_000), "court"))
    monkeypatch.setattr(derive, "LAPSE_LEAVES_MAX", 3)
    assert len(run.block(time_ms=TIME + 1_000).derived) == 4
    monkeypatch.setattr(derive, "LAPSES_PER_BLOCK_MAX", 1)
    assert len(run.block(time_ms=TIME + 1_001).derived) == 2
    assert sum(run.rights(claim).stay is None for claim in claims) == 3


def test_nothing_lapses_between_the_end_of_an_epoch_and_the_next() -> None:
    run = Run()
    claim = run.claim()
    run.mints(claim, 1)
    accepted(run.say(run.order(claim, CourtAction.STAY, until_ms=TIME + 1_000), "court"))
    run.view.is_ending = True
    assert run.block(time_ms=TIME + 1_000).derived == ()
    overlay = Overlay(run.view)
    assert apply_block(overlay, 9, TIME + 2_000, [], {}).derived == ()
    run.view.is_ending = False
    assert statuses(run.block(time_ms=TIME + 1_001)) == [(2, MintState.ACTIVE)]


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
    monkeypatch.setattr(derive, "LEAVES_PER_BLOCK_MAX", 2)
    refused(run.block(dispute).receipts[0], Reason.BLOCK_FULL)
    more = run.block(*(run.statement(run.mint(claim, n)) for n in (4, 5, 6)))
    assert [receipt.reason for receipt in more.receipts] == [Reason.NONE, Reason.NONE, Reason.BLOCK_FULL]
    monkeypatch.setattr(derive, "LEAVES_PER_BLOCK_MAX", 5)
    accepted(run.block(dispute).receipts[0])


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


# ---- the values ------------------------------------------------------------------------------------------------------

digests = st.binary(min_size=32, max_size=32).map(Digest)
rights_values = st.builds(
    ClaimRights,
    claim=st.builds(ClaimId, digests, st.integers(0, 16_383)),
    holder=st.sampled_from(["label", "society"]),
    head=digests,
    revoked=st.booleans(),
    superseded=st.none() | st.builds(Superseded, digests, st.sampled_from(MintsFate)),
    disputes=st.lists(st.builds(OpenDispute, digests, st.just("rival"), st.booleans()), max_size=3).map(tuple),
    stay=st.none() | st.builds(Stay, digests, st.integers(0, 2**63)),
    editions=st.integers(0, 2**32 - 1),
    mints=st.lists(st.builds(LiveMint, digests, *[st.integers(0, 2**48)] * 4), max_size=3).map(tuple),
)


@given(rights_values)
def test_rights_come_back_from_their_encoding(rights: ClaimRights) -> None:
    assert ClaimRights.decode(rights.encode()) == rights


@given(rights_values, st.data())
def test_other_bytes_are_no_rights(rights: ClaimRights, data: st.DataObject) -> None:
    good = rights.encode()
    cut = data.draw(st.integers(0, len(good) - 1))
    with pytest.raises(MalformedMessage, match="rights"):
        ClaimRights.decode(good[:cut])
    for wrong in (b"", b"\x80", b"\xf6", b"\x8a" + b"\x00" * 10, good + b"\x00"):
        with pytest.raises(MalformedMessage, match="rights"):
            ClaimRights.decode(wrong)


@given(st.tuples(digests, st.integers(0, 2**32 - 1)), st.tuples(digests, st.integers(0, 2**32 - 1)))
def test_claim_ids_sort_as_their_bytes(one: tuple[Digest, int], other: tuple[Digest, int]) -> None:
    a, b = ClaimId(*one), ClaimId(*other)
    assert (a < b) == (a.encode() < b.encode())
    assert ClaimId.decode(a.encode()) == a


def test_a_bound_holds_for_what_each_statement_may_append() -> None:
    run = Run()
    claim = run.claim()
    assert leaves_max(make_claim(0)) == 1
    assert leaves_max(run.mint(claim)) == 2
    assert leaves_max(run.dispute(claim)) == 1 + MINTS_MAX
    assert leaves_max(run.order(claim, CourtAction.STAY)) == 1 + MINTS_MAX
    assert leaves_max(run.order(claim, CourtAction.STAY, until_ms=TIME)) == 1 + 2 * MINTS_MAX
