"""What a node measures, as Prometheus families: one table of names and meanings, rendered in the text format.

Gauges say how it is now; counters and the histogram count since the node process started. docs/alerts.yml has rules
over them, docs/operations.md what each alert means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from node.disk import Disk
from node.latency import BOUNDS_MS
from node.rpc.answers import NodeStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of the text exposition format, which every release of Prometheus reads."""


_Gauge = tuple[str, str, Callable[[NodeStatus], float]]

_STORED: tuple[_Gauge, ...] = (
    ("statements", "Leaves of the log: statements, and what contracts are shown of them.", lambda s: s.size),
    ("claims", "Claims on record, those in catalogues included.", lambda s: s.claims),
    ("height", "Height of the last final block.", lambda s: s.height),
    ("last_block_timestamp_seconds", "Block time of the last final block, Unix time.", lambda s: s.block_time_ms / 1e3),
    (
        "checkpoint_statements",
        "Leaves that the newest checkpoint with a quorum covers.",
        lambda s: s.checkpoint_size,
    ),
    (
        "checkpoint_lag_statements",
        "Final leaves that no checkpoint with a quorum covers yet: evidence for them cannot be handed out.",
        lambda s: s.size - s.checkpoint_size,
    ),
    (
        "chain_checkpoint_statements",
        "Statements that the newest checkpoint signed by a quorum for public chains covers.",
        lambda s: s.chain_checkpoint_size,
    ),
    (
        "chain_signatures_missing",
        "Signatures that the newest checkpoint for public chains lacks of its quorum.",
        lambda s: s.chain_signatures_missing,
    ),
    (
        "chain_ends_missing",
        "Epochs whose end no quorum has signed for public chains: a bridge does not get past them.",
        lambda s: s.chain_ends_missing,
    ),
    ("misbehaviours", "Pieces of evidence held that a validator contradicted itself.", lambda s: s.misbehaviours),
    (
        "consensus_running",
        "1 while the node process answers; else only its reader does.",
        lambda s: s.live.consensus_running,
    ),
)
_LIVE: tuple[_Gauge, ...] = (
    ("view", "View this node is in.", lambda s: s.live.view),
    ("finalized_view", "Highest view known to be final.", lambda s: s.live.finalized_view),
    ("view_age_seconds", "Since this node entered the view.", lambda s: s.live.view_age_ms / 1e3),
    (
        "view_timeout_seconds",
        "After this long a view is given up; grows while nothing is final.",
        lambda s: s.live.view_timeout_ms / 1e3,
    ),
    (
        "waiting_seconds",
        "How long work has waited here with nothing becoming final; 0 while nothing waits.",
        lambda s: s.live.waiting_ms / 1e3,
    ),
    (
        "recovering",
        "1 while it follows without voting, its voting state being lost or doubtful.",
        lambda s: s.live.recovering,
    ),
    ("epoch", "Epoch of the committee that votes now.", lambda s: s.live.epoch),
    ("quorum", "Validators that must agree.", lambda s: s.live.quorum),
    ("validators", "Validators of the committee, this one included.", lambda s: len(s.live.peers) + 1),
    (
        "connected_validators",
        "Validators reached, this one included.",
        lambda s: sum(p.connected for p in s.live.peers) + 1,
    ),
    ("pending_statements", "Statements accepted here and not in a payload yet.", lambda s: s.live.pending_statements),
    ("pending_payloads", "Payloads held and not ordered yet.", lambda s: s.live.pending_payloads),
    ("missing_payloads", "Payloads proposed or ordered and not held here.", lambda s: s.live.missing_payloads),
    (
        "missing_certificates",
        "1 while a certificate or a block lacks that others are asked for.",
        lambda s: s.live.lacks,
    ),
    ("views_nullified_in_row", "Views given up since the last one that succeeded.", lambda s: s.live.timeouts_in_row),
    (
        "clock_behind_seconds",
        "By so much this machine's clock is behind the last final block's time.",
        lambda s: s.live.clock_behind_ms / 1e3,
    ),
    (
        "stood_still_seconds",
        "Longest the node's loop stood still in the last ten seconds: a slow disk or CPU.",
        lambda s: s.live.stood_still_ms / 1e3,
    ),
    ("boot_generation", "Which start of the node process this is.", lambda s: s.live.boot_generation),
    (
        "sync_blocks_left",
        "Blocks that a sync under way still has to get; 0 while none is (docs/sync.md).",
        lambda s: max(0, s.live.counters.get("sync_target", 0) - s.live.counters.get("sync_height", 0)),
    ),
)

