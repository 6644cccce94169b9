"""Metadata in CSV: UTF-8 with or without BOM; comma, semicolon or tab; LF or CRLF. Read row by row."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final

from catalog.metadata.columns import COLUMNS, column_of
from catalog.metadata.findings import Findings, Place, Severity
from catalog.metadata.rows import CELL_CHARACTERS_MAX, ROWS_MAX, MalformedMetadata, Row, read_header, read_row

LINE_BYTES_MAX: Final = 1 << 20
_DELIMITERS: Final = ",;\t"
_SEP: Final = re.compile(r'"?sep=([,;\t])"?\s*', re.IGNORECASE)
"""The first line by which Excel is told the delimiter."""


def template() -> bytes:
    """The CSV to fill in: every column, and one row of examples. CRLF and a BOM, so that Excel reads it as UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([column.name for column in COLUMNS])
    writer.writerow([column.example for column in COLUMNS])
    return b"\xef\xbb\xbf" + text.getvalue().encode()


def read_csv(path: Path, findings: Findings) -> Iterator[Row]:
    """Rows that say anything, in order. Faults of single rows go to `findings`.

    Raises: MalformedMetadata where nothing after the fault could be trusted; OSError.
    """
    with path.open("rb") as file:
        yield from _rows(file, path, findings)


def _rows(file: BinaryIO, path: Path, findings: Findings) -> Iterator[Row]:
    lines = _lines(file, path, findings)
    first, skipped = next(lines, ""), 0
    if named := _SEP.fullmatch(first.rstrip("\r\n")):
        first, skipped = next(lines, ""), 1
    csv.field_size_limit(CELL_CHARACTERS_MAX)
    line = skipped
    try:
        delimiter = named[1] if named else _delimiter(first)
        reader = csv.reader(chain((first,), lines), delimiter=delimiter, strict=True)
        header = read_header(next(reader, []), path.name, line + 1, path, findings)
        line = reader.line_num + skipped
        for count, cells in enumerate(reader, 1):
            if count > ROWS_MAX:
                raise MalformedMetadata(path, line + 1, f"expected at most {ROWS_MAX} rows (ROWS_MAX): split the file")
            row = Row(source=path.name, line=line + 1)
            line = reader.line_num + skipped
            if read_row(row, header, cells, findings):
                yield row
    except csv.Error as error:
        raise MalformedMetadata(path, line + 1, _explain(error)) from error


def _delimiter(first: str) -> str:
    """The one that makes most known columns of the header."""

    def known(delimiter: str) -> tuple[int, int]:
        titles: Sequence[str] = next(csv.reader((first,), delimiter=delimiter), [])
        return sum(column_of(title) is not None for title in titles), len(titles)

    return max(_DELIMITERS, key=known)


def _explain(error: csv.Error) -> str:
    said = str(error)
    if "field limit" in said:
        return f"expected cells of at most {CELL_CHARACTERS_MAX} characters: is a quotation mark never closed?"
    if "unexpected end of data" in said:
        return "expected a closing quotation mark before the end of the file"
    if "new-line character" in said:
        return "expected lines that end in LF or CRLF, not in CR alone: save the file anew as CSV UTF-8"
    return f'expected cells as CSV has them, with "" for a quotation mark inside quotes ({said})'


def _lines(file: BinaryIO, path: Path, findings: Findings) -> Iterator[str]:
    """Decoded lines. One that is not UTF-8 is an error of its line, and guessed at: its row stays findable."""
    number = 0
    while raw := file.readline(LINE_BYTES_MAX):
        number += 1
        if number == 1:
            if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise MalformedMetadata(path, 1, "expected UTF-8, got UTF-16: save the file anew as CSV UTF-8")
            if raw[:4] == b"PK\x03\x04":
                raise MalformedMetadata(path, 0, "expected CSV, got a ZIP or Excel file: give it its name in .xlsx")
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if len(raw) == LINE_BYTES_MAX and not raw.endswith(b"\n"):
            raise MalformedMetadata(path, number, f"expected lines of at most {LINE_BYTES_MAX} bytes")
        try:
            yield raw.decode()
        except UnicodeDecodeError as error:
            guess = raw.decode("cp1252", "replace")
            around = guess[max(0, error.start - 12) : error.start + 13].strip()
            findings.report(
                Severity.ERROR,
                "encoding",
                f"UTF-8, byte {error.start + 1} of the line is 0x{raw[error.start]:02X} (Latin-1?): "
                "save the file anew as CSV UTF-8",
                place=Place(source=path.name, line=number),
                value=around,
            )
            yield guess
