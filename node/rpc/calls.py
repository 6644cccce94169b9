"""What every call has in common: decoding, the deadline, one place where errors become statuses, and admission.

Handlers are registered with raw bytes and decode here, so that a malformed message gets our status, not gRPC's.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status

from consensus.errors import RequestError
from node.rpc.errors import DeadlinePassed, MalformedRequest, NotReadyYet, TooManyCalls, internal_status, status_of
from node.rpc.server import STOP_SECONDS
from node.store.errors import StoreNotReady

SERVICE: Final = "stretto.v1.Stretto"
UNARY_SECONDS_MAX: Final = 60.0
"""Longest a unary call may take, whatever deadline the caller gave, or none."""
ANSWER_MARGIN_S: Final = 0.1
"""An answer that says "too late" must itself arrive in time: it is given this much before the caller's deadline."""
RETRY_CALLS_MS: Final = 1000
STOP_MARGIN_S: Final = 0.5
"""Calls that do not end by themselves when a server stops have this long to say so to their callers."""

if TYPE_CHECKING:  # generic only in their stubs
    Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]
    Handler: TypeAlias = grpc.RpcMethodHandler[bytes, bytes]
else:
    Context = grpc.aio.ServicerContext
    Handler = grpc.RpcMethodHandler

_Request = TypeVar("_Request", bound=Message)

_log = logging.getLogger(__name__)

_in_progress: WeakKeyDictionary[asyncio.AbstractEventLoop, set[asyncio.Timeout]] = WeakKeyDictionary()
"""Calls by the event loop that serves them: what `stop` ends."""


class Call:
    """One call in progress: who asks, and until when an answer is of use."""

    def __init__(self, context: Context, seconds_max: float | None) -> None:
        given = context.time_remaining()
        margin = ANSWER_MARGIN_S if given is None else min(ANSWER_MARGIN_S, given / 5)
        limits = [s for s in (None if given is None else given - margin, seconds_max) if s is not None]
        self.seconds = max(min(limits), 0.0) if limits else None
        """Time this call has from now; None for a stream without a deadline."""
        self.grace_s = margin / 2
        """A method that keeps `seconds` itself, to say more than "too late", has this long to say it."""
        self._until = None if self.seconds is None else time.monotonic() + self.seconds
        self.client = client_of(context)

    def remaining_s(self) -> float | None:
        return None if self._until is None else max(self._until - time.monotonic(), 0.0)


def client_of(context: Context) -> str:
    """Who is asking: the name in the client's certificate under mTLS, else the address without its port."""
    names = context.auth_context().get("x509_common_name", ())
    if names:
        return bytes(next(iter(names))).decode(errors="replace")
    return context.peer().rpartition(":")[0]


def decode(kind: type[_Request], data: bytes) -> _Request:
    """Raises: MalformedRequest."""
    try:
        return kind.FromString(data)
    except DecodeError:
        name = kind.DESCRIPTOR.full_name
        raise MalformedRequest("request", f"{len(data)} bytes", f"a {name} message") from None


async def abort(context: Context, error: RequestError) -> None:
    """Ends the call with the status of `error`; does not return."""
    status = rpc_status.to_status(status_of(error))
    await context.abort(status.code, status.details, status.trailing_metadata)


async def stop(server: grpc.aio.Server) -> None:
    """Ends a server of this event loop: calls in progress have STOP_SECONDS, and before that is over are told why.

    gRPC itself would cancel them without a word, and log a traceback for each.
    """
    stopping = asyncio.create_task(server.stop(STOP_SECONDS))
    await asyncio.wait({stopping}, timeout=STOP_SECONDS - STOP_MARGIN_S)
    for scope in _in_progress.pop(asyncio.get_running_loop(), set()).copy():
        scope.reschedule(0.0)
    await stopping


