"""Index records: fixed 24-byte rows that sort as bytes, handled in bulk as (n, 24) uint8 arrays.

A row is key (16 bytes: 15 of the digest or of the key's SHA-256, then the kind), leaf index (48 bits), position in the
catalogue (16 bits), big-endian. A key prefix may collide; whoever looks a key up checks the whole key at the target.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from enum import IntEnum
from itertools import chain
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

ROW_BYTES: Final = 24
KEY_BYTES: Final = 16
INDEX_MAX: Final = 2**48 - 1
POSITION_MAX: Final = 2**16 - 1
FIRST_ROW: Final = bytes(ROW_BYTES)

Rows: TypeAlias = NDArray[np.uint8]
"""(n, 24) uint8."""


class KeyKind(IntEnum):
    """What a key is; the last byte of a row's key. On disk: never renumber."""

    STATEMENT = 1
    SIGNED = 2
    CLIENT_REF = 3
    CATALOGUE = 4
    BLAKE3 = 5
    SHA256 = 6
    ISRC = 7
    ISWC = 8
    RECEIPT = 9
    """Digest of a refused statement; the row's index is the receipt's number."""


ONCE_KINDS_MAX: Final = KeyKind.CATALOGUE
"""Kinds up to here name one statement each; execution asks for them before every entry."""
_DIGEST_KINDS: Final = frozenset({KeyKind.STATEMENT, KeyKind.SIGNED, KeyKind.BLAKE3, KeyKind.SHA256, KeyKind.RECEIPT})


def row_key(kind: KeyKind, key: bytes) -> bytes:
    """16 bytes that stand for `key` in the index. Digests spread by themselves, everything else is hashed first."""
    spread = key if kind in _DIGEST_KINDS else hashlib.sha256(key).digest()
    return spread[:15] + bytes((kind,))


def row(key: bytes, index: int, position: int) -> bytes:
    """key: 16 bytes, as `row_key` makes them."""
    return key + index.to_bytes(6, "big") + position.to_bytes(2, "big")


class RowBatch:
    """Rows of one commit, gathered key by key and made in bulk."""

    def __init__(self) -> None:
        self._keys: dict[KeyKind, list[bytes]] = {kind: [] for kind in KeyKind}
        self._places: dict[KeyKind, list[int]] = {kind: [] for kind in KeyKind}
        """Leaf index and position as one number: the last eight bytes of the row."""

    def add(self, kind: KeyKind, key: bytes, index: int, position: int = 0) -> None:
        """key: 32 bytes where the kind is a digest."""
        self._keys[kind].append(key)
        self._places[kind].append(index << 16 | position)

    def add_claims(self, kind: KeyKind, keys: Sequence[Sequence[bytes]], index: int) -> None:
        """keys: for every claim at a leaf, by position, its keys of this kind."""
        flat = list(chain.from_iterable(keys))
        base = index << 16
        if len(flat) == len(keys) and all(keys):  # one each, as almost always
            self._places[kind].extend(range(base, base + len(flat)))
        else:
            self._places[kind].extend(base | position for position, several in enumerate(keys) for _ in several)
        self._keys[kind].extend(flat)

    def rows(self) -> Rows:
        """All rows, in no order."""
        made = [_rows(kind, keys, self._places[kind]) for kind, keys in self._keys.items() if keys]
        return np.concatenate(made) if made else np.empty((0, ROW_BYTES), dtype=np.uint8)


def _rows(kind: KeyKind, keys: Sequence[bytes], places: Sequence[int]) -> Rows:
    count = len(keys)
    made = np.empty((count, ROW_BYTES), dtype=np.uint8)
    if kind not in _DIGEST_KINDS:
        sha256 = hashlib.sha256
        keys = [sha256(key).digest() for key in keys]
    joined = np.frombuffer(b"".join(keys), dtype=np.uint8)
    assert joined.size == 32 * count, "every digest has 32 bytes"
    made[:, :15] = joined.reshape(count, 32)[:, :15]
    made[:, 15] = kind
    made[:, KEY_BYTES:] = np.array(places, dtype=">u8").view(np.uint8).reshape(count, 8)
    return made


def sort_rows(rows: Rows) -> Rows:
    """Ascending as bytes. The leading eight bytes decide almost always; rows that tie there are sorted on their own."""
    if len(rows) < 2:
        return rows
    lead = np.ascontiguousarray(rows[:, :8]).view(">u8").ravel().astype(np.uint64)
    order = np.argsort(lead)
    lead, rows = lead[order], rows[order]
    equal = lead[1:] == lead[:-1]
    if equal.any():
        tied = np.zeros(len(rows), dtype=bool)
        tied[1:] |= equal
        tied[:-1] |= equal
        # Groups of ties keep their order among each other, so one sort over all of them puts each back in its place.
        rows[tied] = as_rows(np.sort(as_keys(rows[tied])))
    return rows


def distinct(rows: Rows) -> Rows:
    """Sorted rows without repetitions (a claim may name one digest for two of its files)."""
    same = (rows[1:, :8] == rows[:-1, :8]).all(axis=1)
    if not same.any():
        return rows
    same &= (rows[1:] == rows[:-1]).all(axis=1)
    kept: Rows = rows[np.concatenate([[True], ~same])]
    return kept


def as_keys(rows: Rows) -> NDArray[np.bytes_]:
    """Rows as fixed byte strings, which numpy compares as bytes: all are 24 long, so padding cannot confuse them."""
    return np.ascontiguousarray(rows).view(f"S{ROW_BYTES}").ravel()


def as_rows(keys: NDArray[np.bytes_]) -> Rows:
    return keys.view(np.uint8).reshape(-1, ROW_BYTES)


def rows_from(blocks: Iterable[bytes | memoryview]) -> Rows:
    """Rows of stored blocks, in order."""
    return np.frombuffer(b"".join(blocks), dtype=np.uint8).reshape(-1, ROW_BYTES)


def between(rows: Rows, low: bytes, high: bytes | None) -> Rows:
    """Sorted rows from `low` on and below `high` (None: to the end)."""
    keys = as_keys(rows)
    start = int(np.searchsorted(keys, np.bytes_(low)))
    end = len(rows) if high is None else int(np.searchsorted(keys, np.bytes_(high)))
    return rows[start:end]
