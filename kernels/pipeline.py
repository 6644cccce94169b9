"""Hashes many sources on GPUs and the CPU at once, and gives every digest whatever happens to the GPUs.

One thread packs batches into page-locked buffers (a pool reads), starts them, and collects the oldest: while one batch
is copied and hashed, the next is read. Batches that are not worth it, and all that a GPU fails at, go to the CPU.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Final, Protocol, TypeVar

from blake3 import blake3

from kernels.devices import DeviceError
from kernels.sources import Source, SourceError, digest_on_cpu
from kernels.subtrees import CHUNK_BYTES, Piece, cut, join

CPU: Final = "cpu"
SAMPLE_SHARE: Final = 1 / 32
"""Of the bytes that GPUs hash, so many are hashed again by the CPU and compared."""
SAMPLE_BYTES_MIN: Final = 1 << 20
"""Of each batch, where it has messages so small."""
SAMPLE_MESSAGES_MAX: Final = 4096
CPU_BATCH_BYTES: Final = 64 << 20
MESSAGES_MAX: Final = 16_384
"""Of a batch: also bounds the results that wait for an older one."""
TREE_BYTES: Final = 8 << 20
"""A message from here on is worth several threads of the CPU."""
UNTIL_CALIBRATED: Final = "It is disabled until `stretto gpu calibrate` passes again"

Item = TypeVar("Item")


class Device(Protocol):
    """What is needed of a GPU; `kernels.cuda.CudaDevice` is one."""

    batch_bytes: int

    def buffer(self, slot: int) -> memoryview: ...

    def submit(
        self, slot: int, sizes: Sequence[int], *, counters: Sequence[int] | None = None,
        whole: Sequence[bool] | None = None,
    ) -> None: ...  # fmt: skip

    def digests(self, slot: int) -> list[bytes]: ...

    def close(self) -> None: ...


class Lent:
    """A device that a pipeline may use, but not close."""

    def __init__(self, device: Device) -> None:
        self.batch_bytes = device.batch_bytes
        self.buffer, self.submit, self.digests = device.buffer, device.submit, device.digests

    def close(self) -> None: ...


@dataclass(slots=True, eq=False, kw_only=True)
class Gpu:
    """A device that takes part. uuid: its name in results."""

    device: Device
    uuid: str
    slots: int = 2
    is_out: bool = False
    """It failed or gave a wrong digest: nothing it still owes is believed."""
    batches: int = 0
    """Accepted so far."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """The result for one source."""

    index: int
    """Position among the sources, from 0."""
    digest: bytes | None
    """32 bytes; None where the source could not be read."""
    backend: str
    """CPU, or the GPU's UUID."""
    error: SourceError | None = None


@dataclass(slots=True, eq=False)
class _Message:
    index: int
    source: Source
    result: Hashed | None = None
    error: SourceError | None = None
    values: list[bytes | None] = field(default_factory=list)
    """Of its pieces, where it has several."""
    hashed_by: list[Gpu] = field(default_factory=list)
    check: blake3 | None = None
    """Hashes the pieces once more, where this message is in the sample."""

    def finish(self, digest: bytes | None, backend: str) -> None:
        self.result = Hashed(self.index, None if self.error else digest, backend, self.error)


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of a message in a batch. number: among the message's pieces. at: in the packed buffer."""

    message: _Message
    piece: Piece
    number: int
    at: int


@dataclass(frozen=True, slots=True)
class _Work:
    gpu: Gpu
    slot: int
    parts: Sequence[_Part]


