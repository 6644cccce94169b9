# ruff: noqa: E501 - a mutant a line
"""Kernels with one fault each: wrong digests in some order of threads, or a sanitizer, must notice every one.

No layer is enough: a barrier left out gives right digests in most orders, and a read behind the buffer gives them in
all, because what it reads is masked.
"""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest
from blake3 import blake3

from kernels.plan import TILE_CHUNKS, plan_batch
from tests.kernels.host.machine import SOURCE, HostMachine, build, build_replay, compiler, record

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here: apt-get install g++")

WRONG_DIGEST = "wrong digest"
SANITIZER = "sanitizer"
COUNTER = "chunk 2^32"
"""No message of 4 TiB is at hand; the value of one of its chunks must depend on the counter's upper half."""

MUTANTS = {
    "rotation by 13": ("rotate(b ^ c, 12u)", "rotate(b ^ c, 13u)", WRONG_DIGEST),
    "words of the last round swapped": ("ROUND(11, 15,", "ROUND(15, 11,", WRONG_DIGEST),
    "counter of 32 bits": ("vd = (u32)(counter >> 32)", "vd = 0", COUNTER),
    "no chunk start": ("u32 flags = mode | CHUNK_START;", "u32 flags = mode;", WRONG_DIGEST),
    "chunk start in every block": ("        flags = mode;\n    }\n    u32 rest", "    }\n    u32 rest", WRONG_DIGEST),
    "no chunk end": ("flags | CHUNK_END | root", "flags | root", WRONG_DIGEST),
    "never root in a chunk": ("piece.bytes <= CHUNK_BYTES ? ROOT : 0", "piece.bytes < CHUNK_BYTES ? ROOT : 0", WRONG_DIGEST),
    "root one level off": ("nodes == 2 && piece.whole", "nodes == 3 && piece.whole", WRONG_DIGEST),
    "root in a tile one level off": ("u32 top = n == 2", "u32 top = n == 3", WRONG_DIGEST),
    "every tile's top is a root": ("n == 2 && all <= TILE_CHUNKS", "n == 2", WRONG_DIGEST),
    "parents count chunks": ("compress(cv, m, 0, BLOCK_BYTES, mode | PARENT | top", "compress(cv, m, counter, BLOCK_BYTES, mode | PARENT | top", WRONG_DIGEST),
    "no parent flag": ("mode | PARENT | (nodes", "mode | (nodes", WRONG_DIGEST),
    "tile's counter starts at 0": ("piece.counter + (u64)tile * TILE_CHUNKS + me", "piece.counter + me", WRONG_DIGEST),
    "odd node merged with itself": ("if (me < n >> 1)", "if (me < (n + 1) >> 1)", WRONG_DIGEST),
    "last block not masked": ("mask_block(m, rest);\n    compress", "compress", WRONG_DIGEST),
    "mask one byte short": ("0xffffffffu >> (8 * (begin + 4 - bytes))", "0xffffffffu >> (8 * (begin + 3 - bytes))", WRONG_DIGEST),
    "mask by words": ("else if (bytes < begin + 4) m[w] &=", "else if (bytes < begin) m[w] &=", WRONG_DIGEST),
    "search one too far": ("if (sums[middle] <= item)", "if (sums[middle] < item)", WRONG_DIGEST),
    "no barrier after loading": ("        }\n        __syncthreads();\n        if (b < full)", "        }\n        if (b < full)", WRONG_DIGEST),
    "no barrier before loading again": ("        }\n        __syncthreads();\n    }\n    copy8(nodes", "        }\n    }\n    copy8(nodes", SANITIZER),
    "no barrier between levels": ("        __syncthreads();\n        if (me < n >> 1)", "        if (me < n >> 1)", WRONG_DIGEST),
    "a thread too many": ("if (item >= first_item[listed_count]) return;\n    u32 place = find(first_item, listed_count, item);\n    u32 index = listed[place];\n    u32 chunk", "u32 place = find(first_item, listed_count, item);\n    u32 index = listed[place];\n    u32 chunk", SANITIZER),
    "reads a block of an empty message": ("if (rest != 0) load_block(m, block);", "load_block(m, block);", SANITIZER),
    "loads a tile to its full size": ("if (at < tile_bytes) {", "{", SANITIZER),
    "collects beyond the last piece": ("if (word >= piece_count * 8) return;", "", SANITIZER),
}  # fmt: skip
"""name -> (text, its replacement, the layer that must notice)"""


