"""The demonstration's music: the same on every machine, and music."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from catalog.audio import inspect_audio
from catalog.claims import Terms, build_claim
from catalog.examine import examine
from catalog.scan import scan
from catalog.scores import SCORES, SUBJECT, stretto
from catalog.synth import FLUTE, RATE_HZ, Note, mix
from catalog.tracks import render_tracks
from tests.catalog.builders import no_salt

SAMPLES = (
    "dc5e0e905715b743",
    "7abcd6d1a1415a52",
    "401635e9f3549f8f",
    "358706690704b98e",
    "f3c275f9d1082307",
    "f723c2e759a324b9",
)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return render_tracks(tmp_path_factory.mktemp("tracks"))


def test_the_samples_are_the_same_on_every_machine(rendered: list[Path]) -> None:
    """Pinned: whoever changes a score or the synthesiser changes these on purpose."""
    digests = []
    for path in rendered:
        pcm = inspect_audio(path).pcm
        assert pcm is not None
        digests.append(pcm.sha256.hex()[:16])
    assert tuple(digests) == SAMPLES


def test_there_are_six_tracks_in_wav_and_flac_in_nested_folders_with_names_in_several_scripts(
    rendered: list[Path],
) -> None:
    assert len(rendered) == 6
    assert {path.suffix for path in rendered} == {".wav", ".flac"}
    assert len({path.parent for path in rendered}) == 4
    names = "".join(str(path) for path in rendered)
    assert all(letter in names for letter in "ü雨Пóö")


def test_every_track_is_sound_and_claimable_by_its_tags(rendered: list[Path]) -> None:
    for path, score in zip(rendered, SCORES, strict=True):
        built = build_claim(examine(path), Terms(member="label"), no_salt)
        assert (built.claim.title, built.claim.isrc) == (score.title, score.isrc)
        assert built.claim.duration_ms == score.length_s * 1000
        assert 20_000 <= built.claim.duration_ms <= 40_000
        assert built.warnings == ()
        assert [opening.value for opening in built.openings] == [score.artist]


def test_rendering_again_gives_the_same_files_and_tells_of_each(rendered: list[Path], tmp_path: Path) -> None:
    told: list[Path] = []
    again = render_tracks(tmp_path, told.append)
    assert told == again
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in rendered]
    assert sorted(p for p in scan([tmp_path]) if isinstance(p, Path)) == sorted(again)


def test_no_track_clips_and_none_is_silent() -> None:
    for score in SCORES:
        samples = mix(score.compose(), score.length_s)
        peak = int(np.abs(samples.astype(np.int32)).max())
        assert 0.8 * 32767 < peak < 32767
        seconds = samples[: len(samples) // RATE_HZ * RATE_HZ].reshape(-1, RATE_HZ, 2)
        assert all(np.abs(second).max() > 300 for second in seconds[:-4]), "silence before the last seconds"


def test_in_the_stretto_each_voice_enters_before_the_last_has_finished() -> None:
    first_pitch = {SUBJECT[0][0] + up for up in (12, 0, -12, -24)}
    beat_s, close = 0.42, 42 * 0.42
    entries = sorted(
        note.start_s for note in stretto() if note.start_s >= close and note.pitch in first_pitch and note.gain == 0.45
    )
    starts = [entry for entry in entries if any(abs(entry - close - 2 * i * beat_s) < 1e-6 for i in range(4))]
    assert len(starts) >= 4
    subject_s = sum(length for _, length in SUBJECT) * beat_s
    assert starts[-1] - starts[0] < subject_s


def test_a_note_sounds_at_its_pitch() -> None:
    note = Note(start_s=0, length_s=1, pitch=69, gain=1, pan=0.5, instrument=FLUTE)
    left = mix([note], 1)[:, 0].astype(float)
    spectrum = np.abs(np.fft.rfft(left))
    assert int(np.argmax(spectrum)) == 440
