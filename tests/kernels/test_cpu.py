"""BLAKE3 on the CPU against the published vectors."""

from __future__ import annotations

import json
import os
import signal
from itertools import accumulate
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from kernels import cpu

# From BLAKE3-team/BLAKE3, test_vectors/test_vectors.json (CC0-1.0 or Apache-2.0): input_len -> start of "hash".
KNOWN = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    1023: "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    1025: "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
    2048: "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a",
    102400: "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
}


def message(length: int) -> bytes:
    return bytes(i % 251 for i in range(length))


@pytest.mark.parametrize(("length", "expected"), KNOWN.items())
def test_published_digests_are_reproduced(length: int, expected: str) -> None:
    assert cpu.hash_leaves(message(length), [0, length]) == (bytes.fromhex(expected),)
    stream = cpu.Stream()
    stream.update(message(length))
    assert stream.digest().hex() == expected


def test_every_published_vector_is_reproduced() -> None:
    folder = os.environ.get("STRETTO_VECTORS")
    if not folder:
        pytest.skip("STRETTO_VECTORS is not set: it names the folder that holds blake3.json")
    cases = json.loads((Path(folder) / "blake3.json").read_text())["cases"]
    assert len(cases) >= 35
    for case in cases:
        length = case["input_len"]
        assert cpu.hash_leaves(message(length), [0, length])[0].hex() == case["hash"][:64]


@given(leaves=st.lists(st.binary(max_size=3000), max_size=20))
def test_a_packed_batch_equals_its_leaves_one_by_one(leaves: list[bytes]) -> None:
    offsets = [0, *accumulate(map(len, leaves))]
    assert cpu.hash_leaves(b"".join(leaves), offsets) == tuple(blake3(leaf).digest() for leaf in leaves)


@given(pieces=st.lists(st.binary(max_size=2000), max_size=12))
def test_a_stream_equals_its_pieces_joined(pieces: list[bytes]) -> None:
    stream = cpu.Stream()
    for piece in pieces:
        stream.update(piece)
    assert stream.digest() == blake3(b"".join(pieces)).digest()


@pytest.mark.parametrize("offsets", [[], [1, 4], [0, 3], [0, 5], [0, 3, 2, 4]])
def test_offsets_that_do_not_tile_the_data_are_refused(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="offsets"):
        cpu.hash_leaves(b"data", offsets)


def test_a_batch_past_a_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "LEAVES_MAX", 2)
    assert len(cpu.hash_leaves(b"ab", [0, 1, 2])) == 2
    with pytest.raises(cpu.BatchTooLarge, match="3 leaves"):
        cpu.hash_leaves(b"abc", [0, 1, 2, 3])
    monkeypatch.setattr(cpu, "BATCH_BYTES_MAX", 3)
    with pytest.raises(cpu.BatchTooLarge, match="4 bytes"):
        cpu.hash_leaves(b"abcd", [0, 4])


def test_a_fork_hashes_although_the_threads_of_its_parent_are_not_there() -> None:
    """`stretto hash` forks its workers; the extension's pool of threads would be an empty promise in them."""
    data = message(251) * 40_000
    digest = blake3(data).digest()
    ours = cpu.Stream(threads=cpu.ALL_THREADS)
    ours.update(data)
    assert ours.digest() == digest, "this process has its pool now"
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # no handler of Python's runs while the extension waits
        signal.alarm(20)
        theirs = cpu.Stream(threads=cpu.ALL_THREADS)
        theirs.update(data)
        os._exit(0 if theirs.digest() == digest else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
