"""Time to finality: single statements, a stream, a 10,000-claim catalogue from files; a restart until caught up."""

from __future__ import annotations

import argparse
import json
import struct
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from bench.devnet import cpu_seconds, load_average, running_devnet
from catalog.claims import Terms, build_claim, derived_salts
from catalog.examine import Track, examine_all
from catalog.scan import scan
from catalog.statements import sign_claims
from cli.client import NodeClient, Submission
from cli.devnet import wait_until_up
from ledger.claim import Claim, ProprietaryId, Subject
from ledger.genesis import Genesis
from ledger.statement import sign_statement
from node.devnet import Devnet
from node.keys import load_private_key, public_bytes, seed_bytes
from node.rpc.types import SubmissionState

OUT = Path("bench/out/finality.json")
PAUSE_S = 0.05
"""Between single statements: each finds the chain idle."""


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def statements(devnet: Devnet, genesis: Genesis, count: int, run: str) -> list[bytes]:
    """Signed beforehand: what is measured begins at the node's door."""
    key = load_private_key(devnet.node("label").config.key_path("statement"))
    return [
        sign_statement(
            Claim(
                subject=Subject.WORK, title=f"Study {i}", ids=(ProprietaryId(namespace="bench", value=f"{run}-{i}"),)
            ),
            client_ref=f"{run}-{i}",
            issuer="label",
            public_key=public_bytes(key),
            consortium=genesis.digest,
            sign=key.sign,
        )
        for i in range(count)
    ]


def single_statements(devnet: Devnet, genesis: Genesis, count: int) -> dict[str, Any]:
    """One statement at a time, unary call with wait, from the client's call to its answer."""
    batch = statements(devnet, genesis, count, "single")
    times_ms = []
    with NodeClient(devnet.node("label").config.rpc) as client:
        client.status()  # connected: what is measured is finality, not TCP
        cpu = cpu_seconds(devnet)
        for statement in track(batch, "single statements at idle", console=Console(stderr=True), transient=True):
            begun = time.perf_counter()
            result = client.submit(statement)
            times_ms.append((time.perf_counter() - begun) * 1000)
            assert result.state is SubmissionState.FINAL, result
            time.sleep(PAUSE_S)
        cpu = cpu_seconds(devnet) - cpu
    return {
        "statements": count,
        "p50_ms": round(percentile(times_ms, 0.5), 1),
        "p99_ms": round(percentile(times_ms, 0.99), 1),
        "max_ms": round(max(times_ms), 1),
        "cpu_ms_per_statement_all_nodes": round(cpu / count * 1000, 1),
        "load_average": load_average(),
    }


def statement_stream(devnet: Devnet, genesis: Genesis, count: int) -> dict[str, Any]:
    """All at once by the batched stream to one node, until the last is final."""
    batch = statements(devnet, genesis, count, "stream")
    with NodeClient(devnet.node("label").config.rpc) as client:
        cpu, begun = cpu_seconds(devnet), time.perf_counter()
        final = sum(
            result.state is SubmissionState.FINAL
            for result in client.submit_many(Submission(statement=statement) for statement in batch)
        )
        seconds = time.perf_counter() - begun
        cpu = cpu_seconds(devnet) - cpu
    assert final == count, f"{final} of {count} final"
    return {
        "statements": count,
        "seconds": round(seconds, 2),
        "statements_per_s": round(count / seconds),
        "cpu_ms_per_statement_all_nodes": round(cpu / count * 1000, 2),
        "load_average": load_average(),
    }


