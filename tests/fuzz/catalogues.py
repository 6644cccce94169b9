"""Targets of a catalogue's files: metadata as others write it, and what this program wrote and reads back."""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, cast

from catalog import digest_journal
from catalog.checking import Inputs, inputs_of_report
from catalog.content import Content
from catalog.in_hand import SUSPECTS_MAX, parse_in_hand
from catalog.isolated import parse_answer
from catalog.metadata.check import Unlisted
from catalog.metadata.ern import read_ern
from catalog.metadata.findings import Findings, report_csv, report_json
from catalog.metadata.rows import MalformedMetadata, Row
from catalog.metadata.sheet_cells import COLUMN_MAX, SheetFault, read_sheet
from catalog.metadata.table_csv import read_csv, template
from catalog.metadata.table_xlsx import read_xlsx
from catalog.metadata.values import read_stated
from catalog.signing import MalformedSigned, Part, Signed, parse_signed
from catalog.submitted import Fate, Sent, parse_sent
from catalog.tags import Tags
from kernels import calibration
from tests.catalog import test_manifest
from tests.catalog.metadata import messages
from tests.fuzz.target import Target, holds, stable

ROWS_READ = 50


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="stretto-fuzz-")


def _file(name: str, data: bytes) -> Path:
    path = Path(_folder().name) / name
    path.write_bytes(data)
    return path


# ---- metadata --------------------------------------------------------------------------------------------------------


def _metadata(name: str, read: Callable[[Path, Findings], Iterator[Row]]) -> Callable[[bytes], object]:
    """Rows, and what each declares, as a check reads them; every finding can be written into a report."""

    def run(data: bytes) -> object:
        findings, stated = Findings(), []
        for number, row in enumerate(read(_file(name, data), findings)):
            if number < ROWS_READ:
                stated.append(read_stated(row, Tags(), findings, "song.flac"))
        report_csv(findings.listed())
        json.loads(report_json({"rows": len(stated)}, findings.listed()))
        return stated

    return run


@cache
def _workbook() -> bytes:
    from openpyxl import Workbook

    book = Workbook()
    page = book.active
    assert page is not None
    page.append(["file", "title", "isrc", "upc", "duration", "release_date", "shares"])
    page.append(["a.flac", "Rain", "USSKG1912345", 36000291452, "3:25", "2026-09-01", "Me: All: Worldwide: 100%"])
    page.append(["b.flac", "=1+1", True, 4.5, None, "-", "Me"])
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


@cache
def _parts() -> dict[str, bytes]:
    """The workbook's, and the shared strings that Excel writes and openpyxl does not."""
    with zipfile.ZipFile(io.BytesIO(_workbook())) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    types, sheet = "[Content_Types].xml", "xl/worksheets/sheet1.xml"
    kind = b"application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    override = b'<Override PartName="/xl/sharedStrings.xml" ContentType="' + kind + b'"/></Types>'
    parts[types] = parts[types].replace(b"</Types>", override)
    space = b'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    parts["xl/sharedStrings.xml"] = (
        b"<sst " + space + b"><si><t>c.flac</t></si><si><r><t>Ra</t></r><r><t>in</t></r></si></sst>"
    )
    row = b'<row r="4"><c r="A4" t="s"><v>0</v></c><c r="B4" t="s"><v>1</v></c><c r="F4" s="0"><v>45000</v></c></row>'
    parts[sheet] = parts[sheet].replace(b"</sheetData>", row + b"</sheetData>")
    return dict(sorted(parts.items()))


def _with_part(data: bytes) -> bytes:
    """The workbook with one part replaced: checksums keep whoever changes single bytes from coming so far."""
    names = list(_parts())
    chosen = names[(data[0] if data else 0) % len(names)]
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for name, part in _parts().items():
            archive.writestr(name, data[1:] if name == chosen else part)
    return written.getvalue()


def _cells(data: bytes) -> object:
    """Rows in order, and no more text in them than there was."""
    rows = list(read_sheet(io.BytesIO(data)))
    numbers = [number for number, _ in rows]
    holds(numbers == sorted(set(numbers)), "each row once, in order")
    holds(
        all(1 <= cell.column <= COLUMN_MAX and cell.text for _, cells in rows for cell in cells), "cells have a place"
    )
    holds(sum(len(cell.text) for _, cells in rows for cell in cells) <= len(data), "no text comes from nowhere")
    return rows


# ---- what this program wrote -----------------------------------------------------------------------------------------

_PART = Part(
    file="001.stretto", openings="001.stretto.openings.json", statement="ab" * 32, client_ref="r-001", claims=3,
    first="a.flac", last="雨.flac",
)  # fmt: skip
_SENT = Sent(statement="ab" * 32, file="001.stretto", fate=Fate.FINAL, index=7, height=3, block_time_ms=9, reason="x")


def _encode_sent(value: object) -> bytes:
    row = {name: field for name, field in asdict(cast(Any, value)).items() if field is not None}
    return json_bytes(row)


def json_bytes(value: object) -> bytes:
    return json.dumps(value).encode()


def _report(data: bytes) -> object:
    return inputs_of_report(Path("folder"), data)


def _encode_report(value: object) -> bytes:
    inputs = cast(Inputs, value)
    head = {"metadata": [str(path) for path in inputs.metadata], "sheet": inputs.sheet, "unlisted": inputs.unlisted}
    return json_bytes(head)


def _hashed() -> Path:
    """A file that does not change between two inputs, so that what a journal says of it may be believed."""
    path = Path(_folder().name) / "song"
    if not path.exists():
        path.write_bytes(b"song")
    return path


