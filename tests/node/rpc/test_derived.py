"""Derived leaves, inclusion proofs and claims' rights, as a real reader process serves them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cli.client import NodeClient, NodeError
from ledger.derived import MintState, StatusLeaf, mint_preimage
from ledger.evidence import MediaDigests, Outcome, Verdict, verify_bundle
from ledger.merkle import leaf_hash, verify_inclusion
from ledger.rights_content import CourtAction, CourtOrder, Dispute, Mint, MintsFate, Supersede
from protos import stretto_pb2 as pb
from tests.ledger.rights_builders import make_terms
from tests.node.rpc.consortium import GENESIS, claim, sign, statement
from tests.node.rpc.readers import ReaderProcess
from tests.node.rpc.stores import BLOCK_TIME_MS, GrowingStore

LAPSE_MS = BLOCK_TIME_MS + 60_000


def digest(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


CLAIM = statement(0)
PLAIN = statement(1)
MINTS = [
    sign(Mint(terms=make_terms(claim=digest(CLAIM), edition=n, editions=9)), f"mint {n}") for n in (1, 2)
]  # fmt: skip
DISPUTE = sign(Dispute(claim=digest(CLAIM), position=0, grounds="Ours."), "dispute", issuer="society")
STAY = sign(
    CourtOrder(
        claim=digest(CLAIM), position=0, head=digest(DISPUTE), order=CourtAction.STAY, reference="HK 1/26",
        until_ms=LAPSE_MS,
    ),
    "stay",
    issuer="court",
)  # fmt: skip
OLD = statement(2)
SUPERSEDE = sign(
    Supersede(claim=digest(OLD), position=0, head=digest(OLD), replacement=claim(77), mints=MintsFate.KEEP), "new"
)
LEAVES = [
    CLAIM, PLAIN, MINTS[0], "mint", MINTS[1], "mint", DISPUTE, "status", "status", STAY, "status", "status",
    "status", "status", OLD, SUPERSEDE,
]  # fmt: skip
"""By index: statements, and of which kind the derived leaves between them are."""


@dataclass
class Court:
    """A reader of a store that holds LEAVES."""

    folder: Path
    client: NodeClient = field(init=False)

    def ask(self, method: str, request: Any) -> Any:
        return self.client._call(getattr(self.client.stub, method), request)

    def refused(self, method: str, request: Any) -> tuple[str, str, str]:
        with pytest.raises(NodeError) as caught:
            self.ask(method, request)
        return caught.value.status, caught.value.code, caught.value.field

    def rights(self, raw: bytes, position: int = 0) -> pb.GetClaimRightsResponse:
        return self.ask("GetClaimRights", pb.GetClaimRightsRequest(statement_digest=digest(raw), position=position))

    def leaf(self, index: int) -> pb.DerivedLeaf:
        return self.ask("GetDerivedLeaf", pb.GetDerivedLeafRequest(index=index)).leaf


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    made = Court(tmp_path_factory.mktemp("court"))
    store = GrowingStore(made.folder / "data" / "chain")
    store.add(CLAIM, PLAIN)
    store.add(*MINTS)
    store.add(DISPUTE, STAY)
    store.add(time_ms=LAPSE_MS)
    store.add(OLD, SUPERSEDE)
    reader = ReaderProcess(made.folder)
    with NodeClient(reader.address, deadline_s=10) as made.client:
        yield made
    assert reader.stop() == 0
    store.close()


# ---- leaves ----


def test_a_mint_leaf_is_served_by_index_and_by_entry(court: Court) -> None:
    leaf = court.leaf(3)
    preimage = mint_preimage(GENESIS.digest, make_terms(claim=digest(CLAIM), edition=1, editions=9))
    assert (leaf.kind, leaf.preimage, leaf.entry) == (pb.DERIVED_KIND_MINT, preimage, digest(preimage))
    assert (leaf.index, leaf.cause, leaf.height, leaf.block_time_ms) == (3, digest(MINTS[0]), 2, BLOCK_TIME_MS + 2)
    answer = court.ask("GetDerivedLeaf", pb.GetDerivedLeafRequest(entry=leaf.entry))
    assert answer.leaf == leaf
    assert (answer.as_of.size, answer.as_of.height) == (len(LEAVES), 5)


def test_status_leaves_are_what_contracts_compute(court: Court) -> None:
    mints = [court.leaf(3).entry, court.leaf(5).entry]
    for seq, (first, cause, state) in enumerate(
        [(7, DISPUTE, MintState.DISPUTED), (10, STAY, MintState.DISPUTED), (12, STAY, MintState.DISPUTED)], 1
    ):  # fmt: skip
        for place, mint in enumerate(mints):
            status = StatusLeaf(mint=mint, seq=seq, state=state, cause=digest(cause))
            leaf = court.leaf(first + place)
            assert (leaf.kind, leaf.preimage) == (pb.DERIVED_KIND_STATUS, status.preimage(GENESIS.digest))
            assert leaf.cause == digest(cause)


def test_what_is_no_derived_leaf_is_not_found(court: Court) -> None:
    leaf = pb.GetDerivedLeafRequest
    for request, where in (
        (leaf(index=0), "index"), (leaf(index=len(LEAVES)), "index"), (leaf(index=2**64 - 1), "index"),
        (leaf(entry=digest(CLAIM)), "entry"), (leaf(entry=bytes(32)), "entry"),
    ):  # fmt: skip
        assert court.refused("GetDerivedLeaf", request) == ("NOT_FOUND", "NOT_RECORDED", where)
    assert court.refused("GetDerivedLeaf", leaf(entry=b"short")) == ("INVALID_ARGUMENT", "INVALID_REQUEST", "entry")
    assert court.refused("GetDerivedLeaf", leaf()) == ("INVALID_ARGUMENT", "INVALID_REQUEST", "by")


def test_a_derived_leaf_is_no_statement_and_says_whom_to_ask(court: Court) -> None:
    with pytest.raises(NodeError, match="GetDerivedLeaf") as caught:
        court.client.statement(index=3)
    assert (caught.value.status, caught.value.code) == ("NOT_FOUND", "NOT_RECORDED")
    assert court.client.statement(index=4).raw == MINTS[1]


@pytest.mark.parametrize("size", [0, 6, len(LEAVES)])
def test_inclusion_of_every_leaf_is_proven_in_any_size(court: Court, size: int) -> None:
    for index in range(size or len(LEAVES)):
        found = court.ask("GetInclusionProof", pb.GetInclusionProofRequest(index=index, size=size))
        assert found.size == (size or len(LEAVES))
        what = LEAVES[index]
        assert found.entry == (court.leaf(index).entry if isinstance(what, str) else digest(what))
        verify_inclusion(
            leaf=leaf_hash(found.entry), index=index, size=found.size, proof=tuple(found.hashes), root=found.root
        )  # fmt: skip


def test_no_proof_beyond_the_log(court: Court) -> None:
    proof = pb.GetInclusionProofRequest
    beyond = [
        (proof(index=0, size=len(LEAVES) + 1), "size"), (proof(index=len(LEAVES)), "index"),
        (proof(index=6, size=6), "index"),
    ]  # fmt: skip
    for request, where in beyond:
        assert court.refused("GetInclusionProof", request)[1:] == ("BEYOND_LOG", where)


# ---- rights ----


def test_rights_of_a_plain_claim_are_its_issuers(court: Court) -> None:
    rights = court.rights(PLAIN)
    assert (rights.state, rights.holder, rights.head) == (pb.CLAIM_STATE_ACTIVE, "label", digest(PLAIN))
    assert (list(rights.mints), list(rights.disputes), rights.stay, rights.superseded_by) == ([], [], b"", b"")
    assert rights.as_of.size == len(LEAVES)


def test_rights_tell_disputes_and_mints_as_they_stand(court: Court) -> None:
    rights = court.rights(CLAIM)
    assert (rights.state, rights.holder, rights.head) == (pb.CLAIM_STATE_DISPUTED, "label", digest(STAY))
    assert (rights.stay, rights.stay_until_ms) == (b"", 0)  # it has lapsed
    (dispute,) = rights.disputes
    assert (dispute.statement_digest, dispute.disputant, dispute.responded) == (digest(DISPUTE), "society", False)
    assert [(m.entry, m.index, m.edition, m.state, m.status_seq, m.status_index) for m in rights.mints] == [
        (court.leaf(3).entry, 3, 1, pb.CLAIM_STATE_DISPUTED, 3, 12),
        (court.leaf(5).entry, 5, 2, pb.CLAIM_STATE_DISPUTED, 3, 13),
    ]


def test_a_superseded_claim_names_what_took_its_place_and_that_is_found_by_its_keys(court: Court) -> None:
    old = court.rights(OLD)
    assert (old.state, old.superseded_by) == (pb.CLAIM_STATE_SUPERSEDED, digest(SUPERSEDE))
    (found,) = court.client.claims(media_digest=claim(77).media[0].blake3)
    assert (found.statement, found.position, found.claim) == (digest(SUPERSEDE), 0, claim(77).encode())
    new = court.rights(SUPERSEDE)
    assert (new.state, new.holder, new.head) == (pb.CLAIM_STATE_ACTIVE, "label", digest(SUPERSEDE))


def test_rights_of_no_claim_are_not_found(court: Court) -> None:
    ask = pb.GetClaimRightsRequest
    for request in (
        ask(statement_digest=bytes(32)), ask(statement_digest=digest(PLAIN), position=1),
        ask(statement_digest=digest(DISPUTE)), ask(statement_digest=digest(PLAIN), position=2**32 - 1),
    ):  # fmt: skip
        assert court.refused("GetClaimRights", request) == ("NOT_FOUND", "NOT_RECORDED", "statement_digest")
    for request, where in (
        (ask(statement_digest=b"short"), "statement_digest"),
        (ask(statement_digest=digest(PLAIN), position=2**32), "position"),
    ):
        assert court.refused("GetClaimRights", request) == ("INVALID_ARGUMENT", "INVALID_REQUEST", where)
    ahead = ask(statement_digest=digest(PLAIN), min_size=len(LEAVES) + 1)
    with NodeClient(court.client.address, deadline_s=1) as hasty, pytest.raises(NodeError) as caught:
        hasty._call(hasty.stub.GetClaimRights, ahead)
    assert caught.value.code == "NOT_READY_YET"


# ---- evidence ----


def test_evidence_holds_beside_derived_leaves_and_of_the_claim_in_a_superseding_statement(court: Court) -> None:
    for raw in (CLAIM, PLAIN, MINTS[1], DISPUTE, STAY, OLD, SUPERSEDE):
        bundle = court.client.evidence(statement=digest(raw))
        assert verify_bundle(bundle, GENESIS, None).verdict is Verdict.VERIFIED
    media = claim(77).media[0]
    bundle = court.client.evidence(media_digest=media.sha256)
    offered = MediaDigests(blake3=media.blake3, sha256=media.sha256)
    report = verify_bundle(bundle, GENESIS, offered)
    assert (report.verdict, report.check("audio").outcome) == (Verdict.VERIFIED, Outcome.PASSED)


def test_evidence_says_where_the_claim_stands_now(court: Court) -> None:
    for raw, said in (
        (CLAIM, f"was DISPUTED and was held by label; open disputes: {digest(DISPUTE).hex()}"),
        (PLAIN, "stood undisputed and was held by label"),
        (OLD, f"replaced by the statement {digest(SUPERSEDE).hex()}"),
        (SUPERSEDE, "stood undisputed and was held by label"),
    ):
        report = verify_bundle(court.client.evidence(statement=digest(raw)), GENESIS, None)
        assert said in report.check("rights").reason
    report = verify_bundle(court.client.evidence(statement=digest(DISPUTE)), GENESIS, None)
    assert "does not say" in report.check("rights").reason


# ---- watching ----


def watched(court: Court, start: int, count: int, *, derived: bool) -> list[pb.WatchStatementsResponse]:
    call = court.client.stub.WatchStatements(pb.WatchStatementsRequest(from_index=start, derived=derived), timeout=10)
    try:
        return list(itertools.islice(call, count))
    finally:
        call.cancel()


def test_watching_passes_over_derived_leaves_from_any_index(court: Court) -> None:
    statements = [(index, raw) for index, raw in enumerate(LEAVES) if isinstance(raw, bytes)]
    for start in range(len(LEAVES)):
        due = [(index, raw) for index, raw in statements if index >= start]
        seen = watched(court, start, len(due), derived=False)
        assert [(m.index, m.statement) for m in seen] == due
    assert [found.raw for found in itertools.islice(court.client.watch(), 3)] == [CLAIM, PLAIN, MINTS[0]]


def test_watching_gives_every_index_to_who_asks_for_derived_leaves_too(court: Court) -> None:
    for start in (0, 3, 11):
        seen = watched(court, start, len(LEAVES) - start, derived=True)
        assert [m.index for m in seen] == list(range(start, len(LEAVES)))
        for message in seen:
            what = LEAVES[message.index]
            if isinstance(what, str):
                assert message.leaf == court.leaf(message.index)
                assert (message.statement, message.statement_digest) == (b"", b"")
            else:
                assert (message.statement, message.HasField("leaf")) == (what, False)
