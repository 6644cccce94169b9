"""`stretto rights`: what is said about a claim becomes a statement that counts, and its state a page to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catalog.submission import Submission, parse_submission
from cli.output import Exit
from cli.watch import WORDS_SHOWN, told
from ledger.epochs import encode_epochs
from ledger.rights_content import (
    CourtAction,
    CourtOrder,
    Dispute,
    DisputeOutcome,
    MintsFate,
    Resolve,
    Respond,
    Supersede,
    Transfer,
    Withdraw,
)
from ledger.statement import Statement, check_statement, parse_statement
from node.keys import write_key
from protos import stretto_pb2 as pb
from tests.cli.commands import Stretto, modules_after
from tests.cli.rights_node import RightsNode
from tests.cli.test_epochs import records
from tests.ledger.builders import FOUR, make_catalogue, make_claim, make_consortium, private_key
from tests.ledger.epoch_builders import GENESIS, ROSTERS, proofs
from tests.ledger.rights_builders import CLAIM, CONTENTS, DISPUTED, HEAD, digest_of

_ON = {"claim": CLAIM, "position": 0}
_AT = {**_ON, "head": HEAD}
YEAR_2100_MS = 4_102_444_800_000
ACTIVE = pb.GetClaimRightsResponse(
    state=pb.CLAIM_STATE_ACTIVE,
    holder="label",
    head=HEAD,
    as_of=pb.Freshness(size=12, height=5, block_time_ms=1_800_000_000_000),
)
EVENTFUL = pb.GetClaimRightsResponse(
    state=pb.CLAIM_STATE_DISPUTED,
    holder="label",
    head=HEAD,
    disputes=[
        pb.DisputeRecord(statement_digest=DISPUTED, disputant="society", responded=True),
        pb.DisputeRecord(statement_digest=digest_of("another"), disputant="court"),
    ],
    stay=digest_of("an order"),
    stay_until_ms=YEAR_2100_MS,
    mints=[
        pb.MintRecord(
            entry=digest_of("a mint"), index=7, edition=1, state=pb.CLAIM_STATE_DISPUTED, status_seq=2, status_index=11
        ),
        pb.MintRecord(entry=digest_of("new"), index=8, edition=2, state=pb.CLAIM_STATE_ACTIVE),
    ],
    as_of=pb.Freshness(size=12, height=5, block_time_ms=1_800_000_000_000),
)


class Desk:
    """Files of members: a genesis, the epochs, everybody's statement key."""

    def __init__(self, folder: Path, stretto: Stretto) -> None:
        self.folder, self.stretto = folder, stretto
        self.genesis, self.epochs = folder / "genesis.json", folder / "epochs.cbor"
        self.genesis.write_bytes(GENESIS.raw)
        self.epochs.write_bytes(encode_epochs(GENESIS.digest, proofs()))
        self.out = folder / "said.stretto"
        for member in (*(member for member, _ in FOUR), "indie", "stranger"):
            write_key(folder / f"{member}.pem", private_key(member, "statement"))

    def by(self, member: str) -> tuple[object, ...]:
        return ("--key", self.folder / f"{member}.pem", "--genesis", self.genesis)

    def write(self, *words: object, member: str = "label") -> Any:
        """Says it offline, as JSON."""
        return self.stretto("rights", *words, *self.by(member), "--out", self.out, "--json")

    def statement(self) -> Statement:
        return parse_statement(parse_submission(self.out.read_bytes()).statement)

    def claim_file(self, name: str, content: Any) -> Path:
        path = self.folder / name
        path.write_bytes(Submission(statement=make_consortium().sign(content)).encode())
        return path


@pytest.fixture
def desk(tmp_path: Path, stretto: Stretto) -> Desk:
    return Desk(tmp_path, stretto)


