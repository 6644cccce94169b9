"""The peer network (design D5): direct streams between members' nodes, and optional gossip, over libp2p.

Importing this package does not import libp2p; `Network.run` does.
"""

from node.network.network import Network
from node.network.peer_id import peer_id_of
from node.network.requests import Responder
from node.network.values import (
    FRAME_BYTES_MAX,
    SYNC_BODY_BYTES_MAX,
    CannotListen,
    FrameTooLarge,
    Inbound,
    NetworkCounters,
    NetworkSettings,
    NotConnected,
    RequestRefused,
    RequestTimedOut,
    StreamClass,
    Unanswered,
)

__all__ = [
    "FRAME_BYTES_MAX",
    "SYNC_BODY_BYTES_MAX",
    "CannotListen",
    "FrameTooLarge",
    "Inbound",
    "Network",
    "NetworkCounters",
    "NetworkSettings",
    "NotConnected",
    "RequestRefused",
    "RequestTimedOut",
    "Responder",
    "StreamClass",
    "Unanswered",
    "peer_id_of",
]
