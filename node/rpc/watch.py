"""WatchStatements: the log from any index on, then what becomes final, at the pace of the one who reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from google.protobuf.message import Message

from node.rpc.calls import Call, Turnstile
from node.rpc.derived import leaf_to_wire
from node.rpc.tail import LogTail
from node.store.reader import ReadSnapshot, StoreReader
from protos import stretto_pb2 as pb

SUBSCRIPTIONS_MAX: Final = 256
SUBSCRIPTIONS_PER_CLIENT_MAX: Final = 32
BATCH_STATEMENTS: Final = 64
BATCH_BYTES: Final = 2**20
"""Read from one snapshot before anything is sent; a snapshot is never held while a subscriber takes its time."""


class WatchService:
    """Any number of subscribers up to the bounds; each is resumable by index, none can delay another or the node."""

    def __init__(self, store: StoreReader, tail: LogTail) -> None:
        self._store = store
        self._tail = tail
        self._turnstile = Turnstile("subscriptions", SUBSCRIPTIONS_MAX, SUBSCRIPTIONS_PER_CLIENT_MAX)

    async def watch_statements(self, request: pb.WatchStatementsRequest, call: Call) -> AsyncIterator[Message]:
        """Raises: TooManyCalls. An index beyond the log is no error: a client may know more than this node does yet."""
        with self._turnstile.pass_through(call.client):
            index = request.from_index
            while True:
                batch, following = self._read(index, derived=request.derived)
                for message in batch:
                    yield message
                if following == index:
                    wanted = index
                    await self._tail.until(lambda state: state.size > wanted)  # noqa: B023  awaited before it changes
                index = following

    def _read(self, index: int, *, derived: bool) -> tuple[list[pb.WatchStatementsResponse], int]:
        """Entries from `index` on, as many as one batch holds, and where the next batch begins; no earlier than here.

        derived: whether leaves that follow from statements are sent too; else they are passed over.
        """
        batch: list[pb.WatchStatementsResponse] = []
        size = 0
        with self._store.snapshot() as snapshot:
            while len(batch) < BATCH_STATEMENTS and size < BATCH_BYTES:
                if index >= snapshot.size:
                    break
                if not derived:
                    index = snapshot.statement_from(index)
                    if index == snapshot.size:
                        break
                message = _message(snapshot, index)
                batch.append(message)
                size += message.ByteSize()
                index += 1
        return batch, index


def _message(snapshot: ReadSnapshot, index: int) -> pb.WatchStatementsResponse:
    entry = snapshot.entry(index)
    if entry is not None:
        return pb.WatchStatementsResponse(
            index=entry.index,
            statement_digest=entry.digest,
            statement=entry.raw,
            height=entry.height,
            block_time_ms=entry.block_time_ms,
        )
    leaf = snapshot.derived(index)
    assert leaf is not None, "every index below a snapshot's size has its entry"
    return pb.WatchStatementsResponse(
        index=leaf.index, height=leaf.height, block_time_ms=leaf.block_time_ms, leaf=leaf_to_wire(leaf)
    )
