"""Is this file audio, whole and sound? By content: a name's extension proves nothing, and often lies."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Protocol

from catalog.formats import aiff, flac, m4a, mp3, ogg, wav
from catalog.formats.facts import AudioFacts, BadAudio
from catalog.formats.id3 import id3v2_bytes
from catalog.scan import LeftOut, explain

_HEAD_BYTES = 16


class _Format(Protocol):
    """A module of catalog.formats."""

    def starts(self, head: bytes) -> bool: ...

    def inspect(self, file: BinaryIO, size: int) -> AudioFacts: ...


# mp3 last: its mark is eleven bits, which other files also begin with by chance.
_FORMATS: tuple[_Format, ...] = (wav, aiff, flac, ogg, m4a, mp3)

KNOWN = "wav, flac, ogg, mp3, m4a, aiff"


def inspect_audio(path: Path) -> AudioFacts:
    """Facts of a whole, sound audio file.

    Raises: LeftOut where it is empty, truncated, damaged, unreadable, or no audio of a known format.
    """
    try:
        with path.open("rb") as file:
            return _inspect(file)
    except BadAudio as error:
        raise LeftOut(path, str(error)) from error
    except OSError as error:
        raise LeftOut(path, explain(error)) from error


def _inspect(file: BinaryIO) -> AudioFacts:
    size = file.seek(0, 2)
    if size == 0:
        raise BadAudio("empty")
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    if head[:3] == b"ID3":  # usually mp3, but some programs put these tags before flac and aiff as well
        tags = id3v2_bytes(file)
        file.seek(tags)
        if flac.starts(file.read(_HEAD_BYTES)):
            return flac.inspect(file, size)
    for format_ in _FORMATS:
        if format_.starts(head):
            return format_.inspect(file, size)
    raise BadAudio(f"not audio that Stretto knows ({KNOWN})")
