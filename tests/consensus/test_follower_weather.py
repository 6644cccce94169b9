"""Following in bad weather: whatever is lost, late, doubled or a lie, the chain comes in whole and within bounds."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.events import Commit, Executed, FetchPayloads, Send
from consensus.follower import RANGES_MAX
from consensus.messages import BLOCKS_MAX, Chain, ChainRequest
from consensus.types import Block
from consensus.window import WINDOW_BLOCKS_MAX
from tests.consensus.follower_bench import DELTA, NEW, FollowerBench, chain, chain_of
from tests.consensus.toys import child, committee_of, finalization

COMMITTEE = committee_of(4)
ROUNDS_MAX = 3000


class Field:
    """Three honest providers, which lose and delay, and one that is silent, lies, or gives one block at a time."""

    def __init__(self, rng: random.Random, blocks: tuple[Block, ...], vice: str) -> None:
        self.rng = rng
        self.blocks = blocks
        self.vice = vice
        self.villain = rng.randrange(4)
        self.bench = FollowerBench(commits_max=rng.choice((None, 1, 3)))  # type: ignore[arg-type]
        self.post: list[tuple[int, Chain]] = []
        self.committed: list[Block] = []

    def run(self) -> int:
        """Rounds until the epoch is over here."""
        for turn in range(ROUNDS_MAX):
            self._obey()
            self.rng.shuffle(self.post)
            for _ in range(min(len(self.post), self.rng.randint(0, 4))):
                sender, message = self.post.pop()
                self.bench.receive(sender, message)
                if self.rng.random() < 0.1:
                    self.bench.receive(sender, message)
            self._obey()
            if self.bench.follower.ended and not self.bench.outputs:
                return turn
            self.bench.tick(DELTA)
        raise AssertionError(f"not over after {ROUNDS_MAX} rounds: {self.bench.follower.status()}")

    def _obey(self) -> None:
        outputs, self.bench.outputs = self.bench.outputs, []
        for output in outputs:
            match output:
                case Send(to=to, message=ChainRequest(from_height=height)):
                    if self.rng.random() > 0.3 and height <= len(self.blocks):
                        self._answer(to, height)
                case FetchPayloads(digests=digests, holders=holders):
                    if holders[0] != self.villain and self.rng.random() > 0.3:
                        self.bench.hold(*digests)
                case Commit():
                    self.committed += [*output.blocks, *output.proof]
                    if output.awaits_execution:
                        self.bench.step(Executed(height=output.blocks[-1].height))
        assert len(self.bench.follower._window._blocks) <= WINDOW_BLOCKS_MAX + BLOCKS_MAX + 1
        assert len(self.bench.follower._asked) <= RANGES_MAX

    def _answer(self, to: int, height: int) -> None:
        length = self.rng.randint(1, BLOCKS_MAX)
        if to == self.villain:
            if self.vice == "silent":
                return
            length = 1
        answer = chain(self.blocks[height - 1 : height - 1 + length])
        if to == self.villain and self.vice == "liar" and self.rng.random() < 0.3:
            forged = child(COMMITTEE, answer.blocks[-1], timestamp_ms=answer.blocks[-1].timestamp_ms + 77)
            answer = Chain(blocks=(*answer.blocks, forged), finalization=finalization(COMMITTEE, answer.blocks[-1]))
        self.post.append((to, answer))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32), length=st.integers(1, 200), payloads=st.integers(0, 2),
    vice=st.sampled_from(("silent", "liar", "drip")), beyond=st.integers(0, 3),
)  # fmt: skip
def test_the_chain_comes_in_whole(seed: int, length: int, payloads: int, vice: str, beyond: int) -> None:
    blocks = list(chain_of(length, payloads=payloads))
    blocks.append(child(COMMITTEE, blocks[-1], next_committee=NEW))
    boundary = len(blocks)
    for _ in range(beyond):
        blocks.append(child(COMMITTEE, blocks[-1]))
    field = Field(random.Random(seed), tuple(blocks), vice)
    field.run()
    assert field.committed[:boundary] == blocks[:boundary]
    assert field.committed == blocks[: len(field.committed)]
    assert field.bench.follower._providers.dropped <= {field.villain}
