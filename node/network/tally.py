"""The network's running counts."""

from __future__ import annotations

from dataclasses import dataclass, fields

from node.network.values import NetworkCounters


@dataclass(slots=True)
class Tally:
    """Mutable twin of `NetworkCounters`; one trio thread writes it."""

    connected: int = 0
    frames_in: int = 0
    frames_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    drops_out: int = 0
    drops_in: int = 0
    refused_connections: int = 0
    refused_streams: int = 0
    overruns: int = 0
    malformed: int = 0
    handler_errors: int = 0
    streams_lost: int = 0
    dials_failed: int = 0
    gossip_restarts: int = 0

    def snapshot(self) -> NetworkCounters:
        return NetworkCounters(**{each.name: getattr(self, each.name) for each in fields(self)})
