"""Audio files made on the spot, one of each kind, and ways to spoil them. No third-party audio is committed."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from functools import cache

import numpy as np
import soundfile

RATE_HZ = 44_100
SECONDS = 2


@dataclass(frozen=True)
class Kind:
    """One way to encode the test tone. pcm: the depth at which its samples are lossless, else None."""

    name: str
    format: str
    subtype: str
    media_type: str
    pcm: int | None = None


KINDS = (
    Kind("wav16.wav", "WAV", "PCM_16", "audio/wav", 16),
    Kind("wav24.wav", "WAV", "PCM_24", "audio/wav", 24),
    Kind("wav8.wav", "WAV", "PCM_U8", "audio/wav", 8),
    Kind("wav32.wav", "WAV", "PCM_32", "audio/wav", 32),
    Kind("float.wav", "WAV", "FLOAT", "audio/wav", 32),
    Kind("double.wav", "WAV", "DOUBLE", "audio/wav", 64),
    Kind("extensible.wav", "WAVEX", "PCM_24", "audio/wav", 24),
    Kind("rf64.wav", "RF64", "PCM_16", "audio/wav", 16),
    Kind("adpcm.wav", "WAV", "MS_ADPCM", "audio/wav"),
    Kind("aiff16.aiff", "AIFF", "PCM_16", "audio/aiff", 16),
    Kind("aiff24.aiff", "AIFF", "PCM_24", "audio/aiff", 24),
    Kind("aiff8.aiff", "AIFF", "PCM_S8", "audio/aiff", 8),
    Kind("float.aiff", "AIFF", "FLOAT", "audio/aiff", 32),
    Kind("flac16.flac", "FLAC", "PCM_16", "audio/flac", 16),
    Kind("flac24.flac", "FLAC", "PCM_24", "audio/flac", 24),
    Kind("flac8.flac", "FLAC", "PCM_S8", "audio/flac", 8),
    Kind("vorbis.ogg", "OGG", "VORBIS", "audio/ogg"),
    Kind("opus.opus", "OGG", "OPUS", "audio/ogg"),
    Kind("layer3.mp3", "MP3", "MPEG_LAYER_III", "audio/mpeg"),
)


@cache
def tone() -> np.ndarray:
    """(frames, 2) int16: two slowly beating sines, so that no two samples in a row are alike."""
    time = np.arange(RATE_HZ * SECONDS) / RATE_HZ
    left, right = np.sin(2 * np.pi * 220 * time), np.sin(2 * np.pi * 331 * time)
    return (np.stack([left, right], axis=1) * 20_000).astype(np.int16)


@cache
def encoded(kind: Kind) -> bytes:
    """The tone as a file of that kind."""
    buffer = io.BytesIO()
    rate_hz = 48_000 if kind.subtype == "OPUS" else RATE_HZ  # Opus knows no 44.1 kHz
    soundfile.write(buffer, tone(), rate_hz, format=kind.format, subtype=kind.subtype)
    return buffer.getvalue()


def duration_ms(kind: Kind) -> int:
    return round(len(tone()) * 1000 / 48_000) if kind.subtype == "OPUS" else SECONDS * 1000


# ---- MPEG-4, box by box: nothing here encodes AAC, and the checks are about boxes ------------------------------------


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def m4a(
    *,
    handler: bytes = b"soun",
    duration_ms: int = 2000,
    samples: bytes = b"\xaa" * 4000,
    chunk_at: int | None = None,
    title: str | None = None,
    entry: bytes | None = None,
    beside: bytes = b"",
) -> bytes:
    """A file with one track whose only chunk is `samples`.

    chunk_at: where its table says the chunk begins. entry: its sample description. beside: boxes beside the track.
    """
    ftyp = box(b"ftyp", b"M4A \0\0\0\0M4A mp42")
    mvhd = box(b"mvhd", struct.pack(">IIIII", 0, 0, 0, 1000, duration_ms) + bytes(80))

    def moov(offset: int) -> bytes:
        stco = box(b"stco", struct.pack(">III", 0, 1, offset))
        stsd = box(b"stsd", struct.pack(">II", 0, 1) + entry) if entry is not None else b""
        media = box(b"hdlr", bytes(8) + handler + bytes(12)) + box(b"minf", box(b"stbl", stsd + stco))
        return box(b"moov", mvhd + beside + box(b"trak", box(b"mdia", media)) + (_meta(title) if title else b""))

    start = len(ftyp) + len(moov(0)) + 8
    return ftyp + moov(start if chunk_at is None else chunk_at) + box(b"mdat", samples)


def sound_entry(kind: bytes, *inside: bytes, rate_hz: int = 44_100, channels: int = 2) -> bytes:
    """A sample description of a sound track (ISO/IEC 14496-12, section 12.2.3), with boxes inside."""
    fields = bytes(6) + struct.pack(">H8xHHIHH", 1, channels, 16, 0, rate_hz, 0)
    return box(kind, fields + b"".join(inside))


def _meta(title: str) -> bytes:
    data = box(b"data", struct.pack(">II", 1, 0) + title.encode())
    handler = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(10))
    return box(b"udta", box(b"meta", bytes(4) + handler + box(b"ilst", box(b"\xa9nam", data))))
