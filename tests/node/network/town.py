"""Real nodes on loopback TCP, several in one process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from nacl.signing import SigningKey

from node.network import Inbound, Network, NetworkSettings, StreamClass, peer_id_of
from node.ports import free_ports

PATIENCE_S = 10.0


def seed_of(number: int) -> bytes:
    return bytes([number]) * 32


def peer_of(number: int) -> str:
    return peer_id_of(bytes(SigningKey(seed_of(number)).verify_key))


# Lower numbers have lower peer ids: number 1 is dialled by all, the last one dials all.
NUMBERS = sorted(range(1, 9), key=peer_of)


def free_port() -> int:
    return next(free_ports(1))


async def until(condition: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    """Waits for a state of a real network; fails the test when it does not come."""
    with trio.fail_after(within_s):
        while not condition():
            await trio.sleep(0.01)


async def receive(network: Network, within_s: float = PATIENCE_S) -> Inbound:
    with trio.fail_after(within_s):
        return await network.inbound.receive()


@dataclass
class Node:
    """A node that can be killed and started again at the same address."""

    network: Network
    scope: trio.CancelScope
    done: trio.Event

    async def kill(self) -> None:
        self.scope.cancel()
        await self.done.wait()


@dataclass
class Town:
    """Members m0, m1, … in the order of their peer ids, and their addresses."""

    nursery: trio.Nursery
    settings: Mapping[str, Any]
    seeds: list[bytes]
    members: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)

    async def start(self, name: str, **overrides: Any) -> Network:
        index = int(name[1:])
        settings = NetworkSettings(
            **{
                "listen": self.addresses[name],
                "peers": {each: at for each, at in self.addresses.items() if each != name},
                "redial_s_min": 0.05,
                "redial_s_max": 0.5,
                **self.settings,
                **overrides,
            }
        )
        # As in a node: of all others. Live, because members come and go.
        others = lambda: {peer_id: each for peer_id, each in self.members.items() if each != name}  # noqa: E731
        network = Network(settings, self.seeds[index], others)
        scope, done = trio.CancelScope(), trio.Event()

        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            with scope:
                await network.run(task_status=task_status)
            done.set()

        await self.nursery.start(run)
        self.nodes[name] = Node(network, scope, done)
        return network

    def __getitem__(self, name: str) -> Network:
        return self.nodes[name].network

    def peer_id(self, name: str) -> str:
        return peer_of(NUMBERS[int(name[1:])])

    async def hears(self, listener: str, speaker: str) -> None:
        """Fails the test unless a frame of one reaches the other."""
        assert self[speaker].send(listener, StreamClass.CONSENSUS, b"are you there?")
        heard = Inbound(member_id=speaker, cls=StreamClass.CONSENSUS, frame=b"are you there?")
        with trio.fail_after(PATIENCE_S):
            while await self[listener].inbound.receive() != heard:
                pass


@asynccontextmanager
async def found(count: int, *, running: int | None = None, **settings: Any) -> AsyncIterator[Town]:
    """`async with found(3, running=2) as town`: three members, the first two started and connected to each other."""
    with trio.fail_after(50):
        async with trio.open_nursery() as nursery:
            town = Town(nursery, settings, [seed_of(number) for number in NUMBERS[:count]])
            for index in range(count):
                town.members[peer_of(NUMBERS[index])] = f"m{index}"
                town.addresses[f"m{index}"] = f"/ip4/127.0.0.1/tcp/{free_port()}"
            names = [f"m{index}" for index in range(count if running is None else running)]
            networks = [await town.start(name) for name in names]
            await until(lambda: all(len(each.connected()) == len(names) - 1 for each in networks))
            yield town
            nursery.cancel_scope.cancel()
