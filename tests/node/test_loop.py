"""The loop: outputs obeyed strictly in order, frames from strangers survived, and what a restart takes up again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from consensus.engine import Engine
from consensus.errors import LocalError
from consensus.events import Commit, Connected
from consensus.messages import Certificates, Proposal
from consensus.types import (
    ZERO_DIGEST,
    Certificate,
    Digest,
    Epoch,
    Height,
    Signature,
    SignedVote,
    ValidatorIndex,
    View,
    Vote,
    VoteKind,
    nullify,
)
from ledger.note import NoteSignature
from ledger.payload import parse_payload
from node.courier import CONSENSUS_BYTES_MAX
from node.outside import Clock
from node.rejections import REJECTIONS_LOGGED_PER_PEER
from node.rpc.types import SubmissionState
from node.store.errors import StoreFull
from node.wire import Cosignature, CosignatureRequest, Hello, decode, encode
from tests.ledger.builders import make_claim
from tests.node.nodes import CONSORTIUM, GENESIS, MEMBERS, Bench, Results, key, make_folder
from tests.node.town import Town

ACCEPTED, FINAL, DUPLICATE, REFUSED = SubmissionState


def let_pass(node: Bench, milliseconds: int) -> None:
    end = node.clock.now_ms + milliseconds
    while (due := node.loop.due_ms()) is not None and due <= end:
        node.clock.now_ms = max(node.clock.now_ms + 1, due)
        node.loop.tick()
    node.clock.now_ms = end


def signed_vote(member: str, vote: Vote) -> SignedVote:
    signature = key(member, "consensus").sign(vote.signing_bytes(GENESIS.digest))
    return SignedVote(vote=vote, voter=ValidatorIndex(MEMBERS.index(member)), signature=Signature(signature))


def hello(
    member: str, *, generation: int = 1, start: bytes = bytes(16), consortium: Digest = GENESIS.digest, signer: str = ""
) -> Hello:
    bare = Hello(
        consortium=consortium,
        boot_generation=generation,
        start=start,
        height=Height(0),
        version="1",
        signature=Signature(bytes(64)),
    )
    signature = Signature(key(signer or member, "consensus").sign(bare.signing_bytes()))
    return replace(bare, signature=signature)


# ---- strictly in order -----------------------------------------------------------------------------------------------


class Journal:
    """Everything a node does that cannot be taken back, in the order in which it does it."""

    def __init__(self, node: Bench) -> None:
        self.lines: list[tuple[str, Any]] = []
        self._note(node.voting, "persist", lambda state: [("persisted", vote) for vote in state.votes])
        self._note(node.signer, "vote", lambda vote: [("signed", vote)], before=True)
        self._note(node.store, "put_payloads", lambda payloads: [("stored", p.digest) for p in payloads])
        self._note(node.store, "commit", lambda commit, *_, **__: self._committed(node, commit))
        self._note(node.signer, "checkpoint", lambda checkpoint, _s: [("cosigned", checkpoint.size)], before=True)
        self._note(node.said, "send_consensus", lambda _to, frame: self._said(node, frame), before=True)
        self._note(node.said, "broadcast_consensus", lambda frame: self._said(node, frame), before=True)
        self._note(node.said, "broadcast_payload", lambda frame: [("sent", parse_payload(frame).digest)], before=True)
        self._note(node.loop, "held", lambda payload, **_: [("held", payload.payload.digest)], before=True)

    def _note(
        self, thing: object, name: str, lines: Callable[..., list[tuple[str, Any]]], *, before: bool = False
    ) -> None:
        inner = getattr(thing, name)

        def noted(*args: Any, **kwargs: Any) -> Any:
            if before:
                self.lines += lines(*args, **kwargs)
                return inner(*args, **kwargs)
            result = inner(*args, **kwargs)
            self.lines += lines(*args, **kwargs)  # only what returned is on disk
            return result

        setattr(thing, name, noted)

    def _committed(self, node: Bench, commit: Commit) -> list[tuple[str, Any]]:
        watermark = node.store.cosigned_watermark()
        assert watermark is not None, "it moves with the commit"
        return [*(("committed", b.digest) for b in commit.blocks), ("watermark", watermark[0])]

    def _said(self, node: Bench, frame: bytes) -> list[tuple[str, Any]]:
        match decode(frame):
            case Proposal() as proposal:
                return [("sent", proposal.vote.vote)]
            case SignedVote() as signed if signed.voter == node.signer.index:
                return [("sent", signed.vote)]
            case Cosignature() as cosignature if cosignature.cosignature.name.endswith(node.config.member):
                return [("sent", cosignature.size)]
            case _:
                return []

    def first(self, what: str, of: object) -> int:
        return self.lines.index((what, of))


def test_nothing_irrevocable_happens_before_it_is_on_disk(town: Town) -> None:
    journals = {member: Journal(node) for member, node in town.nodes.items()}
    for number in range(6):
        town.submit(MEMBERS[number % 4], CONSORTIUM.statement(make_claim(number), ref=f"r{number}"))
        town.run(lambda size=number + 1: town.is_complete(size))
    for journal in journals.values():
        votes = {of for what, of in journal.lines if what == "sent" and isinstance(of, Vote)}
        assert len(votes) >= 6, "they voted"
        for vote in votes:
            assert journal.first("persisted", vote) < journal.first("signed", vote) < journal.first("sent", vote)
        sizes = [of for what, of in journal.lines if what == "cosigned"]
        assert sizes == [1, 2, 3, 4, 5, 6]
        for size in sizes:
            assert journal.first("watermark", size) < journal.first("cosigned", size) < journal.first("sent", size)
        payloads = {of for what, of in journal.lines if what == "held"}
        assert len(payloads) == 6
        for payload in payloads:
            assert journal.first("stored", payload) < journal.first("held", payload)
            if ("sent", payload) in journal.lines:
                assert journal.first("stored", payload) < journal.first("sent", payload)


def test_vote_that_could_not_be_written_is_neither_signed_nor_sent(
    node: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(node)

    def full(_state: object) -> None:
        raise StoreFull(node.config.voting_path, "the disk is full")

    monkeypatch.setattr(node.voting, "persist", full)
    node.loop.accept(CONSORTIUM.statement(make_claim(1)), (), Results())
    with pytest.raises(StoreFull):
        let_pass(node, 5_000)
    assert not [line for line in journal.lines if isinstance(line[1], Vote)]


def test_payload_that_could_not_be_written_is_not_sent(node: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_payloads: object) -> None:
        raise StoreFull(node.config.chain_path, "the disk is full")

    monkeypatch.setattr(node.store, "put_payloads", full)
    with pytest.raises(StoreFull):
        node.loop.accept(CONSORTIUM.statement(make_claim(1)), (), Results())
    assert node.said.payloads == []


def test_vote_is_the_same_after_a_crash_between_writing_and_sending(tmp_path: Path) -> None:
    """Persisted, then killed: after the restart the same vote goes out, and no other one in that view (pitfall 1)."""
    config = make_folder(tmp_path / "court", "court")
    node = Bench(config)
    node.loop.start()
    written: list[Vote] = []
    persist = node.voting.persist

    def crash(state: Any) -> None:
        persist(state)
        written.extend(state.votes)
        raise KeyboardInterrupt

    node.voting.persist = crash  # type: ignore[method-assign]
    node.loop.accept(CONSORTIUM.statement(make_claim(1)), (), Results())
    with pytest.raises(KeyboardInterrupt):
        let_pass(node, 5_000)
    assert written
    assert not [m for m in node.said.messages() if isinstance(m, SignedVote | Proposal)]
    node.close()

    again = Bench(config)
    again.loop.start()
    let_pass(again, 2_000)
    sent = {m.vote for m in again.said.messages() if isinstance(m, SignedVote)}
    assert set(written) <= sent
    for vote in sent:
        for other in written:
            assert (vote.view, vote.kind) != (other.view, other.kind) or vote == other
    again.close()


# ---- what peers send -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff" * 50,
        encode(hello("label", consortium=Digest(b"\x01" * 32))),
        encode(hello("label", signer="society")),
        encode(SignedVote(vote=nullify(Epoch(0), View(1)), voter=ValidatorIndex(0), signature=Signature(bytes(64)))),
        encode(SignedVote(vote=nullify(Epoch(7), View(1)), voter=ValidatorIndex(0), signature=Signature(bytes(64)))),
        encode(SignedVote(vote=nullify(Epoch(0), View(1)), voter=ValidatorIndex(99), signature=Signature(bytes(64)))),
    ],
    ids=["empty", "noise", "other consortium", "other's greeting", "bad signature", "epoch", "stranger"],
)
def test_bad_frame_is_counted_against_its_sender_and_changes_nothing(node: Bench, frame: bytes) -> None:
    before = node.loop.core.status()
    node.loop.frame("label", frame)
    assert dict(node.loop.rejected) == {"label": 1}
    assert node.loop.core.status() == before


@given(frame=st.binary(max_size=120))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_frame_ends_the_loop(node: Bench, frame: bytes) -> None:
    node.loop.frame("label", frame)


def test_peer_cannot_fill_the_log(node: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(10 * REJECTIONS_LOGGED_PER_PEER):
            node.loop.frame("label", b"\xff")
        node.loop.frame("society", b"\xff")
    assert len(caplog.records) == REJECTIONS_LOGGED_PER_PEER + 1, "one peer's noise does not silence another's"
    assert node.loop.rejected["label"] == 10 * REJECTIONS_LOGGED_PER_PEER


def test_peer_cannot_fill_the_log_with_valid_contradictions(node: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """An old greeting is signed and well-formed, and still only worth a bounded number of lines."""
    with caplog.at_level(logging.INFO):
        node.loop.frame("label", encode(hello("label", generation=9)))
        for _ in range(10 * REJECTIONS_LOGGED_PER_PEER):
            node.loop.frame("label", encode(hello("label", generation=3)))
    assert 1 <= len(caplog.records) <= REJECTIONS_LOGGED_PER_PEER
    assert "older state was restored" in caplog.records[0].getMessage()


def test_greeting_is_remembered_and_an_older_one_is_reported(node: Bench, caplog: pytest.LogCaptureFixture) -> None:
    node.loop.frame("label", encode(hello("label", generation=4)))
    node.loop.frame("label", encode(hello("label", generation=5)))
    assert not caplog.records
    node.loop.frame("label", encode(hello("label", generation=4)))
    assert "label" in caplog.records[0].getMessage()
    assert node.loop.generations == {"label": 5}, "the highest counts"


def test_peer_that_connects_is_greeted_and_told_where_we_stand(town: Town) -> None:
    town.submit("court", CONSORTIUM.statement(make_claim(1)))
    town.run(lambda: town.is_complete(1))
    said = town["court"].said.consensus
    said.clear()
    town["court"].loop.connected("label")
    sent = [decode(frame) for to, frame in said if to == "label"]
    assert isinstance(sent[0], Certificate), "what is final comes first: who is greeted may rely on having it"
    assert sent[0].vote.kind is VoteKind.FINALIZE
    assert isinstance(sent[1], Hello)
    assert sent[1].height == town["court"].store.head().block.height


def test_two_contradicting_votes_are_reported_once(node: Bench, caplog: pytest.LogCaptureFixture) -> None:
    for block in (b"\x01", b"\x02", b"\x03"):
        vote = Vote(kind=VoteKind.FINALIZE, epoch=Epoch(0), view=View(1), height=Height(1), block=Digest(block * 32))
        node.loop.frame("label", encode(signed_vote("label", vote)))
    told = [r.getMessage() for r in caplog.records if "contradicting" in r.getMessage()]
    assert len(told) == 1
    assert "label" in told[0]


def test_bad_signature_sent_ahead_of_time_ends_nothing(town: Town) -> None:
    """It waits until this node gets there, and was raised in the middle of that commit: one frame ended the node."""
    line = NoteSignature(name=GENESIS.roster.cosign_name("label"), key_id=bytes(4), signature=bytes(72))
    bad = encode(Cosignature(size=1, root=ZERO_DIGEST, log=line, cosignature=line))
    for member in ("court", "society", "platform"):
        town[member].loop.frame("label", bad)
    results = town.submit("court", CONSORTIUM.statement(make_claim(1)))
    town.run(lambda: town.is_complete(1))
    assert results.last.state is FINAL
    assert all(town[member].loop.rejected == {"label": 1} for member in ("court", "society", "platform"))


def test_answer_too_large_for_a_frame_goes_in_several(node: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """128 certificates in a committee of 128 are 730 KB: the network refuses that frame, and that ended the node."""
    certificate = Certificate(
        vote=nullify(Epoch(0), View(3)),
        signers=tuple(ValidatorIndex(i) for i in range(86)),
        signatures=(Signature(bytes(64)),) * 86,
    )
    message = Certificates(certificates=(certificate,) * 128)
    node.loop._voice.send("label", message)
    node.loop._voice.broadcast(message)
    assert len(node.said.consensus) >= 6
    assert max(len(frame) for _, frame in node.said.consensus) <= CONSENSUS_BYTES_MAX


def test_error_of_this_machine_is_not_blamed_on_a_peer(node: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_event: object) -> None:
        raise LocalError("the disk is gone")

    monkeypatch.setattr(node.loop, "step", broken)
    with pytest.raises(LocalError):
        node.loop.frame("label", encode(signed_vote("label", nullify(Epoch(0), View(1)))))
    assert not node.loop.rejected


def test_connection_of_a_peer_is_told_to_the_engine(node: Bench) -> None:
    seen: list[object] = []
    inner = node.loop.step
    node.loop.step = lambda event: (seen.append(event), inner(event))[1]  # type: ignore[method-assign]
    node.loop.connected("label")
    assert seen == [Connected(peer=ValidatorIndex(0))]


def test_unanswerable_cosignature_request_sends_nothing(node: Bench) -> None:
    node.said.consensus.clear()
    node.loop.frame("label", encode(CosignatureRequest(size=12)))
    assert node.said.consensus == []


# ---- doubts about own votes ------------------------------------------------------------------------------------------


def trusted_on_disk(node: Bench) -> bool:
    head = node.store.head()
    return node.voting.load(head.block, head.finalization).trusted


def test_doubt_ends_on_disk_only_with_the_commit_that_ends_it(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery ends at a final view; restarted before its block is here, this node would begin below that view."""
    for number in range(4):
        results = town.submit("court", CONSORTIUM.statement(make_claim(number), ref=f"r{number}"))
        town.run(lambda r=results: r.last.ends)
    court = town["court"]
    view = court.store.head().block.view

    def says(*, recovering: bool, finalized_view: View) -> None:
        """As the engine says after a step."""
        with monkeypatch.context() as engine:
            engine.setattr(Engine, "recovering", property(lambda _: recovering))
            engine.setattr(Engine, "finalized_view", property(lambda _: finalized_view))
            court.loop.step(Connected(peer=ValidatorIndex(0)))

    says(recovering=True, finalized_view=view)
    assert not trusted_on_disk(court)
    says(recovering=False, finalized_view=View(view + 1))
    assert not trusted_on_disk(court)
    says(recovering=False, finalized_view=view)
    assert trusted_on_disk(court)


