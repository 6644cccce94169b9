"""`stretto catalog scan`: list the folders, read what is new, write the catalogue folder; any step can be cut short."""

from __future__ import annotations

import base64
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from catalog.engine import Engine, Work
from catalog.fingerprint import ALGORITHM
from catalog.journal import JOURNAL_NAME, Counts, Journal, Listed, identity_of
from catalog.manifest import LEFT_OUT_NAME, MANIFEST_NAME, TrackRecord, compact, encode_head
from catalog.record import algorithms_of
from catalog.run_report import RUN_NAME, EnergyMeter, NoMeter, Stopwatch, run_report
from catalog.scan import Cause, LeftOut, explain, scan
from catalog.tools import Tools
from consensus.errors import LocalError, RequestError

FINGERPRINTS_NAME: Final = "fingerprints.jsonl"
DEVICE_FAILURES_MAX: Final = 3
"""So many files in a row that the device refuses, and it is the device that is at fault, not they."""


class DeviceFailed(LocalError):
    """The disk, or the network to it, gave out. folder: what lay on it. reason: the system's words."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"{folder}: its device fails ({reason}): reading stopped; mend that, then run the same command again: "
            "it goes on where it stopped"
        )
        self.folder = folder
        self.reason = reason


class CannotWrite(LocalError):
    """The catalogue folder cannot be written. path: the file. reason: the system's words."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} cannot be written ({reason}): mend that, then run the same command again: nothing is read twice"
        )
        self.path = path
        self.reason = reason


class SameName(RequestError):
    """Two of the folders have one name, which paths in the manifest begin with."""

    def __init__(self, name: str) -> None:
        super().__init__(f"two of the folders are named {name!r}: scan them apart, or scan the folder that holds them")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """How a scan ended."""

    tracks: int
    left_out: int
    read: int
    """Files looked at in this run; the others were known."""
    bytes: int
    """Of all tracks."""
    void: bool
    """Whether earlier results were given up because they were made with other tools."""


def scan_folders(
    folders: Sequence[Path],
    out: Path,
    engine: Engine,
    tools: Tools,
    *,
    meter: EnergyMeter | None = None,
    listed: Callable[[Counts], None] | None = None,
    done: Callable[[Work, TrackRecord | LeftOut], None] | None = None,
) -> Scanned:
    """Brings the catalogue folder `out` up to date with `folders`.

    listed: told once what there is to do. done: told of each file that was read. Paths in the manifest are relative to
    the folder; of several folders, each path begins with its folder's name. `out` itself is never read.
    Raises: SameName, OtherFolders, JournalUnusable, DeviceFailed, CannotWrite; what interrupts it passes through. In
    each case the journal keeps what was found, and the same call goes on from there.
    """
    roots = _roots(folders)
    meter = meter or NoMeter()
    watch = Stopwatch()
    read = [0, 0]
    _make_folder(out)
    with Journal(out / JOURNAL_NAME) as journal:
        void = journal.begin([folder for folder, _ in roots], algorithms_of(tools))
        counts = journal.list(_listing(roots, out))
        if listed is not None:
            listed(counts)
        complete = False
        meter.start()
        try:
            for work, result in _read(journal, roots, engine, counts.to_do_bytes):
                read[0] += 1
                read[1] += work.size_bytes
                if done is not None:
                    done(work, result)
            _write_results(out, journal, tools)
            complete = True
        finally:
            counts = journal.counts()
            report = run_report(
                engine=engine.describe(),
                times=watch.read(),
                tools=tools,
                energy=meter.stop(read[0]),
                files={"tracks": counts.tracks, "left_out": counts.left_out, "to_do": counts.to_do, "read": read[0]},
                bytes_read=read[1],
                complete=complete,
            )
            with suppress(CannotWrite):  # the report is no reason to lose a manifest, or a better message
                _write(out / RUN_NAME, [json.dumps(report, ensure_ascii=False, indent=2).encode()])
    return Scanned(tracks=counts.tracks, left_out=counts.left_out, read=read[0], bytes=counts.bytes, void=void)


def _roots(folders: Sequence[Path]) -> list[tuple[Path, Path]]:
    """(folder, what its paths are relative to) of each, absolute, without following links."""
    absolute = [Path(os.path.abspath(folder)) for folder in folders]  # noqa: PTH100  resolve() would follow links
    if len(absolute) == 1:
        return [(absolute[0], absolute[0])]
    names = [folder.name for folder in absolute]
    for name in names:
        if names.count(name) > 1:
            raise SameName(name)
    return [(folder, folder.parent) for folder in absolute]


