"""The front door: help, exit codes, errors in one line, and nothing imported that is not needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import main as cli_main
from cli.main import STORY, VERBS
from cli.output import EXIT_MEANINGS, CliError, Exit, human_bytes, printable
from consensus.errors import LocalError, RequestError
from tests.cli.commands import Stretto, modules_after

RIGHTS = ("dispute", "respond", "resolve", "withdraw", "transfer", "supersede", "order", "show")


def test_help_tells_the_story_in_order_and_explains_every_exit_code(stretto: Stretto) -> None:
    ended = stretto("--help")
    assert ended.code == Exit.OK
    places = [ended.text.index(f"\n  {verb.name} ") for _, verbs in STORY for verb in verbs]
    assert places == sorted(places)
    assert list(VERBS)[:3] == ["hash", "claim", "submit"]
    for code in Exit:
        assert f"{code.value:>3}  {EXIT_MEANINGS[code].split(' ')[0]}" in ended.text


@pytest.mark.parametrize("verb", sorted({*VERBS} - {"catalog", "evidence", "devnet", "gpu", "key", "node", "store"}))
def test_every_verb_has_an_example_and_json(stretto: Stretto, verb: str) -> None:
    ended = stretto(verb, "--help")
    assert ended.code == Exit.OK
    assert "--json" in ended.text
    assert f"stretto {verb}" in ended.text.split("Usage:")[1].split("\n", 1)[1]


@pytest.mark.parametrize(
    "verb",
    [
        ("evidence", "get"),
        ("evidence", "verify"),
        ("key", "new"),
        ("key", "show"),
        ("store", "check"),
        *(("gpu", part) for part in ("status", "selftest", "bench", "calibrate")),
        *(("govern", part) for part in ("admit", "remove", "rotate-key", "set-policy", "member-record", "list")),
        *(("epochs", part) for part in ("list", "export", "verify")),
        *(("rights", verb) for verb in RIGHTS),
    ],
)
def test_every_part_of_a_verb_has_an_example_and_json(stretto: Stretto, verb: tuple[str, str]) -> None:
    ended = stretto(*verb, "--help")
    assert ended.code == Exit.OK
    assert "--json" in ended.text
    assert f"  stretto {' '.join(verb)} " in ended.text


def test_a_misspelt_verb_is_a_usage_error_that_says_what_was_meant(stretto: Stretto) -> None:
    ended = stretto("sumbit")
    assert (ended.code, ended.out) == (Exit.USAGE, b"")
    assert ended.err.count("\n") == 1
    assert "'submit'" in ended.err


@pytest.mark.parametrize(
    "arguments", [("hash",), ("hash", "--no-such-option", "x"), ("query",), ("watch", "--count", "0")]
)
def test_wrong_command_lines_end_with_64(stretto: Stretto, arguments: tuple[str, ...]) -> None:
    ended = stretto(*arguments)
    assert ended.code == Exit.USAGE
    assert "--help" in ended.err


def test_no_arguments_show_the_help_and_fail(stretto: Stretto) -> None:
    ended = stretto()
    assert ended.code == Exit.USAGE
    assert "1. Put music on record" in ended.err


class _Odd(Exception):
    pass


@pytest.mark.parametrize(("error", "code"), [
    (CliError("said so", Exit.RETRY), Exit.RETRY),
    (RequestError("mend it"), Exit.DATA),
    (LocalError("mend the machine"), Exit.CONFIG),
    (OSError(28, "No space left on device", "/x"), Exit.IO),
    (KeyboardInterrupt(), Exit.INTERRUPTED),
    (_Odd("?"), Exit.SOFTWARE),
])  # fmt: skip
def test_each_kind_of_error_has_its_exit_code_and_one_line(
    stretto: Stretto, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: Exit
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli_main.stretto, "get_command", lambda *_: click.Command("hash", callback=fail))
    ended = stretto("hash")
    assert ended.code == code
    assert ended.err.startswith("stretto: ")
    assert ended.err.count("\n") == 1


def test_with_json_an_error_is_json_too(stretto: Stretto) -> None:
    ended = stretto("submit", "/nowhere/x.stretto", "--json")
    assert ended.code == Exit.NO_INPUT
    assert ended.json["ok"] is False
    assert (ended.json["exit"], ended.json["error"]) == (66, "NO_INPUT")
    assert "/nowhere/x.stretto" in ended.json["message"]


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    for i in range(3000):
        (tmp_path / f"{i:04} {'long name ' * 10}").write_bytes(b"x")
    command = f"{sys.executable} -m cli.main hash {tmp_path} | head -1; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout.count("\n") == 1
    assert (ended.returncode, ended.stderr) == (0, "")


def test_ctrl_c_ends_a_long_hash_at_once_with_130(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)  # sparse: would take minutes to read
    (tmp_path / "small").write_bytes(b"x")
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "cli.main", "hash", str(tmp_path)], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    time.sleep(1.0)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == Exit.INTERRUPTED
    assert err == b"stretto: interrupted\n"


# ---- what is imported ------------------------------------------------------------------------------------------------

HEAVY = {
    "grpc",
    "google",
    "libp2p",
    "trio",
    "lmdb",
    "numpy",
    "soundfile",
    "tinytag",
    "rich",
    "cryptography",
    "node",
    "protos",
}


@pytest.mark.parametrize("arguments", [("--help",), ("hash", "--help"), ("hash", __file__)])
def test_help_and_hash_import_nothing_heavy(arguments: tuple[str, ...]) -> None:
    code, tops = modules_after(*arguments)
    assert code == 0
    assert tops & HEAVY == set()
    assert "ledger" not in tops


def test_heavy_things_would_be_noticed() -> None:
    _, tops = modules_after("claim", "--help")
    assert "cryptography" in tops


# ---- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "shown"), [
    ("Früher 雨のあと.wav", "Früher 雨のあと.wav"),
    ("two\nlines", "two\\nlines"),
    ("\x1b[31mred", "\\x1b[31mred"),
    ("gnp.\u202eexe", "gnp.\\u202eexe"),
    (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
    ("👩\u200d🎤 می\u200cخواهم", "👩\u200d🎤 می\u200cخواهم"),
])  # fmt: skip
def test_names_are_printed_whole_and_harmless(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(text=st.text())
def test_what_is_printed_is_one_encodable_line(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown
    shown.encode()


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_234_567, "1.2 MB"), (999_999, "1.0 MB"), (5e12, "5.0 TB")],
)
def test_sizes_are_in_powers_of_ten(size: float, shown: str) -> None:
    assert human_bytes(size) == shown
