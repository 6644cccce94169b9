"""A catalogue folder is the same however the scan went: at once or in pieces, in any order, the first time or again."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from catalog.engine import LocalEngine, Result, Work
from catalog.folder_scan import CannotWrite, DeviceFailed, SameName, Scanned, scan_folders
from catalog.journal import JOURNAL_NAME, Journal, JournalUnusable, Listed, OtherFolders
from catalog.manifest import LEFT_OUT_NAME, MANIFEST_NAME, Manifest, TrackRecord
from catalog.record import record_of
from catalog.scan import Cause, LeftOut
from catalog.tools import NO_TOOLS, Tools
from tests.catalog.audio_files import KINDS, encoded, m4a, sound_entry
from tests.catalog.builders import tagged_flac
from tests.catalog.programs import script, with_fpcalc

WRITTEN = (MANIFEST_NAME, LEFT_OUT_NAME)


class Watched(LocalEngine):
    """The local engine, saying which files it was given; it may be told to do something before one of them."""

    def __init__(self, tools: Tools = NO_TOOLS, before: Mapping[str, Any] | None = None) -> None:
        super().__init__(1, tools)
        self.read: list[str] = []
        self._before = before or {}

    def results(self, work: Iterable[Work], _: int | None = None) -> Generator[Result, None, None]:
        for item in work:
            self.read.append(item.path.name)
            self._before.get(item.path.name, lambda: None)()
            yield item, record_of(item.path, item.root, tools=self._tools)


class Backwards(LocalEngine):
    """Takes all there is and answers from the end."""

    def results(self, work: Iterable[Work], _: int | None = None) -> Generator[Result, None, None]:
        for item in reversed(list(work)):
            yield item, record_of(item.path, item.root, tools=self._tools)


@pytest.fixture(autouse=True)
def _settled_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files made a moment ago count as settled: tests do not wait for a clock to tick."""
    monkeypatch.setattr("catalog.journal.RACY_NS", -(10**12))


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Twelve good files and two bad ones, with names whose order by bytes is not that of their parts."""
    root = tmp_path / "music"
    for number, name in enumerate(("a b/1", "a/1", "a/2", "a0/1", "B", "Ä/雨", "z")):
        tagged_flac(root / f"{name}.flac", f"TITLE=Song {number}", "ARTIST=Somebody")
    for kind in KINDS[:4]:
        (root / "a" / kind.name).write_bytes(encoded(kind))
    (root / os.fsdecode(b"caf\xe9.flac")).write_bytes((root / "z.flac").read_bytes())
    (root / "a" / "empty.wav").touch()
    (root / "notes.txt").write_bytes(b"no audio")
    return root


def scan_into(out: Path, *folders: Path, engine: LocalEngine | None = None, tools: Tools = NO_TOOLS) -> Scanned:
    return scan_folders(folders, out, engine or LocalEngine(2, tools), tools)


def contents(out: Path) -> list[bytes]:
    return [(out / name).read_bytes() for name in WRITTEN]


def paths(out: Path) -> list[bytes]:
    return [record.path_bytes for record in Manifest.open(out).records()]


def reasons(out: Path) -> dict[str, str]:
    return {str(one.path): one.reason for one in Manifest.open(out).left_out()}


# ---- the same bytes --------------------------------------------------------------------------------------------------


def test_tracks_stand_in_the_byte_order_of_their_paths_and_the_rest_is_named(tmp_path: Path, music: Path) -> None:
    scanned = scan_into(tmp_path / "out", music)
    assert (scanned.tracks, scanned.left_out) == (12, 2)
    assert paths(tmp_path / "out") == sorted(paths(tmp_path / "out"))
    assert paths(tmp_path / "out")[:3] == [b"B.flac", b"a b/1.flac", b"a/1.flac"]
    assert b"caf\xe9.flac" in paths(tmp_path / "out")
    assert reasons(tmp_path / "out") == {
        "a/empty.wav": "empty",
        "notes.txt": "not audio that Stretto knows (wav, flac, ogg, mp3, m4a, aiff)",
    }


def test_the_manifest_does_not_depend_on_the_engine_its_order_or_where_the_music_lies(
    tmp_path: Path, music: Path
) -> None:
    scan_into(tmp_path / "one", music, engine=LocalEngine(1, NO_TOOLS))
    scan_into(tmp_path / "four", music, engine=LocalEngine(4, NO_TOOLS))
    scan_into(tmp_path / "back", music, engine=Backwards(1, NO_TOOLS))
    shutil.copytree(music, tmp_path / "elsewhere")
    scan_into(tmp_path / "moved", tmp_path / "elsewhere")
    assert contents(tmp_path / "one") == contents(tmp_path / "four") == contents(tmp_path / "back")
    assert contents(tmp_path / "one") == contents(tmp_path / "moved")


def test_nothing_in_the_manifest_says_when_or_where(tmp_path: Path, music: Path) -> None:
    scan_into(tmp_path / "out", music)
    text = (tmp_path / "out" / MANIFEST_NAME).read_bytes()
    assert str(tmp_path).encode() not in text
    head = json.loads(text.splitlines()[0])
    assert head == {
        "stretto_manifest": 1,
        "algorithms": {
            "blake3": "file", "sha256": "file", "pcm": "sha256", "decoders": ["libsndfile"], "chromaprint": None,
        },
    }  # fmt: skip


# ---- again, and only what changed ------------------------------------------------------------------------------------


def test_a_second_run_reads_nothing_and_writes_the_same(tmp_path: Path, music: Path) -> None:
    scan_into(tmp_path / "out", music)
    before, again = contents(tmp_path / "out"), Watched()
    scanned = scan_into(tmp_path / "out", music, engine=again)
    assert (again.read, scanned.read, scanned.tracks) == ([], 0, 12)
    assert contents(tmp_path / "out") == before


def test_only_what_changed_is_read_and_the_result_is_that_of_a_fresh_scan(tmp_path: Path, music: Path) -> None:
    scan_into(tmp_path / "out", music)
    tagged_flac(music / "a" / "1.flac", "TITLE=Another")
    (music / "a" / "2.flac").unlink()
    (music / "a b" / "1.flac").rename(music / "a b" / "renamed.flac")
    (music / "a" / "empty.wav").write_bytes(encoded(KINDS[0]))
    again = Watched()
    scan_into(tmp_path / "out", music, engine=again)
    assert sorted(again.read) == ["1.flac", "empty.wav", "renamed.flac"]
    scan_into(tmp_path / "fresh", music)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_a_change_that_puts_size_and_time_back_is_noticed(tmp_path: Path, music: Path) -> None:
    scan_into(tmp_path / "out", music)
    path = music / "a" / KINDS[0].name
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    again = Watched()
    scan_into(tmp_path / "out", music, engine=again)
    assert again.read == [path.name]


def test_a_file_written_in_the_same_moment_is_read_until_it_has_settled(
    tmp_path: Path, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalog.journal.RACY_NS", 10**15)
    soon, later, third = Watched(), Watched(), Watched()
    scan_into(tmp_path / "out", music)
    scan_into(tmp_path / "out", music, engine=soon)
    monkeypatch.setattr("catalog.journal.RACY_NS", -(10**12))
    scan_into(tmp_path / "out", music, engine=later)
    scan_into(tmp_path / "out", music, engine=third)
    assert (len(soon.read), len(later.read), third.read) == (14, 14, [])


def test_other_tools_make_earlier_results_void(tmp_path: Path, music: Path) -> None:
    scan_into(tmp_path / "out", music)
    tools = with_fpcalc(script(tmp_path / "fpcalc", "echo '{\"fingerprint\": [1, 2, 3]}'"))
    again = Watched(tools)
    assert scan_into(tmp_path / "out", music, engine=again, tools=tools).void
    assert len(again.read) == 14
    assert all(record.chromaprint for record in Manifest.open(tmp_path / "out").records())


def test_what_failed_only_for_the_moment_is_tried_again(tmp_path: Path, music: Path) -> None:
    scan_into(tmp_path / "out", music, engine=Watched(before={"z.flac": (music / "z.flac").unlink}))
    assert reasons(tmp_path / "out")["z.flac"] == "no such file"
    tagged_flac(music / "z.flac", "TITLE=Song 6", "ARTIST=Somebody")
    scan_into(tmp_path / "out", music)
    assert "z.flac" not in reasons(tmp_path / "out")


# ---- cut short -------------------------------------------------------------------------------------------------------


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["B.flac", "1.flac", "z.flac"])
def test_an_interrupted_scan_goes_on_and_ends_like_one_that_was_not(tmp_path: Path, music: Path, where: str) -> None:
    first = Watched(before={where: interrupt})
    with pytest.raises(KeyboardInterrupt):
        scan_into(tmp_path / "out", music, engine=first)
    assert not (tmp_path / "out" / MANIFEST_NAME).exists(), "half a manifest is none"
    assert json.loads((tmp_path / "out" / "run.json").read_bytes())["complete"] is False
    second = Watched()
    scan_into(tmp_path / "out", music, engine=second)
    assert len(first.read[:-1]) + len(second.read) == 14, "nothing is read twice"
    scan_into(tmp_path / "fresh", music)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_an_interrupted_second_scan_leaves_the_first_ones_manifest(tmp_path: Path, music: Path) -> None:
    scan_into(tmp_path / "out", music)
    before = contents(tmp_path / "out")
    tagged_flac(music / "a" / "1.flac", "TITLE=Another")
    with pytest.raises(KeyboardInterrupt):
        scan_into(tmp_path / "out", music, engine=Watched(before={"1.flac": interrupt}))
    assert contents(tmp_path / "out") == before


# ---- devices, disks, folders -----------------------------------------------------------------------------------------


def failing(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Reading these files fails half-way, as on a device that dies."""
    real = os.readv

    def readv(descriptor: int, buffers: list[bytearray]) -> int:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name in names:
            if os.lseek(descriptor, 0, os.SEEK_CUR):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(descriptor, [memoryview(buffers[0])[:1000]])  # type: ignore[list-item]
        return real(descriptor, buffers)

    monkeypatch.setattr(os, "readv", readv)


