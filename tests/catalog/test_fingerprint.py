"""What fpcalc says is checked before it is believed, and a missing fingerprint is no fault of the file's."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest
import soundfile

from catalog.examine import examine
from catalog.fingerprint import ITEMS_MAX, Fingerprint, fingerprint, parse_answer
from catalog.scan import Cause, LeftOut
from tests.catalog.audio_files import KINDS, encoded
from tests.catalog.programs import need, script, with_fpcalc
from tests.catalog.test_real_music import files_of

GOOD = '{"duration": 9.9, "fingerprint": [1, 4294967295, 7]}'


@pytest.fixture
def song(tmp_path: Path) -> Path:
    (tmp_path / "song.wav").write_bytes(encoded(KINDS[0]))
    return tmp_path / "song.wav"


def bits_apart(one: Fingerprint, other: Fingerprint) -> float:
    """Share of bits that differ, of the part both have."""
    words = min(one.items, other.items)
    pairs = zip(
        struct.iter_unpack("<I", one.raw[: 4 * words]), struct.iter_unpack("<I", other.raw[: 4 * words]), strict=True
    )
    return sum((a ^ b).bit_count() for (a,), (b,) in pairs) / (32 * words)


@pytest.mark.parametrize("status", [0, 3])
def test_exit_0_and_3_are_accepted_with_sound_json(tmp_path: Path, song: Path, status: int) -> None:
    program = script(tmp_path / "fpcalc", f"echo '{GOOD}'; exit {status}")
    found = fingerprint(song, program)
    raw = struct.pack("<3I", 1, 4294967295, 7)
    assert found == Fingerprint(algorithm=2, sha256=hashlib.sha256(raw).digest(), items=3)
    assert found is not None
    assert found.raw == raw


@pytest.mark.parametrize(
    "body", [f"echo '{GOOD}'; exit 2", f"echo '{GOOD}'; exit 1", "echo rubbish", "exit 3", "kill -9 $$"]
)
def test_any_other_end_gives_no_fingerprint(tmp_path: Path, song: Path, body: str) -> None:
    assert fingerprint(song, script(tmp_path / "fpcalc", body)) is None


@pytest.mark.parametrize("answer", [
    "", "[]", "{}",
    '{"fingerprint": []}', '{"fingerprint": "AQAA"}', '{"fingerprint": [-1]}', '{"fingerprint": [4294967296]}',
    '{"fingerprint": [1.5]}', '{"fingerprint": null}', json.dumps({"fingerprint": [0] * (ITEMS_MAX + 1)}),
])  # fmt: skip
def test_an_answer_that_holds_no_fingerprint_is_none(answer: str) -> None:
    assert parse_answer(answer.encode()) is None
    assert parse_answer(GOOD.encode()) is not None


def test_a_stuck_fpcalc_leaves_its_file_out_for_now(
    tmp_path: Path, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalog.fingerprint.DEADLINE_S", 0.3)
    tools = with_fpcalc(script(tmp_path / "fpcalc", "exec sleep 600"))
    with pytest.raises(LeftOut, match="run the same command again") as caught:
        examine(song, tools=tools)
    assert caught.value.cause is Cause.MOMENT


def test_a_name_that_looks_like_an_option_or_an_address_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = script(
        tmp_path / "fpcalc", f'for last; do :; done; expr "$last" : / >/dev/null && test -f "$last" && echo \'{GOOD}\''
    )
    monkeypatch.chdir(tmp_path)
    for name in ("-version", "http:song.wav"):
        Path(name).write_bytes(b"x")
        assert fingerprint(Path(name), program) is not None


def test_the_same_recording_sounds_the_same_in_another_coding_and_another_does_not(tmp_path: Path) -> None:
    tools = need("fpcalc")
    assert tools.fpcalc is not None
    longest = sorted(files_of("frozen-bubble-data"), key=lambda path: path.stat().st_size)[-2:]
    prints = []
    for number, path in enumerate(longest):
        samples, rate_hz = soundfile.read(path, frames=60 * 44_100, dtype="int16")
        for subtype, suffix in (("PCM_16", "wav"), ("VORBIS", "ogg")):
            with soundfile.SoundFile(tmp_path / f"{number}.{suffix}", "w", rate_hz, 2, subtype=subtype) as file:
                for start in range(0, len(samples), 65_536):  # libsndfile's Vorbis overflows its stack on more at once
                    file.write(samples[start : start + 65_536])
            found = fingerprint(tmp_path / f"{number}.{suffix}", tools.fpcalc)
            assert found is not None
            prints.append(found)
    first_wav, first_ogg, second_wav, _ = prints
    assert first_wav.sha256 != first_ogg.sha256, "alike, but never identity"
    assert bits_apart(first_wav, first_ogg) < 0.1
    assert bits_apart(first_wav, second_wav) > 0.3