HEADED = ("--head", HEAD.hex())
SAID: list[tuple[str, tuple[object, ...], Any]] = [
    ("label", ("dispute", CLAIM.hex(), "--grounds", "Ours."), Dispute(**_ON, grounds="Ours.")),
    ("court", ("dispute", CLAIM.hex(), "--grounds", "Stolen."), Dispute(**_ON, grounds="Stolen.")),
    (
        "label",
        ("respond", CLAIM.hex(), "--dispute", DISPUTED.hex(), "--text", "Licensed.", *HEADED),
        Respond(**_AT, dispute=DISPUTED, text="Licensed."),
    ),
    (
        "society",
        ("resolve", CLAIM.hex(), "--dispute", DISPUTED.hex(), "--outcome", "dropped", *HEADED),
        Resolve(**_AT, dispute=DISPUTED, outcome=DisputeOutcome.DROPPED),
    ),
    (
        "label",
        ("resolve", CLAIM.hex(), "--dispute", DISPUTED.hex(), "--outcome", "conceded", *HEADED),
        Resolve(**_AT, dispute=DISPUTED, outcome=DisputeOutcome.CONCEDED),
    ),
    ("label", ("withdraw", CLAIM.hex(), "--reason", "A slip.", *HEADED), Withdraw(**_AT, reason="A slip.")),
    ("label", ("transfer", CLAIM.hex(), "--to", "society", *HEADED), Transfer(**_AT, to="society")),
    (
        "label",
        ("transfer", CLAIM.hex(), "--to", "society", "--position", "16383", "--head", HEAD.hex().upper()),
        Transfer(claim=CLAIM, position=16_383, head=HEAD, to="society"),
    ),
    (
        "court",
        ("order", "stay", CLAIM.hex(), "--reference", "HCA 1", "--until", "2100-01-01T01:00:00+01:00", *HEADED),
        CourtOrder(**_AT, order=CourtAction.STAY, reference="HCA 1", until_ms=YEAR_2100_MS),
    ),
    (
        "court",
        ("order", "stay", CLAIM.hex(), "--reference", "HCA 1", *HEADED),
        CourtOrder(**_AT, order=CourtAction.STAY, reference="HCA 1"),
    ),
    *(
        (
            "court",
            ("order", action.value, CLAIM.hex(), "--reference", "HCA 1", *HEADED),
            CourtOrder(**_AT, order=action, reference="HCA 1"),
        )
        for action in (CourtAction.LIFT, CourtAction.REVOKE, CourtAction.REINSTATE)
    ),
    (
        "court",
        ("order", "assign", CLAIM.hex(), "--reference", "HCA 1", "--to", "society", *HEADED),
        CourtOrder(**_AT, order=CourtAction.ASSIGN, reference="HCA 1", to="society"),
    ),
]


@pytest.mark.parametrize(("member", "words", "content"), SAID, ids=[f"{m} {w[0]} {w[1]}"[:24] for m, w, _ in SAID])
def test_what_is_said_is_a_statement_that_counts(
    desk: Desk, member: str, words: tuple[object, ...], content: Any
) -> None:
    ended = desk.write(*words, member=member)
    assert (ended.code, ended.err) == (Exit.OK, "")
    statement = desk.statement()
    assert statement.content == content
    check_statement(statement, GENESIS.roster)
    head = getattr(content, "head", None)
    assert ended.json == {
        "ok": True, "file": str(desk.out), "statement": statement.digest.hex(), "kind": content.kind,
        "issuer": member, "claim": CLAIM.hex(), "position": content.position, "head": head.hex() if head else None,
        "client_ref": statement.client_ref,
    }  # fmt: skip


def test_people_read_what_they_signed_and_how_to_send_it(desk: Desk) -> None:
    ended = desk.stretto(
        "rights", "withdraw", CLAIM.hex(), "--reason", "A slip.", *HEADED, *desk.by("label"), "--out", desk.out
    )  # fmt: skip
    assert f"label signs, to withdraw claim {CLAIM[:6].hex()}…: A slip." in ended.text
    assert f"stretto submit {desk.out}" in ended.text


