"""MPEG-4 audio files (ISO/IEC 14496-12, -14): boxes that tile the file, a sound track, its samples inside the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from catalog.formats.facts import ENCRYPTED, TRUNCATED, AudioFacts, BadAudio, milliseconds, playable

_MOOV_BYTES_MAX = 64 << 20
_BOXES_MAX = 100_000
_ENCRYPTED = (b"drms", b"drmi", b"enca", b"aavd")
_CODECS = {b"mp4a": "aac", b"alac": "alac", b"fLaC": "flac", b"Opus": "opus", b"ac-3": "ac3", b"ec-3": "eac3"}
_PARENTS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})


def starts(head: bytes) -> bool:
    return head[4:8] == b"ftyp"


def inspect(file: BinaryIO, size: int) -> AudioFacts:
    """Facts of a whole file of `size` bytes. Raises: BadAudio."""
    moov, media, fragmented = _top_level(file, size)
    handlers, duration_ms, furthest, sound = _tracks(moov)
    if b"vide" in handlers:
        raise BadAudio("a video, not an audio file")
    if b"soun" not in handlers:
        raise BadAudio("an MPEG-4 file without a sound track")
    if not media:
        raise BadAudio(f"{TRUNCATED}: its audio (the mdat box) is missing")
    if furthest >= size:
        raise BadAudio(f"{TRUNCATED}: its tables point to byte {furthest} of {size}")
    if not fragmented:
        playable(duration_ms, 1000)
    return AudioFacts(
        media_type="audio/mp4",
        format=f"mp4/{sound.codec}",
        duration_ms=duration_ms,
        rate_hz=sound.rate_hz,
        channels=sound.channels,
        bits=sound.bits,
        lossless=sound.codec in ("alac", "flac"),
    )


def _top_level(file: BinaryIO, size: int) -> tuple[bytes, bool, bool]:
    """(content of moov, whether there is an mdat, whether the audio comes in fragments)."""
    moov, media, fragmented, at = b"", False, False, 0
    for _ in range(_BOXES_MAX):
        if at >= size:
            break
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            raise BadAudio(f"{TRUNCATED}: it ends inside a box")
        length, kind, skip = int.from_bytes(head[:4], "big"), head[4:8], 8
        if length == 1:
            length, skip = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:  # "to the end of the file"
            length = size - at
        if length < skip:
            raise BadAudio(f"damaged: a box of {length} bytes at byte {at}")
        if at + length > size:
            name = kind.decode("latin-1")
            raise BadAudio(f"{TRUNCATED}: its {name!r} box needs {at + length - size} more bytes")
        if kind == b"moov":
            if length > _MOOV_BYTES_MAX:
                raise BadAudio(f"damaged: a 'moov' box of {length} bytes (at most {_MOOV_BYTES_MAX})")
            file.seek(at + skip)
            moov = file.read(length - skip)
        media = media or kind == b"mdat"
        fragmented = fragmented or kind == b"moof"
        at += length
    if not moov:
        raise BadAudio(f"{TRUNCATED}: its table of contents (the moov box) is missing")
    return moov, media, fragmented


@dataclass(frozen=True, slots=True)
class _Sound:
    """What a sound track's sample description says (ISO/IEC 14496-12, section 12.2.3)."""

    codec: str = "unknown"
    rate_hz: int | None = None
    channels: int | None = None
    bits: int | None = None


def _tracks(moov: bytes) -> tuple[set[bytes], int, int, _Sound]:
    """(kinds of tracks, duration in ms, highest byte a chunk begins at, the first sound track). Raises: BadAudio."""
    handlers: set[bytes] = set()
    duration_ms, furthest, handler, sound = 0, 0, b"", _Sound()
    for kind, box in _boxes(moov, 0, len(moov), 0):
        if kind == b"hdlr" and len(box) >= 12:
            handler = bytes(box[8:12])
            handlers.add(handler)
        elif kind == b"pssh":
            raise BadAudio(ENCRYPTED)
        elif kind == b"stsd" and handler == b"soun" and sound == _Sound():
            sound = _describe(bytes(box))
        elif kind == b"mvhd" and len(box) >= 20:
            long = box[0] == 1
            scale = int.from_bytes(box[20:24] if long else box[12:16], "big")
            units = int.from_bytes(box[24:32] if long else box[16:20], "big")
            if scale == 0:
                raise BadAudio("damaged: its time scale is 0")
            duration_ms = milliseconds(units, scale)
        elif kind in (b"stco", b"co64") and len(box) >= 8:
            width = 4 if kind == b"stco" else 8
            count = min(int.from_bytes(box[4:8], "big"), (len(box) - 8) // width)
            for i in range(count):
                furthest = max(furthest, int.from_bytes(box[8 + i * width : 8 + (i + 1) * width], "big"))
    return handlers, duration_ms, furthest, sound


def _describe(stsd: bytes) -> _Sound:
    """The first entry of a sound track's sample description. Raises: BadAudio where the samples are encrypted."""
    entry = stsd[8:]
    kind = entry[4:8]
    # FairPlay (m4p), Common Encryption and Audible each rename the entry; a 'sinf' box inside says the same once more.
    if kind in _ENCRYPTED or (entry[36:].find(b"sinf") >= 0 and kind not in _CODECS):
        raise BadAudio(ENCRYPTED)
    codec = _CODECS.get(kind) or (kind.decode("latin-1").strip() if kind.strip(b"\0 ") else "unknown")
    if len(entry) < 36:
        return _Sound(codec=codec)
    rate_hz: int | None = int.from_bytes(entry[32:34], "big") or None
    channels: int | None = int.from_bytes(entry[24:26], "big") or None
    bits: int | None = None
    at = entry.find(codec.encode() if codec == "alac" else b"dfLa", 36)
    if codec == "alac" and at >= 0 and len(entry) >= at + 32:  # ALACSpecificConfig, 24 bytes after size, kind and flags
        config = entry[at + 8 : at + 32]
        bits, channels, rate_hz = config[5], config[9], int.from_bytes(config[20:24], "big")
    elif codec == "flac" and at >= 0 and len(entry) >= at + 12 + 34:  # a STREAMINFO block behind its own header
        packed = int.from_bytes(entry[at + 12 + 10 : at + 12 + 18], "big")
        rate_hz, channels, bits = packed >> 44, (packed >> 41 & 7) + 1, (packed >> 36 & 31) + 1
    return _Sound(codec=codec, rate_hz=rate_hz, channels=channels, bits=bits)


def _boxes(data: bytes, start: int, end: int, depth: int) -> Iterator[tuple[bytes, memoryview]]:
    """(kind, content) of every box in data[start:end], parents entered (five deep: moov's grammar has no more)."""
    at = start
    while at + 8 <= end:
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if length < 8 or at + length > end:
            raise BadAudio(f"damaged: a box of {length} bytes does not fit into its parent")
        if kind in _PARENTS and depth < 5:
            yield from _boxes(data, at + 8, at + length, depth + 1)
        else:
            yield kind, memoryview(data)[at + 8 : at + length]
        at += length
