"""The relayer process: a thread for each chain, so that a chain that hangs holds up no other.

Synchronous, because a round is a handful of questions one after the other with nothing to interleave; what runs at the
same time shares the journal alone, which is safe to share (docs/adr/0011).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from bridge.config import BridgeConfig, ChainConfig, ConfigError, KeystoreConfig
from bridge.endpoints import Endpoints
from bridge.journal import Journal
from bridge.jsonrpc import Endpoint, label_of
from bridge.metrics import BridgeCollector, MetricsServer, Snapshot
from bridge.node_client import GrpcNode, Node
from bridge.relay import ChainRelay
from bridge.signer import Pkcs11Signer, Signer, open_keystore
from consensus.errors import StrettoError

ERROR_POLLS_MAX: Final = 8
"""After errors rounds come at longer intervals, up to so many times poll_s."""
STOP_S: Final = 30.0
"""How long a round may still take when the process is told to end."""

log = logging.getLogger(__name__)


def open_signer(config: BridgeConfig) -> Signer:
    """The key that pays. Raises: SignerError."""
    if isinstance(config.signer, KeystoreConfig):
        return open_keystore(config.signer.keystore, config.signer.password_file)
    found = config.signer
    return Pkcs11Signer(found.module, token=found.token, key=found.key, pin_file=found.pin_file)


def open_endpoints(config: ChainConfig) -> Endpoints:
    """All endpoints of a chain; nothing is asked yet. Labels are host names, numbered where one occurs twice."""
    labels: list[str] = []
    for url in config.rpc:
        label = label_of(url)
        labels.append(f"{label}#{labels.count(label) + 1}" if label in labels else label)
    made = [
        Endpoint(url, label=label, timeout_s=config.timeout_s) for url, label in zip(config.rpc, labels, strict=True)
    ]
    return Endpoints(config.name, config.id, made, quorum=config.read_quorum, rate=config.requests_per_second)


def open_node(config: BridgeConfig) -> GrpcNode:
    return GrpcNode(config.node, ca=config.node_ca, cert=config.node_cert, key=config.node_key)


class Relayer:
    """Rounds on every chain until stopped, or until all is settled. Raises in the constructor: ConfigError."""

    def __init__(self, config: BridgeConfig, node: Node, signer: Signer, journal: Journal) -> None:
        for chain in config.chains.values():
            if chain.bridge is None:
                raise ConfigError(
                    config.path,
                    f"chains.{chain.name}.bridge",
                    None,
                    "the bridge's address: `stretto bridge deploy` first",
                )
        self.config, self.journal = config, journal
        self.relays = {name: self._relay(chain, node, signer) for name, chain in config.chains.items()}
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._snapshots: dict[str, Snapshot] = {}
        self._said: dict[str, str] = {}
        self._crash: Exception | None = None

    def _relay(self, chain: ChainConfig, node: Node, signer: Signer) -> ChainRelay:
        return ChainRelay(
            chain,
            open_endpoints(chain),
            node,
            signer,
            self.journal,
            evidence=self.config.evidence,
            relayer=self.config.relayer,
            relayers=self.config.relayers,
        )

    def snapshots(self) -> Mapping[str, Snapshot]:
        """Each chain after its last round. From any thread."""
        with self._lock:
            return dict(self._snapshots)

    def metrics(self) -> MetricsServer | None:
        """Serves them where the configuration says so. Raises: ConfigError."""
        if self.config.metrics is None:
            return None
        host, port = self.config.metrics
        ids = {chain.id: name for name, chain in self.config.chains.items()}
        try:
            return MetricsServer(host, port, BridgeCollector(self.journal, self.snapshots, ids))
        except OSError as error:
            raise ConfigError(
                self.config.path, "metrics", f"{host}:{port}", f"a free port ({error.strerror})"
            ) from error

    def run(
        self,
        *,
        once: bool = False,
        deadline_s: float | None = None,
        watch: Callable[[Mapping[str, Snapshot]], None] = lambda _: None,
    ) -> bool:
        """once: ends when nothing is due and all that was sent is final. watch: called a few times a second.

        Returns whether everything is settled. Raises: what is no error of a chain, a node or this machine, but our own.
        """
        threads = [
            threading.Thread(target=self._chain, args=(relay, once), name=name, daemon=True)
            for name, relay in self.relays.items()
        ]
        for thread in threads:
            thread.start()
        until = None if deadline_s is None else time.monotonic() + deadline_s
        try:
            while any(thread.is_alive() for thread in threads):
                watch(self.snapshots())
                if until is not None and time.monotonic() > until:
                    break
                time.sleep(0.2)
        finally:
            self.stop.set()
            end = time.monotonic() + STOP_S
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))
            watch(self.snapshots())
            for relay in self.relays.values():
                relay.endpoints.close()
        if self._crash is not None:
            raise self._crash
        found = self.snapshots()
        return len(found) == len(threads) and all(each.report.settled for each in found.values())

    def _chain(self, relay: ChainRelay, once: bool) -> None:
        try:
            self._loop(relay, once)
        except Exception as error:  # noqa: BLE001  a fault of our own, at the top of its thread: end all, and say so
            self._crash = error
            self.stop.set()

    def _loop(self, relay: ChainRelay, once: bool) -> None:
        failures = 0
        while not self.stop.is_set():
            try:
                relay.round()
                failures = 0
                self._said.pop(relay.config.name, None)
            except StrettoError as error:
                failures += 1
                self._failed(relay, error)
            self._publish(relay)
            if once and relay.report.settled:
                return
            self.stop.wait(relay.config.poll_s * min(max(1, failures), ERROR_POLLS_MAX))

    def _failed(self, relay: ChainRelay, error: StrettoError) -> None:
        text, kind = str(error), type(error).__name__
        relay.report = replace(relay.report, error=text, error_kind=kind, doing="stopped by an error")
        # Once for each kind in a row: what lasts for days must not fill the log.
        if self._said.get(relay.config.name) != kind:
            self._said[relay.config.name] = kind
            log.error("%s", text)

    def _publish(self, relay: ChainRelay) -> None:
        snapshot = Snapshot(
            report=relay.report,
            counts=dict(relay.sender.counts),
            errors=dict(relay.endpoints.errors),
            round_s=time.time(),
        )
        with self._lock:
            self._snapshots[relay.config.name] = snapshot
