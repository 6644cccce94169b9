"""Territories as sets of countries, and the one arithmetic rule of shares: a single claim may not exceed the whole.

Across claims nothing is refused: two claimants with 100 % each are a conflict on record, which is what a record is for
(design D9).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Protocol

from ledger.claim_vocabulary import COUNTRIES, WORLDWIDE, Right, ShareType

WHOLE_BPS: Final = 10_000
"""100 % in basis points."""
TERRITORIES_MAX: Final = 16
"""Different territories one claim may name: bounds the work of checking sums."""

_ALL_BITS: Final = {code: 1 << i for i, code in enumerate(sorted(COUNTRIES))}
_WORLD: Final = (1 << len(_ALL_BITS)) - 1
_TERRITORY: Final = re.compile(r"Worldwide(?:-[A-Z]{2})*|[A-Z]{2}(?:\+[A-Z]{2})*")
_TERRITORY_FORM: Final = (
    "Worldwide, Worldwide-CN-US (without these), CN or CN+HK+MO (these), codes ISO 3166-1 ascending"
)


class ShareLine(Protocol):
    """What the sums need to know of a share."""

    @property
    def right(self) -> Right: ...
    @property
    def territory(self) -> str: ...
    @property
    def bps(self) -> int: ...
    @property
    def type(self) -> ShareType | None: ...


@lru_cache(maxsize=4096)
def territory_fault(territory: str) -> str | None:
    """What would have been right, or None. One set of countries has one name: codes ascend, nothing is said twice."""
    if not _TERRITORY.fullmatch(territory):
        return _TERRITORY_FORM
    codes = re.findall(r"\b[A-Z]{2}\b", territory)
    if unknown := [code for code in codes if code not in COUNTRIES]:
        return f"ISO 3166-1 alpha-2 codes, {unknown[0]} is none"
    if any(a >= b for a, b in itertools.pairwise(codes)):
        return _TERRITORY_FORM
    return None if _mask(territory) else "at least one country"


@lru_cache(maxsize=4096)
def _mask(territory: str) -> int:
    bits = 0
    for code in re.findall(r"\b[A-Z]{2}\b", territory):
        bits |= _ALL_BITS[code]
    return _WORLD & ~bits if territory.startswith(WORLDWIDE) else bits


def countries(territory: str) -> frozenset[str]:
    """ISO 3166-1 codes that a valid territory comprises."""
    bits = _mask(territory)
    return frozenset(code for code, bit in _ALL_BITS.items() if bits & bit)


def sum_fault(shares: Sequence[ShareLine]) -> tuple[int, str] | None:
    """Index of a share whose right and territory sum to over 100 % in this claim, and a sentence; None where none does.

    Sums run per share type, right and country; shares of `All` count toward every right.
    """
    if sum(share.bps for share in shares) <= WHOLE_BPS:
        return None
    groups: dict[tuple[ShareType | None, Right], list[int]] = {}
    for i, share in enumerate(shares):
        groups.setdefault((share.type, share.right), []).append(i)
    for (share_type, right), indices in groups.items():
        if right is not Right.ALL:
            # Sorted, so that the error names the same share on every node.
            indices = sorted(indices + groups.get((share_type, Right.ALL), []))  # noqa: PLW2901
        if found := _over_whole(shares, indices):
            index, total, country = found
            return index, f"at most {WHOLE_BPS} basis points in all for {right.value} in {country}, the sum is {total}"
    return None


def _over_whole(shares: Sequence[ShareLine], indices: Sequence[int]) -> tuple[int, int, str] | None:
    """First share that lifts some country over the whole: (its index, the sum there, that country)."""
    cells: list[tuple[int, int]] = [(_WORLD, 0)]
    left = sum(shares[i].bps for i in indices)
    for i in indices:
        mask, bps = _mask(shares[i].territory), shares[i].bps
        # Countries that the shares still to come cannot lift over the whole need no further look.
        cells = [cell for cell in cells if cell[1] + left > WHOLE_BPS]
        left -= bps
        split: list[tuple[int, int]] = []
        for countries_mask, total in cells:
            inside, outside = countries_mask & mask, countries_mask & ~mask
            if inside:
                if total + bps > WHOLE_BPS:
                    return i, total + bps, sorted(_ALL_BITS)[(inside & -inside).bit_length() - 1]
                split.append((inside, total + bps))
            if outside:
                split.append((outside, total))
        cells = split
    return None
