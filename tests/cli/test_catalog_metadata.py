"""`stretto catalog template|check|sign|status` on a scanned folder: refusals, reports, the same bytes twice."""

from __future__ import annotations

import csv
import io
import json
import stat
from pathlib import Path

import pytest

from catalog.submitted import Fate, Journal, Sent
from cli.output import Exit
from node.devnet import init_devnet
from tests.catalog.metadata.catalogues import catalogue, record, table
from tests.cli.commands import Stretto

ROWS = tuple({"file": f"{name}.flac", "title": name.upper(), "artists": "Ana Sol", "iswc": ""} for name in "abcde")


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("net") / "d"
    init_devnet(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return catalogue(tmp_path / "autumn", *(record(row["file"]) for row in ROWS))


def sign(net: Path, *more: object, key: str = "label") -> tuple[object, ...]:
    return "--key", net / key / "keys" / "statement.pem", "--genesis", net / "genesis.json", *more


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if ".stretto" in path.name}


def test_the_template_is_the_table_to_fill_in(stretto: Stretto, tmp_path: Path) -> None:
    printed = stretto("catalog", "template")
    assert (printed.code, printed.out[:3]) == (Exit.OK, b"\xef\xbb\xbf")
    stretto("catalog", "template", "--out", tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_bytes() == printed.out


def test_a_fault_is_shown_reported_and_keeps_everything_from_being_signed(
    stretto: Stretto, tmp_path: Path, folder: Path, net: Path
) -> None:
    rows = table(tmp_path / "rows.csv", ROWS[0] | {"iswc": "T0345246802"}, ROWS[1] | {"title": "=1+1"}, *ROWS[2:])
    shown = stretto("catalog", "check", folder, "--metadata", rows)
    assert shown.code == Exit.DATA
    assert "rows.csv, line 2" in shown.text
    assert "check digit 1" in " ".join(shown.text.split())
    said = stretto("catalog", "check", folder, "--metadata", rows, "--json").json
    assert (said["ok"], said["errors"], said["findings"][0]["column"]) == (False, 1, "iswc")
    report = json.loads((folder / "report.json").read_bytes())
    assert report["findings"] == said["findings"]
    listed = list(csv.DictReader(io.StringIO((folder / "report.csv").read_text("utf-8-sig"))))
    assert [(one["severity"], one["line"], one["value"]) for one in listed] == [("error", "2", "T0345246802")]
    refused = stretto("catalog", "sign", folder, *sign(net))
    assert refused.code == Exit.DATA
    assert "1 error in the metadata: nothing was signed; see" in refused.err
    assert "report.csv" in refused.err
    assert files(folder) == {}


def test_a_report_runs_no_formula_in_a_spreadsheet(stretto: Stretto, tmp_path: Path, folder: Path) -> None:
    rows = table(tmp_path / "rows.csv", ROWS[0] | {"iswc": "=cmd|' /C calc'!A0"})
    stretto("catalog", "check", folder, "--metadata", rows, "--unlisted", "skip")
    (one,) = csv.DictReader(io.StringIO((folder / "report.csv").read_text("utf-8-sig")))
    assert one["value"] == "'=cmd|' /C calc'!A0"


def test_warnings_do_not_stop_unless_strict(stretto: Stretto, tmp_path: Path, folder: Path) -> None:
    rows = table(tmp_path / "rows.csv", *(row | {"duration": "9:00"} for row in ROWS))
    assert stretto("catalog", "check", folder, "--metadata", rows).code == Exit.OK
    assert stretto("catalog", "check", folder, "--metadata", rows, "--strict").code == Exit.DATA


def test_the_same_inputs_are_signed_in_the_same_bytes(
    stretto: Stretto, tmp_path: Path, folder: Path, net: Path
) -> None:
    rows = table(tmp_path / "rows.csv", *ROWS)
    assert stretto("catalog", "check", folder, "--metadata", rows).code == Exit.OK
    first = stretto("catalog", "sign", folder, *sign(net, "--per-statement", 2, "--json"))
    assert first.code == Exit.OK
    assert [part["claims"] for part in first.json["statements"]] == [2, 2, 1]
    written = files(folder)
    assert len(written) == 6
    for name in written:
        mode = stat.S_IMODE((folder / name).stat().st_mode)
        assert mode == (0o600 if name.endswith(".openings.json") else 0o644)
    again = stretto("catalog", "sign", folder, *sign(net, "--per-statement", 2, "--json"))
    assert (again.code, again.json["unchanged"], files(folder)) == (Exit.OK, True, written)
    for name in written:
        (folder / name).unlink()
    assert stretto("catalog", "sign", folder, *sign(net, "--per-statement", 2)).code == Exit.OK
    assert files(folder) == written


def test_changed_inputs_are_named_and_replaced_only_when_told(
    stretto: Stretto, tmp_path: Path, folder: Path, net: Path
) -> None:
    rows = table(tmp_path / "rows.csv", *ROWS)
    arguments = ("catalog", "sign", folder, *sign(net, "--metadata", rows, "--per-statement", 1))
    assert stretto(*arguments).code == Exit.OK
    before = files(folder)
    table(rows, *ROWS[:-1], ROWS[-1] | {"title": "Other"})
    refused = stretto(*arguments)
    assert (refused.code, files(folder)) == (Exit.CANNOT_CREATE, before)
    assert "changed: the metadata" in refused.err
    replaced = stretto(*arguments, "--replace")
    assert replaced.code == Exit.OK
    after = files(folder)
    assert {name for name in after if after[name] != before[name]} == {"005.stretto", "005.stretto.openings.json"}
    wider = stretto("catalog", "sign", folder, *sign(net, "--metadata", rows, "--replace"))
    assert (wider.code, set(files(folder))) == (Exit.OK, {"001.stretto", "001.stretto.openings.json"})


def test_what_is_on_record_is_not_signed_anew_under_its_reference(
    stretto: Stretto, tmp_path: Path, folder: Path, net: Path
) -> None:
    rows = table(tmp_path / "rows.csv", *ROWS)
    arguments = ("catalog", "sign", folder, *sign(net, "--metadata", rows, "--per-statement", 1))
    parts = stretto(*arguments, "--json").json["statements"]
    with Journal(folder) as journal:
        journal.write(Sent(statement=parts[4]["statement"], file="005.stretto", fate=Fate.FINAL, index=9, height=9))
    before = files(folder)
    table(rows, *(row | {"title": f"{row['title']} 2"} for row in ROWS))
    refused = stretto(*arguments, "--replace")
    assert (refused.code, files(folder)) == (Exit.REFUSED, before)
    assert "is on record as leaf 9" in refused.err
    renamed = stretto(*arguments, "--replace", "--ref", "autumn-2", "--json")
    assert [part["client_ref"] for part in renamed.json["statements"]] == [f"autumn-2-00{i}" for i in range(1, 6)]


def test_only_a_claimant_signs(stretto: Stretto, folder: Path, net: Path) -> None:
    stretto("catalog", "check", folder)
    refused = stretto("catalog", "sign", folder, *sign(net, key="court"))
    assert refused.code == Exit.FORBIDDEN
    assert files(folder) == {}


def test_files_that_changed_since_the_scan_are_named(stretto: Stretto, tmp_path: Path, folder: Path, net: Path) -> None:
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "a.flac").write_bytes(b"other")
    stretto("catalog", "check", folder)
    signed = stretto("catalog", "sign", folder, *sign(net, "--music", tmp_path / "music"))
    assert signed.code == Exit.OK
    assert "a.flac: changed since the scan" in signed.err
    assert "b.flac: no longer there" in signed.err


