"""What is measured, and that every alert is about something that is."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from bridge.endpoints import Head
from bridge.journal import Journal, State
from bridge.metrics import BridgeCollector, MetricsServer, Snapshot, as_json
from bridge.relay import Report
from tests.bridge.anvils import free_port
from tests.bridge.test_journal import intend
from tests.bridge.test_policy import STATE

REPORT = Report(
    chain="polygon", doing="nothing is due", state=STATE, head=Head(9, b"\x01" * 32, 100, 7),
    final=Head(5, b"\x02" * 32, 90, 7), node_size=12, node_epoch=1, open=1, balance=10**18, frozen=True,
)  # fmt: skip
FAULTS = {("rpc.example", "EndpointTimeout"): 2}
SNAPSHOT = Snapshot(report=REPORT, counts={"broadcast": 3}, errors=FAULTS, round_s=100.0)


def collector(journal: Journal, *snapshots: Snapshot) -> BridgeCollector:
    found = {each.report.chain: each for each in snapshots}
    return BridgeCollector(journal, lambda: found, {137: "polygon", 1: "ethereum"})


def page(journal: Journal, *snapshots: Snapshot) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(collector(journal, *snapshots))
    lines = generate_latest(registry).decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def test_chain_and_journal_are_on_the_page(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.sqlite") as journal:
        for nonce, state in enumerate((State.USEFUL, State.USEFUL, State.DUPLICATE)):
            journal.close_nonce(intend(journal, nonce), state, gas_used=100, gas_price=10**9)
        journal.lost(intend(journal, 3))
        found = page(journal, SNAPSHOT)
    assert found['stretto_bridge_size{chain="polygon"}'] == STATE.size
    assert found['stretto_bridge_frozen{chain="polygon"}'] == 1
    assert found['stretto_bridge_broadcast_total{chain="polygon"}'] == 3
    assert (
        found['stretto_bridge_endpoint_errors_total{chain="polygon",endpoint="rpc.example",kind="EndpointTimeout"}']
        == 2
    )
    counted = {
        name: found[f'stretto_bridge_{name}_total{{chain="polygon"}}']
        for name in ("mined", "useful", "duplicate", "lost")
    }
    assert counted == {"mined": 3, "useful": 2, "duplicate": 1, "lost": 1}
    assert found['stretto_bridge_paid_gwei_total{chain="polygon"}'] == pytest.approx(300)
    assert found['stretto_bridge_useful_total{chain="ethereum"}'] == 0


def test_what_is_not_known_yet_is_not_on_the_page(tmp_path: Path) -> None:
    empty = Snapshot(report=Report(chain="polygon"), counts={}, errors={}, round_s=1.0)
    with Journal(tmp_path / "journal.sqlite") as journal:
        found = page(journal, empty)
    assert 'stretto_bridge_size{chain="polygon"}' not in found
    assert 'stretto_bridge_finalized_lag_seconds{chain="polygon"}' not in found
    assert as_json(empty)["contract_size"] is None


def test_every_metric_of_the_alerts_exists(tmp_path: Path) -> None:
    rules = (Path(__file__).parents[2] / "docs" / "bridge-alerts.yml").read_text()
    used = set(re.findall(r"\bstretto_[a-z_]+", "\n".join(re.findall(r"expr: (.*)", rules))))
    with Journal(tmp_path / "journal.sqlite") as journal:
        shown = {name.partition("{")[0] for name in page(journal, SNAPSHOT)}
    assert used
    assert used <= shown


def test_page_is_served_and_closed(tmp_path: Path) -> None:
    port = free_port()
    with Journal(tmp_path / "journal.sqlite") as journal:
        server = MetricsServer("127.0.0.1", port, collector(journal, SNAPSHOT))
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                assert b"stretto_bridge_size" in answer.read()
        finally:
            server.close()
        MetricsServer("127.0.0.1", port, collector(journal)).close()
