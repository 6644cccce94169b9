"""Endpoints that behave as strangers' machines do: honest, dead, slow, limited, lying, lagging, of another chain."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Raw:
    """An HTTP answer as it is. drip_s: pause before each byte of the body. hold_s: pause before anything."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    drip_s: float = 0.0
    hold_s: float = 0.0
    chunks: int = 1
    """The body so many times, without a length said before."""


class Failing(Exception):
    """Answered as a JSON-RPC error: code, message, data."""


Answer = Callable[[str, list[Any]], Any]
"""Method and parameters -> result, or Raw; raises Failing."""


class Server:
    """Answers each request with `answer`, which tests may replace."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: Counter[str] = Counter()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.asked[request["method"]] += 1
                try:
                    found = outer.answer(request["method"], request["params"])
                    body: dict[str, Any] = {"result": found}
                except Failing as failing:
                    code, message, data = failing.args
                    found, body = None, {"error": {"code": code, "message": message, "data": data}}
                if isinstance(found, Raw):
                    self._raw(found)
                else:
                    self._send(json.dumps({"jsonrpc": "2.0", "id": request["id"], **body}).encode())

            def _send(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _raw(self, raw: Raw) -> None:
                self.close_connection = True
                time.sleep(raw.hold_s)
                if not raw.status:
                    return
                try:
                    self.send_response(raw.status)
                    for name, value in raw.headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    for _ in range(raw.chunks):
                        if not raw.drip_s:
                            self.wfile.write(raw.body)
                            continue
                        for byte in raw.body:
                            time.sleep(raw.drip_s)
                            self.wfile.write(bytes([byte]))
                except OSError:
                    return

            def log_message(self, *_: object) -> None:
                return

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                return

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


LIE = "lie"
LAG = "lag"
SWALLOW = "swallow"
DEAD = "dead"
SLOW = "slow"
LIMITED = "limited"
MODES = (LIE, LAG, SWALLOW, DEAD, SLOW, LIMITED)
LAG_BLOCKS = 12


class Proxy(Server):
    """In front of a real node. mode: how it is faulty, or None. May be changed at any time."""

    def __init__(self, upstream: str, mode: str | None = None) -> None:
        super().__init__(self._proxied)
        self._upstream = upstream
        self.mode = mode
        self._old: dict[str, Any] = {}

    def _ask(self, method: str, params: list[Any]) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self._upstream, body, {"content-type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            answer = json.load(response)
        if "error" in answer:
            error = answer["error"]
            raise Failing(error["code"], error["message"], error.get("data"))
        return answer["result"]

    def _proxied(self, method: str, params: list[Any]) -> Any:  # noqa: PLR0911  one a mode
        mode = self.mode
        if mode == DEAD:
            return Raw(status=0)
        if mode == SLOW:
            return Raw(hold_s=3.0)
        if mode == LIMITED:
            return Raw(status=429, headers={"retry-after": "1", "content-length": "0"})
        if mode == SWALLOW and method == "eth_sendRawTransaction":
            return "0x" + "00" * 32
        if mode == LAG and method != "eth_chainId":
            return self._lagging(method, params)
        found = self._ask(method, params)
        if mode == LIE:
            return self._lie(method, params, found)
        if mode is None and method == "eth_call":
            self._old.setdefault(params[0]["data"], found)  # what a liar will say: how it was first
        return found

    def _lagging(self, method: str, params: list[Any]) -> Any:
        head = max(0, int(self._ask("eth_blockNumber", []), 16) - LAG_BLOCKS)
        if method == "eth_blockNumber":
            return hex(head)
        changed = [hex(head) if each in ("latest", "pending") else each for each in params]
        for each in changed:
            if isinstance(each, str) and each.startswith("0x") and len(each) < 18 and int(each, 16) > head:
                raise Failing(-32000, "header not found", None)
        if method == "eth_getTransactionReceipt":
            found = self._ask(method, params)
            return None if found is None or int(found["blockNumber"], 16) > head else found
        return self._ask(method, changed)

    def _lie(self, method: str, params: list[Any], found: Any) -> Any:
        """The contract never changes, nothing is mined, everything is accepted, the nonce is one too high."""
        if method == "eth_call":
            return self._old.get(params[0]["data"], found)
        if method == "eth_getTransactionReceipt":
            return None
        if method == "eth_getTransactionCount":
            return hex(int(found, 16) + 1)
        if method == "eth_getBalance":
            return "0x" + "f" * 20
        return found