class Pipeline:
    """For one thread, and one `hash` at a time. The CPU's threads live until `close`."""

    def __init__(
        self, gpus: Sequence[Gpu] = (), *, threads: int, crossover_bytes: int = 0, batch_bytes: int | None = None,
        sample_share: float = SAMPLE_SHARE, say: Callable[[str], None] = lambda _: None,
        distrust: Callable[[str, str], None] = lambda _uuid, _reason: None,
    ) -> None:  # fmt: skip
        """threads: the CPU's, at least 1. crossover_bytes: smaller batches are the CPU's. batch_bytes: fewer than the
        devices can hold. say: told in a line when a GPU is given up. distrust: told its UUID and the reason when it
        gave a wrong digest."""
        self._gpus = list(gpus)
        self._all = tuple(gpus)
        self._threads = threads
        self._crossover = crossover_bytes
        self._batch_bytes = batch_bytes
        self._sample_share = sample_share
        self._say, self._distrust = say, distrust
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="hash") if threads > 1 else None
        self._random = random.Random()  # noqa: S311  seeded by the system; a GPU does not guess
        self._under_way: deque[_Work] = deque()
        self._pending: deque[_Message] = deque()
        self.bytes_by: Counter[str] = Counter()
        self.messages_by: Counter[str] = Counter()
        self.compared = 0
        """Digests of GPUs that the CPU made too."""
        self.events: list[str] = []

    @property
    def gpus(self) -> tuple[str, ...]:
        """UUIDs of those that still take part."""
        return tuple(gpu.uuid for gpu in self._gpus)

    def close(self) -> None:
        for gpu in self._all:
            gpu.device.close()
        if self._pool is not None:
            self._pool.shutdown()

    def hash(self, sources: Iterable[Source]) -> Generator[Hashed, None, None]:
        """One result for each source, in their order."""
        batch: list[_Message] = []
        filled = 0
        try:
            for index, source in zip(count(), sources, strict=False):
                message = _Message(index, source)
                self._pending.append(message)
                room = packed(source.size)
                if batch and (filled + room > self._limit or len(batch) >= MESSAGES_MAX):
                    self._hash_batch(batch, filled)
                    batch, filled = [], 0
                if self._gpus and room > self._limit:
                    self._hash_large(message)
                else:
                    batch.append(message)
                    filled += room
                yield from self._finished()
            self._hash_batch(batch, filled)
            while self._under_way:
                self._collect()
                yield from self._finished()
            yield from self._finished()
        finally:
            while self._under_way:  # whoever stopped listening leaves no slot in use
                self._collect()
            self._pending.clear()

    # ---- what goes where ---------------------------------------------------------------------------------------------

    @property
    def _limit(self) -> int:
        held = min((gpu.device.batch_bytes for gpu in self._gpus), default=CPU_BATCH_BYTES)
        return min(held, self._batch_bytes or held)

    def _finished(self) -> Iterator[Hashed]:
        while self._pending and (result := self._pending[0].result) is not None:
            message = self._pending.popleft()
            self.messages_by[result.backend] += 1
            self.bytes_by[result.backend] += message.source.size
            yield result

    def _hash_batch(self, messages: Sequence[_Message], filled: int) -> None:
        if not messages:
            return
        work = self._free_slot() if filled >= self._crossover else None
        if work is None or filled > len(work[0].device.buffer(work[1])):
            self._hash_on_cpu(messages)
            return
        parts, at = [], 0
        for message in messages:
            parts.append(_Part(message, Piece(offset=0, size=message.source.size, whole=True), 0, at))
            at += packed(message.source.size)
        self._start(_Work(*work, parts))

    def _hash_large(self, message: _Message) -> None:
        """A message that no batch holds goes in pieces, one a batch."""
        pieces = list(cut(message.source.size, self._limit))
        message.values = [None] * len(pieces)
        if not any(gpu.batches for gpu in self._gpus) or self._random.random() < self._sample_share:
            message.check = blake3(max_threads=self._threads)
        for number, piece in enumerate(pieces):
            if message.error is not None:
                message.finish(None, CPU)
            if message.result is not None:
                return
            slot = self._free_slot()
            if slot is None or piece.size > len(slot[0].device.buffer(slot[1])):
                self._hash_on_cpu([message])
                return
            self._start(_Work(*slot, [_Part(message, piece, number, 0)]))

    def _hash_on_cpu(self, messages: Sequence[_Message]) -> None:
        large = [m for m in messages if m.source.size >= TREE_BYTES]
        small = [m for m in messages if m.source.size < TREE_BYTES]
        for message in large:
            self._finish_on_cpu(message, self._threads)
        self._each(self._finish_on_cpu, small)

    @staticmethod
    def _finish_on_cpu(message: _Message, threads: int = 1) -> None:
        message.error = None
        try:
            message.finish(digest_on_cpu(message.source, threads=threads), CPU)
        except SourceError as error:
            message.error = error
            message.finish(None, CPU)

    def _each(self, work: Callable[[Item], None], items: Sequence[Item]) -> None:
        """`work` for every item, on all threads; in shares, since a task has its price."""
        if self._pool is None or len(items) < 2:
            for item in items:
                work(item)
            return
        shares = min(len(items), 4 * self._threads)

        def some(first: int) -> None:
            for item in items[first::shares]:
                work(item)

        for _ in self._pool.map(some, range(shares)):
            pass

    # ---- batches on GPUs ---------------------------------------------------------------------------------------------

    def _free_slot(self) -> tuple[Gpu, int] | None:
        """Of the GPU with the fewest batches under way; waits for the oldest where all are busy. None: no GPU left."""
        while self._gpus:
            busy = {(id(work.gpu), work.slot) for work in self._under_way}
            free = [(g, s) for g in self._gpus for s in range(g.slots) if (id(g), s) not in busy]
            if free:
                return min(free, key=lambda found: sum(key == id(found[0]) for key, _ in busy))
            self._collect()
        return None

    def _start(self, work: _Work) -> None:
        buffer = work.gpu.device.buffer(work.slot)

        def fill(part: _Part) -> None:
            try:
                part.message.source.read_into(part.piece.offset, buffer[part.at : part.at + part.piece.size])
            except SourceError as error:
                part.message.error = error

        self._each(fill, work.parts)
        for part in work.parts:
            if part.message.check is not None:
                part.message.check.update(buffer[part.at : part.at + part.piece.size])
        try:
            work.gpu.device.submit(
                work.slot, [p.piece.size for p in work.parts],
                counters=[p.piece.offset // CHUNK_BYTES for p in work.parts],
                whole=[p.piece.whole for p in work.parts],
            )  # fmt: skip
        except DeviceError as error:
            self._give_up(work.gpu, error.reason)
            self._from_buffer(work)
        else:
            self._under_way.append(work)

    def _collect(self) -> None:
        """Waits for the oldest batch."""
        work = self._under_way.popleft()
        if not work.gpu.is_out:
            try:
                digests = work.gpu.device.digests(work.slot)
            except DeviceError as error:
                self._give_up(work.gpu, error.reason)
            else:
                if self._accept(work, digests):
                    return
        self._from_buffer(work)

    def _accept(self, work: _Work, digests: Sequence[bytes]) -> bool:
        """Whether the batch is believed: what the CPU made again of it is equal."""
        buffer = work.gpu.device.buffer(work.slot)
        for i in self._sample(work):
            part = work.parts[i]
            due = blake3(buffer[part.at : part.at + part.piece.size], max_threads=self._threads).digest()
            if not self._agrees([work.gpu], digests[i], due):
                return False
        for part, digest in zip(work.parts, digests, strict=True):
            if part.piece.whole:
                part.message.finish(digest, work.gpu.uuid)
            elif part.message.result is None and not self._add(part, digest, work.gpu):
                return False
        work.gpu.batches += 1
        return True

    def _add(self, part: _Part, value: bytes, gpu: Gpu) -> bool:
        """A piece's value to its message, which is complete with the last one."""
        message = part.message
        message.values[part.number] = value
        if gpu not in message.hashed_by:
            message.hashed_by.append(gpu)
        values = [v for v in message.values if v is not None]
        if len(values) < len(message.values):
            return True
        digest = join(values)
        if message.check is not None and not self._agrees(message.hashed_by, digest, message.check.digest()):
            return False
        message.finish(digest, gpu.uuid)
        return True

    def _agrees(self, gpus: Sequence[Gpu], digest: bytes, due: bytes) -> bool:
        """gpus: whose digest it is. If it is wrong, none of them is believed any more."""
        self.compared += 1
        if digest == due:
            return True
        reason = f"it gave {digest.hex()[:16]}… where the CPU gives {due.hex()[:16]}…"
        for gpu in gpus:
            self._distrust(gpu.uuid, reason)
            self._give_up(gpu, f"WRONG DIGEST: {reason}. {UNTIL_CALIBRATED}")
        return False

    def _sample(self, work: _Work) -> list[int]:
        """Positions of whole messages to hash again: `sample_share` of the bytes or so; of a GPU's first batch, one."""
        whole = [i for i, part in enumerate(work.parts) if part.piece.whole and part.message.error is None]
        budget = max(self._sample_share * sum(work.parts[i].piece.size for i in whole), SAMPLE_BYTES_MIN)
        chosen: list[int] = []
        for i in self._random.sample(whole, min(len(whole), SAMPLE_MESSAGES_MAX)):
            size = work.parts[i].piece.size
            is_first = work.gpu.batches == 0 and not chosen
            if size <= budget or is_first or self._random.random() < budget / size:
                chosen.append(i)
                budget -= size
            if budget <= 0:
                break
        return chosen

    def _give_up(self, gpu: Gpu, reason: str) -> None:
        if gpu.is_out:
            return
        gpu.is_out = True
        self._gpus.remove(gpu)
        rest = "the other GPUs go on" if self._gpus else "the CPU goes on"
        line = f"{gpu.uuid}: {reason}; {rest}, and no digest is lost"
        self.events.append(line)
        self._say(line)

    def _from_buffer(self, work: _Work) -> None:
        """The batch's digests from the CPU: its bytes are still in host memory. What went in pieces is read again."""
        buffer = work.gpu.device.buffer(work.slot)

        def whole(part: _Part) -> None:
            part.message.finish(blake3(buffer[part.at : part.at + part.piece.size]).digest(), CPU)

        self._each(whole, [part for part in work.parts if part.piece.whole])
        for part in work.parts:
            if not part.piece.whole and part.message.result is None:
                self._hash_on_cpu([part.message])


def packed(size: int) -> int:
    """Bytes that a message takes in a batch: a multiple of 64."""
    return -(-size // 64) * 64
