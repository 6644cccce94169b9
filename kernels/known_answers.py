"""Known answers: what every backend must give before it is believed, at each start."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from kernels.cuda import CudaDevice, packed_bytes
from kernels.subtrees import DERIVE_KEY_MATERIAL, IV, KEYED_HASH, Words, context_key, key_words

ANSWERS: Final = Path(__file__).with_name("known_answers.json")
_PERIOD: Final = 251


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAnswers:
    """Digests of messages of `sizes` bytes 0, 1, ... 250, 0, ... in one mode."""

    name: str
    key: Words
    mode: int
    sizes: tuple[int, ...]
    digests: tuple[bytes, ...]


@cache
def known_answers() -> tuple[KnownAnswers, ...]:
    """Hash, keyed and derive-key mode: 35 published lengths, and longer ones that fill tiles."""
    document = json.loads(ANSWERS.read_text())
    rows = document["published"] + document["longer"]
    sizes = tuple(row[0] for row in rows)
    modes = (
        ("hash", IV, 0),
        ("keyed_hash", key_words(document["key"].encode()), KEYED_HASH),
        ("derive_key", context_key(document["context"]), DERIVE_KEY_MATERIAL),
    )
    return tuple(
        KnownAnswers(
            name=name, key=key, mode=mode, sizes=sizes, digests=tuple(bytes.fromhex(row[i + 1]) for row in rows)
        )
        for i, (name, key, mode) in enumerate(modes)
    )


def message(size: int) -> bytes:
    """The input of `size` bytes."""
    return (bytes(range(_PERIOD)) * (size // _PERIOD + 1))[:size]


def passed(device: CudaDevice) -> int:
    """How many a device answers rightly, of `count()`. Raises: DeviceError."""
    right = 0
    for answers in known_answers():
        due = dict(zip(answers.sizes, answers.digests, strict=True))
        for slot, sizes in enumerate(_batches(answers.sizes, device.batch_bytes)):
            found = _hash(device, slot % 2, sizes, answers)
            right += sum(digest == due[size] for size, digest in zip(sizes, found, strict=True))
    return right


def count() -> int:
    return sum(len(answers.sizes) for answers in known_answers())


def _batches(sizes: Sequence[int], batch_bytes: int) -> list[list[int]]:
    batches: list[list[int]] = [[]]
    for size in sizes:
        if sum(map(packed_bytes, [*batches[-1], size])) > batch_bytes:
            batches.append([])
        batches[-1].append(size)
    return batches


def _hash(device: CudaDevice, slot: int, sizes: Sequence[int], answers: KnownAnswers) -> list[bytes]:
    buffer, at = device.buffer(slot), 0
    for size in sizes:
        buffer[at : at + size] = message(size)
        at += packed_bytes(size)
    device.submit(slot, sizes, key=answers.key, mode=answers.mode)
    return device.digests(slot)
