"""Acoustic fingerprints: what a recording sounds like, by Chromaprint. An opinion, never identity."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Final

from catalog.tools import run_tool

ALGORITHM: Final = 2
LENGTH_S: Final = 120
"""Seconds listened to, from the start: fpcalc's and AcoustID's own measure."""
DEADLINE_S: Final = 300
"""Two minutes of audio take well under a second; a loaded machine or a slow disk takes longer."""
ITEMS_MAX: Final = 16 * LENGTH_S
_ANSWER_BYTES_MAX: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """A Chromaprint fingerprint, or what a manifest says about one that is kept beside it."""

    algorithm: int
    """By fpcalc's count: 2 is what it and AcoustID use."""
    sha256: bytes
    """Of the items as unsigned 32-bit little-endian words, one after the other."""
    items: int
    """How many words: about 7.8 for each second listened to."""
    raw: bytes = field(default=b"", compare=False, repr=False)
    """The words themselves; empty where only the digest is known."""


def fingerprint(path: Path, fpcalc: str, cancel: Event | None = None) -> Fingerprint | None:
    """What fpcalc hears in the first LENGTH_S seconds; None where it hears too little, or cannot decode the file.

    Exit status 3 is accepted with sound JSON: fpcalc of Debian 12 ends so on whole files (chromaprint #122, #137).
    Raises: ToolStuck, Cancelled, OSError.
    """
    said = bytearray()

    def take(piece: bytes) -> None:
        if len(said) <= _ANSWER_BYTES_MAX:
            said.extend(piece)

    # An absolute path: one that begins with "-" or "http:" would mean something else to the program.
    command = [fpcalc, "-raw", "-json", "-algorithm", str(ALGORITHM), "-length", str(LENGTH_S), os.path.abspath(path)]  # noqa: PTH100  keeps links
    status, _ = run_tool(command, take, deadline_s=DEADLINE_S, cancel=cancel)
    return parse_answer(bytes(said)) if status in (0, 3) else None


def parse_answer(said: bytes) -> Fingerprint | None:
    """The fingerprint in fpcalc's JSON; None where it is no such answer, or an empty one."""
    try:
        items = json.loads(said)["fingerprint"]
        raw = struct.pack(f"<{len(items)}I", *items)
    except (ValueError, KeyError, TypeError, struct.error):
        return None
    if not 0 < len(items) <= ITEMS_MAX:
        return None
    return Fingerprint(algorithm=ALGORITHM, sha256=hashlib.sha256(raw).digest(), items=len(items), raw=raw)
