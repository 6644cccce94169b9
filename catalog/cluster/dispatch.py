"""Files examined by the workers of a Ray cluster: each takes a small batch when it has room for one.

Every worker is an actor of one processor (and one GPU, where a node has them), with one batch under way and one behind
it. So a fast machine does more, a slow one less, and what is out at any time is bounded. A worker that dies is replaced
and its files are done again; a node that is lost, or sees other files than this machine, gets no more.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from catalog.cluster.queue import Item, WorkQueue
from catalog.cluster.start import WorkersLost
from catalog.cluster.worker import Answer, Hello, Probe, Worker, probe_of
from catalog.energy import Energy
from catalog.engine import Result, Work
from catalog.manifest import TrackRecord
from catalog.record import record_of
from catalog.scan import LeftOut
from catalog.tools import Tools

BATCHES_AHEAD: Final = 2
"""Of a worker: one under way, one that waits there, so that it never waits for us."""
NODES_S: Final = 5.0
"""Between looks at which nodes there are."""
TICK_S: Final = 1.0
START_S: Final = 180.0
"""Without any worker for this long, the scan gives up."""
BATCH_S: Final = 600.0
"""A batch may take this long, and a second more for each MB of it; then its worker counts as lost."""
FAILURES_MAX: Final = 5
"""Workers of a node that end in a row without a batch done; then the node gets no more."""
DOUBTS_MAX: Final = 3
"""Files that a node finds unusable and this machine finds sound; then the node gets no more."""
LANES_MAX: Final = 512
"""Workers on one node."""
_CAUSES: Final = {
    "Worker unexpectedly exits": "its process ended",
    "is unavailable": "the connection to it broke",
    "node has died": "its machine went away",
    "node was terminated": "its machine went away",
    "out of memory": "its machine ran out of memory",
}
"""Parts of what Ray says, and what they mean."""
_ENERGY_S: Final = 30.0


@dataclass(slots=True, kw_only=True)
class Node:
    """One machine of the cluster, and what it did."""

    id: str
    name: str
    cpus: int
    gpus: int
    files: int = 0
    on_gpu: int = 0
    """Files that a GPU hashed."""
    backends: set[str] = field(default_factory=set)
    """What hashes there, and why, as its workers say."""
    cpu_s: float = 0.0
    workers_lost: int = 0
    failures: int = 0
    """Of workers in a row, without a batch done."""
    doubts: int = 0
    excluded: str | None = None
    """Why it gets no work any more."""
    energies: tuple[Energy, ...] = ()


@dataclass(slots=True, eq=False, kw_only=True)
class _Lane:
    """One worker, as seen from here."""

    node: Node
    gpu: bool
    actor: Any
    hello: Any
    """Reference of its greeting, until it came."""
    measures: bool
    flight: deque[tuple[Any, tuple[Item, ...]]] = field(default_factory=deque)
    cpu_s: float = 0.0
    """As it last said."""
    since_s: float = 0.0
    """When the oldest batch came to be the oldest."""


class RayScan:
    """One pass over files on a connected cluster. Iterate `results` to its end, then read the report.

    Memory is bounded by the workers, not by the files: `work` is read as there is room.
    """

    def __init__(
        self,
        ray: Any,
        work: Iterable[Work],
        tools: Tools,
        *,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """ray: the connected module. tools: of this machine. say: told in a line what goes wrong."""
        self._ray = ray
        self._tools = tools
        self._queue = WorkQueue(work)
        self._say = say
        self._clock = clock
        self._lanes: list[_Lane] = []
        self._probe: Probe | None = None
        self._nodes_at_s = float("-inf")
        self._work_at_s = clock()
        """When there last was a worker, or the start."""
        self._actor = ray.remote(Worker)
        self._out: deque[Result] = deque()
        self.nodes: dict[str, Node] = {}
        """By Ray's name of them."""

    @property
    def files_redone(self) -> int:
        """Handed out again after a loss."""
        return self._queue.redone

    @property
    def energies(self) -> tuple[Energy, ...]:
        """What the nodes counted; complete once `results` is at its end."""
        return tuple(energy for node in self.nodes.values() for energy in node.energies)

    def results(self) -> Iterator[Result]:
        """What became of each file, as it comes back: in no order. Raises: WorkersLost where no worker is left."""
        try:
            self._look_for_probe()
            while self._out or self._queue.waiting or any(lane.flight for lane in self._lanes):
                while self._out:
                    yield self._out.popleft()
                if self._queue.waiting or self._lanes:
                    self._turn()
            self._ask_energy()
        finally:
            for lane in self._lanes:
                self._ray.kill(lane.actor)
            self._lanes.clear()

    def _look_for_probe(self) -> None:
        """Finds a file to prove the workers' sight by; what this machine cannot read itself is decided here."""
        while (item := self._queue.peek()) is not None:
            try:
                self._probe = probe_of(item, self._tools)
            except OSError:
                self._queue.skip()
                self._out.append((item.work, self._own(item)))
            else:
                return

    def _turn(self) -> None:
        """One round: the workers there should be, work for those with room, and what came back."""
        now_s = self._clock()
        if now_s - self._nodes_at_s >= NODES_S:
            self._nodes_at_s = now_s
            self._look_at_nodes()
        for lane in list(self._lanes):
            if lane.flight and now_s - lane.since_s > _allowed_s(lane.flight[0][1]):
                self._lose(lane, f"it gave no answer for {now_s - lane.since_s:.0f} s", suspect=True)
        if any(lane.hello is None for lane in self._lanes):
            self._work_at_s = now_s
        elif now_s - self._work_at_s > START_S or not self._lanes:
            self._give_up()
        self._feed(now_s)
        self._collect()

    def _give_up(self) -> None:
        excluded = [f"{node.name}: {node.excluded}" for node in self.nodes.values() if node.excluded]
        if excluded or not self._lanes:
            why = "; ".join(excluded) or "no node of the cluster has a processor to give"
        else:
            why = f"none of {len(self._lanes)} became free within {START_S:.0f} s"
        raise WorkersLost(f"no worker is left: {why}. What is done is kept: the same command goes on from there")

    # ---- workers -----------------------------------------------------------------------------------------------------

    def _look_at_nodes(self) -> None:
        for row in self._ray.nodes():
            node = self.nodes.get(row["NodeID"])
            if node is None and row["Alive"]:
                node = self.nodes[row["NodeID"]] = _node(row)
                for number in range(node.cpus):
                    self._hire(node, gpu=number < node.gpus)
            elif node is not None and not row["Alive"]:
                self._exclude(node, "it left the cluster")

    def _hire(self, node: Node, *, gpu: bool) -> None:
        assert self._probe is not None, "workers are hired when there is work, and by then there is a probe"
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node.id, soft=False)
        actor = self._actor.options(
            num_cpus=1, num_gpus=1 if gpu else 0, max_restarts=0, max_task_retries=0, scheduling_strategy=strategy
        ).remote(fingerprints=self._tools.fpcalc is not None)
        # A node's first worker measures for all of it, for as long as it lives.
        measures = not node.workers_lost and not any(lane.node is node for lane in self._lanes)
        hello = actor.hello.remote(self._probe, measure=measures, gpu=gpu)
        self._lanes.append(_Lane(node=node, gpu=gpu, actor=actor, hello=hello, measures=measures))

    def _dismiss(self, lane: _Lane, why: str, *, suspect: bool) -> None:
        """Ends a worker and hands its files out anew; those that ended too many workers are left out."""
        self._lanes.remove(lane)
        self._ray.kill(lane.actor)
        if lane.measures:
            reason = "the worker that measured it was lost"
            lane.node.energies = (Energy(source=f"RAPL of {lane.node.name}", joules=None, reason=reason),)
        for position, (_, batch) in reversed(list(enumerate(lane.flight))):
            if position > 0:
                self._queue.put_back(batch)
            else:
                self._out.extend(self._queue.lost(batch, why=why, suspect=suspect))

    def _lose(self, lane: _Lane, why: str, *, suspect: bool) -> None:
        """A worker ended: another in its place, where the node bears it."""
        node = lane.node
        self._look_at_nodes()  # it may have ended because its machine did
        if lane not in self._lanes:
            return
        self._dismiss(lane, why, suspect=suspect)
        node.workers_lost += 1
        node.failures += 1
        self._say(f"a worker on {node.name} was lost ({why}): its files are done again")
        if node.failures >= FAILURES_MAX:
            self._exclude(node, f"{node.failures} workers in a row ended ({why})")
        else:
            self._hire(node, gpu=lane.gpu)

    def _exclude(self, node: Node, why: str) -> None:
        """The node gets no more work, and what it has under way is done elsewhere."""
        if node.excluded is None:
            node.excluded = why
            self._say(f"{node.name} gets no more work: {why}")
        for lane in [lane for lane in self._lanes if lane.node is node]:
            node.workers_lost += 1
            self._dismiss(lane, why, suspect=False)

    # ---- work --------------------------------------------------------------------------------------------------------

    def _feed(self, now_s: float) -> None:
        """One batch to each worker with room, in turn, so that a short queue is spread over all."""
        for room in range(BATCHES_AHEAD):
            for lane in self._lanes:
                if lane.hello is None and len(lane.flight) == room and self._queue.waiting:
                    batch = self._queue.take()
                    if not lane.flight:
                        lane.since_s = now_s
                    lane.flight.append((lane.actor.examine.remote(batch), batch))

    def _collect(self) -> None:
        """Waits for something to come back, a TICK_S at most, and takes it in."""
        expected = {}
        for lane in self._lanes:
            reference = lane.hello if lane.hello is not None else lane.flight[0][0] if lane.flight else None
            if reference is not None:
                expected[reference] = lane
        if not expected:
            return
        self._ray.wait(list(expected), num_returns=1, timeout=TICK_S)
        # All that are ready, not the first in the list again and again, while the others' workers have nothing to do.
        ready, _ = self._ray.wait(list(expected), num_returns=len(expected), timeout=0)
        for reference in ready:
            lane = expected[reference]
            if lane not in self._lanes:
                continue
            try:
                answer = self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:
                # A fault of our own, as it would have been one here: not the page that Ray makes of it.
                raise error.cause from None
            except self._ray.exceptions.RayError as error:
                self._lose(lane, _cause(error), suspect=lane.hello is None)
            else:
                self._take_in(lane, answer)

    def _take_in(self, lane: _Lane, answer: Hello | Answer) -> None:
        node = lane.node
        if isinstance(answer, Hello):
            lane.hello = None
            node.backends.add(answer.backend)
            if answer.blind is not None:
                self._exclude(node, answer.blind)
            return
        _, batch = lane.flight.popleft()
        lane.since_s = self._clock()
        self._queue.done(batch)
        node.failures = 0
        node.files += len(batch)
        node.on_gpu += answer.on_gpu
        node.cpu_s += answer.cpu_s - lane.cpu_s
        lane.cpu_s = answer.cpu_s
        for item, result in zip(batch, answer.results, strict=True):
            self._out.append((item.work, self._judge(node, item) if result is None else result))

    def _judge(self, node: Node, item: Item) -> TrackRecord | LeftOut:
        """A file that a worker cannot vouch for: what this machine finds counts."""
        found = self._own(item)
        if isinstance(found, TrackRecord) and Item.of(item.work) == item:
            node.doubts += 1
            if node.doubts >= DOUBTS_MAX:
                self._exclude(node, f"it sees other files than this machine ({item.path} was the last)")
        return found

    def _own(self, item: Item) -> TrackRecord | LeftOut:
        return record_of(item.path, item.work.root, tools=self._tools)

    def _ask_energy(self) -> None:
        asked = {lane.actor.energy.remote(): lane.node for lane in self._lanes if lane.measures and lane.hello is None}
        ready, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=_ENERGY_S) if asked else ([], [])
        for reference, node in asked.items():
            name = f"RAPL of {node.name}"
            node.energies = (Energy(source=name, joules=None, reason="the worker that measured it did not answer"),)
            if reference in ready:
                try:
                    counted: tuple[Energy, ...] = self._ray.get(reference)
                except self._ray.exceptions.RayError:
                    continue
                node.energies = tuple(replace(one, source=f"{one.source} of {node.name}") for one in counted)


def _node(row: dict[str, Any]) -> Node:
    resources = row.get("Resources", {})
    cpus = min(int(resources.get("CPU", 0)), LANES_MAX)
    gpus = min(int(resources.get("GPU", 0)), cpus)
    return Node(id=row["NodeID"], name=str(row["NodeManagerHostname"]), cpus=cpus, gpus=gpus)


def _allowed_s(batch: tuple[Item, ...]) -> float:
    return BATCH_S + sum(item.size_bytes for item in batch) / 1e6


def _cause(error: Exception) -> str:
    """Why an actor is gone, in a few words; Ray says it in a page."""
    text = str(error)
    for mark, words in _CAUSES.items():
        if mark in text:
            return words
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)[:200]