def test_one_unreadable_file_is_left_out_and_the_rest_goes_on(
    tmp_path: Path, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        failing(patch, "B.flac")
        assert scan_into(tmp_path / "out", music).tracks == 11
    assert reasons(tmp_path / "out")["B.flac"] == "input/output error"
    again = Watched()
    scan_into(tmp_path / "out", music, engine=again)
    assert again.read == ["B.flac"], "another try, once it is mended"


def test_a_device_that_dies_half_way_ends_the_scan_which_then_goes_on(
    tmp_path: Path, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Watched()
    with monkeypatch.context() as patch:
        failing(patch, *(kind.name for kind in KINDS[:4]))
        with pytest.raises(DeviceFailed, match="goes on where it stopped"):
            scan_into(tmp_path / "out", music, engine=first)
    assert len(first.read) < 14
    second = Watched()
    scan_into(tmp_path / "out", music, engine=second)
    assert set(second.read) >= {kind.name for kind in KINDS[:3]}
    assert "B.flac" not in second.read
    scan_into(tmp_path / "fresh", music)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_a_device_whose_folder_cannot_be_listed_any_more_is_dead_at_once(
    tmp_path: Path, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, engine = os.scandir, Watched()

    def dies() -> None:
        failing(monkeypatch, "1.flac")

        def scandir(path: Path) -> object:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "scandir", scandir)

    with pytest.raises(DeviceFailed, match="input/output error"):
        scan_into(tmp_path / "out", music, engine=Watched(before={"1.flac": dies}))
    monkeypatch.setattr(os, "scandir", real)
    monkeypatch.undo()
    monkeypatch.setattr("catalog.journal.RACY_NS", -(10**12))
    scan_into(tmp_path / "out", music, engine=engine)
    assert "B.flac" not in engine.read


def test_a_device_that_dies_during_the_listing_forgets_nothing(
    tmp_path: Path, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan_into(tmp_path / "out", music)
    before, real, again = contents(tmp_path / "out"), os.scandir, Watched()

    def scandir(path: bytes) -> object:
        if path.rpartition(b"/")[2] == b"a":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        with pytest.raises(DeviceFailed):
            scan_into(tmp_path / "out", music)
    assert contents(tmp_path / "out") == before
    scan_into(tmp_path / "out", music, engine=again)
    assert again.read == []


def test_a_full_disk_is_named_and_costs_nothing_that_was_read(
    tmp_path: Path, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CannotWrite, match=r"no space left on device.*nothing is read twice"):
        scan_into(tmp_path / "out", music)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [JOURNAL_NAME], "no drafts are left behind"
    monkeypatch.setattr(os, "fsync", real)
    again = Watched()
    scan_into(tmp_path / "out", music, engine=again)
    assert again.read == []


def test_a_journal_that_finds_no_room_says_so_and_goes_on_when_there_is(tmp_path: Path, music: Path) -> None:
    (tmp_path / "out").mkdir()
    with Journal(tmp_path / "out" / JOURNAL_NAME) as journal:
        journal.begin([music], {})
        journal._db.execute("PRAGMA max_page_count = 20")  # SQLite's own full disk, of 80 kB
        with pytest.raises(JournalUnusable, match="no space left on the disk: make room"):
            journal.list(Listed(f"{'x' * 400}{number}", 0, "", 1) for number in range(1000))
    assert scan_into(tmp_path / "out", music).tracks == 12


def test_two_scans_do_not_write_into_one_folder(tmp_path: Path, music: Path) -> None:
    (tmp_path / "out").mkdir()
    with Journal(tmp_path / "out" / JOURNAL_NAME) as journal:
        journal.begin([music], {})
        with pytest.raises(JournalUnusable, match="another scan is writing"):
            scan_into(tmp_path / "out", music)


def test_a_journal_that_is_none_is_named(tmp_path: Path, music: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / JOURNAL_NAME).write_bytes(b"not a database, really not" * 100)
    with pytest.raises(JournalUnusable, match="delete it"):
        scan_into(tmp_path / "out", music)


def test_a_catalogue_folder_is_of_one_set_of_folders(tmp_path: Path, music: Path) -> None:
    scan_into(tmp_path / "out", music)
    with pytest.raises(OtherFolders, match="music"):
        scan_into(tmp_path / "out", music / "a")


def test_the_catalogue_folder_may_lie_in_the_music_and_is_not_read(tmp_path: Path, music: Path) -> None:
    scan_into(tmp_path / "out", music)
    scan_into(music / "out", music)
    assert contents(tmp_path / "out") == contents(music / "out")


def test_paths_of_several_folders_begin_with_their_names(tmp_path: Path, music: Path) -> None:
    tagged_flac(tmp_path / "more" / "x.flac")
    scan_into(tmp_path / "out", music / "a", tmp_path / "more")
    assert {path.split(b"/")[0] for path in paths(tmp_path / "out")} == {b"a", b"more"}
    (tmp_path / "more" / "a").mkdir()
    with pytest.raises(SameName, match="'a'"):
        scan_into(tmp_path / "out2", music / "a", tmp_path / "more" / "a")


# ---- bad input, each by name -----------------------------------------------------------------------------------------


def test_every_kind_of_bad_input_is_named_and_none_stops_the_rest(
    tmp_path: Path, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = music / "bad"
    bad.mkdir()
    whole = encoded(next(kind for kind in KINDS if kind.name == "flac16.flac"))
    (bad / "cut.flac").write_bytes(whole[: len(whole) // 2])
    (bad / "corrupt.flac").write_bytes(whole[:20_000] + bytes([whole[20_000] ^ 1]) + whole[20_001:])
    (bad / "bought.m4p").write_bytes(m4a(entry=sound_entry(b"drms")))
    (bad / "ring").symlink_to(bad / "ring")
    (bad / "up").symlink_to(music)
    (bad / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(bad / "pipe")
    (bad / os.fsdecode(b"\xff\xfe.wav")).write_bytes(b"")
    (bad / "zero").symlink_to("/dev/zero")
    tagged_flac(bad / "grows.flac")
    tagged_flac(bad / "closed" / "x.flac")
    real = os.scandir

    def scandir(path: bytes) -> object:  # root may read everything, so the refusal is played
        if path.rpartition(b"/")[2] == b"closed":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    def grow() -> None:
        real_read = os.readv

        def readv(descriptor: int, buffers: list[bytearray]) -> int:
            count = real_read(descriptor, buffers)
            if Path(f"/proc/self/fd/{descriptor}").readlink().name == "grows.flac" and count:
                with (bad / "grows.flac").open("ab") as file:
                    file.write(b"more")
            return count

        monkeypatch.setattr(os, "readv", readv)

    monkeypatch.setattr(os, "scandir", scandir)
    scanned = scan_into(tmp_path / "out", music, engine=Watched(before={"grows.flac": grow}))
    found = reasons(tmp_path / "out")
    assert scanned.tracks == 12
    assert {name.removeprefix("bad/"): reason for name, reason in found.items() if name.startswith("bad/")} == {
        "bought.m4p": found["bad/bought.m4p"],
        "closed": "permission denied",
        "corrupt.flac": found["bad/corrupt.flac"],
        "cut.flac": found["bad/cut.flac"],
        "gone": "no such file",
        "grows.flac": "changed while it was being read: try again when it is finished",
        "pipe": "neither a file nor a folder",
        "ring": found["bad/ring"],
        "zero": "neither a file nor a folder",
        os.fsdecode(b"\xff\xfe.wav"): "empty",
    }
    assert "encrypted" in found["bad/bought.m4p"]
    assert "damaged" in found["bad/corrupt.flac"]
    assert "truncated" in found["bad/cut.flac"]
    assert "symbolic links" in found["bad/ring"]
    raw = (tmp_path / "out" / LEFT_OUT_NAME).read_bytes()
    assert b'"path_hex":"6261642ffffe2e776176"' in raw


# ---- what stands beside the manifest ---------------------------------------------------------------------------------


def test_a_fingerprint_is_kept_beside_the_manifest_with_the_digest_it_has_there(tmp_path: Path, music: Path) -> None:
    tools = with_fpcalc(script(tmp_path / "fpcalc", "echo '{\"fingerprint\": [1, 2, 4294967295]}'; exit 3"))
    scan_into(tmp_path / "out", music, tools=tools)
    rows = [json.loads(line) for line in (tmp_path / "out" / "fingerprints.jsonl").read_bytes().splitlines()]
    records = list(Manifest.open(tmp_path / "out").records())
    assert [row["path"] for row in rows] == [r.path_bytes.decode("utf-8", "replace") for r in records]
    for row, record in zip(rows, records, strict=True):
        raw = base64.b64decode(row["items_u32le_base64"])
        assert record.chromaprint is not None
        assert hashlib.sha256(raw).digest() == record.chromaprint.sha256 == bytes.fromhex(row["sha256"])


def test_the_run_report_says_how_it_went_and_does_not_guess_energy(tmp_path: Path, music: Path) -> None:
    scan_into(tmp_path / "out", music)
    report = json.loads((tmp_path / "out" / "run.json").read_bytes())
    assert report["complete"] is True
    assert report["files"] == {"tracks": 12, "left_out": 2, "to_do": 0, "read": 14}
    assert report["bytes_read"] == sum(path.stat().st_size for path in music.rglob("*") if path.is_file())
    assert report["energy"] == "not measured"
    assert "not found" in report["tools"]["fpcalc"]
    assert {"wall_s", "cpu_s", "cpu_programs_s", "bytes_per_s", "engine", "host"} <= set(report)


@pytest.mark.timeout(30)
def test_a_pipe_or_a_socket_that_took_a_files_place_is_left_out_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for name in ("pipe", "socket"):
            result = record_of(tmp_path / name, tmp_path, tools=NO_TOOLS)
            assert isinstance(result, LeftOut)
            assert (result.reason, result.cause) == ("neither a file nor a folder", Cause.MOMENT)


def test_a_left_out_file_and_a_record_survive_another_process(tmp_path: Path, music: Path) -> None:
    import pickle

    good, bad = (
        record_of(music / "z.flac", music, tools=NO_TOOLS),
        record_of(music / "notes.txt", music, tools=NO_TOOLS),
    )
    assert isinstance(good, TrackRecord)
    assert isinstance(bad, LeftOut)
    assert pickle.loads(pickle.dumps(good)) == good  # noqa: S301
    back = pickle.loads(pickle.dumps(bad))  # noqa: S301
    assert (back.path, back.reason, back.cause) == (bad.path, bad.reason, bad.cause)
