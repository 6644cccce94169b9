"""Signing for public chains: which checkpoints, never two that exclude each other, a quorum, and liars convicted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.errors import InvalidSignature, MalformedMessage, PeerError
from consensus.types import Digest, Epoch
from ledger import chain_checkpoint
from ledger.chain_checkpoint import NO_SUCCESSOR, ChainCheckpoint, successor_of
from ledger.evidence_report import Verdict
from ledger.misbehaviour import ChainMisbehaviour, parse_misbehaviour, verify_misbehaviour
from ledger.secp256k1 import sign_compact
from node import chain_signing as module
from node.chain_signing import (
    AHEAD_PER_MEMBER_MAX,
    DIFFERING_PER_MEMBER_MAX,
    IDLE_MS,
    REPEAT_MS,
    WRITE_WAIT_MS,
    ChainSigning,
)
from node.config import load_config
from node.store.check import Outcome, check_store
from node.store.errors import ChainEndRefused, CosignRefused
from node.wire import ChainSignature, ChainSignatureRequest, decode, encode
from tests.ledger.builders import chain_key, make_claim
from tests.node.nodes import CONSORTIUM, GENESIS, MEMBERS, Bench
from tests.node.test_epochs import pass_change, policy
from tests.node.town import Town

OTHERS = ("label", "society", "platform")
FALSE_ROOT = bytes(range(32))
OTHER_NEXT = Digest(b"\7" * 32)


def signed(member: str, checkpoint: ChainCheckpoint) -> ChainSignature:
    signature = checkpoint.sign(chain_key(member).secret, GENESIS.digest)
    return ChainSignature(checkpoint=checkpoint, member=member, signature=signature)


class Court:
    """The court's signing on a real log: epoch 0 ends at size 6, epoch 1 has one leaf more; nobody has signed."""

    def __init__(self, node: Bench) -> None:
        self.node = node
        self.store = node.store
        self.sent: list[ChainSignature | ChainSignatureRequest] = []
        self.covered: list[bool] = []
        """Of each signature sent: whether watermark and recorded end covered it by then."""
        self.rejected: list[tuple[str, PeerError]] = []
        self.signing = self.make()
        found = [node.store.checkpoint_at(size) for size in range(1, node.store.size + 1)]
        self.log = [checkpoint for checkpoint in found if checkpoint is not None]

    def make(self) -> ChainSigning:
        return ChainSigning(
            rosters=self.store.rosters,
            store=self.store,
            keys=self.node.keys,
            broadcast=self._broadcast,
            reject=lambda sender, error: self.rejected.append((sender, error)),
        )

    def _broadcast(self, message: ChainSignature | ChainSignatureRequest) -> None:
        self.sent.append(message)
        if isinstance(message, ChainSignature):
            watermark = self.store.cosigned_watermark()
            self.covered.append(watermark is not None and watermark[0] >= message.checkpoint.size)

    def at(self, size: int) -> ChainCheckpoint:
        found = self.store.chain_checkpoint_at(size)
        assert found is not None
        return found

    def reach(self, *sizes: int, ended: bool = False, sign: bool = True) -> None:
        self.signing.reached([each for each in self.log if each.size in sizes], ended=ended, sign=sign)

    def signed_sizes(self) -> list[int]:
        return [message.checkpoint.size for message in self.sent if isinstance(message, ChainSignature)]

    def held(self, size: int) -> list[str]:
        self.signing.write()
        return [member for member, _ in self.store.chain_signatures(size)]

    def evidence(self) -> list[ChainMisbehaviour]:
        with self.store._env.read() as txn:
            found = [bytes(value) for _, value in txn.cursor(db=self.store._tables.misbehaviour)]
        for data in found:
            known = [start.roster for start in self.store.rosters.starts]
            assert verify_misbehaviour(data, GENESIS, known=known).verdict is Verdict.VERIFIED
        return [parse_misbehaviour(data) for data in found]  # type: ignore[misc]


END = 6
AFTER = 7