_COUNTERS = {
    "frames_in": ("network_frames_received", "Frames from members."),
    "frames_out": ("network_frames_sent", "Frames to members."),
    "bytes_in": ("network_received_bytes", "Frame bodies from members, bytes."),
    "bytes_out": ("network_sent_bytes", "Frame bodies to members, bytes."),
    "drops_out": (
        "network_dropped_sends",
        "Frames refused by a full queue towards a peer, or lost with a broken stream.",
    ),
    "drops_in": ("network_dropped_gossip", "Gossip messages beyond a peer's allowance, or that nobody took in time."),
    "refused_connections": ("network_refused_connections", "Connections of peer ids that are not members."),
    "refused_streams": ("network_refused_streams", "Streams over the cap of one peer."),
    "overruns": ("network_overruns", "Peers cut because they sent beyond their receive windows."),
    "malformed": ("network_malformed", "Streams reset because of a frame that no correct peer sends."),
    "handler_errors": ("network_handler_errors", "Exceptions in stream handlers that the guards caught."),
    "streams_lost": ("network_streams_lost", "Streams to members that broke and were opened again."),
    "dials_failed": ("network_dials_failed", "Dials that reached nobody."),
    "gossip_restarts": ("network_gossip_restarts", "Times that gossip failed and was started again."),
    "syncs_done": ("syncs", "Times that this node caught up by syncing."),
    "refused_busy": ("submissions_refused_busy", "Statements refused at the door because a queue was full."),
    "conflicting_certificates": (
        "conflicting_certificates",
        "Valid certificates that exclude one this node holds: agreement is lost.",
    ),
    "foreign_own_votes": ("foreign_own_votes", "Votes under this node's own key that it never cast."),
}
"""Name in NodeLive.counters -> metric and meaning; a name that is not here is not shown."""


class _Families(Collector):
    def __init__(self, status: NodeStatus) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        status, live = self._status, self._status.live
        info = GaugeMetricFamily("stretto_node_info", "Who this is; always 1.", labels=("member", "version", "origin"))
        info.add_metric((status.member, status.version, status.origin), 1)
        yield info
        for name, meaning, value in _STORED:
            yield GaugeMetricFamily(f"stretto_{name}", meaning, value(status))
        signed = GaugeMetricFamily(
            "stretto_checkpoint_signed",
            "1 where the validator signed the newest complete checkpoint.",
            labels=("member",),
        )
        known = {p.member for p in live.peers} | {status.member} | set(status.checkpoint_signers)
        for member in sorted(known):
            signed.add_metric((member,), member in status.checkpoint_signers)
        yield signed
        if status.disk is not None:
            yield from _disk(status.disk)
        if live.consensus_running:
            yield from _running(status)


def _disk(disk: Disk) -> Iterator[Metric]:
    yield GaugeMetricFamily("stretto_store_bytes", "Disk space that the chain store takes.", disk.store_bytes)
    yield GaugeMetricFamily("stretto_store_limit_bytes", "store_bytes_max of config.toml.", disk.store_bytes_max)
    yield GaugeMetricFamily("stretto_disk_free_bytes", "Free on the chain store's file system.", disk.free_bytes)


def _running(status: NodeStatus) -> Iterator[Metric]:
    """What only a running node process knows."""
    live = status.live
    for name, meaning, value in _LIVE:
        yield GaugeMetricFamily(f"stretto_{name}", meaning, value(status))
    leader = GaugeMetricFamily("stretto_leader", "1 for who leads the view.", labels=("member",))
    leader.add_metric((live.leader,), 1)
    yield leader
    connected = GaugeMetricFamily("stretto_peer_connected", "1 while the peer is reached.", labels=("member",))
    views = GaugeMetricFamily("stretto_peer_view", "Highest view in which the peer was heard.", labels=("member",))
    rejected = CounterMetricFamily(
        "stretto_peer_rejected", "The peer's messages that no correct node sends.", labels=("member",)
    )
    timeouts = CounterMetricFamily(
        "stretto_views_nullified", "Views of this leader that were given up, in this epoch.", labels=("member",)
    )
    timeouts.add_metric((status.member,), live.timeouts)
    for peer in live.peers:
        timeouts.add_metric((peer.member,), peer.timeouts)
        connected.add_metric((peer.member,), peer.connected)
        views.add_metric((peer.member,), peer.last_view)
        rejected.add_metric((peer.member,), peer.rejected)
    yield from (connected, views, rejected, timeouts)
    for key, (name, meaning) in _COUNTERS.items():
        if key in live.counters:
            yield CounterMetricFamily(f"stretto_{name}", meaning, live.counters[key])
    if len(live.finality.counts) == len(BOUNDS_MS) + 1:
        yield _finality(live.finality.counts, live.finality.sum_ms)


def _finality(counts: tuple[int, ...], sum_ms: int) -> Metric:
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*(str(ms / 1000) for ms in BOUNDS_MS), "+Inf"), counts, strict=True):
        total += count
        buckets.append((bound, total))
    meaning = "Statements submitted here: from this node taking them in to final on its disk."
    return HistogramMetricFamily("stretto_finality_seconds", meaning, buckets, sum_value=sum_ms / 1000)


def render(status: NodeStatus) -> bytes:
    """The whole page."""
    return generate_latest(_Families(status))
