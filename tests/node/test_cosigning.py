"""Cosigning: no signature leaves that the watermark does not cover; a quorum is distinct validators; liars are few."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.errors import InvalidSignature, MalformedMessage, PeerError
from consensus.types import Digest
from ledger.checkpoint import Checkpoint, cosignature, log_signature
from node import cosigning as module
from node import loop
from node.chain_signing import ChainSigning
from node.config import load_config
from node.cosigning import AHEAD_PER_MEMBER_MAX, REPEAT_MS, WRITE_WAIT_MS, Cosigning, LogDiverged
from node.execution import execute
from node.store.errors import CosignRefused
from node.wire import Cosignature, CosignatureRequest
from tests.ledger.builders import make_claim, public_key
from tests.node.nodes import CONSORTIUM, GENESIS, MEMBERS, WALL_MS, Bench, key
from tests.node.town import Town

OTHERS = ("label", "society", "platform")
SIZES = 4


def signed(member: str, checkpoint: Checkpoint, *, time_s: int = 1, root: bytes | None = None) -> Cosignature:
    """A validator's two signatures; over another root where one is given."""
    over = checkpoint if root is None else Checkpoint(origin=checkpoint.origin, size=checkpoint.size, root=root)
    return Cosignature(
        size=over.size,
        root=Digest(over.root),
        log=log_signature(over, public_key=public_key(member, "log"), sign=key(member, "log").sign),
        cosignature=cosignature(
            over,
            member_id=member,
            timestamp_s=time_s,
            public_key=public_key(member, "cosign"),
            sign=key(member, "cosign").sign,
        ),
    )


class Court:
    """The court's cosigning on a real log of SIZES leaves, one a block, that nobody has cosigned yet."""

    def __init__(self, node: Bench) -> None:
        self.node = node
        self.store = node.store
        self.sent: list[Cosignature | CosignatureRequest] = []
        self.rejected: list[tuple[str, PeerError]] = []
        self.watermark_when_sent: list[int] = []
        self.cosigning = self.make()
        found = [node.store.checkpoint_at(size) for size in range(1, SIZES + 1)]
        self.checkpoints = [checkpoint for checkpoint in found if checkpoint is not None]

    def make(self) -> Cosigning:
        return Cosigning(
            rosters=self.store.rosters,
            store=self.store,
            keys=self.node.keys,
            broadcast=self._broadcast,
            reject=lambda sender, error: self.rejected.append((sender, error)),
            wall_ms=lambda: WALL_MS,
        )

    def fall_back(self) -> None:
        """Hides the log from the cosigning, until `reach`."""
        self._reached = 0
        real, head = self.store.checkpoint_at, self.store.head()
        self.store.checkpoint_at = lambda size: real(size) if size <= self._reached else None  # type: ignore[method-assign]
        self.store.head = lambda: replace(head, size=self._reached)  # type: ignore[method-assign]

    def reach(self, checkpoint: Checkpoint) -> None:
        self._reached = checkpoint.size
        self.cosigning.sign([checkpoint])

    def _broadcast(self, message: Cosignature | CosignatureRequest) -> None:
        self.sent.append(message)
        watermark = self.store.cosigned_watermark()
        self.watermark_when_sent.append(0 if watermark is None else watermark[0])

    def held(self, size: int) -> int:
        """On disk, once what waits to be written is."""
        self.cosigning.write()
        return len(self.store.cosignatures(size))


@pytest.fixture(scope="module")
def unsigned_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The court's folder with SIZES blocks of one leaf each, before anybody cosigned one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cosigning, "sign", lambda *_: None)
        patch.setattr(ChainSigning, "_sign", lambda *_: None)
        patch.setattr(loop, "execute", lambda *args, **given: execute(*args, **{**given, "cosign": False}))
        town = Town(tmp_path_factory.mktemp("town"))
        for number in range(SIZES):
            results = town.submit("court", CONSORTIUM.statement(make_claim(number), ref=f"r{number}"))
            town.run(lambda r=results: r.last.ends)
        town.close()
    return town.configs["court"].directory


@pytest.fixture
def court(tmp_path: Path, unsigned_log: Path) -> Iterator[Court]:
    shutil.copytree(unsigned_log, tmp_path / "court")
    node = Bench(load_config(tmp_path / "court" / "config.toml"))
    built = Court(node)
    assert len(built.checkpoints) == SIZES
    yield built
    node.close()


