"""Real recordings, from two Debian packages: none of them is ours, so none is committed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from catalog.claims import Terms
from catalog.digests import FileDigests, hash_files
from catalog.engine import LocalEngine
from catalog.folder_scan import scan_folders
from catalog.gather import gather
from catalog.manifest import Manifest
from catalog.scan import scan
from tests.catalog.builders import no_salt
from tests.catalog.programs import need

PACKAGES = {"frozen-bubble-data": ".ogg", "sound-theme-freedesktop": ".oga"}


def files_of(package: str) -> list[Path]:
    """The package's sounds, asked of dpkg: where they lie is Debian's business."""
    if shutil.which("dpkg") is None:
        pytest.skip("not a Debian system: real music comes from Debian packages")
    listed = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip(f"Debian package {package} is not installed: apt-get install {package}")
    paths = (Path(line) for line in listed.stdout.splitlines())
    return sorted(path for path in paths if path.suffix == PACKAGES[package] and path.is_file())


@pytest.mark.parametrize("package", PACKAGES)
def test_every_real_recording_is_accepted_and_claimed(package: str) -> None:
    paths = files_of(package)
    assert len(paths) >= 20
    gathered = gather(scan(paths), Terms(member="label"), no_salt)
    assert gathered.left_out == ()
    assert len({claim.claim.media[0].blake3 for claim in gathered.claims}) == len(gathered.claims)
    assert len(gathered.claims) + len(gathered.notes) >= len(paths), "every file is claimed or a copy of one that is"
    assert all(claim.claim.duration_ms and claim.claim.duration_ms < 600_000 for claim in gathered.claims)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_scan_with_every_tool_takes_real_music_and_hears_what_is_long_enough(package: str, tmp_path: Path) -> None:
    tools = need("ffmpeg", "flac", "fpcalc")
    paths = files_of(package)
    root = Path(os.path.commonpath(paths))
    scanned = scan_folders([root], tmp_path / "out", LocalEngine(2, tools), tools)
    records = {record.path: record for record in Manifest.open(tmp_path / "out").records()}
    assert scanned.tracks == len(records)
    assert {path.relative_to(root).as_posix() for path in paths} <= set(records)
    assert all(record.chromaprint for record in records.values() if record.facts.duration_ms > 5000)
    assert not any(record.chromaprint for record in records.values() if record.facts.duration_ms < 2000)
    assert {record.facts.lossless for record in records.values()} == {False}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_real_recording_cut_short_is_left_out(package: str, tmp_path: Path) -> None:
    longest = max(files_of(package), key=lambda path: path.stat().st_size)
    whole = longest.read_bytes()
    (tmp_path / "whole").write_bytes(whole)
    (tmp_path / "cut").write_bytes(whole[: len(whole) * 2 // 3])
    gathered = gather(scan([tmp_path]), Terms(member="label"), no_salt)
    assert [claim.path.name for claim in gathered.claims] == ["whole"]
    assert [left_out.path.name for left_out in gathered.left_out] == ["cut"]
    assert "truncated" in gathered.left_out[0].reason


def test_debians_own_b3sum_and_sha256sum_agree() -> None:
    paths = files_of("frozen-bubble-data")
    if shutil.which("b3sum") is None:
        pytest.skip("b3sum is not installed: apt-get install b3sum")
    ours = [digests for digests in hash_files(paths) if isinstance(digests, FileDigests)]
    for tool, field in (("b3sum", "blake3"), ("sha256sum", "sha256")):
        theirs = subprocess.run([tool, *map(str, paths)], capture_output=True, text=True, check=True).stdout
        assert [line.split("  ")[0] for line in theirs.splitlines()] == [getattr(d, field).hex() for d in ours]
