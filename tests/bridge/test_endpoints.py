"""Endpoints are strangers' machines: each fault has a name, costs a bounded time, and no single one is believed."""

from __future__ import annotations

import datetime
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bridge.endpoints import LAG_BLOCKS_MAX, Endpoints, number
from bridge.errors import (
    EndpointError,
    EndpointLimited,
    EndpointsDisagree,
    EndpointTimeout,
    MalformedAnswer,
    NoEndpoint,
    RpcError,
    WrongChainId,
)
from bridge.jsonrpc import (
    ANSWER_BYTES_MAX,
    RETRY_AFTER_S,
    RETRY_AFTER_S_MAX,
    Endpoint,
    TokenBucket,
    label_of,
    retry_after_s,
)
from tests.bridge.servers import Answer, Failing, Raw, Server

Serve = Callable[[Answer], Server]
CHAIN = 137


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(answer: Answer) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def block(height: int, chain: str = "a") -> dict[str, str]:
    digest = f"{chain}{height:x}".encode().hex().rjust(64, "0")
    return {"number": hex(height), "hash": f"0x{digest}", "timestamp": "0x64", "baseFeePerGas": "0x7"}


def honest(height: int = 50, values: dict[str, Any] | None = None) -> Answer:
    def answer(method: str, params: list[Any]) -> Any:
        if values and method in values:
            return values[method]
        if method == "eth_chainId":
            return hex(CHAIN)
        if method == "eth_getBlockByNumber":
            at = {"latest": height, "finalized": height - 10}.get(params[0])
            return block(int(params[0], 16) if at is None else at)
        return "0x1"

    return answer


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def pool(*servers: Server, quorum: int | None = None, clock: Time | None = None, rate: float = 1e6) -> Endpoints:
    clock = clock or Time()
    made = [Endpoint(each.url, timeout_s=0.5) for each in servers]
    return Endpoints("polygon", CHAIN, made, quorum=quorum, rate=rate, clock=clock, sleep=clock.sleep)


# ---- one endpoint ----------------------------------------------------------------------------------------------------


def test_connection_is_kept_and_opened_again_when_the_server_closed_it(serve: Serve) -> None:
    server = serve(honest())
    endpoint = Endpoint(server.url)
    assert endpoint.ask("eth_chainId", ()) == hex(CHAIN)
    first = endpoint._connection
    assert endpoint.ask("eth_chainId", ()) == hex(CHAIN)
    assert endpoint._connection is first
    assert first is not None
    assert first.sock is not None
    first.sock.shutdown(socket.SHUT_RDWR)
    assert endpoint.ask("eth_chainId", ()) == hex(CHAIN)


def test_answer_that_drips_in_is_cut_off_in_time(serve: Serve) -> None:
    endless = Raw(b"x" * 10_000, drip_s=0.05)
    endpoint = Endpoint(serve(lambda *_: endless).url, timeout_s=0.4)
    started = time.monotonic()
    with pytest.raises(EndpointTimeout):
        endpoint.ask("eth_chainId", ())
    assert time.monotonic() - started < 3


def test_silent_server_is_given_up_in_time(serve: Serve) -> None:
    with pytest.raises(EndpointTimeout):
        Endpoint(serve(lambda *_: Raw(hold_s=2)).url, timeout_s=0.2).ask("eth_chainId", ())


@pytest.mark.parametrize(
    "answer",
    [
        Raw(b"", headers={"content-length": str(ANSWER_BYTES_MAX + 1)}),
        Raw(b"[" * 2**20, chunks=6),
        Raw(b'"' + b"a" * 2**20, chunks=5),
    ],
    ids=["said", "nested", "long"],
)
def test_giant_answer_is_not_read(serve: Serve, answer: Raw) -> None:
    with pytest.raises(MalformedAnswer, match="more than"):
        Endpoint(serve(lambda *_: answer).url).ask("eth_chainId", ())


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b"[" * 100_000, b'{"jsonrpc":"2.0","id":77,"result":1}', b'{"error":1}', b"\xff"],
)
def test_nonsense_has_a_name(serve: Serve, body: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        Endpoint(serve(lambda *_: Raw(body)).url).ask("eth_chainId", ())


def test_dead_endpoint_has_a_name() -> None:
    with pytest.raises(EndpointError, match="refused"):
        Endpoint("http://127.0.0.1:9").ask("eth_chainId", ())


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("", RETRY_AFTER_S), ("soon", RETRY_AFTER_S), ("-3", RETRY_AFTER_S), ("9" * 30, RETRY_AFTER_S_MAX),
     ("Thu, 01 Jan 1970 00:00:00 GMT", 1.0), ("Fri, 31 Dec 9999 23:59:59 GMT", RETRY_AFTER_S_MAX)],
)  # fmt: skip
def test_retry_after_is_read_and_bounded(header: str, seconds: float) -> None:
    assert retry_after_s(header) == seconds


