"""Votes as blocks execute them: who is counted, when a change passes, and what can never happen to a committee."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.types import VALIDATORS_MIN, Digest, Epoch, EpochParameters
from ledger.apply import Applied, Outcome, Overlay, Reason, Receipt, apply_block
from ledger.errors import InvalidStatementSignature, MalformedRoster, UnknownMember
from ledger.genesis import Member, Role
from ledger.governance import Admit, Change, Remove, RotateKey, Scope, SetPolicy, proposal_id, seats_changed
from ledger.member import check_members
from ledger.roster import Roster
from ledger.statement import Statement, check_statement, parse_statement, sign_statement
from tests.ledger.builders import (
    FOUR,
    MemoryView,
    make_claim,
    make_consortium,
    make_keys,
    make_member,
    private_key,
    public_key,
)

SEVEN = (*FOUR, ("indie", Role.LABEL), ("radio", Role.PLATFORM), ("union", Role.SOCIETY))
CONSORTIUM = make_consortium([make_member(member, role) for member, role in SEVEN])
ROSTER = CONSORTIUM.genesis.roster
SEATS = tuple(member for member, _ in SEVEN)
TIME = 1_700_000_000_000
P = Digest(b"\x01" * 32)


@lru_cache(maxsize=4096)
def vote(change: Change, voter: str, ref: str = "") -> Statement:
    name = ref or f"{proposal_id(change).hex()[:16]} {voter}"
    return CONSORTIUM.statement(change, issuer=voter, ref=name)


def votes(change: Change, *voters: str) -> list[Statement]:
    return [vote(change, voter) for voter in voters]


def admit(member: str, *, validator: bool = True, epoch: int = 0) -> Admit:
    return Admit(epoch=Epoch(epoch), member=make_member(member, Role.LABEL, validator=validator))


def remove(member: str, scope: Scope = Scope.CONSORTIUM, epoch: int = 0) -> Remove:
    return Remove(epoch=Epoch(epoch), member_id=member, scope=scope)


def rotate(member: str, purpose: str, epoch: int = 0, again: str = "again") -> RotateKey:
    return RotateKey(
        epoch=Epoch(epoch), member_id=member, purpose=purpose, key=public_key(f"{member} {again}", purpose)
    )


def policy(delta_ms: int = 200, epoch: int = 0) -> SetPolicy:
    return SetPolicy(epoch=Epoch(epoch), parameters=EpochParameters(delta_ms=delta_ms))


def run(view: MemoryView, *statements: Statement) -> Applied:
    """Executes a block, records it in the view, and lets the next epoch begin where one does."""
    applied = apply_block(view, 7, TIME, [(P, statements)], {})
    view.record(applied)
    view.roster = applied.next_roster or view.roster
    return applied


def shown(applied: Applied) -> list[str]:
    return [receipt.reason.name if receipt.reason else f"leaf {receipt.index}" for receipt in applied.receipts]


# ---- counting --------------------------------------------------------------------------------------------------------


def test_a_change_passes_with_a_quorum_of_the_seats_and_not_before() -> None:
    view = MemoryView(ROSTER)
    before = run(view, *votes(admit("new"), *SEATS[:4]))
    assert (before.passed, before.next_roster) == ((), None)
    applied = run(view, *votes(admit("new"), SEATS[5]))
    assert applied.passed == (proposal_id(admit("new")),)
    following = applied.next_roster
    assert following is not None
    assert (following.epoch, following.members) == (1, (*ROSTER.members, make_member("new", Role.LABEL)))
    assert [counted.index for counted in (*before.votes, *applied.votes)] == [0, 1, 2, 3, 4]


def test_counted_votes_are_leaves_without_claims_like_any_statement() -> None:
    applied = run(MemoryView(ROSTER), CONSORTIUM.statement(make_claim(1)), *votes(policy(), "court", "label"))
    assert shown(applied) == ["leaf 0", "leaf 1", "leaf 2"]
    assert [len(entry.claims) for entry in applied.entries] == [1, 0, 0]
    assert [(counted.voter, counted.index) for counted in applied.votes] == [("court", 1), ("label", 2)]


def test_no_member_votes_twice_for_one_proposal() -> None:
    again = [vote(policy(), "court", ref=f"try {i}") for i in range(6)]
    view = MemoryView(ROSTER)
    applied = run(view, *again, *votes(policy(), *SEATS[2:5]))
    assert shown(applied) == ["leaf 0", *["VOTED"] * 5, "leaf 1", "leaf 2", "leaf 3"]
    assert applied.next_roster is None
    assert shown(run(view, vote(policy(), "court", ref="try 9"))) == ["VOTED"], "also in a later block"


def test_a_member_may_vote_for_several_proposals_also_contradicting_ones() -> None:
    applied = run(MemoryView(ROSTER), *(vote(policy(delta), "court") for delta in (200, 300, 400)))
    assert shown(applied) == ["leaf 0", "leaf 1", "leaf 2"]


@pytest.mark.parametrize("epoch", [1, 2, 2**64 - 1])
def test_votes_of_another_epoch_never_count(epoch: int) -> None:
    view = MemoryView(ROSTER)
    applied = run(view, *votes(policy(epoch=epoch), *SEATS))
    assert shown(applied) == ["OTHER_EPOCH"] * 7
    assert (applied.entries, applied.votes, applied.next_roster, view.statements) == ((), (), None, [])


def test_votes_lapse_with_their_epoch() -> None:
    view = MemoryView(ROSTER)
    run(view, *votes(remove("radio"), *SEATS[:4]))
    assert run(view, *votes(policy(), *SEATS[:5])).next_roster is not None
    late = run(view, *votes(remove("radio"), *SEATS[4:]))
    assert shown(late) == ["OTHER_EPOCH"] * 3
    fresh = run(view, *votes(remove("radio", epoch=1), *SEATS[:4]))
    assert fresh.next_roster is None, "the four votes of epoch 0 are worth nothing in epoch 1"
    assert run(view, *votes(remove("radio", epoch=1), SEATS[4])).next_roster is not None


def test_the_quorum_is_that_of_the_epoch() -> None:
    view = MemoryView(ROSTER)
    assert run(view, *votes(remove("union"), *SEATS[:5])).next_roster is not None
    assert view.roster.quorum == 5
    assert run(view, *votes(remove("radio", epoch=1), *SEATS[:5])).next_roster is not None
    assert view.roster.quorum == 4
    assert run(view, *votes(policy(epoch=2), *SEATS[:4])).next_roster is not None


def test_one_more_vote_for_what_has_passed_is_refused() -> None:
    applied = run(MemoryView(ROSTER), *votes(policy(), *SEATS))
    assert shown(applied)[5:] == ["PASSED", "PASSED"]
    assert applied.passed == (proposal_id(policy()),)


def test_a_member_has_so_many_votes_in_an_epoch_and_no_more() -> None:
    view = MemoryView(ROSTER)
    first = run(view, *(vote(policy(1_000 + i), "court") for i in range(200)))
    assert len(first.votes) == 200
    more = run(view, *(vote(policy(2_000 + i), "court") for i in range(60)), *votes(policy(), "label"))
    assert shown(more)[55:] == ["leaf 255", *["TOO_MANY_VOTES"] * 4, "leaf 256"]
    overlay = Overlay(MemoryView(ROSTER))
    for part in range(3):
        block = [vote(policy(1_000 + 100 * part + i), "court") for i in range(100)]
        applied = apply_block(overlay, 7 + part, TIME, [(P, block)], {})
        overlay.extend(applied)
    assert len(applied.votes) == 56
    run(view, *votes(policy(), *SEATS[2:6]))
    assert view.roster.epoch == 1
    assert shown(run(view, vote(policy(300, epoch=1), "court"))) == ["leaf 261"], "in the next epoch it votes again"


def test_a_refused_vote_uses_nothing_up() -> None:
    """Its client reference is free, it is no duplicate of itself, and it counts when it may."""
    view = MemoryView(ROSTER)
    first = vote(rotate("stranger", "log"), "court", ref="mine")
    assert shown(run(view, first, first)) == ["UNKNOWN_MEMBER", "UNKNOWN_MEMBER"]
    assert shown(run(view, vote(policy(), "court", ref="mine"))) == ["leaf 0"]


def test_the_same_vote_sent_again_is_a_duplicate_not_a_refusal() -> None:
    view = MemoryView(ROSTER)
    run(view, vote(policy(), "court"))
    (receipt,) = run(view, vote(policy(), "court")).receipts
    assert (receipt.outcome, receipt.reason, receipt.index) == (Outcome.DUPLICATE, Reason.STATEMENT, 0)


def test_a_refusal_is_told_with_field_and_expectation() -> None:
    (receipt,) = run(MemoryView(ROSTER), vote(policy(epoch=3), "court")).receipts
    assert (receipt.outcome, receipt.index, receipt.code) == (Outcome.REFUSED, 0, "GOVERNANCE_OTHER_EPOCH")
    assert (receipt.field, receipt.value) == ("change.epoch", "another epoch")
    assert "votes lapse with their epoch" in receipt.expected
    assert Receipt.decode(receipt.encode()) == receipt


@pytest.mark.parametrize("reason", [r for r in Reason if Reason.OTHER_EPOCH <= r < Reason.NO_CLAIM])
def test_every_refusal_has_words(reason: Reason) -> None:
    receipt = Receipt(
        statement=P, outcome=Outcome.REFUSED, index=0, height=1, block_time_ms=TIME, reason=reason
    )  # fmt: skip
    assert receipt.field.startswith(("change", "protected"))
    assert receipt.expected
    assert receipt.value
    assert receipt.code == f"GOVERNANCE_{reason.name}"


# ---- several changes in one block ------------------------------------------------------------------------------------


def test_several_changes_pass_in_one_block_in_their_order() -> None:
    changes = [policy(), rotate("court", "statement"), admit("new", validator=False)]
    applied = run(MemoryView(ROSTER), *(s for change in changes for s in votes(change, *SEATS[:5])))
    assert applied.passed == tuple(proposal_id(change) for change in changes)
    following = applied.next_roster
    assert following is not None
    assert following.parameters.delta_ms == 200
    assert following.epoch == 1, "one block, one new epoch"
    assert [member.id for member in following.members] == [*SEATS, "new"]


def test_the_deciding_vote_for_one_seat_too_many_is_refused() -> None:
    changes = [admit("a"), admit("b"), admit("c")]
    applied = run(MemoryView(ROSTER), *(s for change in changes for s in votes(change, *SEATS[:5])))
    assert shown(applied)[-2:] == ["leaf 13", "TOO_MANY_SEATS"]
    assert applied.passed == tuple(proposal_id(change) for change in changes[:2])
    assert applied.next_roster is not None
    assert applied.next_roster.member("c") is None


def test_a_change_that_an_earlier_one_of_the_block_made_impossible_is_refused() -> None:
    statements = [*votes(remove("radio"), *SEATS[:5]), *votes(rotate("radio", "log"), *SEATS[:5])]
    applied = run(MemoryView(ROSTER), *statements)
    assert shown(applied)[5:] == ["UNKNOWN_MEMBER"] * 5
    copied = replace(make_member("other", Role.LABEL), keys=make_keys("other", "new"))
    two = [admit("new"), Admit(epoch=Epoch(0), member=copied)]
    applied = run(MemoryView(ROSTER), *(s for change in two for s in votes(change, *SEATS[:5])))
    assert shown(applied)[5:] == ["KEY_USED"] * 5


def test_a_committee_of_four_never_shrinks() -> None:
    consortium = make_consortium()
    view = MemoryView(consortium.genesis.roster)
    for scope in Scope:
        applied = run(
            view, *(consortium.statement(remove("label", scope), issuer=issuer, ref=f"{scope} x") for issuer, _ in FOUR)
        )
        assert shown(applied) == ["COMMITTEE_TOO_SMALL"] * 4


def test_statements_after_the_deciding_vote_in_the_same_block_are_recorded() -> None:
    applied = run(MemoryView(ROSTER), *votes(policy(), *SEATS[:5]), CONSORTIUM.statement(make_claim(1)))
    assert shown(applied)[-1] == "leaf 5"


def test_votes_of_blocks_committed_together_are_counted_together() -> None:
    overlay = Overlay(MemoryView(ROSTER))
    overlay.extend(apply_block(overlay, 7, TIME, [(P, votes(policy(), *SEATS[:3]))], {}))
    again = apply_block(overlay, 8, TIME, [(P, [vote(policy(), SEATS[0], ref="again")])], {})
    assert shown(again) == ["VOTED"]
    applied = apply_block(overlay, 8, TIME, [(P, votes(policy(), *SEATS[3:5]))], {})
    assert applied.passed == (proposal_id(policy()),)


def test_after_the_block_that_ends_an_epoch_none_of_it_has_statements() -> None:
    overlay = Overlay(MemoryView(ROSTER))
    overlay.extend(apply_block(overlay, 7, TIME, [(P, votes(policy(), *SEATS[:5]))], {}))
    overlay.extend(apply_block(overlay, 8, TIME, [], {}))
    late = apply_block(overlay, 9, TIME, [(P, [CONSORTIUM.statement(make_claim(1))])], {})
    with pytest.raises(AssertionError, match="block 7 ended the epoch"):
        overlay.extend(late)


def test_execution_changes_neither_the_view_nor_the_roster() -> None:
    view = MemoryView(ROSTER)
    encoded = ROSTER.encode()
    statements = [*votes(policy(), *SEATS[:5]), *votes(admit("new"), *SEATS[:5])]
    first = apply_block(view, 7, TIME, [(P, statements)], {})
    assert apply_block(view, 7, TIME, [(P, statements)], {}) == first
    assert view.roster.encode() == encoded
    assert view.statements == []


# ---- members whose standing changed ----------------------------------------------------------------------------------


def after(*changes: Change) -> Roster:
    view = MemoryView(ROSTER)
    run(view, *(s for change in changes for s in votes(change, *SEATS[:5])))
    return view.roster


def test_a_removed_members_statements_count_up_to_its_epochs_end() -> None:
    statement = CONSORTIUM.statement(make_claim(1), issuer="indie")
    check_statement(statement, ROSTER)
    with pytest.raises(UnknownMember):
        check_statement(statement, after(remove("indie")))
    check_statement(statement, after(remove("indie", Scope.COMMITTEE)))


def test_after_a_rotation_the_new_statement_key_counts_and_the_old_one_does_not() -> None:
    old = CONSORTIUM.statement(make_claim(1), issuer="indie")
    roster = after(rotate("indie", "statement"))
    with pytest.raises(InvalidStatementSignature):
        check_statement(old, roster)
    new = sign_statement(
        make_claim(1), client_ref="r", issuer="indie", public_key=public_key("indie again", "statement"),
        consortium=roster.consortium, sign=private_key("indie again", "statement").sign,
    )  # fmt: skip
    check_statement(parse_statement(new), roster)
    with pytest.raises(InvalidStatementSignature):
        check_statement(parse_statement(new), ROSTER)


# ---- properties ------------------------------------------------------------------------------------------------------

FRESH = ("aria", "brio", "coda")


def pool(epoch: int) -> list[Change]:
    changes: list[Change] = [policy(200, epoch), policy(300, epoch)]
    for member in FRESH:
        changes += [admit(member, epoch=epoch), admit(member, validator=False, epoch=epoch)]
    for member in (*SEATS, "aria"):
        changes += [remove(member, scope, epoch) for scope in Scope]
        changes += [rotate(member, purpose, epoch) for purpose in ("consensus", "statement", "export")]
    return changes


POOLS = [pool(epoch) for epoch in range(4)]
ballots = st.tuples(st.integers(0, 3), st.integers(0, len(POOLS[0]) - 1), st.sets(st.sampled_from((*SEATS, "aria"))))
"""(epoch named in the vote, change, voters)"""


def seated(roster: Roster, voters: set[str]) -> list[str]:
    return [voter for voter in sorted(voters) if roster.validator_index(voter) is not None]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(ballots, max_size=6), max_size=6))
def test_whatever_is_voted_every_committee_is_a_sound_one(blocks: list[list[tuple[int, int, set[str]]]]) -> None:
    view = MemoryView(ROSTER)
    tally: Counter[tuple[Digest, str]] = Counter()
    for block in blocks:
        old = view.roster
        statements = [vote(POOLS[e][c], v) for e, c, voters in block for v in seated(old, voters)]
        applied = run(view, *statements)
        tally.update((counted.proposal, counted.voter) for counted in applied.votes)
        assert all(entry.statement.content.epoch == old.epoch for entry in applied.entries)  # type: ignore[union-attr]
        assert len(set(applied.passed)) == len(applied.passed)
        for proposal in applied.passed:
            assert sum(count for (name, _), count in tally.items() if name == proposal) == old.quorum
        assert (applied.next_roster is not None) == bool(applied.passed)
        if applied.next_roster is not None:
            new = applied.next_roster
            assert new.epoch == old.epoch + 1
            check_members(new.members, MalformedRoster)
            assert len(new.validator_members()) >= VALIDATORS_MIN
            assert seats_changed(old, new) <= old.committee().faults_max
    assert set(tally.values()) <= {1}, "no vote is counted twice"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(ballots, max_size=5), max_size=4))
def test_votes_over_an_overlay_count_as_over_the_store(blocks: list[list[tuple[int, int, set[str]]]]) -> None:
    stored, overlay = MemoryView(ROSTER), Overlay(MemoryView(ROSTER))
    for block in blocks:
        statements = [vote(POOLS[e][c], v) for e, c, voters in block for v in seated(ROSTER, voters)]
        together = apply_block(overlay, 7, TIME, [(P, statements)], {})
        overlay.extend(together)
        assert together == run(stored, *statements)
        if together.next_roster is not None:
            break


def decided(order: Sequence[Statement]) -> tuple[frozenset[Digest], Roster | None]:
    applied = run(MemoryView(ROSTER), *order)
    return frozenset(applied.passed), applied.next_roster


@settings(max_examples=60, deadline=None)
@given(st.sets(st.sampled_from(SEATS)), st.integers(0, len(POOLS[0]) - 1), st.randoms(use_true_random=False))
def test_the_order_of_votes_for_one_change_decides_nothing(voters: set[str], change: int, random: object) -> None:
    order = votes(POOLS[0][change], *sorted(voters))
    expected = decided(order)
    random.shuffle(order)  # type: ignore[attr-defined]
    assert decided(order) == expected


def test_changes_that_do_not_touch_each_other_give_one_roster_in_any_order() -> None:
    changes = [admit("zebra", validator=False), admit("aria", validator=False), policy(), rotate("court", "export")]
    rosters = {
        decided([s for change in order for s in votes(change, *SEATS[:5])])[1] for order in permutations(changes)
    }  # fmt: skip
    (only,) = {None if roster is None else roster.digest for roster in rosters}
    assert only is not None


def test_a_statement_of_a_member_without_a_seat_cannot_get_here() -> None:
    watcher: Member = make_member("watcher", Role.LABEL, validator=False)
    view = MemoryView(replace(ROSTER, members=(*ROSTER.members, watcher)))
    with pytest.raises(AssertionError, match="no seat"):
        run(view, vote(policy(), "watcher"))
