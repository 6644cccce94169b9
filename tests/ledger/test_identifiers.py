"""Identifiers: published examples hold, near misses are refused, and the refusal names the right digit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import InvalidIdentifier
from ledger.identifiers import GRID, IPI_BASE, IPI_NAME, ISNI, ISRC, ISWC, LEI, UPC, Scheme, isrc_warning

# ISRC, ISNI, GRid, EAN, LEI: python-stdnum's documentation. ISWC and IPI: django-music-publisher and the CWR sample of
# music-metadata-edi.
PUBLISHED = [
    (ISRC, "USSKG1912345"),
    (ISRC, "QZES71982312"),
    (ISWC, "T0345246801"),
    (ISWC, "T1006000026"),
    (UPC, "036000291452"),
    (UPC, "9780471117094"),
    (GRID, "A12425GABC1234002M"),
    (ISNI, "0000000121032683"),
    (ISNI, "000000012281955X"),
    (IPI_NAME, "00014107338"),
    (IPI_NAME, "09620029710"),
    (IPI_NAME, "09290011721"),
    (IPI_NAME, "09680035581"),
    (IPI_BASE, "I1234567893"),
    (LEI, "213800KUD8LAJWSQ9D15"),
]
CHECKED = [(scheme, number) for scheme, number in PUBLISHED if scheme.check]


@pytest.mark.parametrize(("scheme", "number"), PUBLISHED)
def test_published_numbers_hold(scheme: Scheme, number: str) -> None:
    assert scheme.fault(number) is None
    assert scheme.parse(number) == number


@pytest.mark.parametrize(("scheme", "number"), CHECKED)
def test_another_check_character_is_refused_naming_the_right_one(scheme: Scheme, number: str) -> None:
    for other in "0123456789":
        if other != number[-1]:
            with pytest.raises(InvalidIdentifier, match=f"expected {number} \\(check digits? "):
                scheme.parse(number[:-1] + other)


@pytest.mark.parametrize(("scheme", "number"), CHECKED)
def test_one_wrong_digit_anywhere_is_refused(scheme: Scheme, number: str) -> None:
    for i, digit in enumerate(number):
        if digit.isdigit():
            wrong = number[:i] + str((int(digit) + 1) % 10) + number[i + 1 :]
            assert scheme.fault(wrong) is not None, wrong


@pytest.mark.parametrize(
    ("scheme", "written", "canonical"),
    [
        (ISRC, "US-SKG-19-12345", "USSKG1912345"),
        (ISRC, "isrc: us skg 19 12345", "USSKG1912345"),
        (ISRC, "US‐SKG‑19–12345", "USSKG1912345"),
        (ISRC, "ISRC12012345", "ISRC12012345"),
        (ISWC, "T-034.524.680-1", "T0345246801"),
        (ISWC, "ISWC T-034.524.680-1", "T0345246801"),
        (UPC, "0 36000 29145 2", "036000291452"),
        (GRID, "GRid: A1-2425G-ABC1234002-M", "A12425GABC1234002M"),
        (ISNI, "0000 0001 2281 955x", "000000012281955X"),
        (IPI_NAME, "14107338", "00014107338"),
        (IPI_BASE, "I-123456789-3", "I1234567893"),
    ],
)
def test_what_people_write_becomes_canonical(scheme: Scheme, written: str, canonical: str) -> None:
    assert scheme.parse(written) == canonical


@pytest.mark.parametrize(
    ("scheme", "written"),
    [
        (ISRC, ""),
        (ISRC, "USSKG191234"),
        (ISRC, "USSKG19123456"),
        (ISRC, "U1SKG1912345"),
        (ISRC, "USSKG19１2345"),
        (ISRC, "USSKG1912345\n"),
        (ISWC, "0345246801"),
        (ISWC, "T034524680"),
        (UPC, "73513537"),
        (GRID, "B12425GABC1234002M"),
        (ISNI, "00000001228195X5"),
        (IPI_NAME, "123456789012"),
        (IPI_BASE, "1234567893"),
        (LEI, "213800KUD8LAJWSQ9D1"),
        (ISRC, "x" * 100_000),
    ],
)
def test_other_forms_are_refused_with_an_example_of_the_right_one(scheme: Scheme, written: str) -> None:
    with pytest.raises(InvalidIdentifier, match="such as") as caught:
        scheme.parse(written, "row 7, column ISRC")
    assert caught.value.field == "row 7, column ISRC"
    assert len(str(caught.value)) < 400


def test_a_canonical_form_has_no_separators() -> None:
    assert ISRC.fault("US-SKG-19-12345") is not None
    assert ISWC.fault("T-034.524.680-1") is not None


@given(st.integers(0, 10**9 - 1))
def test_exactly_one_check_digit_fits_an_iswc(number: int) -> None:
    assert sum(ISWC.fault(f"T{number:09d}{digit}") is None for digit in range(10)) == 1


@given(st.integers(0, 10**9 - 1))
def test_exactly_one_pair_of_check_digits_fits_an_ipi_name_number(number: int) -> None:
    assert sum(IPI_NAME.fault(f"{number:09d}{digits:02d}") is None for digits in range(100)) == 1


def test_an_unknown_isrc_prefix_is_a_warning_and_no_refusal() -> None:
    assert ISRC.fault("XXSKG1912345") is None
    assert "prefix XX" in (isrc_warning("XXSKG1912345") or "")
    assert isrc_warning("QZES71982312") is None
