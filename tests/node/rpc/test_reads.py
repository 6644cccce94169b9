"""The reader process over a real store: what it answers, what it refuses, and with which words."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import grpc
import pytest

from cli.client import NodeClient, NodeError
from ledger.claim import parse_claim
from ledger.merkle import root, verify_consistency
from ledger.note import parse_note
from ledger.policy import genesis_policy
from protos import stretto_pb2 as pb
from tests.node.rpc.consortium import GENESIS, catalogue, claim, sign, statement
from tests.node.rpc.readers import ReaderProcess
from tests.node.rpc.stores import BLOCK_TIME_MS, GrowingStore

ISRC, ISWC_WRITTEN = "CNA012600001", "T-034.524.680-1"
SINGLES = [statement(n) for n in range(5)]
TAGGED = sign(claim(50, isrc=ISRC), "tagged")
SET, SET_BODY = catalogue(100, 2500)
SECOND_CLAIM_ON_0 = sign(claim(0), "again", issuer="society")
LOG = [*SINGLES, TAGGED, SET, SECOND_CLAIM_ON_0]
"""What the store holds, in order; the last leaf has no complete checkpoint."""


def digest(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeClient]:
    folder = tmp_path_factory.mktemp("court")
    store = GrowingStore(folder / "data" / "chain")
    store.add(*SINGLES)
    store.add(TAGGED)
    store.add(SET, bodies={SET: SET_BODY})
    store.add(SECOND_CLAIM_ON_0, complete=False)
    reader = ReaderProcess(folder)
    with NodeClient(reader.address, deadline_s=10) as made:
        yield made
    assert reader.stop() == 0
    store.close()


def refused(call: Callable[[], object]) -> tuple[str, str, str]:
    with pytest.raises(NodeError) as caught:
        call()
    return caught.value.status, caught.value.code, caught.value.field


# ---- statements ----


def test_statement_is_served_verbatim_by_digest_and_by_index(client: NodeClient) -> None:
    found = client.statement(digest=digest(SINGLES[3]))
    assert (found.raw, found.index, found.height, found.block_time_ms) == (SINGLES[3], 3, 1, BLOCK_TIME_MS + 1)
    assert client.statement(index=3) == found
    assert client.statement(index=0).raw == SINGLES[0]


def test_statement_request_that_names_nothing_known_is_refused(client: NodeClient) -> None:
    assert refused(lambda: client.statement(digest=bytes(32))) == ("NOT_FOUND", "NOT_RECORDED", "digest")
    assert refused(lambda: client.statement(index=len(LOG))) == ("NOT_FOUND", "NOT_RECORDED", "index")
    assert refused(lambda: client.statement(index=2**64 - 1)) == ("NOT_FOUND", "NOT_RECORDED", "index")
    assert refused(lambda: client.statement(digest=b"short")) == ("INVALID_ARGUMENT", "INVALID_REQUEST", "digest")
    empty = pb.GetStatementRequest()
    assert refused(lambda: client._call(client.stub.GetStatement, empty)) == (
        "INVALID_ARGUMENT",
        "INVALID_REQUEST",
        "by",
    )


def test_reading_ahead_of_the_log_waits_and_then_says_so(client: NodeClient) -> None:
    request = pb.GetStatementRequest(index=0, min_size=len(LOG) + 1)
    with pytest.raises(grpc.RpcError) as caught:
        client.stub.GetStatement(request, timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert client.statement(index=0, min_size=len(LOG)).raw == SINGLES[0]


# ---- claims ----


def test_claims_on_an_audio_file_come_oldest_first_by_either_digest(client: NodeClient) -> None:
    media = claim(0).media[0]
    by_blake3 = list(client.claims(media_digest=media.blake3))
    assert [(c.index, c.issuer) for c in by_blake3] == [(0, "label"), (7, "society")]
    assert list(client.claims(media_digest=media.sha256)) == by_blake3
    assert parse_claim(by_blake3[0].claim) == claim(0)
    assert list(client.claims(media_digest=bytes(32))) == []


def test_claims_of_a_recording_are_found_however_its_isrc_is_written(client: NodeClient) -> None:
    for written in (ISRC, "CN-A01-26-00001", "isrc cn a01 26 00001"):
        assert [c.index for c in client.claims(isrc=written)] == [5]


def test_claim_of_a_catalogue_says_its_position(client: NodeClient) -> None:
    (found,) = client.claims(media_digest=claim(1234).media[0].blake3)
    assert (found.index, found.position, found.catalogue) == (6, 1134, True)
    assert found.statement == digest(SET)


@pytest.mark.parametrize("page_size", [7, 1000])
def test_pages_of_a_catalogue_give_every_claim_once_in_order(client: NodeClient, page_size: int) -> None:
    count = 2500 if page_size == 1000 else 40
    found = []
    for record in client.claims(statement=digest(SET), page_size=page_size):
        found.append(record)
        if len(found) == count:
            break
    assert [c.position for c in found] == list(range(count))
    assert [c.claim for c in found] == [claim(100 + n).encode() for n in range(count)]


def test_page_carries_as_many_claims_as_asked_for_and_says_how_fresh_it_is(client: NodeClient) -> None:
    page = client.claims_page(pb.QueryClaimsRequest(statement_digest=digest(SET)))
    assert len(page.claims) == 100
    assert page.next_page
    assert (page.as_of.size, page.as_of.height) == (len(LOG), 4)
    last = client.claims_page(pb.QueryClaimsRequest(statement_digest=digest(SINGLES[0])))
    assert (len(last.claims), last.next_page) == (1, b"")


def test_query_that_makes_no_sense_is_refused_by_field(client: NodeClient) -> None:
    def query(**fields: object) -> tuple[str, str, str]:
        return refused(lambda: client.claims_page(pb.QueryClaimsRequest(**fields)))  # type: ignore[arg-type]

    page = client.claims_page(pb.QueryClaimsRequest(statement_digest=digest(SET))).next_page
    bad = "INVALID_ARGUMENT"
    assert query() == (bad, "INVALID_REQUEST", "by")
    assert query(isrc=ISRC, limit=1001) == (bad, "INVALID_REQUEST", "limit")
    assert query(media_digest=b"x") == (bad, "INVALID_REQUEST", "media_digest")
    assert query(isrc="nonsense") == (bad, "INVALID_IDENTIFIER", "isrc")
    assert query(iswc="T-034.524.680-2") == (bad, "INVALID_IDENTIFIER", "iswc")
    assert query(statement_digest=digest(SET), page=b"garbage") == (bad, "INVALID_PAGE", "page")
    assert query(statement_digest=digest(SINGLES[0]), page=page) == (bad, "INVALID_PAGE", "page")
    assert query(statement_digest=digest(SET), page=page[:8] + b"\xff" * 12) == (bad, "INVALID_PAGE", "page")


def test_iswc_is_found_however_it_is_written(client: NodeClient) -> None:
    assert list(client.claims(iswc=ISWC_WRITTEN)) == []


# ---- the log ----


def test_latest_checkpoint_is_the_last_complete_one_and_its_quorum_verifies(client: NodeClient) -> None:
    checkpoint = client.checkpoint()
    assert checkpoint.size == 7
    assert checkpoint.root == root([digest(raw) for raw in LOG[:7]])
    assert checkpoint.signers == ("court", "label", "society")
    genesis_policy(GENESIS).check(parse_note(checkpoint.note))


def test_checkpoint_of_at_least_a_size_is_the_first_that_covers_it(client: NodeClient) -> None:
    assert [client.checkpoint(size).size for size in (0, 1, 5, 6, 7)] == [5, 5, 5, 6, 7]


def test_checkpoint_beyond_what_is_cosigned_is_not_ready_and_beyond_the_log_out_of_range(client: NodeClient) -> None:
    def ask(size: int) -> tuple[str, str, str]:
        with pytest.raises(NodeError) as caught, NodeClient(client.address, deadline_s=0.5) as hasty:
            hasty.checkpoint(size)
        return caught.value.status, caught.value.code, caught.value.field

    assert ask(8) == ("UNAVAILABLE", "NOT_READY_YET", "size")
    assert ask(9) == ("OUT_OF_RANGE", "BEYOND_LOG", "size")


@pytest.mark.parametrize(("first", "second"), [(1, 8), (5, 6), (5, 7), (7, 8), (8, 8)])
def test_consistency_proof_holds_between_any_two_sizes(client: NodeClient, first: int, second: int) -> None:
    proof = client.consistency_proof(first, second)
    entries = [digest(raw) for raw in LOG]
    assert (proof.from_root, proof.to_root) == (root(entries[:first]), root(entries[:second]))
    verify_consistency(
        size1=first, size2=second, root1=proof.from_root, root2=proof.to_root, proof=proof.hashes
    )  # fmt: skip


def test_consistency_proof_outside_the_log_is_refused(client: NodeClient) -> None:
    assert refused(lambda: client.consistency_proof(0, 5)) == ("INVALID_ARGUMENT", "INVALID_REQUEST", "from_size")
    assert refused(lambda: client.consistency_proof(5, 4)) == ("INVALID_ARGUMENT", "INVALID_REQUEST", "to_size")
    assert refused(lambda: client.consistency_proof(5, 9)) == ("OUT_OF_RANGE", "BEYOND_LOG", "to_size")


# ---- watching, from a log that does not grow ----


def test_watch_gives_the_log_in_order_from_any_index(client: NodeClient) -> None:
    for start in (0, 3):
        watching = client.watch(start)
        seen = [next(watching) for _ in range(len(LOG) - start)]
        watching.close()
        assert [(s.index, s.raw) for s in seen] == list(enumerate(LOG))[start:]


# ---- the node ----


def test_status_without_a_node_process_is_what_the_store_says(client: NodeClient) -> None:
    status = client.status()
    assert (status.member, status.role, status.genesis) == ("court", "court", GENESIS.digest)
    assert (status.height, status.size, status.claims, status.checkpoint_size) == (4, 8, 2507, 7)
    assert status.root == root([digest(raw) for raw in LOG])
    assert status.checkpoint_signers == ("court", "label", "society")
    assert not status.live.consensus_running
    assert status.live.peers == ()
