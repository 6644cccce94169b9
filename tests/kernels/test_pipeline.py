"""The pipeline with devices made of Python: what is packed where, what is believed, and what comes from the CPU."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from blake3 import blake3

from kernels.devices import DeviceError
from kernels.pipeline import CPU, Gpu, Hashed, Pipeline, packed
from kernels.sources import READ_BYTES, BytesSource, FileSource, SourceError, digest_on_cpu
from kernels.subtrees import CHUNK_BYTES, IV, chunk_value, join


class ToyDevice:
    """Hashes when asked for digests, as a stream that defers. lies: turns that many of its batches wrong."""

    def __init__(self, batch_bytes: int = 4096, *, fails_at: int = 0, lies_from: int = 0) -> None:
        self.batch_bytes = batch_bytes
        self.buffers = [bytearray(batch_bytes), bytearray(batch_bytes)]
        self.waiting: dict[int, tuple[Sequence[int], Sequence[int], Sequence[bool]]] = {}
        self.batches = 0
        self.fails_at, self.lies_from = fails_at, lies_from
        self.is_closed = False

    def buffer(self, slot: int) -> memoryview:
        return memoryview(self.buffers[slot])

    def submit(
        self, slot: int, sizes: Sequence[int], *, counters: Sequence[int] | None = None,
        whole: Sequence[bool] | None = None,
    ) -> None:  # fmt: skip
        assert slot not in self.waiting, "a slot is filled only while nothing is under way in it"
        assert sum(map(packed, sizes)) <= self.batch_bytes
        assert counters is not None
        assert whole is not None
        self.batches += 1
        if self.fails_at == self.batches:
            raise DeviceError("the toy is broken")
        self.waiting[slot] = (sizes, counters, whole)

    def digests(self, slot: int) -> list[bytes]:
        found, at = [], 0
        sizes, counters, whole = self.waiting.pop(slot)
        for size, counter, is_whole in zip(sizes, counters, whole, strict=True):
            piece = bytes(self.buffers[slot][at : at + size])
            digest = blake3(piece).digest() if is_whole else subtree(piece, counter)
            if self.lies_from and self.batches >= self.lies_from:
                digest = bytes([digest[0] ^ 1]) + digest[1:]
            found.append(digest)
            at += packed(size)
        return found

    def close(self) -> None:
        self.is_closed = True


def subtree(piece: bytes, counter: int) -> bytes:
    values = [
        chunk_value(piece[at : at + CHUNK_BYTES], counter + at // CHUNK_BYTES, IV, 0, 0)
        for at in range(0, len(piece), CHUNK_BYTES)
    ]
    return values[0] if len(values) == 1 else join(values, is_root=False)


def messages(seed: int, count: int = 60, longest: int = 3000) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(rng.randrange(longest)) for _ in range(count)]


def hashed(pipeline: Pipeline, data: Sequence[bytes]) -> list[Hashed]:
    try:
        results = list(pipeline.hash(map(BytesSource, data)))
    finally:
        pipeline.close()
    assert [r.index for r in results] == list(range(len(data)))
    assert [r.digest for r in results] == [blake3(d).digest() for d in data], "whatever happened"
    return results


@pytest.mark.parametrize("threads", [1, 3])
def test_cpu_alone_gives_every_digest_in_order(threads: int) -> None:
    results = hashed(Pipeline(threads=threads), [*messages(1), b"", bytes(9 << 20)])
    assert {r.backend for r in results} == {CPU}


def test_batches_below_the_crossover_are_the_cpus_and_the_others_not() -> None:
    gpu = Gpu(device=ToyDevice(), uuid="toy")
    pipeline = Pipeline([gpu], threads=2, crossover_bytes=3000)
    results = hashed(pipeline, [bytes(2000), bytes(2000), bytes(2000)])
    assert [r.backend for r in results] == ["toy", "toy", CPU]
    assert (pipeline.bytes_by["toy"], pipeline.messages_by[CPU]) == (4000, 1)


def test_a_message_of_several_batches_goes_in_pieces_over_all_devices() -> None:
    toys = [ToyDevice(), ToyDevice(8192)]
    pipeline = Pipeline([Gpu(device=toy, uuid=f"toy {i}") for i, toy in enumerate(toys)], threads=2)
    hashed(pipeline, [bytes(100), random.Random(2).randbytes(50_001), bytes(100)])
    assert all(toy.batches > 2 for toy in toys)
    assert all(toy.is_closed for toy in toys)


@pytest.mark.parametrize("fails_at", [1, 2, 5, 9])
def test_what_a_lost_device_owes_comes_from_the_cpu(fails_at: int) -> None:
    said: list[str] = []
    pipeline = Pipeline([Gpu(device=ToyDevice(fails_at=fails_at), uuid="toy")], threads=2, say=said.append)
    results = hashed(pipeline, [*messages(3), random.Random(4).randbytes(30_000), *messages(5)])
    assert said == ["toy: the toy is broken; the CPU goes on, and no digest is lost"]
    assert results[-1].backend == CPU
    assert ("toy" in {r.backend for r in results}) == (fails_at > 2), "the first two are accepted later"


@pytest.mark.parametrize("lies_from", [1, 2, 8])
def test_a_lie_in_the_sample_is_told_and_not_one_digest_of_the_batch_is_believed(lies_from: int) -> None:
    told: list[tuple[str, str]] = []
    said: list[str] = []
    pipeline = Pipeline(
        [Gpu(device=ToyDevice(lies_from=lies_from), uuid="toy")], threads=1,
        distrust=lambda uuid, reason: told.append((uuid, reason)), say=said.append,
    )  # fmt: skip
    hashed(pipeline, messages(6))
    ((uuid, reason),) = told
    assert uuid == "toy"
    assert "where the CPU gives" in reason
    assert "WRONG DIGEST" in said[0]


def test_a_lie_about_a_message_in_pieces_is_found_and_all_who_hashed_it_are_out() -> None:
    told: list[str] = []
    toys = [ToyDevice(lies_from=1), ToyDevice()]
    pipeline = Pipeline(
        [Gpu(device=toy, uuid=f"toy {i}") for i, toy in enumerate(toys)], threads=1,
        distrust=lambda uuid, _: told.append(uuid),
    )  # fmt: skip
    hashed(pipeline, [random.Random(7).randbytes(40_000)])
    assert sorted(told) == ["toy 0", "toy 1"], "which one lied cannot be told"


def test_about_the_share_of_bytes_is_hashed_again() -> None:
    device = ToyDevice(1 << 23)
    pipeline = Pipeline([Gpu(device=device, uuid="toy")], threads=1, sample_share=0.5)
    hashed(pipeline, [random.Random(8).randbytes(1 << 16)] * 128)
    assert 64 <= pipeline.compared <= 65


def test_a_source_that_cannot_be_read_has_its_error_in_its_place() -> None:
    class Gone(BytesSource):
        def whole(self) -> memoryview | None:
            return None

        def read_into(self, offset: int, into: memoryview) -> None:  # noqa: ARG002  the protocol's
            raise SourceError(f"gone at {offset}")

    for gpus in ([], [Gpu(device=ToyDevice(), uuid="toy")]):
        pipeline = Pipeline(gpus, threads=2)
        sources = [BytesSource(b"a"), Gone(bytes(10)), Gone(bytes(9000)), BytesSource(b"b")]
        results = list(pipeline.hash(sources))
        pipeline.close()
        assert [r.digest for r in results] == [blake3(b"a").digest(), None, None, blake3(b"b").digest()]
        assert [str(r.error) for r in results[1:3]] == ["gone at 0", "gone at 0"]


def test_who_stops_listening_leaves_no_slot_in_use() -> None:
    device = ToyDevice()
    pipeline = Pipeline([Gpu(device=device, uuid="toy")], threads=1)
    results = pipeline.hash(BytesSource(bytes(2000)) for _ in range(100))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert device.waiting == {}
    hashed(pipeline, messages(9))


def test_no_source_is_read_by_two_threads_at_once() -> None:
    class Watched(BytesSource):
        def __init__(self, data: bytes) -> None:
            super().__init__(data)
            self.lock = threading.Lock()

        def whole(self) -> memoryview | None:
            return None

        def read_into(self, offset: int, into: memoryview) -> None:
            assert self.lock.acquire(blocking=False), "two at once"
            super().read_into(offset, into)
            self.lock.release()

    pipeline = Pipeline([Gpu(device=ToyDevice(), uuid="toy")], threads=4)
    data = [*messages(10), random.Random(11).randbytes(30_000)]
    assert [r.digest for r in pipeline.hash(map(Watched, data))] == [blake3(d).digest() for d in data]
    pipeline.close()


# ---- sources ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, READ_BYTES, READ_BYTES + 1, 9 * READ_BYTES + 5])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_file_is_hashed_in_constant_memory(size: int, threads: int, tmp_path: Path) -> None:
    data = random.Random(size).randbytes(size)
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file:
        assert digest_on_cpu(FileSource(file.fileno(), size), threads=threads) == blake3(data).digest()


def test_a_file_that_has_shrunk_or_is_closed_is_a_source_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1000))
    with (tmp_path / "file").open("rb") as file:
        with pytest.raises(SourceError, match="ends at byte 1000, 2000 were there at first"):
            digest_on_cpu(FileSource(file.fileno(), 2000))
        closed = os.dup(file.fileno())
    os.close(closed)
    with pytest.raises(SourceError, match="Bad file descriptor"):
        digest_on_cpu(FileSource(closed, 10))
