"""Programs that know what we do not: found once, named by version, run with a deadline and without a network."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from threading import Event
from typing import Final

from catalog.scan import Cancelled

_READ_BYTES: Final = 256 * 1024
_COMPLAINT_BYTES_MAX: Final = 4096
"""Kept of what a program writes to stderr: a damaged file can make it write without end."""
_LOOK_UP_S: Final = 0.2
"""How often a wait looks whether it is still wanted."""
_VERSION_S: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Where the programs are on this machine, and what they call themselves; None: not there, or not asked for."""

    ffmpeg: str | None = None
    ffprobe: str | None = None
    flac: str | None = None
    fpcalc: str | None = None
    versions: tuple[tuple[str, str], ...] = ()
    """(program, first line of its version): for the run report, and for fpcalc the manifest."""

    def version(self, name: str) -> str | None:
        return dict(self.versions).get(name)


NO_TOOLS: Final = Tools()


@cache
def find_tools() -> Tools:
    """What this machine has: looked up once a process."""
    paths = {name: shutil.which(name) for name in ("ffmpeg", "ffprobe", "flac", "fpcalc")}
    if not (paths["ffmpeg"] and paths["ffprobe"]):  # one without the other is of no use here
        paths["ffmpeg"] = paths["ffprobe"] = None
    versions = {}
    for name, path in paths.items():
        if path is not None:
            said = _version(path, "-version" if name != "flac" else "--version")
            if said is None:  # it is there and does not run: as good as absent
                paths[name] = None
            else:
                versions[name] = said
    return Tools(**paths, versions=tuple(sorted(versions.items())))


def _version(path: str, option: str) -> str | None:
    said: list[bytes] = []
    try:
        status, _ = run_tool([path, option], said.append, deadline_s=_VERSION_S)
    except (ToolStuck, OSError):
        return None
    return None if status else b"".join(said).decode("utf-8", "replace").partition("\n")[0].strip()[:120]


class ToolStuck(Exception):
    """A program did not finish by its deadline, and was ended. seconds: how long it had."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(f"{name} did not finish within {seconds:.0f} s")


def run_tool(
    command: Sequence[str], consume: Callable[[bytes], object], *, deadline_s: float, cancel: Event | None = None
) -> tuple[int, str]:
    """Runs a program; `consume` gets its stdout piece by piece.

    Returns (exit status, the start of what it wrote to stderr). The program never outlives this call.
    Raises: ToolStuck, Cancelled, OSError where it cannot be started.
    """
    complaint = bytearray()
    ends_at = time.monotonic() + deadline_s
    with (
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        ) as process,
        selectors.DefaultSelector() as selector,
    ):
        assert process.stdout is not None, "asked for as a pipe"
        assert process.stderr is not None, "asked for as a pipe"
        selector.register(process.stdout, selectors.EVENT_READ, consume)
        selector.register(process.stderr, selectors.EVENT_READ, None)
        try:
            while selector.get_map():
                if cancel is not None and cancel.is_set():
                    raise Cancelled
                if time.monotonic() > ends_at:
                    raise ToolStuck(os.path.basename(command[0]), deadline_s)  # noqa: PTH119  a name, not a file
                for key, _ in selector.select(_LOOK_UP_S):
                    piece = os.read(key.fd, _READ_BYTES)
                    if not piece:
                        selector.unregister(key.fileobj)
                    elif key.data is not None:
                        key.data(piece)
                    elif len(complaint) < _COMPLAINT_BYTES_MAX:
                        complaint += piece[:_COMPLAINT_BYTES_MAX]
            process.wait(max(1.0, ends_at - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise ToolStuck(os.path.basename(command[0]), deadline_s) from error  # noqa: PTH119
        finally:
            if process.poll() is None:
                process.kill()
    return process.returncode, complaint.decode("utf-8", "replace")
