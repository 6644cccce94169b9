"""The metrics page of a real reader process: who scrapes gets it, who dawdles or asks nonsense does no harm."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.ports import free_ports
from node.rosters import Rosters
from node.rpc.metrics import CONNECTIONS_MAX, HEAD_BYTES_MAX
from node.rpc.submit import SubmitServer
from tests.node.rpc.consortium import GENESIS
from tests.node.rpc.intakes import HeldIntake
from tests.node.rpc.readers import ReaderProcess
from tests.node.rpc.stores import GrowingStore

WAIT_S = 20.0


class Page:
    """A reader that serves metrics, its store, and a scraper."""

    def __init__(self, folder: Path) -> None:
        self.port = next(free_ports(1))
        self.store = GrowingStore(folder / "data" / "chain")
        # Before [peers]: the reader's configuration of the tests ends with it.
        self.reader = ReaderProcess(folder, extra_config=f'[metrics]\nlisten = "127.0.0.1:{self.port}"\n')

    def get(self, path: str = "/metrics", method: str = "GET") -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=WAIT_S) as answer:  # noqa: S310  our own port
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def value(self, sample: str) -> str | None:
        for line in self.get()[1].splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return value
        return None

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    page = Page(tmp_path_factory.mktemp("court"))
    yield page
    assert page.reader.stop() == 0
    page.store.close()


def test_page_says_what_the_store_and_the_node_say(page: Page) -> None:
    assert page.value("stretto_consensus_running") == "0.0", "no node process yet"
    with SubmitServer(socket=page.reader.folder / "submit.sock", rosters=Rosters(GENESIS), intake=HeldIntake()):
        deadline = time.monotonic() + WAIT_S
        while page.value("stretto_view") != "7.0" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert page.value("stretto_view") == "7.0", "of the stand-in for the loop"
    assert float(page.value("stretto_store_bytes") or 0) > 0


def test_only_the_one_page_is_there_and_only_to_be_read(page: Page) -> None:
    assert page.get("/")[0] == 404
    assert page.get("/metrics?debug=1")[0] == 200
    assert page.get(method="POST")[0] == 405
    assert page.get(method="HEAD") == (200, "")


@pytest.mark.parametrize(
    "request_", [b"\r\n\r\n", b"GET\r\n\r\n", b"\xff" * 100 + b"\r\n\r\n", b"GET /metrics\r\n\r\n"]
)
def test_what_is_hardly_a_request_gets_an_answer_and_harms_nobody(page: Page, request_: bytes) -> None:
    with page.connect() as odd:
        odd.sendall(request_)
        assert odd.recv(12).startswith(b"HTTP/1.1 ")
    assert page.get()[0] == 200


def test_head_over_its_bound_is_cut_off(page: Page) -> None:
    with page.connect() as endless:
        try:
            endless.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * (4 * HEAD_BYTES_MAX))
            assert endless.recv(1) == b""
        except ConnectionError:
            pass
    assert page.get()[0] == 200


def test_connections_that_say_nothing_are_bounded_and_end(page: Page) -> None:
    idle = [page.connect() for _ in range(CONNECTIONS_MAX)]
    try:
        over = page.connect()
        assert over.recv(1) == b"", "one too many is closed at once"
        over.close()
        idle[0].setblocking(False)
        with pytest.raises(BlockingIOError):  # those within the bound are given their time
            idle[0].recv(1)
        idle[0].settimeout(WAIT_S)
        assert idle[0].recv(1) == b"", "nobody may stay for ever"
        assert page.get()[0] == 200
    finally:
        for each in idle:
            each.close()


def test_taken_port_costs_the_metrics_only(page: Page, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        store = GrowingStore(tmp_path / "data" / "chain")
        reader = ReaderProcess(tmp_path, extra_config=f'[metrics]\nlisten = "127.0.0.1:{port}"\n')
        reader.process.terminate()
        assert reader.process.wait(10) == 0, "it served, and ended in good order"
        assert f"no metrics at 127.0.0.1:{port}" in reader.output()
        store.close()
