"""submit, query, watch and evidence get against a real reader process: what they say, and how they end."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from catalog.submission import Submission
from cli.output import Exit
from ledger.claim import Claim, Media, Subject
from node.rosters import Rosters
from node.rpc.submit import SubmitServer
from node.rpc.types import Refusal, SubmissionResult, SubmissionState
from tests.cli.commands import Stretto
from tests.node.rpc.consortium import GENESIS, blobs, catalogue, claim, sign, statement
from tests.node.rpc.intakes import FinalIntake, HeldIntake
from tests.node.rpc.readers import ReaderProcess
from tests.node.rpc.stores import GrowingStore

SONG = b"a song that is claimed twice"
MEDIA = Media(blake3=blake3(SONG).digest(), sha256=hashlib.sha256(SONG).digest(), size=len(SONG))
SET, SET_BODY = catalogue(100, 5)
ON_RECORD = [
    sign(Claim(subject=Subject.RECORDING, title="Lied", isrc="ZZSTR2600001", media=(MEDIA,)), "first"),
    sign(
        Claim(subject=Subject.RECORDING, title="Chanson", iswc="T0345246801", media=(MEDIA,)),
        "second",
        issuer="society",
    ),
    SET,
]


class Court:
    """The court's reader over a store, and its folder, where a node process can be put beside it."""

    def __init__(self, folder: Path) -> None:
        store = GrowingStore(folder / "data" / "chain")
        store.add(*ON_RECORD[:2])
        store.add(SET, bodies={SET: SET_BODY})
        store.close()
        self.reader = ReaderProcess(folder)
        self.node = ("--node", self.reader.address)

    def running(self, intake: HeldIntake) -> SubmitServer:
        return SubmitServer(socket=self.reader.folder / "submit.sock", rosters=Rosters(GENESIS), intake=intake)


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    court = Court(tmp_path_factory.mktemp("court"))
    yield court
    assert court.reader.stop() == 0


def written(path: Path, raw: bytes, chunks: tuple[bytes, ...] = ()) -> Path:
    path.write_bytes(Submission(statement=raw, manifest=chunks[0] if chunks else b"", chunks=chunks[1:]).encode())
    return path


def digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


# ---- submit ----------------------------------------------------------------------------------------------------------


def test_submitting_waits_until_final_and_says_where(stretto: Stretto, court: Court, tmp_path: Path) -> None:
    path = written(tmp_path / "a.stretto", statement(1))
    with court.running(FinalIntake()) as _:
        ended = stretto("submit", path, *court.node, "--wait", "--json")
        assert (ended.code, ended.err) == (Exit.OK, "")
        assert ended.json["took_ms"] > 0
        assert ended.json["state"] == "FINAL"
        assert (ended.json["statement"], ended.json["index"], ended.json["height"]) == (digest(statement(1)), 0, 9)
    with court.running(FinalIntake()) as _:
        text = stretto("submit", path, *court.node).text
        assert digest(statement(1)) in text
        assert "index 0, height 9, 1970-01-01 00:00:01.234Z" in text


def test_a_catalogue_arrives_with_its_whole_body(stretto: Stretto, court: Court, tmp_path: Path) -> None:
    raw, built = catalogue(500, 40)
    intake = FinalIntake()
    with court.running(intake):
        assert stretto("submit", written(tmp_path / "c.stretto", raw, blobs(built)), *court.node).code == Exit.OK
    assert (intake.taken[0].manifest, intake.taken[0].chunks) == (built.manifest, built.chunks)


class Ending(HeldIntake):
    """Everything ends in the same way at once."""

    def __init__(self, state: SubmissionState, refusal: Refusal | None = None) -> None:
        super().__init__()
        self._state, self._refusal = state, refusal

    def submit(self, batch, on_result) -> None:  # type: ignore[no-untyped-def]
        super().submit(batch, on_result)
        for submitted in batch:
            on_result(
                SubmissionResult(
                    digest=submitted.statement.digest, state=self._state, index=7, height=3, refusal=self._refusal
                )
            )


def test_a_duplicate_says_where_it_was_recorded_and_is_no_error(stretto: Stretto, court: Court, tmp_path: Path) -> None:
    path = written(tmp_path / "a.stretto", statement(2))
    with court.running(Ending(SubmissionState.DUPLICATE)):
        ended = stretto("submit", path, *court.node)
        assert ended.code == Exit.OK
        assert "since index 7, height 3" in ended.text
        assert "nothing was added" in ended.text
        assert stretto("submit", path, *court.node, "--json").json["state"] == "DUPLICATE"


