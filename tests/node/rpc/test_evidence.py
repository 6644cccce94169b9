"""Evidence from a node, and a node's opinion of evidence: both over the wire, both against the true genesis."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import grpc
import pytest

from cli.client import NodeClient, NodeError
from ledger.evidence import MediaDigests, Verdict, verify_bundle
from node.rpc.answers import CheckOutcome, EvidenceVerdict
from protos import stretto_pb2 as pb
from tests.node.rpc.consortium import GENESIS, catalogue, claim, sign, statement
from tests.node.rpc.readers import ReaderProcess
from tests.node.rpc.stores import GrowingStore

SINGLES = [statement(n) for n in range(3)]
SET, SET_BODY = catalogue(100, 700)
UNCOVERED = sign(claim(9), "uncovered")


@dataclass(frozen=True, kw_only=True)
class Court:
    """The court's reader over a store that a test may grow."""

    client: NodeClient
    store: GrowingStore


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    folder = tmp_path_factory.mktemp("court")
    store = GrowingStore(folder / "data" / "chain")
    store.add(*SINGLES)
    store.add(SET, bodies={SET: SET_BODY})
    reader = ReaderProcess(folder)
    with NodeClient(reader.address, deadline_s=10) as client:
        yield Court(client=client, store=store)
    assert reader.stop() == 0
    store.close()


def digest(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


def refused(call: Callable[[], object]) -> tuple[str, str, str]:
    with pytest.raises(NodeError) as caught:
        call()
    return caught.value.status, caught.value.code, caught.value.field


# ---- getting ----


def test_evidence_of_a_statement_verifies_offline(court: Court) -> None:
    bundle = court.client.evidence(statement=digest(SINGLES[1]))
    media = claim(1).media[0]
    report = verify_bundle(bundle, GENESIS, MediaDigests(blake3=media.blake3, sha256=media.sha256))
    assert report.verdict is Verdict.VERIFIED, report


def test_evidence_of_one_track_of_a_catalogue_verifies_with_that_track_only(court: Court) -> None:
    bundle = court.client.evidence(statement=digest(SET), position=650)
    this, other = (claim(100 + position).media[0] for position in (650, 651))
    assert verify_bundle(bundle, GENESIS, MediaDigests(blake3=this.blake3)).verdict is Verdict.VERIFIED
    assert verify_bundle(bundle, GENESIS, MediaDigests(blake3=other.blake3)).verdict is Verdict.REFUSED


def test_evidence_by_audio_is_of_its_earliest_claim(court: Court) -> None:
    for media_digest in (claim(2).media[0].blake3, claim(2).media[0].sha256, claim(777).media[0].sha256):
        bundle = court.client.evidence(media_digest=media_digest)
        assert verify_bundle(bundle, GENESIS, None).verdict is Verdict.VERIFIED
        offered = (MediaDigests(blake3=media_digest), MediaDigests(sha256=media_digest))
        verdicts = [verify_bundle(bundle, GENESIS, media).verdict for media in offered]
        assert verdicts.count(Verdict.VERIFIED) == 1


def test_evidence_of_a_whole_catalogue_verifies(court: Court) -> None:
    bundle = court.client.evidence(statement=digest(SET))
    assert verify_bundle(bundle, GENESIS, None).verdict is Verdict.VERIFIED


def test_evidence_waits_for_the_first_checkpoint_that_covers_its_leaf(court: Court) -> None:
    court.store.add(UNCOVERED, complete=False)
    request = pb.GetEvidenceRequest(statement_digest=digest(UNCOVERED))
    with pytest.raises(grpc.RpcError) as caught:
        list(court.client.stub.GetEvidence(request, timeout=0.5))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    waiting = court.client.stub.GetEvidence(request, timeout=10)
    court.store.cosign(5)
    bundle = b"".join(piece.chunk for piece in waiting)
    assert verify_bundle(bundle, GENESIS, None).verdict is Verdict.VERIFIED


def test_evidence_for_nothing_on_record_is_refused_by_field(court: Court) -> None:
    def ask(**fields: object) -> tuple[str, str, str]:
        return refused(lambda: court.client.evidence(**fields))  # type: ignore[arg-type]

    assert ask() == ("INVALID_ARGUMENT", "INVALID_REQUEST", "of")
    assert ask(statement=bytes(32)) == ("NOT_FOUND", "NOT_RECORDED", "statement_digest")
    assert ask(media_digest=bytes(32)) == ("NOT_FOUND", "NOT_RECORDED", "media_digest")
    assert ask(statement=b"short") == ("INVALID_ARGUMENT", "INVALID_REQUEST", "statement_digest")
    assert ask(statement=digest(SINGLES[0]), position=0) == ("INVALID_ARGUMENT", "INVALID_REQUEST", "position")
    assert ask(statement=digest(SET), position=700) == ("INVALID_ARGUMENT", "INVALID_REQUEST", "position")


# ---- verifying ----


def test_node_lists_every_check_with_its_reason(court: Court) -> None:
    bundle = court.client.evidence(statement=digest(SINGLES[0]))
    report = court.client.verify_evidence(bundle, blake3=claim(0).media[0].blake3)
    assert (report.verdict, report.genesis) == (EvidenceVerdict.VERIFIED, GENESIS.digest)
    assert all(check.reason for check in report.checks)
    expected = verify_bundle(bundle, GENESIS, MediaDigests(blake3=claim(0).media[0].blake3))
    assert [(c.name, c.outcome.name, c.reason) for c in report.checks] == [
        (c.name, c.outcome.name, c.reason) for c in expected.checks
    ]


def test_flipped_byte_or_other_audio_is_refused_with_the_reason(court: Court) -> None:
    bundle = bytearray(court.client.evidence(statement=digest(SINGLES[0])))
    other = court.client.verify_evidence(bytes(bundle), blake3=claim(1).media[0].blake3)
    bundle[len(bundle) // 2] ^= 1
    flipped = court.client.verify_evidence(bytes(bundle))
    for report in (other, flipped):
        assert report.verdict is EvidenceVerdict.REFUSED
        assert [c.name for c in report.checks if c.outcome is CheckOutcome.FAILED]


def test_verification_request_that_breaks_the_bounds_is_refused(court: Court) -> None:
    def verify(*messages: pb.VerifyEvidenceRequest) -> tuple[str, str, str]:
        def send(_request: object, timeout: float) -> object:
            return court.client.stub.VerifyEvidence(iter(messages), timeout=timeout)

        return refused(lambda: court.client._call(send, None))

    bad = "INVALID_ARGUMENT"
    media = pb.VerifyEvidenceRequest(media=pb.MediaDigests(blake3=bytes(32)))
    large = pb.VerifyEvidenceRequest(bundle=bytes(3 * 2**20))
    assert verify() == (bad, "INVALID_REQUEST", "bundle")
    assert verify(pb.VerifyEvidenceRequest()) == (bad, "INVALID_REQUEST", "part")
    assert verify(media, media) == (bad, "INVALID_REQUEST", "media")
    assert verify(pb.VerifyEvidenceRequest(media=pb.MediaDigests())) == (bad, "INVALID_REQUEST", "media")
    short = pb.MediaDigests(sha256=b"short")
    assert verify(pb.VerifyEvidenceRequest(media=short)) == (bad, "INVALID_REQUEST", "media.sha256")
    assert verify(*[large] * 22) == (bad, "TOO_LARGE", "bundle")
