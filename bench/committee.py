"""What a block costs by committee size: whole engines in one thread, real signatures, frames as they go on the wire.

`python -m bench.committee` prints a table, writes bench/out/committee.json and, with `--plot`, docs/committee.svg. Time
is simulated (a frame takes a millisecond), CPU time is real. Not in it: payloads, ledger, disk, cosignatures, libp2p.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console
from rich.table import Table

from bench.devnet import load_average
from bench.plot import line_chart
from consensus.engine import Engine
from consensus.events import Broadcast, Commit, Event, PayloadsHeld, Received, Restored, Send, Sign, Signed, Tick
from consensus.messages import Message
from consensus.types import (
    Committee,
    Digest,
    Epoch,
    PublicKey,
    Signature,
    SignedVote,
    ValidatorIndex,
    Vote,
    genesis_block,
)
from ledger.ed25519 import verify_strict
from node.keys import public_bytes
from node.wire import decode, encode

SIZES = (4, 7, 16, 31, 50)
BLOCKS = {4: 200, 7: 120, 16: 40, 31: 16, 50: 8}
"""Enough for a steady figure, few enough for a minute in all."""
HOP_MS = 1
WALL_MS = 1_800_000_000_000
OUT = Path("bench/out/committee.json")
PLOT = Path("docs/committee.svg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one block. messages, kilobytes: between all validators together. cpu_ms: of one validator."""

    validators: int
    quorum: int
    blocks: int
    messages: float
    kilobytes: float
    kilobytes_sent_each: float
    cpu_ms_each: float
    simulated_ms: float
    """Between two blocks, with a hop of HOP_MS and the block interval of the parameters."""


class Town:
    """Engines joined by queues; a frame is encoded once, decoded by every receiver, and takes HOP_MS."""

    def __init__(self, size: int) -> None:
        keys = [
            Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"bench" + bytes([i])).digest()) for i in range(size)
        ]
        self.committee = Committee(
            consortium=Digest(hashlib.sha256(b"bench/committee").digest()),
            epoch=Epoch(0),
            validators=tuple(PublicKey(public_bytes(key)) for key in keys),
        )
        self._keys = keys
        head = genesis_block(self.committee)
        self.engines = [
            Engine(
                committee=self.committee, me=ValidatorIndex(i), verify=verify_strict,
                restored=Restored(head=head, finalization=None), seed=bytes(32),
            )
            for i in range(size)
        ]  # fmt: skip
        self.now_ms = 1000
        self._mail: list[tuple[int, int, int, int, bytes]] = []
        """(arrival, running number, receiver, sender, frame)."""
        self._sent = 0
        self.messages: Counter[str] = Counter()
        self.frame_bytes = 0
        self.committed = [0] * size
        self._payloads = 0
        for me in range(size):
            self._step(me)

    @property
    def size(self) -> int:
        return self.committee.size

    def hold(self) -> None:
        """A new payload is everywhere: there is something to order."""
        self._payloads += 1
        digest = Digest(hashlib.sha256(self._payloads.to_bytes(8, "big")).digest())
        for me in range(self.size):
            self._step(me, PayloadsHeld(digests=(digest,), order=True))

    def run(self, blocks: int) -> None:
        """Until every validator has committed `blocks` more; one payload is always waiting."""
        goal = min(self.committed) + blocks
        held = -1
        while min(self.committed) < goal:
            if max(self.committed) > held:
                held = max(self.committed)
                self.hold()
            dues = [engine.deadline_ms for engine in self.engines if engine.deadline_ms is not None]
            arrival = self._mail[0][0] if self._mail else None
            self.now_ms = max(self.now_ms, min(at for at in (*dues, arrival) if at is not None))
            arrived: dict[int, list[Event]] = {}
            while self._mail and self._mail[0][0] <= self.now_ms:
                _, _, receiver, sender, frame = heapq.heappop(self._mail)
                message = decode(frame)
                arrived.setdefault(receiver, []).append(
                    Received(sender=ValidatorIndex(sender), message=message)  # type: ignore[arg-type]  # votes only
                )
            for me, engine in enumerate(self.engines):
                if me in arrived or (engine.deadline_ms is not None and engine.deadline_ms <= self.now_ms):
                    self._step(me, *arrived.get(me, ()))

    def _step(self, me: int, *events: Event) -> None:
        engine = self.engines[me]
        tick = Tick(monotonic_ms=self.now_ms, wall_ms=WALL_MS + self.now_ms)
        queue: Sequence[Event] = (tick, *events)
        while queue:
            signed: list[Event] = []
            for event in queue:
                for output in engine.step(event):
                    match output:
                        case Sign():
                            signed.append(Signed(vote=self._sign(me, output.vote)))
                        case Broadcast():
                            self._post(me, [i for i in range(self.size) if i != me], output.message)
                        case Send():
                            self._post(me, [output.to], output.message)
                        case Commit():
                            self.committed[me] += len(output.blocks)
                        case _:
                            pass
            queue = signed

    def _sign(self, me: int, vote: Vote) -> SignedVote:
        signature = Signature(self._keys[me].sign(vote.signing_bytes(self.committee.consortium)))
        return SignedVote(vote=vote, voter=ValidatorIndex(me), signature=signature)

    def _post(self, sender: int, receivers: Sequence[int], message: Message) -> None:
        frame = encode(message)
        for receiver in receivers:
            self._sent += 1
            heapq.heappush(self._mail, (self.now_ms + HOP_MS, self._sent, receiver, sender, frame))
        self.messages[type(message).__name__] += len(receivers)
        self.frame_bytes += len(frame) * len(receivers)


