"""AIFF and AIFF-C (Apple, 1989 and 1991)."""

from __future__ import annotations

import struct
from typing import BinaryIO

from catalog.formats.facts import TRUNCATED, AudioFacts, BadAudio, playable, read_exactly
from catalog.formats.pcm import digest_samples

_CHUNKS_MAX = 4096
_INTEGER = {b"NONE": True, b"twos": True, b"in24": True, b"in32": True, b"sowt": False}
"""Compression types that are plain integers, and whether big-endian."""
_FLOAT = {b"fl32": 32, b"FL32": 32, b"fl64": 64, b"FL64": 64}
"""Compression types that are floating-point samples, big-endian, and their bits."""


def starts(head: bytes) -> bool:
    return head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC")


def inspect(file: BinaryIO, size: int) -> AudioFacts:
    """Facts of a whole file of `size` bytes. Raises: BadAudio."""
    file.seek(4)
    form_bytes = int.from_bytes(read_exactly(file, 4, "its header"), "big")
    if form_bytes + 8 > size:
        raise BadAudio(f"{TRUNCATED}: {size} of {form_bytes + 8} bytes")
    common, sound = _walk(file, size)
    channels, frames, bits, rate_hz, compression = common
    start, sound_bytes = sound
    duration_ms = playable(frames, rate_hz)
    if compression not in _INTEGER and compression not in _FLOAT:
        return AudioFacts(
            media_type="audio/aiff",
            format=f"aiff/{compression.decode('latin-1').strip().lower()}",
            duration_ms=duration_ms,
            rate_hz=rate_hz,
            channels=channels or None,
        )
    floating = compression in _FLOAT
    bits = _FLOAT.get(compression, bits)
    width = (bits + 7) // 8
    if channels == 0 or width not in ((4, 8) if floating else (1, 2, 3, 4)):
        raise BadAudio(f"damaged: {bits} bits in {channels} channels")
    if frames * channels * width > sound_bytes:
        raise BadAudio(f"{TRUNCATED}: {sound_bytes} of {frames * channels * width} bytes of audio")
    file.seek(start)
    pcm = digest_samples(
        file,
        frames=frames,
        channels=channels,
        bits=8 * width,
        rate_hz=rate_hz,
        big_endian=_INTEGER.get(compression, True),
        floating=floating,
    )
    return AudioFacts(
        media_type="audio/aiff",
        format="aiff/float" if floating else "aiff/pcm",
        duration_ms=duration_ms,
        rate_hz=rate_hz,
        channels=channels,
        bits=bits,
        lossless=True,
        pcm=pcm,
    )


_Common = tuple[int, int, int, int, bytes]


def _walk(file: BinaryIO, size: int) -> tuple[_Common, tuple[int, int]]:
    """((channels, frames, bits, rate, compression), (where the samples start, their bytes))."""
    common: _Common | None = None
    sound: tuple[int, int] | None = None
    at = 12
    for _ in range(_CHUNKS_MAX):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            break
        name, length = head[:4], int.from_bytes(head[4:], "big")
        if at + 8 + length > size:
            raise BadAudio(
                f"{TRUNCATED}: its {name.decode('latin-1').strip()!r} chunk needs {at + 8 + length - size} more bytes"
            )
        if name == b"COMM":
            common = _parse_common(read_exactly(file, min(length, 22), "its format"))
        elif name == b"SSND" and length >= 8:
            offset = int.from_bytes(read_exactly(file, 8, "its audio")[:4], "big")
            sound = (at + 16 + offset, length - 8 - offset)
        at += 8 + length + length % 2
    if common is None:
        raise BadAudio("damaged: an AIFF file without a COMM chunk")
    if sound is None:
        raise BadAudio("it holds no audio" if common[1] == 0 else f"{TRUNCATED}: it ends before its audio")
    return common, sound


def _parse_common(chunk: bytes) -> _Common:
    if len(chunk) < 18:
        raise BadAudio("damaged: its COMM chunk is too short")
    channels, frames, bits, exponent, mantissa = struct.unpack_from(">HIHHQ", chunk)
    # An 80-bit extended float: value = mantissa * 2 ** (exponent - 16383 - 63). Real rates are small integers.
    shift = 16383 + 63 - (exponent & 0x7FFF)
    rate_hz = mantissa >> shift if 0 <= shift < 64 else 0
    return channels, frames, bits, rate_hz, chunk[18:22] if len(chunk) >= 22 else b"NONE"
