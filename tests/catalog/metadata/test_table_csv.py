"""CSV as people save it: encodings, delimiters, line ends, headers; and what cannot be read is named by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.metadata.columns import BY_NAME, COLUMNS, split_cell
from catalog.metadata.findings import Finding, Findings, Severity
from catalog.metadata.rows import CELL_CHARACTERS_MAX, MalformedMetadata, Row
from catalog.metadata.table_csv import LINE_BYTES_MAX, read_csv, template


def read(path: Path, data: bytes) -> tuple[list[Row], list[Finding]]:
    path.write_bytes(data)
    findings = Findings()
    return list(read_csv(path, findings)), findings.listed()


@pytest.fixture
def rows_csv(tmp_path: Path) -> Path:
    return tmp_path / "rows.csv"


PLAIN = "file,title,artists\na.flac,Früh,Ana; Bo\n"


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        b"\xef\xbb\xbf" + PLAIN.encode(),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace(",", "\t").encode(),
        'file;title;artists\na.flac;Früh;"Ana; Bo"\n'.encode(),
        'sep=;\r\nfile;title;artists\r\na.flac;Früh;"Ana; Bo"\r\n'.encode(),
        "File,Track Title,Main artist\n a.flac ,\u00a0Früh\u200e, Ana ;; Bo;\n".encode(),
        "file,title,artists\na.flac,Fru\u0308h,Ana; Bo".encode(),
        ("\n" + PLAIN.replace("\n", "\n,,\n\n")).encode().lstrip(b"\n"),
    ],
    ids=["plain", "bom", "crlf", "tab", "semicolon", "sep", "aliases", "nfd", "empty rows"],
)
def test_one_table_in_many_forms_is_one_table(rows_csv: Path, data: bytes) -> None:
    rows, findings = read(rows_csv, data)
    assert [row.cells for row in rows] == [{"file": ("a.flac",), "title": ("Früh",), "artists": ("Ana", "Bo")}]
    assert findings == []


def test_lines_are_counted_as_an_editor_counts_them(rows_csv: Path) -> None:
    rows, _ = read(rows_csv, b'file,title\na.flac,"Two\nlines"\n\nb.flac,B\n')
    assert [row.line for row in rows] == [2, 5]


def test_a_dash_says_nothing_and_an_empty_cell_says_not_anything(rows_csv: Path) -> None:
    (row,), _ = read(rows_csv, b"file,title,artists,label\na.flac,-,-,\n")
    assert row.cells == {"file": ("a.flac",), "title": (), "artists": ()}


def test_a_semicolon_inside_a_name_is_escaped() -> None:
    assert split_cell(r"Jane Doe; Roe\; Sons ;") == ("Jane Doe", "Roe; Sons")


def test_latin_1_is_named_by_line_and_byte_and_the_row_stays_findable(rows_csv: Path) -> None:
    rows, findings = read(rows_csv, b"file,title\na.flac,A\nb.flac,Caf\xe9\n")
    assert [row.cells["title"] for row in rows] == [("A",), ("Café",)]
    (finding,) = findings
    assert (finding.severity, finding.place.line) == (Severity.ERROR, 3)
    assert "byte 11" in finding.expected
    assert "0xE9" in finding.expected


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"file,titel\n", "did you mean title?"),
        (b"file,wibble\n", "# before a name of your own"),
        (b"file,title,Track Title\n", "each column once: this one is title again"),
    ],
)
def test_a_wrong_header_is_named_with_what_was_meant(rows_csv: Path, header: bytes, said: str) -> None:
    _, (finding,) = read(rows_csv, header + b"a.flac\n")
    assert finding.place.line == 1
    assert said in finding.expected


def test_columns_of_your_own_begin_with_a_hash(rows_csv: Path) -> None:
    (row,), findings = read(rows_csv, b"file,#budget,\na.flac,12,\n")
    assert row.cells == {"file": ("a.flac",)}
    assert findings == []


def test_cells_beyond_the_header_are_an_error_of_their_row(rows_csv: Path) -> None:
    rows, (finding,) = read(rows_csv, b"file,title\na.flac,One, two\n")
    assert len(rows) == 1
    assert (finding.severity, finding.place.line, finding.value) == (Severity.ERROR, 2, " two")


def test_a_cell_that_is_never_closed_is_named(rows_csv: Path) -> None:
    with pytest.raises(MalformedMetadata, match=r"line 2: .*quotation mark"):
        read(rows_csv, b'file,title\na.flac,"A\n' + b"b.flac,B\n" * 10_000)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "expected a header"),
        (b"title,artists\nA,B\n", "expected a header with at least one of digest, file, isrc"),
        ("file,title\n".encode("utf-16"), "UTF-16"),
        (b"PK\x03\x04 anything", "ZIP or Excel"),
        (b"file,title\ra.flac,A\r", "not in CR alone"),
        (b'file,title\na.flac,"A" B\n', "expected cells as CSV has them"),
        (b"file," + b"x" * LINE_BYTES_MAX, f"at most {LINE_BYTES_MAX} bytes"),
        (b"file,title\na.flac," + b"x" * (CELL_CHARACTERS_MAX + 1) + b"\n", f"at most {CELL_CHARACTERS_MAX}"),
        (b",".join([b"#"] * 300) + b"\n", "at most 256 columns"),
    ],
)
def test_what_is_no_table_is_refused_in_words(rows_csv: Path, data: bytes, said: str) -> None:
    with pytest.raises(MalformedMetadata) as caught:
        read(rows_csv, data)
    assert said in str(caught.value)


def test_more_rows_than_the_bound_are_refused_by_name(rows_csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.metadata.table_csv.ROWS_MAX", 3)
    assert len(read(rows_csv, b"file\n" + b"a\n" * 3)[0]) == 3
    with pytest.raises(MalformedMetadata, match="ROWS_MAX"):
        read(rows_csv, b"file\n" + b"a\n" * 4)


def test_full_width_and_marked_identifiers_are_read_with_a_warning(rows_csv: Path) -> None:
    (row,), (finding,) = read(rows_csv, "file,isrc\na.flac,ＵＳ-SKG-19-１２345\u200f\n".encode())
    assert row.one("isrc") == "US-SKG-19-12345"
    assert finding.severity is Severity.WARNING


def test_the_template_is_read_without_a_finding(rows_csv: Path) -> None:
    (row,), findings = read(rows_csv, template())
    assert findings == []
    assert row.one("isrc") == "USSKG1912345"
    assert set(row.cells) == {column.name for column in COLUMNS if column.example}
    assert BY_NAME["artists"].several
