"""python -m tests.campaign.membership [--json]: four real nodes under load, whose members vote each other in and out.

Admits a fifth with a seat, replaces a consensus key, changes the parameters, takes the fifth's seat and then its
membership. After each: the longest time without a final statement. At the end: equal logs, every store proven.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cli.client import NodeClient, NodeError, NodeUnreachable
from consensus.types import Epoch, EpochParameters, PublicKey
from ledger.governance import Admit, Change, Remove, RotateKey, Scope, SetPolicy
from node.devnet import DevnetNode
from node.rpc.answers import NodeStatus
from node.rpc.types import SubmissionState
from node.store.check import Outcome, check_store
from tests.campaign.field import Expectation, Field, until
from tests.campaign.load import Load
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
    load_average: float


class Membership:
    """The field, its load, and the fifth node."""

    def __init__(self, field: Field, load: Load) -> None:
        self.field = field
        self.load = load
        self.node, self.record = newcomer(field.devnet, NEWCOMER)
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

    def change(self, what: str, change: Change, voters: list[DevnetNode], seen: Callable[[], str]) -> Step:
        """Has it voted for, waits until the founders are in the next epoch, then for what `seen` waits for and says."""
        begun = time.monotonic()
        results = cast(voters, change, self.field.genesis.digest)
        states = [result.state for result in results]
        if set(states) != {SubmissionState.FINAL}:
            raise Expectation(f"{what}: votes were answered {[str(r.refusal or r.state) for r in results]}")
        self.epoch += 1
        for node in self.founders():
            until(
                lambda n=node: self.has(n, part="validator", epoch=self.epoch), f"{what} at {node.member}", PATIENCE_S
            )
        seconds = time.monotonic() - begun
        time.sleep(WINDOW_S)
        gap = self.load.longest_gap_s(begun, time.monotonic())
        return Step(what=f"{what}; {seen()}", gap_s=gap, seconds=seconds, load_average=os.getloadavg()[0])

    def play(self) -> Iterator[Step]:
        four = self.founders()
        court = self.field["court"]
        yield self.change(
            "ADMIT of a fifth with a seat", Admit(epoch=Epoch(0), member=self.record), four[:3], self._newcomer_votes
        )
        key = PublicKey(next_key(court.config, "consensus"))
        rotate = RotateKey(epoch=Epoch(1), member_id="court", purpose="consensus", key=key)
        yield self.change("ROTATE_KEY of court's consensus key", rotate, four, lambda: "court votes with its next key")
        policy = SetPolicy(epoch=Epoch(2), parameters=EpochParameters(delta_ms=200))
        yield self.change("SET_POLICY, delta 200 ms", policy, four, lambda: "all run under it")
        seat = Remove(epoch=Epoch(3), member_id=NEWCOMER, scope=Scope.COMMITTEE)
        yield self.change("REMOVE of the fifth's seat", seat, four, self._observes)
        gone = Remove(epoch=Epoch(4), member_id=NEWCOMER, scope=Scope.CONSORTIUM)
        yield self.change("REMOVE of the fifth from the consortium", gone, four[:3], self._learns)

    def _newcomer_votes(self) -> str:
        begun = time.monotonic()
        self.node.start()
        until(lambda: self.has(self.node, part="validator", epoch=1), "the fifth to have its seat", PATIENCE_S)
        head = self.status(self.founders()[0])
        height = 0 if head is None else head.height
        until(lambda: self.has(self.node, part="validator", height=height), "the fifth to catch up", PATIENCE_S)
        return f"its node, started then, has its seat and the log after {time.monotonic() - begun:.1f} s"

    def _observes(self) -> str:
        head = self.status(self.founders()[0])
        height = 0 if head is None else head.height
        begun = time.monotonic()
        until(
            lambda: self.has(self.node, part="observer", epoch=4, height=height), "the observer to follow", PATIENCE_S
        )
        return f"its node follows as observer, at most {time.monotonic() - begun:.1f} s behind"

    def _learns(self) -> str:
        begun = time.monotonic()
        until(lambda: self.has(self.node, part="outside"), "the removed node to learn it", PATIENCE_S)
        return (
            f"its node knew at most {WINDOW_S + time.monotonic() - begun:.1f} s after the change, and serves its reader"
        )

    def audit(self) -> list[str]:
        """What does not hold at the end; the nodes are stopped for it."""
        faults: list[str] = []
        self.load.pause()
        heads = [status for node in self.founders() if (status := self.status(node)) is not None]
        size = max(status.size for status in heads)
        until(
            lambda: all((s := self.status(n)) is not None and s.size == size for n in self.founders()),
            "equal logs", PATIENCE_S,
        )  # fmt: skip
        roots = {status.root for node in self.founders() if (status := self.status(node)) is not None}
        if len(roots) != 1:
            faults.append(f"{len(roots)} different roots at {size} leaves")
        faults += [f"refused: {refusal}" for refusal in self.load.refused]
        faults += [f"died: {line}" for line in self.field.died()]
        self.field.stop(*self.field.members)
        self.node.stop()
        for node in (*self.founders(), self.node):
            failed = [
                f"{node.member}: {found.name}: {found.reason}"
                for found in check_store(node.config.chain_path, self.field.genesis)
                if found.outcome is not Outcome.PASSED
            ]
            faults += failed
            faults += [f"{node.member}: {line[:300]}" for line in self.field.log_since(node, 0).splitlines()
                       if '"critical"' in line]  # fmt: skip
        return faults


def main() -> int:
    """0: everything held; 1: something did not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--keep", action="store_true", help="leave the nodes' folders, with their logs")
    given = parser.parse_args()
    steps: list[Step] = []
    faults: list[str] = []
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="stretto-campaign-"))
        if given.keep:
            sys.stderr.write(f"{folder}\n")
        else:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        field = Field(folder / "net", 4, proxied=False)
        stack.callback(field.close)
        field.up()
        load = Load(field)
        stack.callback(load.close)
        load.go()
        load.until_more(30, 30)
        members = Membership(field, load)
        stack.callback(lambda: members.node.stop(kill=True))
        try:
            for step in members.play():
                steps.append(step)
                sys.stderr.write(f"gap {step.gap_s * 1000:.0f} ms, all there after {step.seconds:.1f} s, "
                                 f"load {step.load_average:.1f}: {step.what}\n")  # fmt: skip
            faults += members.audit()
        except Expectation as error:
            faults.append(str(error))
        faults += [
            f"{step.what}: no final statement for {step.gap_s:.2f} s" for step in steps if step.gap_s > GAP_S_MAX
        ]
    if given.json:
        changes = [
            {"what": s.what, "gap_ms": round(s.gap_s * 1000), "seconds": round(s.seconds, 1),
             "load_average": round(s.load_average, 2)} for s in steps
        ]  # fmt: skip
        sys.stdout.write(json.dumps({"changes": changes, "faults": faults}, indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"FAILS: {fault}\n" for fault in faults) or "everything held\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
