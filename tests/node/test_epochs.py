"""Epochs in whole loops: members vote, the committee changes, and nobody restarts, loses a statement or waits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.messages import ChainRequest
from consensus.types import Epoch, EpochParameters
from ledger.epochs import verify_epochs
from ledger.errors import UnknownMember
from ledger.genesis import Role
from ledger.governance import Admit, Change, Remove, RotateKey, Scope, SetPolicy
from ledger.statement import Statement
from node.epoch import Part
from node.keys import write_key
from node.refusals import NotAValidator
from node.rpc.types import SubmissionState
from node.store.check import Outcome, check_store
from node.wire import ChainSignature, ChainSignatureRequest, Cosignature, CosignatureRequest, decode
from tests.ledger.builders import make_claim, make_member, private_key, public_key
from tests.node.nodes import CONSORTIUM, GENESIS, MEMBERS, Results
from tests.node.town import Town

FINAL, REFUSED = SubmissionState.FINAL, SubmissionState.REFUSED
POLICY = EpochParameters(delta_ms=200)


def policy(epoch: int = 0, delta_ms: int = 200) -> SetPolicy:
    return SetPolicy(epoch=Epoch(epoch), parameters=EpochParameters(delta_ms=delta_ms))


def admit(member: str, epoch: int = 0, *, validator: bool = True) -> Admit:
    return Admit(epoch=Epoch(epoch), member=make_member(member, Role.LABEL, validator=validator))


def remove(member: str, epoch: int = 0, scope: Scope = Scope.CONSORTIUM) -> Remove:
    return Remove(epoch=Epoch(epoch), member_id=member, scope=scope)


def vote(change: Change, voter: str, ref: str = "") -> Statement:
    return CONSORTIUM.statement(
        change, issuer=voter, ref=f"{change.kind} {change.epoch} {voter} {change.describe()[:20]}"
    )


def pass_change(town: Town, change: Change, voters: tuple[str, ...] = MEMBERS[:3]) -> list[Results]:
    """Each voter votes through its own node, and the next epoch begins at every node that follows."""
    results = [town.submit(voter, vote(change, voter)) for voter in voters]
    reach(town, change.epoch + 1)
    return results


def reach(town: Town, epoch: int, *members: str) -> None:
    nodes = [town[member] for member in members or tuple(town.nodes)]
    town.run(lambda: all(node.store.rosters.epoch >= epoch for node in nodes), for_ms=60_000)


def record(town: Town, number: int, member: str = "court") -> Results:
    results = town.submit(member, CONSORTIUM.statement(make_claim(number), ref=f"r{number}"))
    town.run(lambda: results.last.ends, for_ms=60_000)
    return results


def check(town: Town) -> None:
    """Every node's store is right from the genesis on, and all say the same."""
    paths = {member: node.config.chain_path for member, node in town.nodes.items()}
    heads = {node.store.frontier().root(): node.store.size for node in town.nodes.values()}
    town.close()
    for member, path in paths.items():
        failed = [found for found in check_store(path, GENESIS) if found.outcome is not Outcome.PASSED]
        assert failed == [], member
    assert len(heads) == 1


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    made = Town(tmp_path)
    yield made
    made.close()


# ---- one change ------------------------------------------------------------------------------------------------------


def test_epoch_ends_with_the_deciding_vote_and_the_next_goes_on_without_a_restart(town: Town) -> None:
    record(town, 1)
    results = pass_change(town, policy())
    assert [each.states[-1] for each in results] == [FINAL] * 3
    assert record(town, 2).states[-1] is FINAL
    for node in town.nodes.values():
        assert node.store.rosters.current.parameters == POLICY
        assert node.loop.epoch.part is Part.VALIDATOR
        assert node.loop.core.status().delta_ms == 200
        proofs = node.store.epoch_proofs(1, 10)
        assert verify_epochs(GENESIS, proofs)[-1] == node.store.rosters.current
        assert not node.loop.rejected, "nobody is blamed for being an epoch apart for a moment"
    town.run(lambda: town.is_complete(5))
    check(town)


