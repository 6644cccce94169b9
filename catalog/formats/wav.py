"""RIFF/WAVE, with the 64-bit forms RF64 (EBU Tech 3306) and BW64 (ITU-R BS.2088)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from catalog.formats.facts import TRUNCATED, AudioFacts, BadAudio, playable, read_exactly
from catalog.formats.pcm import digest_samples

_UNKNOWN = 0xFFFFFFFF
_CHUNKS_MAX = 4096
_FORMAT_BYTES_MAX = 40
"""WAVEFORMATEXTENSIBLE; what follows it concerns codecs we do not decode."""
_PCM, _FLOAT, _EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
_CODECS = {
    0x0002: "adpcm",
    0x0006: "alaw",
    0x0007: "ulaw",
    0x0011: "adpcm",
    0x0031: "gsm",
    0x0050: "mp2",
    0x0055: "mp3",
}


def starts(head: bytes) -> bool:
    return head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE"


@dataclass(frozen=True, slots=True)
class _Format:
    tag: int
    channels: int
    rate_hz: int
    bytes_per_second: int
    frame_bytes: int
    bits: int


def inspect(file: BinaryIO, size: int) -> AudioFacts:
    """Facts of a whole file of `size` bytes. Raises: BadAudio."""
    file.seek(4)
    riff_bytes = int.from_bytes(read_exactly(file, 4, "its header"), "little")
    # 0 and 2^32 - 1 are what programs write that stream, or have yet to come back and fill in the length.
    if riff_bytes not in (0, _UNKNOWN) and riff_bytes + 8 > size:
        raise BadAudio(f"{TRUNCATED}: {size} of {riff_bytes + 8} bytes")
    format_, start, data_bytes, fact = _walk(file, size)
    _check(format_)
    rate_hz, channels, bits = format_.rate_hz, format_.channels, format_.bits
    if format_.tag not in (_PCM, _FLOAT):
        frames = fact or data_bytes * rate_hz // max(1, format_.bytes_per_second)
        return AudioFacts(
            media_type="audio/wav",
            format=f"wav/{_CODECS.get(format_.tag, f'0x{format_.tag:04x}')}",
            duration_ms=playable(frames, rate_hz),
            rate_hz=rate_hz,
            channels=channels,
        )
    frames = data_bytes // format_.frame_bytes
    duration_ms = playable(frames, rate_hz)
    floating = format_.tag == _FLOAT
    file.seek(start)
    width = (bits + 7) // 8
    pcm = digest_samples(
        file,
        frames=frames,
        channels=channels,
        bits=8 * width,
        rate_hz=rate_hz,
        unsigned=width == 1,
        floating=floating,
    )
    return AudioFacts(
        media_type="audio/wav",
        format="wav/float" if floating else "wav/pcm",
        duration_ms=duration_ms,
        rate_hz=rate_hz,
        channels=channels,
        bits=bits,
        lossless=True,
        pcm=pcm,
    )


def _walk(file: BinaryIO, size: int) -> tuple[_Format, int, int, int]:
    """(format, where the data start, their bytes, frames by the fact chunk or 0)."""
    format_: _Format | None = None
    start, data_bytes, fact, data_bytes_64 = 0, -1, 0, _UNKNOWN
    at = 12
    for _ in range(_CHUNKS_MAX):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or (data_bytes >= 0 and not head[:4].isascii()):  # trailing bytes after the audio are nobody's
            break
        name, length = head[:4], int.from_bytes(head[4:], "little")
        if name == b"data":
            if length == _UNKNOWN and data_bytes_64 != _UNKNOWN:
                length = data_bytes_64
            start, data_bytes = at + 8, length if length not in (0, _UNKNOWN) else size - at - 8
            length = data_bytes
        if at + 8 + length > size:
            raise BadAudio(
                f"{TRUNCATED}: its {name.decode('latin-1').strip()!r} chunk needs {at + 8 + length - size} more bytes"
            )
        if name == b"fmt ":
            format_ = _parse_format(read_exactly(file, min(length, _FORMAT_BYTES_MAX), "its format"))
        elif name == b"fact" and length >= 4:
            fact = int.from_bytes(read_exactly(file, 4, "its fact chunk"), "little")
        elif name == b"ds64" and length >= 16:
            data_bytes_64 = int.from_bytes(read_exactly(file, 16, "its ds64 chunk")[8:], "little")
        at += 8 + length + length % 2
    if format_ is None:
        raise BadAudio("damaged: a WAVE file without a format")
    if data_bytes < 0:
        raise BadAudio(f"{TRUNCATED}: it ends before its audio")
    return format_, start, data_bytes, fact


def _parse_format(chunk: bytes) -> _Format:
    if len(chunk) < 16:
        raise BadAudio("damaged: its format chunk is too short")
    tag, channels, rate_hz, bytes_per_second, frame_bytes, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= 26:
        tag = int.from_bytes(chunk[24:26], "little")
    return _Format(tag, channels, rate_hz, bytes_per_second, frame_bytes, bits)


def _check(format_: _Format) -> None:
    depths = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}.get(format_.tag)
    width = (format_.bits + 7) // 8
    if format_.channels == 0 or format_.rate_hz == 0:
        raise BadAudio("damaged: its header names no channels or no sampling rate")
    if depths and (8 * width not in depths or format_.frame_bytes != format_.channels * width):
        raise BadAudio(
            f"damaged: {format_.bits} bits in {format_.frame_bytes} bytes a frame for {format_.channels} channels"
        )
