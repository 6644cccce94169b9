"""Ogg (RFC 3533): every page's checksum, every stream's end mark; Vorbis, Opus, FLAC and Speex inside."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import BinaryIO

from catalog.formats.facts import TRUNCATED, AudioFacts, BadAudio, playable, read_exactly

_PAGE_HEAD = 27
_FIRST, _LAST = 2, 4
_NO_GRANULE = 2**64 - 1
_STREAMS_MAX = 1024
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def starts(head: bytes) -> bool:
    return head[:4] == b"OggS"


@dataclass(slots=True)
class _Stream:
    codec: str
    rate_hz: int
    channels: int
    skip: int
    """Samples at the start that are not to be heard."""
    bits: int | None = None
    next_page: int = 0
    granule: int = 0
    ended: bool = False


def checksum(page: bytes) -> int:
    """Ogg's CRC: polynomial 0x04C11DB7 unreflected, starting at 0, nothing inverted (RFC 3533, section 6).

    zlib's is the same polynomial over reversed bits, so reversing the bits of every byte and of the result turns its
    fast loop into this one.
    """
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(_REVERSED), "big")


def inspect(file: BinaryIO, size: int) -> AudioFacts:
    """Facts of a whole file of `size` bytes. Chained streams (one after another) play one after another.

    Raises: BadAudio.
    """
    audio: dict[int, _Stream | None] = {}
    played: list[_Stream] = []
    at = 0
    while at < size:
        page, flags, granule, serial, number, body = _read_page(file, at, size)
        if flags & _FIRST:
            if audio.get(serial) or len(played) > _STREAMS_MAX:
                raise BadAudio(f"damaged: stream {serial:08x} begins twice")
            audio[serial] = stream = _identify(body)
            played += [stream] if stream else []
        elif serial not in audio:
            raise BadAudio(f"damaged: a page at byte {at} belongs to no stream")
        stream = audio[serial]
        if stream is not None:
            if number != stream.next_page:
                raise BadAudio(f"damaged: page {stream.next_page} is missing before byte {at}")
            stream.next_page = number + 1
            stream.granule = stream.granule if granule == _NO_GRANULE else granule
            stream.ended = bool(flags & _LAST)
            if stream.ended:
                audio[serial] = None
        at += len(page)
    if not played:
        raise BadAudio("an Ogg file without audio that Stretto knows (Vorbis, Opus, FLAC, Speex)")
    if not all(stream.ended for stream in played):
        raise BadAudio(f"{TRUNCATED}: its last page is missing")
    duration_ms = sum(playable(max(0, s.granule - s.skip), s.rate_hz) for s in played)
    first = played[0]
    return AudioFacts(
        media_type="audio/ogg",
        format=f"ogg/{first.codec}",
        duration_ms=duration_ms,
        rate_hz=first.rate_hz,
        channels=first.channels or None,
        bits=first.bits,
        lossless=first.codec == "flac",
    )


def _read_page(file: BinaryIO, at: int, size: int) -> tuple[bytes, int, int, int, int, bytes]:
    """(page, flags, granule position, serial, page number, body) of the page at byte `at`."""
    file.seek(at)
    head = file.read(_PAGE_HEAD)
    if head[:4] != b"OggS"[: len(head)] or (len(head) > 4 and head[4] != 0):
        raise BadAudio(f"damaged: no Ogg page at byte {at}")
    if len(head) < _PAGE_HEAD:
        raise BadAudio(f"{TRUNCATED}: it ends inside a page")
    table = read_exactly(file, head[26], "a page")
    body_bytes = sum(table)
    if at + _PAGE_HEAD + len(table) + body_bytes > size:
        raise BadAudio(f"{TRUNCATED}: it ends inside a page")
    body = read_exactly(file, body_bytes, "a page")
    page = head + table + body
    stated = int.from_bytes(head[22:26], "little")
    if checksum(page[:22] + bytes(4) + page[26:]) != stated:
        raise BadAudio(f"damaged: the page at byte {at} does not match its checksum")
    granule, serial, number = (int.from_bytes(head[a:b], "little") for a, b in ((6, 14), (14, 18), (18, 22)))
    return page, head[5], granule, serial, number, body


def _identify(first: bytes) -> _Stream | None:
    """The stream that begins with this packet; None where it is no audio. Raises: BadAudio for video."""
    if first.startswith(b"\x01vorbis") and len(first) >= 16:
        return _Stream(codec="vorbis", rate_hz=int.from_bytes(first[12:16], "little"), channels=first[11], skip=0)
    if first.startswith(b"OpusHead") and len(first) >= 12:  # RFC 7845: granules always count at 48 kHz
        skip = int.from_bytes(first[10:12], "little")
        return _Stream(codec="opus", rate_hz=48_000, channels=first[9], skip=skip)
    if first.startswith(b"\x7fFLAC") and len(first) >= 31:  # RFC 9639, section 10.1
        packed = int.from_bytes(first[27:31], "big")  # rate 20 bits, channels - 1 in 3, bits - 1 in 5
        bits = (packed >> 4 & 31) + 1
        return _Stream(codec="flac", rate_hz=packed >> 12, channels=(packed >> 9 & 7) + 1, skip=0, bits=bits)
    if first.startswith(b"Speex   ") and len(first) >= 52:
        channels = int.from_bytes(first[48:52], "little")
        return _Stream(codec="speex", rate_hz=int.from_bytes(first[36:40], "little"), channels=channels, skip=0)
    if first.startswith((b"\x80theora", b"BBCD", b"\x01video")):
        raise BadAudio("a video, not an audio file")
    return None