def measure(size: int, blocks: int) -> Cost:
    town = Town(size)
    town.run(max(2, blocks // 10))  # warm: the first blocks greet, and fill what is kept between blocks
    messages, frame_bytes, begun_ms = sum(town.messages.values()), town.frame_bytes, town.now_ms
    cpu = time.process_time()
    town.run(blocks)
    cpu = time.process_time() - cpu
    frame_bytes = town.frame_bytes - frame_bytes
    return Cost(
        validators=size, quorum=town.committee.quorum, blocks=blocks,
        messages=round((sum(town.messages.values()) - messages) / blocks, 1),
        kilobytes=round(frame_bytes / blocks / 1000, 1),
        kilobytes_sent_each=round(frame_bytes / blocks / size / 1000, 2),
        cpu_ms_each=round(cpu / blocks / size * 1000, 2),
        simulated_ms=round((town.now_ms - begun_ms) / blocks, 1),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--plot", action="store_true", help=f"write {PLOT} as well")
    given = parser.parse_args()
    before = load_average()
    costs = [measure(size, BLOCKS.get(size, max(4, 800 // size))) for size in given.sizes]
    table = Table(title="One block: engine, signatures and encoding; every validator in one thread")
    for name in ("validators", "quorum", "messages", "kB, all", "kB sent by each", "CPU ms each", "simulated ms"):
        table.add_column(name, justify="right")
    for cost in costs:
        row = (
            cost.validators, cost.quorum, f"{cost.messages:,.0f}", f"{cost.kilobytes:,.0f}", cost.kilobytes_sent_each,
            cost.cpu_ms_each, cost.simulated_ms,
        )  # fmt: skip
        table.add_row(*map(str, row))
    Console().print(table)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    found = {"load_average": [before, load_average()], "hop_ms": HOP_MS, "costs": [asdict(cost) for cost in costs]}
    OUT.write_text(json.dumps(found, indent=1) + "\n")
    if given.plot:
        line_chart(
            PLOT,
            {
                "CPU ms, each": [(cost.validators, cost.cpu_ms_each) for cost in costs],
                "kB sent, each": [(cost.validators, cost.kilobytes_sent_each) for cost in costs],
            },
            title="One block, by committee size", across="validators", up="of one validator",
        )  # fmt: skip


if __name__ == "__main__":
    main()
