"""Claims in catalogues, back to back, until every node has them: the rate for a minute, and as the store grows.

`python -m bench.catalogues` fills four nodes with 2,100,000 claims and prints one JSON object; `--claims 500000` asks
for less. All catalogues are made and signed before the clock starts. At the end some claims are asked for on every node
by each of their keys, and one is proved from every node's evidence file. `--profile DIR` as in `bench.load`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.devnet import cpu_seconds, load_average, running_devnet
from bench.load import profiled
from cli.client import NodeClient, Submission
from ledger.catalogue import CLAIMS_MAX, build_catalogue
from ledger.cbor import encode
from ledger.claim import Claim, Media, Party, PartyRole, Subject, claim_keys, parse_claim
from ledger.evidence import Verdict, verify_bundle
from ledger.genesis import Genesis
from ledger.statement import sign_statement
from node.devnet import Devnet
from node.keys import load_private_key, public_bytes
from node.rpc.types import SubmissionState

WINDOW_CLAIMS: Final = 16 * CLAIMS_MAX
"""A rate at some size of the store is measured over the next so many claims."""
SMALL_CLAIMS: Final = 20_000
SAMPLE: Final = 25
"""Claims asked for on every node at the end."""
SETTLE_S: Final = 1.0
"""Between start-up and load: first connections, first checkpoints."""


def synthetic_claim(number: int) -> Claim:
    """A recording with an ISRC, two parties and one file's digests: some 280 bytes, as a label's are."""
    return Claim(
        subject=Subject.RECORDING,
        title=f"Study no. {number}",
        isrc=f"QZBEN{number:07}",
        duration_ms=180_000 + number,
        parties=(
            Party(role=PartyRole.MAIN_ARTIST, name=f"Ensemble {number % 97}"),
            Party(role=PartyRole.COMPOSER, name=f"Composer {number % 89}"),
        ),
        media=(
            Media(
                blake3=hashlib.sha256(b"b%d" % number).digest(), sha256=hashlib.sha256(b"s%d" % number).digest(),
                size=30_000_000 + number, media_type="audio/flac",
            ),
        ),
    )  # fmt: skip


def synthetic_claims(numbers: range) -> Iterator[bytes]:
    """Their encodings, without making each: what differs is put in its place."""
    parts = _cut(synthetic_claim(numbers[0]))
    sha256 = hashlib.sha256
    for n in numbers:
        title = b"Study no. %d" % n
        values = (
            b"QZBEN%07d" % n, (30_000_000 + n).to_bytes(4, "big"), sha256(b"b%d" % n).digest(),
            sha256(b"s%d" % n).digest(), bytes((0x60 + len(title),)) + title, encode(f"Ensemble {n % 97}"),
            encode(f"Composer {n % 89}"), (180_000 + n).to_bytes(4, "big"), b"",
        )  # fmt: skip
        yield b"".join(part + value for part, value in zip(parts, values, strict=True))


def _cut(claim: Claim) -> list[bytes]:
    """The encoding's pieces between what differs from claim to claim."""
    data, parts = claim.encode(), []
    media = claim.media[0]
    for value in (
        (claim.isrc or "").encode(), media.size.to_bytes(4, "big"), media.blake3, media.sha256, encode(claim.title),
        *(encode(str(party.name)) for party in claim.parties), (claim.duration_ms or 0).to_bytes(4, "big"),
    ):  # fmt: skip
        part, _, data = data.partition(value)
        parts.append(part)
    return [*parts, data]


