"""`stretto claim` and `stretto key`: from a folder to a statement, keys guarded, nothing overwritten by accident."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.submission import parse_submission
from cli.output import Exit
from ledger.catalogue import CatalogueHeader, check_catalogue
from ledger.claim import Claim, TrainingUse, parse_claim
from ledger.claim_vocabulary import ContainsAI
from ledger.statement import check_statement, parse_statement
from node.keys import write_key
from tests.catalog.builders import tagged_flac
from tests.cli.commands import Stretto
from tests.ledger.builders import make_consortium, private_key

GENESIS = make_consortium().genesis


class Desk:
    """A label's desk: music, the genesis, a key, and a place for what is written."""

    def __init__(self, root: Path) -> None:
        self.music, self.out = root / "music", root / "autumn.stretto"
        self.genesis = root / "genesis.json"
        self.genesis.write_bytes(GENESIS.raw)
        self.key = self.key_of("label", root)
        tagged_flac(self.music / "1.flac", "TITLE=One", "ARTIST=Ada", "ISRC=ZZSTR2600001")
        tagged_flac(self.music / "二" / "2.flac", "TITLE=Zwei", "PUBLISHER=Aurora Records")

    @staticmethod
    def key_of(member: str, root: Path) -> Path:
        path = root / f"{member}.pem"
        write_key(path, private_key(member, "statement"))
        return path

    def arguments(self, *paths: object, out: Path | None = None, key: Path | None = None) -> tuple[object, ...]:
        return ("claim", *(paths or (self.music,)), "--key", key or self.key, "--genesis", self.genesis,
                "--out", out or self.out)  # fmt: skip


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_folder_becomes_one_catalogue_of_the_keys_member(stretto: Stretto, desk: Desk) -> None:
    ended = stretto(*desk.arguments(), "--json")
    assert (ended.code, ended.err) == (Exit.OK, "")
    submission = parse_submission(desk.out.read_bytes())
    statement = parse_statement(submission.statement)
    check_statement(statement, GENESIS.roster)
    assert isinstance(statement.content, CatalogueHeader)
    claims = [parse_claim(c) for c in check_catalogue(statement.content, submission.manifest, submission.chunks)]
    assert [claim.title for claim in claims] == ["One", "Zwei"]
    document = ended.json
    assert document["statement"] == statement.digest.hex()
    assert (document["kind"], document["issuer"], document["client_ref"]) == (
        "CATALOGUE", "label", statement.client_ref,
    )  # fmt: skip
    assert [(c["position"], c["title"], c["isrc"]) for c in document["claims"]] == [
        (0, "One", "ZZSTR2600001"), (1, "Zwei", None),
    ]  # fmt: skip
    assert document["claims"][0]["blake3"] == claims[0].media[0].blake3.hex()


def test_one_file_becomes_a_single_claim_unless_told_otherwise(stretto: Stretto, desk: Desk) -> None:
    stretto(*desk.arguments(desk.music / "1.flac"))
    assert isinstance(parse_statement(parse_submission(desk.out.read_bytes()).statement).content, Claim)
    other = desk.out.with_name("other.stretto")
    stretto(*desk.arguments(desk.music / "1.flac", out=other), "--catalogue")
    assert isinstance(parse_statement(parse_submission(other.read_bytes()).statement).content, CatalogueHeader)


def test_claiming_again_writes_the_same_bytes(stretto: Stretto, desk: Desk) -> None:
    assert stretto(*desk.arguments()).code == Exit.OK
    first = desk.out.read_bytes()
    assert stretto(*desk.arguments()).code == Exit.OK
    assert stretto(*desk.arguments(out=desk.out.with_name("b.stretto"))).code == Exit.OK
    assert desk.out.read_bytes() == desk.out.with_name("b.stretto").read_bytes() == first


def test_the_table_names_tracks_and_where_things_were_written(stretto: Stretto, desk: Desk) -> None:
    ended = stretto(*desk.arguments())
    for text in ("One", "Zwei", "ZZSTR2600001", "0:02", "CATALOGUE of 2 by label", f"written    {desk.out}"):
        assert text in ended.text
    assert "never submitted" in ended.text


def test_openings_are_for_their_owner_alone_and_hold_the_names(stretto: Stretto, desk: Desk) -> None:
    stretto(*desk.arguments())
    openings = desk.out.with_name("autumn.stretto.openings.json")
    assert stat.S_IMODE(openings.stat().st_mode) == 0o600
    assert stat.S_IMODE(desk.out.stat().st_mode) == 0o644, "the statement itself is for everybody"
    document = json.loads(openings.read_text())
    assert [(o["position"], o["field"], o["value"]) for o in document["openings"]] == [(0, "parties[1].name", "Ada")]
    assert b"Ada" not in desk.out.read_bytes()