def test_a_refusal_names_field_value_and_mend(stretto: Stretto, court: Court, tmp_path: Path) -> None:
    path = written(tmp_path / "a.stretto", statement(3))
    refusal = Refusal(code="MALFORMED_CLAIM", field="claims[4].isrc", value="ZZ1", expected="an ISRC")
    with court.running(Ending(SubmissionState.REFUSED, refusal)):
        ended = stretto("submit", path, *court.node, "--json")
        assert ended.code == Exit.REFUSED
        assert ended.json["ok"] is False
        assert {k: ended.json[k] for k in ("code", "field", "value", "expected")} == {
            "code": "MALFORMED_CLAIM", "field": "claims[4].isrc", "value": "ZZ1", "expected": "an ISRC",
        }  # fmt: skip
        assert "nothing was recorded" in ended.err


def test_a_wrong_signature_is_refused_at_the_door(stretto: Stretto, court: Court, tmp_path: Path) -> None:
    forged = sign(claim(4), "forged", issuer="label", signer="society")
    with court.running(FinalIntake()) as _:
        ended = stretto("submit", written(tmp_path / "a.stretto", forged), *court.node, "--json")
    assert ended.code == Exit.REFUSED
    assert "SIGNATURE" in ended.json["code"]


def test_without_waiting_it_is_accepted_and_not_yet_on_record(stretto: Stretto, court: Court, tmp_path: Path) -> None:
    with court.running(HeldIntake()):
        ended = stretto("submit", written(tmp_path / "a.stretto", statement(5)), *court.node, "--no-wait", "--json")
    assert ended.code == Exit.OK
    assert ended.json["state"] == "ACCEPTED"
    assert "index" not in ended.json


def test_what_is_not_final_in_time_is_incomplete(stretto: Stretto, court: Court, tmp_path: Path) -> None:
    with court.running(HeldIntake()):
        path = written(tmp_path / "a.stretto", statement(6))
        ended = stretto("submit", path, *court.node, "--deadline", "1", "--json")
    assert ended.code == Exit.INCOMPLETE
    assert ended.json["code"] == "NOT_YET_FINAL"


def test_a_file_that_is_no_submission_is_refused_before_anything_is_sent(stretto: Stretto, tmp_path: Path) -> None:
    (tmp_path / "a.stretto").write_bytes(b"no")
    assert stretto("submit", tmp_path / "a.stretto", "--node", "127.0.0.1:1").code == Exit.DATA
    assert stretto("submit", tmp_path / "none.stretto", "--node", "127.0.0.1:1").code == Exit.NO_INPUT


# ---- query -----------------------------------------------------------------------------------------------------------


def test_both_claims_on_one_file_are_found_by_either_digest_and_by_the_file(
    stretto: Stretto, court: Court, tmp_path: Path
) -> None:
    (tmp_path / "song.wav").write_bytes(SONG)
    for key in (MEDIA.blake3.hex(), MEDIA.sha256.hex().upper(), tmp_path / "song.wav"):
        ended = stretto("query", "--digest", key, *court.node, "--json")
        assert ended.code == Exit.OK
        assert [(c["issuer"], c["claim"]["title"], c["index"]) for c in ended.json["claims"]] == [
            ("label", "Lied", 0), ("society", "Chanson", 1),
        ]  # fmt: skip
        assert ended.json["as_of"]["size"] == 3


def test_a_recording_is_found_by_its_isrc_however_written_and_a_work_by_its_iswc(
    stretto: Stretto, court: Court
) -> None:
    assert "Lied  —  claimed by label" in stretto("query", "--isrc", "zz-str-26-00001", *court.node).text
    assert "Chanson  —  claimed by society" in stretto("query", "--iswc", "T-034.524.680-1", *court.node).text


def test_a_statement_is_shown_with_its_claims(stretto: Stretto, court: Court, tmp_path: Path) -> None:
    path = written(tmp_path / "set.stretto", SET, blobs(SET_BODY))
    for key in (digest(SET), path):
        shown = stretto("query", "--statement", key, *court.node, "--json").json
        assert [c["position"] for c in shown["claims"]] == [0, 1, 2, 3, 4]
        assert shown["statement"]["kind"] == "CATALOGUE"
        assert bytes.fromhex(shown["statement"]["cose"]) == SET


def test_more_than_the_limit_is_cut_and_said(stretto: Stretto, court: Court) -> None:
    ended = stretto("query", "--statement", digest(SET), "--limit", "2", *court.node, "--json")
    assert len(ended.json["claims"]) == 2
    assert ended.json["truncated"] is True
    assert (
        stretto("query", "--statement", digest(SET), "--limit", "5", *court.node, "--json").json["truncated"] is False
    )


def test_nothing_on_record_ends_with_1(stretto: Stretto, court: Court) -> None:
    ended = stretto("query", "--isrc", "ZZSTR2699999", *court.node, "--json")
    assert (ended.code, ended.json["ok"], ended.json["claims"]) == (Exit.REFUSED, False, [])


