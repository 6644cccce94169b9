"""`stretto catalog check` on a label's worth of rows: a spreadsheet with one row in a hundred wrong, every fault found.

The manifest is made up (the audio need not be there to be checked against), the rows are full: identifiers, people with
their numbers, shares, dates, AI. Each fault is known beforehand, and the report must name each one's line and nothing
else as an error. Written to bench/out/catalog_check.json.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from catalog.fingerprint import Fingerprint
from catalog.formats.facts import AudioFacts, Pcm
from catalog.manifest import LEFT_OUT_NAME, MANIFEST_NAME, TrackRecord, encode_head
from catalog.metadata.columns import COLUMNS
from catalog.tags import Tags
from ledger.claim import PartyRole
from ledger.identifiers import IPI_NAME, ISNI, ISWC, UPC, Scheme

OUT = Path(__file__).parent / "out" / "catalog_check.json"
DIRTY_EVERY = 100
AIM_CPU_S = 60.0


def checked_number(scheme: Scheme, start: str) -> str:
    """`start` with the check characters it should end in."""
    assert scheme.check is not None, "an identifier with a check digit"
    for length in (1, 2):
        digits = scheme.check(start + "0" * length)
        if len(digits) == length:
            return start + digits
    raise AssertionError(f"{scheme.name}: no check characters")


def record(i: int) -> TrackRecord:
    """A scanned track that never was."""
    digest = hashlib.sha256(i.to_bytes(8, "big")).digest()
    pcm = Pcm(sha256=hashlib.sha256(digest).digest(), rate_hz=44_100, channels=2, bits=16)
    tags = Tags(
        title=f"Song number {i}",
        people=((PartyRole.ARTIST, f"Artist {i // 12}"),),
        organisations=("Aurora Records",),
        isrc=(f"USSKG{i % 10_000_000:07}",),
    )
    return TrackRecord(
        path=f"album {i // 12:06}/{i % 12 + 1:02} Song {i:07}.flac",
        size_bytes=30_000_000 + i,
        blake3=digest,
        sha256=digest[::-1],
        facts=AudioFacts(
            media_type="audio/flac",
            format="flac/flac",
            duration_ms=205_000,
            rate_hz=44_100,
            channels=2,
            bits=16,
            lossless=True,
            pcm=pcm,
            flac_md5=digest[:16],
        ),
        tags=tags,
        chromaprint=Fingerprint(algorithm=1, sha256=digest, items=1600),
    )


def clean_row(i: int, track: TrackRecord) -> dict[str, str]:
    writer, words = f"Writer {i // 7}", f"Lyricist {i // 11}"
    return {
        "file": track.path,
        "title": f"Song number {i}",
        "language": "en",
        "isrc": f"US-SKG-{i // 100_000 % 100:02}-{i % 100_000:05}",
        "iswc": checked_number(ISWC, f"T{i:09}"),
        "upc": checked_number(UPC, f"{3_600_000_000 + i // 12:011}"),
        "duration": "3:25",
        "artists": f"Artist {i // 12}",
        "composers": writer,
        "lyricists": words,
        "producers": f"Producer {i // 30}",
        "label": "Aurora Records",
        "publishers": "Aurora Publishing; Second Publishing",
        "ipi": f"{writer}={checked_number(IPI_NAME, f'{i // 7:09}')}",
        "isni": checked_number(ISNI, f"{i // 12:015}"),
        "shares": f"{writer}: Mechanical: Worldwide: 50%; {words}: Mechanical: Worldwide: 50%; "
        f"claimant: MakeAvailable: Worldwide-CN: 100%",
        "created_date": "2026-03-01",
        "release_date": "2026-09-01",
        "ai": "None",
        "training_use": "Reserved",
        "client_reference": f"AUR-{i:07}",
    }


def _digit(text: str) -> str:
    return text[:-1] + str((int(text[-1]) + 1) % 10)


DIRT: tuple[tuple[str, Callable[[dict[str, str]], dict[str, str]]], ...] = (
    ("iswc-form", lambda row: {"iswc": _digit(row["iswc"])}),
    ("upc-form", lambda row: {"upc": _digit(row["upc"])}),
    ("ipi-form", lambda row: {"ipi": _digit(row["ipi"])}),
    ("isrc-form", lambda row: {"isrc": row["isrc"][:-1]}),
    ("share-sum", lambda row: {"shares": row["shares"].replace("50%", "50.01%")}),
    ("share", lambda _: {"shares": "Nobody: 50%"}),
    ("value", lambda _: {"created_date": "2026-02-30"}),
    ("ai", lambda _: {"ai_roles": "Vocals=All"}),
    ("text", lambda _: {"title": "Song \u202e reversed"}),
    ("reference-twice", lambda _: {"client_reference": "AUR-0000001"}),
)


def write_inputs(folder: Path, rows: int) -> dict[int, str]:
    """Manifest and spreadsheet. Returns the rule that each dirty line breaks."""
    expected: dict[int, str] = {}
    records = sorted((record(i) for i in range(rows)), key=lambda one: one.path_bytes)
    with (folder / MANIFEST_NAME).open("wb") as file:
        file.write(encode_head({}) + b"\n")
        for one in records:
            file.write(one.encode() + b"\n")
    (folder / LEFT_OUT_NAME).touch()
    rng = random.Random(4)
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [column.name for column in COLUMNS])
        writer.writeheader()
        for i in range(rows):
            row = clean_row(i, record(i))
            if i % DIRTY_EVERY == 50:
                rule, spoil = rng.choice(DIRT)
                expected[i + 2] = rule
                row |= spoil(row)
            writer.writerow(row)
    return expected


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--profile", action="store_true", help="In this process, under cProfile.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected = write_inputs(folder, options.rows)
        arguments = ["catalog", "check", str(folder), "--metadata", str(folder / "rows.csv")]
        if options.profile:
            import cProfile

            from cli.main import main as stretto

            cProfile.runctx("stretto(arguments)", {}, {"stretto": stretto, "arguments": arguments}, sort="tottime")
            return 0
        load = os.getloadavg()
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "cli.main", *arguments], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        report = json.loads((folder / "report.json").read_bytes())
        found = {one["line"]: one["rule"] for one in report["findings"] if one["severity"] == "error"}
        result = {
            "rows": options.rows,
            "dirty": len(expected),
            "found": sum(found.get(line) == rule for line, rule in expected.items()),
            "errors_elsewhere": len(found.keys() - expected.keys()),
            "exit": process.returncode,
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
            "wall_s": round(wall_s, 1),
            "us_a_row": round((usage.ru_utime + usage.ru_stime) / options.rows * 1e6),
            "memory_mb": round(usage.ru_maxrss / 1024),
            "csv_mb": round((folder / "rows.csv").stat().st_size / 1e6, 1),
            "load_average": [round(one, 2) for one in load],
        }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    good = result["found"] == len(expected) and not result["errors_elsewhere"] and result["exit"] == 65
    return 0 if good and usage.ru_utime + usage.ru_stime < AIM_CPU_S * options.rows / 100_000 else 1


if __name__ == "__main__":
    sys.exit(main())
