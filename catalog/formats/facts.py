"""What the format modules share: their result, their refusal, and reading that cannot run past the end unnoticed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Pcm:
    """Digest of a lossless source's decoded audio, so that it is recognised in another container.

    Interleaved samples, signed, little-endian, at the source's own depth (8-bit WAV, unsigned, is made signed): two
    different 24-bit masters never collide, and `flac -d` or any audio editor can reproduce the bytes. 12 and 20 bits
    are the upper bits of 16 and 24, as wav and aiff hold them and ffmpeg and `flac -d` write them. Floating-point
    samples are digested as they lie in the file: IEEE 754, little-endian, not one bit of them normalised.
    """

    sha256: bytes
    rate_hz: int
    channels: int
    bits: int
    """Of each sample as digested: 8, 16, 24 or 32; floating point 32 or 64."""
    floating: bool = False

    @property
    def format(self) -> str:
        """ffmpeg's name for these samples: s8, s16le, s24le, s32le, f32le or f64le."""
        return f"{'f' if self.floating else 's'}{self.bits}{'le' if self.bits > 8 else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioFacts:
    """A whole, sound audio file."""

    media_type: str
    """IANA's name for the container, such as audio/flac."""
    format: str = ""
    """Container and what is inside: wav/pcm, wav/float, flac/flac, ogg/vorbis, mp4/alac."""
    duration_ms: int
    rate_hz: int | None = None
    """Sample frames per second, where the header says."""
    channels: int | None = None
    bits: int | None = None
    """Bits of a sample at the source; None where the coding has no such thing (mp3, Vorbis, AAC)."""
    lossless: bool = False
    """Whether decoding gives back exactly the samples that were encoded."""
    pcm: Pcm | None = None
    """None for lossy sources, and for lossless ones that cannot be decoded here."""
    flac_md5: bytes | None = None
    """STREAMINFO's own checksum of the audio (RFC 9639, section 8.2), checked; None where the encoder left it out."""


class BadAudio(Exception):
    """Not usable as audio. The message says why, in words that fit after the file's name."""


class NotAudio(BadAudio):
    """Nothing is wrong with the file: it is something else."""


TRUNCATED = "truncated"
ENCRYPTED = "encrypted (DRM): nobody but its seller's players can tell what it holds; take the master instead"
KNOWN = "wav, flac, ogg, mp3, m4a, aiff"


def read_exactly(file: BinaryIO, count: int, what: str) -> bytes:
    """count bytes, or BadAudio: `what` is where the file ends too early."""
    data = file.read(count)
    if len(data) != count:
        raise BadAudio(f"{TRUNCATED}: it ends inside {what}")
    return data


def milliseconds(frames: int, rate_hz: int) -> int:
    """Rounded half up, in integers: a claim's bytes must not depend on floating point."""
    return (frames * 2000 + rate_hz) // (2 * rate_hz)


def playable(frames: int, rate_hz: int) -> int:
    """Duration in ms. Raises: BadAudio where there is nothing to hear."""
    if rate_hz <= 0:
        raise BadAudio(f"damaged: its header gives a sampling rate of {rate_hz} Hz")
    if frames <= 0:
        raise BadAudio("it holds no audio")
    return max(1, milliseconds(frames, rate_hz))
