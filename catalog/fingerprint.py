"""Acoustic fingerprints: what a recording sounds like, by Chromaprint. An opinion, never identity."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """A Chromaprint fingerprint, or what a manifest says about one that is kept beside it."""

    algorithm: int
    """Chromaprint's own number of it: 1 for what fpcalc computes unless told otherwise."""
    sha256: bytes
    """Of the items as unsigned 32-bit little-endian words, one after the other."""
    items: int
    """How many words: about 7.8 for each second listened to."""
    raw: bytes = field(default=b"", compare=False, repr=False)
    """The words themselves; empty where only the digest is known."""