@pytest.fixture(scope="module")
def unsigned_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three leaves in three seconds, three votes that end the epoch, one leaf more; nothing signed for chains."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChainSigning, "_sign", lambda *_: None)
        town = Town(tmp_path_factory.mktemp("town"))
        for number in range(3):
            results = town.submit("court", CONSORTIUM.statement(make_claim(number), ref=f"r{number}"))
            town.run(lambda r=results: r.last.ends)
            town.run(for_ms=1_100)
        pass_change(town, policy())
        results = town.submit("court", CONSORTIUM.statement(make_claim(9), ref="after"))
        town.run(lambda: results.last.ends)
        town.close()
    return town.configs["court"].directory


@pytest.fixture
def court(tmp_path: Path, unsigned_log: Path) -> Iterator[Court]:
    shutil.copytree(unsigned_log, tmp_path / "court")
    node = Bench(load_config(tmp_path / "court" / "config.toml"))
    built = Court(node)
    assert built.store.rosters.end_of(0) == END
    assert built.store.size == AFTER
    yield built
    node.close()


def set_watermark(court: Court, size: int, root: bytes) -> None:
    from node.store import schema

    court.store._env.write(
        lambda txn: txn.put(schema.META_COSIGNED, schema.COSIGNED.pack(size, root), db=court.store._tables.meta)
    )


# ---- which -----------------------------------------------------------------------------------------------------------


