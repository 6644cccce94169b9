"""MPEG-1, -2 and -2.5 audio layer III, walked frame by frame: an mp3 has no length but the sum of its frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from catalog.formats.facts import KNOWN, TRUNCATED, AudioFacts, BadAudio, NotAudio, playable
from catalog.formats.id3 import id3v2_bytes

_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_1 = (44_100, 48_000, 32_000)
_SEARCH_BYTES = 64 * 1024
"""How far after the tags the first frame may be: some writers leave padding behind."""
_FRAMES_MIN = 3
"""Chance finds a frame header in any file; it does not find three in a row."""


@dataclass(frozen=True, slots=True)
class _Frame:
    version: int
    """3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5."""
    rate_hz: int
    samples: int
    length: int
    side_bytes: int
    """Between the header and where a Xing header stands."""
    channels: int


def _parse_frame(head: bytes) -> _Frame | None:
    """The frame that begins with these four bytes, or None. Source: ISO/IEC 11172-3, section 2.4.1.3."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer != 1 or bits in (0, 15) or rate == 3:
        return None
    first = version == 3
    rate_hz = _RATES_1[rate] >> {3: 0, 2: 1, 0: 2}[version]
    kbits = (_KBITS_1 if first else _KBITS_2)[bits]
    length = (144_000 if first else 72_000) * kbits // rate_hz + (head[2] >> 1 & 1)
    mono = head[3] >> 6 == 3
    side = (17 if mono else 32) if first else (9 if mono else 17)
    return _Frame(version, rate_hz, 1152 if first else 576, length, side, 1 if mono else 2)


def starts(head: bytes) -> bool:
    """Whether it may be an mp3; `inspect` finds out."""
    return head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0)


def inspect(file: BinaryIO, size: int) -> AudioFacts:
    """Facts of a whole file of `size` bytes. Raises: BadAudio."""
    tags = id3v2_bytes(file)
    if tags >= size:
        raise BadAudio(f"{TRUNCATED}: it ends inside its tags" if tags > size else "it holds no audio")
    end = _audio_end(file, size)
    at, promised, first = _first_frame(file, tags, end)
    frames = 0
    while at < end:
        file.seek(at)
        head = file.read(4)
        frame = _parse_frame(head)
        if frame is None:
            if len(head) < 4 or at + 4 > end or not any(head):  # padding or a stump shorter than a header
                break
            raise BadAudio(f"damaged: no frame where one should be, at byte {at}")
        if frame.rate_hz != first.rate_hz:
            raise BadAudio(f"damaged: the sampling rate changes at byte {at}")
        if at + frame.length > end:
            raise BadAudio(f"{TRUNCATED}: its last frame needs {at + frame.length - end} more bytes")
        frames += 1
        at += frame.length
    if promised is not None and frames + 1 < promised:  # some encoders count the header's own frame
        raise BadAudio(f"{TRUNCATED}: {frames} of {promised} frames")
    return AudioFacts(
        media_type="audio/mpeg",
        format="mpeg/mp3",
        duration_ms=playable(frames * first.samples, first.rate_hz),
        rate_hz=first.rate_hz,
        channels=first.channels,
    )


def _first_frame(file: BinaryIO, start: int, end: int) -> tuple[int, int | None, _Frame]:
    """(where the audio frames begin, how many a Xing header promises, the first of them)."""
    file.seek(start)
    window = file.read(min(_SEARCH_BYTES, end - start))
    for offset in range(len(window) - 3):
        if window[offset] != 0xFF:
            continue
        frame = _parse_frame(window[offset : offset + 4])
        if frame and _run(file, start + offset, end) >= min(_FRAMES_MIN, max(1, (end - start) // frame.length)):
            promised = _promised(window[offset : offset + frame.length], frame)
            # The Xing header is a frame of its own, silent and not counted by itself.
            return start + offset + (frame.length if promised is not None else 0), promised, frame
    raise NotAudio(f"not audio that Stretto knows ({KNOWN})")


def _run(file: BinaryIO, at: int, end: int) -> int:
    """How many frames follow each other from `at` on, at most _FRAMES_MIN; a cut last one counts."""
    for count in range(_FRAMES_MIN):
        file.seek(at)
        frame = _parse_frame(file.read(4)) if at + 4 <= end else None
        if frame is None:
            return count
        at += frame.length
    return _FRAMES_MIN


def _promised(data: bytes, frame: _Frame) -> int | None:
    """Frames after this one by its Xing, Info or VBRI header; 0 where it does not say; None where it has none."""
    xing = data[4 + frame.side_bytes :]
    if xing[:4] in (b"Xing", b"Info"):
        return int.from_bytes(xing[8:12], "big") if len(xing) >= 12 and xing[7] & 1 else 0
    vbri = data[36:]
    if vbri[:4] == b"VBRI":
        return int.from_bytes(vbri[14:18], "big") if len(vbri) >= 18 else 0
    return None


def _audio_end(file: BinaryIO, size: int) -> int:
    """Where the audio ends: before the tags that stand at the end (ID3v1, APEv2, Lyrics3)."""
    end = size
    file.seek(max(0, end - 128))
    if end >= 128 and file.read(3) == b"TAG":
        end -= 128
    file.seek(max(0, end - 15))
    lyrics = file.read(15)
    if len(lyrics) == 15 and lyrics[6:] == b"LYRICS200" and lyrics[:6].isdigit():
        end = max(0, end - 15 - int(lyrics[:6]))
    file.seek(max(0, end - 32))
    foot = file.read(32)
    if len(foot) == 32 and foot[:8] == b"APETAGEX":
        has_header = int.from_bytes(foot[20:24], "little") >> 31
        end = max(0, end - int.from_bytes(foot[12:16], "little") - 32 * has_header)
    return end
