"""The CUDA source, compiled for this host: every digest equals the published ones and those of PyPI's blake3."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

import pytest
from blake3 import blake3

from kernels import known_answers
from kernels.plan import TILE_CHUNKS, Plan, plan_batch
from kernels.subtrees import (
    CHUNK_BYTES,
    CHUNK_END,
    CHUNK_START,
    DERIVE_KEY_CONTEXT,
    DERIVE_KEY_MATERIAL,
    IV,
    KEYED_HASH,
    Piece,
    compress,
    cut,
    join,
    key_words,
    unpack,
)
from tests.kernels.host.machine import HostMachine, build, build_replay, compiler, record

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here: apt-get install g++")

NEVER_TILED = 1 << 40
PIPELINES = {"tiles": 1, "chunks": NEVER_TILED, "both": TILE_CHUNKS}
EDGES = sorted(
    {
        max(0, edge + d)
        for edge in (0, 64, 128, 960, 1024, 2048, 3072, 127 * 1024, 128 * 1024, 129 * 1024, 256 * 1024, 300 * 1024)
        for d in (-65, -64, -63, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 63, 64, 65)
    }
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("kernels"), "-O2")


def digests(messages: list[bytes]) -> list[bytes]:
    return [blake3(message).digest() for message in messages]


def batch(seed: int, count: int = 24) -> list[bytes]:
    rng = random.Random(seed)
    sizes = (lambda: rng.randrange(3000), lambda: rng.randrange(400_000), lambda: 1024 * rng.randrange(1, 300))
    return [rng.randbytes(rng.choice(sizes)()) for _ in range(count)]


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_random_batches_equal_the_reference(library: Path, pipeline: str, order: int) -> None:
    messages = batch(seed=order)
    plan = plan_batch([len(m) for m in messages], tile_from_chunks=PIPELINES[pipeline])
    assert HostMachine(library, order=order).hash_batch(messages, plan=plan) == digests(messages)


def test_thousands_of_messages_in_a_batch_equal_the_reference(library: Path) -> None:
    rng = random.Random(13)
    messages = [rng.randbytes(rng.choice((0, 1, 64, 1024, rng.randrange(2500)))) for _ in range(6000)]
    assert HostMachine(library).hash_batch(messages) == digests(messages)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_sizes_around_every_edge_equal_the_reference(library: Path, pipeline: str) -> None:
    noise = random.Random(7).randbytes(max(EDGES) + 1)
    messages = [noise[:size] for size in EDGES]
    plan = plan_batch(EDGES, tile_from_chunks=PIPELINES[pipeline])
    assert HostMachine(library).hash_batch(messages, plan=plan) == digests(messages)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_keyed_and_derive_key_modes_equal_the_reference(library: Path, pipeline: str) -> None:
    messages, key, context = batch(seed=11), random.Random(12).randbytes(32), "Stretto 2026-11 test of derive-key mode"
    plan = plan_batch([len(m) for m in messages], tile_from_chunks=PIPELINES[pipeline])
    machine = HostMachine(library)
    keyed = machine.hash_batch(messages, key=key_words(key), mode=KEYED_HASH, plan=plan)
    assert keyed == [blake3(m, key=key).digest() for m in messages]
    (context_key,) = machine.hash_batch([context.encode()], mode=DERIVE_KEY_CONTEXT)
    derived = machine.hash_batch(messages, key=key_words(context_key), mode=DERIVE_KEY_MATERIAL, plan=plan)
    assert derived == [blake3(m, derive_key_context=context).digest() for m in messages]


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_published_vectors_in_all_modes(library: Path, pipeline: str, order: int) -> None:
    machine = HostMachine(library, order=order)
    for answers in known_answers.known_answers():
        messages = [known_answers.message(size) for size in answers.sizes]
        plan = plan_batch(answers.sizes, tile_from_chunks=PIPELINES[pipeline])
        found = machine.hash_batch(messages, key=answers.key, mode=answers.mode, plan=plan)
        assert tuple(found) == answers.digests, answers.name


def test_longer_known_answers_are_pypis_blake3s() -> None:
    document = json.loads(known_answers.ANSWERS.read_text())
    for size, *digests_ in document["longer"]:
        message = known_answers.message(size)
        keyed, derived = {"key": document["key"].encode()}, {"derive_key_context": document["context"]}
        assert digests_ == [blake3(message, **mode).hexdigest() for mode in ({}, keyed, derived)]


@pytest.mark.skipif("STRETTO_VECTORS" not in os.environ, reason="STRETTO_VECTORS names no folder of published vectors")
def test_the_known_answers_are_the_published_ones() -> None:
    theirs = json.loads((Path(os.environ["STRETTO_VECTORS"]) / "blake3.json").read_text())
    ours = json.loads(known_answers.ANSWERS.read_text())
    assert (ours["key"], ours["context"]) == (theirs["key"], theirs["context_string"])
    assert ours["published"] == [
        [case["input_len"], *(case[name][:64] for name in ours["columns"][1:])] for case in theirs["cases"]
    ]


# ---- messages in several pieces --------------------------------------------------------------------------------------


def plan_of(pieces: list[Piece], tile_from_chunks: int = TILE_CHUNKS) -> Plan:
    return plan_batch(
        [p.size for p in pieces], counters=[p.offset // CHUNK_BYTES for p in pieces],
        whole=[p.whole for p in pieces], tile_from_chunks=tile_from_chunks,
    )  # fmt: skip


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize(
    ("size", "bytes_max"),
    [(2049, 2048), (5000, 2048), (70_000, 2048), (300_000, 9000), (1 << 20, 100_000), ((1 << 20) + 1, 300_000)],
)
def test_a_message_in_pieces_has_the_digest_of_the_whole(
    library: Path, size: int, bytes_max: int, pipeline: str
) -> None:
    message = random.Random(size).randbytes(size)
    pieces = list(cut(size, bytes_max))
    found = HostMachine(library).hash_batch(
        [message[p.offset : p.offset + p.size] for p in pieces], plan=plan_of(pieces, PIPELINES[pipeline])
    )
    digest = found[0] if len(pieces) == 1 else join(found)
    assert digest == blake3(message).digest()


def test_chunk_counters_beyond_32_bits_reach_the_compression(library: Path) -> None:
    """No message of 4 TiB is at hand: a chunk's value is compared with the compression function's, in plain Python."""
    block = bytes(range(64))
    for counter in (1, 2**32 - 1, 2**32, 2**40 + 5):
        piece = Piece(offset=counter * CHUNK_BYTES, size=64, whole=False)
        (found,) = HostMachine(library).hash_batch([block], plan=plan_of([piece]))
        words = compress(IV, unpack(block), counter, 64, CHUNK_START | CHUNK_END)
        assert unpack(found) == words, counter


# ---- sanitizers ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Small batches, one per pipeline: threads of the host are a thousand times slower than a GPU's."""
    folder = tmp_path_factory.mktemp("recorded")
    rng = random.Random(3)
    messages = [rng.randbytes(size) for size in (0, 65, 1025, 129 * 1024 + 7)]
    paths = []
    for name, tile_from in (("tiles", 1), ("chunks", NEVER_TILED)):
        paths.append(folder / name)
        record(
            paths[-1], messages, digests(messages), plan_batch([len(m) for m in messages], tile_from_chunks=tile_from)
        )
    return paths


@pytest.mark.parametrize(
    "flags",
    [("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
     ("-O1", "-g", "-fsanitize=thread", "-DREAL_THREADS")],
    ids=["address", "thread"],
)  # fmt: skip
def test_sanitizers_find_nothing(flags: tuple[str, ...], recorded: list[Path], tmp_path: Path) -> None:
    try:
        program = build_replay(tmp_path, *flags)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this compiler has no such sanitizer: {error.stderr.splitlines()[-1]}")
    quiet = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}  # the program ends; what it holds then is no finding
    for path in recorded:
        done = subprocess.run(
            [str(program), str(path), "2"], capture_output=True, text=True, check=False, timeout=300, env=quiet
        )
        assert done.returncode == 0, f"{path.name}: {done.stderr[:2000]}"
