"""Run in a process of its own, where `pycuda` is real and the device is the stand-in: prints one JSON object."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable

from blake3 import blake3

from kernels import known_answers
from kernels.cuda import PIECES_MAX, CudaDevice, packed_bytes
from kernels.devices import DeviceError, devices
from kernels.subtrees import CHUNK_BYTES, KEYED_HASH, cut, join, key_words

BATCH_BYTES = 1 << 20


def pack(device: CudaDevice, slot: int, pieces: list[bytes]) -> None:
    buffer, at = device.buffer(slot), 0
    for piece in pieces:
        buffer[at : at + len(piece)] = piece
        at += packed_bytes(len(piece))


def some(rng: random.Random, count: int = 12) -> list[bytes]:
    sizes = (0, 1, 64, 1024, 1025, rng.randrange(5000), 1024 * rng.randrange(1, 200), rng.randrange(200_000))
    found: list[bytes] = []
    while len(found) < count:
        piece = rng.randbytes(rng.choice(sizes))
        if sum(packed_bytes(len(p)) for p in (*found, piece)) <= BATCH_BYTES:
            found.append(piece)
        else:
            break
    return found


def batches() -> dict[str, object]:
    """Two slots by turns, each refilled only when its digests were fetched."""
    rng = random.Random(4)
    device = CudaDevice(batch_bytes=BATCH_BYTES)
    sent = [some(rng) for _ in range(6)]
    wrong = 0
    for i, batch in enumerate([*sent, None]):
        if batch is not None:
            pack(device, i % 2, batch)
            device.submit(i % 2, [len(p) for p in batch])
        if i:
            wrong += device.digests((i - 1) % 2) != [blake3(p).digest() for p in sent[i - 1]]
    device.close()
    return {"batches": len(sent), "wrong": wrong}


def refilled_too_early() -> dict[str, object]:
    """The fault that only streams that really defer give away: a buffer is filled again before its copy has run."""
    rng = random.Random(5)
    device = CudaDevice(batch_bytes=BATCH_BYTES)
    first, second = rng.randbytes(5000), rng.randbytes(5000)
    pack(device, 0, [first])
    device.submit(0, [5000])
    pack(device, 0, [second])
    is_right = device.digests(0) == [blake3(first).digest()]
    device.close()
    return {"right": is_right}


def large() -> dict[str, object]:
    """A message larger than a batch, in pieces, with a key."""
    message, key = random.Random(6).randbytes(3 * BATCH_BYTES + 777), bytes(range(32))
    device = CudaDevice(batch_bytes=BATCH_BYTES)
    values = []
    for piece in cut(len(message), device.batch_bytes):
        pack(device, 0, [message[piece.offset : piece.offset + piece.size]])
        device.submit(
            0, [piece.size], counters=[piece.offset // CHUNK_BYTES], whole=[piece.whole],
            key=key_words(key), mode=KEYED_HASH,
        )  # fmt: skip
        values += device.digests(0)
    device.close()
    right = join(values, key=key_words(key), mode=KEYED_HASH) == blake3(message, key=key).digest()
    return {"pieces": len(values), "right": right}


def listed() -> dict[str, object]:
    found = devices()
    used = []
    for each in found:
        device = CudaDevice(each.ordinal, batch_bytes=BATCH_BYTES)
        pack(device, 0, [b"abc"])
        device.submit(0, [3])
        used.append(device.digests(0) == [blake3(b"abc").digest()])
        device.close()
    return {"names": [each.name for each in found], "right": used}


def thousands() -> dict[str, object]:
    """As many messages as a batch may have."""
    rng = random.Random(7)
    device = CudaDevice(batch_bytes=8 * BATCH_BYTES)
    sent = [rng.randbytes(rng.randrange(65)) for _ in range(PIECES_MAX)]
    pack(device, 0, sent)
    device.submit(0, [len(p) for p in sent])
    wrong = sum(found != blake3(p).digest() for found, p in zip(device.digests(0), sent, strict=True))
    device.close()
    return {"messages": len(sent), "wrong": wrong}


def budget() -> dict[str, object]:
    """A batch larger than the device's memory is asked for: it shrinks, and half of the memory stays free."""
    device = CudaDevice(batch_bytes=1 << 34)
    with device._current():
        free, total = device._driver.mem_get_info()
    device.close()
    return {"batch_bytes": device.batch_bytes, "free_share": free / total}


def known() -> dict[str, object]:
    """The published answers, in three modes."""
    device = CudaDevice(batch_bytes=BATCH_BYTES)
    right = known_answers.passed(device)
    device.close()
    return {"right": right, "of": known_answers.count()}


SCENES: dict[str, Callable[[], dict[str, object]]] = {
    scene.__name__: scene for scene in (batches, refilled_too_early, large, listed, thousands, budget, known)
}


if __name__ == "__main__":
    try:
        print(json.dumps(SCENES[sys.argv[1]]()))
    except DeviceError as error:
        print(json.dumps({"refused": error.reason}))
