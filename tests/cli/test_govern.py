"""`stretto govern`: from an institution's keys to a vote that counts, and what is refused before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catalog.submission import parse_submission
from cli.output import Exit
from consensus.types import Epoch, EpochParameters, PublicKey
from ledger.apply import apply_block
from ledger.chain_key import is_possession, prove_possession
from ledger.epochs import encode_epochs
from ledger.genesis import Role
from ledger.governance import Admit, Remove, RotateKey, Scope, SetPolicy, amend, conclude, proposal_id
from ledger.member_record import encode_member_record, parse_member_record
from ledger.secp256k1 import address
from ledger.statement import Statement, check_statement, parse_statement
from node.keys import write_key
from protos import stretto_pb2 as pb
from tests.cli.commands import Stretto, modules_after
from tests.cli.membership_node import MembershipNode
from tests.cli.test_epochs import records
from tests.ledger.builders import FOUR, MemoryView, make_member, private_key, public_key
from tests.ledger.epoch_builders import GENESIS, ROSTERS, handover, proofs

RADIO = make_member("radio", Role.PLATFORM)
TWO = Epoch(2)


class Desk:
    """Files of somebody who votes: a genesis, the epochs, everybody's statement key, a newcomer's record."""

    def __init__(self, folder: Path, stretto: Stretto) -> None:
        self.folder = folder
        self.stretto = stretto
        self.genesis = folder / "genesis.json"
        self.genesis.write_bytes(GENESIS.raw)
        self.epochs = folder / "epochs.cbor"
        self.epochs.write_bytes(encode_epochs(GENESIS.digest, proofs()))
        self.record = folder / "radio.json"
        self.record.write_bytes(encode_member_record(RADIO))
        for member in (*(member for member, _ in FOUR), "indie", "stranger"):
            write_key(folder / f"{member}.pem", private_key(member, "statement"))

    def vote(self, *words: object, voter: str = "court", epoch: int | None = 0) -> Any:
        """Casts a vote offline, unless `epoch` is None; gives the answer in JSON."""
        out = self.folder / f"{voter}.stretto"
        when = () if epoch is None else ("--epoch", epoch)
        return self.stretto(
            "govern", *words, "--key", self.folder / f"{voter}.pem", "--genesis", self.genesis, "--out", out,
            "--replace", "--json", *when,
        )  # fmt: skip

    def statement(self, voter: str = "court") -> Statement:
        return parse_statement(parse_submission((self.folder / f"{voter}.stretto").read_bytes()).statement)


@pytest.fixture
def desk(tmp_path: Path, stretto: Stretto) -> Desk:
    return Desk(tmp_path, stretto)


@pytest.mark.parametrize(
    ("words", "change"),
    [
        (("remove", "indie", "--from", "committee"), Remove(epoch=TWO, member_id="indie", scope=Scope.COMMITTEE)),
        (("remove", "label", "--from", "consortium"), Remove(epoch=TWO, member_id="label", scope=Scope.CONSORTIUM)),
        (
            ("rotate-key", "court", "--purpose", "log", "--new-key", public_key("court new", "log").hex().upper()),
            RotateKey(epoch=Epoch(2), member_id="court", purpose="log", key=public_key("court new", "log")),
        ),
        (
            ("set-policy", "--delta-ms", "300", "--heartbeat-ms", "60000"),
            SetPolicy(epoch=Epoch(2), parameters=EpochParameters(delta_ms=300, heartbeat_ms=60_000)),
        ),
    ],
    ids=["from the committee", "from the consortium", "a key", "parameters"],
)  # fmt: skip
def test_a_vote_is_a_statement_that_counts(desk: Desk, words: tuple[str, ...], change: Any) -> None:
    ended = desk.vote(*words, "--epochs", desk.epochs, epoch=2)
    assert ended.code == Exit.OK, ended.err
    statement = desk.statement()
    assert statement.content == change
    check_statement(statement, ROSTERS[2])
    assert ended.json | {"statement": "", "file": ""} == {
        "ok": True, "file": "", "statement": "", "kind": change.kind, "epoch": 2,
        "proposal": proposal_id(change).hex(), "voter": "court", "change": change.describe(), "quorum": 4,
    }  # fmt: skip


def test_a_chain_key_is_made_shown_with_its_proof_and_voted_on(desk: Desk, stretto: Stretto) -> None:
    path = desk.folder / "chain.next.pem"
    made = stretto("key", "new", "--chain", path, "--json").json
    shown = stretto("key", "show", path, "--prove", "court", "--json").json
    assert made["public_key"] == shown["public_key"]
    key, proof = bytes.fromhex(shown["public_key"]), bytes.fromhex(shown["proof"])
    assert (len(key), shown["address"]) == (33, f"0x{address(key).hex()}")
    assert is_possession(key, "court", proof)
    words = ("rotate-key", "court", "--purpose", "chain", "--new-key", key.hex())
    ended = desk.vote(*words, "--proof", proof.hex(), "--epochs", desk.epochs, epoch=2)
    assert ended.code == Exit.OK, ended.err
    rotation = RotateKey(epoch=TWO, member_id="court", purpose="chain", key=PublicKey(key), proof=proof)
    assert desk.statement().content == rotation
    assert amend(ROSTERS[2], rotation).member("court").keys.chain == key  # type: ignore[union-attr]

    for wrong in (
        (),
        ("--proof", "00" * 64),
        ("--proof", "zz"),
        ("--proof", prove_possession(bytes(31) + b"\1", "court").hex()),
    ):
        refused = desk.vote(*words, *wrong)
        assert refused.code == Exit.USAGE
        assert "--proof" in refused.err
    other = stretto("key", "show", path, "--prove", "label", "--json").json["proof"]
    assert desk.vote(*words, "--proof", other).code == Exit.USAGE, "made for another member"
    log = public_key("court new", "log").hex()
    assert (
        desk.vote("rotate-key", "court", "--purpose", "log", "--new-key", log, "--proof", proof.hex()).code
        == Exit.USAGE
    )
    assert stretto("key", "show", desk.folder / "court.pem", "--prove", "court").code == Exit.USAGE
    assert stretto("key", "show", path, "--prove", "No Slug").code == Exit.USAGE
    assert stretto("key", "new", "--chain", path).code == Exit.CANNOT_CREATE


@pytest.mark.parametrize("seat", [True, False])
def test_votes_for_one_record_by_a_quorum_admit_the_institution(desk: Desk, seat: bool) -> None:
    option = "--seat" if seat else "--no-seat"
    answers = [desk.vote("admit", desk.record, option, voter=voter) for voter, _ in FOUR[:3]]
    assert len({answer.json["proposal"] for answer in answers}) == 1
    assert len({answer.json["statement"] for answer in answers}) == 3
    votes = [desk.statement(voter) for voter, _ in FOUR[:3]]
    applied = apply_block(MemoryView(GENESIS.roster), 1, 1, [(votes[0].digest, votes)], {})
    assert applied.next_roster is not None
    assert applied.next_roster.member("radio") == make_member("radio", Role.PLATFORM, validator=seat)


def test_the_same_vote_is_the_same_file(desk: Desk) -> None:
    first = desk.vote("admit", desk.record).json
    assert desk.vote("admit", desk.record).json == first


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("remove", "label", "--from", "consortium"), "GOVERNANCE_COMMITTEE_TOO_SMALL"),
        (("remove", "nobody", "--from", "committee"), "GOVERNANCE_UNKNOWN_MEMBER"),
        (
            ("rotate-key", "court", "--purpose", "log", "--new-key", public_key("court", "log").hex()),
            "GOVERNANCE_KEY_USED",
        ),
        (("set-policy", "--delta-ms", "150"), "GOVERNANCE_UNCHANGED"),
    ],
)
def test_what_could_not_count_is_refused_before_it_is_signed(desk: Desk, words: tuple[str, ...], code: str) -> None:
    ended = desk.vote(*words)
    assert (ended.code, ended.json["code"]) == (Exit.REFUSED, code)
    assert not (desk.folder / "court.stretto").exists()


@pytest.mark.parametrize(("voter", "reason"), [("stranger", "no member's statement key"), ("indie", "no member's")])
def test_whoever_is_no_member_does_not_vote(desk: Desk, voter: str, reason: str) -> None:
    ended = desk.vote("admit", desk.record, voter=voter)
    assert ended.code == Exit.FORBIDDEN
    assert reason in ended.err


def test_whoever_has_no_seat_does_not_vote(desk: Desk) -> None:
    """A member all the same: admitted without a seat."""
    change = Admit(epoch=Epoch(0), member=make_member("stranger", Role.LABEL, validator=False))
    desk.epochs.write_bytes(
        encode_epochs(GENESIS.digest, (handover(ROSTERS[0], conclude(ROSTERS[0], amend(ROSTERS[0], change))),))
    )
    ended = desk.vote("admit", desk.record, "--epochs", desk.epochs, voter="stranger", epoch=1)
    assert ended.code == Exit.FORBIDDEN
    assert "stranger has no seat" in ended.err


def test_an_admitted_member_votes_in_its_epoch_and_a_removed_one_no_more(desk: Desk) -> None:
    assert desk.vote("admit", desk.record, "--epochs", desk.epochs, voter="indie", epoch=1).code == Exit.OK
    assert desk.vote("admit", desk.record, "--epochs", desk.epochs, voter="platform", epoch=2).code == Exit.OK
    assert desk.vote("admit", desk.record, "--epochs", desk.epochs, voter="platform", epoch=3).code == Exit.FORBIDDEN


def test_an_epoch_that_is_not_proven_is_not_voted_in(desk: Desk) -> None:
    ended = desk.vote("admit", desk.record, epoch=1)
    assert ended.code == Exit.NO_INPUT
    assert "stretto epochs export" in ended.err


def test_without_an_epoch_the_current_one_is_asked_of_a_node_and_proven(desk: Desk) -> None:
    with MembershipNode(records(), pb.GetGovernanceResponse()) as node:
        ended = desk.vote("admit", desk.record, "--node", node.address, epoch=None)
    assert (ended.code, ended.json["epoch"]) == (Exit.OK, 4)
    check_statement(desk.statement(), ROSTERS[4])


def test_with_a_file_of_epochs_its_last_one_is_meant(desk: Desk) -> None:
    assert desk.vote("admit", desk.record, "--epochs", desk.epochs, epoch=None).json["epoch"] == 4


@pytest.mark.parametrize("key", ["", "00" * 32, "zz", public_key("court", "log").hex()[:-2]])
def test_a_key_of_wrong_form_is_a_usage_error(desk: Desk, key: str) -> None:
    assert desk.vote("rotate-key", "court", "--purpose", "log", "--new-key", key).code == Exit.USAGE


def test_parameters_out_of_bounds_are_refused(desk: Desk) -> None:
    ended = desk.vote("set-policy", "--delta-ms", "1")
    assert ended.code == Exit.DATA
    assert "10 to 60000" in ended.err
    assert desk.vote("set-policy").code == Exit.USAGE


# ---- the newcomer's record -------------------------------------------------------------------------------------------


def test_a_newcomer_makes_its_record_from_its_keys(stretto: Stretto, tmp_path: Path) -> None:
    keys, out = tmp_path / "keys", tmp_path / "radio.json"
    words = ("govern", "member-record", "--id", "radio", "--name", "Radio Ñ", "--role", "platform", "--keys", keys)
    assert stretto(*words, "--out", out).code == Exit.NO_INPUT
    assert stretto(*words, "--out", out, "--new-keys").code == Exit.OK
    member = parse_member_record(out.read_bytes(), validator=True)
    assert (member.id, member.name, member.role) == ("radio", "Radio Ñ", Role.PLATFORM)
    shown = stretto("key", "show", keys / "cosign.pem", "--json").json
    assert shown["public_key"] == member.keys.cosign.hex()
    again = tmp_path / "again.json"
    assert stretto(*words, "--out", again, "--new-keys").code == Exit.OK
    assert again.read_bytes() == out.read_bytes(), "keys that are there are kept"


def test_a_record_of_wrong_form_is_refused_by_name(desk: Desk) -> None:
    document = json.loads(desk.record.read_bytes())
    document["keys"]["log"] = "00" * 32
    desk.record.write_text(json.dumps(document))
    ended = desk.vote("admit", desk.record)
    assert ended.code == Exit.DATA
    assert "member.keys.log" in ended.err


# ---- what is voted on ------------------------------------------------------------------------------------------------


def test_list_says_what_is_voted_on_and_by_whom(stretto: Stretto) -> None:
    change = Admit(epoch=Epoch(0), member=RADIO)
    proposal = pb.ProposalRecord(
        proposal=proposal_id(change), kind="ADMIT", change=change.encode(), voters=["court", "label"], index=7
    )
    votes = pb.GetGovernanceResponse(
        epoch=0, proposals=[proposal], seats=[name for name, _ in FOUR], quorum=3, seats_max=1
    )
    with MembershipNode(records(), votes) as node:
        ended = stretto("govern", "list", "--node", node.address)
        listed = stretto("govern", "list", "--node", node.address, "--json").json
    assert ended.code == Exit.OK, ended.err
    assert "2 of 3" in ended.text
    assert "epoch 0: 1 open, 3 of 4 votes pass a change" in ended.text
    assert listed["proposals"] == [
        {
            "proposal": proposal_id(change).hex(), "kind": "ADMIT", "change": change.describe(),
            "voters": ["court", "label"], "index": 7, "passed": False,
        }
    ]  # fmt: skip


def test_list_refuses_a_node_that_answers_nonsense(stretto: Stretto) -> None:
    votes = pb.GetGovernanceResponse(proposals=[pb.ProposalRecord(kind="CROWN", change=b"me")])
    with MembershipNode(records(), votes) as node:
        assert stretto("govern", "list", "--node", node.address).code == Exit.DATA


def test_an_offline_vote_needs_no_network_code(desk: Desk) -> None:
    code, modules = modules_after(
        "govern", "admit", desk.record, "--key", desk.folder / "court.pem", "--genesis", desk.genesis,
        "--epoch", 0, "--out", desk.folder / "x.stretto",
    )  # fmt: skip
    assert code == Exit.OK
    assert not modules & {"grpc", "trio", "lmdb", "google", "libp2p"}
