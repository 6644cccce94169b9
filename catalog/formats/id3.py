"""Where ID3v2 puts itself: before the audio, in mp3 as intended, in flac and aiff by programs that know no better."""

from __future__ import annotations

from typing import BinaryIO


def id3v2_bytes(file: BinaryIO) -> int:
    """Length of the ID3v2 tags at the start of the file (0 where there are none); leaves the position undefined.

    Source: ID3v2.4.0 structure, section 3.1: the size is four times seven bits; flag 0x10 adds a footer.
    """
    at = 0
    while True:
        file.seek(at)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3" or any(byte & 0x80 for byte in head[6:10]):
            return at
        length = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        at += 10 + length + (10 if head[5] & 0x10 else 0)