@asynccontextmanager
async def answering(method: str, context: Context) -> AsyncIterator[None]:
    """The one place where an error becomes a status. RequestErrors are told; anything else is logged, not told."""
    in_progress = _in_progress.setdefault(asyncio.get_running_loop(), set())
    try:
        async with asyncio.timeout(None) as scope:
            in_progress.add(scope)
            try:
                yield
            finally:
                in_progress.discard(scope)
    except RequestError as error:
        await abort(context, error)
    except TimeoutError:
        if not scope.expired():
            raise
        await abort(context, NotReadyYet("node", "stopping", "a node that runs", RETRY_CALLS_MS))
    except StoreNotReady:
        await abort(context, NotReadyYet("store", "not made yet", "a node that has started once", RETRY_CALLS_MS))
    except grpc.aio.AbortError:
        raise
    except Exception:  # noqa: BLE001  the top of every call: logged in full, told without internals
        reference = secrets.token_hex(4)
        _log.exception("%s failed, reference %s", method, reference)
        status = rpc_status.to_status(internal_status(reference))
        await context.abort(status.code, status.details, status.trailing_metadata)


def unary(method: str, kind: type[_Request], behaviour: Callable[[_Request, Call], Awaitable[Message]]) -> Handler:
    """A unary method: one request of `kind` in, one message out, within the deadline or UNARY_SECONDS_MAX."""

    async def handle(data: bytes, context: Context) -> bytes:
        async with answering(method, context):
            call = Call(context, UNARY_SECONDS_MAX)
            assert call.seconds is not None, "a unary call always has a cap"
            try:
                async with asyncio.timeout(call.seconds + call.grace_s):
                    return (await behaviour(decode(kind, data), call)).SerializeToString()
            except TimeoutError:
                raise DeadlinePassed(method, call.seconds) from None
        raise AssertionError("answering() always aborts the call where it swallows an error")

    return grpc.unary_unary_rpc_method_handler(handle)


def server_stream(
    method: str,
    kind: type[_Request],
    behaviour: Callable[[_Request, Call], AsyncIterator[Message]],
    seconds_max: float | None = None,
) -> Handler:
    """One request in, a stream of messages out; each is written before the next is asked for (back-pressure).

    seconds_max: what `behaviour` sees as its deadline where the caller gives none or a longer one.
    """

    async def handle(data: bytes, context: Context) -> None:
        async with answering(method, context):
            async for message in behaviour(decode(kind, data), Call(context, seconds_max)):
                await context.write(message.SerializeToString())

    return grpc.unary_stream_rpc_method_handler(handle)


def client_stream(
    method: str, kind: type[_Request], behaviour: Callable[[AsyncIterator[_Request], Call], Awaitable[Message]]
) -> Handler:
    """A stream of messages in, one out, within the deadline or UNARY_SECONDS_MAX."""

    async def handle(requests: AsyncIterator[bytes], context: Context) -> bytes:
        async with answering(method, context):
            call = Call(context, UNARY_SECONDS_MAX)
            assert call.seconds is not None, "it always has a cap"
            try:
                async with asyncio.timeout(call.seconds):
                    answer = await behaviour((decode(kind, data) async for data in requests), call)
            except TimeoutError:
                raise DeadlinePassed(method, call.seconds) from None
            return answer.SerializeToString()
        raise AssertionError("answering() always aborts the call where it swallows an error")

    return grpc.stream_unary_rpc_method_handler(handle)


class Turnstile:
    """How many calls of one kind may run at once, in all and for one client. One event loop owns it."""

    def __init__(self, name: str, calls_max: int, calls_per_client_max: int) -> None:
        self.name = name
        self.calls_max = calls_max
        self.calls_per_client_max = calls_per_client_max
        self._by_client: Counter[str] = Counter()

    @contextmanager
    def pass_through(self, client: str) -> Iterator[None]:
        """Raises: TooManyCalls."""
        if self._by_client[client] >= self.calls_per_client_max:
            held, bound = self._by_client[client], f"at most {self.calls_per_client_max} at once from one client"
            raise TooManyCalls(self.name, f"{held} open", bound, RETRY_CALLS_MS)
        if self._by_client.total() >= self.calls_max:
            raise TooManyCalls(self.name, f"{self.calls_max} open", f"at most {self.calls_max} at once", RETRY_CALLS_MS)
        self._by_client[client] += 1
        try:
            yield
        finally:
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]
