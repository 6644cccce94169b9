"""Index records: fixed 24-byte rows that sort as bytes, handled in bulk as (n, 24) uint8 arrays.

A row is key (16 bytes: 15 of the digest or of the key's SHA-256, then the kind), leaf index (48 bits), position in the
catalogue (16 bits), big-endian. A key prefix may collide; whoever looks a key up checks the whole key at the target.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ledger.claim_check import KeyColumn

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
_IS_DIGEST: Final = [number in _DIGEST_KINDS for number in range(max(KeyKind) + 1)]
_LAST_BYTE: Final = [bytes((number,)) for number in range(max(KeyKind) + 1)]
"""By kind, as lists: hashing a member of an enumeration is a call into Python."""


def row_key(kind: KeyKind, key: bytes) -> bytes:
    """16 bytes that stand for `key` in the index. Digests spread by themselves, everything else is hashed first."""
    spread = key if _IS_DIGEST[kind] else hashlib.sha256(key).digest()
    return spread[:15] + _LAST_BYTE[kind]


def row(key: bytes, index: int, position: int) -> bytes:
    """key: 16 bytes, as `row_key` makes them."""
    return key + index.to_bytes(6, "big") + position.to_bytes(2, "big")


class RowBatch:
    """Rows of one commit, gathered key by key and made in bulk."""

    def __init__(self) -> None:
        self._digests: dict[KeyKind, list[bytes]] = {kind: [] for kind in KeyKind}
        """32 bytes a key, several together where they came together."""
        self._places: dict[KeyKind, array[int]] = {kind: array("Q") for kind in KeyKind}
        """Leaf index and position as one number: the last eight bytes of the row."""

    def add(self, kind: KeyKind, key: bytes, index: int, position: int = 0) -> None:
        """key: 32 bytes where the kind is a digest."""
        self._digests[kind].append(key if kind in _DIGEST_KINDS else hashlib.sha256(key).digest())
        self._places[kind].append(index << 16 | position)

    def add_claims(self, kind: KeyKind, column: KeyColumn, index: int) -> None:
        """column: the keys of this kind that the claims at a leaf have."""
        sha256 = hashlib.sha256
        if kind in _DIGEST_KINDS:
            self._digests[kind].append(column.keys)
        else:
            self._digests[kind] += [sha256(key).digest() for key in column.each()]
        places = np.frombuffer(column.positions, dtype=np.uint16).astype(np.uint64) | np.uint64(index << 16)
        self._places[kind].frombytes(places.tobytes())

    def rows(self) -> Rows:
        """All rows, in no order."""
        made = [
            _rows(kind, b"".join(digests), self._places[kind]) for kind, digests in self._digests.items() if digests
        ]
        return np.concatenate(made) if made else np.empty((0, ROW_BYTES), dtype=np.uint8)


def _rows(kind: KeyKind, digests: bytes, places: array[int]) -> Rows:
    count = len(places)
    assert len(digests) == 32 * count, "every digest has 32 bytes"
    made = np.empty((count, ROW_BYTES), dtype=np.uint8)
    made[:, :15] = np.frombuffer(digests, dtype=np.uint8).reshape(count, 32)[:, :15]
    made[:, 15] = kind
    made[:, KEY_BYTES:] = np.frombuffer(places, dtype=np.uint64).astype(">u8").view(np.uint8).reshape(count, 8)
    return made


def sort_rows(rows: Rows) -> Rows:
    """Ascending as bytes. The leading eight bytes decide almost always; rows that tie there are sorted on their own."""
    return _sorted(rows, "quicksort")


def merge_rows(parts: Sequence[Rows]) -> Rows:
    """Rows of all parts, ascending as bytes, where each part is so already: a fifth of the work of sorting them."""
    return _sorted(np.concatenate(parts), "stable") if len(parts) > 1 else parts[0]


def _sorted(rows: Rows, kind: Literal["quicksort", "stable"]) -> Rows:
    if len(rows) < 2:
        return rows
    lead = _lead(rows)
    order = np.argsort(lead, kind=kind)
    lead, rows = lead[order], rows.take(order, axis=0)
    equal = lead[1:] == lead[:-1]
    if equal.any():
        tied = np.zeros(len(rows), dtype=bool)
        tied[1:] |= equal
        tied[:-1] |= equal
        # Groups of ties keep their order among each other, so one sort over all of them puts each back in its place.
        rows[tied] = as_rows(np.sort(as_keys(rows[tied])))
    return rows


def _lead(rows: Rows) -> NDArray[np.uint64]:
    """The leading eight bytes of every row, as a number."""
    return np.ascontiguousarray(rows).view(">u8")[:, 0].astype(np.uint64)


def distinct(rows: Rows) -> Rows:
    """Sorted rows without repetitions (a claim may name one digest for two of its files)."""
    lead = _lead(rows)
    same = lead[1:] == lead[:-1]
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
