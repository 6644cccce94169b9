"""Sustained load on four nodes: a constant rate with its latencies, or as fast as it goes. Claims: bench.catalogues.

`python -m bench.load rate --per-second 500`, `... max`; each prints one JSON object. `--profile DIR`
has py-spy (`pip install py-spy`) sample every node and reader process meanwhile, one file a process, collapsed stacks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.devnet import cpu_seconds, load_average, running_devnet
from bench.finality import percentile, statements
from cli.client import NodeClient, Submission
from node.devnet import Devnet
from node.rpc.types import SubmissionState
from protos import stretto_pb2 as pb

TICK_S = 0.01
"""A constant rate is sent in messages this far apart: what came due since the last one."""
SETTLE_S = 1.0
"""Between start-up and load: first connections, first checkpoints."""


def processes(devnet: Devnet) -> dict[int, str]:
    """Of all nodes: pid -> "node-label", "reader-label", …"""
    found = {pid: f"node-{node.config.member}" for node in devnet.nodes if (pid := node.pid()) is not None}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (entry / "stat").exists():
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if found.get(parent, "").startswith("node-"):
                found[int(entry.name)] = found[parent].replace("node-", "reader-")
    return found


@contextmanager
def profiled(devnet: Devnet, folder: Path | None) -> Iterator[None]:
    """Samples every process 100 times a second while the block runs; nothing where no folder is given."""
    if folder is None:
        yield
        return
    tool = shutil.which("py-spy")
    if tool is None:
        raise SystemExit("--profile needs py-spy on the PATH: pip install py-spy")
    folder.mkdir(parents=True, exist_ok=True)
    running = [
        subprocess.Popen(
            [tool, "record", "--pid", str(pid), "--rate", "100", "--format", "raw", "--nonblocking", "--gil",
             "--output", str(folder / f"{name}.txt")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for pid, name in processes(devnet).items()
    ]  # fmt: skip
    try:
        yield
    finally:
        for process in running:
            process.send_signal(signal.SIGINT)
        for process in running:
            process.wait()


def used(devnet: Devnet, work: Callable[[], dict[str, Any]], count: str) -> dict[str, Any]:
    """What `work` found, and beside it the nodes' CPU time for each of what `count` names, and the load."""
    cpu, height, begun = cpu_seconds(devnet), _height(devnet), time.perf_counter()
    own = time.process_time()
    result = work()
    done = result[count]
    return {
        **result,
        "blocks_per_s": round((_height(devnet) - height) / (time.perf_counter() - begun), 1),
        "cpu_us_each_all_nodes": round((cpu_seconds(devnet) - cpu) / done * 1e6, 1),
        "cpu_us_each_client": round((time.process_time() - own) / done * 1e6, 1),
        "load_average": load_average(),
    }


def _height(devnet: Devnet) -> int:
    with NodeClient(devnet.node("label").config.rpc) as client:
        return client.status().height


def constant_rate(devnet: Devnet, batch: Sequence[bytes], per_second: int) -> dict[str, Any]:
    """Each statement's latency: from when it was due to be sent until its result was read here."""
    digests = {hashlib.sha256(raw).digest(): i for i, raw in enumerate(batch)}
    begun = 0.0

    def messages() -> Iterator[pb.SubmitStatementsRequest]:
        sent = 0
        while sent < len(batch):
            due = min(len(batch), int((time.perf_counter() - begun) * per_second) + 1)
            if due > sent:
                yield pb.SubmitStatementsRequest(statements=batch[sent : min(due, sent + 64)])
                sent = min(due, sent + 64)
            if sent >= due:
                time.sleep(TICK_S)

    times_ms: list[float] = []
    states: Counter[int] = Counter()
    with NodeClient(devnet.node("label").config.rpc) as client:
        client.status()
        begun = time.perf_counter()
        for response in client.stub.SubmitStatements(messages(), timeout=1200):
            now = time.perf_counter()
            for result in response.results:
                if result.state == pb.SUBMISSION_STATE_ACCEPTED:
                    continue
                states[result.state] += 1
                times_ms.append((now - begun - digests[result.statement_digest] / per_second) * 1000)
        seconds = time.perf_counter() - begun
    assert states == {pb.SUBMISSION_STATE_FINAL: len(batch)}, states
    return {
        "statements": len(batch),
        "per_second_asked": per_second,
        "per_second": round(len(batch) / seconds),
        "p50_ms": round(percentile(times_ms, 0.5), 1),
        "p90_ms": round(percentile(times_ms, 0.9), 1),
        "p99_ms": round(percentile(times_ms, 0.99), 1),
        "max_ms": round(max(times_ms), 1),
    }


def as_fast_as_it_goes(devnet: Devnet, batch: Sequence[bytes], seconds_max: float | None = None) -> dict[str, Any]:
    """By one batched stream, all of it or what goes out within `seconds_max`, until the last is final."""
    sent = 0

    def submissions() -> Iterator[Submission]:
        nonlocal sent
        while sent < len(batch) and (seconds_max is None or time.perf_counter() - begun < seconds_max):
            sent += 1
            yield Submission(statement=batch[sent - 1])

    with NodeClient(devnet.node("label").config.rpc, deadline_s=600) as client:
        client.status()
        begun = time.perf_counter()
        states = Counter(r.state for r in client.submit_many(submissions()))
        seconds = time.perf_counter() - begun
    assert states[SubmissionState.FINAL] == sent, states
    return {"statements": sent, "seconds": round(seconds, 2), "per_second": round(sent / seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("load", choices=("rate", "max"))
    parser.add_argument("--per-second", type=int, default=500)
    parser.add_argument("--statements", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, help="max: send no longer than this")
    parser.add_argument("--members", type=int, default=4, help="validators of the devnet")
    parser.add_argument("--profile", type=Path, metavar="DIR")
    given = parser.parse_args()
    with running_devnet(given.members) as (devnet, genesis):
        batch = statements(devnet, genesis, given.statements, given.load)
        time.sleep(SETTLE_S)
        before = load_average()
        with profiled(devnet, given.profile):
            if given.load == "rate":
                result = used(devnet, lambda: constant_rate(devnet, batch, given.per_second), "statements")
            else:
                result = used(devnet, lambda: as_fast_as_it_goes(devnet, batch, given.seconds), "statements")
    print(json.dumps({"load": given.load, "load_average_before": before, **result}))


if __name__ == "__main__":
    main()
