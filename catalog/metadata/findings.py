"""What a check finds: where, what stood there, what was expected, how bad. And the report that lists it."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from ledger.errors import shorten

LISTED_MAX: Final = 100_000
"""Findings a report lists; all are counted. Whoever has more has one mistake, made in every row."""

REPORT_COLUMNS: Final = ("severity", "source", "line", "column", "cell", "value", "expected", "rule", "track")
_FORMULA: Final = tuple("=+-@\t\r")
"""How a cell begins that a spreadsheet would run."""


class Severity(StrEnum):
    """How bad. Only errors keep a catalogue from being signed."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


_ORDER: Final = {severity: i for i, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in the metadata something stands."""

    source: str = ""
    """Name of the metadata file."""
    line: int = 0
    """1-based line of a CSV file or row of a sheet; 0 where there is none."""
    cell: str = ""
    """C7 of a sheet; SoundRecording A1 of a DDEX message."""

    def __str__(self) -> str:
        spot = self.cell or (f"line {self.line}" if self.line else "")
        return ", ".join(part for part in (self.source, spot) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a person should look at."""

    severity: Severity
    rule: str
    """Which rule, in a word for programs, such as isrc-twice."""
    place: Place = Place()
    column: str = ""
    value: str = ""
    """As it stood there, shortened."""
    expected: str
    """What would have been right, in words that fit after "expected"; of a warning or note, a sentence."""
    track: str = ""
    """Path of the audio file it is about, where one is known."""

    def row(self) -> dict[str, Any]:
        """For JSON and CSV: every column, in their order."""
        return {
            "severity": str(self.severity),
            "source": self.place.source,
            "line": self.place.line or None,
            "column": self.column,
            "cell": self.place.cell,
            "value": self.value,
            "expected": self.expected,
            "rule": self.rule,
            "track": self.track,
        }


class Findings:
    """Collects findings: counts all, lists the first LISTED_MAX."""

    def __init__(self) -> None:
        self.counts: Counter[Severity] = Counter()
        self.rules: Counter[str] = Counter()
        self._listed: list[Finding] = []

    def add(self, finding: Finding) -> None:
        self.counts[finding.severity] += 1
        self.rules[finding.rule] += 1
        if len(self._listed) < LISTED_MAX:
            self._listed.append(finding)

    def report(
        self,
        severity: Severity,
        rule: str,
        expected: str,
        *,
        place: Place = Place(),
        column: str = "",
        value: object = "",
        track: str = "",
    ) -> None:
        """`add` of its parts; the value is shortened and made one line."""
        self.add(
            Finding(
                severity=severity,
                rule=rule,
                place=place,
                column=column,
                value=shorten(value),
                expected=expected,
                track=track,
            )
        )

    @property
    def errors(self) -> int:
        return self.counts[Severity.ERROR]

    @property
    def unlisted(self) -> int:
        return self.counts.total() - len(self._listed)

    def listed(self) -> list[Finding]:
        """In the order of the metadata: by file, line, then severity."""
        return sorted(
            self._listed, key=lambda one: (one.place.source, one.place.line, one.place.cell, _ORDER[one.severity])
        )


def report_csv(findings: Iterable[Finding]) -> bytes:
    """For a spreadsheet: UTF-8 with BOM (Excel would guess otherwise), CRLF, no cell that would run as a formula."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(REPORT_COLUMNS)
    for finding in findings:
        writer.writerow([_inert(value) for value in finding.row().values()])
    return b"\xef\xbb\xbf" + text.getvalue().encode("utf-8", "replace")


def report_json(head: dict[str, Any], findings: Iterable[Finding]) -> bytes:
    """head, and the findings one a line."""
    lines = ",\n".join(json.dumps(finding.row(), ensure_ascii=False) for finding in findings)
    start = json.dumps(head, ensure_ascii=False, indent=1)[:-2]
    return f'{start},\n "findings": [\n{lines}\n]}}\n'.encode("utf-8", "replace")


def _inert(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
