"""The work on one file of a scan, as one function: the same in a thread, in another process and on another machine."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

from catalog.examine import examine
from catalog.fingerprint import ALGORITHM, LENGTH_S
from catalog.manifest import TrackRecord
from catalog.scan import LeftOut
from catalog.tools import Tools, find_tools


def record_of(
    path: Path,
    root: Path,
    *,
    tools: Tools | None = None,
    blake3: bytes | None = None,
    cancel: Event | None = None,
) -> TrackRecord | LeftOut:
    """What the manifest says of the file at `path`, or why it says nothing.

    root: the folder that paths are relative to. tools: those of this machine unless told otherwise. Machines that work
    on one manifest must agree in `algorithms_of(tools)`. blake3: as `catalog.digests.hash_file`.
    Raises: Cancelled; nothing else that a file could bring about.
    """
    try:
        asked = find_tools() if tools is None else tools
        track = examine(path, tools=asked, blake3=blake3, cancel=cancel)
    except LeftOut as left_out:
        return left_out
    return TrackRecord.of(track, root)


def algorithms_of(tools: Tools) -> dict[str, Any]:
    """What the first line of a manifest says: everything besides the files that its other lines depend on.

    Decoders are named without their versions, because lossless audio decodes to the same samples by all of them. A
    fingerprint depends on the version of fpcalc and of the decoders in it, so that one is named in full.
    """
    chromaprint = {"algorithm": ALGORITHM, "length_s": LENGTH_S, "fpcalc": tools.version("fpcalc")}
    decoders = [name for name, path in (("ffmpeg", tools.ffmpeg), ("flac", tools.flac)) if path is not None]
    return {
        "blake3": "file",
        "sha256": "file",
        "pcm": "sha256",
        "decoders": ["libsndfile", *decoders],
        "chromaprint": chromaprint if tools.fpcalc is not None else None,
    }
