"""WatchStatements: the log from any index on, then what becomes final, at the pace of the one who reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from google.protobuf.message import Message

from node.rpc.calls import Call, Turnstile
from node.rpc.tail import LogTail
from node.store.reader import StoreReader
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
                batch = self._read(index)
                for message in batch:
                    yield message
                index += len(batch)
                if not batch:
                    wanted = index
                    await self._tail.until(lambda state: state.size > wanted)  # noqa: B023  awaited before it changes

    def _read(self, index: int) -> list[pb.WatchStatementsResponse]:
        """Entries from `index` on, as many as one batch holds; none where the log ends before."""
        batch: list[pb.WatchStatementsResponse] = []
        size = 0
        with self._store.snapshot() as snapshot:
            while index < snapshot.size and len(batch) < BATCH_STATEMENTS and size < BATCH_BYTES:
                entry = snapshot.entry(index)
                assert entry is not None, "every index below a snapshot's size has its entry"
                batch.append(
                    pb.WatchStatementsResponse(
                        index=entry.index,
                        statement_digest=entry.digest,
                        statement=entry.raw,
                        height=entry.height,
                        block_time_ms=entry.block_time_ms,
                    )
                )
                size += len(entry.raw)
                index += 1
        return batch
