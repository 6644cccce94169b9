"""A pinned checkpoint: what it spares, what it forbids, and that nothing taken on trust is forgotten by a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from trio.testing import MockClock

from node.store.chain import ChainStore
from node.sync_phase import RUNNING_BLOCKS_MIN, START_BLOCKS_MIN, SyncPhase
from node.sync_pieces import ChainInvalid
from node.sync_pin import MARKER, PinMismatch, Pinning, PinUnusable, read_pin
from node.validation import check_statements
from tests.node.store.chains import GENESIS, ChainMaker, statement
from tests.node.syncing import MEMBERS, Peers, joining, make_chain, make_pin, same_log


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainStore]:
    with make_chain(tmp_path_factory.mktemp("source") / "chain") as store:
        yield store


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many statements each check was given."""
    from node import sync_pieces

    seen: list[int] = []
    inner = check_statements

    def check(payload: object, roster: object, parsed: object) -> object:
        found = inner(payload, roster, parsed)  # type: ignore[arg-type]
        seen.append(len(found))
        return found

    monkeypatch.setattr(sync_pieces, "check_statements", check)
    return seen


async def test_statements_below_the_pin_are_not_checked_and_those_above_are(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_chain(tmp_path / "chain", blocks=70, catalogues=0) as source:
        pin = make_pin(tmp_path / "pin", source)
        maker = ChainMaker(source, sequence=1_000)
        for number in range(70, 100):
            maker.commit([[statement(2 * number), statement(2 * number + 1)]])
        seen = counted(monkeypatch)
        async with joining(tmp_path / "all", source) as node:
            await node.syncer.run()
        assert sum(seen) == 200
        seen.clear()
        async with joining(tmp_path / "some", source, pin=pin) as node:
            await node.syncer.run()
            assert same_log(node.store, source)
            assert not node.pinning.is_open
        assert 60 <= sum(seen) < 200, "pieces above the pin, and the one it lies in"
        assert not (tmp_path / "some" / MARKER).exists()


async def test_pin_vouches_for_what_no_check_would_pass_and_nothing_else_does(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """What was checked by those who cosigned is not checked again: shown by a signature that is bad."""
    bad = statement(1)[:-1] + bytes([statement(1)[-1] ^ 1])
    with ChainStore.open(tmp_path / "chain", GENESIS) as source:
        ChainMaker(source).commit([[bad]])
        async with joining(tmp_path / "unpinned", source) as node:
            with pytest.raises(ExceptionGroup) as caught:
                await node.syncer.run()
            assert caught.group_contains(ChainInvalid)
        async with joining(tmp_path / "pinned", source, pin=make_pin(tmp_path / "pin", source)) as node:
            await node.syncer.run()
            assert same_log(node.store, source)


async def test_other_root_than_the_pinned_one_stops_the_node_now_and_at_every_start(
    tmp_path: Path, source: ChainStore, autojump_clock: MockClock
) -> None:
    pin = make_pin(tmp_path / "pin", source, root=bytes(32))
    folder = tmp_path / "new"
    async with joining(folder, source, pin=pin) as node:
        with pytest.raises(ExceptionGroup) as caught:
            await node.syncer.run()
        assert caught.group_contains(PinMismatch, match="served and voted for nothing")
        assert node.pinning.is_open
    with ChainStore.open(folder, GENESIS) as store, pytest.raises(PinMismatch, match="delete"):
        Pinning(folder, store, None)


async def test_size_where_no_block_ends_is_a_mismatch(
    tmp_path: Path, source: ChainStore, autojump_clock: MockClock
) -> None:
    with make_chain(tmp_path / "other", blocks=1, catalogues=0) as other:
        ChainMaker(other, sequence=99).commit([[statement(77)]])
        pin = make_pin(tmp_path / "pin", other)
    async with joining(tmp_path / "new", source, pin=pin) as node:
        with pytest.raises(ExceptionGroup) as caught:
            await node.syncer.run()
        assert caught.group_contains(PinMismatch, match="no block here ends there")


async def test_too_few_cosigners_are_no_pin(tmp_path: Path, source: ChainStore, autojump_clock: MockClock) -> None:
    with pytest.raises(PinUnusable, match="fewer than 3"):
        make_pin(tmp_path / "two", source, signers=2)


async def test_forged_cosignatures_are_found_out_before_anything_is_served(
    tmp_path: Path, source: ChainStore, autojump_clock: MockClock
) -> None:
    """Whose keys count is known for sure once the log is here: its rosters say who was in office at that size."""
    async with joining(tmp_path / "new", source, pin=make_pin(tmp_path / "pin", source, forged=True)) as node:
        with pytest.raises(ExceptionGroup) as caught:
            await node.syncer.run()
        assert caught.group_contains(PinUnusable, match="roster of epoch 0")
        assert node.pinning.is_open


@pytest.mark.parametrize(
    "content", [b"", b"noise\n", b"x" * 200_000, None], ids=["empty", "noise", "too large", "absent"]
)
def test_unreadable_pin_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "pin"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PinUnusable, match=str(path)):
        read_pin(path, GENESIS.origin)


def test_pin_of_another_log_is_refused(tmp_path: Path, source: ChainStore) -> None:
    make_pin(tmp_path / "pin", source)
    with pytest.raises(PinUnusable, match=r"other\.example"):
        read_pin(tmp_path / "pin", "other.example/1")


async def test_interrupted_below_the_pin_the_next_start_still_has_it_to_prove(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.sync.COMMIT_BYTES", 1)
    folder = tmp_path / "new"
    with make_chain(tmp_path / "chain", blocks=150, catalogues=0) as source:
        async with joining(folder, source, pin=make_pin(tmp_path / "pin", source)) as node:
            inner = node.syncer._commit
            committed = trio.Event()

            def commit(batch: object) -> tuple[int, int, int]:
                totals = inner(batch)  # type: ignore[arg-type]
                trio.from_thread.run_sync(committed.set)
                return totals

            monkeypatch.setattr(node.syncer, "_commit", commit)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.syncer.run)
                await committed.wait()
                nursery.cancel_scope.cancel()
            assert 0 < node.store.size < source.size
        assert (folder / MARKER).exists()
        with ChainStore.open(folder, GENESIS) as store:
            assert Pinning(folder, store, None).is_open, "though the configuration names no pin any more"
        async with joining(folder, source) as node:
            await node.syncer.run()
            assert same_log(node.store, source)
            assert not node.pinning.is_open
        assert not (folder / MARKER).exists()


async def test_pin_beyond_what_anybody_has_is_waited_for(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_chain(tmp_path / "ahead", blocks=30, catalogues=0) as ahead:
        pin = make_pin(tmp_path / "pin", ahead)
        with make_chain(tmp_path / "chain", blocks=20, catalogues=0) as behind:
            async with joining(tmp_path / "new", behind, pin=pin) as node, trio.open_nursery() as nursery:
                nursery.start_soon(node.syncer.run)
                await trio.sleep(200)
                assert node.pinning.is_open
                node.peers.store = ahead
    # Cannot be left before the log is there: the nursery has ended, so it is.


def test_pin_that_is_met_already_opens_nothing(tmp_path: Path, source: ChainStore) -> None:
    assert not Pinning(tmp_path, source, make_pin(tmp_path / "pin", source)).is_open
    with pytest.raises(PinMismatch):
        Pinning(tmp_path, source, make_pin(tmp_path / "wrong", source, root=bytes(32)))


# ---- when ------------------------------------------------------------------------------------------------------------


class Consensus:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")


def make_phase(store: ChainStore, consensus: Consensus, *, network: object = None, pinning: object = None) -> SyncPhase:
    return SyncPhase(
        store=store, network=network, pinning=pinning or SimpleNamespace(is_open=False, size=0),  # type: ignore[arg-type]
        reject=lambda _member, _error: None, pause=consensus.pause, resume=consensus.resume,
    )  # fmt: skip


@pytest.mark.parametrize(("settled", "least"), [(False, START_BLOCKS_MIN), (True, RUNNING_BLOCKS_MIN)])
def test_it_syncs_where_more_than_f_say_that_it_is_far_behind(
    tmp_path: Path, autojump_clock: MockClock, settled: bool, least: int
) -> None:
    with ChainStore.open(tmp_path / "new", GENESIS) as store:
        consensus = Consensus()
        phase = make_phase(store, consensus)
        assert phase.proven.is_set()
        for member in MEMBERS if settled else ():
            phase.greeted(member, 1)
        assert phase.has_joined is settled
        phase.greeted("label", 10**9)
        phase.greeted("label", 10**9)
        phase.greeted("somebody without a seat", 10**9)
        assert consensus.calls == [], "one of four may lie"
        phase.greeted("court", least - 1)
        assert phase.blocks_behind() == least - 1
        assert consensus.calls == []
        phase.greeted("society", least)
        assert consensus.calls == ["pause"]
        phase.greeted("society", 2 * least)
        assert consensus.calls == ["pause"], "once"


async def test_consensus_takes_up_again_after_the_sync(
    tmp_path: Path, source: ChainStore, autojump_clock: MockClock
) -> None:
    with ChainStore.open(tmp_path / "new", GENESIS) as store:
        consensus = Consensus()
        phase = make_phase(store, consensus, network=Peers(source), pinning=Pinning(tmp_path, store, None))
        for member in MEMBERS:
            phase.greeted(member, 40)
        assert phase.line() == ""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(phase.run)
            while consensus.calls != ["pause", "resume"]:
                await trio.sleep(0.01)
                if phase.progress() is not None:
                    assert "it syncs: height" in phase.line()
                    assert phase.counters()["sync_target"] == 40
            nursery.cancel_scope.cancel()
        assert same_log(store, source)
        assert phase.counters() == {"syncs_done": 1}
        phase.greeted("label", 41)
        phase.greeted("court", 41)
        assert consensus.calls == ["pause", "resume"]


def test_open_pin_holds_the_node_back_from_the_start(tmp_path: Path, source: ChainStore) -> None:
    with ChainStore.open(tmp_path / "new", GENESIS) as store:
        consensus = Consensus()
        pinning = Pinning(tmp_path, store, make_pin(tmp_path / "pin", source))

        async def main() -> None:
            phase = make_phase(store, consensus, pinning=pinning)
            assert not phase.proven.is_set()

        trio.run(main)
        assert consensus.calls == ["pause"]
