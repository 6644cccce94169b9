"""One JSON-RPC endpoint over HTTP/1.1: every answer bounded in size and time, whatever the server does.

web3.py's own transport reads answers of any size, with no limit for a whole one; endpoints are strangers' machines.
Source: JSON-RPC 2.0; RFC 9110 section 10.2.3 (Retry-After).
"""

from __future__ import annotations

import http.client
import json
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

from bridge.errors import EndpointError, EndpointLimited, EndpointTimeout, MalformedAnswer, RpcError

ANSWER_BYTES_MAX: Final = 4 * 2**20
"""Far above any answer a relayer asks for: blocks come without transactions, logs in bounded ranges."""
TIMEOUT_S: Final = 10.0
RETRY_AFTER_S: Final = 5.0
"""Where an endpoint says "too many" without saying for how long."""
RETRY_AFTER_S_MAX: Final = 600.0
MESSAGE_CHARACTERS_MAX: Final = 200
"""Of a stranger's error text, repeated in ours."""
LIMIT_CODES: Final = frozenset({-32005, 429})
"""JSON-RPC error codes for "limit exceeded". Source: EIP-1474."""

Clock = Callable[[], float]
"""Seconds, monotonic."""


class TokenBucket:
    """At most `rate` requests a second on average, `burst` at once."""

    def __init__(self, rate: float, burst: float, clock: Clock = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._at = burst, clock()

    def take(self) -> float:
        """0 where a token was taken, else the seconds until there is one."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0


def label_of(url: str) -> str:
    """What may be said of an endpoint: host and port. The rest of its URL often holds a key."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "?", parts.port
    except ValueError:
        return "?"  # brackets or a port that are none
    return f"{host}:{port}" if port else host


class Endpoint:
    """Not shared between threads. `ask` is all: it answers, or raises one of the errors below."""

    def __init__(self, url: str, *, label: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(url)
        self.label = label or label_of(url)
        self._timeout_s = timeout_s
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._connection: http.client.HTTPConnection | None = None
        self._id = 0

    def __repr__(self) -> str:
        return f"Endpoint({self.label})"

    def ask(self, method: str, params: Sequence[Any]) -> Any:
        """The result. Raises: EndpointTimeout, EndpointLimited, MalformedAnswer, EndpointError, RpcError."""
        self._id += 1
        body = json.dumps({"jsonrpc": "2.0", "id": self._id, "method": method, "params": list(params)}).encode()
        return result_of(self.label, self._id, *self._post(body))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _post(self, body: bytes) -> tuple[int, str, bytes]:
        """Status, Retry-After, body. A connection that the server closed meanwhile is opened again, once."""
        reused = self._connection is not None
        late = threading.Event()
        try:
            return self._exchange(body, late)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            stale = isinstance(error, http.client.RemoteDisconnected | ConnectionError)
            if not (reused and stale and not late.is_set()):
                raise self._failure(error, late) from error
        try:
            return self._exchange(body, late)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise self._failure(error, late) from error

    def _failure(self, error: Exception, late: threading.Event) -> EndpointError:
        if late.is_set() or isinstance(error, TimeoutError):
            return EndpointTimeout(self.label, f"no whole answer within {self._timeout_s:g} s")
        if isinstance(error, ssl.SSLCertVerificationError):
            return EndpointError(self.label, f"its certificate is not accepted: {error.verify_message}")
        # Never str(error) of what may hold the URL: class and system's words only.
        words = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        return EndpointError(self.label, words)

    def _exchange(self, body: bytes, late: threading.Event) -> tuple[int, str, bytes]:
        deadline = time.monotonic() + self._timeout_s
        connection = self._connection or self._connect()
        self._connection = connection
        assert connection.sock is not None, "connected above"
        sock = connection.sock
        # One watch over the whole exchange: a socket's own timeout starts again with every byte that drips in.
        watch = threading.Timer(max(0.001, deadline - time.monotonic()), self._cut, (sock, late))
        watch.daemon = True
        watch.start()
        try:
            headers = {"content-type": "application/json", "accept": "application/json", "accept-encoding": "identity"}
            connection.request("POST", self._path, body, headers)
            response = connection.getresponse()
            length = response.headers.get("content-length", "")
            if length.isdecimal() and int(length[:20]) > ANSWER_BYTES_MAX:
                raise self._too_large()
            data = response.read(ANSWER_BYTES_MAX + 1)
            if len(data) > ANSWER_BYTES_MAX:
                raise self._too_large()
            if late.is_set():
                raise TimeoutError
            if response.will_close or not response.isclosed():
                self.close()
            return response.status, response.headers.get("retry-after", ""), data
        finally:
            watch.cancel()

    def _too_large(self) -> MalformedAnswer:
        self.close()
        return MalformedAnswer(self.label, f"an answer of more than {ANSWER_BYTES_MAX} bytes")

    def _connect(self) -> http.client.HTTPConnection:
        made: http.client.HTTPConnection
        if self._secure:
            context = ssl.create_default_context()
            made = http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=context)
        else:
            made = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        made.connect()
        return made

    @staticmethod
    def _cut(sock: socket.socket, late: threading.Event) -> None:
        late.set()
        try:
            # Not SSLSocket's own: it takes the session away under the reader's hands.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        except OSError:
            return


def result_of(label: str, id_: int, status: int, retry_after: str, data: bytes) -> Any:
    """What an HTTP answer says. status, retry_after: of HTTP. Raises: EndpointLimited, MalformedAnswer, RpcError."""
    if status == 429:
        raise EndpointLimited(label, retry_after_s(retry_after))
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        if status == 503 and retry_after:
            raise EndpointLimited(label, retry_after_s(retry_after))
        raise MalformedAnswer(label, f"HTTP {status} without a JSON-RPC answer")
    if answer.get("error") is not None:
        raise _error(label, answer["error"], retry_after)
    if answer.get("id") != id_ or "result" not in answer:
        raise MalformedAnswer(label, "an answer to something else")
    return answer["result"]


def _error(label: str, error: Any, retry_after: str) -> EndpointError | RpcError:
    if not isinstance(error, dict):
        return MalformedAnswer(label, "an error that is no object")
    code, message = error.get("code"), error.get("message")
    code = code if isinstance(code, int) and abs(code) < 2**31 else 0
    message = message if isinstance(message, str) else ""
    message = message[:MESSAGE_CHARACTERS_MAX].encode("unicode_escape").decode()
    if code in LIMIT_CODES:
        return EndpointLimited(label, retry_after_s(retry_after))
    return RpcError(label, code, message, _revert_data(error.get("data")))


def retry_after_s(header: str) -> float:
    """Seconds that a Retry-After header asks for, bounded; RETRY_AFTER_S where it says nothing that can be read."""
    text = header.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), RETRY_AFTER_S_MAX)
    try:
        until = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return RETRY_AFTER_S
    return min(max(until, 1.0), RETRY_AFTER_S_MAX) if math.isfinite(until) else RETRY_AFTER_S


def _revert_data(data: Any) -> bytes:
    """What a contract reverted with. Nodes put it into `data` itself or into an object there."""
    if isinstance(data, dict):
        data = data.get("data") or data.get("result")
    if not isinstance(data, str) or len(data) > 20_000:
        return b""
    try:
        return bytes.fromhex(data.removeprefix("Reverted ").removeprefix("0x"))
    except ValueError:
        return b""
