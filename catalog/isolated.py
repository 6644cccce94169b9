"""One file read in a process of its own: where reading it kills a process, that is an answer too.

The decoder is a library in C, fed with whatever lies in a folder. A file that brings it down must not do so at every
scan. A process for every file would cost more than most files, so only suspects are read like this (`catalog.in_hand`).
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path
from threading import Event
from typing import Any, Final

from catalog.decode import BYTES_PER_S_MIN
from catalog.json_fields import load, read_object, read_text
from catalog.manifest import TrackRecord, compact
from catalog.record import record_of
from catalog.scan import Cause, LeftOut
from catalog.tools import Tools, ToolStuck, run_tool

DEADLINE_S: Final = 900
"""More than all the programs it runs may take for a small file."""
_CRASHES: Final = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS, signal.SIGTRAP}
)
"""What a program does to itself; other signals come from outside, such as SIGKILL where memory runs out."""
_START: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from catalog.isolated import answer; answer(sys.argv[2])"
)
"""Finds the modules that this process has, and none that lie where it happens to run."""
_ANSWER_BYTES_MAX: Final = 8 << 20


def record_apart(path: Path, root: Path, *, tools: Tools, cancel: Event | None = None) -> TrackRecord | LeftOut:
    """As `catalog.record.record_of`, in another process; a file that kills it is left out. Takes half a second more.

    Raises: Cancelled.
    """
    said = bytearray()

    def take(piece: bytes) -> None:
        if len(said) <= _ANSWER_BYTES_MAX:
            said.extend(piece)

    question = json.dumps({"path": os.fsencode(path).hex(), "root": os.fsencode(root).hex(), "tools": asdict(tools)})
    command = [sys.executable, "-P", "-c", _START, json.dumps(sys.path), question]
    try:
        deadline_s = DEADLINE_S + path.stat().st_size / BYTES_PER_S_MIN
        status, complaint = run_tool(command, take, deadline_s=deadline_s, cancel=cancel)
    except ToolStuck:
        return LeftOut(path, f"reading it did not end within {deadline_s:.0f} s: run the same command again")
    except OSError as error:
        return LeftOut.of(path, error)
    if status < 0:
        return _killed(path, -status)
    try:
        return parse_answer(said, path)
    except ValueError:
        last = complaint.strip().splitlines()[-1:] or [f"exit code {status}"]
        return LeftOut(path, f"reading it failed ({last[0][:160]}): run the same command again")


def _killed(path: Path, number: int) -> LeftOut:
    name = signal.strsignal(number) or f"signal {number}"
    if number in _CRASHES:
        return LeftOut(path, f"the decoder crashed on it ({name}): damaged, or made to do so", Cause.CONTENT)
    return LeftOut(
        path, f"the process that read it was killed ({name}; too little memory?): run the same command again"
    )


def answer(question: str) -> None:
    """What the other process does: one line of JSON on stdout."""
    asked: dict[str, Any] = json.loads(question)
    path, root = (Path(os.fsdecode(bytes.fromhex(asked[name]))) for name in ("path", "root"))
    versions = tuple((name, said) for name, said in asked["tools"]["versions"])
    result = record_of(path, root, tools=Tools(**(asked["tools"] | {"versions": versions})))
    if isinstance(result, LeftOut):
        row: dict[str, Any] = {"reason": result.reason, "cause": result.cause.value}
    else:
        raw = result.chromaprint.raw if result.chromaprint else b""
        row = {"line": result.encode().decode(), "raw": base64.b64encode(raw).decode()}
    sys.stdout.buffer.write(compact(row) + b"\n")


def parse_answer(said: bytes | bytearray, path: Path) -> TrackRecord | LeftOut:
    """What the other process said of the file at `path`. Raises: ValueError."""
    row = read_object(load(said))
    try:
        if "reason" in row:
            return LeftOut(path, read_text(row["reason"]), Cause(read_text(row["cause"])))
        record = TrackRecord.parse(read_text(row["line"]).encode())
        raw = base64.b64decode(read_text(row["raw"]), validate=True)
    except KeyError as error:
        raise ValueError(f"an answer with {error.args[0]!r}") from error
    if record.chromaprint is not None:
        record = replace(record, chromaprint=replace(record.chromaprint, raw=raw))
    return record
