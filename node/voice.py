"""Puts messages on their way, in frames that fit, each with the epoch this node is in."""

from __future__ import annotations

from collections.abc import Callable

from consensus.messages import Message
from node.courier import CONSENSUS_BYTES_MAX
from node.epoch import EpochRun
from node.outside import Outbox
from node.wire import NodeMessage, Signing, encode_within


class Voice:
    """What this node says to others. Never blocks; what there is no room for is dropped."""

    def __init__(self, outbox: Outbox, epoch: Callable[[], EpochRun]) -> None:
        """epoch: the current one."""
        self._outbox = outbox
        self._epoch = epoch

    def send(self, member: str, message: NodeMessage) -> None:
        for frame in encode_within(message, CONSENSUS_BYTES_MAX, self._epoch().epoch):
            self._outbox.send_consensus(member, frame)

    def broadcast(self, message: Message | Signing) -> None:
        """To all other validators."""
        for frame in encode_within(message, CONSENSUS_BYTES_MAX, self._epoch().epoch):
            self._outbox.broadcast_consensus(frame)

    def to_all(self, message: Signing) -> None:
        """As `broadcast`, and to observers: they serve checkpoints too."""
        self.broadcast(message)
        for member in self._epoch().observers:
            self.send(member, message)