def test_saying_the_same_again_writes_the_same_bytes(desk: Desk) -> None:
    words = ("transfer", CLAIM.hex(), "--to", "society", *HEADED)
    assert desk.write(*words).code == Exit.OK
    first = desk.out.read_bytes()
    assert desk.write(*words).code == Exit.OK
    assert desk.out.read_bytes() == first
    other = desk.write("transfer", CLAIM.hex(), "--to", "indie", *HEADED)
    assert other.code == Exit.CANNOT_CREATE
    assert "--replace" in other.err
    assert desk.write(*words[:-2], "--head", CLAIM.hex(), "--replace", "--ref", "T 1").json["client_ref"] == "T 1"


def test_a_claim_and_a_dispute_can_be_named_by_their_files(desk: Desk) -> None:
    claim, dispute = (
        desk.claim_file("c.stretto", make_claim(3)),
        desk.claim_file("d.stretto", Dispute(**_ON, grounds="x")),
    )
    ended = desk.write("respond", claim, "--dispute", dispute, "--text", "No.", *HEADED)
    content = desk.statement().content
    assert isinstance(content, Respond)
    assert content.claim.hex() == ended.json["claim"] == make_consortium().statement(make_claim(3)).digest.hex()
    assert content.dispute == make_consortium().statement(Dispute(**_ON, grounds="x")).digest


def test_a_replacement_comes_from_a_claims_file(desk: Desk) -> None:
    new = desk.claim_file("new.stretto", make_claim(5))
    ended = desk.write("supersede", CLAIM.hex(), "--replacement", new, "--mints", "revoke", *HEADED)
    assert ended.code == Exit.OK, ended.err
    assert desk.statement().content == Supersede(**_AT, replacement=make_claim(5), mints=MintsFate.REVOKE)


def test_a_replacement_that_is_no_single_claim_is_refused(desk: Desk) -> None:
    for content in (make_catalogue().header, Dispute(**_ON, grounds="x")):
        path = desk.claim_file("bad.stretto", content)
        ended = desk.write("supersede", CLAIM.hex(), "--replacement", path, "--mints", "keep", *HEADED)
        assert (ended.code, desk.out.exists()) == (Exit.DATA, False)
        assert "one CLAIM" in ended.err
    missing = desk.write("supersede", CLAIM.hex(), "--replacement", desk.folder / "none", "--mints", "keep", *HEADED)
    assert missing.code == Exit.NO_INPUT


@pytest.mark.parametrize("name", CONTENTS)
def test_whoever_watches_the_log_reads_what_was_said(name: str) -> None:
    words, claims = told(CONTENTS[name])
    assert words == CONTENTS[name].describe()
    assert claims == (1 if name == "supersede" else 0)
    long, _ = told(Dispute(**_ON, grounds="x" * 1_024))
    assert len(long) <= WORDS_SHOWN + 1


# ---- with a node -----------------------------------------------------------------------------------------------------


def test_without_out_it_is_sent_and_final_with_the_nodes_head(desk: Desk) -> None:
    with RightsNode(records(), ACTIVE) as node:
        ended = desk.stretto(
            "rights", "withdraw", CLAIM.hex(), "--position", "3", "--reason", "A slip.", *desk.by("label"),
            "--node", node.address, "--json",
        )  # fmt: skip
    assert (ended.code, ended.err) == (Exit.OK, "")
    assert node.asked == [(bytes(CLAIM), 3)]
    ((sent),) = node.sent
    statement = parse_statement(sent)
    assert statement.content == Withdraw(claim=CLAIM, position=3, head=HEAD, reason="A slip.")
    check_statement(statement, ROSTERS[-1])
    answer = ended.json
    assert answer.pop("took_ms") >= 0
    assert answer == {
        "ok": True, "state": "FINAL", "statement": statement.digest.hex(), "index": 9, "height": 4,
        "block_time_ms": 1_800_000_000_000, "kind": "WITHDRAW", "issuer": "label", "claim": CLAIM.hex(),
        "position": 3, "head": HEAD.hex(), "client_ref": statement.client_ref,
    }  # fmt: skip


