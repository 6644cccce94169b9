"""The process round the loop: what it refuses to start with, how it keeps its reader, and how it says why it ended."""

from __future__ import annotations

import itertools
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from trio.testing import MockClock

from consensus.errors import LocalError
from ledger.genesis import Role
from node import process as module
from node import reader_process as readers
from node.config import load_config
from node.network.values import StreamClass
from node.process import NetworkOutbox, _Node, local_cause, main
from node.reader_process import (
    READER_RESTART_S,
    READER_RESTART_S_MAX,
    READER_STEADY_S,
    _keep_reader,
    _run_reader,
    reader_process,
)
from node.rosters import Rosters
from node.signer import KeyRing, Signer
from node.start import GenesisUnreadable, UnknownSelf, check_members, load_genesis, open_voting
from node.store.chain import ChainStore
from node.store.errors import StoreFull
from node.sync_pin import Pinning
from node.wire import Fetch, decode_contents, encode_fetch
from tests.ledger.builders import make_consortium, make_member, public_key
from tests.node.nodes import GENESIS, MEMBERS, make_folder, make_signer

# ---- what it starts with ---------------------------------------------------------------------------------------------


def test_genesis_is_read(tmp_path: Path) -> None:
    config = make_folder(tmp_path / "court", "court")
    assert load_genesis(config.genesis_path).digest == GENESIS.digest


