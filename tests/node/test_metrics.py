"""The metrics page as a scraper reads it: Prometheus's own parser is the judge of the format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from consensus.types import Digest
from node.disk import Disk
from node.latency import BOUNDS_MS
from node.metrics import _COUNTERS, render
from node.network.tally import Tally
from node.rpc.answers import NodeStatus
from node.rpc.types import Latencies, NodeLive, PeerLive

LIVE = NodeLive(
    consensus_running=True,
    view=43,
    leader="label",
    finalized_view=41,
    recovering=True,
    pending_statements=7,
    pending_payloads=2,
    missing_payloads=1,
    peers=(
        PeerLive(member="label", connected=True, last_view=43, rejected=5, timeouts=4),
        PeerLive(member="platform", connected=False, last_view=9),
        PeerLive(member="society", connected=True, last_view=42),
    ),
    quorum=3,
    view_timeout_ms=750,
    view_age_ms=125,
    waiting_ms=2500,
    boot_generation=6,
    epoch=3,
    timeouts=1,
    timeouts_in_row=2,
    missing_certificate=44,
    clock_behind_ms=250,
    counters={"frames_in": 12, "drops_out": 3, "conflicting_certificates": 1, "of_a_later_release": 9},
    finality=Latencies(counts=(4, 1, *[0] * (len(BOUNDS_MS) - 2), 2), sum_ms=190_000),
)
STATUS = NodeStatus(
    member="court",
    role="court",
    genesis=Digest(bytes(32)),
    origin='quoted"\\origin\n',
    version="0.1.0",
    height=40,
    block_time_ms=1_700_000_000_500,
    size=1000,
    root=bytes(32),
    claims=90_000,
    checkpoint_size=980,
    checkpoint_signers=("court", "label", "society"),
    live=LIVE,
    misbehaviours=2,
    disk=Disk(store_bytes=4096, store_bytes_max=2**30, free_bytes=10**9),
)


def read(status: NodeStatus) -> dict[str, float]:
    """Sample -> value, as `name{label="value"}`."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(render(status).decode()):
        assert family.documentation, f"{family.name} says what it is"
        for sample in family.samples:
            labels = ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


@pytest.mark.parametrize(
    ("sample", "value"),
    [
        ("stretto_statements", 1000),
        ("stretto_claims", 90_000),
        ("stretto_height", 40),
        ("stretto_last_block_timestamp_seconds", 1_700_000_000.5),
        ("stretto_checkpoint_lag_statements", 20),
        ("stretto_misbehaviours", 2),
        ("stretto_consensus_running", 1),
        ("stretto_view", 43),
        ("stretto_finalized_view", 41),
        ("stretto_waiting_seconds", 2.5),
        ("stretto_view_timeout_seconds", 0.75),
        ("stretto_recovering", 1),
        ("stretto_quorum", 3),
        ("stretto_validators", 4),
        ("stretto_connected_validators", 3),
        ("stretto_pending_statements", 7),
        ("stretto_missing_payloads", 1),
        ("stretto_boot_generation", 6),
        ("stretto_epoch", 3),
        ("stretto_missing_certificates", 1),
        ("stretto_views_nullified_in_row", 2),
        ("stretto_clock_behind_seconds", 0.25),
        ('stretto_views_nullified_total{member="label"}', 4),
        ('stretto_views_nullified_total{member="court"}', 1),
        ('stretto_leader{member="label"}', 1),
        ('stretto_peer_connected{member="platform"}', 0),
        ('stretto_peer_rejected_total{member="label"}', 5),
        ('stretto_checkpoint_signed{member="platform"}', 0),
        ('stretto_checkpoint_signed{member="court"}', 1),
        ("stretto_network_frames_received_total", 12),
        ("stretto_network_dropped_sends_total", 3),
        ("stretto_conflicting_certificates_total", 1),
        ("stretto_store_bytes", 4096),
        ("stretto_disk_free_bytes", 1e9),
        ('stretto_finality_seconds_bucket{le="0.01"}', 4),
        ('stretto_finality_seconds_bucket{le="0.02"}', 5),
        ('stretto_finality_seconds_bucket{le="60.0"}', 5),
        ('stretto_finality_seconds_bucket{le="+Inf"}', 7),
        ("stretto_finality_seconds_count", 7),
        ("stretto_finality_seconds_sum", 190.0),
    ],
)
def test_sample_has_its_value(sample: str, value: float) -> None:
    assert read(STATUS)[sample] == pytest.approx(value)


def test_names_in_labels_are_escaped() -> None:
    families = text_string_to_metric_families(render(STATUS).decode())
    info = next(family for family in families if family.name == "stretto_node_info")
    assert info.samples[0].labels == {"member": "court", "version": "0.1.0", "origin": STATUS.origin}


def test_without_a_node_process_only_what_is_stored_is_shown() -> None:
    silent = NodeLive(
        consensus_running=False, view=0, leader="", finalized_view=0, recovering=False,
        pending_statements=0, pending_payloads=0, missing_payloads=0, peers=(),
    )  # fmt: skip
    found = read(replace(STATUS, live=silent))
    assert found["stretto_consensus_running"] == 0
    assert found["stretto_statements"] == 1000
    assert "stretto_view" not in found, "a view of 0 would be a lie"


def test_counters_that_this_release_does_not_know_are_left_out() -> None:
    assert b"later_release" not in render(STATUS)


def test_store_that_cannot_be_looked_at_leaves_the_rest() -> None:
    found = read(replace(STATUS, disk=None))
    assert "stretto_store_bytes" not in found
    assert found["stretto_view"] == 43


def test_every_count_of_the_network_is_shown_but_for_what_is_shown_by_peer() -> None:
    assert set(Tally.__slots__) - set(_COUNTERS) == {"connected"}


def test_every_metric_of_the_alerts_exists() -> None:
    import re

    rules = (Path(__file__).parents[2] / "docs" / "alerts.yml").read_text()
    used = set(re.findall(r"\bstretto_[a-z_]+", "\n".join(re.findall(r"expr: (.*(?:\n {10,}.*)*)", rules))))
    every = replace(STATUS, live=replace(LIVE, counters=dict.fromkeys(_COUNTERS, 0)))
    assert used, "the rules were read"
    assert used <= {sample.partition("{")[0] for sample in read(every)}