def _journals() -> list[bytes]:
    path = _hashed()
    content = Content(path.stat(), bytes(32), bytes(32))
    before, digest_journal.SETTLED_NS = digest_journal.SETTLED_NS, -1
    try:
        lines = [digest_journal.line(name, content) for name in (os.fsencode(path), b"a\\b\nc d")]
    finally:
        digest_journal.SETTLED_NS = before
    return [digest_journal.HEADER + b"".join(lines), digest_journal.HEADER, b""]


def _digest_journal(data: bytes) -> object:
    """What was read is on disk as it was, but for a last line that was cut off; digests are digests."""
    path = _file("journal", data)
    journal = digest_journal.Journal(str(path))
    try:
        known = [journal.known(os.fsencode(_hashed()), with_sha256=flag) for flag in (True, False)]
        for found in known:
            holds(found is None or len(found[1]) == len(found[2] or found[1]) == 32, "a digest has 32 bytes")
        left = path.read_bytes()
        holds(data.startswith(left) or left == digest_journal.HEADER, "nothing but a cut-off line is cut off")
    finally:
        os.close(journal._descriptor)
    return known


def _calibration() -> calibration.Calibration:
    row = calibration.Row(batch_bytes=1 << 20, message_bytes=1 << 14, bytes=1 << 22, cpu_s=0.5, gpu_s=0.25)
    return calibration.Calibration(
        uuid="GPU-1", name="H", driver="1", ptx_sha256="ab", threads=4, measured_at="2026-01-01T00:00:00Z",
        load_average=0.5, open_s=0.1, rows=(row,),
    )  # fmt: skip


def _calibrated(data: bytes) -> calibration.Calibration:
    """Whatever is accepted, the questions that dispatch asks of it have an answer."""
    found = calibration.parse(data)
    worth = found.worth_from_bytes
    holds(worth is None or worth >= found.batch_bytes_max or worth > 0, "a bound in bytes")
    found.invalid_because(driver="1", ptx_sha256="ab", threads=4)
    return found


def _in_hand(data: bytes) -> object:
    found = parse_in_hand(data)
    holds(len(found) <= SUSPECTS_MAX and all(path and b"\0" not in path for path in found), "bounded paths")
    return found


CATALOGUES = (
    Target(
        name="metadata-csv",
        run=_metadata("rows.csv", read_csv),
        seeds=lambda: [
            template(),
            b"sep=;\r\nfile;isrc;artists\r\na.flac;USSKG1912345;A\\;B; C\r\n",
            b'file\ttitle\tshares\tai\tai_roles\r\na\t"x\ny"\tMe: 50%\tPartly\tVocals=None (t)\n',
        ],
        errors=(MalformedMetadata,),
    ),
    Target(
        name="metadata-excel",
        run=_metadata("rows.xlsx", read_xlsx),
        seeds=lambda: [_workbook(), _with_part(b"\0" + next(iter(_parts().values())))],
        errors=(MalformedMetadata,),
    ),
    Target(
        name="metadata-excel-part",
        run=lambda data: _metadata("rows.xlsx", read_xlsx)(_with_part(data)),
        seeds=lambda: [bytes((number,)) + part for number, part in enumerate(_parts().values())],
        errors=(MalformedMetadata,),
    ),
    Target(
        name="excel-cells",
        run=_cells,
        seeds=lambda: [_parts()["xl/worksheets/sheet1.xml"]],
        errors=(SheetFault,),
    ),
    Target(
        name="metadata-ern",
        run=_metadata("message.xml", read_ern),
        seeds=lambda: [messages.ern_42(), messages.ern_43(), messages.ern_432("Partly", messages.contributor_432("x"))],
        errors=(MalformedMetadata,),
    ),
    Target(
        name="submitted-line",
        run=stable(parse_sent, _encode_sent),
        seeds=lambda: [_encode_sent(_SENT)],
        errors=(ValueError,),
    ),
    Target(
        name="signed-list",
        run=stable(lambda data: parse_signed(data, Path("x")), lambda value: cast(Signed, value).encode()),
        seeds=lambda: [Signed(inputs={"key": "k", "ref": None, "per_statement": 3}, parts=(_PART, _PART)).encode()],
        errors=(MalformedSigned,),
    ),
    Target(
        name="check-report",
        run=stable(_report, _encode_report),
        seeds=lambda: [_encode_report(Inputs(folder=Path("folder"), metadata=(Path("/a"),), unlisted=Unlisted.TAGS))],
        errors=(ValueError,),
    ),
    Target(name="digest-journal", run=_digest_journal, seeds=_journals, errors=(digest_journal.JournalDamaged,)),
    Target(
        name="calibration",
        run=stable(_calibrated, lambda value: json_bytes({"format": calibration.FORMAT, **asdict(cast(Any, value))})),
        seeds=lambda: [json_bytes({"format": calibration.FORMAT, **asdict(_calibration())})],
        errors=(ValueError,),
    ),
    Target(
        name="in-hand", run=_in_hand, seeds=lambda: [b"\x02\0ab".ljust(4096, b"\0") + b"\x01\0c".ljust(4096, b"\0")]
    ),
    Target(
        name="isolated-answer",
        run=lambda data: parse_answer(data, Path("song.flac")),
        seeds=lambda: [
            json_bytes({"line": test_manifest.PLAIN.encode().decode(), "raw": "AAAA"}),
            json_bytes({"reason": "empty", "cause": "content"}),
        ],
        errors=(ValueError,),
    ),
)
