"""FLAC (RFC 9639): decoded through, and compared with the checksum its encoder left in the header."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import BinaryIO

from catalog.formats.facts import TRUNCATED, AudioFacts, BadAudio, Pcm, playable, read_exactly
from catalog.formats.id3 import id3v2_bytes

_BLOCK_FRAMES = 65_536
_STREAMINFO_BYTES = 34
SNDFILE_BITS = (8, 16, 24)
"""What libsndfile 1.2 decodes; 12, 20 and 32 bits it refuses."""


def starts(head: bytes) -> bool:
    return head[:4] == b"fLaC"


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """RFC 9639, section 8.2."""

    rate_hz: int
    channels: int
    bits: int
    frames: int
    """0: unknown."""
    md5: bytes
    """Zeros: unknown."""


def read_streaminfo(file: BinaryIO) -> StreamInfo:
    """The mandatory first metadata block; the file stands at the stream's marker. Raises: BadAudio."""
    head = read_exactly(file, 8, "its header")
    if head[4] & 0x7F != 0 or int.from_bytes(head[5:8], "big") != _STREAMINFO_BYTES:
        raise BadAudio("damaged: FLAC without STREAMINFO at its head")
    block = read_exactly(file, _STREAMINFO_BYTES, "its header")
    packed = int.from_bytes(block[10:18], "big")
    return StreamInfo(
        rate_hz=packed >> 44,
        channels=(packed >> 41 & 7) + 1,
        bits=(packed >> 36 & 31) + 1,
        frames=packed & (1 << 36) - 1,
        md5=block[18:],
    )


def inspect(file: BinaryIO, size: int) -> AudioFacts:  # noqa: ARG001  one shape for all formats
    """Facts of a whole file. Raises: BadAudio."""
    file.seek(id3v2_bytes(file))
    info = read_streaminfo(file)
    if info.bits not in SNDFILE_BITS:  # `catalog.decode` asks the flac program, where there is one
        return _facts(info, info.frames, None, info.md5)
    frames, sha256, md5 = _decode(file, info)
    if info.frames and frames < info.frames:
        raise BadAudio(f"{TRUNCATED}: {frames} of {info.frames} samples decode")
    if any(info.md5) and md5 != info.md5:
        raise BadAudio("damaged: its audio does not match the checksum in its header")
    return _facts(info, frames, sha256, info.md5)


def _facts(info: StreamInfo, frames: int, sha256: bytes | None, md5: bytes) -> AudioFacts:
    pcm = None
    if sha256 is not None:
        pcm = Pcm(sha256=sha256, rate_hz=info.rate_hz, channels=info.channels, bits=info.bits)
    return AudioFacts(
        media_type="audio/flac",
        format="flac/flac",
        duration_ms=playable(frames, info.rate_hz),
        rate_hz=info.rate_hz,
        channels=info.channels,
        bits=info.bits,
        lossless=True,
        pcm=pcm,
        flac_md5=md5 if any(md5) else None,
    )


def _decode(file: BinaryIO, info: StreamInfo) -> tuple[int, bytes, bytes]:
    """(frames, SHA-256, MD5) of the samples, signed little-endian at the source's depth, one of SNDFILE_BITS."""
    # Imported late: numpy and libsndfile take longer to load than most files take to check.
    import numpy as np  # noqa: PLC0415
    import soundfile  # noqa: PLC0415

    sha256, md5, frames = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    descriptor = file.fileno()
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        with soundfile.SoundFile(descriptor, closefd=False) as sound:
            while True:
                block = sound.read(_BLOCK_FRAMES, dtype="int16" if info.bits <= 16 else "int32", always_2d=True)
                if not len(block):
                    break
                frames += len(block)
                if info.bits == 8:
                    data = (block >> 8).astype(np.int8).tobytes()
                elif info.bits == 16:
                    data = block.astype("<i2", copy=False).tobytes()
                else:  # libsndfile puts 24 bits into the upper three bytes of 32
                    data = block.astype("<i4", copy=False).view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
                sha256.update(data)
                md5.update(data)
    except soundfile.LibsndfileError as error:
        if info.frames and frames < info.frames:
            raise BadAudio(f"{TRUNCATED} or damaged: it does not decode to the end") from error
        raise BadAudio(f"damaged: {error.error_string.rstrip('.').lower()}") from error
    return frames, sha256.digest(), md5.digest()
