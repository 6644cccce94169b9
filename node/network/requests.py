"""Requests and responses over the SYNC streams: ids, deadlines, and bounds on both sides.

On the wire a SYNC frame is one kind byte, an 8-byte big-endian id (0 for a message), and the body. A request goes out
on the asker's own SYNC stream, its response comes back on the answerer's.
"""

from __future__ import annotations

import logging
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum

import trio

from consensus.errors import MalformedMessage
from node.network.values import (
    SYNC_BODY_BYTES_MAX,
    SYNC_HEAD_BYTES,
    FrameTooLarge,
    NotConnected,
    RequestRefused,
    RequestTimedOut,
    StreamClass,
)

REQUESTS_PER_PEER_MAX = 8
"""Requests in flight to one peer; more wait, within their deadlines."""
RESPONSES_PER_PEER_MAX = 8
"""Requests of one peer answered at once; more are refused as busy (a correct peer never sends more)."""
RESPONSES_MAX = 16
"""Requests answered at once for all peers: at most 16 responses of 4 MiB are in memory."""
BUSY = b"busy"
FAILED = b"could not answer"

logger = logging.getLogger(__name__)

Responder = Callable[[str, bytes], Awaitable[bytes]]
"""(member_id, request) -> response, at most SYNC_BODY_BYTES_MAX bytes and not empty."""
SendSync = Callable[[str, bytes, trio.Event | None], bool]
"""(member_id, SYNC frame body, taken) -> whether its outbox took it."""


class SyncKind(IntEnum):
    MESSAGE = 0
    REQUEST = 1
    RESPONSE = 2
    REFUSAL = 3


_HEAD = struct.Struct(">BQ")
assert _HEAD.size == SYNC_HEAD_BYTES, "SYNC_BODY_BYTES_MAX is computed from the head"


def encode_sync(kind: SyncKind, request_id: int, body: bytes) -> bytes:
    return _HEAD.pack(kind, request_id) + body


def parse_sync(frame: bytes) -> tuple[SyncKind, int, bytes]:
    """Raises: MalformedMessage on an unknown kind, an id that does not fit the kind, or an empty body."""
    if len(frame) <= _HEAD.size:
        raise MalformedMessage("sync frame", "body", f"at least 1 byte after the head, got {len(frame)} in all")
    kind, request_id = _HEAD.unpack_from(frame)
    try:
        parsed = SyncKind(kind)
    except ValueError:
        raise MalformedMessage("sync frame", "kind", f"0 to 3, got {kind}") from None
    if (request_id == 0) != (parsed is SyncKind.MESSAGE):
        raise MalformedMessage("sync frame", "id", f"0 for a message only, got {request_id} for {parsed.name}")
    return parsed, request_id, frame[_HEAD.size :]


@dataclass(slots=True)
class _Pending:
    member_id: str
    done: trio.Event
    kind: SyncKind | None = None
    body: bytes = b""


class Requests:
    """Both ends. `receive` is called for every SYNC frame that is not a message."""

    def __init__(self, send: SendSync) -> None:
        self._send = send
        self._responder: Responder | None = None
        self._last_id = 0
        self._pending: dict[int, _Pending] = {}
        self._asking: dict[str, trio.Semaphore] = {}
        self._answering: Counter[str] = Counter()

    def set_responder(self, responder: Responder) -> None:
        self._responder = responder

    async def ask(self, member_id: str, body: bytes, timeout_s: float) -> bytes:
        """Raises: FrameTooLarge; NotConnected, RequestTimedOut, RequestRefused (all Unanswered)."""
        if not 1 <= len(body) <= SYNC_BODY_BYTES_MAX:
            raise FrameTooLarge(StreamClass.SYNC, len(body), SYNC_BODY_BYTES_MAX)
        slots = self._asking.setdefault(member_id, trio.Semaphore(REQUESTS_PER_PEER_MAX))
        try:
            with trio.fail_after(timeout_s):
                async with slots:
                    return await self._ask(member_id, body)
        except trio.TooSlowError:
            raise RequestTimedOut(member_id, timeout_s) from None

    async def _ask(self, member_id: str, body: bytes) -> bytes:
        self._last_id += 1
        request_id = self._last_id
        pending = _Pending(member_id, trio.Event())
        self._pending[request_id] = pending
        try:
            if not self._send(member_id, encode_sync(SyncKind.REQUEST, request_id, body), None):
                raise NotConnected(member_id)
            await pending.done.wait()
        finally:
            del self._pending[request_id]
        if pending.kind is SyncKind.RESPONSE:
            return pending.body
        if pending.kind is SyncKind.REFUSAL:
            raise RequestRefused(member_id, pending.body[:64].decode("ascii", "replace"))
        raise NotConnected(member_id)

    def lost(self, member_id: str) -> None:
        """The connection or our SYNC stream to the member broke: nothing in flight will be answered."""
        for pending in self._pending.values():
            if pending.member_id == member_id:
                pending.done.set()

    def receive(self, member_id: str, kind: SyncKind, request_id: int, body: bytes, nursery: trio.Nursery) -> None:
        """Takes a request (answered in `nursery`), a response or a refusal from a member."""
        if kind is SyncKind.REQUEST:
            if self._answering[member_id] >= RESPONSES_PER_PEER_MAX or self._answering.total() >= RESPONSES_MAX:
                self._send(member_id, encode_sync(SyncKind.REFUSAL, request_id, BUSY), None)
                return
            self._answering[member_id] += 1
            nursery.start_soon(self._answer, member_id, request_id, body)
            return
        pending = self._pending.get(request_id)
        # A late answer, or one from a peer that was not asked, is nobody's: ids are ours and per member.
        if pending is not None and pending.member_id == member_id and not pending.done.is_set():
            pending.kind = kind
            pending.body = body
            pending.done.set()

    async def _answer(self, member_id: str, request_id: int, body: bytes) -> None:
        try:
            kind, response = SyncKind.REFUSAL, FAILED
            if self._responder is not None:
                try:
                    response = await self._responder(member_id, body)
                    if not 1 <= len(response) <= SYNC_BODY_BYTES_MAX:
                        raise FrameTooLarge(StreamClass.SYNC, len(response), SYNC_BODY_BYTES_MAX)  # noqa: TRY301
                    kind = SyncKind.RESPONSE
                except Exception:  # a request must not be able to end the process, whatever it finds in us
                    logger.exception("could not answer a request of %s", member_id)
                    kind, response = SyncKind.REFUSAL, FAILED
            taken = trio.Event()
            if self._send(member_id, encode_sync(kind, request_id, response), taken):
                # The slot is held until the response has left: what is queued counts as being answered.
                await taken.wait()
        finally:
            self._answering[member_id] -= 1
            if not self._answering[member_id]:
                del self._answering[member_id]
