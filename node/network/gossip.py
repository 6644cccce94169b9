"""GossipSub on one topic, best effort. (Being built: nothing is published yet.)"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import trio

from node.network.host import Host
from node.network.tally import Tally
from node.network.values import NetworkSettings


class Gossip:
    def __init__(
        self,
        host: Host,
        settings: NetworkSettings,
        members: Callable[[], Mapping[str, str]],
        take: Callable[[str, bytes], None],
        tally: Tally,
    ) -> None:
        self._parts = (host, settings, members, take, tally)

    async def run(self) -> None:
        await trio.sleep_forever()

    async def publish(self, frame: bytes) -> None:
        await trio.lowlevel.checkpoint()