def test_payload_of_an_earlier_epoch_is_neither_held_nor_fetched_when_a_leader_orders_it_again(town: Town) -> None:
    record(town, 1)
    court = town["court"]
    (digest,) = court.store.head().block.payloads or court.store.blocks_from(1, 64).blocks[0].payloads  # type: ignore[union-attr]
    assert court.loop.holdings.find([digest], Epoch(0)) == ([digest], [])
    pass_change(town, policy())
    assert court.loop.holdings.find([digest], Epoch(1)) == ([], [])


def test_epochs_follow_each_other(town: Town) -> None:
    for epoch in range(3):
        pass_change(town, policy(epoch, 160 + epoch))
        assert record(town, epoch).states[-1] is FINAL
    town.run(lambda: town.is_complete(12))
    check(town)


def test_statement_submitted_while_the_epoch_ends_is_cut_again_and_becomes_final(town: Town) -> None:
    """Its payload is of an epoch that orders nothing any more: nobody submits it a second time."""
    for voter in MEMBERS[:3]:
        town.submit(voter, vote(policy(), voter))
    court = town["court"]
    town.run(lambda: court.store.next_roster is not None)
    late = [town.submit(m, CONSORTIUM.statement(make_claim(i), ref=f"late{i}")) for i, m in enumerate(MEMBERS)]
    payloads = court.store.pending_payloads()
    assert payloads, "it is in a payload of the old epoch"
    assert {court.store.payload_epoch(digest) for digest in payloads} == {0}
    reach(town, 1, "court")
    again = court.store.pending_payloads()
    assert {court.store.payload_epoch(digest) for digest in again} == {1}, "what is accepted survives a power cut"
    assert court.loop.mempool.holds(late[MEMBERS.index("court")].last.digest), "it is not cut a second time"
    town.run(lambda: all(results.last.ends for results in late), for_ms=60_000)
    assert [results.states[-1] for results in late] == [FINAL] * 4
    assert not any(court.store.has_payload(digest) for digest in payloads)
    town.run(lambda: town.is_complete(7))
    check(town)


@pytest.fixture
def five(tmp_path: Path) -> Iterator[Town]:
    """A town whose fifth member's node was there before the vote, and has a seat in epoch 1."""
    made = Town(tmp_path, (*MEMBERS, "fifth"))
    assert made["fifth"].loop.epoch.part is Part.OUTSIDE
    for voter in MEMBERS[:3]:
        made.submit(voter, vote(admit("fifth"), voter))
    reach(made, 1, *MEMBERS)
    made.connect("fifth")
    reach(made, 1, "fifth")
    yield made
    made.close()


def test_admitted_members_node_follows_the_chain_and_votes_without_a_restart(five: Town) -> None:
    fifth = five["fifth"]
    assert fifth.loop.epoch.part is Part.VALIDATOR
    assert record(five, 1).states[-1] is FINAL
    assert record(five, 2, "fifth").states[-1] is FINAL, "it orders statements too"
    five.stop("court")
    results = five.submit("fifth", CONSORTIUM.statement(make_claim(3), ref="r3"))
    five.run(lambda: results.last.ends, for_ms=60_000)
    assert results.states[-1] is FINAL, "four of five are a quorum, and it is one of them"
    five.start("court")
    five.run(lambda: five.is_complete(6), for_ms=60_000)
    assert not fifth.loop.rejected
    assert all("fifth" not in node.loop.rejected for node in five.nodes.values())
    check(five)


