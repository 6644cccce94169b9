"""What a journal takes over, and what it has read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from catalog import digest_journal as journal
from catalog.content import Reader
from catalog.digest_journal import HEADER, Journal, JournalDamaged, line


@pytest.fixture(autouse=True)
def files_have_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SETTLED_NS", 0)


def entry(path: Path, *, with_sha256: bool = False) -> bytes:
    raw = os.fsencode(path)
    return line(raw, Reader(with_sha256=with_sha256).content(raw))


@pytest.mark.parametrize("name", ["song", "new\nline", "back\\slash", "back\\nslash", " lead", "caf\udce9"])
def test_what_is_on_record_and_unchanged_is_taken_over(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"content")
    Journal(str(tmp_path / "j")).add(entry(path))
    again = Journal(str(tmp_path / "j"))
    content = Reader().content(os.fsencode(path))
    assert again.known(os.fsencode(path), with_sha256=False) == (7, content.blake3, None)
    assert again.known(os.fsencode(path), with_sha256=True) is None
    again.add(entry(path, with_sha256=True))
    both = Journal(str(tmp_path / "j")).known(os.fsencode(path), with_sha256=True)
    assert both is not None
    assert both[2] is not None


@pytest.mark.parametrize("digest", [b"x" * 64, b"\xff" * 64, b"\t" + b"0" * 62 + b"\t"])
@pytest.mark.parametrize("which", [0, 1])
def test_a_digest_that_is_none_is_read_again(tmp_path: Path, digest: bytes, which: int) -> None:
    path = tmp_path / "song"
    path.write_bytes(b"content")
    fields = entry(path, with_sha256=True).split(b" ", 5)
    fields[which] = digest
    Journal(str(tmp_path / "j")).add(b" ".join(fields))
    assert Journal(str(tmp_path / "j")).known(os.fsencode(path), with_sha256=True) is None


def test_new_content_under_the_old_size_and_time_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "song"
    path.write_bytes(b"content")
    Journal(str(tmp_path / "j")).add(entry(path))
    before = path.stat()
    path.write_bytes(b"CONTENT")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert Journal(str(tmp_path / "j")).known(os.fsencode(path), with_sha256=False) is None


def test_a_file_that_changed_just_now_is_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "song").write_bytes(b"content")
    assert entry(tmp_path / "song") != b""
    monkeypatch.setattr(journal, "SETTLED_NS", 10**12)
    assert entry(tmp_path / "song") == b""


def test_a_line_that_was_cut_short_is_cut_off_and_the_next_one_is_whole(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    first, second = entry(tmp_path / "a"), entry(tmp_path / "b")
    for cut in range(1, len(second)):
        (tmp_path / "j").write_bytes(HEADER + first + second[:cut])
        Journal(str(tmp_path / "j")).add(second)
        assert (tmp_path / "j").read_bytes() == HEADER + first + second
    for cut in range(len(HEADER)):
        (tmp_path / "j").write_bytes(HEADER[:cut])
        Journal(str(tmp_path / "j")).add(first)
        assert (tmp_path / "j").read_bytes() == HEADER + first


@pytest.mark.parametrize("content", [b"some song\n", b"some song", HEADER + b"what is this\n", HEADER + b"x" * 20_000])
def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(JournalDamaged, match=r"line [12] .*give another file"):
        Journal(str(tmp_path / "j"))
    assert (tmp_path / "j").read_bytes() == content


def test_the_journal_knows_itself(tmp_path: Path) -> None:
    one = Journal(str(tmp_path / "j"))
    (tmp_path / "link").symlink_to("j")
    assert one.is_this(os.fsencode(tmp_path / "link"))
    assert not one.is_this(os.fsencode(tmp_path))
    assert not one.is_this(os.fsencode(tmp_path / "gone"))
