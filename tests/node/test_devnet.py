"""The devnet's bookkeeping: which process is whose, and that a stranger with its number is never touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from node import devnet as module
from node.devnet import (
    INSTITUTIONS,
    DevnetNode,
    NodeEnded,
    NotADevnet,
    _start_time,
    init_devnet,
    institutions,
    load_devnet,
)
from tests.node.nodes import make_folder


@pytest.fixture
def node(tmp_path: Path) -> DevnetNode:
    return DevnetNode(config=make_folder(tmp_path / "court", "court"))


def note(node: DevnetNode, text: str) -> None:
    (node.config.directory / "node.pid").write_text(text)


def test_devnet_is_founded_and_loaded(tmp_path: Path) -> None:
    genesis = init_devnet(tmp_path / "net", port=20_000)
    net = load_devnet(tmp_path / "net")
    assert [n.member for n in net.nodes] == [member for member, _, _ in INSTITUTIONS]
    assert [n.config.rpc for n in net.nodes] == [f"127.0.0.1:{21_000 + i}" for i in range(4)]
    assert net.genesis_path.read_bytes() == genesis.raw
    assert net.node("court").config.member == "court"
    assert net.stop() == (), "nothing runs"


@pytest.mark.parametrize("count", [4, 7, 9])
def test_devnet_of_another_size_is_founded_and_loaded(tmp_path: Path, count: int) -> None:
    genesis = init_devnet(tmp_path / "net", members=institutions(count))
    net = load_devnet(tmp_path / "net")
    assert [n.member for n in net.nodes] == [m.id for m in genesis.validator_members()]
    assert len(net.nodes) == len({n.config.listen for n in net.nodes}) == count
    assert all(len(n.config.peers) == count - 1 for n in net.nodes)
    assert institutions(count)[:4] == INSTITUTIONS


def test_folder_with_a_genesis_but_without_nodes_is_no_devnet(tmp_path: Path) -> None:
    init_devnet(tmp_path / "net")
    (tmp_path / "net" / "court" / "config.toml").unlink()
    with pytest.raises(NotADevnet):
        load_devnet(tmp_path / "net")


def test_origins_of_two_devnets_differ(tmp_path: Path) -> None:
    assert len({init_devnet(tmp_path / name).origin for name in ("a", "b")}) == 2


def test_folder_without_a_devnet_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotADevnet, match="stretto devnet init --dir"):
        load_devnet(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "noise", "[]", "{}", '{"pid": "x", "started": 1}', '{"pid": 1, "started": null}', '{"pid": 999999999}']
)
def test_note_that_cannot_be_read_means_not_running(node: DevnetNode, text: str) -> None:
    note(node, text)
    assert node.pid() is None
    assert node.stop() is False


def test_process_with_the_same_number_but_another_start_is_not_ours(node: DevnetNode) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        started = _start_time(stranger.pid)
        assert started is not None
        note(node, json.dumps({"pid": stranger.pid, "started": started - 1}))
        assert node.pid() is None
        assert node.stop() is False
        assert node.stop(kill=True) is False
        assert stranger.poll() is None, "it was left alone"
        note(node, json.dumps({"pid": stranger.pid, "started": started}))
        assert node.pid() == stranger.pid
        assert node.stop() is True
        assert not (node.config.directory / "node.pid").exists()


@pytest.mark.parametrize("kill", [False, True])
def test_stopping_ends_the_process(node: DevnetNode, kill: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        note(node, json.dumps({"pid": process.pid, "started": _start_time(process.pid)}))
        assert node.stop(kill=kill) is True
        assert _start_time(process.pid) is None
        assert node.stop() is False


def test_process_deaf_to_sigterm_is_killed(node: DevnetNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_S", 0.05)
    code = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        note(node, json.dumps({"pid": process.pid, "started": _start_time(process.pid)}))
        assert node.stop() is True
        assert _start_time(process.pid) is None


def test_node_that_ended_by_itself_is_reported_with_the_end_of_its_log(node: DevnetNode) -> None:
    node.log_path.write_text("\n".join(f"line {n}" for n in range(2_000)))
    with pytest.raises(NodeEnded, match="line 1999") as caught:
        node.check_running()
    assert "line 1990" not in str(caught.value)
    node.log_path.unlink()
    assert node.log_tail() == "(no log)"


def test_own_process_is_found_by_its_start_time() -> None:
    assert _start_time(os.getpid()) == _start_time(os.getpid())
    assert _start_time(2**22 + 1) is None