def test_without_hidden_names_there_is_no_openings_file(stretto: Stretto, desk: Desk) -> None:
    ended = stretto(*desk.arguments(), "--names", "open", "--json")
    assert ended.json["openings"] is None
    assert not desk.out.with_name("autumn.stretto.openings.json").exists()
    assert b"Ada" in desk.out.read_bytes()


def test_declarations_stand_in_every_claim(stretto: Stretto, desk: Desk) -> None:
    stretto(
        *desk.arguments(desk.music / "1.flac"), "--ai", "partly", "--training-use", "reserved",
        "--licence", "CC-BY-4.0", "--declared-created-at", "2026-10-01", "--ref", "Autumn 2026",
    )  # fmt: skip
    statement = parse_statement(parse_submission(desk.out.read_bytes()).statement)
    claim = statement.content
    assert isinstance(claim, Claim)
    assert (claim.contains_ai, claim.training_use, claim.created) == (
        ContainsAI.PARTLY, TrainingUse.RESERVED, "2026-10-01",
    )  # fmt: skip
    assert claim.licence is not None
    assert (claim.licence.spdx, statement.client_ref) == ("CC-BY-4.0", "Autumn 2026")


@pytest.mark.parametrize(
    ("option", "value"), [("--declared-created-at", "2026-02-30"), ("--licence", "not a licence"), ("--ai", "maybe")]
)
def test_a_wrong_declaration_is_a_usage_error(stretto: Stretto, desk: Desk, option: str, value: str) -> None:
    ended = stretto(*desk.arguments(), option, value)
    assert ended.code == Exit.USAGE
    assert not desk.out.exists()


# ---- bad input -------------------------------------------------------------------------------------------------------


def test_bad_files_are_named_left_out_and_the_exit_code_says_so(stretto: Stretto, desk: Desk) -> None:
    (desk.music / "empty.wav").touch()
    (desk.music / "notes.txt").write_text("no music")
    whole = (desk.music / "1.flac").read_bytes()
    (desk.music / "cut.flac").write_bytes(whole[:-500])
    tagged_flac(desk.music / "3.flac", "TITLE=Three", "ISRC=HELLO")
    ended = stretto(*desk.arguments(desk.music, desk.music / "gone.mp3"), "--json")
    assert ended.code == Exit.LEFT_OUT
    assert [claim["title"] for claim in ended.json["claims"]] == ["One", "Three", "Zwei"]
    left_out = {Path(one["path"]).name: one["reason"] for one in ended.json["left_out"]}
    assert left_out["empty.wav"] == "empty"
    assert "truncated" in left_out["cut.flac"]
    assert "not audio" in left_out["notes.txt"]
    assert left_out["gone.mp3"] == "no such file"
    for name in left_out:
        assert f"{name}: " in ended.err
    ((warning),) = ended.json["warnings"]
    assert Path(warning["path"]).name == "3.flac"
    assert "'HELLO'" in warning["warning"]
    assert "'HELLO'" in ended.err