@pytest.mark.parametrize("verb", ["check", "sign", "submit"])
def test_a_step_out_of_turn_says_which_comes_first(stretto: Stretto, tmp_path: Path, net: Path, verb: str) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    ended = stretto("catalog", verb, empty, *(sign(net) if verb == "sign" else ()))
    assert ended.code == Exit.NO_INPUT
    assert "first" in ended.err


def test_status_says_how_far_it_is(stretto: Stretto, tmp_path: Path, folder: Path, net: Path) -> None:
    def status() -> tuple[int, dict[str, object]]:
        ended = stretto("catalog", "status", folder, "--json")
        return ended.code, ended.json

    code, state = status()
    assert (code, state["tracks"], state["checked"], state["signed"]) == (Exit.INCOMPLETE, 5, False, 0)
    stretto("catalog", "check", folder)
    parts = stretto("catalog", "sign", folder, *sign(net, "--per-statement", 3, "--json")).json["statements"]
    code, state = status()
    assert (code, state["to_claim"], state["statements"], state["final"]) == (Exit.INCOMPLETE, 5, 2, 0)
    with Journal(folder) as journal:
        for i, part in enumerate(parts):
            journal.write(Sent(statement=part["statement"], file=part["file"], fate=Fate.FINAL, index=i))
    code, state = status()
    assert (code, state["final"], state["final_claims"], state["leaves"]) == (Exit.OK, 2, 5, [0, 1])
    assert "5 of 5 claims" in stretto("catalog", "status", folder).text


def test_a_doctored_list_of_statements_leads_nowhere_else(stretto: Stretto, folder: Path, net: Path) -> None:
    stretto("catalog", "check", folder)
    stretto("catalog", "sign", folder, *sign(net))
    path = folder / "signed.json"
    path.write_text(path.read_text().replace('"001.stretto"', '"../../001.stretto"'))
    ended = stretto("catalog", "submit", folder, "--node", "127.0.0.1:1")
    assert ended.code == Exit.DATA
    assert "expected file names" in ended.err


def test_a_swapped_statement_is_not_sent(stretto: Stretto, folder: Path, net: Path) -> None:
    stretto("catalog", "check", folder)
    stretto("catalog", "sign", folder, *sign(net, "--per-statement", 3))
    (folder / "001.stretto").write_bytes((folder / "002.stretto").read_bytes())
    ended = stretto("catalog", "submit", folder, "--node", "127.0.0.1:1")
    assert ended.code == Exit.DATA
    assert "is not the statement that was signed" in ended.err


def test_a_node_that_is_not_there_is_named_and_nothing_is_written_down(
    stretto: Stretto, folder: Path, net: Path
) -> None:
    stretto("catalog", "check", folder)
    stretto("catalog", "sign", folder, *sign(net))
    ended = stretto("catalog", "submit", folder, "--node", "127.0.0.1:1", "--deadline", "1")
    assert ended.code in (Exit.UNREACHABLE, Exit.RETRY)
    assert "0 of 1 statements are sent: run it again" in ended.err
    assert (folder / "submitted.jsonl").read_bytes() == b""
