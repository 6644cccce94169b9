"""Two digests of a file from one reading."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.digests import READ_BYTES, FileDigests, hash_file, hash_files
from catalog.ordered import AHEAD_PER_THREAD, ordered_map
from catalog.scan import Cancelled, LeftOut


@pytest.mark.parametrize("size", [0, 1, 1024, 1025, READ_BYTES - 1, READ_BYTES, READ_BYTES + 1, 3 * READ_BYTES + 7])
def test_digests_equal_those_of_the_whole_content(tmp_path: Path, size: int) -> None:
    content = bytes(i * 7 % 251 for i in range(1021)) * (size // 1021 + 1)
    path = tmp_path / "song"
    path.write_bytes(content[:size])
    digests = hash_file(path)
    assert digests == FileDigests(
        path=path,
        size_bytes=size,
        blake3=blake3(content[:size]).digest(),
        sha256=hashlib.sha256(content[:size]).digest(),
    )


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=5000))
def test_any_content_is_hashed_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    digests = hash_file(tmp_path / "x")
    assert (digests.blake3, digests.sha256) == (blake3(content).digest(), hashlib.sha256(content).digest())


@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite"])
def test_a_file_that_changes_while_it_is_read_is_left_out(tmp_path: Path, change: str) -> None:
    path = tmp_path / "song"
    path.write_bytes(bytes(2 * READ_BYTES))
    os.utime(path, ns=(1, 1))

    def meddle(_: int) -> None:
        if path.stat().st_mtime_ns != 1:
            return
        if change == "grow":
            with path.open("ab") as file:
                file.write(b"more")
        elif change == "shrink":
            os.truncate(path, READ_BYTES + 10)
        else:
            with path.open("r+b") as file:
                file.write(b"other")

    with pytest.raises(LeftOut, match="changed while it was being read"):
        hash_file(path, advance=meddle)
    assert hash_file(path).size_bytes == path.stat().st_size


def test_a_pipe_in_the_files_place_cannot_hang_us(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "song")
    with pytest.raises(LeftOut, match="neither a file nor a folder"):
        hash_file(tmp_path / "song")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that root cannot read either: Linux")
def test_a_file_whose_reading_fails_is_left_out_with_the_systems_reason() -> None:
    with pytest.raises(LeftOut, match="input/output error"):
        hash_file(Path("/proc/self/mem"))


def test_a_vanished_file_is_left_out_in_its_place(tmp_path: Path) -> None:
    for name in "ac":
        (tmp_path / name).write_bytes(name.encode())
    results = list(hash_files([tmp_path / name for name in "abc"], threads=2))
    assert [type(result) for result in results] == [FileDigests, LeftOut, FileDigests]
    assert isinstance(results[1], LeftOut)
    assert (results[1].path, results[1].reason) == (tmp_path / "b", "no such file")


def test_results_come_in_the_order_of_the_input_whatever_the_threads(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i:03}" for i in range(60)]
    for i, path in enumerate(paths):
        path.write_bytes(bytes((i * 7919) % 40_000))
    one = list(hash_files(paths, threads=1))
    assert [r.path for r in one if isinstance(r, FileDigests)] == paths
    assert list(hash_files(paths, threads=4)) == one


def test_progress_counts_every_byte(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(READ_BYTES + 5))
    (tmp_path / "b").write_bytes(bytes(10))
    counted: list[int] = []
    list(hash_files([tmp_path / "a", tmp_path / "b"], threads=2, advance=counted.append))
    assert sum(counted) == READ_BYTES + 15


def test_a_cancelled_reading_stops_at_the_next_piece(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(3 * READ_BYTES))
    cancel, seen = threading.Event(), []

    def stop(count: int) -> None:
        seen.append(count)
        cancel.set()

    with pytest.raises(Cancelled):
        hash_file(tmp_path / "a", advance=stop, cancel=cancel)
    assert seen == [READ_BYTES]


# ---- the pool --------------------------------------------------------------------------------------------------------


def test_no_more_is_handed_out_than_the_bound(tmp_path: Path) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(1000):
            taken.append(i)
            yield i

    results = ordered_map(lambda x: x, items(), threads=2)
    assert next(results) == 0
    assert len(taken) <= 2 * AHEAD_PER_THREAD + 1
    results.close()
    assert len(taken) < 1000


def test_what_the_work_raises_comes_where_its_result_would_have_come() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise ValueError(item)
        return item

    results = ordered_map(work, range(6), threads=3)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="3"):
        next(results)
