"""The reader process as a whole: forwarding, watching a log that grows, health, TLS, and how it ends."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from cli.client import NodeClient, NodeError, NodeUnreachable, Submission, TlsFiles
from node.config import NodeConfig
from node.rosters import Rosters
from node.rpc.server import CannotListen, listen
from node.rpc.submit import SubmitServer
from node.rpc.types import SubmissionState
from protos import stretto_pb2 as pb
from tests.node.rpc.consortium import GENESIS, blobs, catalogue, statement
from tests.node.rpc.intakes import LIVE, FinalIntake, HeldIntake, final
from tests.node.rpc.readers import ReaderProcess
from tests.node.rpc.stores import GrowingStore

SERVING, NOT_SERVING = 1, 2
SERVICE = "stretto.v1.Stretto"


class Court:
    """A reader with its store; the node process's half can be started and stopped."""

    def __init__(self, folder: Path) -> None:
        self.store = GrowingStore(folder / "data" / "chain")
        self.reader = ReaderProcess(folder)
        self.client = NodeClient(self.reader.address, deadline_s=5)

    def node(self, intake: HeldIntake) -> SubmitServer:
        """The node process's half, running while its `with` block does."""
        return SubmitServer(socket=self.reader.folder / "submit.sock", rosters=Rosters(GENESIS), intake=intake)

    def health(self, service: str) -> Iterator[int]:
        with grpc.insecure_channel(self.reader.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for answer in stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=20):
                yield answer.status


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    court = Court(tmp_path_factory.mktemp("court"))
    yield court
    court.client.close()
    assert court.reader.stop() == 0
    court.store.close()


# ---- forwarding ----


def test_submissions_pass_to_the_node_and_its_answers_back(court: Court) -> None:
    intake = FinalIntake()
    with court.node(intake):
        result = court.client.submit(statement(1))
        assert (result.state, result.index, result.height) == (SubmissionState.FINAL, 0, 9)
        assert [s.statement.raw for s in intake.taken] == [statement(1)]


def test_errors_of_the_node_arrive_with_their_details(court: Court) -> None:
    with court.node(FinalIntake()):
        with pytest.raises(NodeError) as caught:
            court.client.submit(b"garbage")
        assert (caught.value.status, caught.value.code) == ("INVALID_ARGUMENT", "MALFORMED_STATEMENT")
        assert (caught.value.field, caught.value.expected[:17]) == ("statement", "a COSE_Sign1: tag")


def test_deadline_of_the_caller_reaches_the_node_and_its_sentence_comes_back_in_time(court: Court) -> None:
    with court.node(HeldIntake()):
        with pytest.raises(NodeError) as caught, NodeClient(court.reader.address, deadline_s=1) as hasty:
            hasty.submit(statement(1))
        assert caught.value.code == "NOT_YET_FINAL"


