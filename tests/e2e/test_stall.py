"""A devnet that really stalls: `stretto consensus status` says why at those that still run, and so do the metrics."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from cli.client import NodeError, NodeUnreachable
from cli.output import Exit
from tests.e2e.running import RunningDevnet, until
from tests.ledger.builders import make_claim

AWAY = ("society", "platform")


@pytest.fixture(scope="module")
def stalled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDevnet]:
    """Four that worked, of which two were stopped while statements come in."""
    devnet = RunningDevnet(tmp_path_factory.mktemp("stall") / "d")
    done = threading.Event()

    def submit() -> None:
        for number in range(700_000, 800_000):
            if done.is_set():
                return
            with devnet.fresh_client("label") as client:
                try:
                    client.submit(devnet.sign(make_claim(number)))
                except (NodeError, NodeUnreachable):
                    time.sleep(0.1)

    thread = threading.Thread(target=submit, daemon=True)
    try:
        devnet.up()
        devnet.record("court", devnet.sign(make_claim(699_999)))
        for member in AWAY:
            devnet[member].stop(kill=True)
        thread.start()
        yield devnet
    finally:
        done.set()
        thread.join(20)
        devnet.close()


def ask(devnet: RunningDevnet, member: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document of the command, as an operator runs it."""
    command = [sys.executable, "-m", "cli.main", "consensus", "status", "--node", devnet[member].config.rpc, "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    document: dict[str, Any] = json.loads(ended.stdout)
    return ended.returncode, document


def scrape(devnet: RunningDevnet, member: str) -> dict[str, float]:
    metrics = devnet[member].config.metrics
    assert metrics is not None, "devnets serve metrics"
    with urllib.request.urlopen("http://{}:{}/metrics".format(*metrics), timeout=20) as answer:  # noqa: S310  our own
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


def test_status_names_who_is_missing_and_what_that_means(stalled: RunningDevnet) -> None:
    until(lambda: ask(stalled, "label")[1]["pending_payloads"], "work to wait", 40)
    for member in ("label", "court"):
        code, document = ask(stalled, member)
        assert code == Exit.REFUSED
        assert document["state"] == "stalls"
        assert "waits for 2 of 4 validators: society, platform not connected" in document["diagnosis"]
        assert "no quorum (3 needed, 2 here)" in document["diagnosis"]
        shown = {each["member"]: each for each in document["validators"]}
        assert [shown[away]["connected"] for away in AWAY] == [False, False]
        assert shown["court" if member == "label" else "label"]["connected"] is True
        assert shown["court" if member == "label" else "label"]["last_vote"], "who is there is seen to vote"
        assert all(shown[away]["last_vote"] for away in AWAY), "and what the others voted last is remembered"


def test_metrics_show_the_stall_that_the_alerts_watch_for(stalled: RunningDevnet) -> None:
    until(lambda: scrape(stalled, "label")["stretto_waiting_seconds"] > 2, "the wait to grow", 40)
    found = scrape(stalled, "label")
    assert found["stretto_connected_validators"] == 2 < found["stretto_quorum"]
    assert found['stretto_peer_connected{member="court"}'] == 1
    assert found['stretto_peer_connected{member="platform"}'] == 0
    assert found["stretto_consensus_running"] == 1
    assert found["stretto_finality_seconds_count"] >= 0


def test_with_a_third_it_moves_again_and_says_so(stalled: RunningDevnet) -> None:
    size = stalled.status("label").size
    stalled.start(AWAY[0])
    until(lambda: stalled.status("label").size > size, "what waited to become final", 60)
    until(lambda: ask(stalled, "court")[0] == Exit.OK, "the court to see it", 40)
    _, document = ask(stalled, "court")
    assert document["state"] in ("moves", "quiet")
    assert "platform not connected, not one more may fail" in document["diagnosis"]
    finality = scrape(stalled, "label")
    assert finality["stretto_finality_seconds_count"] > 0