def messages() -> list[bytes]:
    rng = random.Random(5)
    sizes = (3, 65, 1024, 1025, 3 * 1024 + 63, 129 * 1024 + 7, 128 * 1024, 260 * 1024 + 1, 0)
    return [rng.randbytes(size) for size in sizes]


@pytest.fixture
def mutant(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    text, replacement, _ = MUTANTS[request.param]
    source = SOURCE.read_text()
    assert text in source, "the kernel has changed: mend this mutant"
    path = tmp_path / "mutant.cu"
    path.write_text(source.replace(text, replacement))
    return path


def is_wrong(library: Path) -> bool:
    found = messages()
    due = [blake3(m).digest() for m in found]
    return any(
        HostMachine(library, order=order).hash_batch(
            found, plan=plan_batch([len(m) for m in found], tile_from_chunks=t)
        )
        != due
        for order in (0, 1, 2)
        for t in (1, 1 << 40, TILE_CHUNKS)
    )


def sanitizers_complain(source: Path, folder: Path) -> bool:
    """In a batch each of one message: what one reads behind its end must not lie in the next."""
    quiet = os.environ | {"ASAN_OPTIONS": "detect_leaks=0:exitcode=66"}
    small = [m for m in messages() if len(m) < 130 * 1024]
    for flags, orders in ((("-fsanitize=address",), "012"), (("-fsanitize=thread", "-DREAL_THREADS"), "0")):
        program = build_replay(folder, "-O1", "-g", *flags, source=source)
        batches = [[m] for m in small] if "address" in flags[0] else [[m for m in small if len(m) > 100 * 1024][:1]]
        for i, batch in enumerate(batches):
            for tile_from in (1, 1 << 40) if "address" in flags[0] else (1,):
                path = folder / f"batch-{i}-{tile_from}"
                record(
                    path,
                    batch,
                    [blake3(m).digest() for m in batch],
                    plan_batch([len(m) for m in batch], tile_from_chunks=tile_from),
                )
                for order in orders:
                    command = [str(program), str(path), order]
                    if (
                        subprocess.run(command, capture_output=True, check=False, env=quiet, timeout=300).returncode
                        == 66
                    ):
                        return True
    return False


@pytest.mark.parametrize("mutant", [n for n, m in MUTANTS.items() if m[2] == WRONG_DIGEST], indirect=True)
def test_wrong_digests_give_the_fault_away(mutant: Path, tmp_path: Path) -> None:
    assert is_wrong(build(tmp_path, "-O1", source=mutant))


def of_chunk(library: Path, counter: int) -> bytes:
    plan = plan_batch([64], counters=[counter], whole=[False])
    return HostMachine(library).hash_batch([bytes(64)], plan=plan)[0]


@pytest.mark.parametrize("mutant", [n for n, m in MUTANTS.items() if m[2] == COUNTER], indirect=True)
def test_a_chunk_beyond_4_tib_gives_the_fault_away(mutant: Path, tmp_path: Path) -> None:
    right, wrong = build(tmp_path, "-O1"), build(tmp_path, "-O1", source=mutant)
    assert of_chunk(right, 5) == of_chunk(wrong, 5)
    assert of_chunk(right, 2**32 + 5) != of_chunk(wrong, 2**32 + 5)


@pytest.mark.parametrize("mutant", [n for n, m in MUTANTS.items() if m[2] == SANITIZER], indirect=True)
def test_a_sanitizer_gives_the_fault_away(mutant: Path, tmp_path: Path) -> None:
    assert sanitizers_complain(mutant, tmp_path)
