"""Metadata in Excel's .xlsx, read row by row: bounded, no formula run, every fault with its cell.

A spreadsheet changes what people type: 036000291452 becomes a number without its zero, 5-1-26 a date. Text columns that
hold anything but text are therefore named, not guessed at.
"""

from __future__ import annotations

import errno
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from catalog.metadata.columns import Column
from catalog.metadata.findings import Findings
from catalog.metadata.rows import COLUMNS_MAX, ROWS_MAX, MalformedMetadata, Row, read_header, read_row
from catalog.metadata.sheet_cells import Cell, SheetFault, read_sheet
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
    from openpyxl.utils import get_column_letter  # noqa: PLC0415  half a second of imports, for spreadsheets alone

    _check_archive(path)
    with _open_book(path) as book:
        lines = _lines(book, _sheet(book, sheet, path), path)
        number, cells = next(lines, (1, []))
        titles: list[str] = []
        # Rows and columns are bounded here: what a sheet says of its own size is not looked at.
        for cell in cells if number == 1 else ():
            if cell.column <= COLUMNS_MAX:
                titles += [""] * (cell.column - len(titles))
                value = _value(cell, book, path)[0]
                titles[cell.column - 1] = "" if value is None else str(value)
        header = read_header(titles, path.name, 1, path, findings)
        letters = {column.name: get_column_letter(i) for i, column in enumerate(header, 1) if column is not None}
        for line, row_cells in lines:
            if row_cells and line > ROWS_MAX + 1:
                raise MalformedMetadata(path, line, f"expected at most {ROWS_MAX} rows (ROWS_MAX): split the file")
            row = Row(source=path.name, line=line, letters=letters)
            texts = [""] * len(header)
            for cell in row_cells:
                if cell.column <= len(header) and (column := header[cell.column - 1]) is not None:
                    texts[cell.column - 1] = _text(*_value(cell, book, path), column, row, findings)
            if read_row(row, header, texts, findings):
                yield row


@dataclass(frozen=True, slots=True)
class _Book:
    """What of a workbook its sheets' cells refer to."""

    archive: zipfile.ZipFile
    sheets: Mapping[str, str]
    """Part of each sheet by its name, in their order."""
    visible: tuple[str, ...]
    strings: Sequence[str]
    epoch: datetime
    dates: frozenset[int]
    """Styles whose numbers are dates, or times."""
    lengths: frozenset[int]


@contextmanager
def _open_book(path: Path) -> Iterator[_Book]:
    from openpyxl.reader.excel import ExcelReader  # noqa: PLC0415
    from openpyxl.styles.stylesheet import apply_stylesheet  # noqa: PLC0415

    with ExitStack() as stack:
        try:
            # Not load_workbook: it reads a sheet that does not say its size to its end, and keeps every element.
            reader: Any = ExcelReader(str(path), read_only=True, keep_links=False)
            stack.enter_context(reader.archive)
            reader.read_manifest()
            reader.read_strings()
            reader.read_workbook()
            apply_stylesheet(reader.archive, reader.wb)
            sheets = [
                (sheet.name, rel.target, sheet.state)
                for sheet, rel in reader.parser.find_sheets()
                if rel.target in reader.valid_files and "chartsheet" not in rel.Type
            ]
        except Exception as error:
            raise MalformedMetadata(path, 0, f"expected an Excel workbook ({type(error).__name__}: {error})") from error
        yield _Book(
            archive=reader.archive,
            sheets={name: part for name, part, _ in sheets},
            visible=tuple(name for name, _, state in sheets if state == "visible"),
            strings=reader.shared_strings,
            epoch=reader.wb.epoch,
            dates=frozenset(reader.wb._date_formats),
            lengths=frozenset(reader.wb._timedelta_formats),
        )


def _sheet(book: _Book, name: str | None, path: Path) -> str:
    """The part that holds it. Raises: MalformedMetadata."""
    names = list(book.sheets)
    if name is None:
        if not names:
            raise MalformedMetadata(path, 0, "expected a sheet with rows")
        return book.sheets[(book.visible or tuple(names))[0]]
    if name not in book.sheets:
        raise MalformedMetadata(path, 0, f"expected a sheet {name!r}; there are {', '.join(names[:20])}")
    return book.sheets[name]


def _lines(book: _Book, part: str, path: Path) -> Iterator[tuple[int, list[Cell]]]:
    """Raises: MalformedMetadata."""
    try:
        with book.archive.open(part) as file:
            yield from read_sheet(cast("BinaryIO", file))
    except SheetFault as error:
        raise MalformedMetadata(path, 0, f"expected a whole Excel workbook ({error})") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise MalformedMetadata(
            path, 0, f"expected a whole Excel workbook ({type(error).__name__}: {error})"
        ) from error


def _value(cell: Cell, book: _Book, path: Path) -> tuple[object, str]:
    """(value, ST_CellType, or "f" for a formula). Raises: MalformedMetadata."""
    if cell.formula:
        return cell.text, "f"
    try:
        if cell.kind == "n":
            return _number_or_moment(cell, book)
        return _READERS.get(cell.kind, _as_it_is)(cell.text, book), cell.kind
    except (ValueError, IndexError) as error:
        problem = f"expected a whole Excel workbook (a cell holds {cell.text[:40]!r}: {error})"
        raise MalformedMetadata(path, 0, problem) from error


def _number_or_moment(cell: Cell, book: _Book) -> tuple[object, str]:
    from openpyxl.utils.datetime import from_excel  # noqa: PLC0415

    number = float(cell.text) if set(cell.text) & set(".eE") else int(cell.text)
    style = int(cell.style or 0)
    if style not in book.dates:
        return number, "n"
    try:
        return from_excel(number, book.epoch, timedelta=style in book.lengths), "n"
    except (OverflowError, ValueError):
        return "#VALUE!", "e"


def _moment_of(text: str, _: _Book) -> object:
    from openpyxl.utils.datetime import from_ISO8601  # noqa: PLC0415

    read: Callable[[str], object] = from_ISO8601
    return read(text)


def _index(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("expected the place of a shared string")
    return int(text)


def _as_it_is(text: str, _: _Book) -> str:
    return text


_READERS: Final[Mapping[str, Callable[[str, _Book], object]]] = {
    "s": lambda text, book: book.strings[_index(text)],
    "b": lambda text, _: bool(int(text)),
    "d": _moment_of,
}
"""By ST_CellType; of "str", "inlineStr" and "e" the text itself."""


def _text(value: object, kind: str, column: Column, row: Row, findings: Findings) -> str:  # noqa: PLR0911  one a type
    """What the cell would hold had it been formatted as text; "" where that cannot be told any more."""
    if value is None:
        return ""
    if kind == "f":
        return _refuse(row, column, value, "a value: a formula is never run; paste its result as text", findings)
    if kind == "e":
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
