"""`stretto gpu`: is there a GPU, are its digests right, how fast is it here, and is it worth using?"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.files import write_file
from cli.output import CliError, Exit, complain, human_bytes, json_option, print_json, print_table, say

if TYPE_CHECKING:
    from kernels.calibration import Calibration, Row
    from kernels.devices import DeviceInfo

MIB = 1 << 20
BATCH_MIB_MAX = 4096
EMULATED = "This is the tests' software driver: no figure here is a GPU's."


@click.group("gpu")
def gpu_group() -> None:
    """GPUs hash only where they were measured to be faster than this machine's CPU. Digests are the same either way.

    The kernels are verified by emulation and were never run on a GPU by us (docs/gpu.md): if you have one, please run
    `stretto gpu selftest` and send us the file.

    \b
    Example: stretto gpu selftest && stretto gpu calibrate && stretto gpu status
    """


def _device_option(function: Any) -> Any:
    return click.option(
        "--device", "ordinal", type=click.IntRange(0, 255), default=0, show_default=True, help="Which GPU."
    )(function)


def _batch_option(function: Any) -> Any:
    return click.option(
        "--batch-mib",
        type=click.IntRange(1, BATCH_MIB_MAX),
        default=256,
        show_default=True,
        help="Bytes of a batch at most, in MiB; less where the GPU's memory is short.",
    )(function)


def _threads_option(function: Any) -> Any:
    return click.option("--threads", type=click.IntRange(1, 256), help="The CPU's. Default: the processors available.")(
        function
    )


def _out_option(name: str) -> Callable[[Any], Any]:
    return click.option(
        "--out",
        type=click.Path(path_type=Path, dir_okay=False),
        default=Path(name),
        show_default=True,
        help="The report: nothing in it but what this machine and its GPU are, and what was measured.",
    )


# ---- status ----------------------------------------------------------------------------------------------------------


@gpu_group.command("status")
@_threads_option
@json_option
def status(*, threads: int | None, as_json: bool) -> int:
    """Which GPUs there are, what is known of them, and which backend hashes.

    \b
    Example:
      stretto gpu status --json
    """
    from catalog.crew import processors
    from kernels import calibration, dispatch
    from kernels.devices import DeviceError, devices, driver_version, ptx_digest

    folder = calibration.state_folder()
    known = calibration.load(folder)
    driver, lacking, found = None, None, []
    try:
        found = [_known_of(info, known.get(info.uuid)) for info in devices()]
        driver = driver_version()
    except DeviceError as error:
        lacking = error.reason
    choice = dispatch.choose(folder, threads=threads or processors())
    backend = "gpu" if choice.gpus else "cpu"
    if as_json:
        print_json(
            {"ok": True, "backend": backend, "why": choice.reasons, "driver": driver, "no_gpu": lacking,
             "ptx_sha256": ptx_digest(), "state": str(folder), "devices": found}
        )  # fmt: skip
        return Exit.OK
    if lacking is not None:
        say(f"GPUs      none: {lacking}")
    else:
        print_table(
            ("GPU", "UUID", "capability", "memory", "faster than the CPU", "disabled"),
            [(d["name"], d["uuid"], d["capability"], human_bytes(d["memory_bytes"]), _crossover(d),
              d["disabled"] or "no") for d in found],
        )  # fmt: skip
        say(f"driver    {driver}")
    say(f"kernels   {ptx_digest()}")
    say(f"backend   {backend.upper()}{': ' if choice.reasons else ''}{'; '.join(choice.reasons)}")
    return Exit.OK


def _known_of(info: DeviceInfo, known: Calibration | None) -> dict[str, Any]:
    from kernels import calibration

    return {
        "ordinal": info.ordinal, "name": info.name, "uuid": info.uuid, "emulated": info.is_emulated,
        "capability": f"{info.capability[0]}.{info.capability[1]}", "memory_bytes": info.memory_bytes,
        "calibrated_at": known.measured_at if known else None,
        "crossover_bytes": known.crossover_bytes if known else None,
        "disabled": calibration.disabled_because(calibration.state_folder(), info.uuid),
    }  # fmt: skip


def _crossover(device: dict[str, Any]) -> str:
    if device["calibrated_at"] is None:
        return "not measured"
    crossover = device["crossover_bytes"]
    return "never" if crossover is None else f"batches from {human_bytes(crossover)} on"


# ---- selftest and bench ----------------------------------------------------------------------------------------------


@gpu_group.command("selftest")
@_device_option
@_batch_option
@click.option("--batches", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Random batches.")
@_out_option("stretto-gpu-selftest.json")
@json_option
def selftest(*, ordinal: int, batch_mib: int, batches: int, out: Path, as_json: bool) -> int:
    """Compares digests of every kind with the CPU's, and writes a report that can be sent back.

    Exit code 0: all equal; 1: not, do not use this GPU; 2: there is no GPU, or it failed on the way.

    \b
    Example:
      stretto gpu selftest --batches 200
    """
    from kernels.devices import DeviceError

    info = _device(ordinal)
    try:
        with _told() as tell:
            from kernels.selftest import selftest as run

            report = run(info, batch_bytes=batch_mib * MIB, batches=batches, advance=tell)
    except DeviceError as error:
        raise CliError(f"{info.name}: {error.reason}", Exit.INCOMPLETE) from error
    summary = (
        f"{report['known_answers']['passed']} of {report['known_answers']['of']} known answers, "
        f"{report['digests_compared']} digests of {human_bytes(report['bytes_compared'])} compared"
    )
    return _end(report, out, summary, as_json)


@gpu_group.command("bench")
@_device_option
@_batch_option
@_threads_option
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True, help="GPU and CPU by turns.")
@click.option("--repeats", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Of the kernels alone.")
@_out_option("stretto-gpu-bench.json")
@json_option
def bench(
    *, ordinal: int, batch_mib: int, threads: int | None, rounds: int, repeats: int, out: Path, as_json: bool
) -> int:
    """GB/s with and without transfers beside this CPU's on the same bytes, and a report that can be sent back.

    \b
    Example:
      stretto gpu bench --rounds 10
    """
    from catalog.crew import processors
    from kernels.devices import DeviceError

    info = _device(ordinal)
    try:
        with _told() as tell:
            from kernels.selftest import bench as run

            report = run(
                info, threads=threads or processors(), batch_bytes=batch_mib * MIB, rounds=rounds,
                repeats=repeats, advance=tell,
            )  # fmt: skip
    except DeviceError as error:
        raise CliError(f"{info.name}: {error.reason}", Exit.INCOMPLETE) from error
    return _end(report, out, f"{len(report['rows'])} kinds of messages measured", as_json)


def _end(report: dict[str, Any], out: Path, summary: str, as_json: bool) -> int:
    """Writes the report and says what came out."""
    write_file(out, (json.dumps(report, indent=1) + "\n").encode(), replace=True)
    passed = bool(report["passed"])
    if as_json:
        print_json({"ok": passed, "out": str(out)} | report)
    else:
        say(f"{'passed' if passed else 'WRONG DIGESTS'}: {summary} on {report['device']['name']}")
        if report["emulated"]:
            say(EMULATED)
        say(f"report: {out}")
    if not passed:
        complain("digests differ from the CPU's: do not use this GPU, and please send the report")
    return Exit.OK if passed else Exit.REFUSED


# ---- calibrate -------------------------------------------------------------------------------------------------------


@gpu_group.command("calibrate")
@_device_option
@_batch_option
@_threads_option
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="GPU and CPU by turns.")
@json_option
def calibrate(*, ordinal: int, batch_mib: int, threads: int | None, rounds: int, as_json: bool) -> int:
    """Measures from which batch size on the GPU beats this CPU, end to end, and remembers it.

    Run it on a quiet machine, with the threads that hashing may use. It is good for this GPU, driver and version of
    the kernels; a GPU that gave a wrong digest is used again only after it.

    \b
    Example:
      stretto gpu calibrate --threads 8
    """
    from catalog.crew import processors
    from kernels import dispatch
    from kernels.calibration import BATCH_SIZES, WrongDigest
    from kernels.devices import DeviceError

    info = _device(ordinal)
    sizes = tuple(size for size in BATCH_SIZES if size <= batch_mib * MIB)
    try:
        with _told() as tell:
            found = dispatch.calibrate(
                info, threads=threads or processors(), batch_sizes=sizes, rounds=rounds, say=complain,
                advance=lambda row: tell(_row(row)),
            )  # fmt: skip
    except DeviceError as error:
        raise CliError(f"{info.name}: {error.reason}", Exit.INCOMPLETE) from error
    except WrongDigest as error:
        raise CliError(f"{info.name}: WRONG DIGEST: {error.reason}. It is disabled", Exit.REFUSED) from error
    if as_json:
        print_json(
            {"ok": True, "uuid": found.uuid, "crossover_bytes": found.crossover_bytes,
             "worth_from_bytes": found.worth_from_bytes, "threads": found.threads, "load_average": found.load_average,
             "rows": [{"batch_bytes": r.batch_bytes, "message_bytes": r.message_bytes, "cpu_s": r.cpu_s,
                       "gpu_s": r.gpu_s} for r in found.rows]}
        )  # fmt: skip
        return Exit.OK
    if info.is_emulated:
        say(EMULATED)
    if found.crossover_bytes is None:
        say(f"{info.name}: never used, this CPU is as fast ({found.threads} threads, load {found.load_average:.1f})")
    else:
        least = human_bytes(found.worth_from_bytes or 0)
        say(f"{info.name}: used for batches from {human_bytes(found.crossover_bytes)} on, where there are {least}")
    return Exit.OK


def _row(row: Row) -> str:
    return (
        f"batches of {human_bytes(row.batch_bytes)}, messages of {human_bytes(row.message_bytes)}: "
        f"CPU {row.bytes / row.cpu_s / 1e9:.3f} GB/s, GPU {row.bytes / row.gpu_s / 1e9:.3f} GB/s"
    )


# ---- shared ----------------------------------------------------------------------------------------------------------


def _device(ordinal: int) -> DeviceInfo:
    from kernels.devices import DeviceError, devices

    try:
        found = devices()
    except DeviceError as error:
        raise CliError(f"no GPU to try: {error.reason}", Exit.INCOMPLETE) from error
    if ordinal >= len(found):
        raise CliError(f"--device: there are {len(found)} GPUs, numbered from 0", Exit.USAGE)
    return found[ordinal]


@contextmanager
def _told() -> Iterator[Callable[[str], None]]:
    """How far it is, a line a step on stderr; a turning sign on a terminal while a step lasts."""

    def tell(line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    if not sys.stderr.isatty():
        yield tell
        return
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    with console.status("the GPU is at work"):
        yield lambda line: console.print(line, markup=False)