def test_statement_of_a_removed_member_and_a_lapsed_vote_are_refused_with_the_reason(five: Town) -> None:
    for voter in MEMBERS:
        five.submit(voter, vote(remove("fifth", 1), voter))
    court = five["court"]
    five.run(lambda: court.store.next_roster is not None, for_ms=60_000)
    results = five.submit("court", CONSORTIUM.statement(policy(1), issuer="fifth", ref="mine"))
    lapsed = five.submit("court", CONSORTIUM.statement(policy(1), issuer="court", ref="too late"))
    five.run(lambda: results.last.ends and lapsed.last.ends, for_ms=60_000)
    assert results.states[-1] is lapsed.states[-1] is REFUSED
    assert results.last.refusal is not None
    assert lapsed.last.refusal is not None
    assert (results.last.refusal.code, results.last.refusal.field) == ("UNKNOWN_MEMBER", "protected.issuer")
    assert (lapsed.last.refusal.code, lapsed.last.refusal.field) == ("GOVERNANCE_OTHER_EPOCH", "change.epoch")
    assert len(court.loop.mempool) == 0


def test_statement_checked_at_the_door_before_its_member_was_removed_is_refused_behind_it(five: Town) -> None:
    """In a payload it would cost every other statement in it, and this node its good name."""
    for voter in MEMBERS:
        five.submit(voter, vote(remove("fifth", 1), voter))
    reach(five, 2, *MEMBERS)
    with pytest.raises(UnknownMember):
        five.submit("court", CONSORTIUM.statement(make_claim(1), issuer="fifth", ref="too late"))


@pytest.mark.parametrize("slept", [False, True], ids=["lacks only the proof", "lacks blocks too"])
def test_removed_members_node_learns_it_stops_voting_and_the_others_go_on(
    five: Town, caplog: pytest.LogCaptureFixture, slept: bool
) -> None:
    fifth = five["fifth"]
    if slept:
        five.lost = {(member, "fifth") for member in MEMBERS}
        record(five, 5)
    height = fifth.store.head().block.height
    for voter in MEMBERS:
        five.submit(voter, vote(remove("fifth", 1), voter))
    reach(five, 2, *MEMBERS)
    five.lost = set()
    five.run(for_ms=3_000)
    assert fifth.loop.epoch.part is Part.VALIDATOR, "its streams ended before it knew why"
    waiting = five.submit("fifth", CONSORTIUM.statement(make_claim(8), ref="never"))
    five.tell("fifth", "label")
    assert fifth.loop.epoch.part is Part.OUTSIDE
    if slept:
        assert "epoch 2 has begun without this node" in caplog.text
        assert fifth.store.head().block.height == height
    else:
        assert "epoch 2: fifth is no member" in caplog.text
        assert fifth.store.rosters.epoch == 2
    assert waiting.last.refusal is not None
    assert waiting.last.refusal.code == "NOT_A_VALIDATOR", "who waits there is told"
    with pytest.raises(NotAValidator, match="label, court"):
        fifth.loop.accept(CONSORTIUM.statement(make_claim(9)), (), Results())
    said = len(fifth.said.consensus)
    assert record(five, 1).states[-1] is FINAL
    five.run(for_ms=5_000)
    words = {type(decode(frame)) for _, frame in fifth.said.consensus[said:]}
    checkpoints = {Cosignature, CosignatureRequest, ChainSignature, ChainSignatureRequest}
    assert words <= {ChainRequest, *checkpoints}, "no vote, no greeting"
    assert not fifth.loop.rejected
    five.stop("fifth")
    check(five)


def test_removed_members_node_learns_it_also_where_it_waits_to_be_greeted(five: Town) -> None:
    """Started again before it knew, it would wait for greetings that never come."""
    five.lost = {(member, "fifth") for member in MEMBERS}
    for voter in MEMBERS:
        five.submit(voter, vote(remove("fifth", 1), voter))
    reach(five, 2, *MEMBERS)
    five.stop("fifth")
    fifth = five.start("fifth", hear_first=3)
    five.run(for_ms=1_000)
    assert not fifth.loop.running
    five.tell("fifth", "label")
    assert fifth.loop.epoch.part is Part.OUTSIDE
    assert fifth.loop.running
    with pytest.raises(NotAValidator):
        fifth.loop.accept(CONSORTIUM.statement(make_claim(9)), (), Results())


