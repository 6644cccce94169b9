"""For a node whose member was removed: its connection carries nothing but the proof that a new epoch has begun.

Without it the removed node would take the silence for a broken network, and wait for ever (design D4).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import trio

from consensus.errors import MalformedMessage
from node.network.frames import FrameReader, encode_frame
from node.network.transport import Connection, Stream, StreamBroken, StreamHandler

PROTOCOL = "/stretto/1/epoch"
FRAME_BYTES_MAX = 2**21
"""One proof: a roster, and a certificate of at most 128 signatures."""
FRAMES_MAX = 16
EVERY_S = 30.0
"""How often one former member is told; between, its connections are refused like a stranger's."""
STAY_S = 5.0
"""How long such a connection lasts at most."""

logger = logging.getLogger(__name__)

Proofs = Callable[[str], Sequence[bytes]]
"""peer id -> proofs for whoever had it and is no member any more, oldest first; none for everybody else."""
Told = Callable[[str, bytes], None]
"""(member id, proof): what a peer tells this node, which may have been removed; it never raises."""


class Farewells:
    """Both sides: tells former members, and hears what this node is told itself."""

    def __init__(self) -> None:
        self._proofs: Proofs = lambda _peer_id: ()
        self._told: Told = lambda _member_id, _frame: None
        self._last: dict[str, float] = {}
        """By peer id of a former member, of whom there are only so many: when it was told."""

    def use(self, proofs: Proofs, told: Told) -> None:
        self._proofs = proofs
        self._told = told

    def is_due(self, peer_id: str) -> bool:
        """Whether a peer that is no member is to be let in to be told so."""
        if not self._proofs(peer_id):
            return False
        last = self._last.get(peer_id)
        return last is None or trio.current_time() - last >= EVERY_S

    async def say(self, connection: Connection) -> None:
        """Tells it, and ends the connection."""
        self._last[connection.peer_id] = trio.current_time()
        frames = list(self._proofs(connection.peer_id))[-FRAMES_MAX:]
        with trio.move_on_after(STAY_S):
            try:
                stream = await connection.open_stream(PROTOCOL)
                for frame in frames:
                    await stream.write(encode_frame(frame))
                logger.info("told %s, which is no member any more, that an epoch has begun", connection.peer_id)
                await stream.read()  # it ends the stream when it has read all, or never
            except StreamBroken as error:
                logger.debug("told %s nothing: %s", connection.peer_id, error.reason)
        with trio.CancelScope(shield=True):
            await connection.abort()

    def reader(self, members: Callable[[], Mapping[str, str]]) -> StreamHandler:
        """Reads what another node tells this one. members: peer id -> member id, as this node knows them."""

        async def read(stream: Stream, peer_id: str) -> None:
            member_id = members().get(peer_id)
            if member_id is None:
                return
            frames = FrameReader("epoch", FRAME_BYTES_MAX)
            count = 0
            with trio.move_on_after(STAY_S):
                try:
                    while data := await stream.read():
                        for frame in frames.feed(data):
                            count += 1
                            if count > FRAMES_MAX:
                                return
                            self._told(member_id, frame)
                except MalformedMessage as error:
                    logger.warning("reset the epoch stream of %s: %s", member_id, error)
                except StreamBroken as error:
                    logger.debug("epoch stream of %s: %s", member_id, error.reason)

        return read