def test_large_catalogue_goes_by_stream_and_comes_out_whole(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.client.UNARY_CHUNK_BYTES_MAX", 100_000)
    intake = FinalIntake()
    with court.node(intake):
        raw, built = catalogue(0, 3000)
        assert sum(map(len, built.chunks)) > 100_000  # else it would have gone in one message
        assert court.client.submit(raw, blobs(built)).state is SubmissionState.FINAL
        assert intake.taken[0].chunks == built.chunks


def test_stream_survives_a_restart_of_the_node_and_every_statement_gets_its_end(court: Court) -> None:
    first, second = HeldIntake(), FinalIntake()
    raws = [statement(n) for n in range(10)]
    heard: list[SubmissionState] = []

    def submit() -> None:
        heard.extend(r.state for r in court.client.submit_many(Submission(statement=raw) for raw in raws))

    thread = threading.Thread(target=submit, daemon=True)
    with court.node(first):
        thread.start()
        first.wait_for(10)
    with court.node(second):
        thread.join(20)
        assert not thread.is_alive()
        assert heard.count(SubmissionState.FINAL) == 10
        assert {s.statement.raw for s in second.taken} == set(raws)


def test_without_a_node_process_reads_go_on_and_submissions_say_when_to_retry(court: Court) -> None:
    request = pb.SubmitStatementRequest(statement=statement(1))
    with pytest.raises(NodeError) as caught, NodeClient(court.reader.address, deadline_s=0.3) as hasty:
        hasty._call(hasty.stub.SubmitStatement, request)
    error = caught.value
    assert (error.status, error.code, error.retry_after_ms) == ("UNAVAILABLE", "NODE_NOT_RUNNING", 500)
    with pytest.raises(grpc.RpcError) as broken:
        list(court.client.stub.SubmitStatements(iter([pb.SubmitStatementsRequest(statements=[b"x"])]), timeout=5))
    assert broken.value.code() is grpc.StatusCode.UNAVAILABLE
    assert court.client.status().live.consensus_running is False


def test_status_joins_what_the_store_and_the_node_say(court: Court) -> None:
    with court.node(FinalIntake()):
        court.client.submit(statement(1))  # which waits, if it must, until the reader has found the node again
        status = court.client.status()
        assert status.live == LIVE
        assert (status.member, status.origin) == ("court", GENESIS.origin)


# ---- watching ----


def test_watch_is_told_what_becomes_final_while_it_watches(court: Court) -> None:
    start = court.store.chain.head().size
    watching = court.client.watch(start)
    court.store.add(statement(101), statement(102))
    assert [next(watching).raw for _ in range(2)] == [statement(101), statement(102)]
    court.store.add(statement(103))
    last = next(watching)
    assert (last.index, last.raw) == (start + 2, statement(103))
    watching.close()


def test_too_many_subscriptions_of_one_client_are_refused(court: Court) -> None:
    size = court.store.chain.head().size
    request = pb.WatchStatementsRequest(from_index=size - 1)
    calls = [court.client.stub.WatchStatements(request, timeout=20) for _ in range(32)]
    for call in calls:
        next(call)
    with pytest.raises(grpc.RpcError) as caught:
        next(court.client.stub.WatchStatements(request, timeout=20))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    for call in calls:
        call.cancel()


# ---- health and reflection ----


def test_health_follows_the_store_and_the_node_process(court: Court) -> None:
    whole = court.health(SERVICE)
    assert next(status for status in whole if status == NOT_SERVING)
    assert next(court.health("")) == SERVING
    with court.node(FinalIntake()):
        assert next(whole) == SERVING
    assert next(whole) == NOT_SERVING


def test_service_describes_itself(court: Court) -> None:
    with grpc.insecure_channel(court.reader.address) as channel:
        known = ProtoReflectionDescriptorDatabase(channel)
        assert SERVICE in known.get_services()
        assert known.FindFileContainingSymbol(SERVICE).package == "stretto.v1"


# ---- listening ----


def test_address_others_can_reach_is_refused_without_tls(tmp_path: Path) -> None:
    config = NodeConfig(
        directory=tmp_path, member="court", listen="", rpc_host="0.0.0.0", rpc_port=5101, peers={}
    )  # fmt: skip

    async def refused() -> None:
        listen(grpc.aio.server(), config)

    with pytest.raises(CannotListen, match=r"has no TLS.*tls_cert and tls_key"):
        asyncio.run(refused())  # a server of grpc.aio wants a loop


def test_port_that_is_taken_ends_the_reader_with_one_sentence(court: Court, tmp_path: Path) -> None:
    second = ReaderProcess(tmp_path, wait=False)
    config = tmp_path / "config.toml"
    second.process.kill()
    second.process.wait(10)
    second.close()
    config.write_text(config.read_text().replace(second.address, court.reader.address))
    third = ReaderProcess.__new__(ReaderProcess)
    third.folder = tmp_path
    third.start()
    assert third.process.wait(30) == 1
    (line,) = [line for line in third.output().splitlines() if '"error"' in line]
    assert "cannot listen at" in line
    assert "Traceback" not in line


# ---- the end ----


def test_reader_ends_with_its_parent(tmp_path: Path) -> None:
    reader = ReaderProcess(tmp_path)
    assert reader.process.stdin is not None
    reader.process.stdin.close()
    assert reader.process.wait(5) == 0
    assert "node process has gone" in reader.output()


def test_reader_told_to_stop_ends_within_two_seconds_with_calls_open(tmp_path: Path) -> None:
    store = GrowingStore(tmp_path / "data" / "chain")
    store.add(statement(1))
    reader = ReaderProcess(tmp_path)
    with NodeClient(reader.address) as client:
        call = client.stub.WatchStatements(pb.WatchStatementsRequest())
        next(call)
        reader.process.terminate()
        assert reader.process.wait(2) == 0
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    reader.close()
    store.close()


def test_reader_before_the_store_exists_says_that_it_is_not_ready(tmp_path: Path) -> None:
    reader = ReaderProcess(tmp_path)
    with pytest.raises(NodeError) as caught, NodeClient(reader.address, deadline_s=0.5) as client:
        client.statement(index=0)
    assert (caught.value.status, caught.value.code, caught.value.field) == ("UNAVAILABLE", "NOT_READY_YET", "store")
    store = GrowingStore(tmp_path / "data" / "chain")
    store.add(statement(1))
    with NodeClient(reader.address) as client:
        assert client.statement(index=0).raw == statement(1)
    assert reader.stop() == 0
    store.close()


def test_nobody_at_the_address_is_unreachable_not_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.client.UNREACHABLE_S", 0.2)
    with pytest.raises(NodeUnreachable, match=r"127\.0\.0\.1:1:"), NodeClient("127.0.0.1:1") as client:
        client.status()


# ---- TLS ----


class Certificates:
    """A certificate authority and certificates of it, as PEM files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.authority = self._write("ca", self._certificate(self._name, self._key, authority=True))

    def issue(self, name: str) -> tuple[Path, Path]:
        """(certificate, key) for `name`, good for 127.0.0.1."""
        private = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        key_path = self.folder / f"{name}.key"
        key_path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return self._write(name, self._certificate(subject, private, authority=False)), key_path

    def _certificate(
        self, subject: x509.Name, private: ec.EllipticCurvePrivateKey, *, authority: bool
    ) -> x509.Certificate:
        start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=36500))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )

    def _write(self, name: str, certificate: x509.Certificate) -> Path:
        path = self.folder / f"{name}.pem"
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
        return path


def test_tls_admits_only_clients_with_a_certificate_of_the_authority(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    cert, key = certificates.issue("node")
    mine, my_key = certificates.issue("clerk")
    tls = f'tls_cert = "{cert}"\ntls_key = "{key}"\ntls_client_ca = "{certificates.authority}"'
    reader = ReaderProcess(tmp_path / "court", extra_config=tls, wait=False)
    store = GrowingStore(reader.chain_path)
    known = TlsFiles(ca=certificates.authority, cert=mine, key=my_key)
    with NodeClient(reader.address, tls=known, deadline_s=30) as client:
        client.wait_until_reachable(30)
        with pytest.raises(NodeError) as caught:
            client.statement(digest=b"short")
        assert caught.value.field == "digest"
    for tls_files in (TlsFiles(ca=certificates.authority), None):
        with (
            pytest.raises((NodeUnreachable, NodeError)),
            NodeClient(reader.address, tls=tls_files, deadline_s=1) as other,
        ):
            other.status()
    assert reader.stop() == 0
    store.close()


def test_results_arrive_in_the_order_in_which_they_became_known(court: Court) -> None:
    intake = HeldIntake()
    with court.node(intake):
        results = court.client.submit_many([Submission(statement=statement(n)) for n in range(3)])
        assert [next(results).state for _ in range(3)] == [SubmissionState.ACCEPTED] * 3
        intake.settle(lambda digest: final(digest, 1))
        assert [result.state for result in results] == [SubmissionState.FINAL] * 3


# ---- stopping with calls under way ----


@pytest.mark.parametrize("kind", ["stream", "unary", "watch", "upload"])
def test_call_under_way_is_told_that_the_reader_stops_and_leaves_no_traceback(tmp_path: Path, kind: str) -> None:
    court = Court(tmp_path)
    done = threading.Event()
    raised: list[grpc.RpcError] = []

    def endless(message: object) -> Iterator[object]:
        yield message
        done.wait(20)

    def call() -> None:
        stub = court.client.stub
        try:
            match kind:
                case "stream":
                    list(stub.SubmitStatements(endless(pb.SubmitStatementsRequest(statements=[statement(1)]))))
                case "unary":
                    stub.SubmitStatement(pb.SubmitStatementRequest(statement=statement(1), wait=True), timeout=30)
                case "watch":
                    list(stub.WatchStatements(pb.WatchStatementsRequest()))
                case _:
                    stub.VerifyEvidence(endless(pb.VerifyEvidenceRequest(bundle=b"x")), timeout=30)
        except grpc.RpcError as error:
            raised.append(error)

    intake = HeldIntake()
    with court.node(intake):
        while not court.client.status().live.consensus_running:
            pass
        caller = threading.Thread(target=call, daemon=True)
        caller.start()
        if kind in ("stream", "unary"):
            intake.wait_for(1)
        else:
            while not court.client.status().live.consensus_running or not caller.is_alive():
                pass
        court.reader.process.terminate()
        assert court.reader.process.wait(10) == 0
        caller.join(10)
        done.set()
        assert not caller.is_alive()
        assert raised[0].code() is grpc.StatusCode.UNAVAILABLE
        assert "stopping" in (raised[0].details() or "")
        said = court.reader.output()
        assert "Traceback" not in said, said
    court.client.close()
    court.store.close()
