"""What a report says it was a check of, read back as if anybody had written it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from catalog.checking import inputs_of_report
from catalog.metadata.check import Unlisted

GOOD = {"metadata": ["/rows.csv"], "sheet": None, "unlisted": "skip", "errors": 1}


def test_a_report_names_its_inputs() -> None:
    inputs = inputs_of_report(Path("autumn"), json.dumps(GOOD).encode())
    assert (inputs.folder, inputs.metadata) == (Path("autumn"), (Path("/rows.csv"),))
    assert (inputs.sheet, inputs.unlisted) == (None, Unlisted.SKIP)


@pytest.mark.parametrize(
    "change",
    [{"metadata": "/rows.csv"}, {"metadata": [1]}, {"metadata": ["a\0b"]}, {"sheet": 5}, {"unlisted": "maybe"},
     {"unlisted": None}, {"metadata": None}],
)  # fmt: skip
def test_a_report_that_says_something_else_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  whatever is wrong with it
        inputs_of_report(Path("autumn"), json.dumps(GOOD | change).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"a":NaN}', b"[" * 100_000])
def test_what_is_no_report_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        inputs_of_report(Path("autumn"), data)