def test_vote_in_our_own_name_is_an_error_of_this_nodes_operator(node: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody else has our key, or our disk was rolled back: more than one line among a peer's rejections."""
    node.loop.frame("label", encode(signed_vote("court", nullify(Epoch(0), View(5)))))
    (record,) = [r for r in caplog.records if "own key" in r.getMessage()]
    assert record.levelno == logging.ERROR
    assert node.loop.core.status().recovering
    assert not trusted_on_disk(node)
    assert "label" not in node.loop.rejected, "who passed it on did well"


# ---- timers ----------------------------------------------------------------------------------------------------------


async def test_timers_tick_when_due_wake_for_news_and_never_spin(tmp_path: Path, autojump_clock: MockClock) -> None:
    node = Bench(make_folder(tmp_path / "court", "court"), clock=Clock())  # type: ignore[arg-type]
    ticks: list[float] = []
    inner = node.loop.tick
    node.loop.tick = lambda: (ticks.append(trio.current_time()), inner())[1]  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        node.loop.start()
        nursery.start_soon(node.loop.run_timers)
        await trio.sleep(300)
        assert len(ticks) <= 3, "an idle node sleeps"
        ticks.clear()
        accepted = trio.current_time()
        node.loop.accept(CONSORTIUM.statement(make_claim(1)), (), Results())
        await trio.sleep(30)
        assert ticks[0] - accepted < 0.5, "news shorten its sleep, to when the first thing is due"
        assert any(isinstance(m, SignedVote | Proposal) for m in node.said.messages()), "timers made it vote"
        assert len(ticks) < 200, "some a second while something is pending, not thousands"
        nursery.cancel_scope.cancel()
    node.close()


def test_clock_is_monotonic_and_wall() -> None:
    async def main() -> tuple[int, int, int]:
        clock = Clock()
        before = clock.monotonic_ms()
        await trio.sleep(5)
        return before, clock.monotonic_ms(), clock.wall_ms()

    before, after, wall = trio.run(main, clock=MockClock(autojump_threshold=0))
    assert 5_000 <= after - before <= 5_001
    assert wall > 1_700_000_000_000
