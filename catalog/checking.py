"""`stretto catalog check` without its printing: a scanned folder and its metadata in, a report out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from catalog.claims import Names
from catalog.json_fields import load, read_object, read_text
from catalog.manifest import MANIFEST_NAME, Manifest
from catalog.metadata.check import Checked, Unlisted, check_catalogue
from catalog.metadata.findings import Findings, Severity
from catalog.metadata.rows import Row
from catalog.metadata.sources import digest_of_files, metadata_files, read_rows

REPORT_VERSION: Final = 1
REPORT_CSV: Final = "report.csv"
REPORT_JSON: Final = "report.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a catalogue is made of."""

    folder: Path
    """Scanned: it holds a manifest."""
    metadata: tuple[Path, ...] = ()
    """Files, or folders of them. None: tags alone speak."""
    sheet: str | None = None
    """Of an Excel workbook; its first where None."""
    unlisted: Unlisted = Unlisted.ERROR
    names: Names = Names.COMMITTED
    """Whose stand open: claims that name people are larger than claims that hide them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRun:
    """A finished check, and what it was a check of."""

    checked: Checked
    head: dict[str, Any]
    """The report's first part: inputs by their digests, and counts. No time, no machine: same inputs, same report."""


def run_check(
    inputs: Inputs,
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> CheckRun:
    """Raises: MalformedManifest, MalformedMetadata; OSError where a file cannot be read."""
    manifest = Manifest.open(inputs.folder)
    files = metadata_files(inputs.metadata)
    findings = Findings()
    rows: Iterator[Row] | None = read_rows(files, findings, sheet=inputs.sheet) if files else None
    # Before the rows: what changes while they are read is noticed at the next run, not taken for checked.
    seen = fingerprint(inputs, files)
    checked = check_catalogue(manifest, rows, findings, unlisted=inputs.unlisted, names=inputs.names, advance=advance)
    counts = {f"{severity}s": findings.counts[severity] for severity in Severity}
    head = {
        "stretto_report": REPORT_VERSION,
        **seen,
        "tracks": len(checked.tracks),
        "left_out": sum(1 for _ in manifest.left_out()),
        "rows": checked.rows,
        "to_claim": sum(stated is not None for stated in checked.stated),
        **counts,
        "rules": dict(sorted(findings.rules.items())),
        "unlisted_findings": findings.unlisted,
    }
    return CheckRun(checked=checked, head=head)


def fingerprint(inputs: Inputs, files: list[Path]) -> dict[str, Any]:
    """What a check or a signature depends on: manifest and metadata by their digests, and how they were read."""
    with (inputs.folder / MANIFEST_NAME).open("rb") as file:
        manifest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "manifest_sha256": manifest,
        "metadata": [str(path.resolve()) for path in inputs.metadata],
        "metadata_sha256": digest_of_files(files) if files else None,
        "sheet": inputs.sheet,
        "unlisted": str(inputs.unlisted),
    }


def inputs_of_report(folder: Path, data: bytes) -> Inputs:
    """What the report in `folder` was a check of. Raises: ValueError where it is no report."""
    head = read_object(load(data))
    try:
        metadata, sheet, unlisted = head["metadata"], head["sheet"], head["unlisted"]
    except KeyError as error:
        raise ValueError(f"a report with {error.args[0]!r}") from error
    if not isinstance(metadata, list):
        raise ValueError("a list of metadata files")  # noqa: TRY004  one kind of error for what is malformed
    return Inputs(
        folder=folder,
        metadata=tuple(Path(_path_text(path)) for path in metadata),
        sheet=None if sheet is None else read_text(sheet),
        unlisted=Unlisted(read_text(unlisted)),
    )


def _path_text(value: object) -> str:
    text = read_text(value)
    if "\0" in text:
        raise ValueError("paths without NUL")
    return text
