"""Scanned folders for tests: manifests of tracks that need not exist, and the tables that go with them."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from catalog.formats.facts import AudioFacts, Pcm
from catalog.manifest import LEFT_OUT_NAME, MANIFEST_NAME, Manifest, TrackRecord, encode_head, encode_left_out
from catalog.metadata.check import Checked, Unlisted, check_catalogue
from catalog.metadata.findings import Finding, Findings
from catalog.metadata.sources import read_rows
from catalog.tags import Tags


def audio(seed: str, *, duration_ms: int = 205_000, rate_hz: int = 44_100, pcm: bool = True) -> AudioFacts:
    digest = hashlib.sha256(seed.encode()).digest()
    return AudioFacts(
        media_type="audio/flac",
        format="flac/flac",
        duration_ms=duration_ms,
        rate_hz=rate_hz,
        channels=2,
        bits=16,
        lossless=pcm,
        pcm=Pcm(sha256=digest, rate_hz=rate_hz, channels=2, bits=16) if pcm else None,
    )


def record(path: str, *, bytes_of: str = "", facts: AudioFacts | None = None, **tags: Any) -> TrackRecord:
    """A scanned track. bytes_of: tracks with the same have the same bytes."""
    digest = hashlib.sha256((bytes_of or path).encode()).digest()
    return TrackRecord(
        path=path,
        size_bytes=1000,
        blake3=digest,
        sha256=digest[::-1],
        facts=facts or audio(bytes_of or path),
        tags=Tags(**tags),
    )


def catalogue(folder: Path, *tracks: TrackRecord, left_out: Sequence[tuple[str, str]] = ()) -> Path:
    """A catalogue folder as `scan` leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    ordered = sorted(tracks, key=lambda one: one.path_bytes)
    lines = [encode_head({}), *(track.encode() for track in ordered)]
    (folder / MANIFEST_NAME).write_bytes(b"".join(line + b"\n" for line in lines))
    left = sorted(left_out)
    (folder / LEFT_OUT_NAME).write_bytes(b"".join(encode_left_out(*one) + b"\n" for one in left))
    return folder


def table(path: Path, *rows: dict[str, str], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    """A CSV with the columns that the rows name."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def check(folder: Path, *metadata: Path, unlisted: Unlisted = Unlisted.ERROR, sheet: str | None = None) -> Checked:
    findings = Findings()
    rows = read_rows(metadata, findings, sheet=sheet) if metadata else None
    return check_catalogue(Manifest.open(folder), rows, findings, unlisted=unlisted)


def found(checked: Checked, rule: str = "") -> list[Finding]:
    return [finding for finding in checked.findings.listed() if not rule or finding.rule == rule]


def longer(track: TrackRecord, duration_ms: int) -> TrackRecord:
    return replace(track, facts=replace(track.facts, duration_ms=duration_ms))
