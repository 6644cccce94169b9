"""Metadata in Excel's .xlsx, read row by row with openpyxl: bounded, no formula run, every fault with its cell.

A spreadsheet changes what people type: 036000291452 becomes a number without its zero, 5-1-26 a date. Text columns that
hold anything but text are therefore named, not guessed at.
"""

from __future__ import annotations

import errno
import re
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

from catalog.metadata.columns import Column
from catalog.metadata.findings import Findings
from catalog.metadata.rows import COLUMNS_MAX, ROWS_MAX, MalformedMetadata, Row, read_header, read_row
from ledger.identifiers import GRID, IPI_NAME, ISNI, ISRC, ISWC, UPC, Scheme

ENTRIES_MAX: Final = 2_000
"""Files in the workbook's archive."""
UNPACKED_BYTES_MAX: Final = 1 << 30
STRINGS_BYTES_MAX: Final = 128 << 20
"""Of the shared strings, which stand in memory as a whole."""
PART_BYTES_MAX: Final = 32 << 20
"""Of every other part but the sheets: styles, relations."""
ROW_BYTES_MAX: Final = 4 << 20
"""Of one row's XML: a row stands in memory as a whole."""

_OLE: Final = b"\xd0\xcf\x11\xe0"
_ROW_TAG: Final = re.compile(rb"<(?:\w+:)?row[\s/>]")
_SCHEMES: Final[dict[str, Scheme]] = {
    "isrc": ISRC, "iswc": ISWC, "upc": UPC, "grid": GRID, "ipi": IPI_NAME, "isni": ISNI,
}  # fmt: skip


def read_xlsx(path: Path, findings: Findings, *, sheet: str | None = None) -> Iterator[Row]:
    """Rows of the first sheet, or of the one named. Raises: MalformedMetadata, OSError."""
    from openpyxl import load_workbook  # noqa: PLC0415  half a second of imports, for spreadsheets alone
    from openpyxl.utils import get_column_letter  # noqa: PLC0415

    _check_archive(path)
    try:
        book = load_workbook(path, read_only=True, data_only=False, keep_links=False)
    except Exception as error:
        raise MalformedMetadata(path, 0, f"expected an Excel workbook ({type(error).__name__}: {error})") from error
    try:
        page = _sheet(book, sheet, path)
        # Rows and columns are bounded here: what a sheet says of its own size is not looked at.
        top = next(page.iter_rows(max_row=1, max_col=COLUMNS_MAX), ())
        titles = ["" if cell.value is None else str(cell.value) for cell in top]
        while titles and not titles[-1].strip():
            titles.pop()
        header = read_header(titles, path.name, 1, path, findings)
        letters = {column.name: get_column_letter(i) for i, column in enumerate(header, 1) if column is not None}
        cells = page.iter_rows(min_row=2, max_row=ROWS_MAX + 2, max_col=len(header))
        for line, row_cells in enumerate(cells, 2):
            if line > ROWS_MAX + 1:
                raise MalformedMetadata(path, line, f"expected at most {ROWS_MAX} rows (ROWS_MAX): split the file")
            row = Row(source=path.name, line=line, letters=letters)
            texts = [
                "" if column is None or cell.value is None else _text(cell, column, row, findings)
                for column, cell in zip(header, row_cells, strict=False)
            ]
            if read_row(row, header, texts, findings):
                yield row
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, LookupError, SyntaxError, OverflowError) as error:
        # SyntaxError: what ElementTree and defusedxml call XML that is none, or that declares entities. LookupError: a
        # shared string that is not there, an encoding that nobody knows.
        raise MalformedMetadata(
            path, 0, f"expected a whole Excel workbook ({type(error).__name__}: {error})"
        ) from error
    finally:
        book.close()


def _sheet(book: Any, name: str | None, path: Path) -> Any:
    if name is None:
        sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"] or book.worksheets
        if not sheets:
            raise MalformedMetadata(path, 0, "expected a sheet with rows")
        return sheets[0]
    if name not in book.sheetnames:
        raise MalformedMetadata(path, 0, f"expected a sheet {name!r}; there are {', '.join(book.sheetnames[:20])}")
    return book[name]


def _text(cell: Any, column: Column, row: Row, findings: Findings) -> str:  # noqa: PLR0911  one a type
    """What the cell would hold had it been formatted as text; "" where that cannot be told any more."""
    value = cell.value
    if cell.data_type == "f":
        return _refuse(row, column, value, "a value: a formula is never run; paste its result as text", findings)
    if cell.data_type == "e":
        return _refuse(row, column, value, "a value, not an error of the spreadsheet's", findings)
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return _refuse(row, column, value, "text; the spreadsheet made a truth value of it", findings)
    if isinstance(value, datetime | date | time | timedelta):
        return _moment(value, column, row, findings)
    if isinstance(value, int | float):
        return _number(value, column, row, findings)
    return _refuse(row, column, value, "text", findings)