def test_limits_are_heard_as_status_and_as_code(serve: Serve) -> None:
    limited = serve(lambda *_: Raw(status=429, headers={"retry-after": "3", "content-length": "0"}))
    with pytest.raises(EndpointLimited) as said:
        Endpoint(limited.url).ask("eth_chainId", ())
    assert said.value.retry_after_s == 3

    def coded(*_: Any) -> Any:
        raise Failing(-32005, "daily limit", None)

    with pytest.raises(EndpointLimited):
        Endpoint(serve(coded).url).ask("eth_chainId", ())


def test_strangers_words_cannot_move_the_cursor(serve: Serve) -> None:
    def rude(*_: Any) -> Any:
        raise Failing(1, "\x1b[2J\nforged line" + "x" * 1000, None)

    with pytest.raises(RpcError) as said:
        Endpoint(serve(rude).url).ask("eth_call", ())
    assert str(said.value).isprintable()
    assert len(str(said.value)) < 400


@pytest.mark.parametrize("data", ["0x1234", {"data": "0x1234"}, "Reverted 0x1234"])
def test_what_a_contract_reverts_with_is_found(serve: Serve, data: object) -> None:
    def reverts(*_: Any) -> Any:
        raise Failing(3, "execution reverted", data)

    with pytest.raises(RpcError) as said:
        Endpoint(serve(reverts).url).ask("eth_call", ())
    assert (said.value.data, said.value.is_revert) == (b"\x12\x34", True)


def test_label_and_errors_hold_no_key_of_the_url(serve: Serve) -> None:
    server = serve(lambda *_: Raw(status=500))
    url = f"{server.url}/v3/5ecret5ecret?token=5ecret5ecret"
    assert label_of("https://rpc.example/v3/5ecret") == "rpc.example"
    endpoint = Endpoint(url)
    with pytest.raises(EndpointError) as said:
        endpoint.ask("eth_chainId", ())
    assert "5ecret" not in f"{said.value} {said.value.__cause__} {endpoint!r}"


def test_token_bucket_gives_its_rate() -> None:
    clock = Time()
    bucket = TokenBucket(2.0, 3.0, clock)
    assert [bucket.take() for _ in range(4)] == [0, 0, 0, 0.5]
    clock.sleep(0.5)
    assert bucket.take() == 0
    clock.sleep(100)
    assert [bucket.take() for _ in range(4)][3] > 0, "a pause saves up no more than the burst"


def test_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    certificate = made.sign(key, hashes.SHA256())
    pem = tmp_path / "server.pem"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem.write_bytes(key.private_bytes(*form) + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def serve_once(listener: socket.socket) -> None:
        try:
            context.wrap_socket(listener.accept()[0], server_side=True)
        except OSError:
            return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve_once, args=(listener,), daemon=True).start()
        with pytest.raises(EndpointError, match="certificate is not accepted"):
            Endpoint(f"https://localhost:{listener.getsockname()[1]}").ask("eth_chainId", ())


# ---- several ---------------------------------------------------------------------------------------------------------


def test_dead_endpoint_is_tolerated(serve: Serve) -> None:
    server = serve(honest())
    clock = Time()
    endpoints = [Endpoint("http://127.0.0.1:9"), Endpoint(server.url)]
    both = Endpoints("polygon", CHAIN, endpoints, clock=clock, sleep=clock.sleep)
    for _ in range(4):
        assert both.ask("eth_x", form=number) == 1


def test_endpoint_of_another_chain_is_refused_by_name_and_never_used(serve: Serve) -> None:
    good, wrong = serve(honest()), serve(honest(values={"eth_chainId": "0x1", "eth_x": "0x2"}))
    both = pool(wrong, good)
    (refused,) = both.verify_all()
    assert isinstance(refused, WrongChainId)
    assert (refused.expected, refused.got) == (CHAIN, 1)
    assert [both.ask("eth_x", form=number) for _ in range(5)] == [1] * 5
    assert set(wrong.asked) == {"eth_chainId"}
    with pytest.raises(NoEndpoint, match="serves chain id 1, expected 137"):
        pool(wrong).ask("eth_x")


def test_chain_is_verified_anew_when_an_endpoint_comes_back(serve: Serve) -> None:
    server = serve(honest())
    one = pool(server)
    one.ask("eth_x")
    server.answer = lambda *_: Raw(status=502)
    with pytest.raises(NoEndpoint):
        one.ask("eth_x")
    server.answer = honest(values={"eth_chainId": "0x1"})
    one._sleep(120)
    with pytest.raises(NoEndpoint, match="serves chain id 1"):
        one.ask("eth_x")


def test_limited_endpoint_is_left_alone_for_as_long_as_it_asks(serve: Serve) -> None:
    clock = Time()
    server = serve(honest())
    one = pool(server, clock=clock)
    one.ask("eth_x")
    limited = Raw(status=429, headers={"retry-after": "9", "content-length": "0"})
    server.answer = lambda *_: limited
    other = serve(honest())
    both = pool(server, other, clock=clock)
    both.ask("eth_x")
    both.ask("eth_x")
    before = sum(server.asked.values())
    for _ in range(5):
        assert both.ask("eth_x", form=number) == 1
    assert sum(server.asked.values()) == before
    server.answer = honest()
    clock.sleep(9)
    for _ in range(2):
        both.ask("eth_x")
    assert sum(server.asked.values()) > before


