"""One digest for the same samples in whatever lossless container; another one for any other samples."""

from __future__ import annotations

import hashlib
import struct
import subprocess
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from catalog.audio import inspect_audio
from catalog.formats.facts import Pcm
from catalog.formats.pcm import swapped
from catalog.tools import NO_TOOLS, Tools
from tests.catalog.programs import ffmpeg, need

RATE_HZ = 48_000
FRAMES = 6000


@cache
def master(bits: int) -> NDArray[np.int32]:
    """(FRAMES, 2) int32: noise that uses every one of the lower `bits` bits."""
    noise = np.random.default_rng(bits).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (FRAMES, 2))
    return noise.astype(np.int32)


def raw(samples: NDArray[np.int32], bits: int) -> bytes:
    """Signed little-endian at `bits`: written a second time here, without the code under test."""
    return b"".join(int(sample).to_bytes(bits // 8, "little", signed=True) for sample in samples.reshape(-1))


def write(path: Path, samples: NDArray[np.int32], bits: int) -> Path:
    """A wav, aiff or flac by its name. libsndfile takes integers in the upper bits of 32."""
    subtype = "PCM_U8" if bits == 8 and path.suffix == ".wav" else "PCM_S8" if bits == 8 else f"PCM_{bits}"
    soundfile.write(path, samples << (32 - bits), RATE_HZ, subtype=subtype)
    return path


def digest(path: Path, tools: Tools = NO_TOOLS) -> Pcm:
    pcm = inspect_audio(path, tools).pcm
    assert pcm is not None
    return pcm


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_wav_and_aiff_of_the_same_samples_have_the_digest_of_the_samples(tmp_path: Path, bits: int) -> None:
    expected = hashlib.sha256(raw(master(bits), bits)).digest()
    for name in ("a.wav", "a.aiff"):
        pcm = digest(write(tmp_path / name, master(bits), bits))
        assert (pcm.sha256, pcm.format) == (expected, "s8" if bits == 8 else f"s{bits}le")


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("level", [0, 5, 8])
def test_a_flac_of_any_level_has_the_digest_of_its_wav(tmp_path: Path, bits: int, level: int) -> None:
    tools = need("flac")
    wav = write(tmp_path / "a.wav", master(bits), bits)
    line = ["flac", "--silent", f"-{level}", "-o", str(tmp_path / "a.flac"), str(wav)]
    subprocess.run(line, check=True, timeout=60)
    assert digest(tmp_path / "a.flac", tools) == digest(wav)


@pytest.mark.parametrize("bits", [16, 24])
def test_an_alac_has_the_digest_of_its_wav(tmp_path: Path, bits: int) -> None:
    tools = need("ffmpeg")
    wav = write(tmp_path / "a.wav", master(bits), bits)
    ffmpeg("-i", wav, "-c:a", "alac", tmp_path / "a.m4a")
    facts = inspect_audio(tmp_path / "a.m4a", tools)
    assert (facts.format, facts.bits, facts.lossless) == ("mp4/alac", bits, True)
    assert facts.pcm == digest(wav)
    assert inspect_audio(tmp_path / "a.m4a").pcm is None, "without ffmpeg nothing here decodes it"


@pytest.mark.parametrize(("dtype", "subtype", "form"), [("<f4", "FLOAT", "f32le"), ("<f8", "DOUBLE", "f64le")])
def test_floating_point_is_digested_as_it_lies_in_the_file(tmp_path: Path, dtype: str, subtype: str, form: str) -> None:
    samples = (np.random.default_rng(1).standard_normal((FRAMES, 2)) * 1.7).astype(dtype)  # over full scale: kept
    found = []
    for container in ("WAV", "AIFF", "RF64"):
        soundfile.write(tmp_path / container, samples, RATE_HZ, format=container, subtype=subtype)
        found.append(digest(tmp_path / container))
    assert {pcm.sha256 for pcm in found} == {hashlib.sha256(samples.tobytes()).digest()}
    assert {pcm.format for pcm in found} == {form}


def test_the_same_values_at_another_depth_are_another_master(tmp_path: Path) -> None:
    samples = master(16)
    narrow, wide = write(tmp_path / "a.wav", samples, 16), write(tmp_path / "b.wav", samples << 8, 24)
    assert digest(narrow).sha256 != digest(wide).sha256


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".flac"])
@pytest.mark.parametrize("sample", [0, FRAMES, 2 * FRAMES - 1])
@pytest.mark.parametrize("bit", range(24))
def test_any_single_bit_of_a_24_bit_master_changes_the_digest(
    tmp_path: Path, suffix: str, sample: int, bit: int
) -> None:
    changed = master(24).copy()
    changed.reshape(-1)[sample] = (int(changed.reshape(-1)[sample]) ^ 1 << bit) + 2**23 & 2**24 - 1
    changed.reshape(-1)[sample] -= 2**23
    assert int((changed != master(24)).sum()) == 1
    spoiled = digest(write(tmp_path / f"a{suffix}", changed, 24))
    assert spoiled.sha256 == hashlib.sha256(raw(changed, 24)).digest()
    assert spoiled.sha256 != hashlib.sha256(raw(master(24), 24)).digest()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.integers(0, FRAMES * 6 - 1), bit=st.integers(0, 7))
def test_wherever_the_bit_lies_in_the_file(tmp_path: Path, at: int, bit: int) -> None:
    wav = write(tmp_path / "a.wav", master(24), 24)
    content = bytearray(wav.read_bytes())
    before = digest(wav)
    content[content.index(b"data") + 8 + at] ^= 1 << bit
    wav.write_bytes(content)
    assert digest(wav).sha256 != before.sha256


