"""`stretto misbehaviour`: from a node's store through a real reader process into a file that convicts offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.client import NodeClient, NodeError
from cli.output import Exit
from consensus.types import Digest, Epoch, Height, Signature, SignedVote, ValidatorIndex, View, Vote, VoteKind, nullify
from ledger.chain_checkpoint import ChainCheckpoint
from ledger.chain_misbehaviour import ChainMisbehaviour, SignedChainCheckpoint
from ledger.genesis import Genesis, encode_genesis, parse_genesis
from ledger.misbehaviour import Evidence, MisbehaviourEvidence
from protos import stretto_pb2 as pb
from tests.cli.commands import Stretto
from tests.node.rpc.consortium import GENESIS, chain_key, key
from tests.node.rpc.readers import ReaderProcess
from tests.node.rpc.stores import GrowingStore

MEMBERS = [member.id for member in GENESIS.validator_members()]


def vote(kind: VoteKind, block: bytes, view: int) -> Vote:
    return Vote(kind=kind, epoch=Epoch(0), view=View(view), height=Height(1), block=Digest(block * 32))


def evidence(member: str, one: Vote, other: Vote) -> MisbehaviourEvidence:
    def sign(cast: Vote) -> SignedVote:
        signature = Signature(key(member, "consensus").sign(cast.signing_bytes(GENESIS.digest)))
        return SignedVote(vote=cast, voter=ValidatorIndex(MEMBERS.index(member)), signature=signature)

    return MisbehaviourEvidence.of(GENESIS.digest, sign(one), sign(other))


def chain_evidence(member: str) -> ChainMisbehaviour:
    """Two roots of one size, signed for public chains."""
    signed = [
        SignedChainCheckpoint(checkpoint=each, signature=each.sign(chain_key(member).secret, GENESIS.digest))
        for each in (ChainCheckpoint(epoch=Epoch(0), size=5, root=root * 32) for root in (b"a", b"b"))
    ]
    return ChainMisbehaviour.of(GENESIS.digest, ValidatorIndex(MEMBERS.index(member)), *signed)


SPLIT = evidence("platform", vote(VoteKind.NOTARIZE, b"a", 7), vote(VoteKind.NOTARIZE, b"b", 7))
BOTH_WAYS = evidence("label", vote(VoteKind.FINALIZE, b"a", 9), nullify(Epoch(0), View(9)))
CHAINS = chain_evidence("society")
HELD = [BOTH_WAYS, CHAINS, SPLIT]
"""In the order of their validators."""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReaderProcess]:
    folder = tmp_path_factory.mktemp("court")
    store = GrowingStore(folder / "data" / "chain")
    assert all(store.chain.put_misbehaviour(one) for one in (SPLIT, BOTH_WAYS, CHAINS))
    store.close()
    made = ReaderProcess(folder)
    yield made
    assert made.stop() == 0


@pytest.fixture
def genesis(tmp_path: Path) -> Path:
    path = tmp_path / "genesis.json"
    path.write_bytes(GENESIS.raw)
    return path


def other_genesis(path: Path) -> Path:
    other: Genesis = parse_genesis(
        encode_genesis(name="Others", origin=GENESIS.origin, parameters=GENESIS.parameters, members=GENESIS.members)
    )
    path.write_bytes(other.raw)
    return path


def written(path: Path, made: Evidence) -> Path:
    path.write_bytes(made.encode())
    return path


# ---- at a node -------------------------------------------------------------------------------------------------------


def test_what_a_node_holds_is_listed_by_validator(stretto: Stretto, reader: ReaderProcess) -> None:
    ended = stretto("misbehaviour", "list", "--node", reader.address, "--json")
    assert ended.code == Exit.OK
    assert [(m["id"], m["member"], m.get("view")) for m in ended.json["misbehaviours"]] == [
        (BOTH_WAYS.digest.hex(), "label", 9), (CHAINS.digest.hex(), "society", None),
        (SPLIT.digest.hex(), "platform", 7),
    ]  # fmt: skip
    assert [each["size"] for each in ended.json["misbehaviours"][1]["chain_checkpoints"]] == [5, 5]
    assert [vote["kind"] for vote in ended.json["misbehaviours"][0]["votes"]] == ["NULLIFY", "FINALIZE"]
    text = stretto("misbehaviour", "list", "--node", reader.address).text
    assert SPLIT.digest.hex()[:16] in text
    assert "3 on record at this node" in text


def test_evidence_from_a_node_convicts_offline(
    stretto: Stretto, reader: ReaderProcess, genesis: Path, tmp_path: Path
) -> None:
    out = tmp_path / "platform.misbehaviour"
    got = stretto("misbehaviour", "get", SPLIT.digest.hex()[:8].upper(), "--out", out, "--node", reader.address)
    assert got.code == Exit.OK
    assert out.read_bytes() == SPLIT.encode()
    ended = stretto("misbehaviour", "verify", out, "--genesis", genesis)
    assert ended.code == Exit.OK
    assert "Platform (platform) contradicted itself in view 7 of epoch 0" in ended.text
    shown = stretto("misbehaviour", "verify", out, "--genesis", genesis, "--json").json
    assert (shown["ok"], shown["verdict"], shown["member"], shown["view"]) == (True, "VERIFIED", "platform", 7)
    assert {check["outcome"] for check in shown["checks"]} == {"PASSED"}


def test_signatures_for_public_chains_convict_offline_too(
    stretto: Stretto, reader: ReaderProcess, genesis: Path, tmp_path: Path
) -> None:
    out = tmp_path / "society.misbehaviour"
    assert stretto("misbehaviour", "get", CHAINS.digest.hex(), "--out", out, "--node", reader.address).code == Exit.OK
    assert out.read_bytes() == CHAINS.encode()
    ended = stretto("misbehaviour", "verify", out, "--genesis", genesis)
    assert ended.code == Exit.OK
    assert "Society (society) contradicted itself for public chains in epoch 0" in ended.text
    shown = stretto("misbehaviour", "verify", out, "--genesis", genesis, "--json").json
    assert (shown["verdict"], shown["member"]) == ("VERIFIED", "society")
    assert [check["name"] for check in shown["checks"]][-2:] == ["first signature", "second signature"]
    spoilt = bytearray(CHAINS.encode())
    spoilt[-1] ^= 1
    out.write_bytes(spoilt)
    assert stretto("misbehaviour", "verify", out, "--genesis", genesis).code == Exit.REFUSED


@pytest.mark.parametrize(
    ("asked", "code"), [("0" * 64, Exit.REFUSED), ("0123", Exit.USAGE), ("no-such-id", Exit.USAGE)]
)
def test_evidence_a_node_does_not_hold_is_refused_and_nothing_written(
    stretto: Stretto, reader: ReaderProcess, tmp_path: Path, asked: str, code: Exit
) -> None:
    out = tmp_path / "none"
    assert stretto("misbehaviour", "get", asked, "--out", out, "--node", reader.address).code == code
    assert not out.exists()


def test_pages_give_every_piece_once_and_the_status_counts_them(stretto: Stretto, reader: ReaderProcess) -> None:
    with NodeClient(reader.address, deadline_s=10) as client:
        for size in (1, 2, 3, 4):
            found = list(client.misbehaviours(page_size=size))
            assert [(r.evidence, r.member) for r in found] == [
                (one.encode(), MEMBERS[one.voter]) for one in HELD
            ]  # fmt: skip
        first = client.stub.ListMisbehaviour(pb.ListMisbehaviourRequest(limit=1), timeout=10)
        assert (len(first.records), first.total, bool(first.next_page)) == (1, 3, True)
        assert client.status().misbehaviours == 3
    status = stretto("consensus", "status", "--node", reader.address)
    assert "3 of misbehaviour" in status.text


def test_a_list_request_that_makes_no_sense_is_refused_by_field(reader: ReaderProcess) -> None:
    with NodeClient(reader.address, deadline_s=10) as client:
        for request, field in (
            (pb.ListMisbehaviourRequest(limit=1001), "limit"),
            (pb.ListMisbehaviourRequest(page=b"x"), "page"),
        ):
            with pytest.raises(NodeError) as caught:
                client._call(client.stub.ListMisbehaviour, request)
            assert (caught.value.status, caught.value.field) == ("INVALID_ARGUMENT", field)


# ---- offline ---------------------------------------------------------------------------------------------------------


def test_without_a_genesis_it_is_incomplete(stretto: Stretto, tmp_path: Path) -> None:
    ended = stretto("misbehaviour", "verify", written(tmp_path / "e", SPLIT))
    assert ended.code == Exit.INCOMPLETE
    assert "No genesis to trust" in ended.text
    assert "contradicted itself" not in ended.text


def test_under_another_genesis_it_is_refused(stretto: Stretto, tmp_path: Path) -> None:
    other = other_genesis(tmp_path / "other.json")
    ended = stretto("misbehaviour", "verify", written(tmp_path / "e", SPLIT), "--genesis", other, "--json")
    assert (ended.code, ended.json["verdict"]) == (Exit.REFUSED, "REFUSED")
    assert [c["name"] for c in ended.json["checks"] if c["outcome"] == "FAILED"] == ["consortium"]
    assert ended.json["member"] == ""


def test_what_an_honest_validator_casts_is_refused(stretto: Stretto, genesis: Path, tmp_path: Path) -> None:
    honest = evidence("label", vote(VoteKind.NOTARIZE, b"a", 9), nullify(Epoch(0), View(9)))
    ended = stretto("misbehaviour", "verify", written(tmp_path / "e", honest), "--genesis", genesis)
    assert ended.code == Exit.REFUSED
    assert "An honest validator may cast both" in ended.text
    assert "contradicted itself" not in ended.text


@pytest.mark.parametrize("data", [b"", b"no evidence", SPLIT.encode() + b"\0", SPLIT.encode()[:-1]])
def test_a_file_that_is_no_evidence_is_refused_with_the_reason(
    stretto: Stretto, genesis: Path, tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "e").write_bytes(data)
    ended = stretto("misbehaviour", "verify", tmp_path / "e", "--genesis", genesis, "--json")
    assert ended.code == Exit.REFUSED
    assert "expected 283 bytes" in ended.json["checks"][0]["reason"]


def test_a_file_that_is_missing_or_huge_is_said(stretto: Stretto, genesis: Path, tmp_path: Path) -> None:
    assert stretto("misbehaviour", "verify", tmp_path / "none", "--genesis", genesis).code == Exit.NO_INPUT
    (tmp_path / "huge").write_bytes(bytes(5000))
    assert stretto("misbehaviour", "verify", tmp_path / "huge", "--genesis", genesis).code == Exit.DATA
