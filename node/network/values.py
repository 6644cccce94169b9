"""The peer network's values, bounds and errors. Nothing here imports libp2p, so anybody may import it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from consensus.errors import LocalError, PeerError, RequestError

SYNC_HEAD_BYTES = 9
"""Kind and id before a request, a response or a message on the SYNC stream (node/network/requests.py)."""


class StreamClass(Enum):
    """What a frame is for. Each class has its own long-lived stream per peer, so none queues behind another."""

    CONSENSUS = "consensus"
    PAYLOAD = "payload"
    SYNC = "sync"
    GOSSIP = "gossip"
    """Best effort, from the GossipSub topic; never sent by `send` or `broadcast`."""


DIRECT_CLASSES = (StreamClass.CONSENSUS, StreamClass.PAYLOAD, StreamClass.SYNC)

FRAME_BYTES_MAX: Mapping[StreamClass, int] = {
    StreamClass.CONSENSUS: 256 * 1024,
    StreamClass.PAYLOAD: 512 * 1024,
    StreamClass.SYNC: 4 * 1024 * 1024,
    StreamClass.GOSSIP: 512 * 1024,
}
"""Hard cap of one frame on the wire, checked from its length before the body is read."""

SYNC_BODY_BYTES_MAX = FRAME_BYTES_MAX[StreamClass.SYNC] - SYNC_HEAD_BYTES
"""Largest request, response or message on SYNC."""

OUTBOX_BYTES_MAX: Mapping[StreamClass, int] = {
    StreamClass.CONSENSUS: 4 * 1024 * 1024,
    StreamClass.PAYLOAD: 8 * 1024 * 1024,
    StreamClass.SYNC: 16 * 1024 * 1024,
}
OUTBOX_FRAMES_MAX = 4096
"""Per peer and class; a full outbox refuses (`send` returns False)."""

INBOX_BYTES_MAX: Mapping[StreamClass, int] = {
    StreamClass.CONSENSUS: 2 * 1024 * 1024,
    StreamClass.PAYLOAD: 4 * 1024 * 1024,
    StreamClass.SYNC: 4 * 1024 * 1024,
    StreamClass.GOSSIP: 2 * 1024 * 1024,
}
INBOX_FRAMES_MAX = 1024
"""Per peer and class; a full inbox stops the reading of that one stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """One frame from a member."""

    member_id: str
    """The member whose node sent it; for GOSSIP the member that signed it, whoever forwarded it."""
    cls: StreamClass
    frame: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """How this node listens and whom it dials. Times in seconds."""

    listen: str | None
    """Multiaddr such as "/ip4/0.0.0.0/tcp/4101" (port 0: any free one); None only dials."""
    peers: Mapping[str, str] = field(default_factory=dict)
    """Member id -> multiaddr. A member without an address must dial us."""
    gossip_topic: str | None = None
    """GossipSub topic published to and accepted; None leaves gossip out."""
    redial_s_min: float = 0.5
    redial_s_max: float = 5.0
    dial_s_max: float = 10.0
    """Longest one dial may take: TCP, noise and yamux together."""
    fallback_dial_s: float = 15.0
    """The peer that should listen dials after all when nobody has for so long: the other side may be unable to."""
    keepalive_s: float = 5.0
    silence_s_max: float = 15.0
    """A peer that answers no ping for so long is cut: its machine is gone or stopped."""
    write_s_max: float = 10.0
    """A write that makes no progress into the kernel for so long cuts the peer."""
    consume_s_max: float = 10.0
    """A reader waits at most so long for room in the inbox, then resets its stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkCounters:
    """What the status page shows; counts since start."""

    connected: int
    """Members connected now."""
    frames_in: int
    frames_out: int
    bytes_in: int
    """Frame bodies, without lengths, headers or encryption."""
    bytes_out: int
    drops_out: int
    """Frames refused by a full outbox or lost with a broken stream."""
    drops_in: int
    """Gossip messages dropped because nobody took them in time."""
    refused_connections: int
    """Connections of peer ids that are not members, both directions."""
    refused_streams: int
    """Inbound streams over the cap of one peer."""
    overruns: int
    """Peers cut because they sent beyond their receive windows."""
    malformed: int
    """Streams reset because of a frame no correct peer sends."""
    handler_errors: int
    """Exceptions in stream handlers that would have ended the process without the guard."""
    streams_lost: int
    """Outbound streams that broke and were opened again."""
    dials_failed: int
    gossip_restarts: int


class NetworkError(LocalError):
    """The network cannot start or go on on this machine."""


class CannotListen(NetworkError):
    """listen: the address. reason: what the system said."""

    def __init__(self, listen: str, reason: str) -> None:
        super().__init__(f"cannot listen on {listen}: {reason}; choose a free address (config.toml: listen)")
        self.listen = listen
        self.reason = reason


class FrameTooLarge(RequestError):
    """cls: the stream class. size, limit: bytes."""

    def __init__(self, cls: StreamClass, size: int, limit: int) -> None:
        super().__init__(f"frame of {size} bytes on {cls.value}: expected 1 to {limit}")
        self.cls = cls
        self.size = size
        self.limit = limit


class Unanswered(PeerError):
    """A request that brought no answer. member_id: whom it went to. Ask another peer."""

    def __init__(self, member_id: str, what: str) -> None:
        super().__init__(f"request to {member_id}: {what}; ask another peer")
        self.member_id = member_id


class NotConnected(Unanswered):
    def __init__(self, member_id: str) -> None:
        super().__init__(member_id, "not connected, or the connection was lost")


class RequestTimedOut(Unanswered):
    def __init__(self, member_id: str, timeout_s: float) -> None:
        super().__init__(member_id, f"no answer within {timeout_s:g} s")
        self.timeout_s = timeout_s


class RequestRefused(Unanswered):
    """reason: what the peer said: busy, or that it could not answer."""

    def __init__(self, member_id: str, reason: str) -> None:
        super().__init__(member_id, f"refused: {reason}")
        self.reason = reason