def test_forged_word_of_a_new_epoch_changes_nothing(five: Town) -> None:
    fifth = five["fifth"]
    for voter in MEMBERS:
        five.submit(voter, vote(remove("fifth", 1), voter))
    reach(five, 2, *MEMBERS)
    (proof,) = five["label"].store.epoch_proofs(2, 1)
    forged = replace(proof, roster=replace(proof.roster, parameters=EpochParameters(delta_ms=999)))
    few = replace(
        proof.finalization, signers=proof.finalization.signers[:2], signatures=proof.finalization.signatures[:2]
    )
    for frame in (forged.encode(), replace(proof, finalization=few).encode(), b"no proof"):
        fifth.loop.told("label", frame)
    assert fifth.loop.rejected["label"] == 3
    assert fifth.loop.epoch.part is Part.VALIDATOR
    assert fifth.store.rosters.epoch == 1


def test_removed_member_that_is_admitted_again_comes_back(five: Town) -> None:
    for voter in MEMBERS:
        five.submit(voter, vote(remove("fifth", 1), voter))
    reach(five, 2, *MEMBERS)
    five.tell("fifth", "label")
    for voter in MEMBERS[:3]:
        five.submit(voter, vote(admit("fifth", 2), voter))
    reach(five, 3, *MEMBERS)
    five.connect("fifth")
    reach(five, 3)
    assert five["fifth"].loop.epoch.part is Part.VALIDATOR
    assert record(five, 1, "fifth").states[-1] is FINAL
    check(five)


def test_member_that_gives_up_its_seat_follows_and_gets_it_back(five: Town) -> None:
    for voter in MEMBERS:
        five.submit(voter, vote(remove("fifth", 1, Scope.COMMITTEE), voter))
    reach(five, 2)
    fifth = five["fifth"]
    assert fifth.loop.epoch.part is Part.OBSERVER
    assert record(five, 1).states[-1] is FINAL
    size = five["court"].store.size
    five.run(lambda: fifth.store.size == size, for_ms=1_000)
    with pytest.raises(NotAValidator):
        fifth.loop.accept(CONSORTIUM.statement(make_claim(9)), (), Results())
    five.run(lambda: five.is_complete(size), for_ms=60_000)  # an observer has the checkpoints too
    for voter in MEMBERS[:3]:
        five.submit(voter, vote(admit("fifth", 2), voter))
    reach(five, 3)
    assert fifth.loop.epoch.part is Part.VALIDATOR
    assert record(five, 2, "fifth").states[-1] is FINAL
    check(five)


def test_key_that_waits_takes_over_at_the_epochs_end(town: Town) -> None:
    """Who puts keys/consensus.next.pem beside a running node votes with it from the first block of the epoch on."""
    court = town.configs["court"]
    write_key(court.key_path("consensus.next"), private_key("court again", "consensus"))
    change = RotateKey(
        epoch=Epoch(0), member_id="court", purpose="consensus", key=public_key("court again", "consensus")
    )  # fmt: skip
    pass_change(town, change)
    town.stop("label")
    assert record(town, 1).states[-1] is FINAL, "all three that are left must vote"
    assert town["court"].loop.epoch.part is Part.VALIDATOR
    town.start("label")
    town.run(lambda: town.is_complete(4), for_ms=60_000)
    check(town)


