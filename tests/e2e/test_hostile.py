"""One member of four turns on the others, with its real key and whatever load it can make: they go on recording.

Progress is counted, not timed: while each attack lasts, the others record statement after statement.
"""

from __future__ import annotations

import itertools
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import trio

from cli.client import NodeClient, NodeError, NodeUnreachable, Submission
from consensus.types import Signature, ValidatorIndex
from ledger.payload import build_payload
from node.keys import load_private_key, seed_bytes
from node.network import NetworkSettings
from node.network.frames import encode_frame
from node.network.host import EdgeConnection, Host
from node.network.peer_id import peer_id_of
from node.network.requests import SyncKind, encode_sync
from node.network.tally import Tally
from node.rpc.types import Refusal, SubmissionState
from node.wire import Fetch, encode_fetch
from tests.e2e.running import RunningDevnet, until
from tests.ledger.builders import make_claim

TRAITOR = "platform"
HONEST = ("label", "court", "society")
RECORDED = 12
"""Statements the others record during an attack, one after the other."""
_numbers = itertools.count(1_000_000)

Attack = Callable[["Traitor", EdgeConnection], Awaitable[None]]


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDevnet]:
    """Three nodes, which are just a quorum, and the fourth one's keys in the tests' hands."""
    running = RunningDevnet(tmp_path_factory.mktemp("hostile") / "d")
    try:
        for member in HONEST:
            running[member].start()
        for member in HONEST:
            running.start(member)
        running.record("court", running.sign(make_claim(next(_numbers))))
        yield running
    finally:
        running.close()


class Traitor:
    """Connects to every honest node with the member's key and without any of our bounds."""

    def __init__(self, devnet: RunningDevnet, attack: Attack) -> None:
        self.devnet = devnet
        self.done = 0
        """Rounds of the attack so far."""
        self._attack = attack
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: trio.run(self._run), daemon=True)

    async def _run(self) -> None:
        arrived: list[EdgeConnection] = []
        seed = seed_bytes(load_private_key(self.devnet[TRAITOR].config.key_path("peer")))
        host = Host(
            NetworkSettings(listen=None),
            seed,
            gate=lambda _: True,
            arrived=arrived.append,
            tally=Tally(),
            guarded=False,
        )
        async with host.run(), trio.open_nursery() as nursery:
            for member in HONEST:
                nursery.start_soon(self._keep_at, host, member, arrived)
            while not self._stop.is_set():
                await trio.sleep(0.05)
            nursery.cancel_scope.cancel()

    async def _keep_at(self, host: Host, member: str, arrived: list[EdgeConnection]) -> None:
        """The attack on one node, anew whenever that cuts the connection."""
        known = self.devnet.genesis.member(member)
        assert known is not None
        peer_id, address = peer_id_of(known.keys.peer), self.devnet[member].config.listen
        while True:
            with suppress(Exception):
                await host.dial(peer_id, address)
                connection = next(c for c in reversed(arrived) if c.peer_id == peer_id and not c.closed.is_set())
                await self._attack(self, connection)
            await trio.sleep(0.05)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self._thread.start()
        try:
            until(lambda: self.done, "the attack to begin")
            yield
        finally:
            self._stop.set()
            self._thread.join(20)


# ---- attacks ---------------------------------------------------------------------------------------------------------


async def junk(traitor: Traitor, connection: EdgeConnection) -> None:
    """Frames of every size on all classes, of no meaning."""
    streams = [await connection.open_stream(f"/stretto/1/{cls}") for cls in ("consensus", "payload", "sync")]
    for size in itertools.cycle((1, 40, 4_000, 200_000)):
        for stream in streams:
            await stream.write(encode_frame(b"\x0a" + bytes(size)))
        traitor.done += 1


async def giant_frames(traitor: Traitor, connection: EdgeConnection) -> None:
    """Lengths that nobody may announce, again and again."""
    for cls in itertools.cycle(("consensus", "payload", "sync")):
        stream = await connection.open_stream(f"/stretto/1/{cls}")
        with suppress(Exception):
            await stream.write(struct.pack(">I", 2**32 - 1) + bytes(60_000))
        traitor.done += 1