def test_a_dispute_asks_for_no_head(desk: Desk) -> None:
    with RightsNode(records(), None) as node:
        ended = desk.stretto(
            "rights", "dispute", CLAIM.hex(), "--grounds", "Ours.", *desk.by("indie"), "--node", node.address
        )
    assert (ended.code, node.asked) == (Exit.OK, [])
    assert parse_statement(node.sent[0]).content == Dispute(**_ON, grounds="Ours.")
    assert "final      index 9" in ended.text


def test_a_head_that_is_named_is_not_asked_for(desk: Desk) -> None:
    with RightsNode(records(), ACTIVE) as node:
        ended = desk.stretto(
            "rights", "transfer", CLAIM.hex(), "--to", "indie", "--head", DISPUTED.hex(), *desk.by("label"),
            "--node", node.address,
        )  # fmt: skip
    assert (ended.code, node.asked) == (Exit.OK, [])
    assert parse_statement(node.sent[0]).content == Transfer(claim=CLAIM, position=0, head=DISPUTED, to="indie")


def test_the_head_is_asked_for_also_where_it_is_only_written(desk: Desk) -> None:
    with RightsNode(records(), ACTIVE) as node:
        ended = desk.write("transfer", CLAIM.hex(), "--to", "indie", "--node", node.address)
    assert (ended.code, node.sent) == (Exit.OK, [])
    assert ended.json["head"] == HEAD.hex()


def test_what_the_node_refuses_is_told_with_its_mend(desk: Desk) -> None:
    refusal = pb.Refusal(code="RIGHTS_STALE_HEAD", field="transfer.head", value="aa…", expected="the claim's head")
    with RightsNode(records(), ACTIVE, refusal=refusal) as node:
        ended = desk.stretto(
            "rights", "transfer", CLAIM.hex(), "--to", "indie", *desk.by("label"), "--node", node.address, "--json"
        )
    assert (ended.code, ended.json["code"]) == (Exit.REFUSED, "RIGHTS_STALE_HEAD")
    assert "the TRANSFER was refused" in ended.err


def test_a_claim_that_is_not_on_record_is_not_signed_for(desk: Desk) -> None:
    with RightsNode(records(), None) as node:
        ended = desk.stretto(
            "rights", "withdraw", CLAIM.hex(), "--reason", "x", *desk.by("label"), "--node", node.address
        )
    assert (ended.code, node.sent) == (Exit.REFUSED, [])
    assert "not on record" in ended.err


def test_without_a_node_nothing_is_sent(desk: Desk) -> None:
    ended = desk.stretto(
        "rights", "dispute", CLAIM.hex(), "--grounds", "x", *desk.by("label"), "--node", "127.0.0.1:1",
        "--deadline", "0.5", "--epochs", desk.epochs,
    )  # fmt: skip
    assert ended.code == Exit.UNREACHABLE


# ---- who may, and what is wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("platform", ("dispute", CLAIM.hex(), "--grounds", "x")),
        ("court", ("withdraw", CLAIM.hex(), "--reason", "x", *HEADED)),
        ("court", ("transfer", CLAIM.hex(), "--to", "society", *HEADED)),
        ("label", ("order", "lift", CLAIM.hex(), "--reference", "x", *HEADED)),
        ("platform", ("resolve", CLAIM.hex(), "--dispute", DISPUTED.hex(), "--outcome", "dropped", *HEADED)),
    ],
)
def test_a_role_that_may_not_say_it_writes_nothing(desk: Desk, member: str, words: tuple[object, ...]) -> None:
    ended = desk.write(*words, member=member)
    assert (ended.code, desk.out.exists()) == (Exit.FORBIDDEN, False)
    assert f"{member} is a {member}" in ended.err


