"""What a relayer measures, for Prometheus, on a loopback port: chains as they stand, transactions as journalled."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bridge.journal import Journal, State, Total
from bridge.relay import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One chain after a round, as another thread may read it."""

    report: Report
    counts: Mapping[str, int]
    """broadcast, rebroadcast, replaced, reorganised."""
    errors: Mapping[tuple[str, str], int]
    """(endpoint, kind) -> how often."""
    round_s: float
    """Unix time of the round."""


_Gauge = tuple[str, str, Callable[[Snapshot], float | None]]
_GAUGES: tuple[_Gauge, ...] = (
    ("size", "Leaves that the contract has recorded.", lambda s: s.report.state.size if s.report.state else None),
    ("epoch", "Epoch that the contract is in.", lambda s: s.report.state.epoch if s.report.state else None),
    ("node_size", "Leaves of the node's newest checkpoint for chains.", lambda s: s.report.node_size),
    ("frozen", "1 where a fork proof has frozen the contract: look at once.", lambda s: float(s.report.frozen)),
    ("head_block", "Newest block.", lambda s: s.report.head.number if s.report.head else None),
    (
        "finalized_lag_seconds",
        "Age of the newest final block.",
        lambda s: time.time() - s.report.final.time_s if s.report.final else None,
    ),
    ("open_transactions", "Transactions of this relayer that are not final.", lambda s: s.report.open),
    ("balance_wei", "Of the relayer's account, when it last sent.", lambda s: s.report.balance),
    ("failing", "1 where the last round ended with an error.", lambda s: float(bool(s.report.error))),
    ("last_round_timestamp_seconds", "When the chain was last looked at, Unix time.", lambda s: s.round_s),
)
_COUNTS = {
    "broadcast": "Transactions sent.",
    "rebroadcast": "Transactions sent again, byte for byte.",
    "replaced": "Transactions made to replace one of the same nonce.",
    "reorganised": "Transactions that were in a block and then in none.",
}


class BridgeCollector(Collector):
    """Families at each scrape. Safe to read from the server's thread."""

    def __init__(
        self, journal: Journal, snapshots: Callable[[], Mapping[str, Snapshot]], ids: Mapping[int, str]
    ) -> None:
        """ids: EIP-155 id -> name, of the configured chains."""
        self._journal, self._snapshots, self._ids = journal, snapshots, ids

    def collect(self) -> Iterator[Metric]:
        snapshots = sorted(self._snapshots().items())
        for name, meaning, read in _GAUGES:
            gauge = GaugeMetricFamily(f"stretto_bridge_{name}", meaning, labels=["chain"])
            for chain, snapshot in snapshots:
                value = read(snapshot)
                if value is not None:
                    gauge.add_metric([chain], float(value))
            yield gauge
        for name, meaning in _COUNTS.items():
            counter = CounterMetricFamily(f"stretto_bridge_{name}", f"{meaning} Since the start.", labels=["chain"])
            for chain, snapshot in snapshots:
                counter.add_metric([chain], snapshot.counts.get(name, 0))
            yield counter
        errors = CounterMetricFamily(
            "stretto_bridge_endpoint_errors",
            "Faults of endpoints since the start.",
            labels=["chain", "endpoint", "kind"],
        )
        for chain, snapshot in snapshots:
            for (endpoint, kind), count in sorted(snapshot.errors.items()):
                errors.add_metric([chain, endpoint, kind], count)
        yield errors
        yield from self._journalled()

    def _journalled(self) -> Iterator[Metric]:
        totals = self._journal.totals()
        families: tuple[tuple[str, str, tuple[State, ...]], ...] = (
            ("mined", "Final transactions, all paid.", (State.USEFUL, State.DUPLICATE)),
            ("useful", "Final transactions that changed the contract.", (State.USEFUL,)),
            ("duplicate", "Final transactions that were paid and changed nothing.", (State.DUPLICATE,)),
            ("lost", "Nonces used by transactions that this journal does not know.", (State.LOST,)),
        )
        for name, meaning, states in families:
            counter = CounterMetricFamily(
                f"stretto_bridge_{name}", f"{meaning} Since the journal began.", labels=["chain"]
            )
            for id_, chain in sorted(self._ids.items()):
                counter.add_metric([chain], sum(each.count for each in totals if _counts(each, id_, states)))
            yield counter
        paid = CounterMetricFamily("stretto_bridge_paid_gwei", "Paid for final transactions.", labels=["chain"])
        for id_, chain in sorted(self._ids.items()):
            paid.add_metric([chain], sum(each.gwei for each in totals if each.chain == id_))
        yield paid


def _counts(total: Total, chain: int, states: tuple[State, ...]) -> bool:
    return total.chain == chain and total.state in states


class MetricsServer:
    """GET /metrics, in a thread of its own."""

    def __init__(self, host: str, port: int, collector: BridgeCollector) -> None:
        """Raises: OSError where the port is taken."""
        registry = CollectorRegistry()
        registry.register(collector)
        self._server: WSGIServer
        self._thread: threading.Thread
        self._server, self._thread = start_http_server(port, addr=host, registry=registry)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


def as_json(snapshot: Snapshot) -> dict[str, Any]:
    """One chain for programs."""
    report = snapshot.report
    return {
        "chain": report.chain,
        "doing": report.doing,
        "contract_size": report.state.size if report.state else None,
        "contract_root": report.state.root.hex() if report.state else None,
        "contract_epoch": report.state.epoch if report.state else None,
        "node_size": report.node_size,
        "node_epoch": report.node_epoch,
        "due": report.due,
        "open": report.open,
        "frozen": report.frozen,
        "finalized_lag_seconds": round(time.time() - report.final.time_s, 1) if report.final else None,
        "balance_wei": report.balance,
        "error": report.error,
        "error_kind": report.error_kind,
    }