@pytest.fixture
def behind(court: Court) -> Court:
    """The same court, that has executed nothing of it yet as far as its cosigning can tell."""
    court.fall_back()
    return court


# ---- own signatures --------------------------------------------------------------------------------------------------


def test_watermark_is_on_disk_before_a_signature_leaves(court: Court) -> None:
    court.cosigning.sign(court.checkpoints)
    assert [m.size for m in court.sent] == [1, 2, 3, 4]
    assert court.watermark_when_sent == [4, 4, 4, 4], "of all that are signed together"


def test_own_signatures_verify_and_carry_the_wall_clock(court: Court) -> None:
    court.cosigning.sign(court.checkpoints[:1])
    (sent,) = court.sent
    assert isinstance(sent, Cosignature)
    assert int.from_bytes(sent.cosignature.signature[:8], "big") == WALL_MS // 1000
    assert court.held(1) == 1
    court.cosigning.received("label", sent)  # its own, passed on by a peer: verified, and counted once
    assert court.held(1) == 1


def test_size_below_the_last_signed_is_refused_also_after_a_restart(court: Court) -> None:
    court.cosigning.sign(court.checkpoints[2:3])
    court.sent.clear()
    for cosigning in (court.cosigning, court.make()):
        with pytest.raises(CosignRefused):
            cosigning.sign(court.checkpoints[1:2])
    assert court.sent == []
    assert court.held(2) == 0


def test_same_size_may_be_signed_again(court: Court) -> None:
    court.cosigning.sign(court.checkpoints[2:3])
    court.make().sign(court.checkpoints[2:3])
    assert [m.size for m in court.sent] == [3, 3]