def test_a_later_epochs_member_names_the_epochs(desk: Desk) -> None:
    words = ("dispute", CLAIM.hex(), "--grounds", "x")
    ended = desk.write(*words, member="indie")
    assert ended.code == Exit.FORBIDDEN
    assert "--epochs" in ended.err
    assert desk.write(*words, "--epochs", desk.epochs, member="indie").code == Exit.OK
    assert desk.write(*words, "--epochs", desk.epochs, "--replace", member="platform").code == Exit.FORBIDDEN, "it left"
    assert desk.write(*words, member="stranger").code == Exit.FORBIDDEN


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("dispute", CLAIM.hex(), "--grounds", ""), "--grounds"),
        (("dispute", CLAIM.hex(), "--grounds", "x" * 1_025), "1 to 1024 characters"),
        (("dispute", CLAIM.hex(), "--grounds", "a\nb"), "--grounds"),
        (("dispute", CLAIM.hex()), "--grounds"),
        (("dispute", CLAIM.hex(), "--grounds", "x", "--head", HEAD.hex()), "--head"),
        (("dispute", CLAIM.hex(), "--grounds", "x", "--position", "16384"), "--position"),
        (("withdraw", CLAIM.hex(), "--reason", "x", "--head", "aa"), "64 hexadecimal digits"),
        (("withdraw", CLAIM.hex(), "--reason", "x", "--head", "z" * 64), "64 hexadecimal digits"),
        (("transfer", CLAIM.hex(), "--to", "The Society", *HEADED), "--to"),
        (("resolve", CLAIM.hex(), "--dispute", DISPUTED.hex(), "--outcome", "won", *HEADED), "--outcome"),
        (("order", "adjourn", CLAIM.hex(), "--reference", "x", *HEADED), "adjourn"),
        (("order", "assign", CLAIM.hex(), "--reference", "x", *HEADED), "assign needs --to MEMBER"),
        (("order", "lift", CLAIM.hex(), "--reference", "x", "--to", "society", *HEADED), "--to"),
        (("order", "lift", CLAIM.hex(), "--reference", "x", "--until", "2100-01-01T00:00:00Z", *HEADED), "--until"),
        (("order", "stay", CLAIM.hex(), "--reference", "x", "--until", "2020-01-01T00:00:00Z", *HEADED), "has passed"),
        (("order", "stay", CLAIM.hex(), "--reference", "x", "--until", "2100-01-01T00:00:00", *HEADED), "zone"),
        (("order", "stay", CLAIM.hex(), "--reference", "x", "--until", "soon", *HEADED), "--until"),
    ],
)
def test_a_wrong_word_is_a_usage_error_that_names_its_option(desk: Desk, words: tuple[object, ...], told: str) -> None:
    ended = desk.stretto("rights", *words, *desk.by("court" if words[0] == "order" else "label"), "--out", desk.out)
    assert (ended.code, desk.out.exists()) == (Exit.USAGE, False)
    assert told in ended.err


def test_a_claim_that_is_neither_digest_nor_file_is_told(desk: Desk) -> None:
    ended = desk.stretto("rights", "show", "aa")
    assert ended.code == Exit.NO_INPUT
    assert "CLAIM aa cannot be read" in ended.err


def test_what_is_only_written_needs_no_network_code(desk: Desk) -> None:
    code, modules = modules_after(
        "rights", "dispute", CLAIM.hex(), "--grounds", "x", *desk.by("label"), "--out", desk.out
    )
    assert code == Exit.OK
    assert not modules & {"grpc", "trio", "lmdb", "google", "libp2p", "Crypto", "web3"}


# ---- where it stands -------------------------------------------------------------------------------------------------


def test_show_is_a_page_to_read(desk: Desk) -> None:
    with RightsNode(records(), EVENTFUL) as node:
        ended = desk.stretto("rights", "show", CLAIM.hex(), "--position", "3", "--node", node.address)
    assert (ended.code, node.asked) == (Exit.OK, [(bytes(CLAIM), 3)])
    for text in (
        f"claim      {CLAIM.hex()} at 3", "state      DISPUTED", "holder     label", f"head       {HEAD.hex()}",
        f"stayed     until 2100-01-01 00:00:00.000Z, by order {digest_of('an order').hex()}", "society", "yes",
        DISPUTED.hex(), digest_of("a mint").hex(), "2 open disputes, 2 mints as of 12 leaves, height 5",
    ):  # fmt: skip
        assert text in ended.text