async def open_and_close(traitor: Traitor, connection: EdgeConnection) -> None:
    while True:
        stream = await connection.open_stream("/stretto/1/payload")
        await stream.reset()
        traitor.done += 1


async def ask_for_everything(traitor: Traitor, connection: EdgeConnection) -> None:
    """Requests without end; what is answered is not read by anybody."""
    stream = await connection.open_stream("/stretto/1/sync")
    wanted = encode_fetch(Fetch(payloads=True, digests=(traitor.devnet.genesis.digest,)))
    for number in itertools.count(1):
        await stream.write(
            b"".join(encode_frame(encode_sync(SyncKind.REQUEST, 64 * number + i, wanted)) for i in range(64))
        )
        traitor.done += 1


async def valid_payloads(traitor: Traitor, connection: EdgeConnection) -> None:
    """Each signed and well-formed, with a statement of its own: as much as one member can make."""
    devnet = traitor.devnet
    key = load_private_key(devnet[TRAITOR].config.key_path("consensus"))
    author = devnet.genesis.validator_index(TRAITOR)
    assert author is not None
    stream = await connection.open_stream("/stretto/1/payload")
    while True:
        unsigned = build_payload(
            (devnet.sign(make_claim(next(_numbers)), issuer=TRAITOR, ref=f"traitor-{next(_numbers)}"),),
            consortium=devnet.genesis.digest,
            epoch=devnet.genesis.committee().epoch,
            author=ValidatorIndex(author),
            sequence=next(_numbers),
            created_ms=time.time_ns() // 1_000_000,
        )
        await stream.write(encode_frame(unsigned.signed(Signature(key.sign(unsigned.signing_bytes))).encode()))
        traitor.done += 1


@pytest.mark.parametrize("attack", [junk, giant_frames, open_and_close, ask_for_everything, valid_payloads])
def test_others_go_on_recording(devnet: RunningDevnet, attack: Attack) -> None:
    traitor = Traitor(devnet, attack)
    with traitor.at_work():
        begun = traitor.done
        for i in range(RECORDED):
            result = devnet.record(HONEST[i % 3], devnet.sign(make_claim(next(_numbers))))
            assert result.state is SubmissionState.FINAL
        assert traitor.done > begun, "it was at it all the time"
    for member in HONEST:
        devnet[member].check_running()
    size = max(devnet.status(member).size for member in HONEST)
    until(lambda: all(devnet.status(m).size >= size for m in HONEST), "all to have the same")


def test_flood_at_one_door_is_pushed_back_and_the_others_record(devnet: RunningDevnet) -> None:
    """More submissions than a queue holds, by several streams: refused with a time to retry or taken, never lost."""
    done = threading.Event()
    refused: list[Refusal] = []
    taken = itertools.count()

    def flood() -> None:
        numbers = itertools.takewhile(lambda _: not done.is_set(), _numbers)
        statements = (Submission(statement=devnet.sign(make_claim(n), ref=f"flood-{n}")) for n in numbers)
        # A stream that is still full when the test is over ends with the node: no fault, and no traceback of a thread.
        troubles = suppress(NodeError, NodeUnreachable)
        with NodeClient(devnet["label"].config.rpc, deadline_s=60) as client, troubles:
            for result in client.submit_many(statements):
                if done.is_set():
                    return
                if result.refusal is not None:
                    refused.append(result.refusal)
                next(taken)

    threads = [threading.Thread(target=flood, name=f"flood {i}", daemon=True) for i in range(3)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: next(taken) > 50, "the flood to begin", 40)
        for _ in range(RECORDED):
            for member in ("court", "society"):
                result = devnet.record(member, devnet.sign(make_claim(next(_numbers))))
                assert result.state is SubmissionState.FINAL
    finally:
        done.set()
        for thread in threads:
            thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "they end before the node that they flood"
    assert all(refusal.code == "OVERLOADED" and refusal.retry_after_ms for refusal in refused), refused[:3]
    devnet["label"].check_running()
