"""Containers that only ffmpeg reads here: Windows Media, WavPack, Monkey's Audio, TTA, CAF, Sony Wave64."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO, Final

from catalog.decode import decode_by_ffmpeg
from catalog.formats.facts import ENCRYPTED, AudioFacts, BadAudio
from catalog.tools import Tools, run_tool

_PROBE_S: Final = 60
_ANSWER_BYTES_MAX: Final = 1 << 20
_HEADER_BYTES_MAX: Final = 1 << 20
_LOSSLESS: Final = frozenset({"ape", "tta", "alac", "flac", "wmalossless", "wavpack"})
_ASF_ENCRYPTION: Final = tuple(
    bytes.fromhex(guid)
    for guid in (
        "fbb31122 23bd d211 b4b7 00a0c955fc6e",  # Content Encryption Object
        "14e68a29 2226 174c b935 dae07ee9289c",  # Extended Content Encryption Object
        "33850543 8169 e649 9b74 ad12cb86d58c",  # Advanced Content Encryption Object
    )
)
"""Microsoft's Advanced Systems Format specification 1.20, sections 3.14, 3.15 and 4.10."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """A container by the name that ffmpeg's demuxer has."""

    demuxer: str
    media_type: str


_MAGIC: Final = (
    (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), Foreign("asf", "audio/x-ms-wma")),
    (b"wvpk", Foreign("wv", "audio/x-wavpack")),
    (b"MAC ", Foreign("ape", "audio/x-ape")),
    (b"TTA1", Foreign("tta", "audio/x-tta")),
    (b"caff", Foreign("caf", "audio/x-caf")),
    (bytes.fromhex("726966662e91cf11a5d628db04c10000"), Foreign("w64", "audio/x-w64")),
)


def foreign_container(head: bytes) -> Foreign | None:
    """Which of them begins with these bytes (16 or more)."""
    return next((foreign for magic, foreign in _MAGIC if head.startswith(magic)), None)


def inspect_foreign(path: Path, file: BinaryIO, foreign: Foreign, tools: Tools, cancel: Event | None) -> AudioFacts:
    """Facts of a whole file: probed, then decoded to its end. Raises: BadAudio, ToolStuck, Cancelled, OSError."""
    file.seek(0)
    head = file.read(_HEADER_BYTES_MAX)
    if foreign.demuxer == "asf" and any(
        guid in head[: int.from_bytes(head[16:24], "little")] for guid in _ASF_ENCRYPTION
    ):
        raise BadAudio(ENCRYPTED)
    if tools.ffmpeg is None or tools.ffprobe is None:
        raise BadAudio(
            f"{foreign.media_type} is decoded by ffmpeg alone: 'stretto catalog scan' asks it where it is installed"
        )
    stream, duration_s = _probe(path, foreign, tools.ffprobe, cancel)
    codec = str(stream.get("codec_name", "unknown"))
    # WavPack's hybrid mode is lossy without its correction file: bit 3 of a block's flags.
    lossless = (codec in _LOSSLESS or codec.startswith("pcm_")) and not (codec == "wavpack" and head[24] & 8)
    bits = _number(stream.get("bits_per_raw_sample")) or _number(stream.get("bits_per_sample"))
    facts = AudioFacts(
        media_type=foreign.media_type,
        format=f"{foreign.demuxer}/{codec}",
        duration_ms=max(1, round(duration_s * 1000)),
        rate_hz=_number(stream.get("sample_rate")),
        channels=_number(stream.get("channels")),
        bits=bits if lossless else None,
        lossless=lossless,
    )
    floating = str(stream.get("sample_fmt", "")).startswith(("flt", "dbl"))
    return decode_by_ffmpeg(path, foreign.demuxer, facts, tools.ffmpeg, cancel, floating=floating)


def _probe(path: Path, foreign: Foreign, ffprobe: str, cancel: Event | None) -> tuple[dict[str, Any], float]:
    """(the first audio stream, seconds). Raises: BadAudio."""
    said = bytearray()

    def take(piece: bytes) -> None:
        if len(said) <= _ANSWER_BYTES_MAX:
            said.extend(piece)

    command = [ffprobe, "-v", "error", "-of", "json", "-show_streams", "-show_format"]
    command += ["-protocol_whitelist", "file", "-f", foreign.demuxer, f"file:{path}"]
    status, _ = run_tool(command, take, deadline_s=_PROBE_S, cancel=cancel)
    try:
        answer = json.loads(said) if status == 0 else {}
        streams = [stream for stream in answer.get("streams", []) if isinstance(stream, dict)]
        duration_s = float(answer.get("format", {}).get("duration") or 0)
    except (ValueError, AttributeError, TypeError):
        streams, duration_s = [], 0.0
    if any(s.get("codec_type") == "video" and not s.get("disposition", {}).get("attached_pic") for s in streams):
        raise BadAudio("a video, not an audio file")
    stream = next((s for s in streams if s.get("codec_type") == "audio"), None)
    if stream is None:
        raise BadAudio("damaged: ffprobe finds no audio in it")
    return stream, duration_s


def _number(value: object) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdecimal() and int(text) > 0 else None
