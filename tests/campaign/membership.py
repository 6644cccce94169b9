"""Four real nodes under load, whose members vote each other in and out.

Admits a fifth with a seat, whose node then syncs in a process of its own from a pinned checkpoint; replaces a consensus
key, changes the parameters, takes the fifth's seat and then its membership.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cli.client import NodeClient, NodeError, NodeUnreachable
from consensus.types import Epoch, EpochParameters, PublicKey
from ledger.governance import Admit, Change, Remove, RotateKey, Scope, SetPolicy
from ledger.merkle import root_at
from node.devnet import DevnetNode
from node.rpc.answers import NodeStatus
from node.rpc.types import SubmissionState
from node.store.check import Outcome, check_store
from node.store.reader import StoreReader
from tests.campaign.faults import Scene, Seen
from tests.campaign.patience import JUDGED_LOAD_PER_CORE, Expectation, load_per_core, until
from tests.e2e.members import cast, newcomer, next_key

GAP_S_MAX = 2.0
"""Finality may pause so long at a change (the aim set for it)."""
WINDOW_S = 4.0
"""After a change, so long the load is watched for its longest silence."""
PATIENCE_S = 40.0
NEWCOMER = "publisher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change. gap_s: longest time without a final statement from the first vote on. seconds: until all followed."""

    what: str
    gap_s: float
    seconds: float
    load_per_core: float


