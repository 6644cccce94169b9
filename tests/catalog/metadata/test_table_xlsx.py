"""Excel as people use it, and as nobody should: what it made of their typing is named by cell, bombs are not opened."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from catalog.metadata import table_xlsx
from catalog.metadata.findings import Finding, Findings, Severity
from catalog.metadata.rows import MalformedMetadata, Row
from catalog.metadata.table_xlsx import read_xlsx


def workbook(path: Path, *rows: list[Any], change: Callable[[Any], None] = lambda _: None) -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    change(book)
    book.save(path)
    return path


def read(path: Path, sheet: str | None = None) -> tuple[list[Row], list[Finding]]:
    findings = Findings()
    return list(read_xlsx(path, findings, sheet=sheet)), findings.listed()


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "rows.xlsx"


def test_text_dates_and_lengths_are_read_with_their_cells(book: Path) -> None:
    workbook(
        book,
        ["File", "Title", "ISRC", "Created", "Duration", "Duration "],
        ["a.flac", 1999, "USSKG1912345", datetime.date(2026, 3, 1), datetime.time(3, 25)],
        [],
        ["b.flac", "B", None, "2026-03-02", datetime.time(1, 2, 3)],
    )
    (first, second), findings = read(book)
    assert first.cells == {
        "file": ("a.flac",), "title": ("1999",), "isrc": ("USSKG1912345",), "created_date": ("2026-03-01",),
        "duration": ("3:25",),
    }  # fmt: skip
    assert (second.line, second.one("duration")) == (4, "1:02:03")
    assert first.place("isrc").cell == "C2"
    assert [finding.column for finding in findings] == ["duration"], "the second column of that name"


@pytest.mark.parametrize(
    ("header", "value", "said"),
    [
        ("upc", 36000291452, "perhaps 036000291452"),
        ("upc", 3.6000291452e10, "perhaps 036000291452"),
        ("isni", 121032683, "perhaps 0000000121032683"),
        ("ipi", 14107338, "perhaps 00014107338"),
        ("isrc", 12345, "leading zeros"),
        ("iswc", 1.5, "leading zeros"),
        ("isrc", datetime.datetime(2026, 1, 5), "made a date"),
        ("title", datetime.date(2026, 1, 5), "made a date"),
        ("title", True, "truth value"),
        ("isrc", "=CONCAT(A1,B1)", "a formula is never run"),
        ("title", "=cmd|' /C calc'!A0", "a formula is never run"),
        ("title", "#N/A", "error of the spreadsheet"),
    ],
)
def test_what_excel_made_of_it_is_named_by_cell(book: Path, header: str, value: object, said: str) -> None:
    workbook(book, ["file", header], ["a.flac", value])
    (row,), (finding,) = read(book)
    assert finding.severity is Severity.ERROR
    assert finding.place.cell == "B2"
    assert said in finding.expected
    assert header not in row.cells


def test_a_formula_that_is_only_text_stays_text(book: Path) -> None:
    def as_text(book: Any) -> None:
        book.active["B2"].value = "=Love"
        book.active["B2"].data_type = "s"

    workbook(book, ["file", "title"], ["a.flac", "x"], change=as_text)
    (row,), findings = read(book)
    assert row.one("title") == "=Love"
    assert findings == []


def test_the_first_visible_sheet_is_read_unless_another_is_named(book: Path) -> None:
    def more(book: Any) -> None:
        book.active.sheet_state = "hidden"
        book.create_sheet("Tracks").append(["file"])
        book["Tracks"].append(["b.flac"])

    workbook(book, ["file"], ["a.flac"], change=more)
    assert read(book)[0][0].one("file") == "b.flac"
    assert read(book, "Sheet")[0][0].one("file") == "a.flac"
    with pytest.raises(MalformedMetadata, match="there are Sheet, Tracks"):
        read(book, "Track")


def rewritten(path: Path, name: str, content: bytes) -> None:
    """The workbook with one of its parts replaced."""
    with zipfile.ZipFile(path) as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    parts[name] = content
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, data in parts.items():
            archive.writestr(part, data)


SHEET = "xl/worksheets/sheet1.xml"
HEAD = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'


@pytest.mark.parametrize("said", [b"A1:XFD1048576", b"A1:A1"])
def test_a_sheet_is_read_by_what_it_holds_and_not_by_what_it_says(book: Path, said: bytes) -> None:
    workbook(book, ["file"], ["a.flac"])
    with zipfile.ZipFile(book) as archive:
        sheet = archive.read(SHEET)
    assert b'ref="A1:A2"' in sheet
    rewritten(book, SHEET, sheet.replace(b'ref="A1:A2"', b'ref="%s"' % said))
    assert len(read(book)[0]) == 1


@pytest.mark.parametrize("part", [SHEET, "xl/styles.xml", "xl/workbook.xml"])
def test_entities_end_the_reading(book: Path, part: str) -> None:
    workbook(book, ["file"], ["a.flac"])
    laughs = b"".join(b'<!ENTITY l%d "%s">' % (i, b"&l%d;" % (i - 1) * 10) for i in range(1, 9))
    bomb = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "lol">' + laughs + b"]>"
    with zipfile.ZipFile(book) as archive:
        body = archive.read(part)
    body = body[body.index(b"<", body.startswith(b"<?") and body.index(b"?>")) :]
    rewritten(book, part, bomb + body.replace(b"a.flac", b"&l8;"))
    with pytest.raises(MalformedMetadata, match="expected a"):
        read(book)


def test_bombs_are_refused_before_they_are_unpacked(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workbook(book, ["file"], ["a.flac"])
    monkeypatch.setattr(table_xlsx, "PART_BYTES_MAX", 1 << 20)
    rewritten(book, "xl/styles.xml", b"<x>" + b" " * (1 << 20) + b"</x>")
    with pytest.raises(MalformedMetadata, match=r"at most 1048576 bytes in its part xl/styles\.xml"):
        read(book)
    monkeypatch.setattr(table_xlsx, "UNPACKED_BYTES_MAX", 1 << 20)
    with pytest.raises(MalformedMetadata, match="bytes unpacked"):
        read(book)
    monkeypatch.setattr(table_xlsx, "ENTRIES_MAX", 3)
    with pytest.raises(MalformedMetadata, match="at most 3 parts"):
        read(book)


def test_one_endless_row_is_refused_before_it_stands_in_memory(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workbook(book, ["file"], ["a.flac"])
    monkeypatch.setattr(table_xlsx, "ROW_BYTES_MAX", 1 << 16)
    cell = b'<c r="A1" t="inlineStr"><is><t>file</t></is></c>'
    rewritten(book, SHEET, HEAD + b'<row r="1">' + cell * 3000 + b"</row></sheetData></worksheet>")
    with pytest.raises(MalformedMetadata, match="rows of at most 65536 bytes"):
        read(book)
    many = b"".join(b'<row r="%d">%s</row>' % (i, cell.replace(b"A1", b"A%d" % i)) for i in range(1, 3000))
    rewritten(book, SHEET, HEAD + many + b"</sheetData></worksheet>")
    assert len(read(book)[0]) == 2998


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xd0\xcf\x11\xe0" + bytes(600), "an old .xls or a workbook with a password"),
        (b"file,title\na,b\n", "expected an Excel workbook"),
        (b"PK\x03\x04" + bytes(100), "expected an Excel workbook"),
        (b"", "expected an Excel workbook"),
    ],
)
def test_what_is_no_workbook_is_refused_in_words(book: Path, data: bytes, said: str) -> None:
    book.write_bytes(data)
    with pytest.raises(MalformedMetadata) as caught:
        read(book)
    assert said in str(caught.value)


def test_a_workbook_cut_off_or_flipped_anywhere_ends_in_words(book: Path) -> None:
    workbook(book, ["file", "title"], *(["a.flac", f"Song {i}"] for i in range(50)))
    whole = book.read_bytes()
    for at in range(0, len(whole), 397):
        for data in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]):
            book.write_bytes(data)
            try:
                read(book)
            except MalformedMetadata as error:
                assert len(str(error)) < 1000  # noqa: PT017  any other exception fails the test