def test_a_32_bit_flac_whose_samples_do_not_match_its_header_is_damaged(tmp_path: Path) -> None:
    tools = need("flac")
    wav = write(tmp_path / "a.wav", master(32), 32)
    subprocess.run(["flac", "--silent", "-o", str(tmp_path / "a.flac"), str(wav)], check=True, timeout=60)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[8 + 18] ^= 1  # first byte of STREAMINFO's MD5
    (tmp_path / "a.flac").write_bytes(content)
    with pytest.raises(Exception, match="damaged"):
        inspect_audio(tmp_path / "a.flac", tools)
    with pytest.raises(Exception, match="decoded by the flac program"):
        inspect_audio(tmp_path / "a.flac")


# ---- depths that are no whole bytes ----------------------------------------------------------------------------------


def upper_bits(samples: NDArray[np.int32], bits: int) -> bytes:
    """Signed little-endian in whole bytes, the samples in their upper bits."""
    width = (bits + 7) // 8
    return b"".join(
        (int(sample) << 8 * width - bits).to_bytes(width, "little", signed=True) for sample in samples.reshape(-1)
    )


def chunk(name: bytes, content: bytes, order: Literal["big", "little"]) -> bytes:
    return name + len(content).to_bytes(4, order) + content + bytes(len(content) % 2)


def odd_wav(path: Path, bits: int) -> Path:
    width = (bits + 7) // 8
    form = struct.pack("<HHIIHH", 1, 2, RATE_HZ, RATE_HZ * 2 * width, 2 * width, bits)
    samples = upper_bits(master(bits), bits)
    if width == 1:
        samples = bytes(byte ^ 0x80 for byte in samples)
    body = chunk(b"fmt ", form, "little") + chunk(b"data", samples, "little")
    path.write_bytes(chunk(b"RIFF", b"WAVE" + body, "little"))
    return path


def odd_aiff(path: Path, bits: int) -> Path:
    width = (bits + 7) // 8
    rate = struct.pack(">HQ", 16_383 + RATE_HZ.bit_length() - 1, RATE_HZ << 64 - RATE_HZ.bit_length())
    common = chunk(b"COMM", struct.pack(">hIh", 2, FRAMES, bits) + rate, "big")
    sound = chunk(b"SSND", bytes(8) + swapped(upper_bits(master(bits), bits), width), "big")
    path.write_bytes(chunk(b"FORM", b"AIFF" + common + sound, "big"))
    return path


@pytest.mark.parametrize(("bits", "form"), [(7, "s8"), (12, "s16le"), (20, "s24le")])
def test_7_12_and_20_bits_are_digested_alike_in_whole_bytes_whatever_the_container(
    tmp_path: Path, bits: int, form: str
) -> None:
    tools = need("flac", "ffmpeg")
    aiff = odd_aiff(tmp_path / "a.aiff", bits)
    for name, more in (("a.flac", ()), ("a.oga", ("--ogg",))):
        line = ["flac", "--silent", "--lax", *more, "-o", str(tmp_path / name), str(aiff)]
        subprocess.run(line, check=True, timeout=60)
    found = [digest(path, tools) for path in (aiff, odd_wav(tmp_path / "a.wav", bits), tmp_path / "a.flac",
                                              tmp_path / "a.oga")]  # fmt: skip
    assert {pcm.format for pcm in found} == {form}
    assert {pcm.sha256 for pcm in found} == {hashlib.sha256(upper_bits(master(bits), bits)).digest()}
    facts = inspect_audio(tmp_path / "a.flac", tools)
    assert (facts.bits, facts.duration_ms) == (bits, 125)
    assert facts.flac_md5 is not None
    with pytest.raises(Exception, match=f"FLAC of {bits} bits is decoded by the flac program"):
        inspect_audio(tmp_path / "a.flac")


def test_the_padding_after_an_odd_number_of_bytes_is_no_sample(tmp_path: Path) -> None:
    tools = need("flac")
    mono = master(20)[:101, :1]
    rate = struct.pack(">HQ", 16_383 + RATE_HZ.bit_length() - 1, RATE_HZ << 64 - RATE_HZ.bit_length())
    common = chunk(b"COMM", struct.pack(">hIh", 1, 101, 20) + rate, "big")
    sound = chunk(b"SSND", bytes(8) + swapped(upper_bits(mono, 20), 3), "big")
    (tmp_path / "a.aiff").write_bytes(chunk(b"FORM", b"AIFF" + common + sound, "big"))
    line = ["flac", "--silent", "-o", str(tmp_path / "a.flac"), str(tmp_path / "a.aiff")]
    subprocess.run(line, check=True, timeout=60)
    assert digest(tmp_path / "a.flac", tools) == digest(tmp_path / "a.aiff")
    assert digest(tmp_path / "a.flac", tools).sha256 == hashlib.sha256(upper_bits(mono, 20)).digest()


def test_a_20_bit_flac_whose_samples_do_not_match_its_header_is_damaged(tmp_path: Path) -> None:
    tools = need("flac")
    line = ["flac", "--silent", "-o", str(tmp_path / "a.flac"), str(odd_aiff(tmp_path / "a.aiff", 20))]
    subprocess.run(line, check=True, timeout=60)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[8 + 18] ^= 1  # first byte of STREAMINFO's MD5
    (tmp_path / "a.flac").write_bytes(content)
    with pytest.raises(Exception, match="damaged"):
        inspect_audio(tmp_path / "a.flac", tools)
