"""The speed of the whole, beside that of its peers: `python -m bench.consensus` (ten minutes), `--quick` (one).

Statements by stream for a minute, 500 a second for a minute, catalogues until two million claims are stored, leaders
killed twenty times. Writes bench/out/consensus.json; --quick measures less and writes bench/out/consensus-quick.json,
with null for what it leaves out. `--only NAME`, which may be repeated, renews some figures of the file and leaves the
others.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.devnet import load_average

OUT = Path("bench/out/consensus.json")
QUICK_OUT = Path("bench/out/consensus-quick.json")
RATE = 500
STREAM_RATE_MAX = 3_200
"""Statements signed beforehand for each second of the stream: more than it will take."""
FIGURES = (
    "signed_statements_per_s", "p50_ms_at_500", "p99_ms_at_500", "claims_per_s", "cpu_ms_per_statement",
    "leader_kill_gap_ms", "rate_at_2m_over_20k", "bytes_per_claim", "load_average", "seconds",
)  # fmt: skip
"""What the file holds, exactly."""
LEADER_KILLS = "4-leader-killed-20-times"

PEERS = (
    ("Fabric 3.1.5, SmartBFT orderers", "1,943 to 2,156", "40", "commits stop for 59 s", "client signatures, disk"),
    ("CometBFT 0.38.17, tuned", "7,000", "70", "up to 4.2 s", "no client signature, disk"),
    ("libhotstuff, fixed leader", "32,000", "", "", "no signature, no disk"),
)
"""name, operations a second, p50 ms at 500 a second, without a commit after the leader is killed, what is checked."""
PEERS_WHERE = (
    "Peers: 4 nodes and client on the 2 cores of another virtual machine of the same kind as Stretto was developed on, "
    "loopback, 250-byte operations, November 2026; Fabric without peers and state database. Stretto: this machine, "
    "4 nodes, readers and client, every signature checked by every node, fsync on."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured. claims: None leaves catalogues out; kills: whether leaders are killed."""

    seconds: int
    claims: int | None
    kills: bool


FULL = Plan(seconds=60, claims=2_100_000, kills=True)
QUICK = Plan(seconds=10, claims=None, kills=False)


def run_json(*module: str) -> Any:
    """What a bench or campaign prints as its last JSON. In a process of its own: none warms another's caches."""
    run = subprocess.run([sys.executable, "-m", *module], stdout=subprocess.PIPE, text=True, check=False)
    text = run.stdout.strip()
    if "{" not in text:
        raise SystemExit(f"{' '.join(module)} ended with code {run.returncode}:\n{text[-2000:]}")
    if run.returncode != 0:  # a campaign says so where a fault did not hold; what it measured counts all the same
        print(f"{' '.join(module)} ended with code {run.returncode}", file=sys.stderr)
    return json.loads(text[text.index("{") :])


def stream(plan: Plan) -> dict[str, Any]:
    found = run_json(
        "bench.load", "max", "--seconds", str(plan.seconds), "--statements", str(plan.seconds * STREAM_RATE_MAX)
    )
    cpu_us = found["cpu_us_each_all_nodes"] + found["cpu_us_each_client"]
    return {"signed_statements_per_s": found["per_second"], "cpu_ms_per_statement": round(cpu_us / 1000, 3)}


def constant(plan: Plan) -> dict[str, Any]:
    found = run_json("bench.load", "rate", "--per-second", str(RATE), "--statements", str(plan.seconds * RATE))
    return {"p50_ms_at_500": found["p50_ms"], "p99_ms_at_500": found["p99_ms"]}


def catalogues(plan: Plan) -> dict[str, Any]:
    if plan.claims is None:
        return {}
    found = run_json("bench.catalogues", "--claims", str(plan.claims))
    return {
        "claims_per_s": found["claims_per_s"],
        "rate_at_2m_over_20k": found["rate_at_end_over_start"],
        "bytes_per_claim": found["bytes_per_claim"],
    }


def kills(plan: Plan) -> dict[str, Any]:
    if not plan.kills:
        return {}
    (fault,) = run_json("tests.campaign.run", "--only", LEADER_KILLS, "--json")["faults"]
    return {"leader_kill_gap_ms": fault["gaps_ms"]}


MEASUREMENTS: Mapping[str, Callable[[Plan], dict[str, Any]]] = {
    "constant": constant,
    "stream": stream,
    "catalogues": catalogues,
    "kills": kills,
}


def table_of(found: Mapping[str, Any]) -> Table:
    def words(name: str, form: str = ",.0f") -> str:
        value = found.get(name)
        return "not measured" if value is None else format(value, form)

    gaps = sorted(found.get("leader_kill_gap_ms") or ())
    gap = f"{gaps[len(gaps) // 2]:.0f} ms (p50), {gaps[-1]:.0f} ms (max) of {len(gaps)}" if gaps else "not measured"
    table = Table(title="Four nodes, two cores, loopback", caption=PEERS_WHERE)
    table.add_column("")
    for heading in ("operations a second", f"p50 ms at {RATE}/s", "no commit after a leader's death"):
        table.add_column(heading, justify="right")
    table.add_column("checked and kept")
    table.add_row(
        "Stretto, signed statements", words("signed_statements_per_s"),
        f"{words('p50_ms_at_500', '.1f')} (p99 {words('p99_ms_at_500', '.1f')})", gap, "client signatures, disk",
    )  # fmt: skip
    table.add_row("Stretto, claims in catalogues", words("claims_per_s"), "", "", "every claim, disk")
    for peer in PEERS:
        table.add_row(*peer)
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="ten seconds each, no catalogues, no kills")
    parser.add_argument("--only", action="append", choices=tuple(MEASUREMENTS), metavar="NAME")
    given = parser.parse_args()
    plan, out = (QUICK, QUICK_OUT) if given.quick else (FULL, OUT)
    console = Console(stderr=True)
    found: dict[str, Any] = dict.fromkeys(FIGURES)
    if given.only and out.exists():
        found |= {name: value for name, value in json.loads(out.read_text()).items() if name in FIGURES}
    begun, found["load_average"] = time.monotonic(), load_average()
    for name, measure in MEASUREMENTS.items():
        if given.only is None or name in given.only:
            console.print(f"{name}: measuring", highlight=False)
            found |= measure(plan)
            found["seconds"] = round(time.monotonic() - begun, 1)
            assert tuple(found) == FIGURES, f"the file's names are fixed, got {tuple(found)}"
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(found, indent=1) + "\n")  # now: what comes after may fail
    Console().print(table_of(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