def test_the_first_checkpoint_of_a_second_is_signed_and_the_others_wait(court: Court) -> None:
    for checkpoint in court.log:
        court.reach(checkpoint.size)
    seconds = {each.size: (court.store.checkpoint_time_ms(each.size) or 0) // 1000 for each in court.log}
    sizes = [each.size for each in court.log]
    first = [size for before, size in zip([0, *sizes], sizes, strict=False) if seconds[size] != seconds.get(before)]
    assert court.signed_sizes() == first
    assert first[:3] == [1, 2, 3]
    assert len(first) < len(sizes), "some share a second"


def test_a_checkpoint_that_stands_for_a_second_is_signed(court: Court) -> None:
    court.signing.tick(5_000)
    court.reach(AFTER)
    court.signing.resume(sign=True)  # as if the one before had been of the same second
    court.sent.clear()
    court.signing = court.make()
    court.signing.tick(5_000)
    court.signing._second = (court.store.checkpoint_time_ms(AFTER) or 0) // 1000
    court.signing.reached(court.log[-1:], ended=False, sign=True)
    assert court.signed_sizes() == []
    assert court.signing.due_ms() == 5_000 + IDLE_MS
    court.signing.tick(5_000 + IDLE_MS - 1)
    assert court.sent == []
    court.signing.tick(5_000 + IDLE_MS)
    assert [m.size for m in court.sent if isinstance(m, ChainSignatureRequest)] == []
    assert court.held(AFTER) == ["court"]


def test_a_newer_checkpoint_that_comes_before_takes_its_place(court: Court) -> None:
    second = (court.store.checkpoint_time_ms(2) or 0) // 1000
    court.signing._second = second
    court.reach(2)
    court.reach(3)
    court.signing.tick(IDLE_MS)
    assert set(court.signed_sizes()) == {3}


def test_the_end_of_an_epoch_is_signed_with_its_successor_and_never_without(court: Court) -> None:
    following = court.store.rosters.of_epoch(1)
    assert following is not None
    court.reach(*range(1, END + 1), ended=True)
    (end,) = [m.checkpoint for m in court.sent if isinstance(m, ChainSignature) and m.checkpoint.size == END]
    assert (end.epoch, end.successor) == (0, successor_of(following))
    assert all(
        m.checkpoint.successor == NO_SUCCESSOR
        for m in court.sent
        if isinstance(m, ChainSignature) and m.checkpoint.size != END
    )


def test_while_a_change_has_passed_its_checkpoint_waits_for_the_boundary(
    court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    from node.store import epochs

    roster = court.store.rosters.current
    monkeypatch.setattr(epochs, "read_next", lambda *_: roster)
    court.reach(AFTER)
    court.signing.tick(IDLE_MS)
    assert court.sent == []
    assert court.store.chain_checkpoint_at(AFTER) is None
    assert court.store.chain_checkpoint_at(3) is not None, "what is older is known"


def test_a_set_that_contracts_do_not_take_signs_nothing(
    court: Court, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(chain_checkpoint, "VALIDATORS_BRIDGED_MAX", 3)
    monkeypatch.setattr(module, "VALIDATORS_BRIDGED_MAX", 3)
    court.reach(*range(1, AFTER + 1), ended=True)
    court.signing.tick(10 * IDLE_MS)
    assert court.sent == []
    assert "4 validators, contracts take up to 3" in caplog.text


# ---- never twice -----------------------------------------------------------------------------------------------------


def test_signature_leaves_only_after_watermark_and_end_are_on_disk(court: Court) -> None:
    set_watermark(court, 1, court.log[0].root)
    recorded: list[bool] = []
    real = court.signing._broadcast

    def broadcast(message: ChainSignature | ChainSignatureRequest) -> None:
        real(message)
        if isinstance(message, ChainSignature) and message.checkpoint.ends_epoch:
            court.store.record_chain_end(message.checkpoint)  # the same again: allowed
            with pytest.raises(ChainEndRefused):
                court.store.record_chain_end(replace(message.checkpoint, successor=OTHER_NEXT))
            recorded.append(True)

    court.signing._broadcast = broadcast
    court.reach(*range(1, AFTER + 1), ended=True)
    court.signing.tick(IDLE_MS)
    assert court.covered
    assert all(court.covered)
    assert set(recorded) == {True}


def test_another_log_than_the_cosigned_one_is_not_signed_for_chains(court: Court) -> None:
    """After a restore, say: the watermark remembers another history."""
    for size in (2, AFTER):
        set_watermark(court, size, FALSE_ROOT)
        with pytest.raises(CosignRefused):
            court.reach(3) if size < 3 else court.reach(AFTER)
    assert court.sent == []


def test_another_end_of_an_epoch_than_the_recorded_one_is_not_signed(court: Court) -> None:
    court.store.record_chain_end(replace(court.at(END), successor=OTHER_NEXT))
    with pytest.raises(ChainEndRefused, match="end of epoch 0"):
        court.reach(END, ended=True)
    assert court.sent == []
    paths, genesis = court.node.config.chain_path, GENESIS
    court.node.close()
    failed = [each for each in check_store(paths, genesis) if each.outcome is Outcome.FAILED]
    assert [each.name for each in failed] == ["chain signatures"]
    assert "another end of epoch 0" in failed[0].reason


def test_after_a_restart_the_same_is_said_again_and_nothing_else(court: Court) -> None:
    court.reach(*range(1, END + 1), ended=True)
    court.reach(AFTER)
    court.signing.tick(IDLE_MS)
    court.signing.write()
    before = {m.checkpoint for m in court.sent if isinstance(m, ChainSignature)}
    court.sent.clear()
    again = court.make()
    again.resume(sign=True)
    again.tick(0)
    again.tick(REPEAT_MS)
    said = {m.checkpoint for m in court.sent if isinstance(m, ChainSignature)}
    assert said <= before
    assert {m.size for m in court.sent if isinstance(m, ChainSignatureRequest)} == {END, AFTER}


def test_a_node_killed_before_it_signed_an_end_signs_it_after_the_restart(court: Court) -> None:
    court.signing.resume(sign=True)
    assert court.signed_sizes() == [END]
    court.signing.tick(0)
    assert court.signed_sizes() == [END, AFTER]


def test_who_may_not_sign_gathers(court: Court) -> None:
    court.reach(*range(1, AFTER + 1), ended=True, sign=False)
    assert court.sent == []
    for member in OTHERS:
        court.signing.received(member, signed(member, court.at(END)))
    assert court.held(END) == sorted(OTHERS)
    assert court.store.is_chain_complete(END)


def test_who_may_sign_again_signs_what_it_had_to_leave(court: Court) -> None:
    """A node that was in doubt about its votes, and so about its watermark."""
    court.reach(END, ended=True, sign=False)
    court.signing.resume(sign=True)
    assert court.signed_sizes() == [END]


# ---- quorums ---------------------------------------------------------------------------------------------------------


def test_quorum_of_distinct_validators_completes_a_checkpoint(court: Court) -> None:
    court.reach(3)
    for _ in range(5):
        court.signing.received("label", signed("label", court.at(3)))
    assert court.held(3) == ["court", "label"]
    assert not court.store.is_chain_complete(3)
    court.signing.received("label", signed("society", court.at(3)))
    court.signing.write()
    assert court.store.is_chain_complete(3)
    assert court.held(3) == ["court", "label", "society"], "whoever passes it on"


@pytest.mark.parametrize("broken", ["signature", "digest", "name", "stranger", "observer's epoch"])
def test_signature_that_does_not_verify_is_refused(court: Court, broken: str) -> None:
    good = signed("label", court.at(3))
    made = {
        "signature": replace(good, signature=bytes(64)),
        "digest": replace(good, signature=sign_compact(chain_key("label").secret, bytes(32))),
        "name": replace(good, member="society"),
        "stranger": replace(good, member="nobody"),
        "observer's epoch": replace(good, checkpoint=replace(good.checkpoint, epoch=Epoch(1))),
    }
    with pytest.raises((InvalidSignature, MalformedMessage)):
        court.signing.received("label", made[broken])
    assert court.held(3) == []
    assert court.evidence() == []


def test_held_signature_is_not_verified_again(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    court.signing.received("label", signed("label", court.at(3)))
    monkeypatch.setattr(ChainCheckpoint, "is_signed_by", lambda *_: pytest.fail("verified again"))
    court.signing.received("society", signed("label", court.at(3)))


def test_incomplete_checkpoints_are_repeated_ever_more_rarely_until_complete(court: Court) -> None:
    court.reach(END, ended=True)
    court.signing.write()
    said: list[int] = []
    for now_ms in range(0, 16_000, 500):
        court.sent.clear()
        court.signing.tick(now_ms)
        said += [now_ms for m in court.sent if isinstance(m, ChainSignatureRequest) and m.size == END]
    assert said == [1_000, 2_000, 4_000, 8_000]
    for member in OTHERS[:2]:
        court.signing.received(member, signed(member, court.at(END)))
    court.signing.tick(20_000)
    court.sent.clear()
    court.signing.tick(10**9)
    assert court.sent == []
    assert court.signing.due_ms() is None


def test_answer_holds_all_signatures_of_that_size_and_survives_the_wire(court: Court) -> None:
    court.reach(END, ended=True)
    court.signing.received("label", signed("label", court.at(END)))
    answer = court.signing.answer(ChainSignatureRequest(size=END))
    assert [each.member for each in answer] == ["court", "label"]
    assert [decode(encode(each)) for each in answer] == list(answer)
    assert decode(encode(ChainSignatureRequest(size=7))) == ChainSignatureRequest(size=7)
    assert court.signing.answer(ChainSignatureRequest(size=10**12)) == ()
    assert court.signing.answer(ChainSignatureRequest(size=0)) == ()


def test_signatures_wait_for_a_commit_but_not_for_long(court: Court) -> None:
    court.signing.tick(1_000)
    court.reach(3)
    assert court.store.chain_signatures(3) == ()
    court.signing.tick(1_000 + WRITE_WAIT_MS)
    assert len(court.store.chain_signatures(3)) == 1
    court.reach(2)
    assert [each.checkpoint.size for each in court.signing.take_unwritten()] == [2]
    assert court.signing.take_unwritten() == ()


def test_signatures_of_older_sizes_are_read_from_the_store(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SIZES_IN_MEMORY_MAX", 1)
    for size in (1, 2, 3, 2, 1):
        for member in OTHERS:
            court.signing.received(member, signed(member, court.at(size)))
    assert len(court.signing._gathered) <= 1
    assert [court.held(size) for size in (1, 2, 3)] == [sorted(OTHERS)] * 3


# ---- ahead of us -----------------------------------------------------------------------------------------------------


def fall_back(court: Court, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Hides what is above `size` from the signing."""
    real = court.store.chain_checkpoint_at
    monkeypatch.setattr(court.store, "_size", size)
    monkeypatch.setattr(court.store, "chain_checkpoint_at", lambda at: real(at) if at <= court.store.size else None)


def test_signatures_for_a_size_not_reached_yet_count_once_it_is(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = court.at(AFTER)
    fall_back(court, monkeypatch, END)
    for member in OTHERS:
        court.signing.received("label", signed(member, checkpoint))
    court.signing.received("platform", signed("platform", replace(checkpoint, root=FALSE_ROOT)))
    court.signing.received("society", replace(signed("society", checkpoint), signature=bytes(64)))
    assert court.sent == court.rejected == []
    monkeypatch.setattr(court.store, "_size", AFTER)
    court.reach(AFTER)
    court.signing.tick(IDLE_MS)
    assert court.held(AFTER) == ["court", "label", "platform", "society"]
    assert [sender for sender, _ in court.rejected] == ["platform"], "the valid one of society came first"
    assert not court.signing._ahead
    assert len(court.evidence()) == 1, "platform said both"


def test_flood_of_one_member_does_not_push_out_what_others_sent(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = court.at(AFTER)
    fall_back(court, monkeypatch, 3)
    for member in ("society", "platform"):
        court.signing.received(member, signed(member, checkpoint))
    good = signed("label", checkpoint)
    for size in range(100, 100 + 20 * AHEAD_PER_MEMBER_MAX):
        court.signing.received("label", replace(good, checkpoint=replace(checkpoint, size=size)))
    assert len(court.signing._ahead) <= len(MEMBERS) * AHEAD_PER_MEMBER_MAX
    monkeypatch.setattr(court.store, "_size", AFTER)
    court.reach(AFTER)
    court.signing.tick(IDLE_MS)
    assert court.held(AFTER) == ["court", "platform", "society"]


# ---- equivocation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["true", "false"])
def test_two_roots_of_one_size_are_evidence_in_whichever_order_they_come(court: Court, first: str) -> None:
    both = [signed("label", court.at(3)), signed("label", replace(court.at(3), root=FALSE_ROOT))]
    for message in both if first == "true" else both[::-1]:
        if message.checkpoint == court.at(3):
            court.signing.received("society", message)
        else:
            with pytest.raises(PeerError, match="label signed another checkpoint"):
                court.signing.received("society", message)
    (found,) = court.evidence()
    assert MEMBERS[found.voter] == "label"
    assert found.size == 3


def test_two_successors_of_one_epoch_are_evidence_whatever_their_sizes(court: Court) -> None:
    court.signing.received("label", signed("label", court.at(END)))
    other = ChainCheckpoint(epoch=Epoch(0), size=END + 100, root=FALSE_ROOT, successor=OTHER_NEXT)
    with pytest.raises(PeerError, match="another checkpoint"):
        court.signing.received("label", signed("label", other))
    (found,) = court.evidence()
    assert {each.checkpoint.successor for each in (found.first, found.second)} == {court.at(END).successor, OTHER_NEXT}


def test_two_lies_that_contradict_each_other_are_evidence(court: Court) -> None:
    for root in (FALSE_ROOT, bytes(reversed(FALSE_ROOT))):
        with pytest.raises(PeerError):
            court.signing.received("label", signed("label", replace(court.at(3), root=root)))
    assert len(court.evidence()) == 1


def test_a_single_lie_or_anothers_is_no_evidence(court: Court) -> None:
    with pytest.raises(PeerError):
        court.signing.received("label", signed("label", replace(court.at(3), root=FALSE_ROOT)))
    court.signing.received("label", signed("society", court.at(3)))
    court.signing.received("label", signed("label", court.at(2)))
    assert court.evidence() == []


def test_what_is_remembered_of_liars_is_bounded(court: Court) -> None:
    for number in range(3 * DIFFERING_PER_MEMBER_MAX):
        lie = replace(court.at(3), root=number.to_bytes(32, "big", signed=False)[::-1] if number else FALSE_ROOT)
        with pytest.raises(PeerError):
            court.signing.received("label", signed("label", lie))
    assert {len(kept) for kept in court.signing._differing.values()} == {DIFFERING_PER_MEMBER_MAX}
    assert len(court.evidence()) == 1, "one for each validator and size"