class Membership:
    """The scene, and the fifth node."""

    def __init__(self, scene: Scene) -> None:
        self.field = scene.field
        self.load = scene.load
        self.node, self.record = newcomer(self.field.devnet, NEWCOMER)
        scene.stack.callback(self.node.stop, kill=True)
        scene.witness.also(NEWCOMER, self.node.config.voting_path)
        self.epoch = 0

    def founders(self) -> list[DevnetNode]:
        return list(self.field.devnet.nodes)

    def status(self, node: DevnetNode) -> NodeStatus | None:
        try:
            with NodeClient(node.config.rpc, deadline_s=2.0) as client:
                return client.status()
        except (NodeError, NodeUnreachable):
            return None

    def has(self, node: DevnetNode, *, part: str, epoch: int = 0, height: int = 0) -> bool:
        status = self.status(node)
        return (
            status is not None and status.live.part == part and status.live.epoch >= epoch and status.height >= height
        )

    def head(self) -> int:
        """Height that the first founder has now."""
        found = until(lambda: self.status(self.founders()[0]), "the first founder to answer", PATIENCE_S)
        return 0 if found is None else found.height

    def change(self, what: str, change: Change, voters: list[DevnetNode], seen: Callable[[], str]) -> Step:
        """Has it voted for, waits until the founders are in the next epoch, then for what `seen` waits for and says."""
        begun = time.monotonic()
        results = cast(voters, change, self.field.genesis.digest)
        states = [result.state for result in results]
        if not set(states) <= {SubmissionState.FINAL, SubmissionState.DUPLICATE}:
            raise Expectation(f"{what}: votes were answered {[str(r.refusal or r.state) for r in results]}")
        self.epoch += 1
        for node in self.founders():
            until(
                lambda n=node: self.has(n, part="validator", epoch=self.epoch), f"{what} at {node.member}", PATIENCE_S
            )
        seconds = time.monotonic() - begun
        time.sleep(WINDOW_S)
        gap = self.load.longest_gap_s(begun, time.monotonic())
        loaded = load_per_core()
        return Step(what=f"{what}; {seen()}", gap_s=gap, seconds=seconds, load_per_core=loaded)

    def play(self) -> Iterator[Step]:
        four = self.founders()
        court = self.field["court"]
        yield self.change(
            "ADMIT of a fifth with a seat", Admit(epoch=Epoch(0), member=self.record), four[:3], self.newcomer_votes
        )
        key = PublicKey(next_key(court.config, "consensus"))
        rotate = RotateKey(epoch=Epoch(1), member_id="court", purpose="consensus", key=key)
        yield self.change("ROTATE_KEY of court's consensus key", rotate, four, lambda: "court votes with its next key")
        policy = SetPolicy(epoch=Epoch(2), parameters=EpochParameters(delta_ms=200))
        yield self.change("SET_POLICY, delta 200 ms", policy, four, lambda: "all run under it")
        seat = Remove(epoch=Epoch(3), member_id=NEWCOMER, scope=Scope.COMMITTEE)
        yield self.change("REMOVE of the fifth's seat", seat, four, self._observes)
        gone = Remove(epoch=Epoch(4), member_id=NEWCOMER, scope=Scope.CONSORTIUM)
        yield self.change("REMOVE of the fifth from the consortium", gone, four[:3], self.learns)

    def newcomer_votes(self) -> str:
        begun = time.monotonic()
        pin = self._pin()
        self.node.start(verb=("join", "--checkpoint", str(pin)))
        until(lambda: self.has(self.node, part="validator", epoch=1), "the fifth to have its seat", 2 * PATIENCE_S)
        height = self.head()
        until(lambda: self.has(self.node, part="validator", height=height), "the fifth to catch up", PATIENCE_S)
        until(self._votes_count, "the others to hear the fifth vote", PATIENCE_S)
        return f"its node joined with a pinned checkpoint, and votes after {time.monotonic() - begun:.1f} s"

    def _pin(self) -> Path:
        """A checkpoint of the grown log, as the first founder hands it out."""
        with NodeClient(self.founders()[0].config.rpc, deadline_s=20.0) as client:
            path = self.field.devnet.directory / "pinned.checkpoint"
            path.write_bytes(client.checkpoint().note)
        return path

    def _votes_count(self) -> bool:
        status = self.status(self.founders()[0])
        return status is not None and any(p.member == NEWCOMER and p.last_vote for p in status.live.peers)

    def _observes(self) -> str:
        height = self.head()
        begun = time.monotonic()
        until(
            lambda: self.has(self.node, part="observer", epoch=4, height=height), "the observer to follow", PATIENCE_S
        )
        return f"its node follows as observer, at most {time.monotonic() - begun:.1f} s behind"

    def learns(self) -> str:
        begun = time.monotonic()
        until(lambda: self.has(self.node, part="outside"), "the removed node to learn it", PATIENCE_S)
        return (
            f"its node knew at most {WINDOW_S + time.monotonic() - begun:.1f} s after the change, and serves its reader"
        )

    def check_fifth(self) -> list[str]:
        """What does not hold of the fifth's store: a prefix of the founders' log, proven from the genesis."""
        self.node.stop()
        path, genesis = self.node.config.chain_path, self.field.genesis
        faults = [f"{f.name}: {f.reason}" for f in check_store(path, genesis) if f.outcome is not Outcome.PASSED]
        own, first = StoreReader(path, genesis), StoreReader(self.founders()[0].config.chain_path, genesis)
        try:
            with own.view() as mine, first.view() as theirs:
                size = mine.counters().size
                if root_at(size, mine.tree_hash) != root_at(size, theirs.tree_hash):
                    faults.append(f"its log of {size} leaves is no prefix of {self.founders()[0].member}'s")
        finally:
            own.close()
            first.close()
        faults += [line[:300] for line in self.field.log_since(self.node, 0).splitlines() if '"critical"' in line]
        return [f"{NEWCOMER}: {fault}" for fault in faults]


def members_changed(scene: Scene) -> Seen:
    """All changes one after the other. Raises: Expectation."""
    members = Membership(scene)
    steps = list(members.play())
    faults = members.check_fifth()
    faults += [
        f"{step.what}: no final statement for {step.gap_s:.2f} s"
        for step in steps
        if step.gap_s > GAP_S_MAX and step.load_per_core <= JUDGED_LOAD_PER_CORE
    ]
    told = "; ".join(f"{s.what} (gap {s.gap_s * 1000:.0f} ms, all there after {s.seconds:.1f} s)" for s in steps)
    if faults:
        raise Expectation(f"{'; '.join(faults)}: {told}")
    return Seen(what=told, gap_s=max(step.gap_s for step in steps), gaps_s=tuple(step.gap_s for step in steps))
