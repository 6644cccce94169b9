"""The industry's identifiers: their forms and check digits.

A record holds each in its canonical form, without separators. People write them in many ways: `Scheme.parse` takes
those and gives the canonical one. A wrong form or check digit is refused, naming the digit that would be right. An
ISRC prefix nobody has heard of is a warning only: allocations change, and what is valid must not change with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from stdnum import ean, isrc
from stdnum.iso7064 import mod_11_2, mod_37_36, mod_97_10

from ledger.errors import InvalidIdentifier

_SEPARATORS: Final = str.maketrans("", "", " -.\u00a0\u2010\u2011\u2012\u2013")
"""What people and word processors put between the parts."""

_WRITTEN_CHARACTERS_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """One kind of identifier."""

    name: str
    pattern: re.Pattern[str]
    """Of the canonical form."""
    form: str
    """The form in words, with an example, for errors."""
    check: Callable[[str], str] | None = None
    """Canonical form -> the check characters it should end in."""
    prefixes: tuple[str, ...] = ()
    """What people write before it."""
    digits: int = 0
    """Length to which leading zeros are restored; 0: never."""

    def fault(self, canonical: str) -> str | None:
        """What would have been right, or None where this is a valid identifier in canonical form."""
        if not self.pattern.fullmatch(canonical):
            return self.form
        if self.check is None:
            return None
        expected = self.check(canonical)
        if canonical.endswith(expected):
            return None
        return (
            f"{canonical[: -len(expected)]}{expected} (check {'digit' if len(expected) == 1 else 'digits'} {expected})"
        )

    def parse(self, written: str, field: str = "") -> str:
        """Canonical form of what a person wrote: separators dropped, letters upper-cased.

        field: where it stood, for the error. Raises: InvalidIdentifier.
        """
        canonical = written[:_WRITTEN_CHARACTERS_MAX].translate(_SEPARATORS).upper()
        if not self.pattern.fullmatch(canonical):  # ISRC12012345 is a recording of Iceland's, not a prefix
            for prefix in self.prefixes:
                canonical = canonical.removeprefix(prefix).removeprefix(":")
        if canonical.isdecimal():
            canonical = canonical.zfill(self.digits)
        if fault := self.fault(canonical):
            raise InvalidIdentifier(field or self.name.lower(), written, fault)
        return canonical


def _weighted_check_digit(digits: str, start: int) -> str:
    """(10 - (start + sum of i * d_i) mod 10) mod 10, i from 1: ISWC (ISO 15707) with start 1, IPI base with start 2."""
    return str(-(start + sum(i * int(digit) for i, digit in enumerate(digits, 1))) % 10)


def _ipi_name_check(canonical: str) -> str:
    """t = sum of d_i * (10 - i) mod 101 over nine digits, i from 0; two digits (101 - t) mod 100, or 00 where t = 0."""
    total = sum(int(digit) * (10 - i) for i, digit in enumerate(canonical[:9])) % 101
    return f"{(101 - total) % 100 if total else 0:02d}"


ISRC: Final = Scheme(
    name="ISRC",
    pattern=re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}"),
    form="an ISRC: 2 letters, 3 letters or digits, 7 digits, such as USSKG1912345",
    prefixes=("ISRC",),
)
"""Recording (ISO 3901). It has no check digit."""

ISWC: Final = Scheme(
    name="ISWC",
    pattern=re.compile(r"T[0-9]{10}"),
    form="an ISWC: T and 10 digits, such as T0345246801",
    check=lambda canonical: _weighted_check_digit(canonical[1:10], 1),
    prefixes=("ISWC",),
)
"""Musical work (ISO 15707)."""

UPC: Final = Scheme(
    name="UPC",
    pattern=re.compile(r"[0-9]{12,13}"),
    form="a UPC of 12 or an EAN of 13 digits, such as 036000291452",
    check=lambda canonical: ean.calc_check_digit(canonical[:-1]),
    prefixes=("UPC", "EAN", "JAN", "ICPN"),
)
"""Release: GS1's UPC-A or EAN-13 (DDEX: ICPN)."""

GRID: Final = Scheme(
    name="GRid",
    pattern=re.compile(r"A1[A-Z0-9]{16}"),
    form="a GRid: A1 and 16 letters or digits, such as A12425GABC1234002M",
    check=lambda canonical: mod_37_36.calc_check_digit(canonical[:-1]),
    prefixes=("GRID",),
)
"""Release: IFPI's Global Release Identifier."""

ISNI: Final = Scheme(
    name="ISNI",
    pattern=re.compile(r"[0-9]{15}[0-9X]"),
    form="an ISNI: 15 digits and a check character, such as 000000012281955X",
    check=lambda canonical: mod_11_2.calc_check_digit(canonical[:-1]),
    prefixes=("ISNI",),
)
"""Public identity of a party (ISO 27729)."""

IPI_NAME: Final = Scheme(
    name="IPI name number",
    pattern=re.compile(r"[0-9]{11}"),
    form="an IPI name number: 11 digits, such as 00014107338",
    check=_ipi_name_check,
    prefixes=("IPI",),
    digits=11,
)
"""A name of a rights holder (CISAC's IPI)."""

IPI_BASE: Final = Scheme(
    name="IPI base number",
    pattern=re.compile(r"I[0-9]{10}"),
    form="an IPI base number: I and 10 digits, such as I1234567893",
    check=lambda canonical: _weighted_check_digit(canonical[1:10], 2),
)
"""A rights holder (CISAC's IPI)."""

LEI: Final = Scheme(
    name="LEI",
    pattern=re.compile(r"[A-Z0-9]{18}[0-9]{2}"),
    form="an LEI: 18 letters or digits and 2 check digits, such as 213800KUD8LAJWSQ9D15",
    check=lambda canonical: mod_97_10.calc_check_digits(canonical[:-2]),
    prefixes=("LEI",),
)
"""Legal entity (ISO 17442)."""


def isrc_warning(canonical: str) -> str | None:
    """A sentence where an ISRC's first two letters belong to no registrant known to this version's list, else None."""
    if isrc.is_valid(canonical):
        return None
    return (
        f"ISRC {canonical}: prefix {canonical[:2]} is not among the known allocations; check that it is no typing error"
    )
