"""Digest of uncompressed samples as they lie in a file: wav and aiff."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

from catalog.formats.facts import Pcm, read_exactly

_BLOCK_FRAMES = 65_536
TO_SIGNED = bytes(byte ^ 0x80 for byte in range(256))


def digest_samples(
    file: BinaryIO,
    *,
    frames: int,
    channels: int,
    bits: int,
    rate_hz: int,
    big_endian: bool = False,
    unsigned: bool = False,
    floating: bool = False,
) -> Pcm:
    """SHA-256 of `frames` frames from the file's position on, as `Pcm` describes.

    bits: 8, 16, 24 or 32; floating 32 or 64. Raises: BadAudio where the file ends too early.
    """
    width = bits // 8
    sha256 = hashlib.sha256()
    left = frames
    while left:
        count = min(left, _BLOCK_FRAMES)
        block = read_exactly(file, count * channels * width, "its audio")
        if unsigned:
            block = block.translate(TO_SIGNED)
        sha256.update(swapped(block, width) if big_endian and width > 1 else block)
        left -= count
    return Pcm(sha256=sha256.digest(), rate_hz=rate_hz, channels=channels, bits=bits, floating=floating)


def swapped(samples: bytes, width: int) -> bytes:
    """Every sample of `width` bytes reversed."""
    result = bytearray(len(samples))
    for i in range(width):
        result[i::width] = samples[width - 1 - i :: width]
    return bytes(result)
