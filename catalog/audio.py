"""Is this file audio, whole and sound? By content: a name's extension proves nothing, and often lies."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import BinaryIO, Protocol

from catalog.decode import complete
from catalog.digests import hash_file
from catalog.foreign import foreign_container, inspect_foreign
from catalog.formats import aiff, flac, m4a, mp3, ogg, wav
from catalog.formats.facts import KNOWN, AudioFacts, BadAudio, NotAudio
from catalog.formats.id3 import id3v2_bytes
from catalog.scan import Cause, LeftOut
from catalog.tools import NO_TOOLS, Tools, ToolStuck

_HEAD_BYTES = 32


class _Format(Protocol):
    """A module of catalog.formats."""

    def starts(self, head: bytes) -> bool: ...

    def inspect(self, file: BinaryIO, size: int) -> AudioFacts: ...


# mp3 last: its mark is eleven bits, which other files also begin with by chance.
_FORMATS: tuple[_Format, ...] = (wav, aiff, flac, ogg, m4a, mp3)


def inspect_audio(path: Path, tools: Tools = NO_TOOLS, cancel: Event | None = None) -> AudioFacts:
    """Facts of a whole, sound audio file.

    tools: programs that decode what libsndfile does not; without them such a file is judged by its structure alone, or
    left out where nothing here knows that. Raises: LeftOut where it is empty, truncated, damaged, encrypted,
    unreadable, or no audio of a known format; Cancelled.
    """
    try:
        with path.open("rb") as file:
            facts = _inspect(file, path, tools, cancel)
        return complete(path, facts, tools, cancel)
    except BadAudio as error:
        # A device that fails under libsndfile looks like a file that ends early: read it through and see.
        if not isinstance(error, NotAudio):
            hash_file(path, cancel=cancel)
        raise LeftOut(path, str(error), Cause.CONTENT) from error
    except ToolStuck as error:
        raise LeftOut(path, f"{error}: run the same command again") from error
    except OSError as error:
        raise LeftOut.of(path, error) from error


def _inspect(file: BinaryIO, path: Path, tools: Tools, cancel: Event | None) -> AudioFacts:
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
    if (foreign := foreign_container(head)) is not None:
        return inspect_foreign(path, file, foreign, tools, cancel)
    for format_ in _FORMATS:
        if format_.starts(head):
            return format_.inspect(file, size)
    raise NotAudio(f"not audio that Stretto knows ({KNOWN})")
