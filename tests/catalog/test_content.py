"""What a file's bytes are, by reading and by mapping, and what is left in memory afterwards."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from blake3 import blake3

from catalog import content
from catalog.content import MAP_BYTES_MIN, PARALLEL_BYTES_MIN, READ_BYTES, Reader
from catalog.walk import Unusable

SIZES = sorted(
    {0, 1, 1024, 1025, PARALLEL_BYTES_MIN}
    | {edge + off for edge in (1 << 16, MAP_BYTES_MIN, READ_BYTES) for off in (-1, 0, 1)}
)


def made(path: Path, size: int) -> bytes:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    path.write_bytes(data)
    return data


def out_of_memory(path: Path) -> None:
    """Takes a file out of memory, or skips: a file that lives in memory only has nowhere else to be."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if in_memory(path):
        pytest.skip("this file system keeps its files in memory")


def in_memory(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            return bool(os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT))
        except BlockingIOError:
            return False


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mapped", [False, True])
def test_digests_equal_those_of_the_whole_content(tmp_path: Path, size: int, mapped: bool) -> None:
    data = made(tmp_path / "song", size)
    path = os.fsencode(tmp_path / "song")
    one = Reader(mapped=mapped).content(path)
    assert (one.size_bytes, one.blake3, one.sha256) == (size, blake3(data).digest(), None)
    both = Reader(mapped=mapped, with_sha256=True).content(path)
    assert (both.blake3, both.sha256) == (blake3(data).digest(), hashlib.sha256(data).digest())
    assert Reader(mapped=mapped, parallel=lambda: True).content(path).blake3 == one.blake3


@pytest.mark.parametrize("mapped", [False, True])
def test_a_file_of_several_windows_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped: bool
) -> None:
    monkeypatch.setattr(content, "WINDOW_BYTES", 1 << 20)
    data = made(tmp_path / "song", 5 * (1 << 20) + 7)
    for parallel in (False, True):
        reader = Reader(mapped=mapped, parallel=lambda parallel=parallel: parallel)
        assert reader.content(os.fsencode(tmp_path / "song")).blake3 == blake3(data).digest()


def test_a_file_from_disk_has_the_same_digest_and_is_dropped_only_beyond_what_may_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "song"
    data = made(path, PARALLEL_BYTES_MIN + 1)
    for keep_bytes, kept, parallel in (
        (0, False, False),
        (1 << 30, True, False),
        (0, False, True),
        (1 << 30, True, True),
    ):
        out_of_memory(path)
        reader = Reader(mapped=True, keep_bytes=keep_bytes, parallel=lambda parallel=parallel: parallel)
        assert reader.content(os.fsencode(path)).blake3 == blake3(data).digest()
        assert reader.from_disk
        assert in_memory(path) == kept


def test_what_was_in_memory_before_stays_there(tmp_path: Path) -> None:
    path = tmp_path / "song"
    made(path, 2 * READ_BYTES)
    path.read_bytes()
    reader = Reader(mapped=True, keep_bytes=0)
    reader.content(os.fsencode(path))
    assert not reader.from_disk
    assert in_memory(path)


@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "song"
    made(path, 2 * READ_BYTES)
    os.utime(path, ns=(1, 1))

    def meddle(_: int) -> None:
        if change == "grow":
            with path.open("ab") as file:
                file.write(b"more")
        elif change == "shrink":
            os.truncate(path, READ_BYTES + 10)
        else:
            with path.open("r+b") as file:
                file.write(b"other")

    with pytest.raises(Unusable, match="changed while it was being read"):
        Reader(advance=meddle).content(os.fsencode(path))
    assert Reader().content(os.fsencode(path)).size_bytes == path.stat().st_size


def test_what_is_no_file_or_cannot_be_read_says_so(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (tmp_path / "pipe", "neither a file nor a folder"),
        (tmp_path / "gone", "no such file"),
        (tmp_path / ("x" * 300), "file name too long"),
    ):
        with pytest.raises(Unusable, match=reason):
            Reader(mapped=True).content(os.fsencode(path))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs files that lie about themselves: Linux")
@pytest.mark.parametrize(("path", "reason"), [("mem", "input/output error"), ("status", "changed while")])
def test_an_error_half_way_and_a_size_that_is_none_are_named(path: str, reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        Reader(mapped=True).content(f"/proc/self/{path}".encode())


def test_reading_leaves_no_trace_on_a_file_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "song"
    made(path, 100)
    os.utime(path, ns=(1, 2))  # access before change: a plain read would set it, even with relatime
    Reader().content(os.fsencode(path))
    assert path.stat().st_atime_ns == 1


def test_a_file_of_somebody_else_is_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "song", 100)
    real = os.open

    def open_(path: bytes, flags: int) -> int:  # root may do everything, so the refusal is played
        if flags & os.O_NOATIME:
            raise PermissionError(1, "Operation not permitted")
        return real(path, flags)

    monkeypatch.setattr(os, "open", open_)
    assert Reader().content(os.fsencode(tmp_path / "song")).size_bytes == 100
