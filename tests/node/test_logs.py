"""Logs are one JSON object a line, whatever is logged."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from node.logs import JsonFormatter, configure_logs


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before[0], before[1]


Stderr = pytest.CaptureFixture[str]


def read(capsys: Stderr) -> list[dict[str, str]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_record_is_one_json_object_a_line(capsys: Stderr) -> None:
    configure_logs("court")
    logging.getLogger("node.loop").warning("two\nlines and %s", '"quotes" \x1b[31m 第一')
    (line,) = capsys.readouterr().err.splitlines()
    assert "\x1b" not in line, "what a peer sent must not reach a terminal raw"
    entry = json.loads(line)
    assert entry["message"] == 'two\nlines and "quotes" \x1b[31m 第一'
    assert (entry["level"], entry["member"], entry["logger"]) == ("warning", "court", "node.loop")
    assert entry["time"].endswith("+00:00")


def test_exception_is_named_in_its_record(capsys: Stderr) -> None:
    configure_logs("court")
    try:
        raise ValueError("why")  # noqa: TRY301  to have one to log
    except ValueError:
        logging.getLogger("x").warning("what", exc_info=True)
        logging.getLogger("x").exception("what")
    warning, error = read(capsys)
    assert warning["error"] == error["error"] == "ValueError: why"
    assert "traceback" not in warning, "one line is enough for what was expected"
    assert "test_logs.py" in error["traceback"]


def test_debug_is_off_unless_asked_for(capsys: Stderr) -> None:
    configure_logs("court")
    logging.getLogger("node").debug("quiet")
    assert not read(capsys)
    configure_logs("court", verbose=True)
    logging.getLogger("node").debug("loud")
    logging.getLogger("libp2p").warning("library noise")
    assert [entry["message"] for entry in read(capsys)] == ["loud"]


def test_configuring_twice_logs_once(capsys: Stderr) -> None:
    configure_logs("-")
    configure_logs("court")
    logging.getLogger("x").info("once")
    assert [entry["member"] for entry in read(capsys)] == ["court"]


def test_formatter_needs_no_configuration() -> None:
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "m %d", (7,), None)
    assert json.loads(JsonFormatter("label").format(record))["message"] == "m 7"