def test_watermark_that_cannot_be_written_keeps_the_signature_here(
    court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(size: int, root: bytes) -> None:
        raise CosignRefused(court.node.config.chain_path, size, root, 9, bytes(32))

    monkeypatch.setattr(court.store, "record_cosigned", refuse)
    monkeypatch.setattr(court.node.signer, "checkpoint", lambda *_: pytest.fail("signed"))
    with pytest.raises(CosignRefused):
        court.cosigning.sign(court.checkpoints[:1])
    assert court.sent == []


# ---- a quorum --------------------------------------------------------------------------------------------------------


def test_checkpoint_is_complete_at_a_quorum_of_distinct_validators(court: Court) -> None:
    (first, *_) = court.checkpoints
    court.cosigning.sign([first])
    court.cosigning.received("label", signed("label", first))
    assert court.cosigning.latest_complete == 0
    court.cosigning.received("society", signed("society", first))
    assert court.cosigning.latest_complete == 1
    court.cosigning.write()
    assert court.store.latest_complete() == 1
    assert court.make().latest_complete == 1, "remembered"


def test_one_validator_signing_again_and_again_counts_once(court: Court) -> None:
    (first, *_) = court.checkpoints
    court.cosigning.sign([first])
    for time_s in range(5):
        for sender in OTHERS:
            court.cosigning.received(sender, signed("label", first, time_s=time_s))
    assert court.held(1) == 2
    assert court.cosigning.latest_complete == 0


def test_signatures_are_taken_whoever_passes_them_on(court: Court) -> None:
    (first, *_) = court.checkpoints
    court.cosigning.sign([first])
    for member in OTHERS:
        court.cosigning.received("label", signed(member, first))
    assert court.held(1) == 4


def test_later_checkpoint_may_complete_first(court: Court) -> None:
    court.cosigning.sign(court.checkpoints)
    for member in OTHERS:
        court.cosigning.received(member, signed(member, court.checkpoints[3]))
    for member in OTHERS:
        court.cosigning.received(member, signed(member, court.checkpoints[1]))
    assert court.cosigning.latest_complete == 4


def test_held_signature_is_not_verified_again(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every validator repeats itself, and passes on what it holds: each costs 0.1 ms of checking, once."""
    (first, *_) = court.checkpoints
    court.cosigning.sign([first])
    court.cosigning.received("label", signed("label", first))
    monkeypatch.setattr(module, "check_cosignature", lambda *_: pytest.fail("verified again"))
    court.cosigning.received("label", signed("label", first))
    court.cosigning.received("society", signed("label", first, time_s=99))


@pytest.mark.parametrize("broken", ["cosignature", "log", "name", "stranger", "swapped", "time"])
def test_signature_that_does_not_verify_is_refused(court: Court, broken: str) -> None:
    (first, *_) = court.checkpoints
    court.cosigning.sign([first])
    good, other = signed("label", first), signed("society", first)
    flipped = good.cosignature.signature[:-1] + bytes([good.cosignature.signature[-1] ^ 1])
    lines = {
        "cosignature": (good.log, replace(good.cosignature, signature=flipped)),
        "log": (replace(good.log, signature=bytes(64)), good.cosignature),
        "name": (good.log, replace(good.cosignature, name=other.cosignature.name)),
        "stranger": (good.log, replace(good.cosignature, name=f"{GENESIS.origin}/nobody")),
        "swapped": (other.log, good.cosignature),
        "time": (good.log, replace(good.cosignature, signature=bytes(8) + good.cosignature.signature[8:])),
    }
    log, cosign = lines[broken]
    with pytest.raises(InvalidSignature):
        court.cosigning.received("label", Cosignature(size=1, root=good.root, log=log, cosignature=cosign))
    assert court.held(1) == 1


def test_size_between_block_boundaries_is_refused(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    real = court.store.checkpoint_at
    monkeypatch.setattr(court.store, "checkpoint_at", lambda size: None if size == 2 else real(size))
    with pytest.raises(MalformedMessage, match="block boundary"):
        court.cosigning.received("label", signed("label", court.checkpoints[1]))


# ---- liars -----------------------------------------------------------------------------------------------------------

FALSE_ROOT = bytes(range(32))


def test_one_liar_does_not_halt_the_node_however_often(court: Court, caplog: pytest.LogCaptureFixture) -> None:
    court.cosigning.sign(court.checkpoints[:1])
    with caplog.at_level(logging.INFO):
        for time_s in range(50):
            with pytest.raises(PeerError, match="another root"):
                court.cosigning.received("label", signed("label", court.checkpoints[0], time_s=time_s, root=FALSE_ROOT))
    assert len(caplog.records) <= 1, "the rejection is logged, within bounds, by whoever counts rejections"
    for member in ("society", "platform"):
        court.cosigning.received(member, signed(member, court.checkpoints[0]))
    assert court.cosigning.latest_complete == 1


def test_liar_that_signs_both_roots_is_still_one_validator(court: Court) -> None:
    court.cosigning.sign(court.checkpoints[:1])
    court.cosigning.received("label", signed("label", court.checkpoints[0]))
    with pytest.raises(PeerError, match="another root"):
        court.cosigning.received("label", signed("label", court.checkpoints[0], root=FALSE_ROOT))
    assert court.held(1) == 2


def test_two_validators_with_another_root_halt_the_node(court: Court) -> None:
    """f + 1 include an honest one: then it is this node's log that differs."""
    court.cosigning.sign(court.checkpoints[:1])
    with pytest.raises(PeerError):
        court.cosigning.received("label", signed("label", court.checkpoints[0], root=FALSE_ROOT))
    with pytest.raises(LogDiverged, match="label, society") as caught:
        court.cosigning.received("society", signed("society", court.checkpoints[0], root=FALSE_ROOT))
    assert caught.value.size == 1


def test_lies_at_different_sizes_do_not_add_up(court: Court) -> None:
    court.cosigning.sign(court.checkpoints)
    for member, checkpoint in zip(OTHERS, court.checkpoints, strict=False):
        with pytest.raises(PeerError):
            court.cosigning.received(member, signed(member, checkpoint, root=FALSE_ROOT))


def test_what_is_remembered_of_liars_is_bounded(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DIFFERING_SIZES_MAX", 2)
    court.cosigning.sign(court.checkpoints)
    for checkpoint in court.checkpoints:
        with pytest.raises(PeerError):
            court.cosigning.received("label", signed("label", checkpoint, root=FALSE_ROOT))
    assert sorted(court.cosigning._differing) == [3, 4], "the newest: those are in question"
    for member in ("society", "platform"):
        court.cosigning.received(member, signed(member, court.checkpoints[3]))
    assert court.cosigning._differing == {}, "a quorum has settled it"
    with pytest.raises(PeerError):
        court.cosigning.received("label", signed("label", court.checkpoints[0], root=FALSE_ROOT))
    assert court.cosigning._differing == {}, "below a complete checkpoint nothing is in question"


# ---- ahead of us -----------------------------------------------------------------------------------------------------


def test_signatures_for_a_size_not_reached_yet_count_once_it_is(behind: Court) -> None:
    for member in OTHERS:
        behind.cosigning.received(member, signed(member, behind.checkpoints[0]))
    assert behind.held(1) == 0
    behind.reach(behind.checkpoints[0])
    assert behind.held(1) == 4
    assert behind.cosigning.latest_complete == 1
    assert not behind.cosigning._ahead


def test_signatures_passed_on_by_one_peer_are_all_kept(behind: Court) -> None:
    for member in OTHERS:
        behind.cosigning.received("label", signed(member, behind.checkpoints[0]))
    behind.reach(behind.checkpoints[0])
    assert behind.held(1) == 4


def test_bad_signature_that_was_kept_is_blamed_on_its_sender_and_stops_nothing(behind: Court) -> None:
    """Sent ahead of time, it used to be raised in the middle of a commit: out of a timer it ended the node."""
    good = signed("label", behind.checkpoints[0])
    bad = Cosignature(size=1, root=good.root, log=good.log, cosignature=replace(good.cosignature, signature=bytes(72)))
    behind.cosigning.received("label", bad)
    behind.cosigning.received("platform", signed("platform", behind.checkpoints[0], root=FALSE_ROOT))
    behind.cosigning.received("society", signed("society", behind.checkpoints[0]))
    behind.reach(behind.checkpoints[0])
    assert sorted(sender for sender, _ in behind.rejected) == ["label", "platform"]
    assert behind.held(1) == 2, "court and society"
    assert [m.size for m in behind.sent] == [1]


def test_node_that_comes_to_another_root_than_f_plus_one_halts(behind: Court) -> None:
    for member in ("label", "society"):
        behind.cosigning.received(member, signed(member, behind.checkpoints[0], root=FALSE_ROOT))
    with pytest.raises(LogDiverged):
        behind.reach(behind.checkpoints[0])


def test_flood_of_one_member_does_not_push_out_what_others_sent(behind: Court) -> None:
    for member in ("society", "platform"):
        behind.cosigning.received(member, signed(member, behind.checkpoints[0]))
    good = signed("label", behind.checkpoints[0])
    for size in range(100, 100 + 20 * AHEAD_PER_MEMBER_MAX):
        flood = Cosignature(size=size, root=good.root, log=good.log, cosignature=good.cosignature)
        behind.cosigning.received("label", flood)
    assert len(behind.cosigning._ahead) <= len(MEMBERS) * AHEAD_PER_MEMBER_MAX
    behind.reach(behind.checkpoints[0])
    assert behind.cosigning.latest_complete == 1


def test_kept_signatures_below_our_size_are_forgotten(behind: Court) -> None:
    """This node went from size 1 to 3 in one block: nobody correct signed size 2."""
    behind.cosigning.received("label", signed("label", behind.checkpoints[1]))
    behind.reach(behind.checkpoints[2])
    assert not behind.cosigning._ahead


# ---- repeating and asking --------------------------------------------------------------------------------------------


def test_incomplete_checkpoint_is_repeated_and_asked_for_until_complete(court: Court) -> None:
    cosigning = court.cosigning
    assert cosigning.due_ms() is None
    cosigning.sign(court.checkpoints[:2])
    court.sent.clear()
    now_ms = 10_000
    cosigning.tick(now_ms)
    cosigning.write()
    due = cosigning.due_ms()
    assert due is not None
    assert now_ms < due <= now_ms + REPEAT_MS
    court.sent.clear()
    cosigning.tick(due - 1)
    assert court.sent == []
    cosigning.tick(due)
    assert [type(m) for m in court.sent] == [Cosignature, CosignatureRequest]
    assert {m.size for m in court.sent} == {2}, "what is older is covered by the newest"
    for member in ("label", "society"):
        cosigning.received(member, signed(member, court.checkpoints[1]))
    cosigning.write()
    assert cosigning.due_ms() is None
    court.sent.clear()
    cosigning.tick(10**9)
    assert court.sent == []


def test_fresh_signature_is_not_repeated_at_once(court: Court) -> None:
    """The others need a moment to sign too: repeating at the next tick would double all traffic of a quick log."""
    court.cosigning.tick(5_000)
    court.cosigning.sign(court.checkpoints[:1])
    court.sent.clear()
    court.cosigning.tick(5_001)
    assert court.sent == []


def test_answer_holds_all_signatures_of_that_size(court: Court) -> None:
    court.cosigning.sign(court.checkpoints[:1])
    court.cosigning.received("label", signed("label", court.checkpoints[0]))
    answer = court.cosigning.answer(CosignatureRequest(size=1))
    assert [a.cosignature.name.rpartition("/")[2] for a in answer] == ["court", "label"]
    assert {(a.size, a.root) for a in answer} == {(1, court.checkpoints[0].root)}
    assert court.cosigning.answer(CosignatureRequest(size=2)) == ()
    assert court.cosigning.answer(CosignatureRequest(size=10**12)) == ()


def test_signatures_wait_for_a_commit_to_take_them_to_disk_but_not_for_long(court: Court) -> None:
    (first, second, *_) = court.checkpoints
    court.cosigning.tick(1_000)
    court.cosigning.sign([first])
    for member in OTHERS:
        court.cosigning.received(member, signed(member, first))
    assert court.cosigning.latest_complete == 1
    assert court.store.cosignatures(1) == ()
    assert court.cosigning.due_ms() == 1_000 + WRITE_WAIT_MS
    court.cosigning.tick(1_000 + WRITE_WAIT_MS)
    assert len(court.store.cosignatures(1)) == 4
    assert court.store.latest_complete() == 1
    assert court.cosigning.due_ms() is None
    court.cosigning.sign([second])
    assert [one.checkpoint for one in court.cosigning.take_unwritten()] == [second]
    assert court.cosigning.take_unwritten() == ()


def test_signatures_of_older_checkpoints_are_read_from_the_store(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SIZES_IN_MEMORY_MAX", 2)
    court.cosigning.sign(court.checkpoints)
    for checkpoint in reversed(court.checkpoints):
        for member in OTHERS:
            court.cosigning.received(member, signed(member, checkpoint))
    assert len(court.cosigning._gathered) <= 2
    assert [court.held(size) for size in (1, 2, 3, 4)] == [4, 4, 4, 4]


def test_restart_signs_the_newest_boundary_again_where_it_is_incomplete(court: Court) -> None:
    court.cosigning.sign(court.checkpoints)
    court.sent.clear()
    again = court.make()
    again.resume()
    assert [m.size for m in court.sent] == [SIZES]
    again.received("label", signed("label", court.checkpoints[-1]))
    again.received("society", signed("society", court.checkpoints[-1]))
    again.write()
    court.make().resume()
    assert len(court.sent) == 1, "complete: nothing more to say"


def test_town_that_was_killed_before_it_cosigned_does_so_after_the_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = Town(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Cosigning, "sign", lambda *_: None)
        results = town.submit("court", CONSORTIUM.statement(make_claim(1)))
        town.run(lambda: results.last.ends and set(town.sizes().values()) == {1})
    assert not town.is_complete(1)
    town.restart()
    town.run(lambda: town.is_complete(1))
    town.close()


def test_town_completes_every_checkpoint(tmp_path: Path) -> None:
    """All four hold all four signatures in the end, though each size needed only three."""
    town = Town(tmp_path)
    for number in range(3):
        town.submit(MEMBERS[number], CONSORTIUM.statement(make_claim(number), ref=f"r{number}"))
        town.run(lambda size=number + 1: town.is_complete(size))
    town.run(for_ms=5_000)
    for node in town.nodes.values():
        assert [len(node.store.cosignatures(size)) for size in (1, 2, 3)] == [4, 4, 4]
    town.close()


def test_who_may_not_sign_gathers_what_came_ahead_and_asks_for_the_rest(court: Court) -> None:
    """An observer, or a node in doubt about its votes: it serves checkpoints too."""
    court.fall_back()
    last = court.checkpoints[-1]
    court.cosigning.received("label", signed("label", last))
    court.cosigning.received("society", signed("society", last))
    court._reached = last.size
    court.cosigning.reached([last])
    assert (court.held(last.size), court.sent) == (2, [])
    court.cosigning.tick(REPEAT_MS)
    assert court.sent == [CosignatureRequest(size=last.size)]
    court.cosigning.received(OTHERS[2], signed(OTHERS[2], last))
    assert court.cosigning.latest_complete == last.size
    court.cosigning.tick(3 * REPEAT_MS)
    assert len(court.sent) == 1, "nothing lacks any more"