def write_wavs(folder: Path, count: int) -> None:
    """`count` distinct, sound wav files: 0.25 s, mono, 16 bit, 8 kHz."""
    frames = 2000
    layout = "<4sI4s4sIHHIIHH4sI"
    form = (b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16)
    head = struct.pack(layout, b"RIFF", 36 + 2 * frames, *form, b"data", 2 * frames)
    for i in range(count):
        sub = folder / f"{i // 1000:03}"
        sub.mkdir(exist_ok=True)
        tone = struct.pack("<2h", i % 30_000, i // 30_000) * (frames // 2)
        (sub / f"track {i:05}.wav").write_bytes(head + tone)


def catalogue_from_files(devnet: Devnet, genesis: Genesis, count: int) -> dict[str, Any]:
    """From a folder of audio files to one final catalogue: read, check, hash, claim, sign, submit, agree."""
    key = load_private_key(devnet.node("label").config.key_path("statement"))
    with tempfile.TemporaryDirectory(prefix="stretto-") as name:
        folder = Path(name)
        write_wavs(folder, count)
        begun = time.perf_counter()
        terms, salts = Terms(member="label"), derived_salts(seed_bytes(key))
        found = track(examine_all(scan([folder])), "catalogue", count, console=Console(stderr=True), transient=True)
        claims = [build_claim(one, terms, salts) for one in found if isinstance(one, Track)]
        claimed = time.perf_counter()
        signed = sign_claims(
            claims,
            roster=genesis.roster,
            member="label",
            public_key=public_bytes(key),
            sign=key.sign,
            as_catalogue=True,
        )
        signed_at = time.perf_counter()
        with NodeClient(devnet.node("label").config.rpc, deadline_s=300) as client:
            cpu = cpu_seconds(devnet)
            result = client.submit(signed.statement.raw, signed.submission.blobs)
            final = time.perf_counter()
            cpu = cpu_seconds(devnet) - cpu
    assert result.state is SubmissionState.FINAL, result
    assert len(claims) == count, f"{len(claims)} of {count} files were claimed"
    return {
        "claims": count,
        "body_bytes": sum(map(len, signed.submission.chunks)),
        "files_to_claims_s": round(claimed - begun, 2),
        "sign_s": round(signed_at - claimed, 2),
        "submit_to_final_s": round(final - signed_at, 2),
        "files_to_final_s": round(final - begun, 2),
        "cpu_us_per_claim_all_nodes": round(cpu / count * 1e6, 1),
        "load_average": load_average(),
    }


def restart(devnet: Devnet, genesis: Genesis, missed: int) -> dict[str, Any]:
    """kill -9 a node, record `missed` statements with three, start it, until it has the same log as the others."""
    victim = devnet.node("platform")
    victim.stop(kill=True)
    batch = statements(devnet, genesis, missed, "missed")
    gap_begun = time.perf_counter()
    with NodeClient(devnet.node("label").config.rpc, deadline_s=60) as client:
        client.submit(batch[0])
        first_s = time.perf_counter() - gap_begun
        for _ in client.submit_many(Submission(statement=s) for s in batch[1:]):
            pass
        target = client.status()
    begun = time.perf_counter()
    victim.start()
    wait_until_up(devnet, [victim])
    up_s = time.perf_counter() - begun
    with NodeClient(victim.config.rpc, deadline_s=60) as client:
        while client.status().size < target.size:
            time.sleep(0.02)
        seconds = time.perf_counter() - begun
        assert client.status().root == target.root, "the same log"
    return {
        "missed_statements": missed,
        "first_final_after_kill_ms": round(first_s * 1000),
        "process_start_to_up_s": round(up_s, 2),
        "process_start_to_caught_up_s": round(seconds, 2),
        "load_average": load_average(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--singles", type=int, default=500)
    parser.add_argument("--stream", type=int, default=5000)
    parser.add_argument("--claims", type=int, default=10_000)
    parser.add_argument("--missed", type=int, default=200)
    given = parser.parse_args()
    with running_devnet() as (devnet, genesis):
        result = {
            "load_average_before": load_average(),
            "single": single_statements(devnet, genesis, given.singles),
            "stream": statement_stream(devnet, genesis, given.stream),
            "catalogue": catalogue_from_files(devnet, genesis, given.claims),
            "restart": restart(devnet, genesis, given.missed),
        }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
