"""Ports for devnets: free, below outgoing ones, and never another process's."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from node import ports as module
from node.ports import BLOCK_PORTS, BLOCKS_MAX, LISTEN_PORT_MIN, PortBlocks, free_ports


def block_of(port: int) -> int:
    return (port - LISTEN_PORT_MIN) // BLOCK_PORTS


def test_free_ports_differ_and_no_outgoing_connection_takes_one() -> None:
    ports = list(free_ports(50))
    assert len(set(ports)) == 50
    outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(LISTEN_PORT_MIN <= port < outgoing for port in ports)


def test_port_where_somebody_listens_is_left_out() -> None:
    (first,) = free_ports(1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first + 1))
        assert first + 1 not in list(free_ports(3))


@pytest.mark.skipif(sys.platform != "linux", reason="abstract socket names are Linux's")
def test_another_process_takes_from_other_blocks_also_when_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    # Both begin to look at the same block, so that without the claim they would meet for sure.
    monkeypatch.setattr(module.secrets, "randbelow", lambda _count: 7)
    monkeypatch.setattr(module, "_of_process", {})
    ours = {block_of(port) for port in free_ports(5)}
    code = "from node import ports; ports.secrets.randbelow = lambda _count: 7; print(*ports.free_ports(5))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    theirs = {block_of(int(port)) for port in ended.stdout.split()}
    assert len(ours) == len(theirs) == 1
    assert ours != theirs


def test_long_run_comes_round_to_its_first_block() -> None:
    blocks = PortBlocks()
    given = [blocks.next_port() for _ in range(BLOCKS_MAX * BLOCK_PORTS + 1)]
    assert len(set(given[:-1])) == BLOCKS_MAX * BLOCK_PORTS
    assert given[-1] == given[0]


def test_where_no_block_can_be_held_ports_are_still_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_hold", lambda _first: None)
    monkeypatch.setattr(module, "_of_process", {})
    assert len(set(free_ports(20))) == 20
