"""What a process died over is known to the next; read in a process of its own, it is what it is otherwise."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from catalog.engine import LocalEngine, Work
from catalog.in_hand import SLOT_BYTES, InHand, parse_in_hand
from catalog.isolated import record_apart
from catalog.manifest import TrackRecord
from catalog.record import record_of
from catalog.scan import Cause, LeftOut
from catalog.tools import NO_TOOLS, Tools, ToolStuck
from tests.catalog.builders import tagged_flac
from tests.catalog.programs import script, with_fpcalc

ODD = os.fsdecode(b"caf\xe9.flac")


def noted(path: Path) -> tuple[bytes, ...]:
    return parse_in_hand(path.read_bytes())


def die_with(notes: Path, *held: Path) -> None:
    """Leaves notes as a process does that ends with these files in hand."""
    in_hand = InHand(notes, len(held))
    with ExitStack() as stack:
        for path in held:
            stack.enter_context(in_hand.hold(path))
        left = notes.read_bytes()
    notes.write_bytes(left)


def test_what_is_held_is_noted_and_forgotten_when_it_is_put_down(tmp_path: Path) -> None:
    notes, song = tmp_path / "notes", tmp_path / ODD
    in_hand = InHand(notes, 2)
    with in_hand.hold(song), in_hand.hold(tmp_path / "b"):
        assert noted(notes) == (os.fsencode(song), os.fsencode(tmp_path / "b"))
    assert noted(notes) == ()
    in_hand.close(complete=True)
    assert not notes.exists()


def test_who_dies_leaves_suspects_until_each_was_read(tmp_path: Path) -> None:
    notes, first, second = tmp_path / "notes", tmp_path / ODD, tmp_path / "b"
    die_with(notes, first, second)
    again = InHand(notes, 1)
    assert again.is_suspect(first)
    assert again.is_suspect(second)
    assert not again.is_suspect(tmp_path / "c")
    again.clear(first)
    again.close(complete=False)
    assert noted(notes) == (os.fsencode(second),)
    assert not InHand(notes, 4).is_suspect(first)


def test_notes_that_cannot_be_written_stop_nothing(tmp_path: Path) -> None:
    in_hand = InHand(tmp_path / "no folder" / "notes", 1)
    with in_hand.hold(tmp_path / "a"):
        assert not in_hand.is_suspect(tmp_path / "a")
    in_hand.close(complete=True)


@pytest.mark.parametrize("data", [b"", b"\1", b"\xff\xff" + b"a" * 9000, bytes(SLOT_BYTES), b"\2\0\0a"])
def test_notes_that_are_none_name_nobody(data: bytes) -> None:
    assert parse_in_hand(data) == ()


def test_a_suspect_read_apart_gives_what_it_gives_otherwise(tmp_path: Path) -> None:
    script(tmp_path / "fpcalc", "echo '{\"fingerprint\": [1, 2]}'")
    tools = with_fpcalc(str(tmp_path / "fpcalc"))
    song = tmp_path / "music" / ODD
    tagged_flac(song, "TITLE=雨", "ARTIST=Somebody")
    apart = record_apart(song, song.parent, tools=tools)
    assert isinstance(apart, TrackRecord)
    assert apart == record_of(song, song.parent, tools=tools)
    assert apart.chromaprint is not None
    assert apart.chromaprint.raw, "the words themselves too"
    (tmp_path / "music" / "a.wav").write_bytes(b"no audio")
    left_out = record_apart(tmp_path / "music" / "a.wav", song.parent, tools=tools)
    assert isinstance(left_out, LeftOut)
    assert (left_out.cause, left_out.path.name) == (Cause.CONTENT, "a.wav")


def test_the_engine_reads_a_suspect_apart_and_the_others_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    songs = [tmp_path / "music" / f"{number}.flac" for number in range(3)]
    for song in songs:
        tagged_flac(song, "TITLE=Song")
    apart: list[Path] = []

    def watched(path: Path, root: Path, **more: object) -> TrackRecord | LeftOut:
        apart.append(path)
        return record_of(path, root, tools=NO_TOOLS)

    monkeypatch.setattr("catalog.engine.record_apart", watched)
    die_with(tmp_path / "notes", songs[1])
    work = [Work(path=song, root=song.parent, size_bytes=1) for song in songs]
    results = list(LocalEngine(2, NO_TOOLS, tmp_path / "notes").results(work))
    assert {item.path for item, _ in results} == set(songs)
    assert apart == [songs[1]]
    assert not (tmp_path / "notes").exists()


@pytest.mark.parametrize(
    ("status", "cause", "words"),
    [
        (-11, Cause.CONTENT, "the decoder crashed on it (Segmentation fault)"),
        (-6, Cause.CONTENT, "the decoder crashed on it (Aborted)"),
        (-9, Cause.MOMENT, "killed (Killed; too little memory?)"),
        (1, Cause.MOMENT, "reading it failed (ImportError: no)"),
        (0, Cause.MOMENT, "reading it failed (ImportError: no)"),
        (None, Cause.MOMENT, "did not end within"),
    ],
)
def test_how_the_other_process_ended_says_whether_the_file_is_to_blame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int | None, cause: Cause, words: str
) -> None:
    def ends(*_: object, **__: object) -> tuple[int, str]:
        if status is None:
            raise ToolStuck("python", 1)
        return status, "Traceback\nImportError: no\n"

    monkeypatch.setattr("catalog.isolated.run_tool", ends)
    (tmp_path / "a").touch()
    left_out = record_apart(tmp_path / "a", tmp_path, tools=replace(NO_TOOLS))
    assert isinstance(left_out, LeftOut)
    assert left_out.cause is cause
    assert words in left_out.reason
    gone = record_apart(tmp_path / "gone", tmp_path, tools=Tools())
    assert isinstance(gone, LeftOut)
    assert gone.reason == "no such file"
