"""`stretto catalog scan`: what every file under the folders is, written down so that it can be checked and signed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from catalog.cluster.start import ClusterError, NoCluster, RayMissing
from catalog.crew import processors
from catalog.energy import MachineMeter
from catalog.engine import Engine, LocalEngine, Work
from catalog.folder_scan import CannotWrite, DeviceFailed, Scanned, scan_folders
from catalog.in_hand import IN_HAND_NAME
from catalog.journal import Counts, JournalUnusable
from catalog.manifest import LEFT_OUT_NAME, MANIFEST_NAME, MalformedManifest, Manifest, TrackRecord
from catalog.run_report import NOT_COMPUTED, RUN_NAME, EnergyMeter
from catalog.scan import LeftOut
from catalog.tools import Tools, find_tools
from cli.output import CliError, Exit, PathArgument, complain, human_bytes, json_option, print_json, printable, say
from kernels.calibrated import is_any_calibrated

if TYPE_CHECKING:
    from collections.abc import Callable

_CLUSTER_EXITS = {RayMissing: Exit.CONFIG, NoCluster: Exit.UNREACHABLE}
NAMED_MAX = 20
"""Files left out that are named on stderr; all of them stand in left_out.jsonl."""


@click.command("scan")
@click.argument("folders", metavar="FOLDER…", nargs=-1, required=True, type=PathArgument)
@click.option("--into", "out", metavar="OUT", required=True, type=PathArgument, help="The catalogue folder to write.")
@click.option("--threads", type=click.IntRange(1, 256), help="Files read at once. Default: the processors available.")
@click.option(
    "--engine",
    metavar="ENGINE",
    default="local",
    show_default=True,
    help="Who reads: local (threads), ray (processes here), ray://HOST[:PORT] (a Ray cluster with the same storage).",
)
@click.option("--fingerprints/--no-fingerprints", default=True, help="Chromaprint, where fpcalc is installed.")
@json_option
def scan_command(
    *, folders: tuple[Path, ...], out: Path, threads: int | None, engine: str, fingerprints: bool, as_json: bool
) -> int:
    """Write down what every audio file under FOLDER… is.

    Digests of the bytes, of the samples (lossless sources), what the header and the tags say, and what it sounds like.
    OUT/manifest.jsonl depends on the files and the tools it names alone, not on this machine; OUT/run.json says how the
    run went. Interrupted, the same command goes on where it stopped; run again, it reads only what changed. Files that
    cannot be used are listed in OUT/left_out.jsonl, each with a reason (exit code 3).

    \b
    Example:
      stretto catalog scan music/ --into autumn/
      stretto catalog scan /srv/masters --into autumn/ --engine ray://head
    """
    _check_folders(folders, out)
    tools = find_tools()
    for name in ("ffmpeg", "flac", "fpcalc"):
        if tools.version(name) is None and (fingerprints or name != "fpcalc"):
            complain(f"{name} {NOT_COMPUTED[name]}")
    if not fingerprints:
        tools = replace(tools, fpcalc=None)
    shown = _Shown()
    try:
        with shown.bar():
            worker, meter = _engine(engine, threads, tools, out)
            scanned = scan_folders(folders, out, worker, tools, meter=meter, listed=shown.listed, done=shown.done)
    except KeyboardInterrupt:
        message = f"interrupted after {shown.count} of {shown.total} files: the same command goes on from there"
        raise CliError(message, Exit.INTERRUPTED) from None
    except (DeviceFailed, CannotWrite, JournalUnusable) as error:
        raise CliError(str(error), Exit.IO) from error
    except ClusterError as error:
        raise CliError(str(error), _CLUSTER_EXITS.get(type(error), Exit.RETRY)) from error
    return _conclude(scanned, out, shown, as_json=as_json)


def _engine(name: str, threads: int | None, tools: Tools, out: Path) -> tuple[Engine, EnergyMeter]:
    if name == "local":
        local = LocalEngine(threads or processors(), tools, out / IN_HAND_NAME, say=complain)
        return local, MachineMeter(gpu_took_part=(lambda: local.uses_gpu) if is_any_calibrated() else None)
    from catalog.cluster.engine import RayEngine
    from catalog.cluster.start import parse_engine

    try:
        address = parse_engine(name)
    except ValueError as error:
        raise click.UsageError(f"--engine: {error}") from error
    if address is not None and threads is not None:
        raise click.UsageError(f"--threads says nothing to {name}: its nodes say how many processors they give")
    ray = RayEngine(address, tools, workers=threads or processors(), say=complain)
    return ray, ray


def _check_folders(folders: tuple[Path, ...], out: Path) -> None:
    for folder in folders:
        if not folder.is_dir():
            why = "not a folder" if folder.exists() else "no such folder"
            raise CliError(f"{folder}: {why}", Exit.NO_INPUT)
    if out.exists() and not out.is_dir():
        raise CliError(f"--into {out} is not a folder", Exit.CANNOT_CREATE)
    if any(out.exists() and out.samefile(folder) for folder in folders):
        raise CliError(f"--into {out} is the music itself: name another folder", Exit.CANNOT_CREATE)
    if (out / MANIFEST_NAME).exists():
        try:
            Manifest.open(out)
        except MalformedManifest as error:
            message = f"--into {out} holds a {MANIFEST_NAME} that is not Stretto's: choose another folder"
            raise CliError(message, Exit.CANNOT_CREATE) from error


class _Shown:
    """What a person sees meanwhile: names of files left out, and on a terminal bytes, rate and time to go."""

    def __init__(self) -> None:
        self.count, self.total, self.named = 0, 0, 0
        self._advance: Callable[[int], None] = lambda _: None
        self._begin: Callable[[Counts], None] = lambda _: None

    def listed(self, counts: Counts) -> None:
        self.total = counts.to_do
        self._begin(counts)

    def done(self, work: Work, result: TrackRecord | LeftOut) -> None:
        self.count += 1
        self._advance(work.size_bytes)
        if isinstance(result, LeftOut):
            self.named += 1
            if self.named <= NAMED_MAX:
                complain(f"{result.path}: {result.reason}; left out")

    @contextmanager
    def bar(self) -> Iterator[None]:
        if not sys.stderr.isatty():
            yield
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("listing", total=None)

            def begin(counts: Counts) -> None:
                progress.update(task, total=counts.to_do_bytes, description=f"reading {counts.to_do} files")

            def advance(count: int) -> None:
                description = f"reading {self.total - self.count} files"
                progress.update(task, advance=count, description=description)

            self._begin, self._advance = begin, advance
            yield


def _conclude(scanned: Scanned, out: Path, shown: _Shown, *, as_json: bool) -> int:
    if scanned.void:
        complain("other tools than at the last run: everything was read again")
    if shown.named > NAMED_MAX:
        complain(f"… and {shown.named - NAMED_MAX} more left out: all are in {out / LEFT_OUT_NAME}")
    if as_json:
        print_json(
            {
                "ok": True,
                "manifest": str(out / MANIFEST_NAME),
                "left_out_file": str(out / LEFT_OUT_NAME),
                "run": str(out / RUN_NAME),
                "tracks": scanned.tracks,
                "bytes": scanned.bytes,
                "left_out": scanned.left_out,
                "read": scanned.read,
            }
        )
    else:
        known = scanned.tracks + scanned.left_out - scanned.read
        say(f"{scanned.tracks} tracks, {human_bytes(scanned.bytes)}; {scanned.left_out} left out; {known} unchanged")
        say(f"written    {printable(out / MANIFEST_NAME)}")
    if not scanned.tracks:
        raise CliError(f"no audio among {scanned.left_out} files: see {out / LEFT_OUT_NAME}", Exit.NO_INPUT)
    return Exit.LEFT_OUT if scanned.left_out else Exit.OK