def test_rate_is_kept(serve: Serve) -> None:
    clock = Time()
    one = pool(serve(honest()), clock=clock, rate=5.0)
    started = clock()
    for _ in range(50):
        one.ask("eth_x")
    assert clock() - started >= (51 - 5) / 5 * 0.99


def test_lagging_endpoint_is_noticed_and_asked_last(serve: Serve) -> None:
    behind, ahead, third = serve(honest(50)), serve(honest(50 + LAG_BLOCKS_MAX + 1)), serve(honest(54))
    three = pool(behind, ahead, third)
    for _ in range(4):
        three.common_head()
    assert three.errors[label_of(behind.url), "lag"] > 0
    assert {three.common_head().number for _ in range(9)} == {54}
    before = sum(behind.asked.values())
    for _ in range(9):
        three.ask("eth_x")
    assert sum(behind.asked.values()) == before


def test_liar_cannot_make_the_others_look_lagging(serve: Serve) -> None:
    liar, one, two = serve(honest(10**9)), serve(honest(50)), serve(honest(51))
    three = pool(liar, one, two)
    assert {three.common_head().number for _ in range(9)} <= {50, 51}
    assert not [key for key in three.errors if key[1] == "lag"]


def test_quorum_overrules_a_liar(serve: Serve) -> None:
    liar = serve(honest(values={"eth_x": "0x9"}))
    three = pool(liar, serve(honest()), serve(honest()))
    assert [three.agree("eth_x", form=number) for _ in range(6)] == [1] * 6
    assert three.errors[label_of(liar.url), "disagreed"] > 0


def test_same_meaning_in_other_spelling_agrees(serve: Serve) -> None:
    spelled = serve(honest(values={"eth_x": "0x0001"}))
    assert pool(spelled, serve(honest()), quorum=2).agree("eth_x", form=number) == 1


def test_no_majority_is_an_error_by_name(serve: Serve) -> None:
    liar = serve(honest(values={"eth_x": "0x9"}))
    with pytest.raises(EndpointsDisagree, match="says 9"):
        pool(liar, serve(honest()), quorum=2).agree("eth_x", form=number)


def test_too_few_answers_are_an_error_by_name(serve: Serve) -> None:
    clock = Time()
    endpoints = [Endpoint(serve(honest()).url), Endpoint("http://127.0.0.1:9"), Endpoint("http://127.0.0.1:10")]
    three = Endpoints("polygon", CHAIN, endpoints, clock=clock, sleep=clock.sleep)
    with pytest.raises(NoEndpoint, match="refused"):
        three.agree("eth_x")


def test_reverts_agree_by_what_the_contract_said(serve: Serve) -> None:
    def reverts(method: str, params: list[Any]) -> Any:
        if method == "eth_call":
            raise Failing(3, "execution reverted", "0x1234")
        return honest()(method, params)

    with pytest.raises(RpcError) as said:
        pool(serve(reverts), serve(reverts), quorum=2).agree("eth_call", {}, "latest")
    assert said.value.data == b"\x12\x34"


def test_finalized_needs_a_quorum(serve: Serve) -> None:
    def far_ahead(method: str, params: list[Any]) -> Any:
        return block(10**6) if params and params[0] == "finalized" else honest()(method, params)

    three = pool(serve(far_ahead), serve(honest(50)), serve(honest(53)))
    assert {three.finalized().number for _ in range(6)} <= {40, 43}
    assert three.finalized(depth=5).number in {45, 48}


def test_forked_endpoint_cannot_name_the_final_block(serve: Serve) -> None:
    def forked(method: str, params: list[Any]) -> Any:
        found = honest()(method, params)
        return block(int(found["number"], 16), "b") if method == "eth_getBlockByNumber" else found

    three = pool(serve(forked), serve(honest()), serve(honest()))
    wanted = bytes.fromhex(block(40)["hash"][2:])
    assert {three.finalized().hash for _ in range(6)} == {wanted}


def test_transaction_is_offered_to_all(serve: Serve) -> None:
    def knows(method: str, params: list[Any]) -> Any:
        if method == "eth_sendRawTransaction":
            raise Failing(-32000, "already known", None)
        return honest()(method, params)

    servers = [serve(honest()), serve(knows), serve(lambda *_: Raw(status=500))]
    told = dict(pool(*servers).broadcast(b"\x02abc"))
    assert told[label_of(servers[0].url)] is None
    error = told[label_of(servers[1].url)]
    assert error is not None
    assert error.message == "already known"
    assert len(told) == 2


def test_standing_is_shown_without_secrets(serve: Serve) -> None:
    server = serve(honest(values={"eth_chainId": "0x1"}))
    one = pool(server)
    one.verify_all()
    (shown,) = one.standings()
    assert shown["state"] == "refused"
    assert json.dumps(shown)
