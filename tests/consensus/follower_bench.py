"""One follower on the bench: events go in by hand, and chains to serve it with."""

from __future__ import annotations

from typing import TypeVar

from consensus.events import (
    Commit,
    Event,
    Output,
    PayloadsHeld,
    Received,
    Rejected,
    Restored,
    Send,
    Tick,
)
from consensus.follower import Follower
from consensus.messages import BLOCKS_MAX, Chain, ChainRequest, Message
from consensus.types import BLOCK_PAYLOADS_MAX, Block, Digest, ValidatorIndex, genesis_block
from tests.consensus.toys import (
    SEED,
    child,
    committee_of,
    finalization,
    payload,
    verify,
)

M = TypeVar("M")
COMMITTEE = committee_of(4)
NEXT = committee_of(4, epoch=1)
DELTA = COMMITTEE.parameters.delta_ms
GENESIS = genesis_block(COMMITTEE)
NEW = payload(999_999)


def chain_of(length: int, *, payloads: int = 0, start: Block | None = None) -> tuple[Block, ...]:
    """`length` blocks on `start`, by default on the genesis block, each with so many payloads of its own."""
    blocks: list[Block] = []
    for number in range(length):
        parent = blocks[-1] if blocks else start
        orders = tuple(payload(number * BLOCK_PAYLOADS_MAX + i) for i in range(payloads))
        blocks.append(child(COMMITTEE, parent, payloads=orders))
    return tuple(blocks)


def chain(blocks: tuple[Block, ...]) -> Chain:
    return Chain(blocks=blocks, finalization=finalization(COMMITTEE, blocks[-1]))


class FollowerBench:
    """A follower, driven by hand. options: `me`, `commits_max`."""

    def __init__(self, *, start: bool = True, restored: Restored | None = None, **options: int) -> None:
        self.outputs: list[Output] = []
        self.now_ms = 1000
        self.verified = 0
        self.follower = Follower(
            committee=COMMITTEE,
            restored=restored if restored is not None else Restored(head=GENESIS, finalization=None),
            verify=self._verify,
            seed=SEED,
            **options,  # type: ignore[arg-type]
        )
        if start:
            self.tick(0)

    def _verify(self, key: bytes, message: bytes, signature: bytes) -> bool:
        self.verified += 1
        return verify(key, message, signature)  # type: ignore[arg-type]

    def step(self, event: Event) -> tuple[Output, ...]:
        outputs = self.follower.step(event)
        self.outputs += outputs
        return outputs

    def tick(self, after_ms: int) -> None:
        until_ms = self.now_ms + after_ms
        while (due_ms := self.follower.deadline_ms) is not None and self.now_ms < due_ms < until_ms:
            self.now_ms = due_ms
            self.step(Tick(monotonic_ms=due_ms, wall_ms=0))
        self.now_ms = until_ms
        self.step(Tick(monotonic_ms=until_ms, wall_ms=0))

    def receive(self, sender: int, message: Message) -> tuple[Output, ...]:
        return self.step(Received(sender=ValidatorIndex(sender), message=message))

    def hold(self, *digests: Digest) -> tuple[Output, ...]:
        return self.step(PayloadsHeld(digests=digests, order=False))

    def drain(self) -> None:
        self.outputs.clear()

    def of(self, kind: type[M]) -> list[M]:
        return [output for output in self.outputs if isinstance(output, kind)]

    @property
    def asked(self) -> list[tuple[int, int]]:
        """(validator, height) of every ChainRequest."""
        return [(o.to, o.message.from_height) for o in self.of(Send) if isinstance(o.message, ChainRequest)]

    @property
    def committed(self) -> list[Block]:
        return [block for commit in self.of(Commit) for block in commit.blocks]

    @property
    def rejections(self) -> list[str]:
        return [type(rejected.error).__name__ for rejected in self.of(Rejected)]

    def serve(self, blocks: tuple[Block, ...], *, liars: frozenset[int] = frozenset(), rounds: int = 10_000) -> None:
        """Answer every ChainRequest from `blocks` as validators do, until nothing more is asked that has an answer."""
        served = 0
        for _ in range(rounds):
            asked = self.asked[served:]
            if not asked:
                return
            served += len(asked)
            for validator, height in asked:
                if validator not in liars and height <= len(blocks):
                    self.receive(validator, chain(blocks[height - 1 : height - 1 + BLOCKS_MAX]))