def test_show_says_the_same_to_programs(desk: Desk) -> None:
    with RightsNode(records(), EVENTFUL) as node:
        shown = desk.stretto("rights", "show", CLAIM.hex(), "--node", node.address, "--json").json
    assert shown == {
        "ok": True, "claim": CLAIM.hex(), "position": 0, "state": "disputed", "holder": "label", "head": HEAD.hex(),
        "disputes": [
            {"statement": DISPUTED.hex(), "disputant": "society", "responded": True},
            {"statement": digest_of("another").hex(), "disputant": "court", "responded": False},
        ],
        "stay": digest_of("an order").hex(), "stay_until_ms": YEAR_2100_MS, "superseded_by": None,
        "mints": [
            {"entry": digest_of("a mint").hex(), "index": 7, "edition": 1, "state": "disputed", "status_seq": 2,
             "status_index": 11},
            {"entry": digest_of("new").hex(), "index": 8, "edition": 2, "state": "active", "status_seq": 0,
             "status_index": None},
        ],
        "as_of": {"size": 12, "height": 5, "block_time_ms": 1_800_000_000_000},
    }  # fmt: skip


def test_show_of_a_quiet_and_of_a_replaced_claim(desk: Desk) -> None:
    with RightsNode(records(), ACTIVE) as node:
        quiet = desk.stretto("rights", "show", CLAIM.hex(), "--node", node.address)
    assert "state      ACTIVE" in quiet.text
    assert "disputed by" not in quiet.text
    replaced = pb.GetClaimRightsResponse(
        state=pb.CLAIM_STATE_SUPERSEDED, holder="label", head=HEAD, superseded_by=HEAD, stay=DISPUTED
    )
    with RightsNode(records(), replaced) as node:
        ended = desk.stretto("rights", "show", CLAIM.hex(), "--node", node.address)
    assert f"replaced   by {HEAD.hex()}" in ended.text
    assert "until it is lifted" in ended.text


@pytest.mark.parametrize(
    "answer",
    [
        pb.GetClaimRightsResponse(holder="label", head=HEAD),
        pb.GetClaimRightsResponse(state=pb.CLAIM_STATE_ACTIVE, holder="label"),
        pb.GetClaimRightsResponse(state=pb.CLAIM_STATE_ACTIVE, head=HEAD, stay=b"x"),
        pb.GetClaimRightsResponse(state=pb.CLAIM_STATE_ACTIVE, head=HEAD, stay=HEAD, stay_until_ms=2**64 - 1),
        pb.GetClaimRightsResponse(state=pb.CLAIM_STATE_ACTIVE, head=HEAD, mints=[pb.MintRecord(entry=HEAD)]),
        pb.GetClaimRightsResponse(state=pb.CLAIM_STATE_ACTIVE, head=HEAD, disputes=[pb.DisputeRecord()]),
    ],
    ids=[
        "no state",
        "no head",
        "a stay that is none",
        "a time beyond time",
        "a mint without a state",
        "a dispute that is none",
    ],
)
def test_a_node_that_answers_nonsense_is_told_so(desk: Desk, answer: pb.GetClaimRightsResponse) -> None:
    with RightsNode(records(), answer) as node:
        ended = desk.stretto("rights", "show", CLAIM.hex(), "--node", node.address)
    assert ended.code == Exit.DATA
    assert "answers with rights that are none" in ended.err


def test_show_of_what_is_not_on_record_fails(desk: Desk) -> None:
    with RightsNode(records(), None) as node:
        assert desk.stretto("rights", "show", CLAIM.hex(), "--node", node.address).code == Exit.REFUSED
