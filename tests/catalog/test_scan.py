"""Which files a set of paths names, and in which order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from catalog.scan import LeftOut, scan


def names(found: list[Path | LeftOut], root: Path) -> list[str]:
    return [str(item.relative_to(root)) for item in found if isinstance(item, Path)]


def make(root: Path, *files: str) -> None:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def test_folders_are_entered_depth_first_in_the_order_of_names(tmp_path: Path) -> None:
    make(tmp_path, "b/2", "b/10", "a", "c/x/y", "Ä", "B")
    assert names(list(scan([tmp_path])), tmp_path) == ["B", "a", "b/10", "b/2", "c/x/y", "Ä"]


def test_named_paths_keep_the_order_in_which_they_were_given(tmp_path: Path) -> None:
    make(tmp_path, "a", "b")
    assert names(list(scan([tmp_path / "b", tmp_path / "a"])), tmp_path) == ["b", "a"]


def test_a_missing_path_is_left_out_by_name_and_the_rest_goes_on(tmp_path: Path) -> None:
    make(tmp_path, "b")
    first, second = scan([tmp_path / "a", tmp_path / "b"])
    assert isinstance(first, LeftOut)
    assert (first.path, first.reason) == (tmp_path / "a", "no such file")
    assert second == tmp_path / "b"


def test_a_symbolic_link_loop_ends(tmp_path: Path) -> None:
    make(tmp_path, "a/song")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    assert names(list(scan([tmp_path])), tmp_path) == ["a/song"]


def test_a_folder_reached_by_two_links_is_entered_once(tmp_path: Path) -> None:
    make(tmp_path / "real", "song")
    (tmp_path / "top").mkdir()
    for name in ("one", "two"):
        (tmp_path / "top" / name).symlink_to(tmp_path / "real")
    assert names(list(scan([tmp_path / "top"])), tmp_path) == ["top/one/song"]


def test_a_link_to_a_file_is_followed_and_a_dangling_one_is_left_out(tmp_path: Path) -> None:
    make(tmp_path, "store/song")
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "a").symlink_to(tmp_path / "store" / "song")
    (tmp_path / "music" / "b").symlink_to(tmp_path / "nowhere")
    found = list(scan([tmp_path / "music"]))
    assert found[0] == tmp_path / "music" / "a"
    assert isinstance(found[1], LeftOut)
    assert found[1].path == tmp_path / "music" / "b"


def test_a_link_to_itself_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "ring").symlink_to(tmp_path / "ring")
    (only,) = scan([tmp_path / "ring"])
    assert isinstance(only, LeftOut)
    assert "symbolic links" in only.reason


def test_a_pipe_is_left_out_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (only,) = scan([tmp_path])
    assert isinstance(only, LeftOut)
    assert only.reason == "neither a file nor a folder"


def test_a_folder_that_may_not_be_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "closed/song", "open/song")
    real = os.scandir

    def scandir(path: bytes) -> object:  # root may read everything, so the refusal is played
        if path.endswith(b"/closed"):
            raise PermissionError(13, "Permission denied", os.fsdecode(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = list(scan([tmp_path]))
    assert names(found, tmp_path) == ["open/song"]
    assert [(i.path.name, i.reason) for i in found if isinstance(i, LeftOut)] == [("closed", "permission denied")]


def test_names_that_are_no_text_are_found_like_any_other(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.wav")).write_bytes(b"x")
    (tmp_path / "🎼 楽譜.wav").write_bytes(b"x")
    assert [os.fsencode(p.name) for p in scan([tmp_path]) if isinstance(p, Path)] == [
        b"caf\xe9.wav",
        "🎼 楽譜.wav".encode(),
    ]


def test_a_deep_tree_does_not_exhaust_the_stack(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(300):
        deep /= "d"
    deep.mkdir(parents=True)
    (deep / "song").write_bytes(b"x")
    assert list(scan([tmp_path])) == [deep / "song"]
