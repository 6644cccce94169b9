"""A row finds its track by digest, path, name or ISRC; what is missing or ambiguous is named on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.catalog.metadata.catalogues import catalogue, check, found, record, table

TRACKS = (
    record("Früh/01 Rain.flac", isrc=("US-SKG-19-12345",)),
    record("Früh/02 Sun.flac", isrc=("USSKG1912346",)),
    record("Late/01 Rain.flac", isrc=("USSKG1912346",)),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return catalogue(tmp_path / "c", *TRACKS, left_out=[("broken.flac", "truncated")])


@pytest.mark.parametrize(
    ("row", "path"),
    [
        ({"file": "Früh/01 Rain.flac"}, "Früh/01 Rain.flac"),
        ({"file": "Fru\u0308h\\01 Rain.flac"}, "Früh/01 Rain.flac"),
        ({"file": "./Früh/02 Sun.flac"}, "Früh/02 Sun.flac"),
        ({"file": "02 Sun.flac"}, "Früh/02 Sun.flac"),
        ({"file": "/srv/music/Late/01 Rain.flac"}, "Late/01 Rain.flac"),
        ({"digest": TRACKS[1].blake3.hex().upper()}, "Früh/02 Sun.flac"),
        ({"digest": f"sha256:{TRACKS[1].sha256.hex()}"}, "Früh/02 Sun.flac"),
        ({"isrc": "USSKG1912345"}, "Früh/01 Rain.flac"),
        ({"digest": TRACKS[0].sha256.hex(), "file": "01 Rain.flac"}, "Früh/01 Rain.flac"),
    ],
)
def test_a_row_finds_its_track(tmp_path: Path, folder: Path, row: dict[str, str], path: str) -> None:
    checked = check(folder, table(tmp_path / "rows.csv", row))
    assert [track.path for track, _ in checked.to_claim] == [path]
    assert {finding.rule for finding in found(checked)} <= {"no-row"}


@pytest.mark.parametrize(
    ("row", "rule", "said"),
    [
        ({"file": "01 Rain.flac"}, "ambiguous", "Früh/01 Rain.flac, Late/01 Rain.flac have this name"),
        ({"file": "02 SUN.flac"}, "no-track", "did you mean Früh/02 Sun.flac?"),
        ({"file": "02 Sun.wav"}, "no-track", "did you mean Früh/02 Sun.flac?"),
        ({"file": "Other/02 Sun.flac"}, "no-track", "did you mean Früh/02 Sun.flac?"),
        ({"file": "nowhere.flac"}, "no-track", "none of the 3 tracks"),
        ({"file": "broken.flac"}, "no-track", "the scan left this one out (truncated)"),
        ({"digest": "00" * 32}, "no-track", "none of the 3 tracks"),
        ({"isrc": "USSKG1912346"}, "ambiguous", "Früh/02 Sun.flac, Late/01 Rain.flac have this ISRC"),
        ({"isrc": "USSKG1912399"}, "no-track", "no scanned file has this ISRC"),
        ({"isrc": "USSKG"}, "isrc-form", "such as USSKG1912345"),
        ({"file": "", "title": "Rain"}, "no-key", "a file, digest or ISRC"),
        ({"digest": TRACKS[1].blake3.hex(), "file": "Late/01 Rain.flac"}, "contradiction", "which is Früh/02 Sun.flac"),
    ],
)
def test_a_row_that_finds_none_says_why(
    tmp_path: Path, folder: Path, row: dict[str, str], rule: str, said: str
) -> None:
    checked = check(folder, table(tmp_path / "rows.csv", row))
    findings = [finding for finding in found(checked) if finding.place.line]
    assert findings[0].rule == rule
    assert said in findings[0].expected
    assert {finding.track for finding in found(checked, "no-row")} == {track.path for track in TRACKS}


def test_two_rows_about_one_track_name_each_other(tmp_path: Path, folder: Path) -> None:
    rows = ({"file": "02 Sun.flac"}, {"file": "Früh/02 Sun.flac"})
    (finding,) = found(check(folder, table(tmp_path / "rows.csv", *rows)), "track-twice")
    assert finding.place.line == 3
    assert "rows.csv, line 2 is about Früh/02 Sun.flac already" in finding.expected
