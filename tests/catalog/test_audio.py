"""Whole, sound audio is told from everything else, whatever a file is called."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.audio import inspect_audio
from catalog.formats.ogg import checksum
from catalog.formats.pcm import swapped
from catalog.scan import LeftOut
from catalog.tracks import with_comments
from tests.catalog.audio_files import KINDS, Kind, box, duration_ms, encoded, m4a, sound_entry, tone

BY_NAME = {kind.name: kind for kind in KINDS}


def reason(path: Path, content: bytes) -> str:
    """Why a file of this content is left out; "" where it is accepted."""
    path.write_bytes(content)
    try:
        inspect_audio(path)
    except LeftOut as left_out:
        return left_out.reason if left_out.path == path else f"names {left_out.path} instead of {path}"
    return ""


# ---- what is accepted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_whole_file_of_each_kind_is_recognised_without_its_extension(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "no extension"
    path.write_bytes(encoded(kind))
    facts = inspect_audio(path)
    assert facts.media_type == kind.media_type
    assert abs(facts.duration_ms - duration_ms(kind)) <= 60, "an mp3 encoder pads by up to two frames"
    assert (facts.pcm.bits if facts.pcm else None) == kind.pcm
    assert (facts.flac_md5 is not None) == (kind.format == "FLAC")


def test_the_same_samples_have_the_same_digest_in_wav_aiff_and_flac(tmp_path: Path) -> None:
    digests = {}
    for name in ("wav16.wav", "aiff16.aiff", "flac16.flac", "rf64.wav"):
        (tmp_path / name).write_bytes(encoded(BY_NAME[name]))
        facts = inspect_audio(tmp_path / name)
        assert facts.pcm is not None
        digests[name] = facts.pcm.sha256
    assert set(digests.values()) == {hashlib.sha256(tone().astype("<i2").tobytes()).digest()}


@pytest.mark.parametrize(("bits", "names"), [
    (24, ("wav24.wav", "extensible.wav", "aiff24.aiff", "flac24.flac")),
    (8, ("wav8.wav", "aiff8.aiff", "flac8.flac")),
])  # fmt: skip
def test_samples_are_digested_at_their_own_depth(tmp_path: Path, bits: int, names: tuple[str, ...]) -> None:
    found = set()
    for name in names:
        (tmp_path / name).write_bytes(encoded(BY_NAME[name]))
        pcm = inspect_audio(tmp_path / name).pcm
        assert pcm is not None
        found.add((pcm.bits, pcm.rate_hz, pcm.channels, pcm.sha256))
    assert [entry[0] for entry in found] == [bits], "one digest, whatever the container"


def test_two_24_bit_masters_that_agree_in_16_bits_do_not_collide(tmp_path: Path) -> None:
    content = bytearray(encoded(BY_NAME["wav24.wav"]))
    (tmp_path / "a.wav").write_bytes(content)
    content[-3] ^= 1  # lowest bit of the last sample
    (tmp_path / "b.wav").write_bytes(content)
    first, second = inspect_audio(tmp_path / "a.wav").pcm, inspect_audio(tmp_path / "b.wav").pcm
    assert first != second


def test_the_flac_md5_is_that_of_the_samples(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(encoded(BY_NAME["flac16.flac"]))
    expected = hashlib.md5(tone().astype("<i2").tobytes(), usedforsecurity=False).digest()
    assert inspect_audio(tmp_path / "a").flac_md5 == expected


def test_id3_before_flac_and_tags_around_mp3_are_skipped(tmp_path: Path) -> None:
    id3 = b"ID3\x04\0\0" + bytes([0, 0, 2, 44]) + bytes(300)
    mp3, v1 = encoded(BY_NAME["layer3.mp3"]), b"TAG" + bytes(125)
    ape = b"APETAGEX" + bytes([208, 7, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0]) + bytes(12)
    (tmp_path / "plain").write_bytes(mp3)
    plain = inspect_audio(tmp_path / "plain")
    for content in (id3 + mp3, mp3 + v1, id3 + mp3 + ape + v1, id3 + bytes(500) + mp3):
        (tmp_path / "a").write_bytes(content)
        assert inspect_audio(tmp_path / "a") == plain
    assert reason(tmp_path / "f", id3 + encoded(BY_NAME["flac16.flac"])) == ""


def test_a_wav_whose_length_was_never_filled_in_plays_to_its_end(tmp_path: Path) -> None:
    whole = encoded(BY_NAME["wav16.wav"])
    at = whole.index(b"data") + 4
    streamed = whole[:4] + b"\xff" * 4 + whole[8:at] + b"\xff" * 4 + whole[at + 4 :]
    (tmp_path / "a").write_bytes(streamed)
    (tmp_path / "b").write_bytes(whole)
    assert inspect_audio(tmp_path / "a") == inspect_audio(tmp_path / "b")


def test_chained_ogg_streams_play_one_after_the_other(tmp_path: Path) -> None:
    once = encoded(BY_NAME["vorbis.ogg"])
    (tmp_path / "a").write_bytes(once + once)
    assert inspect_audio(tmp_path / "a").duration_ms == 4000


def test_m4a_is_accepted_with_its_audio_before_or_behind_its_tables(tmp_path: Path) -> None:
    assert reason(tmp_path / "a", m4a()) == ""
    assert inspect_audio(tmp_path / "a").duration_ms == 2000
    whole = m4a(chunk_at=40)
    moov = whole.index(b"moov") - 4
    mdat = whole.index(b"mdat") - 4
    assert reason(tmp_path / "b", whole[:moov] + whole[mdat:] + whole[moov:mdat]) == ""


# ---- what is left out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("kept", ["all but one byte", "nine tenths", "half", "20 bytes", "5 bytes"])
def test_a_truncated_file_is_left_out(tmp_path: Path, kind: Kind, kept: str) -> None:
    whole = encoded(kind)
    length = {"all but one byte": -1, "nine tenths": len(whole) * 9 // 10, "half": len(whole) // 2}.get(kept)
    cut = whole[: length if length is not None else int(kept.split(maxsplit=1)[0])]
    assert reason(tmp_path / kind.name, whole) == ""
    assert reason(tmp_path / kind.name, cut) != ""
    if kept in ("nine tenths", "half"):
        assert "truncated" in reason(tmp_path / kind.name, cut)


@pytest.mark.parametrize("kept", [-1, -2000, 40, 9])
def test_a_truncated_m4a_is_left_out(tmp_path: Path, kept: int) -> None:
    assert "truncated" in reason(tmp_path / "a.m4a", m4a()[:kept])


@pytest.mark.parametrize(("content", "why"), [
    (b"", "empty"),
    (b"%PDF-1.7 not a song", "not audio"),
    (b"just words, called .wav", "not audio"),
    (bytes(5000), "not audio"),
    (b"\xff\xfb" + bytes(3000), "not audio"),
    (b"RIFF\x04\0\0\0WAVE", "without a format"),
    (b"FORM\0\0\0\x04AIFF", "without a COMM"),
    (b"OggS" + bytes(23), "checksum"),
    (b"fLaC" + bytes(40), "STREAMINFO"),
    (b"ID3\x04\0\0\0\0\x7f\x7f", "truncated"),
    (box(b"ftyp", b"M4A \0\0\0\0"), "moov box"),
    (m4a(handler=b"vide"), "a video"),
    (m4a(handler=b"text"), "without a sound track"),
    (m4a(chunk_at=10**6), "tables point"),
    (m4a(duration_ms=0), "no audio"),
    (m4a().replace(b"mdat", b"free"), "mdat box"),
])  # fmt: skip
def test_what_is_no_audio_is_left_out_with_the_reason(tmp_path: Path, content: bytes, why: str) -> None:
    assert why in reason(tmp_path / "song.wav", content)


def test_a_wav_of_unknown_length_is_held_against_its_data_chunk(tmp_path: Path) -> None:
    whole = encoded(BY_NAME["wav16.wav"])
    open_ended = whole[:4] + bytes(4) + whole[8:]
    assert reason(tmp_path / "a", open_ended) == ""
    assert "'data' chunk needs 100 more bytes" in reason(tmp_path / "a", open_ended[:-100])


def test_an_aiff_that_promises_more_samples_than_it_holds_is_truncated(tmp_path: Path) -> None:
    content = bytearray(encoded(BY_NAME["aiff16.aiff"]))
    at = content.index(b"COMM") + 8 + 2
    content[at : at + 4] = (len(tone()) + 1).to_bytes(4, "big")
    assert "truncated" in reason(tmp_path / "a", bytes(content))


def test_a_wav_without_samples_is_left_out(tmp_path: Path) -> None:
    whole = encoded(BY_NAME["wav16.wav"])
    at = whole.index(b"data")
    empty = whole[:4] + (at).to_bytes(4, "little") + whole[8:at] + b"data" + bytes(4)
    assert "no audio" in reason(tmp_path / "a", empty)


@pytest.mark.parametrize("name", ["flac16.flac", "vorbis.ogg", "opus.opus"])
@pytest.mark.parametrize("where", [0.3, 0.6, 0.9])
def test_one_flipped_bit_of_checksummed_audio_is_found(tmp_path: Path, name: str, where: float) -> None:
    content = bytearray(encoded(BY_NAME[name]))
    content[int(len(content) * where)] ^= 0x10
    assert "damaged" in reason(tmp_path / name, bytes(content))


def test_a_flac_whose_header_lies_about_its_audio_is_left_out(tmp_path: Path) -> None:
    content = bytearray(encoded(BY_NAME["flac16.flac"]))
    content[8 + 18] ^= 1  # first byte of STREAMINFO's MD5
    assert "does not match the checksum" in reason(tmp_path / "a.flac", bytes(content))


def test_an_ogg_without_its_last_page_is_truncated_although_every_page_is_whole(tmp_path: Path) -> None:
    whole = encoded(BY_NAME["vorbis.ogg"])
    assert "last page is missing" in reason(tmp_path / "a.ogg", whole[: whole.rindex(b"OggS")])


def test_an_ogg_with_a_page_missing_in_the_middle_is_damaged(tmp_path: Path) -> None:
    whole = encoded(BY_NAME["opus.opus"])
    starts = [i for i in range(len(whole)) if whole.startswith(b"OggS", i)]
    middle = len(starts) // 2
    assert "is missing" in reason(tmp_path / "a", whole[: starts[middle]] + whole[starts[middle + 1] :])


def test_an_mp3_cut_between_frames_is_truncated_by_its_own_header(tmp_path: Path) -> None:
    whole = encoded(BY_NAME["layer3.mp3"])
    assert b"Xing" in whole[:200] or b"Info" in whole[:200]
    cuts = [n for n in range(len(whole) - 3000, len(whole) - 1500) if "frames" in reason(tmp_path / "a", whole[:n])]
    assert cuts, "at least one of these lengths ends exactly at a frame"


def test_an_unreadable_file_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(m4a())

    def refuse(path: Path, mode: str) -> None:  # root may read everything, so the refusal is played
        raise PermissionError(13, "Permission denied", str(path))

    inspect_audio(tmp_path / "a")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(LeftOut, match="permission denied"):
        inspect_audio(tmp_path / "a")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    kind=st.sampled_from([*KINDS, None]),
    codec=st.sampled_from([b"alac", b"fLaC", b"mp4a", b"drms"]),
    at=st.integers(0, 400),
    noise=st.binary(min_size=1, max_size=12),
    kept=st.integers(1, 3000),
)
def test_no_garbage_does_more_than_leave_its_file_out(
    *, tmp_path: Path, kind: Kind | None, codec: bytes, at: int, noise: bytes, kept: int
) -> None:
    whole = encoded(kind) if kind else m4a(entry=sound_entry(codec, box(codec, bytes(48)), box(b"dfLa", bytes(48))))
    spoiled = whole[:at] + noise + whole[at + len(noise) :]
    reason(tmp_path / "a", spoiled)
    reason(tmp_path / "b", spoiled[:kept])


# ---- parts -----------------------------------------------------------------------------------------------------------


@given(page=st.binary(max_size=300))
def test_the_fast_ogg_checksum_equals_the_slow_one(page: bytes) -> None:
    slow = 0
    for byte in page:
        slow ^= byte << 24
        for _ in range(8):
            slow = (slow << 1 ^ (0x04C11DB7 if slow & 0x80000000 else 0)) & 0xFFFFFFFF
    assert checksum(page) == slow


@given(samples=st.lists(st.binary(min_size=3, max_size=3), max_size=50))
def test_swapping_reverses_every_sample(samples: list[bytes]) -> None:
    assert swapped(b"".join(samples), 3) == b"".join(sample[::-1] for sample in samples)


def test_rewriting_comments_leaves_the_audio_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(encoded(BY_NAME["flac16.flac"]))
    (tmp_path / "b").write_bytes(with_comments(encoded(BY_NAME["flac16.flac"]), ["TITLE=雨", "ISRC=ZZSTR2600001"]))
    assert inspect_audio(tmp_path / "a") == inspect_audio(tmp_path / "b")