@pytest.mark.parametrize("key", [
    ("--isrc", "ZZ"), ("--iswc", "T-034.524.680-2"), (), ("--isrc", "ZZSTR2600001", "--digest", "0" * 64),
])  # fmt: skip
def test_a_query_that_makes_no_sense_is_a_usage_error(stretto: Stretto, key: tuple[str, ...]) -> None:
    assert stretto("query", *key, "--node", "127.0.0.1:1").code == Exit.USAGE


def test_a_digest_that_is_neither_hex_nor_a_file_is_said(stretto: Stretto) -> None:
    ended = stretto("query", "--digest", "abc", "--node", "127.0.0.1:1")
    assert ended.code == Exit.NO_INPUT
    assert "64 hexadecimal digits" in ended.err


# ---- watch -----------------------------------------------------------------------------------------------------------


def test_the_log_is_followed_in_order_from_any_index(stretto: Stretto, court: Court) -> None:
    ended = stretto("watch", "--count", "3", *court.node, "--json")
    assert ended.code == Exit.OK
    assert [(line["index"], line["statement"], line["claims"]) for line in ended.json_lines] == [
        (0, digest(ON_RECORD[0]), 1), (1, digest(ON_RECORD[1]), 1), (2, digest(SET), 5),
    ]  # fmt: skip
    later = stretto("watch", "--from-index", "2", "--count", "1", *court.node)
    assert later.text.split()[0] == "2"
    assert "5 claims" in later.text


def test_watching_ends_in_time_and_says_whether_enough_was_seen(stretto: Stretto, court: Court) -> None:
    assert stretto("watch", "--deadline", "0.2", *court.node).code == Exit.OK
    waiting = stretto("watch", "--from-index", "3", "--count", "1", "--deadline", "0.2", *court.node)
    assert (waiting.code, waiting.out) == (Exit.INCOMPLETE, b"")


# ---- evidence --------------------------------------------------------------------------------------------------------


def test_evidence_from_a_node_verifies_offline(stretto: Stretto, court: Court, tmp_path: Path) -> None:
    song, bundle, genesis = tmp_path / "song.wav", tmp_path / "e.zip", tmp_path / "genesis.json"
    song.write_bytes(SONG)
    genesis.write_bytes(GENESIS.raw)
    got = stretto("evidence", "get", "--digest", song, "--out", bundle, *court.node, "--json")
    assert (got.code, got.json["bytes"]) == (Exit.OK, bundle.stat().st_size)
    assert stretto("evidence", "verify", bundle, song, "--genesis", genesis).code == Exit.OK


def test_evidence_of_one_track_of_a_catalogue_is_had_by_its_position(
    stretto: Stretto, court: Court, tmp_path: Path
) -> None:
    genesis = tmp_path / "genesis.json"
    genesis.write_bytes(GENESIS.raw)
    get = ("evidence", "get", "--statement", digest(SET), *court.node)
    assert stretto(*get, "--position", "3", "--out", tmp_path / "e.zip").code == Exit.OK
    verified = stretto("evidence", "verify", tmp_path / "e.zip", "--genesis", genesis, "--json").json
    assert "number 3" in next(check["reason"] for check in verified["checks"] if check["name"] == "claim")
    assert stretto(*get, "--position", "5", "--out", tmp_path / "f.zip").code == Exit.REFUSED
    assert not (tmp_path / "f.zip").exists()


def test_evidence_for_nothing_on_record_is_refused_and_writes_nothing(
    stretto: Stretto, court: Court, tmp_path: Path
) -> None:
    ended = stretto("evidence", "get", "--digest", "0" * 64, "--out", tmp_path / "e.zip", *court.node, "--json")
    assert ended.code == Exit.REFUSED
    assert ended.json["code"] == "NOT_RECORDED"
    assert not (tmp_path / "e.zip").exists()


# ---- nobody there ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb", [("query", "--isrc", "ZZSTR2600001"), ("watch",), ("evidence", "get", "--digest", "0" * 64, "--out", "x")]
)
def test_a_node_that_is_not_there_is_unreachable(
    stretto: Stretto, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    monkeypatch.setattr("cli.client.UNREACHABLE_S", 0.2)
    with socket.socket() as taken:  # bound and not listening: nobody else can be there either
        taken.bind(("127.0.0.1", 0))
        ended = stretto(*verb, "--node", f"127.0.0.1:{taken.getsockname()[1]}")
    assert ended.code == Exit.UNREACHABLE
    assert "no node answers" in ended.err


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:70000", "http://x:80", ""])
def test_an_address_that_is_none_is_a_usage_error(stretto: Stretto, address: str) -> None:
    assert stretto("watch", "--node", address).code == Exit.USAGE


def test_a_node_that_never_answers_is_given_up_on_time(stretto: Stretto) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()  # the kernel connects, nobody ever speaks
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        ended = stretto("query", "--isrc", "ZZSTR2600001", "--deadline", "0.5", "--node", address)
    assert ended.code in (Exit.RETRY, Exit.UNREACHABLE)
