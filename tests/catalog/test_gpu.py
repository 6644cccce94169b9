"""Digests by another backend for files that others read too: in order, and of nothing that has changed since."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, cast

import pytest
from blake3 import blake3

from catalog.engine import LocalEngine, Work
from catalog.gpu import GpuHashing
from catalog.manifest import TrackRecord
from catalog.record import record_of
from catalog.tools import NO_TOOLS
from kernels.pipeline import Hashed
from kernels.sources import READ_BYTES, Source, SourceError, digest_on_cpu
from tests.catalog.builders import tagged_flac
from tests.catalog.test_content import in_memory, out_of_memory
from tests.kernels.driver.toolchain import ROOT


class PretendedHasher:
    """A `kernels.dispatch.Hasher` whose GPU is the processor. batch: so many sources are taken before one is done."""

    opened_gpu = True

    def __init__(self, *, batch: int = 2, lost_after: int = 10**9) -> None:
        self.uses_gpu = True
        self.taken = 0
        self.is_closed = False
        self._batch, self._lost_after = batch, lost_after

    def hash(self, sources: Iterable[Source]) -> Generator[Hashed, None, None]:
        held: list[Hashed] = []
        for index, source in enumerate(sources):
            self.taken += 1
            self.uses_gpu = self.taken < self._lost_after
            try:
                held.append(Hashed(index, digest_on_cpu(source), "GPU-0"))
            except SourceError as error:
                held.append(Hashed(index, None, "cpu", error))
            if len(held) == self._batch:
                yield from held
                held.clear()
        yield from held

    def report(self) -> dict[str, object]:
        return {"why": "GPU-0: faster here"}

    def __enter__(self) -> PretendedHasher:
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closed = True


def each(hasher: PretendedHasher, paths: Iterable[Path]) -> list[tuple[Path, bytes | None]]:
    hashing = GpuHashing(cast("Any", hasher))
    return [(path, made.digest if made else None) for path, made in hashing.each(paths, lambda path: path)]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}" for number in range(7)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * number * 1000)
    return paths


def digest_of(path: Path) -> bytes:
    return blake3(path.read_bytes()).digest()


def test_digests_come_in_the_order_of_the_files_and_what_cannot_be_hashed_in_its_place(files: list[Path]) -> None:
    os.mkfifo(files[0].with_name("pipe"))
    odd = [files[0].with_name("pipe"), files[0].with_name("gone"), files[0].parent]
    asked = [odd[0], *files[:3], odd[1], *files[3:], odd[2]]
    due = [(path, digest_of(path) if path in files else None) for path in asked]
    assert each(PretendedHasher(), asked) == due
    assert each(PretendedHasher(batch=100), asked) == due
    assert each(PretendedHasher(), odd) == [(path, None) for path in odd]


def test_when_the_last_gpu_is_lost_the_rest_is_left_to_the_processor(files: list[Path]) -> None:
    hasher = PretendedHasher(lost_after=3)
    found = each(hasher, files)
    assert [path for path, _ in found] == files
    assert [digest for _, digest in found] == [*map(digest_of, files[:3]), None, None, None, None]
    assert hasher.taken == 3


def test_more_files_than_may_be_open_wait_in_one_batch(tmp_path: Path) -> None:
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from tests.catalog.test_gpu import PretendedHasher, digest_of, each\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))\n"
        "paths = sorted(Path(sys.argv[1]).iterdir())\n"
        "assert each(PretendedHasher(batch=1000), paths) == [(path, digest_of(path)) for path in paths]\n"
    )
    for number in range(64):
        (tmp_path / f"{number}").write_bytes(bytes([number]))
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True, cwd=ROOT, timeout=60)


def test_a_file_that_changes_before_its_digest_is_there_has_none(files: list[Path]) -> None:
    class Meddling(PretendedHasher):
        def hash(self, sources: Iterable[Source]) -> Generator[Hashed, None, None]:
            for result in super().hash(sources):
                if result.index == 2:
                    files[2].write_bytes(b"new")
                yield result

    found = dict(each(Meddling(batch=1), files))
    assert found[files[2]] is None
    assert found[files[3]] == digest_of(files[3])


def test_what_was_not_in_memory_is_dropped_only_beyond_what_may_be_kept(files: list[Path]) -> None:
    path = files[6]
    path.write_bytes(bytes(READ_BYTES))  # one read, and more than the kernel fetches when it is asked for a byte
    due = digest_of(path)
    for keep_bytes, kept in ((0, False), (1 << 30, True)):
        out_of_memory(path)
        hashing = GpuHashing(cast("Any", PretendedHasher()), keep_bytes=keep_bytes)
        assert hashing.digests([path]) == {path: due}
        assert in_memory(path) == kept


# ---- in a scan -------------------------------------------------------------------------------------------------------


@pytest.fixture
def music(tmp_path: Path) -> list[Work]:
    root = tmp_path / "music"
    paths = [tagged_flac(root / f"{number}.flac", f"TITLE=Song {number}") for number in range(5)]
    return [Work(path=path, root=root, size_bytes=path.stat().st_size) for path in paths]


def scanned(
    monkeypatch: pytest.MonkeyPatch, hasher: PretendedHasher, music: list[Work]
) -> tuple[LocalEngine, dict[Path, object]]:
    monkeypatch.setattr("catalog.engine.is_any_calibrated", lambda: True)
    monkeypatch.setattr("kernels.dispatch.open_best", lambda **_: hasher)
    engine = LocalEngine(2, NO_TOOLS)
    return engine, {work.path: result for work, result in engine.results(music)}


def test_a_scan_records_what_the_gpu_gave_and_closes_it(music: list[Work], monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = PretendedHasher()
    engine, found = scanned(monkeypatch, hasher, music)
    assert found == {work.path: record_of(work.path, work.root, tools=NO_TOOLS) for work in music}
    assert (hasher.taken, hasher.is_closed) == (5, True)
    assert engine.describe() == {
        "name": "local", "threads": 2, "backend": "gpu and cpu", "why": "GPU-0: faster here",
    }  # fmt: skip


def test_a_scan_does_not_hash_once_more_what_the_gpu_hashed(music: list[Work], monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(PretendedHasher):
        def hash(self, sources: Iterable[Source]) -> Generator[Hashed, None, None]:
            for result in super().hash(sources):
                yield Hashed(result.index, bytes(32), "GPU-0")

    _, found = scanned(monkeypatch, Wrong(), music)
    assert [cast("TrackRecord", record).blake3 for record in found.values()] == [bytes(32)] * 5


def test_a_file_that_changes_between_the_readings_is_read_again_as_it_is_now(
    music: list[Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = music[1].path

    def meddling(path: Path, root: Path, **settings: Any) -> object:
        if path == changed and "blake3" in settings:
            tagged_flac(changed, "TITLE=Another")
        return record_of(path, root, **settings)

    monkeypatch.setattr("catalog.engine.record_of", meddling)
    _, found = scanned(monkeypatch, PretendedHasher(), music)
    record = found[changed]
    assert isinstance(record, TrackRecord)
    assert record.blake3 == digest_of(changed)


def test_a_scan_left_early_closes_the_gpu(music: list[Work], monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = PretendedHasher()
    monkeypatch.setattr("catalog.engine.is_any_calibrated", lambda: True)
    monkeypatch.setattr("kernels.dispatch.open_best", lambda **_: hasher)
    results = LocalEngine(1, NO_TOOLS).results(music * 10)
    next(results)
    results.close()
    assert hasher.is_closed
    assert hasher.taken < 50


def test_without_a_calibration_a_scan_imports_nothing_of_gpus(music: list[Work], tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from catalog.engine import LocalEngine, Work\n"
        "from catalog.tools import NO_TOOLS\n"
        "import cli.catalog_scan\n"
        "path = Path(sys.argv[1])\n"
        "assert len(list(LocalEngine(1, NO_TOOLS).results([Work(path=path, root=path.parent, size_bytes=1)]))) == 1\n"
        "print({'catalog.gpu', 'kernels.dispatch', 'kernels.pipeline', 'pycuda'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, music[0].path], check=True, cwd=ROOT, timeout=60, capture_output=True,
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout == b"set()\n"