@pytest.mark.parametrize("data", [None, b"", b"{}", b"\xff", GENESIS.raw[:-3], GENESIS.raw.replace(b"court", b"COURT")])
def test_genesis_that_cannot_be_used_is_this_machines_problem(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "genesis.json"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(GenesisUnreadable) as caught:
        load_genesis(path)
    assert str(path) in str(caught.value)
    assert "byte for byte" in str(caught.value)


def changed(config_path: Path, old: str, new: str) -> Path:
    config_path.write_text(config_path.read_text().replace(old, new))
    return config_path


def test_members_of_the_configuration_are_checked_against_the_roster(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_folder(tmp_path / "court", "court")
    own = public_key("court", "peer")
    check_members(config, Rosters(GENESIS), own)
    assert not caplog.records
    path = changed(config.directory / "config.toml", "society =", "scoiety =")
    check_members(load_config(path), Rosters(GENESIS), own)
    assert "peers.scoiety: no member of epoch 0" in caplog.text, "it may be admitted yet, or is misspelt"
    changed(path, "scoiety =", "society =")
    changed(path, 'member = "court"', 'member = "curt"')
    with pytest.raises(UnknownSelf, match=r"'court'.*got 'curt'"):
        check_members(load_config(path), Rosters(GENESIS), own)


def test_member_without_a_seat_and_one_not_admitted_yet_have_no_signer(tmp_path: Path) -> None:
    observer = make_member("court", Role.COURT, validator=False)
    four = [make_member(m, Role.LABEL) for m in ("label", "society", "platform", "fifth")]
    config = make_folder(tmp_path / "court", "court")
    for members in ([*four, observer], four):
        genesis = make_consortium(members).genesis
        check_members(config, Rosters(genesis), public_key("court", "peer"))
        assert KeyRing(config).signer(genesis.roster) is None
        assert KeyRing(config).missing(genesis.roster) == ()


@pytest.mark.parametrize("name", ["consensus", "log", "cosign"])
def test_who_lacks_a_key_of_its_seat_does_not_sign_until_it_has_it(tmp_path: Path, name: str) -> None:
    config = make_folder(tmp_path / "court", "court")
    other = make_folder(tmp_path / "label", "label")
    right = config.key_path(name).read_bytes()
    config.key_path(name).write_bytes(other.key_path(name).read_bytes())
    assert KeyRing(config).missing(GENESIS.roster) == (name,)
    assert KeyRing(config).signer(GENESIS.roster) is None
    waiting = config.key_path(f"{name}.next")
    waiting.write_bytes(right)
    waiting.chmod(0o600)
    assert KeyRing(config).signer(GENESIS.roster) is not None, "the next key is the one that the roster names"
    config.key_path(name).unlink()
    assert KeyRing(config).signer(GENESIS.roster) is not None, "a machine may have the next key only"


def test_signer_shows_no_key(tmp_path: Path) -> None:
    signer: Signer = make_signer(make_folder(tmp_path / "court", "court"))
    assert repr(signer) == str(signer) == "Signer(court)"


def test_missing_voting_state_is_made_anew_and_not_trusted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who forgot its votes must not vote until it is safe, also after one more restart (design D4)."""
    config = make_folder(tmp_path / "court", "court")
    with ChainStore.open(config.chain_path, GENESIS) as store:
        with open_voting(config.voting_path, store) as (_, restored):
            assert restored.trusted
        for file in config.voting_path.iterdir():
            file.unlink()
        for _ in range(2):
            with open_voting(config.voting_path, store) as (_, restored):
                assert not restored.trusted
    assert len([r for r in caplog.records if "votes again once it is safe" in r.getMessage()]) == 1


# ---- how it ends -----------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before[0], before[1]


def run_that_fails(monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> None:
    async def fail(error: Exception) -> None:
        raise error

    async def run_node(_config: object, _watch: object) -> None:
        async with trio.open_nursery() as outer, trio.open_nursery() as inner:
            outer.start_soon(trio.sleep_forever)
            for error in errors:
                inner.start_soon(fail, error)

    monkeypatch.setattr(module, "run_node", run_node)


def test_error_of_this_machine_ends_the_node_with_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_folder(tmp_path / "court", "court")
    run_that_fails(monkeypatch, RuntimeError("while cancelled"), StoreFull(config.chain_path, "the disk is full"))
    with pytest.raises(StoreFull) as caught:
        main(config.directory / "config.toml")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__, "no traceback of the group behind it"
    (line,) = capsys.readouterr().err.splitlines()
    assert "the disk is full" in json.loads(line)["message"]
    assert json.loads(line)["level"] == "critical"


def test_fault_of_our_own_ends_the_node_with_its_traceback_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_folder(tmp_path / "court", "court")
    run_that_fails(monkeypatch, RuntimeError("impossible"))
    with pytest.raises(ExceptionGroup):
        main(config.directory / "config.toml")
    (line,) = capsys.readouterr().err.splitlines()
    assert "impossible" in json.loads(line)["traceback"]


def test_configuration_error_ends_before_anything_is_opened(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"config\.toml"):
        main(tmp_path / "config.toml")


def test_cause_is_found_however_deep() -> None:
    cause = LocalError("x")
    assert local_cause(cause) is cause
    assert local_cause(ExceptionGroup("", [ValueError(), ExceptionGroup("", [cause])])) is cause
    assert local_cause(ExceptionGroup("", [ValueError(), KeyError()])) is None
    assert local_cause(RuntimeError()) is None


# ---- answering fetches -----------------------------------------------------------------------------------------------


async def test_malformed_fetch_is_counted_and_answered_with_nothing(tmp_path: Path) -> None:
    config = make_folder(tmp_path / "court", "court")
    rejected: list[str] = []
    with ChainStore.open(config.chain_path, GENESIS) as store:
        (digest,) = store.put_blobs([b"chunk"])
        node = _Node.__new__(_Node)
        node.store = store
        node.pinning = Pinning(config.chain_path, store, None)
        node.loop = SimpleNamespace(reject=lambda member, _error: rejected.append(member))  # type: ignore[assignment]
        answer = await node._respond("label", encode_fetch(Fetch(payloads=False, digests=(digest,))))
        assert decode_contents(answer, 1) == (b"chunk",)
        assert rejected == []
        answer = await node._respond("label", b"\xff")
        assert answer, "the network refuses empty answers"
        assert rejected == ["label"]


def test_outbox_puts_each_kind_on_its_stream() -> None:
    seen: list[tuple[object, ...]] = []
    network = SimpleNamespace(
        send=lambda *given: seen.append(given),
        broadcast=lambda cls, frame, among=lambda _: True: seen.append(
            (*[m for m in (*MEMBERS, "observer") if among(m)], cls, frame)
        ),
    )
    outbox = NetworkOutbox(network, Rosters(GENESIS))  # type: ignore[arg-type]
    outbox.send_consensus("label", b"a")
    outbox.broadcast_consensus(b"b")
    outbox.broadcast_payload(b"c")
    assert seen == [
        ("label", StreamClass.CONSENSUS, b"a"),
        (*MEMBERS, StreamClass.CONSENSUS, b"b"),
        (*MEMBERS, "observer", StreamClass.PAYLOAD, b"c"),
    ]


# ---- the reader ------------------------------------------------------------------------------------------------------


async def test_reader_that_cannot_start_is_tried_ever_more_seldom(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    starts: list[float] = []
    runs_s = iter([0.5] * 10 + [READER_STEADY_S + 1] + [0.5] * 3)

    async def run(_command: object) -> int:
        starts.append(trio.current_time())
        await trio.sleep(next(runs_s, 1e9))
        return 1

    monkeypatch.setattr(readers, "_run_reader", run)
    with trio.move_on_after(2_000):
        await _keep_reader(["reader"])
    pauses = [round(after - before - 0.5) for before, after in itertools.pairwise(starts)]
    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert max(pauses[:10]) == READER_RESTART_S_MAX
    assert round(starts[11] - starts[10] - READER_STEADY_S - 1) == READER_RESTART_S, "it was well for a while"
    assert all("ended with code 1" in record.getMessage() for record in caplog.records)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


async def test_reader_gives_its_exit_code() -> None:
    assert await _run_reader(python("raise SystemExit(3)")) == 3


READY = "import sys, signal, os; {}; open(sys.argv[1], 'w').write(str(os.getpid())); sys.stdin.read(); signal.pause()"


@pytest.mark.parametrize(
    "habit", ["pass", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"], ids=["obedient", "deaf to SIGTERM"]
)
async def test_reader_ends_with_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, habit: str) -> None:
    monkeypatch.setattr(readers, "READER_STOP_S", 0.05)
    note = tmp_path / "pid"
    with trio.fail_after(20):
        async with reader_process([*python(READY.format(habit)), str(note)]):
            while not note.exists() or not note.read_text():
                await trio.sleep(0.005)
            pid = int(note.read_text())
            assert os.getsid(pid) == pid, "a Ctrl-C in the terminal is for the node alone"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_killed_reader_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "READER_RESTART_S", 0.0)
    note = tmp_path / "pid"
    with trio.fail_after(20):
        async with reader_process([*python(READY.format("pass")), str(note)]):
            pids: set[str] = set()
            while len(pids) < 2:
                await trio.sleep(0.005)
                found = note.read_text() if note.exists() else ""
                if found and found not in pids:
                    pids.add(found)
                    os.kill(int(found), signal.SIGKILL)


def test_reader_knows_when_the_node_was_killed(tmp_path: Path) -> None:
    """Its standard input is the node's: when the node dies, whatever the way, it reads the end of it."""
    note = tmp_path / "pid"
    code = (
        "import sys, trio\nfrom node.reader_process import _run_reader\n"
        f"trio.run(_run_reader, [sys.executable, '-c', {READY.format('pass').replace('signal.pause()', 'pass')!r}, "
        f"{str(note)!r}])"
    )
    node = subprocess.Popen(python(code))
    try:
        while not note.exists() or not note.read_text():
            assert node.poll() is None
            os.sched_yield()
        node.kill()
        node.wait()
        pid = int(note.read_text())
        while True:  # the test's time-out bounds it
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                break
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                break
            os.sched_yield()
    finally:
        node.kill()


# ---- memory ----------------------------------------------------------------------------------------------------------


def test_collector_runs_once_the_node_has_started_and_leaves_alone_what_the_start_made() -> None:
    # In a process of its own: here the whole test run would be frozen.
    code = (
        "import gc; gc.disable(); import node.process; kept = len(gc.get_objects()); node.process._settle(); "
        "print(gc.isenabled(), gc.get_freeze_count() >= kept, len(gc.get_objects()) < kept / 100)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.split() == ["True", "True", "True"]