def test_node_without_the_new_key_follows_and_the_one_that_has_it_takes_over(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    change = RotateKey(
        epoch=Epoch(0), member_id="court", purpose="consensus", key=public_key("court again", "consensus")
    )  # fmt: skip
    pass_change(town, change)
    court = town["court"]
    assert court.loop.epoch.part is Part.KEYLESS
    assert "consensus key that the roster names for court is not in its keys folder" in caplog.text
    assert record(town, 1, "label").states[-1] is FINAL
    town.run(lambda: court.store.size == 4, for_ms=5_000)
    write_key(court.config.key_path("consensus.next"), private_key("court again", "consensus"))
    town.stop("court")
    town.start("court")
    assert town["court"].loop.epoch.part is Part.VALIDATOR
    town.stop("label")
    assert record(town, 2).states[-1] is FINAL
    town.start("label")
    town.run(lambda: town.is_complete(5), for_ms=60_000)
    check(town)


def test_node_that_was_away_while_another_rotated_its_key_takes_part_again(town: Town) -> None:
    """It must hear all three others before it votes, one of whom greets with a key that it does not know yet."""
    write_key(town.configs["court"].key_path("consensus.next"), private_key("court again", "consensus"))
    town.stop("platform")
    change = RotateKey(
        epoch=Epoch(0), member_id="court", purpose="consensus", key=public_key("court again", "consensus")
    )  # fmt: skip
    pass_change(town, change)
    platform = town.start("platform", hear_first=3)
    reach(town, 1)
    assert platform.loop.running
    assert not platform.loop.rejected
    assert not any(node.loop.rejected for node in town.nodes.values())
    assert record(town, 1, "platform").states[-1] is FINAL


# ---- restarts --------------------------------------------------------------------------------------------------------


class PowerCut(Exception):
    """The process ends here."""


@pytest.mark.parametrize(
    "where",
    ["store.commit", "voting.begin_epoch", "author.begin", "store.replace_payloads", "after"],
)
def test_node_that_stops_anywhere_in_the_change_goes_on_after_its_restart(
    town: Town, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for voter in MEMBERS[:3]:
        town.submit(voter, vote(policy(), voter))
    court = town["court"]
    town.run(lambda: court.store.next_roster is not None)
    late = town.submit("court", CONSORTIUM.statement(make_claim(1), ref="late"))
    assert late.states == [SubmissionState.ACCEPTED]

    def cut(*_args: object, **_named: object) -> None:
        raise PowerCut

    part, _, name = where.partition(".")
    if name:
        target = court.loop.author if part == "author" else getattr(court, part)
        monkeypatch.setattr(target, name, cut)
        with pytest.raises(PowerCut):
            town.run(for_ms=60_000)
    else:
        reach(town, 1, "court")
    town.stop("court")
    monkeypatch.undo()
    court = town.start("court")
    reach(town, 1)
    town.run(lambda: all(node.store.size == 4 for node in town.nodes.values()), for_ms=60_000)
    assert record(town, 2).states[-1] is FINAL
    town.run(lambda: town.is_complete(5), for_ms=60_000)
    assert court.loop.epoch.part is Part.VALIDATOR
    assert not court.loop.trust.recovering
    check(town)


def test_all_nodes_stop_between_the_passed_change_and_the_boundary(town: Town) -> None:
    for voter in MEMBERS[:3]:
        town.submit(voter, vote(policy(), voter))
    town.run(lambda: all(node.store.next_roster is not None for node in town.nodes.values()))
    for member in MEMBERS:
        town.stop(member)
    for member in MEMBERS:
        town.start(member)
    reach(town, 1)
    assert record(town, 1).states[-1] is FINAL
    check(town)


def test_node_that_slept_through_two_epochs_catches_up(town: Town) -> None:
    town.stop("platform")
    for epoch in range(2):
        pass_change(town, policy(epoch, 160 + epoch))
        record(town, epoch)
    platform = town.start("platform")
    reach(town, 2)
    assert platform.loop.epoch.part is Part.VALIDATOR
    town.stop("label")
    assert record(town, 7).states[-1] is FINAL
    assert not any(node.loop.rejected["platform"] for node in town.nodes.values())
    assert not platform.loop.rejected
    town.start("label")
    town.run(lambda: town.is_complete(9), for_ms=60_000)
    check(town)
