"""docs/catalogue.md against the code: every column stands in it, and the figures are the code's."""

from __future__ import annotations

import re
from pathlib import Path

from catalog.metadata.columns import COLUMNS
from catalog.metadata.findings import LISTED_MAX
from catalog.metadata.rows import ROWS_MAX
from ledger.catalogue import CLAIMS_MAX

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "catalogue.md").read_text()


def test_every_column_and_no_other_is_described() -> None:
    table = PAGE.partition("| column | holds |")[2].partition("\n\n")[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(first))) == {column.name for column in COLUMNS}


def test_bounds_are_those_of_the_code() -> None:
    for bound in (ROWS_MAX, LISTED_MAX, CLAIMS_MAX):
        assert f"{bound:,}" in PAGE
