"""A row of metadata, whatever it was read from: cleaned values by column, and where each of them stands."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from catalog.metadata.columns import (
    COLUMNS,
    KEYS,
    NOTHING,
    Column,
    column_of,
    is_comment,
    nearest,
    split_cell,
)
from catalog.metadata.findings import Findings, Place, Severity
from consensus.errors import RequestError

ROWS_MAX: Final = 1_000_000
"""Rows of all metadata files together."""
COLUMNS_MAX: Final = 256
CELL_CHARACTERS_MAX: Final = 32_767
"""What a cell of a spreadsheet holds at most."""

_EDGES: Final = "\u200b\u200e\u200f\u061c\u2060\ufeff"
"""Invisible characters that copying leaves at the ends of a cell."""


_NO_CELLS: dict[str, tuple[str, ...]] = {}
_NO_LETTERS: Mapping[str, str] = {}
"""Shared by all rows that have none."""


class MalformedMetadata(RequestError):
    """A metadata file that cannot be read on. line: 1-based; 0 where it is not about one."""

    def __init__(self, path: Path, line: int, problem: str) -> None:
        where = f", line {line}" if line else ""
        super().__init__(f"{path}{where}: {problem}")
        self.path = path
        self.line = line
        self.problem = problem


@dataclass(slots=True, kw_only=True)
class Row:
    """What one row says, and where. An absent column was left empty; an empty tuple says: nothing, not even tags."""

    source: str
    line: int = 0
    cells: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By the column's name; one value unless the column takes several."""
    letters: Mapping[str, str] = field(default_factory=lambda: _NO_LETTERS)
    """The sheet's letter of each column."""
    element: str = ""
    """Of a DDEX message: which element the row was made of."""
    _placed: Row | None = field(default=None, init=False, repr=False, compare=False)

    def place(self, column: str = "") -> Place:
        letter = self.letters.get(column)
        return Place(
            source=self.source, line=self.line, cell=f"{letter}{self.line}" if letter else self.element
        )  # fmt: skip

    def placed(self) -> Row:
        """The row without its cells: a hundred thousand are kept for what other rows have to say of them."""
        if self._placed is None:
            kept = Row(source=self.source, line=self.line, cells=_NO_CELLS, letters=self.letters, element=self.element)
            self._placed = kept
        return self._placed

    def one(self, column: str) -> str | None:
        """The value of a column that takes one."""
        values = self.cells.get(column)
        return values[0] if values else None

    def error(self, findings: Findings, rule: str, column: str, value: object, expected: str) -> None:
        place = self.place(column)
        findings.report(Severity.ERROR, rule, expected, place=place, column=column, value=value)

    def warn(self, findings: Findings, rule: str, column: str, value: object, expected: str) -> None:
        place = self.place(column)
        findings.report(Severity.WARNING, rule, expected, place=place, column=column, value=value)


Header = Sequence[Column | None]
"""What stands in each column of a table, from the left; None: nothing of ours."""


def read_header(titles: Sequence[str], source: str, line: int, path: Path, findings: Findings) -> Header:
    """Raises: MalformedMetadata where nothing in it could ever find a track."""
    if len(titles) > COLUMNS_MAX:
        raise MalformedMetadata(path, line, f"expected at most {COLUMNS_MAX} columns, got {len(titles)}")
    found: list[Column | None] = []
    place = Place(source=source, line=line)
    for title in titles:
        column = column_of(unicodedata.normalize("NFKC", title).strip(_EDGES))
        if column is not None and column in found:
            findings.report(
                Severity.ERROR, "header", f"each column once: this one is {column.name} again",
                place=place, column=column.name, value=title,
            )  # fmt: skip
            column = None
        elif column is None and not is_comment(title):
            near = nearest(title)
            meant = f"did you mean {near}?" if near else "a column of ours, or # before a name of your own"
            findings.report(Severity.ERROR, "header", meant, place=place, column=title[:40], value=title)
        found.append(column)
    if not any(column is not None and column.name in KEYS for column in found):
        known = ", ".join(column.name for column in COLUMNS)
        problem = f"expected a header with at least one of {', '.join(KEYS)} in it; known columns are {known}"
        raise MalformedMetadata(path, line, problem)
    return found


def read_row(row: Row, header: Header, texts: Sequence[str], findings: Findings) -> bool:
    """Puts the cells' texts into `row`. Returns whether there was anything in it."""
    cells = row.cells
    for column, text in zip(header, texts, strict=False):
        if text and column is not None and (value := clean(row, column, text, findings)):
            cells[column.name] = () if value == NOTHING else split_cell(value) if column.several else (value,)
    for text in texts[len(header) :]:
        if text.strip():
            expected = f"no more cells than the header's {len(header)}: a value with a separator in it needs quotes"
            row.error(findings, "row", "", text, expected)
            return True
    return bool(cells)


def clean(row: Row, column: Column, text: str, findings: Findings) -> str:
    """The cell's text in NFC without blanks and invisible marks at its ends; an identifier in plain characters."""
    if text.isascii():
        text = text.strip()
        if len(text) <= CELL_CHARACTERS_MAX:
            return text
    if len(text) > CELL_CHARACTERS_MAX:
        expected = f"at most {CELL_CHARACTERS_MAX} characters, got {len(text)}"
        row.error(findings, "cell", column.name, text[:100], expected)
        return ""
    plain = unicodedata.normalize("NFC", text).strip().strip(_EDGES).strip()
    if not column.identifier:
        return plain
    shown = plain
    # Names stand beside the numbers of some identifier columns: only what is a number's is made plain.
    if not column.several:
        plain = unicodedata.normalize("NFKC", plain)
        plain = "".join(c for c in plain if unicodedata.category(c) != "Cf")
    if plain != unicodedata.normalize("NFC", shown):
        said = f"plain letters and digits: read as {plain}"
        row.warn(findings, "characters", column.name, shown, said)
    return plain
