"""Metadata files by their names: CSV, Excel or DDEX, one or many, and folders of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from catalog.metadata.findings import Findings
from catalog.metadata.rows import ROWS_MAX, MalformedMetadata, Row
from catalog.metadata.table_csv import read_csv

FILES_MAX: Final = 10_000
"""Metadata files of one catalogue: a DDEX message a release."""
_TABLES: Final = frozenset({".csv", ".tsv", ".txt"})
_WORKBOOKS: Final = frozenset({".xlsx", ".xlsm"})
_MESSAGES: Final = frozenset({".xml"})
_KNOWN: Final = _TABLES | _WORKBOOKS | _MESSAGES


def metadata_files(paths: Iterable[Path]) -> list[Path]:
    """The files that `paths` name; of folders, those with a known ending, in the order of their names.

    Raises: MalformedMetadata where there is none, too many, or one of an unknown kind; OSError.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.suffix.lower() in _KNOWN and one.is_file())
            if not inside:
                raise MalformedMetadata(path, 0, f"expected files in it that end in {', '.join(sorted(_KNOWN))}")
            found += inside
        elif path.suffix.lower() not in _KNOWN:
            hint = "save it as .xlsx" if path.suffix.lower() in (".xls", ".xlsb", ".ods", ".numbers") else "rename it"
            raise MalformedMetadata(path, 0, f"expected a name that ends in {', '.join(sorted(_KNOWN))}: {hint}")
        else:
            found.append(path)
    if len(found) > FILES_MAX:
        raise MalformedMetadata(found[FILES_MAX], 0, f"expected at most {FILES_MAX} metadata files, got {len(found)}")
    return found


def read_rows(files: Sequence[Path], findings: Findings, *, sheet: str | None = None) -> Iterator[Row]:
    """Rows of all files, in order. Raises: MalformedMetadata, OSError."""
    count = 0
    for path in files:
        for row in _rows_of(path, findings, sheet):
            count += 1
            if count > ROWS_MAX:
                problem = f"expected at most {ROWS_MAX} rows in all (ROWS_MAX): split the catalogue"
                raise MalformedMetadata(path, row.line, problem)
            yield row


def _rows_of(path: Path, findings: Findings, sheet: str | None) -> Iterator[Row]:
    suffix = path.suffix.lower()
    if suffix in _WORKBOOKS:
        from catalog.metadata.table_xlsx import read_xlsx  # noqa: PLC0415  half a second of imports

        return read_xlsx(path, findings, sheet=sheet)
    if suffix in _MESSAGES:
        from catalog.metadata.ern import read_ern  # noqa: PLC0415

        return read_ern(path, findings)
    return read_csv(path, findings)


def digest_of_files(files: Iterable[Path]) -> str:
    """SHA-256 over the files' names and contents: whether metadata changed since it was last looked at."""
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        name = path.name.encode("utf-8", "surrogateescape")
        whole.update(len(name).to_bytes(4, "big") + name + digest)
    return whole.hexdigest()
