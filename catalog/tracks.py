"""The demonstration's own music: renders the pieces of `catalog.scores` into tagged wav and flac files."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from catalog.scores import SCORES, Score
from catalog.synth import RATE_HZ, mix

YEAR = "2026"


def render_tracks(folder: Path, progress: Callable[[Path], None] | None = None) -> list[Path]:
    """Writes the demonstration's tracks under `folder`, in nested folders with names in several scripts.

    progress: told of each file as it is finished. Returns the files written, in the order of `SCORES`.
    Same samples and tags on every run and every machine; the flac files' bytes may differ with the version of libFLAC.
    Raises: OSError where the folder cannot be written.
    """
    written = []
    for number, score in enumerate(SCORES, start=1):
        path = folder / score.folder / f"{number:02} {score.title}.{score.container}"
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = mix(score.compose(), score.length_s)
        path.write_bytes(flac_bytes(samples, score) if score.container == "flac" else wav_bytes(samples, score))
        written.append(path)
        if progress is not None:
            progress(path)
    return written


def wav_bytes(samples: NDArray[np.int16], score: Score) -> bytes:
    """RIFF/WAVE with 16-bit PCM, and the tags in a LIST INFO chunk as UTF-8 (INFO's own registry names the fields)."""
    channels = samples.shape[1]
    fields = {
        b"INAM": score.title,
        b"IART": score.artist,
        b"IPRD": score.album,
        b"IPUB": score.label,
        b"ICRD": YEAR,
        b"ISRC": score.isrc,
    }
    info = b"INFO" + b"".join(_riff(name, text.encode() + b"\0") for name, text in fields.items())
    format_ = struct.pack("<HHIIHH", 1, channels, RATE_HZ, RATE_HZ * channels * 2, channels * 2, 16)
    body = _riff(b"fmt ", format_) + _riff(b"LIST", info) + _riff(b"data", samples.astype("<i2").tobytes())
    return _riff(b"RIFF", b"WAVE" + body)


def _riff(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def flac_bytes(samples: NDArray[np.int16], score: Score) -> bytes:
    """FLAC as libsndfile encodes it, with Vorbis comments of our own (libsndfile cannot write an ISRC)."""
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, RATE_HZ, format="FLAC", subtype="PCM_16")
    comments = {
        "TITLE": score.title,
        "ARTIST": score.artist,
        "ALBUM": score.album,
        "PUBLISHER": score.label,
        "DATE": YEAR,
        "ISRC": score.isrc,
    }
    return with_comments(encoded.getvalue(), (f"{name}={text}" for name, text in comments.items()))


def with_comments(flac: bytes, comments: Iterable[str]) -> bytes:
    """The same FLAC stream with these Vorbis comments in place of its own, and without padding.

    Source: FLAC format (RFC 9639), sections 8.1 (metadata block header) and 8.6 (Vorbis comment).
    """
    last, padding, comment = 0x80, 1, 4
    blocks, at = [], 4
    while True:
        kind, length = flac[at] & 0x7F, int.from_bytes(flac[at + 1 : at + 4], "big")
        if kind not in (padding, comment):
            blocks.append((kind, flac[at + 4 : at + 4 + length]))
        ended = flac[at] & last
        at += 4 + length
        if ended:
            break
    blocks.append((comment, _comment_block("Stretto", list(comments))))
    headers = [
        bytes([kind | (last if i == len(blocks) - 1 else 0)]) + len(content).to_bytes(3, "big") + content
        for i, (kind, content) in enumerate(blocks)
    ]
    return b"fLaC" + b"".join(headers) + flac[at:]


def _comment_block(vendor: str, comments: list[str]) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<I", len(value.encode())) + value.encode()

    return text(vendor) + struct.pack("<I", len(comments)) + b"".join(map(text, comments))
