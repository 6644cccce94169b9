"""A node with an empty folder joins three that have a long log: seconds, claims a second, CPU, memory.

`python -m bench.sync --catalogues 61` is a million claims; `--statements 100000` single ones, `--per-block 50` to a
block; `--pin` has the new node told a cosigned checkpoint. The nodes are real processes on loopback.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from bench.chains import ChainWriter
from bench.devnet import load_average
from cli.client import NodeClient, NodeError, NodeUnreachable
from ledger.catalogue import CLAIMS_MAX
from node.devnet import Devnet, DevnetNode, init_devnet, load_devnet
from node.store.chain import ChainStore

OUT = Path("bench/out/sync.json")
NEW = "platform"
"""The member that joins."""
WAIT_S = 900.0


def make_source(directory: Path, *, catalogues: int, claims: int, statements: int, per_block: int) -> Devnet:
    """A devnet three of whose nodes hold the same long chain; the fourth has an empty folder."""
    genesis = init_devnet(directory)
    devnet = load_devnet(directory)
    first, *others = [node for node in devnet.nodes if node.member != NEW]
    console = Console(stderr=True)
    with ChainStore.open(first.config.chain_path, genesis) as store:
        writer = ChainWriter(devnet, genesis, store)
        for _ in track(writer.catalogues(catalogues, claims), "catalogues", catalogues, console=console):
            pass
        blocks = -(-statements // per_block)
        for _ in track(writer.statements(statements, per_block), "statements", blocks, console=console):
            pass
        (directory / "checkpoint").write_bytes(writer.checkpoint())
    for node in others:
        shutil.copyfile(first.config.chain_path / "data.mdb", node.config.chain_path / "data.mdb")
    empty(devnet.node(NEW))
    return devnet


def empty(node: DevnetNode) -> None:
    """Removes everything a node would learn again."""
    shutil.rmtree(node.config.directory / "data")


def answer(node: DevnetNode) -> Any:
    try:
        with NodeClient(node.config.rpc, deadline_s=2.0) as client:
            return client.status()
    except (NodeError, NodeUnreachable):
        return None


def anonymous_mib(pid: int) -> float:
    """Resident memory of one process without the pages of its store's file, MiB."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("RssAnon:"))
    return int(line.split()[1]) / 1024


def usage(pid: int) -> tuple[float, float]:
    """(CPU seconds, peak resident MiB) of one process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    peak = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM:"))
    return (int(fields[11]) + int(fields[12])) / 100, int(peak.split()[1]) / 1024


def join(devnet: Devnet, *, pin: Path | None) -> dict[str, Any]:
    """Starts the new node and waits until it has what the others have."""
    providers = [node for node in devnet.nodes if node.member != NEW]
    new = devnet.node(NEW)
    config = new.config.directory / "config.toml"
    text = config.read_text().partition("\n[sync]")[0]
    config.write_text(text if pin is None else text + f'\n[sync]\ncheckpoint = "{pin.resolve()}"\n')
    for node in providers:
        node.start()
    while any((found := answer(node)) is None or not found.live.consensus_running for node in providers):
        time.sleep(0.2)
    goal = answer(providers[0])
    before = {node.member: usage(node.pid() or 0)[0] for node in providers}
    load = load_average()
    begun = time.perf_counter()
    new.start()
    pid = new.pid()
    assert pid is not None, "it was started a moment ago"
    most_mib = 0.0
    while True:
        new.check_running()
        most_mib = max(most_mib, anonymous_mib(pid))
        if time.perf_counter() - begun > WAIT_S:
            raise SystemExit(f"not joined after {WAIT_S:.0f} s: {new.log_tail()}")
        found = answer(new)
        if found is not None and found.height >= goal.height:
            break
        time.sleep(0.1)
    seconds = time.perf_counter() - begun
    assert (found.size, found.root) == (goal.size, goal.root), "the same log, or not joined"
    cpu_s, peak_mib = usage(pid)
    return {
        "claims": found.claims, "statements": found.size, "blocks": found.height, "pinned": pin is not None,
        "seconds": round(seconds, 1),
        "claims_per_s": round(found.claims / seconds),
        "blocks_per_s": round(found.height / seconds),
        "cpu_s_new_node": round(cpu_s, 1),
        "cpu_s_providers": round(sum(usage(n.pid() or 0)[0] - before[n.member] for n in providers), 1),
        "peak_mib_new_node": round(peak_mib),
        "peak_mib_without_store": round(most_mib),
        "store_mb": round((new.config.chain_path / "data.mdb").stat().st_blocks * 512 / 1e6),
        "load_average_before": load, "load_average": load_average(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalogues", type=int, default=0)
    parser.add_argument("--claims", type=int, default=CLAIMS_MAX, help="in each catalogue")
    parser.add_argument("--statements", type=int, default=0, help="single ones, after the catalogues")
    parser.add_argument("--per-block", type=int, default=50)
    parser.add_argument("--pin", action="store_true")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="make the chain there, or take what is there; leave it with its logs"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stretto-") as folder:
        directory = given.keep or Path(folder) / "devnet"
        if directory.exists():
            devnet = load_devnet(directory)
            empty(devnet.node(NEW))
        else:
            devnet = make_source(
                directory, catalogues=given.catalogues, claims=given.claims, statements=given.statements,
                per_block=given.per_block,
            )  # fmt: skip
        try:
            result = join(devnet, pin=directory / "checkpoint" if given.pin else None)
        finally:
            devnet.stop()
    print(json.dumps(result))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    runs = json.loads(OUT.read_text())["runs"] if OUT.exists() else []
    OUT.write_text(json.dumps({"runs": [*runs, result]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