def test_nothing_to_claim_writes_nothing(stretto: Stretto, desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("words")
    ended = stretto(*desk.arguments(tmp_path / "x.txt"))
    assert ended.code == Exit.NO_INPUT
    assert not desk.out.exists()


# ---- keys ------------------------------------------------------------------------------------------------------------


def test_a_key_that_others_may_read_is_refused_with_the_mend(stretto: Stretto, desk: Desk) -> None:
    desk.key.chmod(0o640)
    ended = stretto(*desk.arguments())
    assert ended.code == Exit.FORBIDDEN
    assert f"chmod 600 {desk.key}" in ended.err
    desk.key.chmod(0o600)
    assert stretto(*desk.arguments()).code == Exit.OK


def test_keys_that_cannot_claim_are_refused_before_any_file_is_read(
    stretto: Stretto, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.claim.scan", lambda _: pytest.fail("a file was looked for"))
    court = stretto(*desk.arguments(key=desk.key_of("court", tmp_path)))
    assert court.code == Exit.FORBIDDEN
    assert "court is a court" in court.err
    stranger = stretto(*desk.arguments(key=desk.key_of("stranger", tmp_path)))
    assert stranger.code == Exit.FORBIDDEN
    assert "no member's statement key" in stranger.err
    wrong = stretto(*desk.arguments(), "--member", "society")
    assert wrong.code == Exit.FORBIDDEN
    assert "the statement key of label, not of society" in wrong.err
    missing = stretto(*desk.arguments(key=tmp_path / "none.pem"))
    assert missing.code == Exit.NO_INPUT


def test_a_new_key_is_readable_by_openssl_and_never_overwritten(stretto: Stretto, tmp_path: Path) -> None:
    path = tmp_path / "k.pem"
    made = stretto("key", "new", path, "--json")
    assert made.code == Exit.OK
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shown = stretto("key", "show", path, "--json")
    assert shown.json["public_key"] == made.json["public_key"]
    text = subprocess.run(
        ["openssl", "pkey", "-in", path, "-text", "-noout"], capture_output=True, text=True, check=True
    )
    assert "ED25519 Private-Key" in text.stdout
    before = path.read_bytes()
    assert stretto("key", "new", path).code == Exit.CANNOT_CREATE
    assert path.read_bytes() == before


# ---- what is written where -------------------------------------------------------------------------------------------


def test_a_recording_is_never_overwritten_by_a_statement(stretto: Stretto, desk: Desk) -> None:
    master = desk.music / "1.flac"
    before = master.read_bytes()
    for more in ((), ("--replace",)):
        ended = stretto(*desk.arguments(out=master), *more)
        assert ended.code == Exit.CANNOT_CREATE
        assert master.read_bytes() == before


def test_another_statement_is_overwritten_only_when_told(stretto: Stretto, desk: Desk) -> None:
    stretto(*desk.arguments())
    tagged_flac(desk.music / "3.flac", "TITLE=Three", "ARTIST=Bo")
    before = desk.out.read_bytes()
    ended = stretto(*desk.arguments())
    assert ended.code == Exit.CANNOT_CREATE
    assert "--replace" in ended.err
    assert desk.out.read_bytes() == before
    assert stretto(*desk.arguments(), "--replace").code == Exit.OK
    assert desk.out.read_bytes() != before
    assert {p.name for p in desk.out.parent.iterdir()} >= {"autumn.stretto", "autumn.stretto.openings.json"}
    assert not [p for p in desk.out.parent.iterdir() if p.name.startswith(".autumn")], "no draft is left behind"


def test_what_an_earlier_run_wrote_into_the_folder_is_not_left_out(stretto: Stretto, desk: Desk) -> None:
    inside = desk.music / "set.stretto"
    assert stretto(*desk.arguments(out=inside)).code == Exit.OK
    again = stretto(*desk.arguments(out=inside))
    assert (again.code, again.err) == (Exit.OK, "")
    (desk.music / "other.stretto").write_bytes(inside.read_bytes())
    assert stretto(*desk.arguments(out=inside)).code == Exit.LEFT_OUT, "another file there is still accounted for"


def test_a_locale_that_cannot_write_a_title_does_not_end_the_command(desk: Desk) -> None:
    arguments = [sys.executable, "-m", "cli.main", *map(str, desk.arguments())]
    ended = subprocess.run(
        arguments, capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "latin-1", "LC_ALL": "C"}
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert "/二/2.flac".encode() in ended.stdout


def test_a_folder_that_cannot_be_written_is_said(stretto: Stretto, desk: Desk) -> None:
    ended = stretto(*desk.arguments(out=desk.out.parent / "no such folder" / "x.stretto"))
    assert ended.code == Exit.CANNOT_CREATE


def test_the_genesis_comes_from_the_environment_or_the_trust_file(
    stretto: Stretto, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = [str(a) for a in desk.arguments() if a not in ("--genesis", desk.genesis)]
    missing = stretto(*without)
    assert missing.code == Exit.CONFIG
    assert "genesis.json" in missing.err
    kept = Path(os.environ["XDG_CONFIG_HOME"]) / "stretto" / "genesis.json"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(GENESIS.raw)
    assert stretto(*without).code == Exit.OK
    monkeypatch.setenv("STRETTO_GENESIS", str(desk.key))
    assert stretto(*without).code == Exit.DATA, "the environment comes before the trust file"


def test_a_folder_claimed_and_scanned_has_one_order_and_one_reference(
    stretto: Stretto, desk: Desk, tmp_path: Path
) -> None:
    # By the bytes of whole paths " " comes before "/", which comes before "0"; folder by folder it would not.
    for name in ("a b/1", "a/1", "a/2", "a0/1", "B"):
        tagged_flac(desk.music / f"{name}.flac", f"TITLE={name}")
    (desk.music / "a0" / "copy.flac").write_bytes((desk.music / "a" / "2.flac").read_bytes())
    claimed = stretto(*desk.arguments(), "--json").json
    folder = tmp_path / "scanned"
    assert stretto("catalog", "scan", desk.music, "--into", folder, "--no-fingerprints").code == Exit.OK
    assert stretto("catalog", "check", folder).code == Exit.OK
    signed = stretto("catalog", "sign", folder, "--key", desk.key, "--genesis", desk.genesis, "--json").json
    assert [part["client_ref"] for part in signed["statements"]] == [claimed["client_ref"]]
    titles = [one["title"] for one in claimed["claims"]]
    assert titles == ["One", "B", "a b/1", "a/1", "a/2", "a0/1", "Zwei"]
    submission = parse_submission((folder / "001.stretto").read_bytes())
    header = parse_statement(submission.statement).content
    assert isinstance(header, CatalogueHeader)
    found = check_catalogue(header, submission.manifest, submission.chunks)
    assert [parse_claim(one).title for one in found] == titles
    other = stretto(*desk.arguments(desk.music / "a", desk.music / "B.flac", out=tmp_path / "o.stretto"), "--json").json
    assert other["client_ref"] != claimed["client_ref"], "other files, another reference"