def _listing(roots: Sequence[tuple[Path, Path]], out: Path) -> Iterator[Listed]:
    status = out.stat()
    visited = {(status.st_dev, status.st_ino)}
    for index, (folder, root) in enumerate(roots):
        for item in scan([folder], visited):
            path = item.path if isinstance(item, LeftOut) else item
            name = path.relative_to(root).as_posix()
            problem = item if isinstance(item, LeftOut) else None
            identity, size = "", 0
            if problem is None:
                try:
                    found = path.stat()
                    identity, size = identity_of(found, time.time_ns()), found.st_size
                except OSError as error:
                    problem = LeftOut.of(path, error)
            if problem is not None and problem.cause is Cause.DEVICE:
                # Half a listing would make the manifest forget the other half.
                raise DeviceFailed(folder, problem.reason)
            yield Listed(name, index, identity, size, problem)


def _read(
    journal: Journal, roots: Sequence[tuple[Path, Path]], engine: Engine, expected_bytes: int
) -> Iterator[tuple[Work, TrackRecord | LeftOut]]:
    def work() -> Iterator[Work]:
        for name, index, size in journal.to_do():
            root = roots[index][1]
            yield Work(path=root / name, root=root, size_bytes=size)

    failures = 0
    with closing(engine.results(work(), expected_bytes)) as results:
        for item, result in results:
            failures = failures + 1 if isinstance(result, LeftOut) and result.cause is Cause.DEVICE else 0
            journal.add(item.path.relative_to(item.root).as_posix(), result)
            if failures:
                assert isinstance(result, LeftOut), "only what is left out fails"
                _check_device(item, result, failures)
            yield item, result


def _check_device(item: Work, result: LeftOut, failures: int) -> None:
    """One unreadable sector is one file's misfortune; a folder that cannot be listed, or a row of files, is more."""
    try:
        with os.scandir(item.root) as entries:
            next(entries, None)
    except OSError as error:
        raise DeviceFailed(item.root, explain(error)) from error
    if failures >= DEVICE_FAILURES_MAX:
        raise DeviceFailed(item.root, result.reason)


# ---- writing ---------------------------------------------------------------------------------------------------------


def _write_results(out: Path, journal: Journal, tools: Tools) -> None:
    """The manifest last: who finds it finds the files that belong to it."""
    algorithms = algorithms_of(tools)
    if algorithms["chromaprint"] is None:
        with suppress(FileNotFoundError):
            (out / FINGERPRINTS_NAME).unlink()
    else:
        _write(out / FINGERPRINTS_NAME, _fingerprints(journal))
    _write(out / LEFT_OUT_NAME, (line for (line,) in journal.left_out()))
    _write(out / MANIFEST_NAME, _manifest(journal, algorithms))


def _manifest(journal: Journal, algorithms: Mapping[str, Any]) -> Iterator[bytes]:
    yield encode_head(algorithms)
    for line, _ in journal.tracks():
        yield line


def _fingerprints(journal: Journal) -> Iterator[bytes]:
    """One line a fingerprint; its SHA-256 is of the decoded items, as the manifest and a claim have it."""
    for line, raw in journal.tracks():
        if raw:
            row = json.loads(line)
            named = {key: row[key] for key in ("path", "path_hex", "blake3") if key in row}
            print_ = {"algorithm": ALGORITHM, "sha256": row["chromaprint"]["sha256"]}
            yield compact(named | print_ | {"items_u32le_base64": base64.b64encode(raw).decode()})


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(out, explain(error)) from error


def _write(path: Path, lines: Iterable[bytes]) -> None:
    """All of it or nothing, by a rename. Raises: CannotWrite, and what `lines` raises."""
    with _draft(path) as file:
        for line in lines:
            file.write(line)
            file.write(b"\n")


@contextmanager
def _draft(path: Path) -> Iterator[BinaryIO]:
    draft: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        draft = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(descriptor, 0o644)
            os.fsync(descriptor)
        draft.replace(path)
        draft = None
    except OSError as error:
        raise CannotWrite(path, explain(error)) from error
    finally:
        if draft is not None:
            with suppress(OSError):
                draft.unlink()
