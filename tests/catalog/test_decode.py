"""What other programs decode: accepted whole, refused cut, encrypted or unknown, and never waited for without end."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from pathlib import Path

import pytest
import soundfile

from catalog.audio import inspect_audio
from catalog.decode import decode_by_ffmpeg
from catalog.formats.facts import AudioFacts, BadAudio
from catalog.scan import Cancelled, Cause, LeftOut
from catalog.tools import NO_TOOLS, Tools, ToolStuck, find_tools, run_tool
from tests.catalog.audio_files import KINDS, RATE_HZ, box, encoded, m4a, sound_entry, tone
from tests.catalog.programs import ffmpeg, need, script


def refusal(path: Path, tools: Tools = NO_TOOLS) -> LeftOut:
    with pytest.raises(LeftOut) as caught:
        inspect_audio(path, tools)
    return caught.value


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "tone.wav", tone(), RATE_HZ)
    return tmp_path / "tone.wav"


# ---- other containers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "codec", "form"), [
    ("a.wv", "wavpack", "wv/wavpack"),
    ("a.tta", "tta", "tta/tta"),
    ("a.caf", "pcm_s16be", "caf/pcm_s16be"),
    ("a.w64", "pcm_s16le", "w64/pcm_s16le"),
    ("a.oga", "flac", "ogg/flac"),
])  # fmt: skip
def test_a_lossless_container_has_the_digest_of_its_wav(
    tmp_path: Path, wav: Path, name: str, codec: str, form: str
) -> None:
    tools = need("ffmpeg")
    ffmpeg("-i", wav, "-c:a", codec, tmp_path / name)
    facts = inspect_audio(tmp_path / name, tools)
    assert (facts.format, facts.bits, facts.lossless, facts.duration_ms) == (form, 16, True, 2000)
    assert facts.pcm == inspect_audio(wav).pcm


@pytest.mark.parametrize(("name", "codec", "form"), [("a.wma", "wmav2", "asf/wmav2"), ("a.m4a", "aac", "mp4/aac")])
def test_a_lossy_one_is_known_and_has_no_pcm_digest(
    tmp_path: Path, wav: Path, name: str, codec: str, form: str
) -> None:
    tools = need("ffmpeg")
    ffmpeg("-i", wav, "-c:a", codec, tmp_path / name)
    facts = inspect_audio(tmp_path / name, tools)
    assert (facts.format, facts.lossless, facts.pcm, facts.rate_hz) == (form, False, None, RATE_HZ)


def test_what_only_ffmpeg_reads_is_left_out_without_it_and_says_so(tmp_path: Path, wav: Path) -> None:
    need("ffmpeg")
    ffmpeg("-i", wav, tmp_path / "a.wv")
    assert "decoded by ffmpeg alone" in refusal(tmp_path / "a.wv").reason


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "alac"), ("a.m4a", "aac"), ("a.wv", "wavpack")])
def test_audio_that_does_not_decode_to_its_end_is_damaged(tmp_path: Path, wav: Path, name: str, codec: str) -> None:
    tools = need("ffmpeg")
    path = tmp_path / name
    ffmpeg("-i", wav, "-c:a", codec, path)
    whole = path.read_bytes()
    start, end = len(whole) * 4 // 10, len(whole) * 8 // 10
    path.write_bytes(whole[:start] + b"\xff" * (end - start) + whole[end:])
    refused = refusal(path, tools)
    assert "damaged" in refused.reason or "truncated" in refused.reason
    assert refused.cause is Cause.CONTENT
    assert "0x" not in refused.reason
    assert str(tmp_path) not in refused.reason, "the reason is the same wherever and however often it is looked at"


# ---- encrypted -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [
    m4a(entry=sound_entry(b"drms", box(b"sinf", box(b"frma", b"mp4a")))),
    m4a(entry=sound_entry(b"enca", box(b"sinf", box(b"frma", b"mp4a")))),
    m4a(entry=sound_entry(b"xxxx", box(b"sinf", box(b"frma", b"mp4a")))),
    m4a(entry=sound_entry(b"aavd")),
    m4a(entry=sound_entry(b"mp4a"), beside=box(b"pssh", bytes(24))),
], ids=["fairplay", "common encryption", "protection scheme", "audible", "licence server"])  # fmt: skip
def test_an_encrypted_file_is_left_out_as_such(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "song.m4p").write_bytes(content)
    assert "encrypted (DRM)" in refusal(tmp_path / "song.m4p").reason


def test_the_name_of_an_encrypted_format_alone_does_not_condemn_a_file(tmp_path: Path) -> None:
    (tmp_path / "song.m4p").write_bytes(m4a(entry=sound_entry(b"mp4a"), title="drms sinf pssh"))
    facts = inspect_audio(tmp_path / "song.m4p")
    assert (facts.format, facts.rate_hz, facts.channels) == ("mp4/aac", RATE_HZ, 2)


def test_an_encrypted_windows_media_file_is_left_out_as_such(tmp_path: Path, wav: Path) -> None:
    tools = need("ffmpeg")
    ffmpeg("-i", wav, tmp_path / "a.wma")
    plain = (tmp_path / "a.wma").read_bytes()
    assert inspect_audio(tmp_path / "a.wma", tools).media_type == "audio/x-ms-wma"
    size = int.from_bytes(plain[16:24], "little")
    object_ = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e") + (40).to_bytes(8, "little") + bytes(16)
    (tmp_path / "a.wma").write_bytes(
        plain[:16] + (size + 40).to_bytes(8, "little") + plain[24:30] + object_ + plain[30:]
    )
    assert "encrypted (DRM)" in refusal(tmp_path / "a.wma", tools).reason


# ---- programs that misbehave -----------------------------------------------------------------------------------------


def test_a_program_that_never_ends_is_ended(tmp_path: Path) -> None:
    program = script(tmp_path / "stuck", "echo begun; exec sleep 600")
    said: list[bytes] = []
    with pytest.raises(ToolStuck, match="stuck did not finish within 1 s"):
        run_tool([program], said.append, deadline_s=0.6)
    assert b"".join(said) == b"begun\n"


def test_a_program_that_closes_its_output_and_stays_is_ended(tmp_path: Path) -> None:
    program = script(tmp_path / "stuck", "exec >&- 2>&-; exec sleep 600")
    with pytest.raises(ToolStuck):
        run_tool([program], lambda _: None, deadline_s=0.3)


def test_a_cancelled_program_is_ended(tmp_path: Path) -> None:
    cancel = threading.Event()
    started_s = time.monotonic()
    with pytest.raises(Cancelled):
        run_tool(
            [script(tmp_path / "p", "echo x; exec sleep 600")], lambda _: cancel.set(), deadline_s=300, cancel=cancel
        )
    assert time.monotonic() - started_s < 60


def test_what_a_program_complains_of_is_kept_up_to_a_bound(tmp_path: Path) -> None:
    program = script(tmp_path / "p", "head -c 3000000 /dev/zero | tr '\\0' 'e' >&2; exit 7")
    status, complaint = run_tool([program], lambda _: None, deadline_s=60)
    assert status == 7
    assert set(complaint) == {"e"}
    assert len(complaint) < 10_000


def test_a_stuck_decoder_leaves_its_file_out_for_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.decode.DEADLINE_S", 0.3)
    stuck = script(tmp_path / "ffmpeg", "exec sleep 600")
    (tmp_path / "a.m4a").write_bytes(m4a(entry=sound_entry(b"mp4a")))
    refused = refusal(tmp_path / "a.m4a", Tools(ffmpeg=stuck, ffprobe=stuck))
    assert "run the same command again" in refused.reason
    assert refused.cause is Cause.MOMENT


def test_a_decoder_that_gives_too_little_is_not_believed(tmp_path: Path) -> None:
    short = script(tmp_path / "ffmpeg", "head -c 1764 /dev/zero")
    facts = AudioFacts(
        media_type="audio/mp4", format="mp4/alac", duration_ms=2000, rate_hz=RATE_HZ, channels=2, bits=16, lossless=True
    )
    (tmp_path / "a.m4a").write_bytes(b"x")
    with pytest.raises(BadAudio, match="truncated: 10 of 2000 ms decode"):
        decode_by_ffmpeg(tmp_path / "a.m4a", "mov", facts, short, None)


def test_a_32_bit_flac_decoded_to_other_samples_than_its_header_promises_is_damaged(tmp_path: Path) -> None:
    packed = (RATE_HZ << 44 | 1 << 41 | 31 << 36 | 441).to_bytes(8, "big")
    good = hashlib.md5(bytes(441 * 8), usedforsecurity=False).digest()
    decoder = Tools(flac=script(tmp_path / "flac", f"head -c {441 * 8} /dev/zero"))
    for md5, accepted in ((good, True), (b"x" * 16, False)):
        (tmp_path / "a.flac").write_bytes(b"fLaC\x80\0\0\x22" + bytes(10) + packed + md5)
        if accepted:
            pcm = inspect_audio(tmp_path / "a.flac", decoder).pcm
            assert pcm is not None
            assert (pcm.format, pcm.sha256) == ("s32le", hashlib.sha256(bytes(441 * 8)).digest())
        else:
            assert "does not match the checksum" in refusal(tmp_path / "a.flac", decoder).reason


def test_a_device_that_fails_under_the_decoder_is_not_taken_for_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = encoded(next(kind for kind in KINDS if kind.name == "flac16.flac"))
    (tmp_path / "a.flac").write_bytes(whole[: len(whole) // 2])  # what libsndfile sees where reading stops
    assert refusal(tmp_path / "a.flac").cause is Cause.CONTENT

    def readv(descriptor: int, buffers: list[bytearray]) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "readv", readv)
    refused = refusal(tmp_path / "a.flac")
    assert (refused.reason, refused.cause) == ("input/output error", Cause.DEVICE)


def test_a_tool_that_is_there_and_does_not_run_counts_as_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ffmpeg", "ffprobe", "fpcalc"):
        script(tmp_path / name, "exit 127")
    script(tmp_path / "flac", "echo flac 9.9")
    monkeypatch.setenv("PATH", str(tmp_path))
    find_tools.cache_clear()
    try:
        tools = find_tools()
    finally:
        find_tools.cache_clear()
    assert (tools.ffmpeg, tools.fpcalc, tools.version("flac")) == (None, None, "flac 9.9")