def submissions(devnet: Devnet, genesis: Genesis, claims: int) -> list[Submission]:
    """Signed catalogues of CLAIMS_MAX claims each, all different, together at least `claims`."""
    key = load_private_key(devnet.node("label").config.key_path("statement"))
    made = []
    for first in range(0, claims, CLAIMS_MAX):
        numbers = range(first, first + CLAIMS_MAX)
        encoded = list(synthetic_claims(numbers))
        assert parse_claim(encoded[-1]) == synthetic_claim(numbers[-1]), "put together as it would have been encoded"
        catalogue = build_catalogue(encoded)
        raw = sign_statement(
            catalogue.header, client_ref=f"catalogue-{first}", issuer="label", public_key=public_bytes(key),
            consortium=genesis.digest, sign=key.sign,
        )  # fmt: skip
        made.append(Submission(statement=raw, chunks=(catalogue.manifest, *catalogue.chunks)))
    return made


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment of the run."""

    claims: int
    """Final on the node that was asked."""
    seconds: float
    cpu_seconds: float
    """Of all nodes and their readers."""


def back_to_back(devnet: Devnet, batch: Sequence[Submission]) -> list[Mark]:
    """Catalogues by one stream until the last is final and every node has it; a mark for each."""
    marks = [Mark(0, time.perf_counter(), cpu_seconds(devnet))]
    with NodeClient(devnet.node("label").config.rpc, deadline_s=600) as client:
        client.status()
        for result in client.submit_many(batch):
            if result.state is SubmissionState.ACCEPTED:
                continue
            assert result.state is SubmissionState.FINAL, result
            marks.append(Mark(marks[-1].claims + CLAIMS_MAX, time.perf_counter(), cpu_seconds(devnet)))
        size = client.status().size
    for node in devnet.nodes:
        with NodeClient(node.config.rpc) as client:
            while client.status().size < size:
                time.sleep(0.01)
    marks[-1] = Mark(marks[-1].claims, time.perf_counter(), cpu_seconds(devnet))
    return marks


def pace(marks: Sequence[Mark], first: int, last: int) -> dict[str, float]:
    """Between the marks at the first and at the last claim."""
    begin = next(mark for mark in marks if mark.claims >= first)
    end = next(mark for mark in marks if mark.claims >= last)
    claims = end.claims - begin.claims
    return {
        "claims_per_s": round(claims / (end.seconds - begin.seconds)),
        "cpu_us_each_all_nodes": round((end.cpu_seconds - begin.cpu_seconds) / claims * 1e6, 1),
    }


def check_found(devnet: Devnet, genesis: Genesis, claims: int) -> None:
    """Every node finds a sample of the claims by each key, and proves one alone."""
    sample = [synthetic_claim(i * (claims - 1) // (SAMPLE - 1)) for i in range(SAMPLE)]
    for node in devnet.nodes:
        with NodeClient(node.config.rpc) as client:
            for claim in sample:
                keys = claim_keys(claim)
                for found in (
                    list(client.claims(media_digest=keys.blake3[0])),
                    list(client.claims(media_digest=keys.sha256[0])),
                    list(client.claims(isrc=claim.isrc)),
                ):
                    assert [one.claim for one in found] == [claim.encode()], (node.config.member, claim.isrc, found)
            report = verify_bundle(client.evidence(media_digest=keys.blake3[0]), genesis, None)
            assert report.verdict is not Verdict.REFUSED, report


def stored_bytes(devnet: Devnet) -> float:
    """Blocks of the file system that a node's chain store takes, on average."""
    sizes = [sum(path.stat().st_blocks * 512 for path in node.config.chain_path.iterdir()) for node in devnet.nodes]
    return sum(sizes) / len(sizes)


def measure(claims: int, profile: Path | None) -> dict[str, Any]:
    with running_devnet() as (devnet, genesis):
        batch = submissions(devnet, genesis, claims)
        empty = stored_bytes(devnet)
        time.sleep(SETTLE_S)
        before, own = load_average(), time.process_time()
        with profiled(devnet, profile):
            marks = back_to_back(devnet, batch)
        own = time.process_time() - own
        after = load_average()
        total = marks[-1].claims
        check_found(devnet, genesis, total)
        disk = stored_bytes(devnet) - empty
    window = min(WINDOW_CLAIMS, total // 4)
    small, large = pace(marks, SMALL_CLAIMS, SMALL_CLAIMS + window), pace(marks, total - window, total)
    return {
        "claims": total,
        "claim_bytes": round(sum(map(len, batch[0].chunks[1:])) / CLAIMS_MAX),
        "seconds": round(marks[-1].seconds - marks[0].seconds, 1),
        **pace(marks, 0, total),
        "cpu_us_each_client": round(own / total * 1e6, 1),
        f"at_{SMALL_CLAIMS}": small,
        f"at_{total - window}": large,
        "rate_at_end_over_start": round(large["claims_per_s"] / small["claims_per_s"], 3),
        "bytes_per_claim": round(disk / total),
        "load_average_before": before,
        "load_average": after,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--claims", type=int, default=2_100_000)
    parser.add_argument("--profile", type=Path, metavar="DIR")
    given = parser.parse_args()
    print(json.dumps({"load": "catalogues", **measure(given.claims, given.profile)}))


if __name__ == "__main__":
    main()
