"""What our reader of sheets finds is what openpyxl finds, and what is no sheet is refused."""

from __future__ import annotations

import io
import zipfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook, load_workbook

from catalog.metadata.sheet_cells import Cell, SheetFault, read_sheet
from catalog.metadata.table_xlsx import _open_book, _sheet, _value

MAIN = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
END = b"</sheetData></worksheet>"
STRINGS = b"""<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><si><t>plain</t></si>
<si><r><t>ri</t></r><r><t xml:space="preserve">ch </t></r><rPh sb="0" eb="1"><t>spoken</t></rPh></si></sst>"""
KIND = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
EXTRA = b"""<row r="9"><c r="A9" t="s"><v>0</v></c><c r="C9" t="s"><v>1</v></c><c t="str"><v>said</v></c>
<c r="AB9"><v>1.5e3</v></c><c r="AC9" t="d"><v>2026-03-01</v></c><c r="AD9" t="e"><v>#REF!</v></c>
<c r="AE9" t="inlineStr"><is><r><t>a</t></r><r><t>b</t></r><rPh sb="0" eb="1"><t>spoken</t></rPh></is></c>
<c r="AF9"/><c r="AG9" t="s"><f>1+1</f><v>0</v></c></row><row><c><v>7</v></c></row>"""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """Everything that a cell can be, as openpyxl and as Excel write it; without a word on the sheet's size."""
    made = Workbook()
    page: Any = made.active
    page.append(["text", "月亮 \U0001f3b5", " blanks ", None, 12, -1.25, True, date(2026, 3, 1), timedelta(minutes=3)])
    page["B4"] = "after a gap"
    page["C4"] = "=SUM(1,2)"
    written = io.BytesIO()
    made.save(written)
    with zipfile.ZipFile(written) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = parts["xl/worksheets/sheet1.xml"]
    start, end = sheet.index(b"<dimension"), sheet.index(b"/>", sheet.index(b"<dimension")) + 2
    parts["xl/worksheets/sheet1.xml"] = (sheet[:start] + sheet[end:]).replace(b"</sheetData>", EXTRA + b"</sheetData>")
    override = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{KIND}"/></Types>'.encode()
    parts["[Content_Types].xml"] = parts["[Content_Types].xml"].replace(b"</Types>", override)
    parts["xl/sharedStrings.xml"] = STRINGS
    path = tmp_path / "book.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return path


def test_every_cell_has_the_value_that_openpyxl_gives_it(book: Path) -> None:
    theirs = load_workbook(book, read_only=True)
    expected = {
        (cell.row, cell.column): cell.value
        for row in theirs.worksheets[0].iter_rows()
        for cell in row
        if cell.value is not None
    }
    theirs.close()
    with _open_book(book) as ours, ours.archive.open(_sheet(ours, None, book)) as file:
        rows = list(read_sheet(file))  # type: ignore[arg-type]
        found = {(number, cell.column): _value(cell, ours, book)[0] for number, cells in rows for cell in cells}
    assert found == expected
    assert len(found) == 19, "each kind of cell is there"


def cells(body: bytes, size: int = 1 << 16) -> list[tuple[int, list[Cell]]]:
    class Slow(io.BytesIO):
        def read(self, count: int | None = -1, /) -> bytes:
            return super().read(min(size, count or size))

    return list(read_sheet(Slow(MAIN + body + END)))


def test_pieces_make_no_difference() -> None:
    body = b'<row r="2"><c r="B2" t="inlineStr"><is><t>a&amp;\xe9\x9b\xa8</t></is></c></row><row/>'
    assert cells(body, 1) == cells(body) == [(2, [Cell(2, "inlineStr", "", "a&雨")]), (3, [])]


@pytest.mark.parametrize(
    "body",
    [
        b'<row r="x"/>',
        b'<row r="0"/>',
        b'<row r="-1"/>',
        b'<row r="2"/><row r="2"/>',
        b'<row r="9999999999"/>',
        b'<row><c r="1"/></row>',
        b'<row><c r="ABCD1"/></row>',
        b'<row><c r="A$1"/></row>',
        b"<row>",
        b"&nbsp;",
    ],
)
def test_what_is_no_sheet_is_refused(body: bytes) -> None:
    with pytest.raises(SheetFault):
        cells(body)


@pytest.mark.parametrize("head", [b"<!DOCTYPE x>", b'<?xml version="1.0" encoding="u_f"?>', b"", b"no XML"])
def test_a_document_type_an_unknown_encoding_and_no_xml_are_refused(head: bytes) -> None:
    body = MAIN + END if head.startswith(b"<") else b""
    with pytest.raises(SheetFault):
        list(read_sheet(io.BytesIO(head + body)))