def _refuse(row: Row, column: Column, value: object, expected: str, findings: Findings) -> str:
    row.error(findings, "spreadsheet", column.name, str(value), expected)
    return ""


def _moment(value: date | time | timedelta, column: Column, row: Row, findings: Findings) -> str:
    if column.name == "duration" and isinstance(value, time | timedelta):
        whole = value if isinstance(value, timedelta) else timedelta(hours=value.hour, minutes=value.minute,
                                                                     seconds=value.second)  # fmt: skip
        hours, rest = divmod(round(whole.total_seconds()), 3600)
        minutes, seconds = divmod(rest, 60)
        # Who types 3:25 means minutes, and the spreadsheet makes hours of them.
        return f"{hours}:{minutes:02}" if hours and not seconds else f"{hours}:{minutes:02}:{seconds:02}"
    if column.date and isinstance(value, date):
        return value.date().isoformat() if isinstance(value, datetime) else value.isoformat()
    expected = "text: the spreadsheet made a date or time of it; format the column as Text and type it again"
    return _refuse(row, column, value, expected, findings)


def _number(value: float, column: Column, row: Row, findings: Findings) -> str:
    whole = isinstance(value, int) or value.is_integer()
    digits = str(int(value)) if whole and abs(value) < 1e16 else repr(value)
    if not column.identifier:
        return digits
    expected = (
        "text: the spreadsheet made a number of it, so leading zeros and digits may be lost; "
        "format the column as Text and type it again"
    )
    scheme = _SCHEMES.get(column.name)
    if scheme is not None and digits.isdecimal():
        lengths = (12, 13) if scheme is UPC else (16,) if scheme is ISNI else (11,)
        meant = next((text for n in lengths if scheme.fault(text := digits.zfill(n)) is None), None)
        expected += f" (perhaps {meant})" if meant else ""
    return _refuse(row, column, digits, expected, findings)


# ---- bounds ----------------------------------------------------------------------------------------------------------


def _check_archive(path: Path) -> None:
    """Refuses what would unpack to more than anybody's catalogue. zipfile gives no more than an entry declares.

    Raises: MalformedMetadata.
    """
    with path.open("rb") as file:
        if file.read(4) == _OLE:
            problem = "expected .xlsx, got an old .xls or a workbook with a password: save it as .xlsx without one"
            raise MalformedMetadata(path, 0, problem)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > ENTRIES_MAX:
                raise MalformedMetadata(path, 0, f"expected at most {ENTRIES_MAX} parts, got {len(entries)}")
            unpacked = sum(entry.file_size for entry in entries)
            if unpacked > UNPACKED_BYTES_MAX:
                raise MalformedMetadata(path, 0, f"expected at most {UNPACKED_BYTES_MAX} bytes unpacked: {unpacked}")
            for entry in entries:
                _check_entry(archive, entry, path)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError, ValueError) as error:
        raise MalformedMetadata(path, 0, f"expected an Excel workbook in .xlsx ({error})") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # not the disk: an archive that sends its reader before its start
            raise
        raise MalformedMetadata(path, 0, "expected an Excel workbook in .xlsx (its parts lie nowhere)") from error


def _check_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    if entry.filename.startswith("xl/worksheets/") and entry.filename.endswith(".xml"):
        _check_rows(archive, entry, path)
        return
    if entry.filename.startswith("xl/media/"):  # never opened
        return
    bound = STRINGS_BYTES_MAX if "sharedstrings" in entry.filename.lower() else PART_BYTES_MAX
    if entry.file_size > bound:
        raise MalformedMetadata(
            path, 0, f"expected at most {bound} bytes in its part {entry.filename[:80]}, got {entry.file_size}"
        )


def _check_rows(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    """No row of the sheet is longer than ROW_BYTES_MAX: openpyxl builds each in memory before it hands it out."""
    if entry.file_size <= ROW_BYTES_MAX:
        return
    since, tail = 0, b""
    with archive.open(entry) as file:
        while piece := file.read(1 << 20):
            text = tail + piece
            last = -1
            for match in _ROW_TAG.finditer(text):
                last = match.start()
            since = len(text) - last if last >= 0 else since + len(piece)
            if since > ROW_BYTES_MAX:
                raise MalformedMetadata(path, 0, f"expected rows of at most {ROW_BYTES_MAX} bytes of XML each")
            tail = text[-16:]
