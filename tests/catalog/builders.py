"""Tracks for tests: real files on disk, with the tags a test asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from catalog.examine import Track, examine
from catalog.tracks import with_comments
from tests.catalog.audio_files import KINDS, encoded

FLAC = next(kind for kind in KINDS if kind.name == "flac16.flac")


def tagged_flac(path: Path, *comments: str) -> Path:
    """A FLAC with these Vorbis comments, such as "TITLE=Song"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(with_comments(encoded(FLAC), comments))
    return path


def track(path: Path, *comments: str) -> Track:
    return examine(tagged_flac(path, *comments))


def no_salt(*_: Any) -> bytes:
    """A SaltSource whose commitments anybody can open: for tests that compare them."""
    return bytes(32)
