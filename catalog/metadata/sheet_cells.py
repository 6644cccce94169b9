"""The cells of one sheet of an Excel workbook, read by expat as they come: a fifth of what openpyxl takes for them.

Source: ECMA-376, part 1, sections 18.3.1.4 (c), 18.3.1.73 (row), 18.18.11 (ST_CellType).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final
from xml.parsers import expat

COLUMN_MAX: Final = 18_278
"""ZZZ; Excel ends at XFD."""
_READ_BYTES: Final = 64 * 1024
_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_ROW, _CELL, _VALUE, _FORMULA, _INLINE, _TEXT, _PHONETIC = (
    f"{_MAIN}}}{name}" for name in ("row", "c", "v", "f", "is", "t", "rPh")
)


@dataclass(slots=True)
class Cell:
    """A cell that something stands in, as it is written. column: 1-based. kind: ST_CellType. style: index or empty."""

    column: int
    kind: str
    style: str
    text: str = ""
    formula: bool = False


class SheetFault(ValueError):
    """The sheet is no XML, or no sheet. The message says what was expected."""


def read_sheet(file: BinaryIO) -> Iterator[tuple[int, list[Cell]]]:
    """(number from 1, cells from the left) of each row that is written, in order. Raises: SheetFault; as `file.read`.

    A row stands in memory as a whole; nothing else does. A document type ends the reading, and with it entities.
    """
    sheet = _Sheet()
    while True:
        piece = file.read(_READ_BYTES)
        try:
            sheet.parser.Parse(piece, not piece)
        except (expat.ExpatError, LookupError) as error:  # LookupError: an encoding that nobody knows
            raise SheetFault(f"well-formed XML: {error}") from error
        yield from sheet.rows
        sheet.rows.clear()
        if not piece:
            return


class _Sheet:
    """What expat calls. `rows`: those that are complete."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, list[Cell]]] = []
        self.parser = parser = expat.ParserCreate(namespace_separator="}")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._doctype
        self._number = 0
        self._cells: list[Cell] | None = None
        self._cell: Cell | None = None
        self._column = 0
        self._phonetic = False
        self._pieces: list[str] = []

    def _doctype(self, *_: object) -> None:
        raise SheetFault("XML without a document type")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        cell = self._cell
        if name == _CELL and self._cells is not None:
            self._column = _column_of(attributes["r"]) if "r" in attributes else self._column + 1
            self._cell = Cell(self._column, attributes.get("t", "n"), attributes.get("s", ""))
            self._pieces = []
        elif cell is None:
            if name == _ROW:
                self._begin_row(attributes.get("r"))
        elif name == _TEXT:
            if cell.kind == "inlineStr" and not self._phonetic:
                self.parser.CharacterDataHandler = self._pieces.append
        elif name == _VALUE:
            if cell.kind != "inlineStr" and not cell.formula:
                self.parser.CharacterDataHandler = self._pieces.append
        elif name == _FORMULA:
            cell.formula = True
            self._pieces = ["="]
            self.parser.CharacterDataHandler = self._pieces.append
        elif name == _PHONETIC:  # how a name is spoken, beside the name
            self._phonetic = True

    def _end(self, name: str) -> None:
        if name == _CELL and self._cell is not None and self._cells is not None:
            self._cell.text = "".join(self._pieces)
            if self._cell.text:
                self._cells.append(self._cell)
            self._cell, self._phonetic = None, False
        elif name in (_TEXT, _VALUE, _FORMULA):
            self.parser.CharacterDataHandler = None
        elif name == _ROW and self._cells is not None and self._cell is None:
            self.rows.append((self._number, self._cells))
            self._cells = None
        elif name == _PHONETIC:
            self._phonetic = False

    def _begin_row(self, written: str | None) -> None:
        number = self._number + 1 if written is None else _row_of(written)
        if number <= self._number:
            raise SheetFault(f"rows in order, got {number} after {self._number}")
        self._number, self._cells, self._column = number, [], 0


def _row_of(written: str) -> int:
    if not (written.isascii() and written.isdecimal() and len(written) < 10):
        raise SheetFault(f"a row's number, got {written[:20]!r}")
    return int(written)


def _column_of(written: str) -> int:
    """1 of A5, 28 of AB5."""
    letters = written.rstrip("0123456789")
    if not (1 <= len(letters) <= 3 and letters.isascii() and letters.isalpha()):
        raise SheetFault(f"a cell's place such as B7, got {written[:20]!r}")
    column = 0
    for letter in letters.upper():
        column = 26 * column + ord(letter) - 64
    return column
