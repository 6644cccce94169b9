"""Samples by other programs: what libsndfile cannot decode, ffmpeg and flac can, in a pipe and with a deadline."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Final

from catalog.formats.facts import TRUNCATED, AudioFacts, BadAudio, Pcm, milliseconds, playable
from catalog.formats.flac import SNDFILE_BITS
from catalog.formats.pcm import TO_SIGNED
from catalog.tools import Tools, run_tool

DEADLINE_S: Final = 120
BYTES_PER_S_MIN: Final = 250_000
"""A decoder slower than this on its input is stuck; the slowest seen read 5 MB of it a second."""
_WAV_HEAD_BYTES: Final = 68
"""Of the wav that the flac program writes for such depths: RIFF, WAVEFORMATEXTENSIBLE, and `data` with its length."""
_ADDRESS: Final = re.compile(r"\[[^\]]*@ 0x[0-9a-f]+\]")
_SLACK_MS: Final = 15
"""Between a header's duration and the decoded one: rounding to the header's clock. One lost frame of ALAC is 21 ms or
more."""


def complete(path: Path, facts: AudioFacts, tools: Tools, cancel: Event | None = None) -> AudioFacts:
    """`facts` with what only decoding can tell, where a program for it is here.

    Raises: BadAudio where the audio does not decode to its end; ToolStuck, Cancelled, OSError.
    """
    if facts.format == "flac/flac" and facts.bits not in SNDFILE_BITS:
        if tools.flac is None:
            problem = f"FLAC of {facts.bits} bits is decoded by the flac program (1.4 or newer) alone"
            raise BadAudio(f"{problem}: 'stretto catalog scan' asks it where it is installed")
        return _decode_flac(path, facts, tools.flac, cancel)
    if tools.ffmpeg is not None and facts.media_type == "audio/mp4":
        return decode_by_ffmpeg(path, "mov", facts, tools.ffmpeg, cancel)
    if tools.ffmpeg is not None and facts.format == "ogg/flac":
        return decode_by_ffmpeg(path, "ogg", facts, tools.ffmpeg, cancel)
    return facts


def decode_by_ffmpeg(
    path: Path, demuxer: str, facts: AudioFacts, ffmpeg: str, cancel: Event | None, *, floating: bool = False
) -> AudioFacts:
    """Decodes the first audio stream to its end: digest and duration of a lossless one, soundness of any.

    The demuxer is named and only files may be opened: a file that looks like a playlist leads nowhere.
    Raises: BadAudio, ToolStuck, Cancelled, OSError.
    """
    container = 8 * ((facts.bits or 0) + 7 >> 3)
    exact = facts.lossless and (facts.bits in (32, 64) if floating else container in (8, 16, 24, 32))
    bits = container if exact else 16
    form = Pcm(sha256=b"", rate_hz=0, channels=0, bits=bits, floating=floating and exact).format
    command = [ffmpeg, "-nostdin", "-hide_banner", "-v", "error", "-xerror", "-threads", "1"]
    command += ["-protocol_whitelist", "file", "-f", demuxer, "-i", f"file:{path}"]
    command += ["-map", "0:a:0", "-c:a", f"pcm_{form}", "-f", form, "pipe:1"]
    sha256, count = _digest_output(command, path, cancel)
    if not exact:
        if not count:
            raise BadAudio("damaged: nothing of it decodes")
        return facts
    frames = count // (bits // 8 * (facts.channels or 1))
    rate_hz = facts.rate_hz or 0
    if facts.duration_ms and milliseconds(frames, max(1, rate_hz)) + _SLACK_MS < facts.duration_ms:
        raise BadAudio(f"{TRUNCATED}: {milliseconds(frames, max(1, rate_hz))} of {facts.duration_ms} ms decode")
    pcm = Pcm(sha256=sha256, rate_hz=rate_hz, channels=facts.channels or 1, bits=bits, floating=floating)
    return replace(facts, duration_ms=playable(frames, rate_hz), pcm=pcm)


def _decode_flac(path: Path, facts: AudioFacts, flac: str, cancel: Event | None) -> AudioFacts:
    """Depths that libsndfile does not decode. The program compares with the header's MD5 itself; so do we."""
    rate_hz, channels, bits = facts.rate_hz or 0, facts.channels or 1, facts.bits or 32
    command = [flac, "--decode", "--stdout", "--silent"]
    if bits % 8:
        return _decode_odd_flac(path, facts, command, cancel)
    command += ["--force-raw-format", "--endian=little", "--sign=signed"]
    md5 = hashlib.md5(usedforsecurity=False)
    sha256, count = _digest_output([*command, "--", str(path)], path, cancel, md5.update)
    if facts.flac_md5 is not None and md5.digest() != facts.flac_md5:
        raise BadAudio("damaged: its audio does not match the checksum in its header")
    pcm = Pcm(sha256=sha256, rate_hz=rate_hz, channels=channels, bits=bits)
    return replace(facts, duration_ms=playable(count // (channels * (bits // 8)), rate_hz), pcm=pcm)


def _decode_odd_flac(path: Path, facts: AudioFacts, command: list[str], cancel: Event | None) -> AudioFacts:
    """12, 20 bits: the program writes them as a wav alone, in the upper bits; that the MD5 is right is its word."""
    rate_hz, channels, width = facts.rate_hz or 0, facts.channels or 1, ((facts.bits or 0) + 7) // 8
    sha256, head, left = hashlib.sha256(), bytearray(), 0

    def take(piece: bytes) -> None:
        nonlocal left
        if (missing := _WAV_HEAD_BYTES - len(head)) > 0:
            head.extend(piece[:missing])
            piece = piece[missing:]
            left = int.from_bytes(head[-4:], "little")
        # No more than that: after an odd number of bytes comes one that is no sample.
        samples = piece[:left]
        sha256.update(samples.translate(TO_SIGNED) if width == 1 else samples)
        left = max(0, left - len(piece))

    _digest_output([*command, "--", str(path)], path, cancel, take)
    size = int.from_bytes(head[-4:], "little")
    if len(head) < _WAV_HEAD_BYTES or head[-8:-4] != b"data" or left or size % (channels * width):
        raise BadAudio("damaged: it does not decode to whole samples")
    pcm = Pcm(sha256=sha256.digest(), rate_hz=rate_hz, channels=channels, bits=8 * width)
    return replace(facts, duration_ms=playable(size // (channels * width), rate_hz), pcm=pcm)


def _digest_output(
    command: list[str], path: Path, cancel: Event | None, also: Callable[[bytes], object] | None = None
) -> tuple[bytes, int]:
    """(SHA-256, bytes) of what a decoder writes. Raises: BadAudio with its complaint where it does not end well."""
    sha256, count = hashlib.sha256(), 0

    def take(piece: bytes) -> None:
        nonlocal count
        sha256.update(piece)
        count += len(piece)
        if also is not None:
            also(piece)

    deadline_s = DEADLINE_S + path.stat().st_size / BYTES_PER_S_MIN
    status, complaint = run_tool(command, take, deadline_s=deadline_s, cancel=cancel)
    if status != 0:
        raise BadAudio(f"damaged: it does not decode to the end ({_complaint(complaint, path) or status})")
    return sha256.digest(), count


def _complaint(said: str, path: Path) -> str:
    """The first line of it, without what differs from run to run: where the file lies, and addresses in memory."""
    name = os.fsencode(path).decode("utf-8", "replace")
    for line in said.replace(f"file:{name}", "").replace(name, "").splitlines():
        if text := _ADDRESS.sub("", line).strip(" :"):
            return text[:160]
    return ""
