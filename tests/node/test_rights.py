"""Claims' rights in whole loops: what members say is answered, stays lapse by themselves, and epochs end cleanly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.rights import ClaimId, ClaimRights, ClaimState
from ledger.rights_content import CourtAction, CourtOrder, Dispute, Mint, Withdraw
from ledger.statement import Statement
from node.rpc.types import SubmissionState
from tests.ledger.builders import make_claim
from tests.ledger.rights_builders import make_terms
from tests.node.nodes import CONSORTIUM, WALL_MS, Results
from tests.node.test_epochs import check, pass_change, policy
from tests.node.town import Town

CLAIMS = [CONSORTIUM.statement(make_claim(n), ref=f"claim {n}") for n in range(12)]


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    made = Town(tmp_path)
    yield made
    made.close()


def claim_of(statement: Statement) -> ClaimId:
    return ClaimId(statement.digest, 0)


def say(town: Town, statement: Statement, member: str = "court") -> Results:
    results = town.submit(member, statement)
    town.run(lambda: results.last.ends, for_ms=60_000)
    return results


def mint(of: Statement, edition: int = 1) -> Statement:
    terms = make_terms(claim=of.digest, edition=edition, editions=9)
    return CONSORTIUM.statement(Mint(terms=terms), ref=f"mint {of.client_ref} {edition}")


def stay(of: Statement, until_ms: int) -> Statement:
    order = CourtOrder(
        claim=of.digest, position=0, head=of.digest, order=CourtAction.STAY, reference="HK 1/26", until_ms=until_ms
    )  # fmt: skip
    return CONSORTIUM.statement(order, ref=f"stay {of.client_ref}", issuer="court")


def rights(town: Town, of: Statement, member: str = "label") -> ClaimRights:
    with town[member].store.recorded() as recorded:
        found = recorded.rights_of(claim_of(of))
    assert found is not None
    return found


def test_submitters_hear_what_the_claims_rights_allow(town: Town) -> None:
    raw = CLAIMS[0]
    assert say(town, raw).states[-1] is SubmissionState.FINAL
    assert say(town, mint(raw)).last.index == 1
    dispute = CONSORTIUM.statement(Dispute(claim=raw.digest, position=0, grounds="Ours."), issuer="society", ref="d")
    assert say(town, dispute).last.index == 3
    refusal = say(town, mint(raw, 2)).last.refusal
    assert refusal is not None
    assert (refusal.code, refusal.field) == ("RIGHTS_DISPUTED", "claim")
    withdraw = Withdraw(claim=raw.digest, position=0, head=raw.digest, reason="Twice.")
    refusal = say(town, CONSORTIUM.statement(withdraw, ref="w")).last.refusal
    assert refusal is not None
    assert (refusal.code, refusal.field) == ("RIGHTS_STALE_HEAD", "head")
    town.run(lambda: town.is_complete(5), for_ms=60_000)
    assert len(town.roots()) == 1
    check(town)


def test_a_stay_lapses_in_an_idle_chain_and_the_checkpoint_after_it_gets_its_quorum(town: Town) -> None:
    raw = CLAIMS[0]
    say(town, raw)
    say(town, mint(raw))
    say(town, stay(raw, WALL_MS + town.clock.now_ms + 5_000))
    town.run(lambda: town.is_complete(5), for_ms=60_000)
    assert rights(town, raw).state is ClaimState.DISPUTED
    town.run(lambda: town.is_complete(6), for_ms=1_300_000)
    assert rights(town, raw).state is ClaimState.ACTIVE
    assert not town["label"].store.head().block.payloads
    assert len(town.roots()) == 1
    check(town)


def test_a_node_that_restarts_before_the_stays_time_computes_its_lapse(town: Town) -> None:
    raw = CLAIMS[0]
    say(town, raw)
    say(town, mint(raw))
    say(town, stay(raw, WALL_MS + town.clock.now_ms + 5_000))
    town.run(lambda: town.is_complete(5), for_ms=60_000)
    town.stop("platform")
    town.start("platform")
    town.run(lambda: town.is_complete(6), for_ms=1_300_000)
    assert len(town.roots()) == 1
    check(town)


def test_what_is_due_while_an_epoch_ends_lapses_in_the_next_ones_first_block(town: Town) -> None:
    for raw in CLAIMS:
        say(town, raw)
        say(town, mint(raw))
    start_ms = town.clock.now_ms
    for number, raw in enumerate(CLAIMS):
        say(town, stay(raw, WALL_MS + start_ms + 1_951 + 4 * number), "label")
    town.clock.now_ms = start_ms + 1_950
    pass_change(town, policy())
    store = town["label"].store
    boundary = store.rosters.starts[-1]
    assert store.totals_after(boundary.height) == store.totals_after(boundary.height - 1)
    assert boundary.size == store.totals_after(boundary.height)[0]
    late: list[Any] = [r for raw in CLAIMS if (r := rights(town, raw)).stay is not None]
    block = store.blocks_from(boundary.height, 1)
    assert block is not None
    overdue = [r for r in late if r.stay.until_ms <= block.blocks[0].timestamp_ms]
    assert overdue, "some stay was due at the boundary: else this test shows nothing"
    assert say(town, CONSORTIUM.statement(make_claim(77), ref="next")).states[-1] is SubmissionState.FINAL
    first = store.totals_after(boundary.height + 1)[0] - boundary.size
    assert first >= len(overdue)
    assert all(rights(town, raw).stay is None for raw in CLAIMS if claim_of(raw) in {r.claim for r in overdue})
    town.run(lambda: len(town.roots()) == 1, for_ms=60_000)
    check(town)
